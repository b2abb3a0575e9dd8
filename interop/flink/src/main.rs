//! forebay's transport against the network stack of Apache Flink, in both directions.
//!
//! `serve` and `fetch` are forebay's ends of a connection, with the options, the content and the output of Flink's ends
//! in `peer/`. `check` starts both and compares. README.md has the options.

mod args;
mod check;
mod content;
mod fetch;
mod ready;
mod serve;
mod summary;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use serde_json::json;

#[derive(Parser)]
#[command(version, about = "forebay's transport against the network stack of Apache Flink")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves a partition of generated content, and ends when every subpartition was read and released
    Serve(serve::Serve),
    /// Reads subpartitions of a partition, from Flink or from forebay, and says what came
    Fetch(fetch::Fetch),
    /// Says what `serve` with these options sends, without sending it
    Expect(serve::Expect),
    /// Starts real Flinks, exchanges with them in both directions, and compares counts and checksums
    Check(check::Check),
    /// Measures how fast each end, Flink's and forebay's, reads from each
    Race(check::Race),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Serve(serve) => args::limit_time(serve.common.timeout_s).and_then(|()| serve.run()),
        Command::Fetch(fetch) => args::limit_time(fetch.common.timeout_s).and_then(|()| fetch.run()),
        Command::Expect(expect) => expect.run(),
        Command::Check(check) => return check.run(),
        Command::Race(race) => {
            return race.run().map_or_else(
                |error| {
                    eprintln!("error: {error:#}");
                    ExitCode::FAILURE
                },
                |()| ExitCode::SUCCESS,
            );
        }
    };
    match done {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("{}", json!({ "event": "error", "error": format!("{error:#}") }));
            ExitCode::from(2)
        }
    }
}
