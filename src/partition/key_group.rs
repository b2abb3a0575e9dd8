//! Which channel a key goes to: Flink's key groups, so that a key lands where Flink would put it.
//!
//! ```text
//!  key ─ Java's hashCode ─▶ i32 ─ murmur ─▶ ≥ 0 ─ mod max parallelism ─▶ key group ─ × channels / max ─▶ channel
//! ```
//!
//! # Source
//! Flink's `KeyGroupRangeAssignment` and `MathUtils.murmurHash` (the finish of `MurmurHash3_x86_32` on four bytes).

/// Flink's default for the number of key groups, and the least.
const DEFAULT_MAX_PARALLELISM: u32 = 128;
/// The most key groups there can be.
const UPPER_BOUND: u32 = 1 << 15;

/// The assignment of keys to `channels` channels by way of `max_parallelism` key groups. Wait-free throughout.
///
/// # Examples
/// ```
/// use forebay::partition::{JavaHash, KeyGroups};
/// assert_eq!(KeyGroups::new(4).channel("UA".java_hash_code()), 1); // as Flink's keyBy at parallelism 4
/// ```
///
/// # Source
/// Flink's `KeyGroupRangeAssignment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyGroups {
    channels: u32,
    max_parallelism: u32,
    /// The logarithm of `max_parallelism`, if that is a power of two: shifts in place of two divisions.
    shift: Option<u32>,
}

impl KeyGroups {
    /// As many key groups as Flink takes for this number of channels when it is not told: one and a half times as many,
    /// rounded up to a power of two, from 128 to 32,768 (or the number of channels, if that is larger).
    ///
    /// # Panics
    /// If `channels` is 0.
    #[must_use]
    pub fn new(channels: u32) -> Self {
        let groups = (channels.saturating_add(channels / 2)).checked_next_power_of_two().unwrap_or(u32::MAX);
        Self::with_max_parallelism(channels, groups.clamp(DEFAULT_MAX_PARALLELISM, UPPER_BOUND).max(channels))
    }

    /// The number of key groups that a Flink job was given explicitly (`setMaxParallelism`).
    ///
    /// # Panics
    /// If `channels` is 0, or more than `max_parallelism`.
    #[must_use]
    pub fn with_max_parallelism(channels: u32, max_parallelism: u32) -> Self {
        assert!(channels > 0, "no channels");
        assert!(channels <= max_parallelism, "{channels} channels for {max_parallelism} key groups");
        let shift = max_parallelism.is_power_of_two().then(|| max_parallelism.ilog2());
        Self { channels, max_parallelism, shift }
    }

    /// The key group of a key with this hash code, from 0 to one less than the maximum parallelism.
    #[must_use]
    #[inline]
    pub fn key_group(&self, hash_code: i32) -> u32 {
        let hash = murmur(hash_code);
        if self.shift.is_some() { hash & (self.max_parallelism - 1) } else { hash % self.max_parallelism }
    }

    /// The channel of a key with this hash code, from 0 to one less than there are channels.
    #[must_use]
    #[inline]
    pub fn channel(&self, hash_code: i32) -> u32 {
        let share = u64::from(self.key_group(hash_code)) * u64::from(self.channels);
        self.shift.map_or_else(|| share / u64::from(self.max_parallelism), |shift| share >> shift) as u32
    }
}

/// Never negative in Java's eyes: below 2³¹.
#[inline]
fn murmur(code: i32) -> u32 {
    let mut code = (code as u32).wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    code = code.rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    code ^= 4;
    code = (code ^ code >> 16).wrapping_mul(0x85eb_ca6b);
    code = (code ^ code >> 13).wrapping_mul(0xc2b2_ae35);
    code ^= code >> 16;
    match code as i32 {
        i32::MIN => 0,
        code => code.unsigned_abs(),
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::{super::hash_code::JavaHash, *};

    /// Printed by Flink 2.3, one a line: what kind, and its columns.
    fn printed(kind: &str) -> impl Iterator<Item = Vec<&'static str>> {
        let rows = include_str!("../../tests/data/flink/keygroups.txt").lines().filter(|line| !line.starts_with('#'));
        let rows = rows.map(|line| line.split(" | ").collect::<Vec<_>>()).filter(move |row| row[0] == kind);
        let rows: Vec<_> = rows.collect();
        assert!(!rows.is_empty());
        rows.into_iter()
    }

    #[test]
    fn murmur_is_flinks() {
        for row in printed("murmur") {
            assert_eq!(murmur(row[1].parse().unwrap()), row[2].parse().unwrap(), "of {}", row[1]);
        }
    }

    #[test]
    fn keys_land_where_flink_puts_them() {
        for row in printed("channel") {
            let key = row[2];
            let hash = match row[1] {
                "String" => key.java_hash_code(),
                "Integer" => key.parse::<i32>().unwrap().java_hash_code(),
                "Long" => key.parse::<i64>().unwrap().java_hash_code(),
                "Boolean" => key.parse::<bool>().unwrap().java_hash_code(),
                "Double" => key.parse::<f64>().unwrap().java_hash_code(),
                other => panic!("a key of type {other}"),
            };
            let numbers: Vec<i64> = row[3..].iter().map(|number| number.parse().unwrap()).collect();
            let [hash_code, max, channels, group, channel] = numbers[..] else { panic!("{row:?}") };
            assert_eq!(i64::from(hash), hash_code, "of {key}");
            let groups = KeyGroups::with_max_parallelism(channels as u32, max as u32);
            let assigned = (groups.key_group(hash), groups.channel(hash));
            assert_eq!(assigned, (group as u32, channel as u32), "{key} of {max} at {channels}");
        }
    }

    #[test]
    fn the_default_number_of_groups_is_flinks() {
        for row in printed("default-max") {
            let groups = KeyGroups::new(row[1].parse().unwrap());
            assert_eq!(groups.max_parallelism, row[2].parse().unwrap(), "for {}", row[1]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 16 } else { 1024 }))]

        #[test]
        fn without_divisions_the_assignment_is_the_same(
            code in any::<i32>(),
            max in prop_oneof![1_u32..=1 << 15, (0_u32..=15).prop_map(|bits| 1 << bits)],
            channels in 1_u32..=1 << 15,
        ) {
            let channels = channels.min(max);
            let groups = KeyGroups::with_max_parallelism(channels, max);
            let group = murmur(code) % max;
            prop_assert_eq!(groups.key_group(code), group);
            prop_assert_eq!(groups.channel(code), group * channels / max);
            prop_assert!(groups.channel(code) < channels);
        }
    }

    #[test]
    fn every_channel_gets_a_group() {
        let keys = if cfg!(miri) { 4_000 } else { 100_000 };
        for channels in [1, 2, 3, 5, 16, 100, 128, 200] {
            let groups = KeyGroups::new(channels);
            let hit: std::collections::BTreeSet<_> = (0..keys).map(|hash| groups.channel(hash)).collect();
            assert_eq!(hit.into_iter().collect::<Vec<_>>(), (0..channels).collect::<Vec<_>>());
        }
    }
}
