//! DIR: made, refused, replaced; and left as it was when a run fails.

use std::fs;

use crate::support::{Data, Place, failed, listing, run_with, shuffle, succeed, succeeded};

const OPTIONS: &str = "-k key -n 2";

#[test]
fn missing_folders_are_made() {
    let place = Place::new();
    let data = Data::generate(1, 0, 10, 3, "\n");
    let out = place.path("a/b/c");
    succeed(shuffle(OPTIONS, &out, [place.file("in", data.file())]));
    data.parts_by_key(&out, 2);
}

#[test]
fn empty_folder_is_taken_and_a_full_one_refused() {
    let place = Place::new();
    let data = Data::generate(1, 0, 10, 3, "\n");
    let (file, out) = (place.file("in", data.file()), place.path("out"));
    fs::create_dir(&out).unwrap();
    succeed(shuffle(OPTIONS, &out, [&file]));
    let said = failed(1, shuffle(OPTIONS, &out, [&file]).output().unwrap());
    assert!(said.contains("out is not empty") && said.contains("--force"), "{said}");
    data.parts_by_key(&out, 2);
}

#[test]
fn force_replaces_parts_and_leaves_other_files() {
    let place = Place::new();
    let data = Data::generate(2, 0, 100, 30, "\n");
    let (file, out) = (place.file("in", data.file()), place.path("out"));
    succeed(shuffle("-k key -n 9", &out, [&file]));
    fs::write(out.join("notes.txt"), "mine").unwrap();
    fs::write(out.join("part-7.csv"), "mine").unwrap();
    succeed(shuffle("-k key -n 2 --force", &out, [&file]));
    assert_eq!(listing(&out), ["notes.txt", "part-00000.csv", "part-00001.csv", "part-7.csv"]);
    fs::remove_file(out.join("notes.txt")).unwrap();
    fs::remove_file(out.join("part-7.csv")).unwrap();
    data.parts_by_key(&out, 2);
}

#[test]
fn parts_that_are_inputs_are_not_replaced() {
    let place = Place::new();
    let data = Data::generate(4, 0, 100, 30, "\n");
    let (file, out) = (place.file("in", data.file()), place.path("out"));
    succeed(shuffle("-k key -n 3", &out, [&file]));
    let (link, linked) = (place.path("link"), place.path("linked"));
    std::os::unix::fs::symlink(&out, &linked).unwrap();
    std::os::unix::fs::symlink(out.join("part-00002.csv"), &link).unwrap();
    // One that would be replaced, one that would be removed, and both in disguise.
    for (out, part) in [
        (&out, &out.join("part-00000.csv")),
        (&out, &out.join("part-00002.csv")),
        (&linked, &out.join("../out/part-00000.csv")),
        (&out, &link),
    ] {
        let said = failed(1, shuffle("-k key -n 2 --force", out, [&file, part]).output().unwrap());
        let wanted = format!("{} is an input, and a part in {}", part.display(), out.display());
        assert!(said.contains(&wanted) && said.ends_with("choose another --out\n"), "{said}");
        data.parts_by_key(out, 3);
    }
    // Other files in DIR, parts elsewhere and stdin are as good as any.
    fs::rename(&file, out.join("in.csv")).unwrap();
    let elsewhere = place.file("part-00000.csv", &data.header);
    let command = shuffle("-k key -n 2 --force", &out, [&out.join("in.csv"), &elsewhere, &"-".into()]);
    succeeded(run_with(command, data.header.as_bytes()));
    fs::remove_file(out.join("in.csv")).unwrap();
    data.parts_by_key(&out, 2);
}

#[test]
fn failed_run_leaves_the_folder_as_it_was() {
    let place = Place::new();
    let data = Data::generate(3, 0, 5000, 30, "\n");
    let good = place.file("good", data.file());
    let bad = place.file("bad", data.file() + "5000,ragged\n");
    failed(1, shuffle(OPTIONS, &place.path("a/b"), [&bad]).output().unwrap());
    assert_eq!(listing(&place.path("")), ["bad", "good"], "no folder was made for nothing");
    let out = place.path("out");
    succeed(shuffle("-k key -n 3", &out, [&good]));
    failed(1, shuffle("-k key -n 2 --force", &out, [&bad]).output().unwrap());
    data.parts_by_key(&out, 3);
}

#[test]
fn folder_must_be_one() {
    let place = Place::new();
    let file = place.file("in", "key\n1\n");
    let said = failed(1, shuffle(OPTIONS, &file, [&file]).output().unwrap());
    assert!(said.ends_with("in is not a folder\n"), "{said}");
    let said = failed(1, shuffle(OPTIONS, &file.join("x"), [&file]).output().unwrap());
    assert!(said.contains("is not a folder"), "{said}");
    fs::create_dir_all(place.path("out/part-00001.csv")).unwrap();
    let said = failed(1, shuffle("-k key -n 2 --force", &place.path("out"), [&file]).output().unwrap());
    assert!(said.contains("part-00001.csv is a folder"), "{said}");
    assert_eq!(listing(&place.path("out")), ["part-00001.csv"]);
}
