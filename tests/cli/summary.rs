//! What a run says it did is what it did.

use std::fs;

use serde_json::Value;

use crate::support::{Data, Place, run_with, shuffle, succeed, wait_for};

#[test]
fn json_holds_the_facts() {
    let place = Place::new();
    let data = Data::generate(1, 0, 20_000, 300, "\r\n");
    // Two files, of one producer each at most, however many cores there are.
    let files = [place.file("1", data.file()), place.file("2", data.header.clone() + "\r\n\r\n")];
    let out = place.path("out");
    let text = succeed(shuffle("-k key -n 5 --segments 40 --segment-size 8K --producers 2 --json", &out, files));
    let facts: Value = serde_json::from_str(&text).unwrap();
    let number = |key: &str| facts[key].as_u64().unwrap_or_else(|| panic!("{key} in {facts}"));
    let seconds = |key: &str| facts[key].as_f64().unwrap_or_else(|| panic!("{key} in {facts}"));

    assert_eq!(facts["strategy"], "hash");
    assert_eq!((number("partitions"), number("producers")), (5, 2));
    assert_eq!((number("rows"), number("blank_lines")), (20_000, 2));
    assert_eq!(number("bytes"), data.rows.concat().len() as u64);
    assert_eq!((number("segments"), number("segment_size")), (40, 8192));
    assert!((1..=40).contains(&number("segments_most_in_use")), "{facts}");
    let elapsed = seconds("seconds");
    assert!(elapsed > 0.0);
    assert!((seconds("rows_per_second") * elapsed - 20_000.0).abs() < 1.0);
    assert!((seconds("bytes_per_second") * elapsed - number("bytes") as f64).abs() < 1.0);
    assert!((0.0..=2.0 * elapsed).contains(&seconds("back_pressured_seconds")), "{facts}");
    assert!((0.0..=5.0 * elapsed).contains(&seconds("idle_seconds")), "{facts}");

    let parts = facts["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 5);
    for (part, ids) in parts.iter().zip(data.parts_by_key(&out, 5)) {
        assert_eq!(part["rows"], ids.len());
        let size = fs::metadata(part["file"].as_str().unwrap()).unwrap().len();
        assert_eq!(part["bytes"].as_u64().unwrap() + data.header.len() as u64, size);
    }
}

#[test]
fn broadcast_counts_each_row_read_once() {
    let place = Place::new();
    let data = Data::generate(2, 0, 100, 3, "\n");
    let file = place.file("in", data.file());
    let text = succeed(shuffle("-n 3 --strategy broadcast --json", &place.path("out"), [file]));
    let facts: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(facts["rows"], 100);
    assert!(facts["parts"].as_array().unwrap().iter().all(|part| part["rows"] == 100));
}

#[test]
fn people_get_lines() {
    let place = Place::new();
    let data = Data::generate(3, 0, 1234, 100, "\n");
    let file = place.file("in", data.file());
    let few = succeed(shuffle("-k key -n 3", &place.path("few"), [&file]));
    assert!(few.starts_with("1,234 rows, "), "{few}");
    for said in
        ["rows/s", "MB/s", "part-00002.csv", "segments: at most ", "of 64 with 32,768 bytes", "back-pressured", "idle"]
    {
        assert!(few.contains(said), "{said} in {few}");
    }
    let many = succeed(shuffle("-k key -n 150 --segment-size 4K", &place.path("many"), [&file]));
    assert!(many.lines().count() < 12 && many.contains("median"), "{many}");
}

#[test]
fn broken_pipe_is_a_quiet_failure_with_all_parts() {
    let place = Place::new();
    let data = Data::generate(4, 0, 100, 9, "\n");
    let out = place.path("out");
    let mut child = shuffle("-k key -n 2", &out, ["-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), data.file().as_bytes()).unwrap();
    drop(child.stdin.take());
    assert_eq!(wait_for(&mut child).code(), Some(1));
    assert_eq!(std::io::read_to_string(child.stderr.take().unwrap()).unwrap(), "");
    data.parts_by_key(&out, 2);
}

#[test]
fn summary_that_cannot_be_written_is_told() {
    let place = Place::new();
    let data = Data::generate(4, 0, 10, 9, "\n");
    let out = place.path("out");
    let mut command = shuffle("-k key -n 2", &out, ["-"]);
    command.stdout(fs::File::options().write(true).open("/dev/full").unwrap());
    let output = run_with(command, data.file().as_bytes());
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("all parts are written, but the summary cannot be printed: No space left"), "{said}");
    data.parts_by_key(&out, 2);
}

/// Memory stays within the pool and 24 MiB, with more partitions than segments' worth of input each.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_the_pool_and_little_more() {
    let place = Place::new();
    let data = Data::generate(5, 0, 3000, 2000, "\n");
    let block = data.rows.concat();
    let out = place.path("out");
    // 4 MiB of pool; 60 times that in input.
    let options = "-k key -n 200 --segments 1024 --segment-size 4K";
    let mut child = shuffle(options, &out, ["-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut fed = data.header.len();
    std::io::Write::write_all(&mut stdin, data.header.as_bytes()).unwrap();
    while fed < 240 << 20 {
        std::io::Write::write_all(&mut stdin, block.as_bytes()).unwrap();
        fed += block.len();
    }
    // All but a pipe's worth is through, and the program waits for more.
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap().trim();
    let peak: usize = peak.strip_suffix(" kB").unwrap().parse().unwrap();
    assert!(peak < (4 + 24) << 10, "{peak} KiB at the most");
    drop(stdin);
    assert_eq!(wait_for(&mut child).code(), Some(0));
}
