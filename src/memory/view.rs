//! A read-only segment over shared memory.

use std::{fmt, ops::Deref};

use super::segment::MemorySegment;

/// A [`MemorySegment`] that can only be read: over part of another one, or over any `&[u8]`.
///
/// Every reading operation of a segment is there by dereference. A pointer and a length, to be passed by value.
///
/// # Examples
/// ```
/// use forebay::memory::SegmentView;
/// let frame = SegmentView::new(&[0, 0, 0, 2, b'o', b'k']);
/// let len = frame.get_u32_be(0) as usize;
/// assert_eq!(frame.try_slice(4, len)?.as_slice(), b"ok");
/// # Ok::<(), forebay::memory::OutOfBounds>(())
/// ```
/// Writing does not compile:
/// ```compile_fail,E0596
/// let mut view = forebay::memory::SegmentView::new(&[0; 4]);
/// view.put_u8(0, 1); // cannot borrow data in dereference of `SegmentView` as mutable
/// ```
///
/// # Source
/// Flink's `MemorySegment.wrap(offset, length)`, whose `ByteBuffer` this stands for.
pub struct SegmentView<'a> {
    /// Lent out by shared reference only, for its bytes are merely shared (S4).
    segment: MemorySegment<'a>,
}

impl<'a> SegmentView<'a> {
    /// A view of `bytes`. Wait-free; copies nothing.
    #[must_use]
    #[inline]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { segment: MemorySegment::view_of(bytes) }
    }

    /// The bytes seen, which may outlive the view. Wait-free.
    #[must_use]
    #[inline]
    pub fn to_bytes(&self) -> &'a [u8] {
        // SAFETY: the segment was made of a `&'a [u8]`, so its bytes are initialised, in place (S1 to S3) and, the
        // segment being lent out by shared reference only, unwritten for all of `'a` (S4).
        unsafe { self.segment.raw().as_ref() }
    }
}

impl<'a> Deref for SegmentView<'a> {
    type Target = MemorySegment<'a>;

    #[inline]
    fn deref(&self) -> &MemorySegment<'a> {
        &self.segment
    }
}

impl Clone for SegmentView<'_> {
    #[inline]
    fn clone(&self) -> Self {
        Self::new(self.to_bytes())
    }
}

impl AsRef<[u8]> for SegmentView<'_> {
    fn as_ref(&self) -> &[u8] {
        self.to_bytes()
    }
}

impl fmt::Debug for SegmentView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SegmentView").field(&self.segment).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_the_same_bytes_are_read_side_by_side() {
        let segment = MemorySegment::from(vec![1, 2, 3, 4]);
        let (head, tail) = (segment.slice(0, 3), segment.slice(1, 3));
        let again = head.clone();
        assert_eq!((head.get_u16_be(1), tail.get_u16_be(0), again.get_u16_be(1)), (0x0203, 0x0203, 0x0203));
        assert_eq!(head.as_ref(), [1, 2, 3]);
    }

    #[test]
    fn the_bytes_outlive_the_view() {
        let bytes = [1, 2, 3];
        let seen = SegmentView::new(&bytes).to_bytes();
        assert_eq!(seen, bytes);
    }

    #[test]
    fn a_view_can_be_read_on_other_threads() {
        let segment = MemorySegment::from(vec![7; 100]);
        let view = segment.slice(10, 50);
        std::thread::scope(|scope| {
            let there = view.clone();
            scope.spawn(move || assert_eq!(there.as_slice(), [7; 50]));
            assert_eq!(view.get_u8(49), 7);
        });
    }
}
