//! Whatever is in the files and whatever the options: what comes out is what went in.

use std::fs;

use proptest::prelude::*;

use crate::support::{Place, listing, run_with, shuffle, succeeded};

/// A field with all that a field may have.
fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-c]{0,3}",
        2 => "\"([a,;\r\n]|\"\"){0,6}\"",
        1 => "[a-c]\"[\"a-c]{0,2}",
        1 => Just("long ".repeat(1000)),
    ]
}

/// Rows of the same number of columns, each with its line ending.
fn files() -> impl Strategy<Value = (usize, Vec<Vec<String>>)> {
    (2_usize..5).prop_flat_map(|columns| {
        let ending = prop_oneof![Just("\n"), Just("\r\n")];
        let row = (prop::collection::vec(field(), columns), ending).prop_map(|(fields, end)| fields.join(",") + end);
        (Just(columns), prop::collection::vec(prop::collection::vec(row, 1..40), 1..4))
    })
}

#[derive(Debug, Clone)]
struct Options {
    strategy: &'static str,
    partitions: usize,
    producers: usize,
    segments: Option<usize>,
    timeout: &'static str,
    final_newline: bool,
    from_stdin: bool,
}

fn options() -> impl Strategy<Value = Options> {
    (
        prop_oneof![Just("hash"), Just("round-robin"), Just("broadcast")],
        1_usize..9,
        1_usize..4,
        prop::option::of(0_usize..9),
        prop_oneof![Just("0"), Just("1"), Just("none")],
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(strategy, partitions, producers, extra, timeout, final_newline, from_stdin)| Options {
            strategy,
            partitions,
            producers,
            segments: extra.map(|extra| partitions * producers + extra),
            timeout,
            final_newline,
            from_stdin,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn union_of_the_parts_is_the_input((columns, files) in files(), options in options(), key in 1_usize..5) {
        let place = Place::new();
        let out = place.path("out");
        let header = "h,".repeat(columns - 1) + "h\n";
        let mut paths = Vec::new();
        let mut stdin = Vec::new();
        for (index, rows) in files.iter().enumerate() {
            let mut content = header.clone() + &rows.concat();
            if !options.final_newline {
                content.truncate(content.trim_end_matches(['\r', '\n']).len());
            }
            if options.from_stdin && index == 0 {
                stdin = content.into_bytes();
                paths.push("-".into());
            } else {
                paths.push(place.file(&index.to_string(), content));
            }
        }
        let segments = options.segments.map_or(String::new(), |segments| format!("--segments {segments}"));
        let line = format!(
            "--key {} --strategy {} -n {} --producers {} --buffer-timeout {} --segment-size 4K {segments}",
            (key - 1) % columns + 1, options.strategy, options.partitions, options.producers, options.timeout,
        );
        succeeded(run_with(shuffle(&line, &out, &paths), &stdin));

        let mut wanted: Vec<&str> = files.iter().flatten().map(|row| row.trim_end_matches(['\r', '\n'])).collect();
        if options.strategy == "broadcast" {
            wanted = wanted.repeat(options.partitions);
        }
        wanted.sort_unstable();
        let parts: Vec<String> =
            listing(&out).iter().map(|name| fs::read_to_string(out.join(name)).unwrap()).collect();
        prop_assert_eq!(parts.len(), options.partitions);
        let mut found = Vec::new();
        for part in &parts {
            let mut rest = part.strip_prefix(&*header).expect("each part starts with the header");
            while !rest.is_empty() {
                let row = row_length(rest);
                found.push(rest[..row].trim_end_matches(['\r', '\n']));
                rest = &rest[row..];
            }
        }
        found.sort_unstable();
        prop_assert_eq!(found, wanted);
    }
}

/// The length of the first row of well-formed CSV: to the first newline outside quotes. In a field that starts with a
/// quote, each quote opens or closes; elsewhere it is a byte like any other.
fn row_length(text: &str) -> usize {
    let (mut inside, mut quoted_field, mut at_start) = (false, false, true);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            b'\n' if !inside => return index + 1,
            b',' if !inside => (quoted_field, at_start) = (false, true),
            b'"' if quoted_field || at_start => (inside, quoted_field, at_start) = (!inside, true, false),
            _ => at_start = false,
        }
    }
    text.len()
}
