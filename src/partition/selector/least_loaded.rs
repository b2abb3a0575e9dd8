//! Where there is the least to read.

use std::num::NonZeroUsize;

use super::{ChannelSelector, Channels, Target};

/// To the subpartition that has the least to read, of the next few in turn: a slow reader gets less.
///
/// It looks at no more than `max_traverse` of them for each record, so that the cost of a record does not grow with the
/// number of readers, and at fewer if one has nothing to read. Among equals the first in turn is taken, so readers that
/// are all as fast are served one after the other.
///
/// # Examples
/// ```
/// use forebay::partition::{ChannelSelector, LeastLoaded, Target};
/// let mut selector = LeastLoaded::new(3.try_into()?);
/// let mut choose = |backlogs: [usize; 4]| selector.select_among("record", &backlogs);
/// assert_eq!(choose([2, 1, 3, 0]), Target::One(1)); // 0, 1, 2 were looked at
/// assert_eq!(choose([2, 1, 3, 0]), Target::One(3)); // 2, 3: has nothing to read
/// assert_eq!(choose([2, 2, 2, 2]), Target::One(0)); // 0, 1, 2: all equal
/// # Ok::<(), std::num::TryFromIntError>(())
/// ```
///
/// # Source
/// Flink's `AdaptiveLoadBasedRecordWriter`, with its `max-traverse-size`.
#[derive(Debug, Clone, Copy)]
pub struct LeastLoaded {
    max_traverse: usize,
    next: usize,
}

impl LeastLoaded {
    /// Looks at `max_traverse` subpartitions for each record, at most.
    #[must_use]
    pub fn new(max_traverse: NonZeroUsize) -> Self {
        Self { max_traverse: max_traverse.get(), next: 0 }
    }
}

impl Default for LeastLoaded {
    /// Looks at 4, as Flink does unless told otherwise.
    fn default() -> Self {
        Self { max_traverse: 4, next: 0 }
    }
}

impl<R: ?Sized> ChannelSelector<R> for LeastLoaded {
    /// Without knowledge of who has how much to read: one after the other.
    #[inline]
    fn select(&mut self, _: &R, channels: usize) -> Target {
        let chosen = if self.next < channels { self.next } else { 0 };
        self.next = chosen + 1;
        Target::One(chosen)
    }

    #[inline]
    fn select_among(&mut self, _: &R, channels: &(impl Channels + ?Sized)) -> Target {
        let count = channels.count();
        let mut candidate = self.next;
        let (mut chosen, mut least) = (0, usize::MAX);
        for _ in 0..self.max_traverse.min(count) {
            candidate = if candidate < count { candidate } else { 0 };
            let backlog = channels.backlog(candidate);
            if backlog < least {
                (chosen, least) = (candidate, backlog);
            }
            if backlog == 0 {
                break;
            }
            candidate += 1;
        }
        self.next = chosen + 1;
        Target::One(chosen)
    }
}
