//! Every row arrives once, byte for byte, in the part it belongs to, in its file's order.

use std::path::Path;

use crate::support::{Data, Place, in_order, run_with, shuffle, succeed, succeeded};

#[test]
fn hash_puts_each_key_into_one_part() {
    for ending in ["\n", "\r\n"] {
        let place = Place::new();
        let data = Data::generate(1, 0, 5000, 50, ending);
        let (file, out) = (place.file("in.csv", data.file()), place.path("out"));
        succeed(shuffle("--key key --partitions 4", &out, [&file]));
        let parts = data.parts_by_key(&out, 4);
        assert!(parts.iter().all(|ids| !ids.is_empty() && ids.is_sorted()), "order is kept");
    }
}

#[test]
fn key_may_be_any_column_by_name_or_number() {
    let place = Place::new();
    let data = Data::generate(2, 0, 300, 7, "\r\n");
    let file = place.file("in.csv", data.file());
    for (run, key) in ["key", "2"].into_iter().enumerate() {
        let out = place.path(&run.to_string());
        succeed(shuffle(&format!("-k {key} -n3"), &out, [&file]));
        data.parts_by_key(&out, 3);
    }
    // The last column: its key is without the line ending, so the last row of all, without one, is no exception.
    let swapped = "id,text,key\r\n0,,\"a\"\r\n1,,a\r\n2,,a";
    let out = place.path("last");
    succeed(shuffle("-k key -n 97", &out, [place.file("last.csv", swapped)]));
    let full: Vec<_> =
        (0..97).map(|part| std::fs::read_to_string(out.join(format!("part-{part:05}.csv"))).unwrap()).collect();
    assert_eq!(full.iter().filter(|part| part.len() > "id,text,key\r\n".len()).count(), 1);
    assert!(full.contains(&(swapped.to_owned() + "\r\n")));
}

#[test]
fn round_robin_deals_evenly() {
    let place = Place::new();
    let data = Data::generate(3, 0, 1003, 5, "\n");
    let (file, out) = (place.file("in.csv", data.file()), place.path("out"));
    succeed(shuffle("--strategy round-robin --partitions 4", &out, [&file]));
    let parts = data.parts_once(&out, 4);
    assert!(parts.iter().all(|ids| (250..=251).contains(&ids.len()) && ids.is_sorted()));
}

#[test]
fn broadcast_gives_every_row_to_every_part() {
    let place = Place::new();
    let data = Data::generate(4, 0, 1000, 5, "\n");
    let (file, out) = (place.file("in.csv", data.file()), place.path("out"));
    succeed(shuffle("--strategy broadcast --partitions 3", &out, [&file]));
    for ids in data.parts(&out, 3) {
        assert!(ids.into_iter().eq(0..1000));
    }
}

#[test]
fn several_files_keep_their_order_and_never_join() {
    let place = Place::new();
    let sizes = [1000, 1, 500, 0, 700];
    let mut data = Data::generate(5, 0, 0, 1, "\n");
    let (mut files, mut ranges) = (Vec::new(), Vec::new());
    for (index, rows) in sizes.into_iter().enumerate() {
        let first = data.rows.len();
        let part = Data::generate(index as u64, first, rows, 40, "\n");
        // Without its last newline: a header alone too.
        let content = part.file();
        files.push(place.file(&format!("{index}.csv"), content.strip_suffix('\n').unwrap()));
        ranges.push(first..first + rows);
        data = data.and(part);
    }
    for producers in ["1", "2", "5", "9"] {
        let out = place.path(producers);
        succeed(shuffle(&format!("-k key -n 4 --producers {producers}"), &out, &files));
        for ids in data.parts_by_key(&out, 4) {
            assert!(ranges.iter().all(|range| in_order(&ids, range.clone())), "each file's order is kept");
        }
    }
}

#[test]
fn stdin_is_a_file_among_others() {
    let place = Place::new();
    let (one, two) = (Data::generate(6, 0, 3000, 9, "\n"), Data::generate(7, 3000, 100, 9, "\n"));
    let (file, out) = (place.file("two.csv", two.file()), place.path("out"));
    let input = one.file();
    let data = one.and(two);
    succeeded(run_with(shuffle("-k key -n 4", &out, [Path::new("-"), &file]), input.as_bytes()));
    data.parts_by_key(&out, 4);
}

#[test]
fn rows_larger_than_segments_span_them() {
    let place = Place::new();
    let mut data = Data::generate(8, 0, 500, 9, "\n");
    for (id, size) in [(20, 4096), (21, 100_000), (22, 4090)] {
        data.rows[id] = format!("{id},big,\"{}\"\n", "\n".repeat(size));
        data.keys[id] = "big".into();
    }
    let file = place.file("in.csv", data.file());
    for strategy in ["hash", "round-robin"] {
        // The smallest pool there can be: a segment for each partition.
        let out = place.path(strategy);
        let options = format!("-k key -n 5 --segment-size 4K --segments 5 --strategy {strategy}");
        succeed(shuffle(&options, &out, [&file]));
        data.parts_once(&out, 5);
    }
    let out = place.path("broadcast");
    succeed(shuffle("-n 5 --segment-size 4096 --segments 1 --strategy broadcast", &out, [&file]));
    assert!(data.parts(&out, 5).into_iter().all(|ids| ids.into_iter().eq(0..500)));
}

#[test]
fn two_hundred_partitions() {
    let place = Place::new();
    let data = Data::generate(9, 0, 20_000, 5000, "\n");
    let (file, out) = (place.file("in.csv", data.file()), place.path("out"));
    succeed(shuffle("-k key -n 200 --segment-size 4K", &out, [&file]));
    let parts = data.parts_by_key(&out, 200);
    assert!(parts.iter().all(|ids| ids.is_sorted()));
}

#[test]
fn buffer_timeouts_change_nothing_but_time() {
    let place = Place::new();
    let data = Data::generate(10, 0, 2000, 20, "\n");
    let file = place.file("in.csv", data.file());
    for timeout in ["0", "1", "none"] {
        let out = place.path(timeout);
        succeed(shuffle(&format!("-k key -n 3 --buffer-timeout {timeout}"), &out, [&file]));
        data.parts_by_key(&out, 3);
    }
}
