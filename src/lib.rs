//! Bounded, back-pressured buffer memory for data planes, and the record exchange on top of it: Apache Flink's network
//! stack, re-thought in Rust.

pub mod buffer;
mod channel;
#[doc(hidden)]
pub mod fuzzing;
pub mod gate;
mod lockfree;
pub mod memory;
#[cfg(forebay_loom)]
#[doc(hidden)]
pub mod models;
pub mod partition;
pub mod pool;
pub mod record;
mod sync;
pub mod transport;

pub use channel::{Cause, Event};
