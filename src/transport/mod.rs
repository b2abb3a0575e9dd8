//! How partitions and gates are joined.
//!
//! In process, a reader takes the very segments the writer filled, by reference count: [`in_process()`]. Across hosts
//! (feature `net`), segments are written to a socket and read from it without a copy, for as much as the reader has
//! room: `tcp`.
#![forbid(unsafe_code)]

mod in_process;
#[cfg(any(feature = "net", forebay_loom))]
pub(crate) mod readers;
#[cfg(feature = "net")]
pub mod tcp;

pub use in_process::in_process;
