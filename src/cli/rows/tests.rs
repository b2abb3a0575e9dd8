//! The scanner against csv-core alone, and its line numbers, limits and errors.

use std::io::{self, Read};

use csv_core::{ReadRecordResult, ReaderBuilder, Terminator};
use proptest::prelude::*;

use super::*;

/// Gives `data` in reads of the given sizes, over and over.
struct Dribble<'a> {
    data: &'a [u8],
    sizes: Vec<usize>,
    reads: usize,
}

impl Read for Dribble<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let size = self.sizes[self.reads % self.sizes.len()];
        self.reads += 1;
        if self.reads.is_multiple_of(3) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let n = size.min(buf.len()).min(self.data.len());
        buf[..n].copy_from_slice(&self.data[..n]);
        self.data = &self.data[n..];
        Ok(n)
    }
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn expected(columns: usize) -> Expected {
    Expected { columns, reference: "the header".into() }
}

fn format(max_record: usize) -> Format {
    Format { delimiter: b',', max_record }
}

/// All rows and keys, how many lines were blank, and what ended it.
fn scan(data: &[u8], sizes: &[usize], columns: usize, key: usize) -> (Rows, u64, Result<(), String>) {
    let source = Dribble { data, sizes: sizes.to_vec(), reads: 0 };
    let mut scanner = Scanner::new(source, "f", format(1 << 20));
    scanner.expect(expected(columns), Some(key));
    let mut rows = Vec::new();
    let ended = loop {
        match scanner.next_row() {
            Ok(Some(row)) => rows.push((row.bytes.to_vec(), row.key.to_vec())),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error.to_string()),
        }
    };
    (rows, scanner.blank_lines(), ended)
}

/// The same by csv-core alone, asked afresh for each row, with the whole file before it. Only where the two see
/// things differently is it told so: to csv-core `\r` is content, a blank line is nothing, and the end of the file ends
/// quotes.
fn oracle(data: &[u8], columns: usize, key: usize) -> (Rows, u64, Result<(), String>) {
    let mut data = data.to_vec();
    let (mut rows, mut blank, mut line, mut begin, mut crlf) = (Rows::new(), 0, 1, 0, false);
    while begin < data.len() {
        let content = begin + if begin == 0 && data.starts_with(BOM) { BOM.len() } else { 0 };
        let rest = &data[content..];
        let mut output = vec![0; rest.len() + 1];
        let mut ends = vec![0; rest.len() + 1];
        // Built afresh, for a clone of csv-core's reader is not one; its first read would look for a mark.
        let mut parser = ReaderBuilder::new().terminator(Terminator::Any(b'\n')).build();
        parser.read_field(&[], &mut []);
        let (result, mut used, _, mut fields) = parser.read_record(rest, &mut output, &mut ends);
        if rest.starts_with(b"\n") || rest.starts_with(b"\r\n") {
            used = 1 + usize::from(rest[0] == b'\r');
            if columns != 1 {
                (blank, line, begin, crlf) = (blank + 1, line + 1, content + used, used == 2);
                continue;
            }
            (output, ends, fields) = (vec![b'\r'; used - 1], vec![used - 1], 1);
        } else if result != ReadRecordResult::Record {
            let ending: &[u8] = match (crlf, data.last()) {
                (_, Some(b'\n')) => {
                    let error = format!("f:{line}: a quote opened in the row that starts here is never closed");
                    return (rows, blank, Err(error));
                }
                (true, Some(b'\r')) | (false, _) => b"\n",
                (true, _) => b"\r\n",
            };
            data.extend_from_slice(ending);
            continue;
        }
        if fields != columns {
            let s = if fields == 1 { "" } else { "s" };
            return (rows, blank, Err(format!("f:{line}: row has {fields} field{s}, the header has {columns}")));
        }
        let row = &data[begin..content + used];
        let mut field = output[if key == 0 { 0 } else { ends[key - 1] }..ends[key]].to_vec();
        crlf = row.ends_with(b"\r\n");
        if crlf && key + 1 == fields {
            assert_eq!(field.pop(), Some(b'\r'));
        }
        line += memchr_iter(b'\n', row).count();
        begin = content + used;
        rows.push((row.to_vec(), field));
    }
    (rows, blank, Ok(()))
}

fn field() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[a-z+.-]{0,6}",
        1 => "[a\"]{1,4}",
        1 => Just("\"quoted\"".to_owned()),
        1 => "\"([a,\r\n]|\"\"){0,8}\"",
        1 => "[\r ]{1,2}",
        1 => "\"[a-z]{0,3}\"[a-z]{1,2}",
    ]
}

