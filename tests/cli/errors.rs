//! Each error: its words, its exit status, and that nothing is left of the run.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Data, Place, failed, listing, run_with, shuffle, succeed, wait_for};

/// Runs on files with these contents, which must fail, and returns the error without the folder's name.
#[track_caller]
fn error(options: &str, contents: &[&str]) -> String {
    let place = Place::new();
    let files: Vec<_> =
        contents.iter().enumerate().map(|(index, text)| place.file(&format!("{index}.csv"), text)).collect();
    let out = place.path("out");
    let said = failed(1, shuffle(options, &out, &files).output().unwrap());
    assert!(!out.exists(), "nothing is left of the run");
    let folder = place.path("").display().to_string();
    said.replace(&folder, "").strip_prefix("forebay: error: ").unwrap().trim_end().to_owned()
}

#[test]
fn usage() {
    let place = Place::new();
    let file = place.file("in", "a\n1\n");
    for options in [
        "-n 4",                            // no key
        "-k a",                            // no number of partitions
        "-k a -n 0",                       //
        "-k a -n 10001",                   // a task each
        "-k a -n 4 --producers 0",         //
        "-k a -n 4 --segments 0",          //
        "-k a -n 4 --segment-size 4KB",    //
        "-k a -n 4 --max-record 0",        //
        "-k a -n 4 --buffer-timeout soon", //
        "-k a -n 4 --delimiter ab",        //
        "-k a -n 4 --strategy range",      //
        "-k a -n 4 --no-header",           // the key is no number
        "-k a -n 4 --unknown",             //
        "-k a -n 4 - -",                   //
    ] {
        let said = failed(2, shuffle(options, &place.path("out"), [&file]).output().unwrap());
        assert!(said.starts_with("error: ") && said.contains("--help"), "{options}: {said}");
    }
    let none: [&Path; 0] = [];
    failed(2, shuffle("-k a -n 4", &place.path("out"), none).output().unwrap());
    assert_eq!(listing(&place.path("")), ["in"]);
}

#[test]
fn help_is_no_error() {
    for option in ["--help", "-h"] {
        let text = succeed(shuffle(option, Path::new("out"), [""; 0]));
        assert!(text.contains("Example:") && text.contains("[default: 32K]"), "{text}");
    }
}

#[test]
fn unknown_column_lists_the_columns() {
    assert_eq!(error("-k z -n 2", &["a,\"b, c\"\n"]), "there is no column `z`; the columns are: a, b, c");
    assert_eq!(error("-k 3 -n 2", &["a,b\n"]), "there is no column `3`; the columns are: a, b");
    assert_eq!(error("-k 3 --no-header -n 2", &["a,b\n"]), "there is no column 3; the first row has 2");
    assert!(error("-k a -n 2", &["a,b,a\n"]).contains("the columns 1 and 3 alike"));
}

#[test]
fn files_that_cannot_be_read() {
    let place = Place::new();
    let (file, out) = (place.file("in", "a\n1\n"), place.path("out"));
    let said = |path: &Path| failed(1, shuffle("-k a -n 2", &out, [&file, path]).output().unwrap());
    let missing = said(&place.path("none.csv"));
    assert!(missing.contains("cannot open ") && missing.contains("none.csv: No such file"), "{missing}");
    let beyond = said(&file.join("x"));
    assert!(beyond.contains("in/x: Not a directory"), "{beyond}");
    let folder = said(&place.path(""));
    assert!(folder.contains(" is a folder, not a file"), "{folder}");
    // A file that opens but cannot be read: address 0 of the process itself.
    if cfg!(target_os = "linux") {
        let memory = said(Path::new("/proc/self/mem"));
        assert!(memory.contains("cannot read /proc/self/mem: "), "{memory}");
    }
    assert_eq!(listing(&place.path("")), ["in"]);
}

#[test]
fn empty_files() {
    assert_eq!(error("-k a -n 2", &[""]), "0.csv is empty: it has no rows, not even a header");
    assert_eq!(error("-k a -n 2", &["a\n", "\n\n"]), "1.csv is empty: it has no rows, not even a header");
    assert_eq!(error("-k 1 -n 2 --no-header", &[""]), "0.csv is empty: it has no rows");
    let place = Place::new();
    let said = failed(1, run_with(shuffle("-k a -n 2", &place.path("out"), ["-"]), b""));
    assert!(said.contains("stdin is empty"), "{said}");
}

#[test]
fn ragged_rows_name_their_line() {
    let text = "a,b\n1,2\n\"3\n3\",4\n\n5\n6,7\n";
    assert_eq!(error("-k a -n 2", &[text]), "0.csv:6: row has 1 field, the header has 2");
    assert_eq!(error("-k a -n 2", &["a,b\n", "a,b\n1,2,3"]), "1.csv:2: row has 3 fields, the header has 2");
    let said = error("-k 1 -n 2 --no-header", &["1,2\n1,2,3\n"]);
    assert_eq!(said, "0.csv:2: row has 3 fields, the first row of 0.csv has 2");
    let said = error("-k 1 -n 2 --no-header", &["1,2\n", "1,2,3\n"]);
    assert_eq!(said, "0.csv has 2 columns, the first row of 1.csv has 3");
}

#[test]
fn headers_must_be_the_same() {
    let said = error("-k a -n 2", &["a,b\n", "a,c\n"]);
    assert_eq!(
        said,
        "the headers of 0.csv and 1.csv are not the same: column 2 is `b` in the one and `c` in the other"
    );
    assert!(error("-k a -n 2", &["a,b\n", "a\n"]).ends_with("the one has 2 columns, the other 1"));
}

