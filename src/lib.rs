//! Bounded, back-pressured buffer memory for data planes, and the record exchange on top of it: Apache Flink's network
//! stack, re-thought in Rust.

pub mod buffer;
mod lockfree;
pub mod memory;
pub mod pool;
pub mod record;
mod sync;

