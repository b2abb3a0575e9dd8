//! Contestants that are programs of their own: those that `FOREBAY_PEERS` names.

use std::{path::Path, process::Command, time::Duration};

use crate::rounds::Contestant;

/// A contestant for each program of `FOREBAY_PEERS` (file names, with a space between two) that has `table`. A program
/// is called with the table's name and the number of operations, and prints the nanoseconds they took; status 2 says
/// that it has no such table.
pub(crate) fn contestants(table: &str, operations: u64) -> impl Iterator<Item = Contestant<'_>> {
    let programs = std::env::var("FOREBAY_PEERS").unwrap_or_default();
    let programs: Vec<String> = programs.split_whitespace().map(str::to_owned).collect();
    programs.into_iter().filter(move |program| time_of(program, table, 64).is_some()).map(move |program| {
        let name = Path::new(&program).file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Contestant::new(format!("{name}: {table}"), move || {
            time_of(&program, table, operations).expect("it had the table before")
        })
    })
}

fn time_of(program: &str, table: &str, operations: u64) -> Option<Duration> {
    let run = Command::new(program)
        .args([table, &operations.to_string()])
        .output()
        .unwrap_or_else(|error| panic!("FOREBAY_PEERS names `{program}`, which does not run: {error}"));
    let said = String::from_utf8_lossy(&run.stdout);
    match run.status.code() {
        Some(2) => None,
        Some(0) => {
            let nanoseconds =
                said.trim().parse().unwrap_or_else(|_| panic!("{program} printed `{said}`, not nanoseconds"));
            Some(Duration::from_nanos(nanoseconds))
        }
        _ => panic!("{program} failed: {}", String::from_utf8_lossy(&run.stderr)),
    }
}
