//! Which subpartition a record goes to.

mod by_key;
mod fixed;
mod in_turn;
mod least_loaded;
mod random;
#[cfg(all(test, not(forebay_loom)))]
mod tests;

pub use by_key::{HashByCode, HashByKey};
pub use fixed::{Broadcast, Forward, Global};
pub use in_turn::{Rescale, RoundRobin};
pub use least_loaded::LeastLoaded;
pub use random::Random;

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// To this subpartition.
    One(usize),
    /// To all of them.
    All,
}

impl Target {
    /// The subpartition, if it is one.
    pub(super) fn one(self) -> Option<usize> {
        match self {
            Self::One(subpartition) => Some(subpartition),
            Self::All => None,
        }
    }
}

impl From<usize> for Target {
    fn from(subpartition: usize) -> Self {
        Self::One(subpartition)
    }
}

/// Chooses the subpartition of each record. Statically dispatched: the choice is compiled into the writer.
///
/// | selector | Flink's | to |
/// |---|---|---|
/// | [`Forward`], [`Global`] | `ForwardPartitioner`, `GlobalPartitioner` | the first |
/// | [`RoundRobin`] | `RebalancePartitioner` | one after the other |
/// | [`Rescale`] | `RescalePartitioner` | one after the other of a part of them |
/// | [`Random`] | `ShufflePartitioner` | any |
/// | [`Broadcast`] | `BroadcastPartitioner` | all |
/// | [`HashByKey`], [`HashByCode`] | `KeyGroupStreamPartitioner` | that of the key |
/// | [`LeastLoaded`] | adaptive rebalance | the one with the least to read, of the next few |
/// | a closure | `CustomPartitionerWrapper` | what it says: an index, or a [`Target`] |
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
///
/// let mut by_length = |line: &str, channels: usize| line.len() % channels; // a closure will do
/// assert_eq!(by_length.select("four", 3), Target::One(1));
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

    /// As [`select`](Self::select), and may ask how much each channel has to read. This is what the writer calls;
    /// override it for a selector that goes by that.
    #[inline]
    fn select_among(&mut self, record: &R, channels: &(impl Channels + ?Sized)) -> Target
    where
        Self: Sized,
    {
        self.select(record, channels.count())
    }
}

/// What a selector can know of the channels it chooses from. A slice of backlogs is some, too.
///
/// # Source
/// Flink's `ResultPartitionWriter`: `getNumberOfSubpartitions`, `getBuffersCountUnsafe`.
pub trait Channels {
    /// How many there are.
    fn count(&self) -> usize;

    /// Buffers that wait for the reader of `channel`, the one that is being filled not counted. A snapshot: the reader
    /// may take one at any moment. Wait-free.
    ///
    /// # Panics
    /// If there is no such channel.
    fn backlog(&self, channel: usize) -> usize;
}

impl Channels for [usize] {
    fn count(&self) -> usize {
        self.len()
    }

    fn backlog(&self, channel: usize) -> usize {
        self[channel]
    }
}

impl<const N: usize> Channels for [usize; N] {
    fn count(&self) -> usize {
        N
    }

    fn backlog(&self, channel: usize) -> usize {
        self[channel]
    }
}

/// A closure from a record and the number of channels to a channel's index, or a [`Target`].
impl<R: ?Sized, F, T> ChannelSelector<R> for F
where
    F: FnMut(&R, usize) -> T,
    T: Into<Target>,
{
    #[inline]
    fn select(&mut self, record: &R, channels: usize) -> Target {
        self(record, channels).into()
    }
}
