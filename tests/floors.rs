//! The floor plan, enforced: a room may use only rooms on floors below its own, so there are no circles.
//!
//! Reads the sources as text. What is in comments, strings and `#[cfg(test)]` does not count.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Every room of `src/` and its floor. A room may use those with a smaller number, never one with the same.
const ROOMS: [(&str, f32); 18] = [
    ("sync", 0.0),
    ("lockfree", 0.5), // with `memory` the ground floor: both know `sync` alone
    ("memory", 0.5),
    ("buffer", 1.0),
    ("pool", 2.0),
    ("credit", 2.0),
    ("record", 3.0),
    ("channel", 4.0),   // what the two sides share, so it knows neither
    ("partition", 4.5), // the two sides of the exchange don't know each other
    ("gate", 4.5),
    ("wire", 5.0),
    ("transport", 6.0),
    ("metrics", 7.0), // the roof: nothing below looks up to it
    ("capi", 8.0),
    ("fuzzing", 8.0),
    ("models", 8.0), // in loom builds only
    ("cli", 8.0),
    ("main", 9.0),
];

/// Rooms that may use only these, however far down the others are.
const ONLY: [(&str, &[&str]); 1] = [("wire", &["buffer"])];

/// Rooms whose purpose is unsafe code. Every other starts with `#![forbid(unsafe_code)]`.
const UNSAFE: [&str; 4] = ["lockfree", "memory", "buffer", "capi"];

/// Over this, split a file by state.
const MOST_LINES: usize = 600;

