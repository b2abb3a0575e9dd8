//! The `forebay` program, run as its users run it.
#![cfg(feature = "cli")]

mod errors;
mod exact;
mod folder;
mod formats;
mod property;
mod remote;
mod signals;
mod summary;
mod support;
