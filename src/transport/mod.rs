//! How partitions and gates are joined.
//!
//! In process, a reader takes the very segments the writer filled, by reference count: [`in_process()`].
#![forbid(unsafe_code)]

mod in_process;
#[cfg(feature = "net")]
pub mod tcp;

pub use in_process::in_process;