#[test]
fn no_arrow_points_up_or_sideways() {
    let sources = sources();
    let scans: Vec<_> = sources.iter().map(|(file, text)| (file, scan(file, text))).collect();
    let tests: BTreeSet<&PathBuf> = scans.iter().flat_map(|(_, scan)| &scan.test_files).collect();
    let wrong: Vec<String> = scans
        .iter()
        .filter(|(file, _)| !tests.iter().any(|t| *file == *t || file.starts_with(t.with_extension(""))))
        .flat_map(|(file, scan)| wrong_arrows(file, &scan.arrows))
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long_to_read() {
    for (file, text) in sources() {
        let lines = text.lines().count();
        assert!(lines <= MOST_LINES, "{} has {lines} lines, limit {MOST_LINES}: split it by state", file.display());
    }
}

#[test]
fn rooms_without_a_reason_forbid_unsafe_code() {
    for (file, text) in sources() {
        let is_door = file.file_stem().is_some_and(|stem| stem == "mod") && file.components().count() == 3;
        let is_room = is_door || file.components().count() == 2;
        if is_room && room(&file) != "lib" && !UNSAFE.contains(&room(&file)) {
            let forbids = text.lines().any(|line| line == "#![forbid(unsafe_code)]");
            assert!(forbids, "{} must start with #![forbid(unsafe_code)]", file.display());
        }
    }
}

/// A cause is told by the text or by `source`, or whoever prints both says it twice.
#[test]
fn no_error_says_what_its_source_says() {
    for (file, text) in sources() {
        for error in text.split("#[error(").skip(1) {
            let (said, item) = error.split_once(")]\n").unwrap_or((error, ""));
            let end = ["),\n", ");\n", "},\n", "\n}\n"].iter().filter_map(|end| item.find(end)).min();
            let item: String =
                item[..end.unwrap_or(item.len())].lines().filter(|l| !l.trim().starts_with("///")).collect();
            let fields = item.split_once(['(', '{']).map_or("", |(_, fields)| fields);
            let names = fields.split(',').enumerate().filter_map(|(place, field)| {
                let marked = field.contains("#[source]") || field.contains("#[from]");
                let field = field.rsplit(']').next()?.trim().trim_start_matches("pub ");
                let name = field.split_once(": ").map_or(place.to_string(), |(name, _)| name.to_owned());
                (marked || name == "source").then_some(name)
            });
            for name in names {
                assert!(!said.contains(&format!("{{{name}")), "{}: {said} says its source, {name}", file.display());
            }
        }
    }
}

/// A row of `mutants.tsv` is named after a label (`I1 Release`), or after a step that it leaves out (`put: the wake`).
#[test]
fn every_mutant_names_a_label_of_its_own_or_a_step() {
    let sources = sources();
    for row in mutants() {
        let [name, file] = [0, 1].map(|column| row.split('\t').nth(column).expect(&row));
        assert!(root().join(file).is_file(), "no file {file}: {row:?}");
        let first = name.split(' ').next().unwrap_or_default();
        if is_label(first) {
            let known = sources.iter().flat_map(|(_, text)| labels(text)).any(|(label, _)| label == first);
            assert!(known, "no ordering is labelled {first}: {row:?}");
        } else {
            assert!(name.contains(' '), "{name} is neither a label nor says what is left out");
        }
    }
}

#[test]
fn every_label_has_a_mutant_or_says_why_not() {
    let mutants = mutants();
    for (file, text) in sources() {
        for (label, comment) in labels(&text) {
            let weakened = mutants.iter().any(|row| row.split(['\t', ' ']).next() == Some(label));
            let words: Vec<_> = comment.split_whitespace().filter(|word| *word != "//").collect();
            let excused = words.join(" ").contains("ot modelled"); // wherever a line ends
            assert!(weakened || excused, "{}: no mutant weakens {label}", file.display());
        }
    }
}

/// A model that can not fail proves nothing.
#[test]
fn every_model_has_a_mutant_that_it_catches() {
    let caught: Vec<_> = mutants().iter().filter_map(|row| row.rsplit('\t').next().map(str::to_owned)).collect();
    let mut models = 0;
    for entry in fs::read_dir(root().join("loom-tests/tests")).unwrap() {
        let path = entry.unwrap().path();
        let Some(file) = path.file_stem().and_then(|stem| stem.to_str()).filter(|_| path.is_file()) else { continue };
        let text = fs::read_to_string(&path).unwrap();
        for test in text.split("#[test]").skip(1) {
            let name = test.split_once("fn ").and_then(|(_, rest)| rest.split('(').next()).expect("a function");
            let model = format!("{file}::{name}");
            assert!(caught.contains(&model), "no row of mutants.tsv makes {model} fail");
            models += 1;
        }
    }
    assert!(models > 0, "no models");
}

fn mutants() -> Vec<String> {
    let table = fs::read_to_string(root().join("loom-tests/mutants.tsv")).expect("loom-tests/mutants.tsv");
    let rows = table.lines().filter(|row| !row.starts_with('#') && !row.is_empty()).skip(1);
    rows.map(str::to_owned).collect()
}

/// `I1`, `L-D`.
fn is_label(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(|c| c.is_ascii_uppercase())
        && word.contains(|c: char| c.is_ascii_digit() || c == '-')
        && chars.all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-')
}

/// Each label, and the comment that begins with it.
fn labels(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.match_indices("// ORDERING ").filter_map(|(at, mark)| {
        let comment = &text[at + mark.len()..];
        let end = comment
            .match_indices('\n')
            .map(|(at, _)| at)
            .find(|&at| !comment[at..].trim_start().starts_with("//"))
            .unwrap_or(comment.len());
        let label = comment.split([' ', ',']).next()?;
        is_label(label).then_some((label, &comment[..end]))
    })
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file, by its path from the root (`src/pool/mod.rs`).
fn sources() -> Vec<(PathBuf, String)> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = folder.join(entry.unwrap().file_name());
            if root().join(&path).is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    assert!(!found.is_empty(), "no sources");
    found.sort();
    found.into_iter().map(|file| (file.clone(), fs::read_to_string(root().join(file)).unwrap())).collect()
}

/// The room a file is in: `pool` for `src/pool/local.rs` and for `src/pool.rs`.
fn room(file: &Path) -> &str {
    let first = file.iter().nth(1).and_then(|name| name.to_str()).expect("a file below src/");
    first.strip_suffix(".rs").unwrap_or(first)
}

fn floor(room: &str) -> Option<f32> {
    ROOMS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// What is wrong with the arrows from `file`, one line each.
fn wrong_arrows(file: &Path, arrows: &[(usize, String)]) -> Vec<String> {
    let from = room(file);
    if from == "lib" {
        return Vec::new(); // the door re-exports every floor
    }
    let Some(own) = floor(from) else {
        return vec![format!("{}: unknown room `{from}`: add it to ROOMS in tests/floors.rs", file.display())];
    };
    let only = ONLY.iter().find(|(name, _)| *name == from).map(|(_, rooms)| *rooms);
    let wrong = |to: &str| match floor(to) {
        _ if to == from => None,
        None => Some(format!("`crate::{to}` is no room: name the room, or add a new one to ROOMS in tests/floors.rs")),
        Some(floor) if floor > own => Some(format!("`{from}` (floor {own}) looks up to `{to}` (floor {floor})")),
        Some(floor) if floor >= own => Some(format!("`{from}` looks sideways to `{to}`, both on floor {own}")),
        Some(_) if only.is_some_and(|rooms| !rooms.contains(&to)) => {
            Some(format!("`{from}` may use only {only:?}, and not `{to}`"))
        }
        Some(_) => None,
    };
    arrows.iter().filter_map(|(line, to)| Some(format!("{}:{line}: {}", file.display(), wrong(to)?))).collect()
}

struct Scan {
    /// Line, and the first name after `crate::` or after enough `super::` to come out at the root.
    arrows: Vec<(usize, String)>,
    /// Files that `#[cfg(test)] mod name;` brings in.
    test_files: Vec<PathBuf>,
}

fn scan(file: &Path, text: &str) -> Scan {
    let mut test_files = Vec::new();
    let tokens = without_tests(&tokens(text), |name| {
        let is_door = file.file_stem().is_some_and(|stem| stem == "mod" || stem == "lib" || stem == "main");
        let folder = if is_door { file.parent().unwrap().to_owned() } else { file.with_extension("") };
        test_files.push(folder.join(name).with_extension("rs"));
        test_files.push(folder.join(name).join("mod.rs"));
    });

    // How many `super::` lead from here to the root: the file's own modules, and the inline ones around.
    let file_depth =
        file.iter().skip(1).filter(|p| !["mod.rs", "lib.rs", "main.rs"].contains(&p.to_str().unwrap())).count();
    let (mut braces, mut inline) = (0, Vec::new());
    let mut arrows = Vec::new();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token.text {
            "{" => {
                braces += 1;
                if at >= 2 && tokens[at - 2].text == "mod" {
                    inline.push(braces);
                }
            }
            "}" => {
                if inline.last() == Some(&braces) {
                    inline.pop();
                }
                braces -= 1;
            }
            "crate" | "super" => {
                let mut supers = 0;
                while tokens.get(at).is_some_and(|t| t.text == "super") && is_path(&tokens, at + 1) {
                    supers += 1;
                    at += 3;
                }
                if supers > 0 {
                    if supers == file_depth + inline.len() {
                        arrows.extend(targets(&tokens[at..]));
                    }
                    continue;
                }
                if token.text == "crate" && is_path(&tokens, at + 1) {
                    arrows.extend(targets(&tokens[at + 3..]));
                }
            }
            _ => {}
        }
        at += 1;
    }
    Scan { arrows, test_files }
}

fn is_path(tokens: &[Token], at: usize) -> bool {
    tokens.get(at).is_some_and(|t| t.text == ":") && tokens.get(at + 1).is_some_and(|t| t.text == ":")
}

/// The names a path may go on with: one, or the first of each part of `{a::b, c}`.
fn targets(rest: &[Token]) -> Vec<(usize, String)> {
    let name = |token: &Token| (token.line, token.text.to_owned());
    if rest.first().is_none_or(|t| t.text != "{") {
        return rest.first().map(name).into_iter().collect();
    }
    let (mut depth, mut names) = (0, Vec::new());
    for (before, token) in rest.iter().zip(&rest[1..]) {
        match before.text {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if depth == 1 && matches!(before.text, "{" | ",") && !matches!(token.text, "self" | "}") {
            names.push(name(token));
        }
    }
    names
}

/// Drops every item under `#[cfg(test)]`; `on_file` hears the name of each such `mod name;`.
fn without_tests<'a>(tokens: &[Token<'a>], mut on_file: impl FnMut(&str)) -> Vec<Token<'a>> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let attribute = if tokens[at].text == "#" { end_of_attribute(tokens, at) } else { None };
        let Some(end) = attribute.filter(|&end| is_cfg_test(&tokens[at..end])) else {
            kept.push(tokens[at]);
            at += 1;
            continue;
        };
        if tokens[at + 1].text == "!" {
            return kept; // `#![cfg(test)]`: the rest of the file
        }
        at = end;
        while let Some(end) = end_of_attribute(tokens, at) {
            at = end;
        }
        let item = at;
        let (mut depth, mut block) = (0, false);
        while at < tokens.len() {
            match tokens[at].text {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" if depth == 0 => break, // the last field or arm of what is around
                "}" | ")" | "]" => {
                    depth -= 1;
                    block = depth == 0 && tokens[at].text == "}";
                }
                _ => {}
            }
            at += 1;
            if block || depth == 0 && tokens[at - 1].text == ";" {
                break;
            }
        }
        if let Some([keyword, name, end]) = tokens[item..at].last_chunk()
            && keyword.text == "mod"
            && end.text == ";"
        {
            on_file(name.text);
        }
    }
    kept
}

