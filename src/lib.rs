//! Bounded, back-pressured buffer memory for data planes, and the record exchange on top of it: Apache Flink's network
//! stack, re-thought in Rust.

pub mod buffer;
mod channel;
pub mod credit;
#[doc(hidden)]
pub mod fuzzing;
pub mod gate;
mod lockfree;
pub mod memory;
pub mod partition;
pub mod pool;
pub mod record;
mod sync;
pub mod transport;

pub use channel::{Cause, Event};
