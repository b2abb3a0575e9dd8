//! Operations on two ranges of bytes: compare, equal, swap, copy.

use std::cmp::Ordering;

use super::{
    bounds::{OutOfBounds, or_panic, part, part_mut},
    segment::MemorySegment,
};

impl MemorySegment<'_> {
    /// Compares `len` bytes from `offset` on with as many of `other` from `other_offset` on: lexicographic, each byte
    /// unsigned. Wait-free.
    ///
    /// # Panics
    /// If either range is not all inside its segment.
    ///
    /// # Examples
    /// ```
    /// use std::cmp::Ordering;
    /// use forebay::memory::MemorySegment;
    /// let (a, b) = (MemorySegment::from(vec![0, 0x7f]), MemorySegment::from(vec![0x80, 0]));
    /// assert_eq!(a.compare(&b, 1, 0, 1), Ordering::Less);
    /// assert_eq!(a.compare(&b, 0, 1, 1), Ordering::Equal);
    /// ```
    ///
    /// # Source
    /// Flink's `MemorySegment.compare(seg2, offset1, offset2, len)`.
    #[must_use]
    #[inline]
    #[track_caller]
    pub fn compare(&self, other: &MemorySegment<'_>, offset: usize, other_offset: usize, len: usize) -> Ordering {
        or_panic(self.try_compare(other, offset, other_offset, len))
    }

    /// As [`compare`](Self::compare), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if either range is not all inside its segment.
    #[inline]
    pub fn try_compare(
        &self,
        other: &MemorySegment<'_>,
        offset: usize,
        other_offset: usize,
        len: usize,
    ) -> Result<Ordering, OutOfBounds> {
        self.try_compare_unequal(other, offset, other_offset, len, len)
    }

    /// Compares `len` bytes from `offset` on with `other_len` bytes of `other` from `other_offset` on: lexicographic,
    /// each byte unsigned, and a proper prefix is less than what it begins. Wait-free.
    ///
    /// # Panics
    /// If either range is not all inside its segment.
    ///
    /// # Examples
    /// ```
    /// use std::cmp::Ordering;
    /// use forebay::memory::MemorySegment;
    /// let words = MemorySegment::from(b"forebay fore".to_vec());
    /// assert_eq!(words.compare_unequal(&words, 8, 0, 4, 7), Ordering::Less);
    /// ```
    ///
    /// # Source
    /// Flink's `MemorySegment.compare(seg2, offset1, offset2, len1, len2)`.
    #[must_use]
    #[inline]
    #[track_caller]
    pub fn compare_unequal(
        &self,
        other: &MemorySegment<'_>,
        offset: usize,
        other_offset: usize,
        len: usize,
        other_len: usize,
    ) -> Ordering {
        or_panic(self.try_compare_unequal(other, offset, other_offset, len, other_len))
    }

    /// As [`compare_unequal`](Self::compare_unequal), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if either range is not all inside its segment.
    #[inline]
    pub fn try_compare_unequal(
        &self,
        other: &MemorySegment<'_>,
        offset: usize,
        other_offset: usize,
        len: usize,
        other_len: usize,
    ) -> Result<Ordering, OutOfBounds> {
        let ours = part(self.as_slice(), offset, len)?;
        let theirs = part(other.as_slice(), other_offset, other_len)?;
        Ok(ours.cmp(theirs))
    }

    /// Whether `len` bytes from `offset` on equal as many of `other` from `other_offset` on. Wait-free.
    ///
    /// # Panics
    /// If either range is not all inside its segment.
    ///
    /// # Examples
    /// ```
    /// let segment = forebay::memory::MemorySegment::from(b"abcabd".to_vec());
    /// assert!(segment.equal_to(&segment, 0, 3, 2));
    /// assert!(!segment.equal_to(&segment, 0, 3, 3));
    /// ```
    ///
    /// # Source
    /// Flink's `MemorySegment.equalTo`.
    #[must_use]
    #[inline]
    #[track_caller]
    pub fn equal_to(&self, other: &MemorySegment<'_>, offset: usize, other_offset: usize, len: usize) -> bool {
        or_panic(self.try_equal_to(other, offset, other_offset, len))
    }

    /// As [`equal_to`](Self::equal_to), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if either range is not all inside its segment.
    #[inline]
    pub fn try_equal_to(
        &self,
        other: &MemorySegment<'_>,
        offset: usize,
        other_offset: usize,
        len: usize,
    ) -> Result<bool, OutOfBounds> {
        let ours = part(self.as_slice(), offset, len)?;
        let theirs = part(other.as_slice(), other_offset, len)?;
        Ok(ours == theirs)
    }

    /// Exchanges `len` bytes from `offset` on with as many of `other` from `other_offset` on. Wait-free; needs no
    /// buffer in between.
    ///
    /// # Panics
    /// If either range is not all inside its segment; nothing is written then.
    ///
    /// # Examples
    /// ```
    /// use forebay::memory::MemorySegment;
    /// let (mut a, mut b) = (MemorySegment::from(vec![1, 2, 3]), MemorySegment::from(vec![8, 9]));
    /// a.swap(&mut b, 1, 0, 2);
    /// assert_eq!((a.as_slice(), b.as_slice()), (&[1, 8, 9][..], &[2, 3][..]));
    /// ```
    ///
    /// # Source
    /// Flink's `MemorySegment.swapBytes`, less its `tempBuffer`.
    #[inline]
    #[track_caller]
    pub fn swap(&mut self, other: &mut MemorySegment<'_>, offset: usize, other_offset: usize, len: usize) {
        or_panic(self.try_swap(other, offset, other_offset, len));
    }

    /// As [`swap`](Self::swap), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if either range is not all inside its segment; nothing is written then.
    #[inline]
    pub fn try_swap(
        &mut self,
        other: &mut MemorySegment<'_>,
        offset: usize,
        other_offset: usize,
        len: usize,
    ) -> Result<(), OutOfBounds> {
        let ours = part_mut(self.as_mut_slice(), offset, len)?;
        let theirs = part_mut(other.as_mut_slice(), other_offset, len)?;
        ours.swap_with_slice(theirs);
        Ok(())
    }

    /// Copies `len` bytes from `offset` on into `target`, from `target_offset` on. Wait-free.
    ///
    /// # Panics
    /// If either range is not all inside its segment; nothing is written then.
    ///
    /// # Examples
    /// ```
    /// use forebay::memory::MemorySegment;
    /// let mut target = MemorySegment::allocate(4);
    /// MemorySegment::from(vec![1, 2, 3]).copy_to(1, &mut target, 0, 2);
    /// assert_eq!(target.as_slice(), [2, 3, 0, 0]);
    /// ```
    ///
    /// # Source
    /// Flink's `MemorySegment.copyTo`.
    #[inline]
    #[track_caller]
    pub fn copy_to(&self, offset: usize, target: &mut MemorySegment<'_>, target_offset: usize, len: usize) {
        or_panic(self.try_copy_to(offset, target, target_offset, len));
    }

    /// As [`copy_to`](Self::copy_to), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if either range is not all inside its segment; nothing is written then.
    #[inline]
    pub fn try_copy_to(
        &self,
        offset: usize,
        target: &mut MemorySegment<'_>,
        target_offset: usize,
        len: usize,
    ) -> Result<(), OutOfBounds> {
        let source = part(self.as_slice(), offset, len)?;
        part_mut(target.as_mut_slice(), target_offset, len)?.copy_from_slice(source);
        Ok(())
    }

    /// Copies `len` bytes from `offset` on to `target_offset` in the same segment; the ranges may overlap. Wait-free.
    ///
    /// # Panics
    /// If either range is not all inside the segment; nothing is written then.
    ///
    /// # Examples
    /// ```
    /// let mut segment = forebay::memory::MemorySegment::from(vec![1, 2, 3, 4]);
    /// segment.copy_within(0, 1, 3);
    /// assert_eq!(segment.as_slice(), [1, 1, 2, 3]);
    /// ```
    #[inline]
    #[track_caller]
    pub fn copy_within(&mut self, offset: usize, target_offset: usize, len: usize) {
        or_panic(self.try_copy_within(offset, target_offset, len));
    }

    /// As [`copy_within`](Self::copy_within), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if either range is not all inside the segment; nothing is written then.
    #[inline]
    pub fn try_copy_within(&mut self, offset: usize, target_offset: usize, len: usize) -> Result<(), OutOfBounds> {
        let bytes = self.as_mut_slice();
        part(bytes, offset, len)?;
        part(bytes, target_offset, len)?;
        bytes.copy_within(offset..offset + len, target_offset); // both ends are inside, so the sum is
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::testing::{cases, fits, offsets, on_each_backing};

    /// Few distinct bytes, so that equal and nearly equal ranges come up; high bits, so that a signed compare shows.
    fn contents() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(vec![0_u8, 1, 0x7f, 0x80, 0xff]), 0..32)
    }

    /// Every pairing of backings: what the first is made of should not matter to the second, nor the other way round.
    fn on_each_pair(a: &[u8], b: &[u8], mut test: impl FnMut(&mut MemorySegment<'_>, &mut MemorySegment<'_>)) {
        on_each_backing(a, |a| on_each_backing(b, |b| test(a, b)));
    }

    /// What a refused operation on two ranges reports: the first range that does not fit.
    fn refusal(ranges: [(&[u8], usize, usize); 2]) -> Option<OutOfBounds> {
        let [first, second] = ranges.map(|(bytes, offset, len)| {
            (!fits(bytes, offset, len)).then_some(OutOfBounds { offset, len, segment_len: bytes.len() })
        });
        first.or(second)
    }

    #[test]
    fn bytes_compare_unsigned_and_a_prefix_is_less() {
        let (low, high) = (MemorySegment::from(vec![0x7f, 1]), MemorySegment::from(vec![0x80]));
        assert_eq!(low.compare(&high, 0, 0, 1), Ordering::Less);
        assert_eq!(high.compare_unequal(&low, 0, 0, 1, 2), Ordering::Greater);
        assert_eq!(low.compare_unequal(&low, 0, 0, 1, 2), Ordering::Less);
        assert_eq!(low.compare_unequal(&low, 0, 0, 0, 0), Ordering::Equal);
    }

    #[test]
    fn the_receiver_is_reported_first() {
        let (mut short, mut shorter) = (MemorySegment::allocate(4), MemorySegment::allocate(2));
        assert_eq!(short.try_compare(&shorter, 0, 0, 5).unwrap_err().segment_len, 4);
        assert_eq!(short.try_compare(&shorter, 0, 0, 3).unwrap_err().segment_len, 2);
        assert_eq!(short.try_swap(&mut shorter, 0, 0, 3).unwrap_err().segment_len, 2);
    }

    #[test]
    #[should_panic(expected = "3 bytes at offset 0 do not fit a segment of 2 bytes")]
    fn a_swap_with_too_short_a_segment_panics() {
        MemorySegment::allocate(4).swap(&mut MemorySegment::allocate(2), 0, 0, 3);
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn comparisons_order_as_plain_slices_do(
            a in contents(), b in contents(),
            a_at in offsets(), b_at in offsets(), a_len in offsets(), b_len in offsets(),
        ) {
            on_each_pair(&a, &b, |x, y| {
                if let Some(refused) = refusal([(&a, a_at, a_len), (&b, b_at, b_len)]) {
                    assert_eq!(x.try_compare_unequal(y, a_at, b_at, a_len, b_len), Err(refused));
                } else {
                    let expected = a[a_at..a_at + a_len].cmp(&b[b_at..b_at + b_len]);
                    assert_eq!(x.try_compare_unequal(y, a_at, b_at, a_len, b_len), Ok(expected));
                    assert_eq!(x.compare_unequal(y, a_at, b_at, a_len, b_len), expected);
                    assert_eq!(y.compare_unequal(x, b_at, a_at, b_len, a_len), expected.reverse());
                }
                if let Some(refused) = refusal([(&a, a_at, a_len), (&b, b_at, a_len)]) {
                    assert_eq!(x.try_compare(y, a_at, b_at, a_len), Err(refused));
                    assert_eq!(x.try_equal_to(y, a_at, b_at, a_len), Err(refused));
                } else {
                    let expected = a[a_at..a_at + a_len].cmp(&b[b_at..b_at + a_len]);
                    assert_eq!(x.try_compare(y, a_at, b_at, a_len), Ok(expected));
                    assert_eq!(x.compare(y, a_at, b_at, a_len), expected);
                    assert_eq!(x.try_equal_to(y, a_at, b_at, a_len), Ok(expected.is_eq()));
                    assert_eq!(x.equal_to(y, a_at, b_at, a_len), expected.is_eq());
                }
            });
        }

        #[test]
        fn swap_exchanges_what_plain_slices_would(
            a in contents(), b in contents(), a_at in offsets(), b_at in offsets(), len in offsets(),
        ) {
            on_each_pair(&a, &b, |x, y| {
                let mut expected = (a.clone(), b.clone());
                x.as_mut_slice().copy_from_slice(&a); // the outer segment has seen the other pairings
                let refused = refusal([(&a, a_at, len), (&b, b_at, len)]);
                if let Some(refused) = refused {
                    assert_eq!(x.try_swap(y, a_at, b_at, len), Err(refused));
                } else {
                    expected.0[a_at..a_at + len].swap_with_slice(&mut expected.1[b_at..b_at + len]);
                    assert_eq!(x.try_swap(y, a_at, b_at, len), Ok(()));
                }
                assert_eq!((x.as_slice(), y.as_slice()), (&expected.0[..], &expected.1[..]));
                if refused.is_none() {
                    x.swap(y, a_at, b_at, len);
                    assert_eq!((x.as_slice(), y.as_slice()), (&a[..], &b[..]), "twice is not at all");
                }
            });
        }

        #[test]
        fn copy_to_writes_what_plain_slices_would(
            a in contents(), b in contents(), a_at in offsets(), b_at in offsets(), len in offsets(),
        ) {
            on_each_pair(&a, &b, |x, y| {
                let mut expected = b.clone();
                if let Some(refused) = refusal([(&a, a_at, len), (&b, b_at, len)]) {
                    assert_eq!(x.try_copy_to(a_at, y, b_at, len), Err(refused));
                } else {
                    expected[b_at..b_at + len].copy_from_slice(&a[a_at..a_at + len]);
                    x.copy_to(a_at, y, b_at, len);
                    assert_eq!(y.as_slice(), expected);
                    y.as_mut_slice().copy_from_slice(&b);
                    assert_eq!(x.try_copy_to(a_at, y, b_at, len), Ok(()));
                }
                assert_eq!((x.as_slice(), y.as_slice()), (&a[..], &expected[..]));
            });
        }

        #[test]
        fn copy_within_moves_as_a_plain_slice_does(
            a in contents(), from in offsets(), to in offsets(), len in offsets(),
        ) {
            on_each_backing(&a, |x| {
                let mut expected = a.clone();
                if let Some(refused) = refusal([(&a, from, len), (&a, to, len)]) {
                    assert_eq!(x.try_copy_within(from, to, len), Err(refused));
                } else {
                    expected.copy_within(from..from + len, to);
                    x.copy_within(from, to, len);
                    assert_eq!(x.as_slice(), expected);
                    x.as_mut_slice().copy_from_slice(&a);
                    assert_eq!(x.try_copy_within(from, to, len), Ok(()));
                }
                assert_eq!(x.as_slice(), expected);
            });
        }
    }
}
