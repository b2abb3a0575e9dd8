//! The one bounds check of the room, and what it says when it refuses.

/// An access that does not fit its segment; nothing was read or written.
///
/// The numbers are those of the refused call, so that the caller can correct it. An operation on two segments reports
/// the one that was too short, the receiver first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at offset {offset} do not fit a segment of {segment_len} bytes")]
pub struct OutOfBounds {
    /// Where the access would have begun, in bytes from the start of the segment.
    pub offset: usize,
    /// How many bytes it would have touched.
    pub len: usize,
    /// How many bytes the segment has.
    pub segment_len: usize,
}

/// The bytes `[offset, offset + len)`. The sum is never formed, so it cannot overflow.
#[inline]
pub(super) fn part(bytes: &[u8], offset: usize, len: usize) -> Result<&[u8], OutOfBounds> {
    let refused = OutOfBounds { offset, len, segment_len: bytes.len() };
    bytes.get(offset..).and_then(|rest| rest.get(..len)).ok_or(refused)
}

/// As [`part`], to be written.
#[inline]
pub(super) fn part_mut(bytes: &mut [u8], offset: usize, len: usize) -> Result<&mut [u8], OutOfBounds> {
    let refused = OutOfBounds { offset, len, segment_len: bytes.len() };
    bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..len)).ok_or(refused)
}

/// The `N` bytes from `offset` on, as the typed reads want them.
#[inline]
pub(super) fn chunk<const N: usize>(bytes: &[u8], offset: usize) -> Result<[u8; N], OutOfBounds> {
    let refused = OutOfBounds { offset, len: N, segment_len: bytes.len() };
    bytes.get(offset..).and_then(|rest| rest.first_chunk().copied()).ok_or(refused)
}

/// The `N` bytes from `offset` on, as the typed writes want them.
#[inline]
pub(super) fn chunk_mut<const N: usize>(bytes: &mut [u8], offset: usize) -> Result<&mut [u8; N], OutOfBounds> {
    let refused = OutOfBounds { offset, len: N, segment_len: bytes.len() };
    bytes.get_mut(offset..).and_then(|rest| rest.first_chunk_mut()).ok_or(refused)
}

/// Turns the `try_` form of an operation into its panicking form; the panic names the caller's line.
#[inline]
#[track_caller]
pub(super) fn or_panic<T>(result: Result<T, OutOfBounds>) -> T {
    match result {
        Ok(value) => value,
        Err(refused) => refuse(refused),
    }
}

/// Out of line, so that an accessor stays a check and a load.
#[cold]
#[inline(never)]
#[track_caller]
fn refuse(refused: OutOfBounds) -> ! {
    panic!("{refused}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_offset_length_and_segment_length() {
        let text = OutOfBounds { offset: 6, len: 4, segment_len: 8 }.to_string();
        assert_eq!(text, "4 bytes at offset 6 do not fit a segment of 8 bytes");
    }

    #[test]
    fn an_empty_access_fits_at_the_end_and_not_after_it() {
        assert_eq!(part(&[0; 8], 8, 0), Ok(&[][..]));
        assert_eq!(part(&[0; 8], 9, 0), Err(OutOfBounds { offset: 9, len: 0, segment_len: 8 }));
    }

    #[test]
    fn an_end_that_overflows_is_out_of_bounds() {
        for (offset, len) in [(usize::MAX, 1), (1, usize::MAX), (usize::MAX, usize::MAX), (usize::MAX - 3, 8)] {
            let refused = OutOfBounds { offset, len, segment_len: 8 };
            assert_eq!(part(&[0; 8], offset, len), Err(refused));
            assert_eq!(part_mut(&mut [0; 8], offset, len), Err(refused));
        }
        assert_eq!(
            chunk::<8>(&[0; 8], usize::MAX - 3),
            Err(OutOfBounds { offset: usize::MAX - 3, len: 8, segment_len: 8 })
        );
    }
}
