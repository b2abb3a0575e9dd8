//! Which line of the source took each segment that is out: with the feature `leaks` alone.
//!
//! A lock for each segment, taken when it is lent and when it comes back. Not for production.
#![allow(clippy::disallowed_types, reason = "a name is immutable: loom has nothing to see in its `Arc`")]

use std::{collections::BTreeMap, fmt, panic::Location, sync::Arc};

use super::exclusive::BufferMut;
use crate::sync::Mutex;

/// For each segment of a table who took it, while it is out.
#[derive(Debug)]
pub(crate) struct Takers(Box<[Mutex<Option<Taker>>]>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Taker {
    /// Shared with the pool, so that a note allocates nothing; `None` for whoever has no local pool.
    pool: Option<Arc<str>>,
    at: &'static Location<'static>,
}

impl Takers {
    pub(super) fn new(segments: u32) -> Self {
        Self((0..segments).map(|_| Mutex::new(None)).collect())
    }

    /// Notes that `buffer` was taken by the calling line, which is that of the first caller that is not `track_caller`.
    #[track_caller]
    pub(crate) fn note(&self, buffer: &BufferMut, pool: Option<&Arc<str>>) {
        self.set(buffer.index(), Some(Taker { pool: pool.cloned(), at: Location::caller() }));
    }

    /// The segment is back.
    pub(super) fn forget(&self, index: u32) {
        self.set(index, None);
    }

    fn set(&self, index: u32, taker: Option<Taker>) {
        *self.0[index as usize].lock().expect("no panic while it is held") = taker;
    }

    /// Who has segments, most first.
    pub(crate) fn report(&self) -> LeakReport {
        let mut counts = BTreeMap::new();
        for taker in &self.0 {
            let taker = taker.lock().expect("no panic while it is held");
            if let Some(Taker { pool, at }) = &*taker {
                *counts.entry((*at, pool.clone())).or_insert(0) += 1;
            }
        }
        let mut lines: Vec<_> = counts
            .into_iter()
            .map(|((at, pool), segments)| TakenAt {
                file: at.file(),
                line: at.line(),
                column: at.column(),
                pool: pool.as_deref().unwrap_or("(without a local pool)").to_owned(),
                segments,
            })
            .collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.segments));
        LeakReport { lines }
    }
}

/// Which lines of the source took the segments that are out: `NetworkBufferPool::leaks`, with the feature `leaks`.
/// Displays as one line for each.
///
/// Whether it is a leak is for the reader to say: what is held for a reason is in it too. Where buffers are requested
/// by this library itself, for a record writer, say, the line is one of its own, and the name of the pool says more.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeakReport {
    /// Who took most first.
    pub lines: Vec<TakenAt>,
}

/// Segments that were taken by one line of the source from one pool, and are still out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TakenAt {
    /// Of the source, as the compiler names it.
    pub file: &'static str,
    /// In the file.
    pub line: u32,
    /// In the line.
    pub column: u32,
    /// The name of the pool that lent them.
    pub pool: String,
    /// How many.
    pub segments: u32,
}

impl fmt::Display for LeakReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: u32 = self.lines.iter().map(|line| line.segments).sum();
        writeln!(f, "{all} {} out", if all == 1 { "segment is" } else { "segments are" })?;
        for TakenAt { file, line, column, pool, segments } in &self.lines {
            writeln!(f, "  {segments} of pool {pool:?}, taken at {file}:{line}:{column}")?;
        }
        Ok(())
    }
}
