//! Weakens the crate one labelled place at a time and demands that the named loom model fails.
//!
//! `mutants.tsv` lists the places. Each mutant is applied to a copy of the sources in the target folder, the one model
//! is built and run, and the file is put back. Only a model that *ran and failed* has caught its mutant: code that no
//! longer compiles, a test that is not there and a run that hangs prove nothing, and are reported as such.
//!
//! Usage: `mutants [FILTER]`; FILTER is part of a label, a file or a test. Exit status 0: all caught; 1: not all;
//! 2: the table or the unchanged models are at fault, so nothing was tried.

use std::{
    collections::BTreeSet,
    env, fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// A model that runs longer has not failed, whatever it would have done.
const LIMIT: Duration = Duration::from_mins(3);

/// What a build of the models may read; what is not there is left out.
const COPIED: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "README.md", "src", "tests", "benches", "examples", "loom-tests"];

const HEADER: &str = "label\tfile\tfind\treplace\ttest";

fn main() -> ExitCode {
    match run(env::args().nth(1).as_deref()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(filter: Option<&str>) -> Result<bool, String> {
    let package = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("run me with `cargo run`: `make mutants`")?);
    let repository = package.parent().ok_or("the package has no parent folder")?;
    let table = package.join("mutants.tsv");
    let mut mutants = parse(&read(&table)?).map_err(|e| format!("{}: {e}", table.display()))?;
    for mutant in &mutants {
        mutant.apply(&read(&repository.join(&mutant.file))?)?;
    }
    mutants.retain(|mutant| filter.is_none_or(|part| mutant.is_about(part)));
    if mutants.is_empty() {
        return Err(format!("no mutant to try: {} has none that match", table.display()));
    }

    let bench = Bench::new(repository)?;
    println!("{} mutants; first their models on the unchanged code", mutants.len());
    let models: BTreeSet<_> = mutants.iter().map(|m| (&m.test_file, &m.test_name)).collect();
    for (file, name) in models {
        let started = Instant::now();
        match bench.try_model(file, name)? {
            Verdict::Passed => println!("passes   {file}::{name}  {:.1}s", started.elapsed().as_secs_f32()),
            other => return Err(format!("{file}::{name} must pass on the unchanged code, but {other}")),
        }
    }

    let mut caught = 0;
    for mutant in &mutants {
        let started = Instant::now();
        let verdict = bench.try_mutant(mutant)?;
        let took = started.elapsed().as_secs_f32();
        let Mutant { label, file, test_name, .. } = mutant;
        match verdict {
            Verdict::Failed(reason) => {
                caught += 1;
                println!("caught   {label}  {file}  {test_name}  {took:.1}s  {reason}");
            }
            Verdict::Passed => println!("SURVIVED {label}  {file}  {test_name}  {took:.1}s  row {}", mutant.row),
            other => println!("ERROR    {label}  {file}  {test_name}  {took:.1}s  row {}: {other}", mutant.row),
        }
    }
    println!("{caught} of {} mutants caught", mutants.len());
    Ok(caught == mutants.len())
}

/// One row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Mutant {
    row: usize,
    label: String,
    file: String,
    find: String,
    replace: String,
    test_file: String,
    test_name: String,
}

impl Mutant {
    fn is_about(&self, part: &str) -> bool {
        self.label.contains(part)
            || self.file.contains(part)
            || format!("{}::{}", self.test_file, self.test_name).contains(part)
    }

    /// The source with this mutant in it, or why it can't be put there.
    fn apply(&self, source: &str) -> Result<String, String> {
        match source.matches(&self.find).count() {
            1 => Ok(source.replacen(&self.find, &self.replace, 1)),
            n => Err(format!(
                "row {} ({}): `{}` must occur exactly once in {}, and occurs {n} times",
                self.row, self.label, self.find, self.file
            )),
        }
    }
}

