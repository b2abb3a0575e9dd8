//! Why a record was not written.

use super::emit::Refused;
use crate::{pool::RequestError, record::MAX_RECORD_BYTES};

/// Why a record, or an event, was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The reader of this subpartition went away. Stop, or go on with the other subpartitions. A record that went to
    /// all has reached the others whole.
    #[error("the reader of subpartition {subpartition} went away")]
    Released {
        /// Which one.
        subpartition: usize,
    },
    /// No segment could be had. Not today: the writer's pool waits until one can.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The record is larger than the framing can carry: cut it up. Nothing of it was written.
    #[error("a record of {len} bytes is over the {MAX_RECORD_BYTES} that a length of 31 bits can say")]
    TooLarge {
        /// Bytes of the record.
        len: usize,
    },
    /// The pool's guaranteed part is too small: the writer keeps a segment open for each subpartition, and could come
    /// to wait for itself. Give the local pool at least as many `required` segments as there are subpartitions.
    /// (Records that go to all subpartitions need one segment in all.) Nothing was written.
    #[error(
        "{subpartitions} subpartitions need a local pool with as many required segments, but {pool:?} has {required}"
    )]
    PoolTooSmall {
        /// The name of the pool.
        pool: String,
        /// Subpartitions of the partition.
        subpartitions: usize,
        /// Required segments of the pool.
        required: u32,
    },
    /// The event would end the partition: say so with [`close`](super::RecordWriter::close) or
    /// [`fail`](super::RecordWriter::fail). Nothing was sent.
    #[error("an event that ends the partition is sent by closing it")]
    Ends,
    /// The selector named a subpartition that does not exist: correct it. Nothing was written.
    #[error("the selector chose subpartition {chosen} of {subpartitions}")]
    NoSuchSubpartition {
        /// What it chose.
        chosen: usize,
        /// How many there are.
        subpartitions: usize,
    },
}

/// Why [`RecordWriter::try_emit`](super::RecordWriter::try_emit) did not take a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TryEmitError {
    /// It needs a segment, and there is none now. Nothing of it was written. Offer it again with
    /// [`try_emit_again`](super::RecordWriter::try_emit_again), to the subpartition that was chosen for it, or forget
    /// it.
    #[error("no segment is free for the record")]
    Full(Refused),
    /// It can not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}
