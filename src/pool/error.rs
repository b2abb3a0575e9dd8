//! Why a pool or a segment could not be had.

use std::fmt;

use crate::memory::ArenaError;

/// Why a [`NetworkBufferPool`](super::NetworkBufferPool) or a [`LocalBufferPool`](super::LocalBufferPool) could not be
/// made.
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
        segments: u32,
        /// How many there can be.
        limit: u32,
    },
    /// The segments are promised to other pools. Lower `required` here or there, or give the network pool more
    /// segments.
    #[error(
        "insufficient buffers: pool {name:?} requires {required} segments, but of {total} only {available} are not \
         promised to other pools{}; lower `required` to {available}, or give the network pool {} segments",
        list(.holders), u64::from(*.total) + u64::from(*.required - *.available)
    )]
    Insufficient {
        /// The pool that was to be made.
        name: String,
        /// The segments it requires.
        required: u32,
        /// The segments that are not promised yet: what would fit.
        available: u32,
        /// All segments of the network pool.
        total: u32,
        /// Who was promised the others.
        holders: Vec<Holder>,
    },
    /// The maximum is below the required number. Raise the one or lower the other.
    #[error("pool {name:?} has a maximum of {maximum} segments, but requires {required}; raise `maximum`")]
    MaximumBelowRequired {
        /// The pool that was to be made.
        name: String,
        /// Segments, at least.
        required: u32,
        /// Segments, at most.
        maximum: u32,
    },
    /// The pool could never lend a segment. Give it a maximum.
    #[error("pool {name:?} has a maximum of 0 segments, so every request would fail; set `required` or `maximum`")]
    Nothing {
        /// The pool that was to be made.
        name: String,
    },
}

/// A pool and what it was promised.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Holder {
    /// The name it was given.
    pub name: String,
    /// Segments that are its own.
    pub required: u32,
    /// Segments it may have lent out at most; `u32::MAX` for no limit.
    pub maximum: u32,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} requires {}", self.name, self.required)?;
        if self.maximum < u32::MAX {
            write!(f, " of at most {}", self.maximum)?;
        }
        Ok(())
    }
}

fn list(holders: &[Holder]) -> String {
    const SHOWN: usize = 8;
    let mut text = String::new();
    for (nth, holder) in holders.iter().take(SHOWN).enumerate() {
        text += if nth == 0 { " (" } else { ", " };
        text += &holder.to_string();
    }
    match holders.len() {
        0 => {}
        n if n > SHOWN => text = format!("{text} and {} more)", n - SHOWN),
        _ => text += ")",
    }
    text
}

/// Why a request got no segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// Every segment that the pool may use is lent out. One may come back at any moment: wait with
    /// [`request`](super::LocalBufferPool::request) or [`poll_request`](super::LocalBufferPool::poll_request).
    #[error("every segment that the pool may use is lent out")]
    Exhausted,
    /// None came back within the time given. Wait longer, or see who holds them with
    /// [`NetworkBufferPool::usage`](super::NetworkBufferPool::usage).
    #[error("no segment came back in time")]
    TimedOut,
}