fn parse(table: &str) -> Result<Vec<Mutant>, String> {
    let mut rows = table.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.trim().is_empty());
    match rows.next() {
        Some((_, HEADER)) => {}
        _ => return Err(format!("the first row must be the header {HEADER:?}")),
    }
    rows.map(|(index, line)| {
        let row = index + 1;
        let columns: Vec<&str> = line.split('\t').collect();
        let [label, file, find, replace, test] = columns[..] else {
            return Err(format!("row {row}: {} columns, expected 5", columns.len()));
        };
        let Some((test_file, test_name)) = test.split_once("::") else {
            return Err(format!("row {row}: test {test:?} is not `file::name`"));
        };
        let (find, replace) = (unescape(find), unescape(replace));
        if label.is_empty() || file.is_empty() || find.is_empty() || find == replace {
            return Err(format!("row {row}: a label, a file and a `find` that differs from `replace` are needed"));
        }
        let (label, file) = (label.to_owned(), file.to_owned());
        Ok(Mutant { row, label, file, find, replace, test_file: test_file.to_owned(), test_name: test_name.to_owned() })
    })
    .collect()
}

/// Resolves `\n`, `\t` and `\\`; any other backslash stands for itself.
fn unescape(column: &str) -> String {
    let mut text = String::with_capacity(column.len());
    let mut rest = column;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let (char, used) = match rest.as_bytes().get(at + 1) {
            Some(b'n') => ('\n', 2),
            Some(b't') => ('\t', 2),
            Some(b'\\') => ('\\', 2),
            _ => ('\\', 1),
        };
        text.push(char);
        rest = &rest[at + used..];
    }
    text + rest
}

/// How the run of one model ended.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passed,
    /// It ran and failed, with the first line of its first panic.
    Failed(String),
    /// It was still running at [`LIMIT`].
    Hung,
    /// It never ran, or ended in a way that says nothing about the code.
    Broken(String),
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Passed => write!(f, "it passed"),
            Self::Failed(reason) => write!(f, "it failed: {reason}"),
            Self::Hung => write!(f, "it hung for {} s, which proves nothing", LIMIT.as_secs()),
            Self::Broken(why) => write!(f, "it proved nothing: {why}"),
        }
    }
}

/// Judges a test program's output; `code` is its exit status, `None` when a signal ended it.
fn judge(output: &str, code: Option<i32>) -> Verdict {
    let result = output.lines().rfind(|line| line.starts_with("test result: ")).unwrap_or_default();
    let panic = panic_message(output);
    match (code, panic) {
        _ if !output.lines().any(|line| line == "running 1 test") => Verdict::Broken("no such test was run".into()),
        (Some(0), _) if result.contains(" 1 passed; 0 failed; 0 ignored") => Verdict::Passed,
        (Some(c), Some(message)) if c != 0 && result.contains(" 0 passed; 1 failed") => Verdict::Failed(message),
        // loom's objects check themselves when dropped, so a failing model often panics twice, which aborts.
        (None, Some(message)) => Verdict::Failed(format!("{message} (and again while unwinding)")),
        _ => Verdict::Broken(format!("exit status {code:?} and no panic: {}", tail(output, 3))),
    }
}