/// Where the attribute that starts at `at` ends, if one does.
fn end_of_attribute(tokens: &[Token], at: usize) -> Option<usize> {
    let open = at + 1 + usize::from(tokens.get(at + 1).is_some_and(|t| t.text == "!"));
    if tokens.get(at)?.text != "#" || tokens.get(open)?.text != "[" {
        return None;
    }
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(open) {
        depth += i32::from(token.text == "[") - i32::from(token.text == "]");
        if depth == 0 {
            return Some(index + 1);
        }
    }
    None
}

/// `cfg(test)` or `cfg(all(test, …))`, and nothing that other builds contain too.
fn is_cfg_test(attribute: &[Token]) -> bool {
    let words: Vec<&str> = attribute.iter().map(|t| t.text).filter(|t| t.starts_with(char::is_alphabetic)).collect();
    match words[..] {
        ["cfg", "test"] => true,
        ["cfg", "all", ref rest @ ..] => rest.contains(&"test") && !rest.contains(&"not") && !rest.contains(&"any"),
        _ => false,
    }
}

#[derive(Clone, Copy)]
struct Token<'a> {
    line: usize,
    text: &'a str,
}

/// Words and single other characters; no comments, strings or character literals.
fn tokens(source: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = source;
    let to_end_of = |rest: &str, mark: &str| rest.find(mark).map_or(rest.len(), |at| at + mark.len());
    while let Some(first) = rest.chars().next() {
        let mut used = first.len_utf8();
        let word = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        let after = &rest[word..];
        let hashes = after.len() - after.trim_start_matches('#').len();
        if rest.starts_with("//") {
            used = rest.find('\n').unwrap_or(rest.len());
        } else if rest.starts_with("/*") {
            used = end_of_comment(rest);
        } else if matches!(&rest[..word], "r" | "br" | "cr") && after[hashes..].starts_with('"') {
            let start = word + hashes + 1;
            used = start + to_end_of(&rest[start..], &format!("\"{}", "#".repeat(hashes)));
        } else if word > 0 {
            used = word;
            found.push((rest, word));
        } else if first == '"' {
            let mut escaped = false;
            let end = rest[1..].find(|c| {
                let ends = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            used = end.map_or(rest.len(), |at| at + 2);
        } else if let Some(literal) = rest.strip_prefix('\'') {
            let one = literal.chars().next().map_or(0, char::len_utf8);
            if literal.starts_with('\\') {
                used = 3 + to_end_of(&literal[2..], "'"); // '\'' and '\u{1F}'
            } else if literal[one..].starts_with('\'') {
                used = one + 2;
            } // else a lifetime
        } else if !first.is_whitespace() {
            found.push((rest, used));
        }
        rest = &rest[used..];
    }
    let (mut line, mut seen) = (1, 0);
    let locate = |(rest, length): (&'_ str, usize)| {
        let at = source.len() - rest.len();
        line += source[seen..at].matches('\n').count();
        seen = at;
        Token { line, text: &source[at..at + length] }
    };
    found.into_iter().map(locate).collect()
}

/// Block comments nest.
fn end_of_comment(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    at
}

mod the_reader_itself {
    use super::*;

    fn wrong(file: &str, text: &str) -> Vec<String> {
        wrong_arrows(Path::new(file), &scan(Path::new(file), text).arrows)
    }

    #[track_caller]
    fn finds(file: &str, text: &str, message: &str) {
        let wrong = wrong(file, text);
        assert!(wrong.len() == 1 && wrong[0].contains(message), "{wrong:#?}");
    }

    #[test]
    fn finds_arrows_that_point_up_or_sideways() {
        finds(
            "src/memory/arena.rs",
            "use std::io;\nuse crate::pool::LocalBufferPool;",
            "arena.rs:2: `memory` (floor 0.5)",
        );
        finds("src/memory/mod.rs", "fn f() { let _ = crate::buffer::Buffer::new(); }", "looks up to `buffer`");
        finds("src/gate/mod.rs", "pub(crate) use crate::partition::X;", "sideways to `partition`");
        finds(
            "src/channel/mod.rs",
            "use crate::{\n    buffer::{Buffer, gate},\n    gate::{self, X},\n    sync,\n};",
            "mod.rs:3: ",
        );
        finds("src/pool/mod.rs", "macro_rules! m { () => { $crate::cli::f() } }", "looks up to `cli`");
        finds("src/wire/mod.rs", "use crate::{buffer::DataType, pool::X};", "may use only");
        assert_eq!(
            wrong("src/memory/mod.rs", "use crate::{buffer, pool::{A, B}};\nfn f(x: crate::gate::G) {}").len(),
            3
        );
    }

    #[test]
    fn finds_the_way_round_through_super() {
        finds("src/memory/mod.rs", "use super::pool::X;", "looks up to `pool`");
        finds("src/memory.rs", "use super::pool::X;", "looks up to `pool`");
        finds("src/memory/arena.rs", "use super::{Y, Z}; use super::super::pool::X;", "looks up to `pool`");
        finds(
            "src/memory/mod.rs",
            "mod a { use super::Y; mod b { } use super::super::pool; } use super::sync;",
            "`pool`",
        );
        assert!(wrong("src/memory/arena.rs", "use super::pool::X;").is_empty(), "a module of its own");
    }

    #[test]
    fn asks_for_unknown_rooms_to_be_added() {
        finds("src/attic/mod.rs", "", "add it to ROOMS");
        finds("src/gate/mod.rs", "use crate::attic::X;", "`crate::attic` is no room");
        finds("src/gate/mod.rs", "use crate::MemorySegment;", "name the room");
        finds("src/gate/mod.rs", "use crate::*;", "no room");
    }

    #[test]
    fn is_content_with_arrows_that_point_down() {
        let text = "use crate::{buffer::Buffer, memory, sync::{Arc, fence}};\npub(in crate::gate) fn f() {}\npub(crate) fn g() {}";
        assert!(wrong("src/gate/mod.rs", text).is_empty());
        assert!(wrong("src/lib.rs", "pub use crate::gate::X;").is_empty());
        assert!(wrong("src/main.rs", "use crate::cli::run; use forebay::gate::X;").is_empty());
    }

    #[test]
    fn passes_over_comments_strings_and_tests() {
        for text in [
            "//! [`pool`](crate::pool)\n/// crate::pool::X\n// crate::pool\n/* a /* crate::pool */ crate::pool */",
            "const A: &str = \"\\\" crate::pool::X\";\nconst B: &str = r#\"\" crate::pool\"#; const C: [u8; 2] = [b'\"', b'\\''];",
            "#[cfg(test)]\n#[allow(unused)]\nmod tests {\n    use crate::pool::X;\n    fn f() { { } }\n}",
            "#[cfg(all(test, not_miri))]\nuse crate::{pool::X, gate};",
            "struct S {\n    a: u8,\n    #[cfg(test)]\n    b: crate::pool::X,\n}",
            "#![cfg(test)]\nuse crate::pool::X;",
        ] {
            assert_eq!(wrong("src/memory/mod.rs", text), Vec::<String>::new(), "{text}");
        }
        finds(
            "src/memory/mod.rs",
            "#[cfg(test)]\nmod tests { use crate::gate::X; }\nuse crate::pool::X;",
            "mod.rs:3: ",
        );
        finds("src/memory/mod.rs", "fn f<'a>(c: &'a u8) -> char { 'x' }\nuse crate::pool::X; // 'y'", "mod.rs:2: ");
        finds("src/memory/mod.rs", "#[cfg(not(test))]\nuse crate::pool::X;", "`pool`");
        finds("src/memory/mod.rs", "#[cfg(any(test, miri))]\nuse crate::pool::X;", "`pool`");
    }

    #[test]
    fn knows_the_files_that_only_tests_bring_in() {
        let files = |file: &str| scan(Path::new(file), "#[cfg(test)]\nmod model;\nmod other;").test_files;
        assert_eq!(files("src/pool/mod.rs")[0], Path::new("src/pool/model.rs"));
        assert_eq!(files("src/pool/local.rs")[1], Path::new("src/pool/local/model/mod.rs"));
    }
}