#[test]
fn rows_over_the_limit_name_the_option() {
    let said = error("-k a -n 2 --max-record 100", &[&format!("a,b\n1,2\n3,{}\n4,5\n", "x".repeat(200))]);
    assert_eq!(said, "0.csv:3: row is too large: 203 bytes so far, and --max-record allows 100");
    let closed = error("-k a -n 2 --max-record 100", &[&format!("a,b\n1,2\n3,\"{}\"\n4,5\n", "x\n".repeat(100))]);
    assert_eq!(closed, "0.csv:3: row is too large: 205 bytes so far, and --max-record allows 100");
    let open = format!("a,b\n1,\"2\n{}", "3,4\n".repeat(1_000_000));
    let said = error("-k a -n 2", &[&open]);
    assert!(said.starts_with("0.csv:2: row is too large: ") && said.contains("never closed"), "{said}");
    assert!(said.contains("--max-record allows 1048576"), "{said}");
}

#[test]
fn open_quotes_name_the_line_they_began_on() {
    let said = error("-k a -n 2", &["a,b\n1,2\n3,\"4\n5,6\n"]);
    assert_eq!(said, "0.csv:3: a quote opened in the row that starts here is never closed");
}

#[test]
fn smallest_pool_works_and_one_less_is_refused() {
    let place = Place::new();
    let data = Data::generate(1, 0, 3000, 100, "\n").and(Data::generate(2, 3000, 3000, 100, "\n"));
    let half = |ids: std::ops::Range<usize>| data.header.clone() + &data.rows[ids].concat();
    let files = [place.file("1", half(0..3000)), place.file("2", half(3000..6000))];
    for (strategy, smallest, why) in [
        ("hash", 14, "2 producers x 7 partitions"),
        ("round-robin", 14, "2 producers x 7"),
        ("broadcast", 2, "2 producers"),
    ] {
        let options = |segments: u32| {
            format!("-k key -n 7 --producers 2 --strategy {strategy} --segments {segments} --segment-size 4K")
        };
        let out = place.path(strategy);
        let said = failed(1, shuffle(&options(smallest - 1), &out, &files).output().unwrap());
        assert!(said.contains(&format!("--segments {} is too small", smallest - 1)), "{said}");
        assert!(said.contains(&format!("at least {smallest}")) && said.contains(why), "{said}");
        assert!(!out.exists());
        succeed(shuffle(&options(smallest), &out, &files));
        if strategy == "broadcast" {
            data.parts(&out, 7);
        } else {
            data.parts_once(&out, 7);
        }
    }
}

#[test]
fn segments_must_be_whole_pages() {
    let place = Place::new();
    let file = place.file("in", "a\n1\n");
    let page = forebay::memory::page_size();
    let nearest = |smaller: usize| format!("the nearest valid sizes are {smaller} and {}", smaller + page);
    let first = format!("the nearest valid size is {page}");
    for (size, told) in [
        ("0", first.clone()),
        ("1", first.clone()),
        (&(page - 1).to_string(), first),
        (&(page + 904).to_string(), nearest(page)),
        ("1073741823", nearest((1 << 30) - page)),
        ("1025M", "at most 1073741824 bytes".into()),
        ("2G", "at most 1073741824 bytes".into()),
    ] {
        let options = format!("-k a -n 2 --segment-size {size}");
        let said = failed(2, shuffle(&options, &place.path("out"), [&file]).output().unwrap());
        assert!(said.starts_with(&format!("error: invalid value '{size}' for '--segment-size <B>': ")), "{said}");
        assert!(said.contains(&told) && said.contains(&format!("{page} bytes")), "{size}: {said}");
    }
    assert_eq!(listing(&place.path("")), ["in"]);
}

/// Under a limit of the shell's.
fn limited(limit: &str, command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("{limit}; exec \"$0\" \"$@\"")]).arg(command.get_program()).args(command.get_args());
    limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    limited
}

/// Stands for a full disk: it needs no privileges.
const SMALL_FILES: &str = "ulimit -f 16";

#[test]
fn too_many_open_files_is_told_with_a_way_out() {
    let place = Place::new();
    let file = place.file("in", "a\n1\n");
    let said =
        failed(1, limited("ulimit -n 64", &shuffle("-k a -n 100", &place.path("out"), [&file])).output().unwrap());
    assert!(said.contains("cannot create a file in ") && said.contains("Too many open files"), "{said}");
    assert!(said.contains("fewer --partitions") && said.contains("ulimit -n"), "{said}");
    assert_eq!(listing(&place.path("")), ["in"]);
}

#[test]
fn refused_writes_name_the_part() {
    let place = Place::new();
    let data = Data::generate(1, 0, 20_000, 100, "\n");
    let (file, out) = (place.file("in", data.file()), place.path("out"));
    let said = failed(1, limited(SMALL_FILES, &shuffle("-k key -n 3", &out, [&file])).output().unwrap());
    assert!(said.contains("cannot write ") && said.contains(&format!("{}/part-0000", out.display())), "{said}");
    assert!(said.contains(".csv: File too large") && said.contains("no part was kept"), "{said}");
    assert_eq!(listing(&place.path("")), ["in"]);
}

#[test]
fn failure_does_not_wait_for_a_silent_stdin() {
    let place = Place::new();
    let data = Data::generate(1, 0, 20_000, 100, "\n");
    let out = place.path("out");
    let mut child = limited(SMALL_FILES, &shuffle("-k key -n 3", &out, ["-"])).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Fails once the program has ended, or is never read to its end: both are fine, as long as it ends.
    let _ = std::io::Write::write_all(&mut stdin, data.file().as_bytes());
    assert_eq!(wait_for(&mut child).code(), Some(1));
    drop(stdin);
    assert!(listing(&place.path("")).is_empty());
}
