//! Input with known rows and keys, the program, and the check that its parts are that input.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// `forebay shuffle OPTIONS --out OUT FILE...`, the options given as one string.
pub(crate) fn shuffle<F: AsRef<OsStr>>(options: &str, out: &Path, files: impl IntoIterator<Item = F>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_forebay"));
    command.arg("shuffle").args(options.split_whitespace()).arg("--out").arg(out).args(files);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Feeds `input` to the program's stdin and waits for its end.
pub(crate) fn run_with(mut command: Command, input: &[u8]) -> Output {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    // The program may end before it has read everything: then this write fails, as it should.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the program ends");
    feeder.join().expect("the feeder does not panic");
    output
}

/// Runs `command`, which must succeed, and returns its stdout.
#[track_caller]
pub(crate) fn succeed(mut command: Command) -> String {
    succeeded(command.output().expect("the program starts"))
}

#[track_caller]
pub(crate) fn succeeded(output: Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*stderr), (Some(0), ""));
    String::from_utf8(output.stdout).expect("a summary in UTF-8")
}

/// The error of a run that ended with `status`; it is one line and nothing was on stdout.
#[track_caller]
pub(crate) fn failed(status: i32, output: Output) -> String {
    let stderr = String::from_utf8(output.stderr).expect("an error in UTF-8");
    assert_eq!((output.status.code(), &*output.stdout), (Some(status), &b""[..]), "{stderr}");
    if status == 1 {
        assert!(stderr.starts_with("forebay: error: ") && stderr.ends_with('\n'), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
    }
    stderr
}

/// Names in a folder, sorted; none if there is no folder.
pub(crate) fn listing(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().expect("a name in UTF-8")).collect();
    names.sort();
    names
}

/// Calls `done` until it holds, and gives up after a minute.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited for a minute until {what}");
        std::thread::yield_now();
    }
}

/// The child's exit status, once it has ended; killed if it does not. Waits without a core, which the child may need.
#[track_caller]
pub(crate) fn wait_for(child: &mut Child) -> std::process::ExitStatus {
    let (ended, end) = std::sync::mpsc::channel::<()>();
    let id = child.id().to_string();
    let watching = std::thread::spawn(move || {
        let late = end.recv_timeout(Duration::from_secs(60)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if late {
            // Its number is its own until it was waited for.
            Command::new("kill").args(["-KILL", &id]).status().expect("there is `kill`");
        }
        late
    });
    let stdin = child.stdin.take(); // else `Child::wait` closes it, and the program is not to end by that
    let status = child.wait().expect("the child is ours");
    drop((ended, stdin));
    assert!(!watching.join().expect("no panic"), "the program did not end within a minute");
    status
}

/// A folder of its own for a test.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder for temporary files"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("the folder is ours");
        path
    }
}

/// A small generator of numbers that are the same in every run (Vigna's `SplitMix64`).
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit as u64) as usize
    }
}

/// Rows whose first column counts them, and whose second is the key.
pub(crate) struct Data {
    pub(crate) header: String,
    pub(crate) rows: Vec<String>,
    pub(crate) keys: Vec<String>,
}

impl Data {
    /// `rows` rows of three columns with all that quotes allow, over about `keys` keys, numbered from `first`.
    pub(crate) fn generate(seed: u64, first: usize, rows: usize, keys: usize, ending: &str) -> Self {
        let mut numbers = Numbers(seed);
        let texts =
            ["", "plain", "\"a, b\"", "\"two\nlines\"", "\"crlf\r\nin it\"", "\"say \"\"hi\"\"\"", "mid\"quote", " "];
        let mut data = Self { header: format!("id,key,text{ending}"), rows: Vec::new(), keys: Vec::new() };
        for id in first..first + rows {
            let key = format!("key {}", numbers.below(keys));
            let quotes = if numbers.below(3) == 0 { "\"" } else { "" };
            let text = if numbers.below(200) == 0 { &"long ".repeat(2000) } else { texts[numbers.below(texts.len())] };
            data.rows.push(format!("{id},{quotes}{key}{quotes},{text}{ending}"));
            data.keys.push(key);
        }
        data
    }

    /// As a file has it.
    pub(crate) fn file(&self) -> String {
        self.header.clone() + &self.rows.concat()
    }

    /// These rows, then those of `other`.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.rows.extend(other.rows);
        self.keys.extend(other.keys);
        self
    }

    /// Reads the parts in `dir`: each starts with the header and goes on with whole rows, byte for byte. Returns which
    /// rows each part has, in its order. Row `id` must be `self.rows[id]`.
    #[track_caller]
    pub(crate) fn parts(&self, dir: &Path, count: usize) -> Vec<Vec<usize>> {
        let names: Vec<String> = (0..count).map(|index| format!("part-{index:05}.csv")).collect();
        assert_eq!(listing(dir), names, "the parts, and nothing else");
        let read = |name: &String| {
            let content = fs::read_to_string(dir.join(name)).expect("a part in UTF-8");
            let mut rest = content.strip_prefix(&self.header).expect("each part starts with the header");
            let mut ids = Vec::new();
            while !rest.is_empty() {
                let id: usize = rest.split(',').next().unwrap().parse().expect("each row starts with a number");
                rest = rest.strip_prefix(&self.rows[id]).expect("rows are whole");
                ids.push(id);
            }
            ids
        };
        names.iter().map(read).collect()
    }

    /// As [`parts`](Self::parts), and every row is in one part, once.
    #[track_caller]
    pub(crate) fn parts_once(&self, dir: &Path, count: usize) -> Vec<Vec<usize>> {
        let parts = self.parts(dir, count);
        let mut all = parts.concat();
        all.sort_unstable();
        assert!(all.iter().copied().eq(0..self.rows.len()), "every row is there once");
        parts
    }

    /// As [`parts_once`](Self::parts_once), and each key is in one part.
    #[track_caller]
    pub(crate) fn parts_by_key(&self, dir: &Path, count: usize) -> Vec<Vec<usize>> {
        let parts = self.parts_once(dir, count);
        let mut homes = HashMap::new();
        for (part, ids) in parts.iter().enumerate() {
            for &id in ids {
                assert_eq!(*homes.entry(&self.keys[id]).or_insert(part), part, "{} is in one part", self.keys[id]);
            }
        }
        parts
    }
}

/// Whether the rows numbered in `range` stand in their order.
pub(crate) fn in_order(ids: &[usize], range: std::ops::Range<usize>) -> bool {
    ids.iter().filter(|id| range.contains(id)).is_sorted()
}