/// Mostly well-formed: rows of `columns` fields, then a little noise.
fn content() -> impl Strategy<Value = (usize, Vec<u8>)> {
    (1_usize..8).prop_flat_map(|columns| {
        let row = (prop::collection::vec(field(), columns), prop_oneof![Just("\n"), Just("\r\n"), Just("\n\n")])
            .prop_map(|(fields, ending)| fields.join(",") + ending);
        let noise = prop_oneof![8 => Just(String::new()), 1 => "[a,\"\r\n]{0,6}"];
        let bom = prop_oneof![4 => Just(""), 1 => Just("\u{feff}")];
        (bom, prop::collection::vec(prop_oneof![9 => row, 1 => noise.boxed()], 0..12), 0..4_usize).prop_map(
            move |(bom, rows, cut)| {
                let mut all = (bom.to_owned() + &rows.concat()).into_bytes();
                all.truncate(all.len().saturating_sub(cut));
                (columns, all)
            },
        )
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn rows_are_those_of_csv_core(
        (columns, data) in content(),
        key in 0_usize..8,
        sizes in prop::collection::vec(1_usize..9, 1..5),
    ) {
        let key = key % columns;
        let wanted = oracle(&data, columns, key);
        prop_assert_eq!(&scan(&data, &sizes, columns, key), &wanted);
        prop_assert_eq!(&scan(&data, &[1], columns, key), &wanted);
        prop_assert_eq!(&scan(&data, &[usize::MAX], columns, key), &wanted);
        if wanted.2.is_ok() && columns == 1 {
            let bytes: Vec<u8> = wanted.0.iter().flat_map(|(row, _)| row).copied().collect();
            prop_assert!(bytes.starts_with(&data), "every byte of the file is in a row");
        }
    }

    #[test]
    fn any_bytes_are_those_of_csv_core(data in "[ab,+\"\r\n-]{0,40}", columns in 1_usize..4) {
        let wanted = oracle(data.as_bytes(), columns, columns - 1);
        prop_assert_eq!(scan(data.as_bytes(), &[1], columns, columns - 1), wanted);
    }
}

/// Bytes that differ from the delimiter in one bit, or by one, next to it and anywhere in a word of eight.
#[test]
fn delimiters_are_told_from_their_neighbours() {
    for delimiter in [b',', b'\t', 0, 0x7f, 0x80, 0xff] {
        for other in 0..=u8::MAX {
            let content = [delimiter, other, delimiter, other, other, delimiter, delimiter].repeat(5);
            let naive: Vec<usize> = (0..content.len()).filter(|&at| content[at] == delimiter).collect();
            let found: Vec<usize> = (0..).map_while(|n| nth(&content, delimiter, n)).collect();
            assert_eq!(found, naive, "{delimiter} and {other}");
        }
    }
}

#[test]
fn quoted_and_bare_keys_are_one_key() {
    let (rows, _, ended) = scan(b"1,UA\r\n2,\"UA\"\r\n\"3\",UA\r\n4,UA", &[usize::MAX], 2, 1);
    assert_eq!(ended, Ok(()));
    assert!(rows.iter().all(|(_, key)| key == b"UA"), "{rows:?}");
    assert_eq!(rows[3].0, b"4,UA\r\n", "completed with the file's own line ending");
}

#[test]
fn long_rows_keep_their_keys_whole() {
    // Over the parser's output and its list of ends, and over the buffer's first size.
    let long = "x".repeat(2 * CHUNK);
    let row = format!("{}\"{long}\"\"\",\"{long}\",{long}\"\n", "1,".repeat(200));
    for (key, value) in [(0, "1".into()), (199, "1".into()), (200, format!("{long}\"")), (202, format!("{long}\""))] {
        let (rows, _, ended) = scan(row.as_bytes(), &[usize::MAX], 203, key);
        assert_eq!(ended, Ok(()));
        assert!(rows == [(row.clone().into_bytes(), String::into_bytes(value))], "key {key}");
    }
}

#[test]
fn errors_name_the_line_a_row_starts_on() {
    let ragged = b"a,\"b\nb\nb\"\r\n\n\"c\n\",\n1\n";
    assert_eq!(scan(ragged, &[7], 2, 0).2, Err("f:7: row has 1 field, the header has 2".into()));
    let open = b"a,b\n\"c\",\"d\n\n\n";
    assert_eq!(scan(open, &[7], 2, 0).2, Err("f:2: a quote opened in the row that starts here is never closed".into()));
}

#[test]
fn memory_is_bounded_and_the_limit_exact() {
    for quote in ["", "\""] {
        let line = |len: usize| format!("{quote}{}{quote}\n", "x".repeat(len - 1 - 2 * quote.len()));
        let limit = 300_000;
        for (len, fits) in [(limit, true), (limit + 1, false), (50 * limit, false)] {
            let data = format!("x\n{}", line(len));
            let mut scanner = Scanner::new(data.as_bytes(), "f", format(limit));
            scanner.expect(expected(1), Some(0));
            assert_eq!(scanner.next_row().unwrap().unwrap().bytes, b"x\n");
            match scanner.next_row() {
                Ok(row) => assert!(fits && row.unwrap().bytes.len() == len, "{len}"),
                Err(error) => {
                    assert!(!fits, "{len}");
                    let said = error.to_string();
                    assert!(said.starts_with("f:2: row is too large: ") && said.contains("--max-record"), "{said}");
                    let end_seen = len == limit + 1;
                    assert_eq!(said.contains("never closed"), quote == "\"" && !end_seen, "{said}");
                }
            }
            assert!(scanner.buf.capacity() <= limit + CHUNK, "{}", scanner.buf.capacity());
        }
    }
}

#[test]
fn only_a_row_without_an_end_is_asked_about_its_quotes() {
    let said = |row: &str| {
        let mut scanner = Scanner::new(row.as_bytes(), "f", format(9));
        scanner.expect(expected(1), None);
        scanner.next_row().unwrap_err().to_string()
    };
    let whole = "f:1: row is too large: 12 bytes so far, and --max-record allows 9";
    assert_eq!(said("\"34567\n90\"3\n1\n"), whole);
    assert_eq!(said("234567890\"3\n1\n"), whole);
    let open = "f:1: row is too large: 14 bytes so far, and --max-record allows 9 (is a quote in it never closed?)";
    assert_eq!(said("\"34567\n9012\n1\n"), open);
}

#[test]
fn small_limits_hold_inside_a_buffer_too() {
    let mut scanner = Scanner::new(&b"12\n123\n"[..], "f", format(3));
    scanner.expect(expected(1), None);
    assert_eq!(scanner.next_row().unwrap().unwrap().bytes, b"12\n");
    let said = scanner.next_row().unwrap_err().to_string();
    assert_eq!(said, "f:2: row is too large: 4 bytes so far, and --max-record allows 3");
}

#[test]
fn header_keeps_its_byte_order_mark_and_rows_follow() {
    let data = b"\n\xef\xbb\xbf\r\n\xef\xbb\xbf\"a\",b\r\n1,2";
    let mut scanner = Scanner::new(&data[1 + 5..], "f", format(99));
    let header = scanner.header().unwrap();
    assert_eq!((header.raw(), header.columns()), (&b"\xef\xbb\xbf\"a\",b\r\n"[..], 2));
    assert_eq!(header.find("a"), Ok(0), "the mark is in front of the quote");
    scanner.expect(expected(2), Some(1));
    assert_eq!(scanner.next_row().unwrap().unwrap(), Row { bytes: b"1,2\r\n", key: b"2" });
    assert!(scanner.next_row().unwrap().is_none());
}

#[test]
fn blank_lines_before_the_header_are_counted() {
    let mut scanner = Scanner::new(&b"\r\n\na\n"[..], "f", format(99));
    assert_eq!(scanner.header().unwrap().raw(), b"a\n");
    assert_eq!(scanner.blank_lines(), 2);
}

#[test]
fn peeked_rows_come_again_with_the_blank_lines_before_them() {
    let all = |columns: usize, data: &[u8]| {
        let mut scanner = Scanner::new(Dribble { data, sizes: vec![1], reads: 0 }, "f", format(99));
        assert_eq!(scanner.peek_columns().unwrap(), columns);
        scanner.expect(expected(columns), Some(columns - 1));
        let mut rows = Vec::new();
        while let Some(row) = scanner.next_row().unwrap() {
            rows.push(String::from_utf8(row.bytes.to_vec()).unwrap());
        }
        (rows.concat(), scanner.blank_lines())
    };
    assert_eq!(all(1, b"\n\r\nx\n\n"), ("\n\r\nx\n\n".into(), 0));
    assert_eq!(all(2, b"\n\r\n1,2\n\n3,4"), ("1,2\n3,4\n".into(), 3));
    assert_eq!(all(1, b"\xef\xbb\xbfx"), ("\u{feff}x\n".into(), 0));
}

#[test]
fn files_without_rows_are_empty() {
    for data in ["", "\n", "\r\n\n"] {
        let scanner = || Scanner::new(data.as_bytes(), "f.csv", format(99));
        let said = scanner().header().unwrap_err().to_string();
        assert_eq!(said, "f.csv is empty: it has no rows, not even a header");
        assert_eq!(scanner().peek_columns().unwrap_err().to_string(), "f.csv is empty: it has no rows");
    }
}

#[test]
fn failing_reads_name_the_file() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("gone"))
        }
    }
    let mut scanner = Scanner::new(Broken, "f.csv", format(99));
    scanner.expect(expected(1), None);
    assert_eq!(scanner.next_row().unwrap_err().to_string(), "cannot read f.csv");
}
