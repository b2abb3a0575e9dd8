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
/// use forebay::partition::{KeyGroups, java_string_hash};
/// assert_eq!(KeyGroups::new(4).channel(java_string_hash(b"UA")), 1); // as Flink's keyBy at parallelism 4
/// ```
///
/// # Source
/// Flink's `KeyGroupRangeAssignment`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyGroups {
    channels: u32,
    max_parallelism: u32,
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
        Self { channels, max_parallelism }
    }

    /// The key group of a key with this hash code, from 0 to one less than the maximum parallelism.
    #[must_use]
    #[inline]
    pub fn key_group(&self, hash_code: i32) -> u32 {
        murmur(hash_code) % self.max_parallelism
    }

    /// The channel of a key with this hash code, from 0 to one less than there are channels.
    #[must_use]
    #[inline]
    pub fn channel(&self, hash_code: i32) -> u32 {
        (u64::from(self.key_group(hash_code)) * u64::from(self.channels) / u64::from(self.max_parallelism)) as u32
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

/// Java's `String.hashCode` of a text in UTF-8. Bytes that are no UTF-8 are hashed one by one instead, as by
/// [`java_bytes_hash`].
///
/// # Examples
/// ```
/// use forebay::partition::java_string_hash;
/// assert_eq!(java_string_hash(b"hello"), 99_162_322); // "hello".hashCode()
/// ```
#[must_use]
pub fn java_string_hash(text: &[u8]) -> i32 {
    if text.is_ascii() {
        return text.iter().fold(0, |hash: i32, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    }
    match std::str::from_utf8(text) {
        Ok(text) => text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit))),
        Err(_) => java_bytes_hash(text),
    }
}

/// Java's `Arrays.hashCode(byte[])`.
///
/// # Examples
/// ```
/// use forebay::partition::java_bytes_hash;
/// assert_eq!(java_bytes_hash(&[1, 2]), 994); // Arrays.hashCode(new byte[] {1, 2})
/// ```
#[must_use]
pub fn java_bytes_hash(bytes: &[u8]) -> i32 {
    bytes.iter().fold(1, |hash: i32, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte as i8)))
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn murmur_is_flinks() {
        // Printed by Flink 2.3's MathUtils.murmurHash.
        for (code, hash) in [
            (0, 593_689_054),
            (1, 68_075_478),
            (-1, 1_982_413_648),
            (65_536, 82_754_377),
            (i32::MAX, 1_653_689_534),
            (i32::MIN, 1_718_298_732),
            (-987_654_321, 1_314_828_554),
        ] {
            assert_eq!(murmur(code), hash, "of {code}");
        }
    }

    #[test]
    fn keys_land_where_flink_puts_them() {
        // Printed by Flink 2.3's KeyGroupRangeAssignment.
        for (key, max, channels, group, channel) in [
            ("UA", 128, 4, 37, 1),
            ("UA", 128, 7, 37, 2),
            ("UA", 32_768, 100, 26_277, 80),
            ("UA", 256, 3, 165, 1),
            ("AA", 128, 4, 118, 3),
            ("AA", 32_768, 4, 24_950, 3),
        ] {
            let groups = KeyGroups::with_max_parallelism(channels, max);
            let hash = java_string_hash(key.as_bytes());
            assert_eq!((groups.key_group(hash), groups.channel(hash)), (group, channel), "{key} of {max}");
        }
    }

    #[test]
    fn the_default_number_of_groups_is_flinks() {
        for (channels, groups) in [(1, 128), (128, 256), (200, 512), (1000, 2048), (20_000, 32_768), (32_768, 32_768)] {
            assert_eq!(KeyGroups::new(channels).max_parallelism, groups, "for {channels}");
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

    #[test]
    fn text_outside_ascii_is_hashed_as_java_does() {
        assert_eq!(java_string_hash("ä".as_bytes()), 0xE4);
        assert_eq!(java_string_hash("😀".as_bytes()), 0xD83D * 31 + 0xDE00);
        assert_eq!(java_string_hash(b"\xFF"), java_bytes_hash(b"\xFF"));
        assert_eq!(java_bytes_hash(b"\xFF"), 31 - 1);
    }
}
