//! The sending side: [`RecordWriter`] → [`ResultPartition`] → one subpartition for each reader.
//!
//! ```text
//!  records ─▶ RecordWriter ─▶ ResultPartition ─┬─▶ ResultSubpartition 0 ─▶ channel
//!             selector         LocalBufferPool ├─▶ ResultSubpartition 1 ─▶ channel
//!                                              └─▶ …
//! ```
//!
//! A record is serialized once, straight into the segment of its subpartition; a broadcast record once for all. The
//! reader is told when a segment is full and on a flush, not for each record. A [`StreamWriter`] on top writes records
//! with timestamps, and watermarks between them.
//!
//! Back pressure is the pool's: when readers are behind, all segments of the pool are on their side, and the writer
//! waits in its next request: by blocking its thread, or, in an async task, by leaving its waker.
//!
//! # Source
//! Flink's `RecordWriter`, `BufferWritingResultPartition`, `PipelinedSubpartition`, `ChannelSelector`.
#![forbid(unsafe_code)]

mod emit;
mod flush;
mod hash_code;
mod key_group;
mod pieces;
mod record_writer;
mod result_partition;
mod selector;
#[cfg(all(test, not(forebay_loom)))]
mod staged_tests;
mod stream_writer;
mod subpartition;
mod write_error;

pub use crate::channel::Overtaken;
pub use emit::{Emit, Refused};
pub use flush::{FlushPolicy, FlushTimer};
pub use hash_code::{JavaHash, java_bytes_hash, java_string_hash};
pub use key_group::KeyGroups;
pub use record_writer::RecordWriter;
pub use result_partition::ResultPartition;
pub use selector::{
    Broadcast, ChannelSelector, Channels, Forward, Global, HashByCode, HashByKey, LeastLoaded, Random, Rescale,
    RoundRobin, Target,
};
pub use stream_writer::{ByValue, StreamWriter};
pub use write_error::{TryEmitError, WriteError};
