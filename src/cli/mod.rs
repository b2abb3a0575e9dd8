//! The command line of `forebay`: what [`args`] accepts, [`job`] does, over the library's public interface alone.
//!
//! | file | what it knows |
//! |---|---|
//! | `args` | options, defaults, usage errors |
//! | `inputs`, `header`, `rows` | files, columns, rows: where bytes come from |
//! | `parts`, `staging`, `signals` | files that appear all together or not at all |
//! | `tasks` | the tasks at both ends of the exchange |
//! | `job` | one shuffle in this process |
//! | `remote` | the two halves of a shuffle on two hosts |
//! | `summary`, `progress` | what people and programs are told |
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

mod args;
mod header;
mod inputs;
mod job;
mod parts;
mod progress;
mod remote;
mod rows;
mod signals;
mod staging;
mod summary;
mod tasks;

use args::{Cli, Command};

/// Runs the program. The statuses are those in the long help.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::try_parse().and_then(Cli::check).unwrap_or_else(|error| error.exit());
    let done = match &cli.command {
        Command::Shuffle(shuffle) => job::run(shuffle)
            .and_then(|summary| print(&if shuffle.json { summary.json().to_string() } else { summary.to_string() })),
        Command::Serve(serve) => remote::serve::run(serve),
        Command::Fetch(fetch) => remote::fetch::run(fetch).and_then(|summary| print(&summary)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may have been left to read it, and nobody to tell about that either.
            if !is_broken_pipe(&error) {
                let _ = writeln!(io::stderr(), "forebay: error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).context(PrintError)
}

/// The only thing that can fail once the parts are in place.
#[derive(Debug, thiserror::Error)]
#[error("all parts are written, but the summary cannot be printed")]
struct PrintError;

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let cause = error.downcast_ref::<io::Error>().map(io::Error::kind);
    error.is::<PrintError>() && cause == Some(ErrorKind::BrokenPipe)
}
