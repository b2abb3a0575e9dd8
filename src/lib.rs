//! forebay
pub mod memory;
mod sync;
