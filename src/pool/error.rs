//! Why a pool or a segment could not be had.

use super::{failure::Failure, usage::Holder};
use crate::memory::ArenaError;

/// Why a [`NetworkBufferPool`](super::NetworkBufferPool) or a [`LocalBufferPool`](super::LocalBufferPool) could not be
/// made or resized, or exclusive segments could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The memory could not be mapped as asked for; the error says what the system refused and what to do.
    #[error(transparent)]
    Arena(#[from] ArenaError),
    /// More segments than can be named. Take fewer, larger ones.
    #[error("{segments} segments are more than the {limit} that can be named; take fewer, larger ones")]
    TooManySegments {
        /// How many were asked for.
        segments: u64,
        /// How many there can be.
        limit: u32,
    },
    /// Fewer bytes than one segment has. Give more memory, or take a smaller `segment_size`.
    #[error("{bytes} bytes of memory are not one segment of {segment_size}; give more, or lower `segment_size`")]
    LessThanASegment {
        /// What was to be used.
        bytes: u64,
        /// What one segment takes.
        segment_size: usize,
    },
    /// No part of the memory. Give a number above 0 and up to 1.
    #[error("{fraction} is no fraction of the memory; give a number above 0 and up to 1")]
    Fraction {
        /// What was given.
        fraction: f64,
    },
    /// The system does not say how much memory there is. Give a number of `segments` or `bytes`.
    #[error("the system does not say how much memory there is; give `segments` or `bytes` in place of a fraction")]
    MemoryUnknown,
    /// The segments are promised to other pools. Lower `required` here or there, or give the network pool more
    /// segments.
    #[error(
        "insufficient buffers: pool {name:?} requires {required} segments, but of {total} only {available} are not \
         promised to other pools{}; lower `required` to {available}, or give the network pool {} segments",
        list(.holders), u64::from(*.total) + u64::from(*.required - *.available)
    )]
    Insufficient {
        /// The pool that was to be made or resized.
        name: String,
        /// The segments it requires.
        required: u32,
        /// What would fit: the segments that are not promised to others.
        available: u32,
        /// All segments of the network pool.
        total: u32,
        /// Who was promised the others, and who has how many: all of them, those who were promised most first.
        holders: Vec<Holder>,
    },
    /// The maximum is below the required number. Raise the one or lower the other.
    #[error("pool {name:?} has a maximum of {maximum} segments, but requires {required}; raise `maximum`")]
    MaximumBelowRequired {
        /// The pool that was to be made or resized.
        name: String,
        /// Segments, at least.
        required: u32,
        /// Segments, at most.
        maximum: u32,
    },
    /// The pool could never lend a segment. Give it a maximum.
    #[error("pool {name:?} has a maximum of 0 segments, so every request would fail; set `required` or `maximum`")]
    Nothing {
        /// The pool that was to be made or resized.
        name: String,
    },
    /// No segment could be requested for any channel. Set the number of `channels`, and a maximum of at least 1 for
    /// each.
    #[error(
        "pool {name:?} has {channels} channels of at most {maximum} segments each; set both of `channels` and \
         `maximum_per_channel` to 1 or more, and no more than {limit} channels"
    )]
    Channels {
        /// The pool that was to be made.
        name: String,
        /// How many channels it was to have.
        channels: u32,
        /// Segments for each at most.
        maximum: u32,
        /// How many channels there can be.
        limit: u32,
    },
    /// The exclusive segments are guaranteed, but others have them still. Wait longer, or see who holds them with
    /// [`NetworkBufferPool::usage`](super::NetworkBufferPool::usage).
    #[error("of {wanted} exclusive segments only {got} came back in time; nothing is held")]
    TimedOut {
        /// How many were asked for.
        wanted: u32,
        /// How many were there when the time was over. They are given back.
        got: u32,
    },
    /// The network pool has failed. Make another one.
    #[error("the network pool has failed; make another one")]
    Failed {
        /// Why.
        #[source]
        cause: Failure,
    },
}

/// The largest holders; all of them are in the error.
fn list(holders: &[Holder]) -> String {
    const SHOWN: usize = 16;
    let mut text = String::new();
    for (nth, holder) in holders.iter().take(SHOWN).enumerate() {
        text += if nth == 0 { " (" } else { "; " };
        text += &holder.to_string();
    }
    match holders.len() {
        0 => {}
        n if n > SHOWN => text = format!("{text}; and {} more)", n - SHOWN),
        _ => text += ")",
    }
    text
}

/// Why a request got no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Every segment that the pool may use is lent out, or another pool waits that has less than its fair share. It may
    /// change at any moment: wait with [`request`](super::LocalBufferPool::request) or
    /// [`poll_request`](super::LocalBufferPool::poll_request).
    #[error("every segment that the pool may use is lent out")]
    Exhausted,
    /// The channel has as many segments as a channel may have. It may change at any moment, as above; other channels
    /// may be served.
    #[error("the channel has as many segments as a channel may have")]
    ChannelFull,
    /// None came back within the time given. Wait longer, or see who holds them with
    /// [`NetworkBufferPool::usage`](super::NetworkBufferPool::usage).
    #[error("no segment came back in time")]
    TimedOut,
    /// More segments at once than the pool may ever have. Ask for fewer, or raise its `maximum`.
    #[error("more segments at once than the pool may ever have; ask for fewer, or raise its `maximum`")]
    TooMany,
    /// The pool has failed, and says why: [`LocalBufferPool::failure`](super::LocalBufferPool::failure),
    /// [`NetworkBufferPool::failure`](super::NetworkBufferPool::failure). Stop requesting; buffers that are out stay
    /// valid.
    #[error("the pool has failed; ask it for the `failure`")]
    Failed,
}

impl RequestError {
    /// Whether it may change by waiting.
    pub(super) fn may_pass(self) -> bool {
        matches!(self, Self::Exhausted | Self::ChannelFull)
    }
}
