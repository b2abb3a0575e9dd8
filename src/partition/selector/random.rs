//! Any subpartition, by chance.

use std::hash::{BuildHasher, RandomState};

use super::{ChannelSelector, Target};

/// Any of them, all equally likely, and whatever came before.
///
/// # Examples
/// ```
/// use forebay::partition::{ChannelSelector, Random, Target};
/// let (mut one, mut same) = (Random::seeded(7), Random::seeded(7));
/// for _ in 0..100 {
///     let Target::One(chosen) = one.select("record", 5) else { panic!() };
///     assert!(chosen < 5);
///     assert_eq!(same.select("record", 5), Target::One(chosen));
/// }
/// ```
///
/// # Source
/// Flink's `ShufflePartitioner`. The numbers are Steele, Lea and Flood's `SplitMix64` (OOPSLA 2014), brought into range
/// by Lemire's multiplication (2019).
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
}

impl Random {
    /// Different numbers in each process and for each writer.
    #[must_use]
    pub fn new() -> Self {
        Self::seeded(RandomState::new().hash_one(0))
    }

    /// The same numbers for the same seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self { state: seed }
    }

    /// A number below `end`; 0 if that is 0.
    #[inline]
    pub(in crate::partition) fn below(&mut self, end: usize) -> usize {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^= mixed >> 31;
        // The bias is at most `end` in 2^64.
        ((u128::from(mixed) * end as u128) >> 64) as usize
    }
}

impl Default for Random {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: ?Sized> ChannelSelector<R> for Random {
    #[inline]
    fn select(&mut self, _: &R, channels: usize) -> Target {
        Target::One(self.below(channels))
    }
}
