//! Selectors that have nothing to choose.

use super::{ChannelSelector, Target};

/// All to the first subpartition, which is meant to be the only one: each writing task has a reading task of its own.
///
/// # Source
/// Flink's `ForwardPartitioner`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Forward;

impl<R: ?Sized> ChannelSelector<R> for Forward {
    #[inline]
    fn select(&mut self, _: &R, _: usize) -> Target {
        Target::One(0)
    }
}

/// All to the first subpartition, of however many: one reading task gets everything.
///
/// # Source
/// Flink's `GlobalPartitioner`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Global;

impl<R: ?Sized> ChannelSelector<R> for Global {
    #[inline]
    fn select(&mut self, _: &R, _: usize) -> Target {
        Target::One(0)
    }
}

/// Each record to all, serialized once.
///
/// # Source
/// Flink's `BroadcastPartitioner`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Broadcast;

impl<R: ?Sized> ChannelSelector<R> for Broadcast {
    #[inline]
    fn select(&mut self, _: &R, _: usize) -> Target {
        Target::All
    }
}
