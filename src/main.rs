//! The `forebay` program; see `forebay --help`.
#![forbid(unsafe_code)]
// loom's shim is for the library: nothing above it is run under a model.
#![allow(clippy::disallowed_types)]

use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::main()
}