/// The message of the first panic: the line after `thread 'name' panicked at file:line:column:`.
fn panic_message(output: &str) -> Option<String> {
    let mut lines = output.lines().skip_while(|line| !line.contains("panicked at "));
    lines.next()?;
    Some(lines.next().unwrap_or_default().trim().chars().take(80).collect())
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// A copy of the sources to work on, and the target folder it is built in.
struct Bench {
    copy: PathBuf,
    target: PathBuf,
    /// Held for as long as this lives: two runners on one copy would judge each other's mutants.
    _lock: fs::File,
}

impl Bench {
    /// Copies the repository. The copy is always at one path: cargo tells packages apart by it, so the next run
    /// rebuilds the crate alone, and not loom.
    fn new(repository: &Path) -> Result<Self, String> {
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| repository.join("target"), PathBuf::from);
        let target = std::path::absolute(target).map_err(|e| e.to_string())?.join("loom");
        let copy = target.join("mutants-copy");
        fs::create_dir_all(&target).map_err(|e| format!("{}: {e}", target.display()))?;
        let lock = fs::File::create(target.join("mutants.lock")).map_err(|e| format!("mutants.lock: {e}"))?;
        lock.try_lock().map_err(|e| format!("another run is using {}: {e}", copy.display()))?;
        if copy.exists() {
            fs::remove_dir_all(&copy).map_err(|e| format!("{}: {e}", copy.display()))?;
        }
        for name in COPIED {
            let from = repository.join(name);
            if from.exists() {
                copy_tree(&from, &copy.join(name)).map_err(|e| format!("copying {}: {e}", from.display()))?;
            }
        }
        Ok(Self { copy, target, _lock: lock })
    }

    fn try_mutant(&self, mutant: &Mutant) -> Result<Verdict, String> {
        let path = self.copy.join(&mutant.file);
        let original = read(&path)?;
        let put = |text: &str| fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()));
        put(&mutant.apply(&original)?)?;
        let verdict = self.try_model(&mutant.test_file, &mutant.test_name);
        put(&original)?;
        verdict
    }

    /// Builds the test `file` as the copy now stands and runs its one model `name`.
    fn try_model(&self, file: &str, name: &str) -> Result<Verdict, String> {
        let built = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["test", "--release", "--no-run", "--message-format=json-render-diagnostics", "--test", file])
            .arg("--target-dir")
            .arg(&self.target)
            .current_dir(self.copy.join("loom-tests"))
            .env("RUSTFLAGS", "--cfg forebay_loom")
            .stdin(Stdio::null())
            .output()
            .map_err(|e| format!("cargo does not start: {e}"))?;
        if !built.status.success() {
            return Ok(Verdict::Broken(format!("it does not compile:\n{}", String::from_utf8_lossy(&built.stderr))));
        }
        let program = executable(&String::from_utf8_lossy(&built.stdout)).ok_or("cargo named no test program")?;
        self.run_model(&program, name).map_err(|e| format!("{program}: {e}"))
    }

    fn run_model(&self, program: &str, name: &str) -> std::io::Result<Verdict> {
        let (mut reader, writer) = std::io::pipe()?;
        // Not captured: what a test has printed is lost when it aborts.
        let mut command = Command::new(program);
        command.args(["--exact", name, "--nocapture"]).current_dir(self.copy.join("loom-tests"));
        command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
        if env::var_os("LOOM_MAX_PREEMPTIONS").is_none() {
            command.env("LOOM_MAX_PREEMPTIONS", "2");
        }
        let mut child = command.spawn()?;
        drop(command); // and with it our ends of the pipe, which closes when the child ends
        let (done, output) = mpsc::channel();
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = reader.read_to_end(&mut bytes);
            done.send(read.map(|_| String::from_utf8_lossy(&bytes).into_owned()))
        });
        let Ok(output) = output.recv_timeout(LIMIT) else {
            child.kill()?;
            child.wait()?;
            return Ok(Verdict::Hung);
        };
        Ok(judge(&output?, child.wait()?.code()))
    }
}

