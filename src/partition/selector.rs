//! Which subpartition a record goes to.

use std::fmt;

use super::key_group::{KeyGroups, java_string_hash};

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To this subpartition.
    One(usize),
    /// To all of them.
    All,
}

/// Chooses the subpartition of each record. Statically dispatched: the choice is compiled into the writer.
///
/// # Examples
/// ```
/// use forebay::partition::{ChannelSelector, Target};
/// /// Alarms to all, other lines to the subpartition of their level.
/// struct ByLevel;
/// impl ChannelSelector<str> for ByLevel {
///     fn select(&mut self, line: &str, channels: usize) -> Target {
///         match line.as_bytes().first() {
///             Some(b'!') => Target::All,
///             Some(level) => Target::One(usize::from(*level) % channels),
///             None => Target::One(0),
///         }
///     }
/// }
/// assert_eq!(ByLevel.select("! on fire", 4), Target::All);
/// ```
///
/// # Source
/// Flink's `ChannelSelector`.
pub trait ChannelSelector<R: ?Sized> {
    /// Where `record` goes, of `channels` subpartitions. Called once for each record, in the writer's thread.
    ///
    /// There is at least one channel, unless the writer was joined to no consumer at all. A channel that does not exist
    /// is refused with [`WriteError::NoSuchSubpartition`](super::WriteError::NoSuchSubpartition).
    fn select(&mut self, record: &R, channels: usize) -> Target;
}

/// All to the first subpartition.
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

/// One after the other.
///
/// # Source
/// Flink's `RebalancePartitioner`, which starts at a random channel; this one starts at the first.
#[derive(Debug, Clone, Copy, Default)]
pub struct RoundRobin {
    next: usize,
}

impl<R: ?Sized> ChannelSelector<R> for RoundRobin {
    #[inline]
    fn select(&mut self, _: &R, channels: usize) -> Target {
        let chosen = if self.next < channels { self.next } else { 0 };
        self.next = chosen + 1;
        Target::One(chosen)
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

/// All records of a key to one subpartition: the one Flink's `keyBy` would choose for the same text, at the default
/// maximum parallelism.
///
/// # Examples
/// ```
/// use forebay::partition::{ChannelSelector, HashByKey, Target};
/// let mut by_first_field = HashByKey::new(|row: &str| row.split(',').next().unwrap_or("").as_bytes());
/// assert_eq!(by_first_field.select("UA,1545,N14228", 4), Target::One(1));
/// ```
///
/// # Source
/// Flink's `KeyGroupStreamPartitioner`; see [`KeyGroups`].
#[derive(Clone, Copy)]
pub struct HashByKey<F> {
    key: F,
    groups: Option<(usize, KeyGroups)>,
}

impl<F> HashByKey<F> {
    /// `key` gives the bytes of a record's key: text in UTF-8, hashed as Java hashes the string. Bytes that are no
    /// UTF-8 are hashed one by one.
    pub fn new<R: ?Sized>(key: F) -> Self
    where
        F: Fn(&R) -> &[u8],
    {
        Self { key, groups: None }
    }
}

impl<R: ?Sized, F: Fn(&R) -> &[u8]> ChannelSelector<R> for HashByKey<F> {
    #[inline]
    fn select(&mut self, record: &R, channels: usize) -> Target {
        let groups = match self.groups {
            Some((of, groups)) if of == channels => groups,
            _ => {
                let groups = KeyGroups::new(channels.max(1) as u32);
                self.groups = Some((channels, groups));
                groups
            }
        };
        Target::One(groups.channel(java_string_hash((self.key)(record))) as usize)
    }
}

impl<F> fmt::Debug for HashByKey<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashByKey").field("groups", &self.groups).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn round_robin_visits_all_in_turn() {
        let mut selector = RoundRobin::default();
        let chosen: Vec<_> = (0..5).map(|_| ChannelSelector::<()>::select(&mut selector, &(), 3)).collect();
        assert_eq!(chosen, [0, 1, 2, 0, 1].map(Target::One));
    }

    #[test]
    fn a_key_has_one_channel() {
        let mut selector = HashByKey::new(|key: &str| key.as_bytes());
        for channels in [1, 4, 200] {
            assert_eq!(selector.select("AA", channels), selector.select("AA", channels));
        }
        assert_eq!(selector.select("AA", 4), Target::One(3));
    }
}
