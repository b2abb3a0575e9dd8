//! The `forebay` command-line program.
fn main() {}
