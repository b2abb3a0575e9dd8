//! Selectors that go round.

use std::ops::Range;

use super::{ChannelSelector, Target};

/// One after the other.
///
/// # Source
/// Flink's `RebalancePartitioner`, which starts at a random channel; this one starts at the first, unless told
/// otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin {
    next: usize,
}

impl RoundRobin {
    /// Starts at subpartition `first`: if each of many writers starts elsewhere, their first records do not all go to
    /// the same reader. Beyond the last it means the first.
    #[must_use]
    pub fn starting_at(first: usize) -> Self {
        Self { next: first }
    }
}

impl<R: ?Sized> ChannelSelector<R> for RoundRobin {
    #[inline]
    fn select(&mut self, _: &R, channels: usize) -> Target {
        let chosen = if self.next < channels { self.next } else { 0 };
        self.next = chosen + 1;
        Target::One(chosen)
    }
}

/// One after the other of those subpartitions that are this writer's share, so that it talks to as few readers as do
/// for all to get about as much.
///
/// With more readers than writers each reader hears of one writer; with fewer, each writer talks to one reader:
///
/// ```text
///   2 writers, 5 readers: 0 ─▶ 0 1 2    1 ─▶ 3 4          5 writers, 2 readers: 0 1 ─▶ 0    2 3 4 ─▶ 1
/// ```
///
/// # Examples
/// ```
/// use forebay::partition::Rescale;
/// assert_eq!(Rescale::new(1, 2).share(5), 3..5);
/// assert_eq!(Rescale::new(3, 5).share(2), 1..2);
/// ```
///
/// # Source
/// Flink's `RescalePartitioner`, over the edges that `VertexInputInfoComputationUtils` makes for a pointwise
/// connection: there a subtask has no more channels than these.
#[derive(Debug, Clone, Copy)]
pub struct Rescale {
    subtask: usize,
    parallelism: usize,
    /// The share, first and end, and of how many channels it is.
    share: Option<(usize, (usize, usize))>,
    next: usize,
}

impl Rescale {
    /// For the writer that is number `subtask` of `parallelism`.
    ///
    /// # Panics
    /// If there is no such number.
    #[must_use]
    pub fn new(subtask: usize, parallelism: usize) -> Self {
        assert!(subtask < parallelism, "subtask {subtask} of {parallelism}");
        Self { subtask, parallelism, share: None, next: 0 }
    }

    /// The subpartitions it takes turns among, of so many.
    #[must_use]
    pub fn share(&self, channels: usize) -> Range<usize> {
        // In 128 bits, where no product overflows.
        let (subtask, writers, readers) = (self.subtask as u128, self.parallelism as u128, channels as u128);
        if writers < readers {
            let first = |subtask: u128| (subtask * readers).div_ceil(writers) as usize;
            return first(subtask)..first(subtask + 1);
        }
        // Reader r has the writers from r · writers / readers on, rounded down. Ours is the first one whose successor
        // begins behind us: subtask + 1 ≤ (r + 1) · writers / readers.
        let reader = ((subtask + 1) * readers).div_ceil(writers).saturating_sub(1) as usize;
        reader..reader + 1
    }
}

impl<R: ?Sized> ChannelSelector<R> for Rescale {
    #[inline]
    fn select(&mut self, _: &R, channels: usize) -> Target {
        let (start, end) = match self.share {
            Some((of, share)) if of == channels => share,
            _ => {
                let Range { start, end } = self.share(channels);
                self.share = Some((channels, (start, end)));
                self.next = start;
                (start, end)
            }
        };
        let chosen = if self.next < end { self.next } else { start };
        self.next = chosen + 1;
        Target::One(chosen)
    }
}