/// The path of the test program in cargo's messages, one JSON object a line.
fn executable(messages: &str) -> Option<String> {
    let line = messages.lines().rfind(|line| line.contains(r#""kind":["test"]"#))?;
    let (_, path) = line.split_once(r#""executable":""#)?;
    path.split_once('"').map(|(path, _)| path.to_owned())
}

fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let name = entry?.file_name();
            if name != "target" {
                copy_tree(&from.join(&name), &to.join(&name))?;
            }
        }
        return Ok(());
    }
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).map(|_| ())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &str) -> Result<Vec<Mutant>, String> {
        parse(&format!("# a comment\n{HEADER}\n\n{columns}\n"))
    }

    #[test]
    fn a_row_is_read_and_applied() {
        let mutants = row("W1\tsrc/a.rs\tRelease\tRelaxed\tbuffer::sees::all").unwrap();
        let [mutant] = &mutants[..] else { panic!("{mutants:?}") };
        assert_eq!((mutant.row, &*mutant.test_file, &*mutant.test_name), (4, "buffer", "sees::all"));
        assert_eq!(mutant.apply("x.store(1, Release);").unwrap(), "x.store(1, Relaxed);");
        assert!(
            mutant.is_about("W1") && mutant.is_about("a.rs") && mutant.is_about("r::sees") && !mutant.is_about("W2")
        );
    }

    #[test]
    fn a_text_that_is_not_there_exactly_once_is_refused_with_its_row() {
        let mutant = row("W1\tsrc/a.rs\tRelease\tRelaxed\tbuffer::sees").unwrap().remove(0);
        for (source, times) in [("", "0 times"), ("Release Release", "2 times")] {
            let error = mutant.apply(source).unwrap_err();
            assert!(error.contains("row 4 (W1)") && error.contains("src/a.rs") && error.contains(times), "{error}");
        }
    }

    #[test]
    fn escapes_reach_over_lines_and_an_empty_replacement_deletes() {
        let mutant = row("F1\tsrc/a.rs\t// F1\\n\\tfence();\t\twake::up").unwrap().remove(0);
        assert_eq!(mutant.apply("a();\n// F1\n\tfence();\nb();").unwrap(), "a();\n\nb();");
        assert_eq!(unescape(r"a\\n \x \"), r"a\n \x \");
    }

    #[test]
    fn malformed_tables_are_refused() {
        assert!(parse("").unwrap_err().contains("header"));
        assert!(parse("label\tfile\n").unwrap_err().contains("header"));
        assert!(row("W1\tsrc/a.rs\tRelease").unwrap_err().contains("row 4: 3 columns"));
        assert!(row("W1\tsrc/a.rs\tRelease\tRelaxed\tbuffer").unwrap_err().contains("file::name"));
        assert!(row("W1\tsrc/a.rs\tsame\tsame\tb::c").is_err());
        assert!(row("W1\tsrc/a.rs\t\tRelaxed\tb::c").is_err());
    }

    const FAILED: &str = "\nrunning 1 test\ntest a ... \nthread 'a' (7) panicked at tests/b.rs:3:5:\nassertion failed: x\n\
        note: run\nFAILED\n\ntest result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 4 filtered out\n";

    #[test]
    fn only_a_test_that_ran_and_failed_has_caught_its_mutant() {
        let passed = "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\n";
        assert_eq!(judge(passed, Some(0)), Verdict::Passed);
        assert_eq!(judge(FAILED, Some(101)), Verdict::Failed("assertion failed: x".into()));
    }

    #[test]
    fn a_second_panic_that_aborts_the_program_is_a_failure_and_a_bare_signal_is_not() {
        let aborted = FAILED.split("FAILED").next().unwrap();
        assert!(matches!(judge(aborted, None), Verdict::Failed(reason) if reason.contains("assertion failed: x")));
        assert!(matches!(judge("running 1 test\n", None), Verdict::Broken(_)));
    }

    #[test]
    fn a_run_without_its_test_proves_nothing() {
        let none = "\nrunning 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 5 filtered out\n";
        assert!(matches!(judge(none, Some(0)), Verdict::Broken(_)));
        assert!(matches!(judge("cannot open shared object", Some(127)), Verdict::Broken(_)));
        let ignored = "\nrunning 1 test\ntest a ... ignored\n\ntest result: ok. 0 passed; 0 failed; 1 ignored;\n";
        assert!(matches!(judge(ignored, Some(0)), Verdict::Broken(_)));
    }

    #[test]
    fn the_test_program_is_found_among_cargos_messages() {
        let bin = r#"{"reason":"compiler-artifact","target":{"kind":["bin"]},"executable":"/t/mutants"}"#;
        let test = r#"{"reason":"compiler-artifact","target":{"kind":["test"]},"executable":"/t/buffer-1"}"#;
        assert_eq!(executable(&format!("{test}\n{bin}\n")).as_deref(), Some("/t/buffer-1"));
        assert_eq!(executable(bin), None);
    }
}
