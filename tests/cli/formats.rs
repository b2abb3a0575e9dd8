//! What files may look like: no header, other delimiters, blank lines, byte-order marks, headers alone.

use std::fs;
use std::path::Path;

use crate::support::{Place, listing, run_with, shuffle, succeed, succeeded};

/// The parts' contents, sorted, for runs whose parts are known but not which is which.
fn contents(out: &Path) -> Vec<String> {
    let mut all: Vec<_> = listing(out).iter().map(|name| fs::read_to_string(out.join(name)).unwrap()).collect();
    all.sort();
    all
}

#[test]
fn without_a_header_every_row_is_one() {
    let place = Place::new();
    let (one, two) = (place.file("1", "a,1\nb,2\r\n"), place.file("2", "a,3"));
    let out = place.path("out");
    succeed(shuffle("--no-header --key 1 -n 1", &out, [one, two]));
    // The file that is first need not be read first to its end: two producers may take turns.
    let content = contents(&out).concat();
    assert!(["a,1\nb,2\r\na,3\n", "a,3\na,1\nb,2\r\n", "a,1\na,3\nb,2\r\n"].contains(&&*content), "{content}");
}

#[test]
fn delimiters_other_than_commas() {
    let place = Place::new();
    for (run, (option, byte)) in [(r"\t", "\t"), (";", ";"), ("|", "|")].into_iter().enumerate() {
        let text = "id,key\n1,\"x,\"\n2,\"x,\"\n".replace(',', byte);
        let out = place.path(&run.to_string());
        succeed(shuffle(&format!("-k key -n 2 -d {option}"), &out, [place.file("in", &text)]));
        assert_eq!(contents(&out), [text.split_inclusive('\n').next().unwrap(), &text]);
    }
}

#[test]
fn blank_lines_are_values_in_one_column_only() {
    let place = Place::new();
    let two = place.file("two", "\na,b\n\n1,2\n\r\n\n3,4\n\n");
    let text = succeed(shuffle("-k a -n 1", &place.path("two.out"), [two]));
    assert!(text.contains("5 blank lines passed over"), "{text}");
    assert_eq!(contents(&place.path("two.out")), ["a,b\n1,2\n3,4\n"]);
    let one = place.file("one", "a\n1\n\n2\n\n");
    let text = succeed(shuffle("-k a -n 1", &place.path("one.out"), [one]));
    assert!(!text.contains("blank"), "{text}");
    assert_eq!(contents(&place.path("one.out")), ["a\n1\n\n2\n\n"]);
    // From a pipe, which cannot be looked into first and read again.
    let out = place.path("pipe.out");
    succeeded(run_with(shuffle("--no-header -k 1 -n 1", &out, ["-"]), b"\n\r\n1\n\n"));
    assert_eq!(contents(&out), ["\n\r\n1\n\n"]);
}

#[test]
fn byte_order_mark_stays_with_the_first_header() {
    let place = Place::new();
    let (one, two) = (place.file("1", "\u{feff}\"a\",b\n1,2\n"), place.file("2", "\u{feff}\"a\",b\r\n3,4\r\n"));
    let out = place.path("out");
    succeed(shuffle("-k a -n 1 --producers 1", &out, [one, two]));
    assert_eq!(contents(&out), ["\u{feff}\"a\",b\n1,2\n3,4\r\n"]);
}

#[test]
fn header_alone_is_a_file_without_rows() {
    let place = Place::new();
    for (run, (text, part)) in [("a,b\r\n", "a,b\r\n"), ("a,b", "a,b\n")].into_iter().enumerate() {
        let out = place.path(&run.to_string());
        let said = succeed(shuffle("-k a -n 3", &out, [place.file("in", text)]));
        assert!(said.starts_with("0 rows, "), "{said}");
        assert_eq!(contents(&out), [part; 3]);
    }
}

#[test]
fn quoted_header_may_span_lines() {
    let place = Place::new();
    let text = "\"a\nb\",\"c \"\"d\"\"\"\n1,2\n";
    let out = place.path("out");
    let mut command = shuffle("-n 1", &out, [place.file("in", text)]);
    command.arg("--key").arg("c \"d\"");
    succeed(command);
    assert_eq!(contents(&out), [text]);
}
