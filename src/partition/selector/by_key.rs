//! All records of a key to one subpartition.

use std::fmt;

use super::{
    super::{hash_code::java_string_hash, key_group::KeyGroups},
    ChannelSelector, Target,
};

/// All records of a key to one subpartition: the one Flink's `keyBy` would choose for the same text, at the default
/// maximum parallelism. For keys that are no text there is [`HashByCode`].
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
    groups: Groups,
}

impl<F> HashByKey<F> {
    /// `key` gives the bytes of a record's key: text in UTF-8, hashed as Java hashes the string. Bytes that are no
    /// UTF-8 are hashed one by one.
    pub fn new<R: ?Sized>(key: F) -> Self
    where
        F: Fn(&R) -> &[u8],
    {
        Self { key, groups: Groups::default() }
    }

    /// Sets the number of key groups: what the Flink job has as its maximum parallelism. Unless told so, it is what
    /// Flink would take for as many channels as there are.
    ///
    /// # Panics
    /// If `groups` is 0; in [`select`](ChannelSelector::select) if there are more channels than key groups.
    #[must_use]
    pub fn with_max_parallelism(mut self, groups: u32) -> Self {
        self.groups.set_max_parallelism(groups);
        self
    }
}

impl<R: ?Sized, F: Fn(&R) -> &[u8]> ChannelSelector<R> for HashByKey<F> {
    #[inline]
    fn select(&mut self, record: &R, channels: usize) -> Target {
        self.groups.channel(java_string_hash((self.key)(record)), channels)
    }
}

/// All records of a key to one subpartition, by the key's hash code in Java: the one Flink's `keyBy` would choose, at
/// the default maximum parallelism.
///
/// # Examples
/// ```
/// use forebay::partition::{ChannelSelector, HashByCode, JavaHash, Target};
/// struct Order { customer: i64, cents: u64 }
/// let mut by_customer = HashByCode::new(|order: &Order| order.customer.java_hash_code());
/// assert_eq!(by_customer.select(&Order { customer: 1_234_567_890_123, cents: 5 }, 4), Target::One(2));
/// ```
///
/// # Source
/// Flink's `KeyGroupStreamPartitioner`; see [`KeyGroups`].
#[derive(Clone, Copy)]
pub struct HashByCode<F> {
    hash_code: F,
    groups: Groups,
}

impl<F> HashByCode<F> {
    /// `hash_code` gives Java's hash code of a record's key: see [`JavaHash`](super::super::JavaHash).
    pub fn new<R: ?Sized>(hash_code: F) -> Self
    where
        F: Fn(&R) -> i32,
    {
        Self { hash_code, groups: Groups::default() }
    }

    /// As [`HashByKey::with_max_parallelism`].
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn with_max_parallelism(mut self, groups: u32) -> Self {
        self.groups.set_max_parallelism(groups);
        self
    }
}

impl<R: ?Sized, F: Fn(&R) -> i32> ChannelSelector<R> for HashByCode<F> {
    #[inline]
    fn select(&mut self, record: &R, channels: usize) -> Target {
        self.groups.channel((self.hash_code)(record), channels)
    }
}

/// Key groups for as many channels as there turn out to be.
#[derive(Debug, Clone, Copy, Default)]
struct Groups {
    max_parallelism: Option<u32>,
    of: Option<(usize, KeyGroups)>,
}

impl Groups {
    fn set_max_parallelism(&mut self, groups: u32) {
        assert!(groups > 0, "no key groups");
        *self = Self { max_parallelism: Some(groups), of: None };
    }

    #[inline]
    fn channel(&mut self, hash_code: i32, channels: usize) -> Target {
        let groups = match self.of {
            Some((of, groups)) if of == channels => groups,
            _ => self.assign(channels),
        };
        Target::One(groups.channel(hash_code) as usize)
    }

    #[cold]
    fn assign(&mut self, channels: usize) -> KeyGroups {
        let count = channels.max(1) as u32;
        let groups = match self.max_parallelism {
            None => KeyGroups::new(count),
            Some(groups) => KeyGroups::with_max_parallelism(count, groups),
        };
        self.of = Some((channels, groups));
        groups
    }
}

impl<F> fmt::Debug for HashByKey<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashByKey").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl<F> fmt::Debug for HashByCode<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HashByCode").field("groups", &self.groups).finish_non_exhaustive()
    }
}
