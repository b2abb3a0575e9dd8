//! The `forebay` command-line program.
#![forbid(unsafe_code)]
#![allow(dead_code)]
mod cli;
fn main() {}
