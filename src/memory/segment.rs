//! One concrete type over mapped, owned and borrowed memory.

use std::{fmt, marker::PhantomData, ops::Range, ptr::NonNull};

use super::{
    bounds::{OutOfBounds, or_panic, part, part_mut},
    heap::HeapMemory,
    mapping::{MapError, Mapping},
    view::SegmentView,
};

/// A fixed-size piece of memory with typed, bounds-checked access; where it comes from makes no difference to use.
///
/// The memory is a mapping of its own ([`map`](Self::map)), heap memory ([`allocate`](Self::allocate), or a `Vec<u8>`)
/// or a borrowed slice ([`wrap`](Self::wrap)). The segment holds a pointer and a length whichever it is, so every
/// access compiles to the same bounds check and load or store: there is no dispatch, dynamic or otherwise.
///
/// Offsets and lengths are in bytes. Reads take `&self` and writes `&mut self`: that nobody else writes meanwhile is
/// the borrow checker's proof. Each operation has two forms: `x` panics when it would leave the segment, for offsets
/// that are the program's own; `try_x` returns [`OutOfBounds`], for offsets that come from outside. Either way a
/// refused operation has read and written nothing. Multi-byte values need no alignment; their names say the byte
/// order: `_le` little endian, `_be` big endian (the wire's), nothing for the machine's own.
///
/// Everything but the constructors is wait-free, calls no system and no allocator, and costs O(bytes touched).
///
/// The inherent [`get`](Self::get) and [`swap`](Self::swap) mean something else than a slice's, so the segment does not
/// dereference to one: use [`as_slice`](Self::as_slice).
///
/// # Examples
/// ```
/// use forebay::memory::MemorySegment;
///
/// let mut segment = MemorySegment::allocate(16);
/// segment.put_u32_be(0, 5);
/// segment.put(4, b"hello");
/// assert_eq!(segment.get_u32_be(0), 5);
/// assert_eq!(segment.slice(4, 5).as_slice(), b"hello");
/// assert!(segment.try_get_u64(9).is_err(), "one byte too far");
/// ```
///
/// # Source
/// Flink's `MemorySegment`, which was once an abstract class with `HeapMemorySegment` and `HybridMemorySegment` below
/// it and was made one class again so that the JIT could inline its accessors.
pub struct MemorySegment<'a> {
    ptr: NonNull<u8>,
    len: usize,
    /// Looked at by drop, and by `Debug`; never by an access.
    backing: Backing,
    /// Borrowed memory is borrowed exclusively, for `'a`.
    borrow: PhantomData<&'a mut [u8]>,
}

/// Who gives the memory back.
#[expect(dead_code, reason = "the contents are held for their drop")]
enum Backing {
    /// Whoever lent it.
    Borrowed,
    Heap(HeapMemory),
    Mapped(Mapping),
}

// SAFETY: the bytes are owned or borrowed exclusively (S4), as with `Box<[u8]>` and `&mut [u8]`, which are `Send`. In a
// `SegmentView` they are borrowed shared and never written, as with `&[u8]`.
unsafe impl Send for MemorySegment<'_> {}
// SAFETY: by `&self` the bytes are read only (S4), as with `&Box<[u8]>`, which is `Send`.
unsafe impl Sync for MemorySegment<'_> {}

impl MemorySegment<'static> {
    /// Takes `len` zeroed bytes from the heap.
    ///
    /// Blocking on the allocator. Large blocks come zeroed from the system and cost nothing until touched.
    ///
    /// # Panics
    /// If `len` is over `isize::MAX`. If the allocator has no such block the process aborts, as `Vec` does.
    ///
    /// # Examples
    /// ```
    /// let segment = forebay::memory::MemorySegment::allocate(100);
    /// assert_eq!(segment.as_slice(), [0; 100]);
    /// ```
    ///
    /// # Source
    /// Flink's `MemorySegmentFactory.allocateUnpooledSegment`.
    #[must_use]
    pub fn allocate(len: usize) -> Self {
        vec![0; len].into()
    }

    /// Maps `len` zeroed bytes of anonymous memory for this segment alone, beginning at a page boundary.
    ///
    /// The system rounds the mapping up to whole pages; the segment has exactly `len` bytes. Blocking on the system
    /// call. Pages get their frames at first touch.
    ///
    /// # Errors
    /// [`MapError`] with the system's reason when it refuses the mapping: ask for less, or raise the limit it names.
    ///
    /// # Examples
    /// ```
    /// use forebay::memory::{MemorySegment, page_size};
    /// let segment = MemorySegment::map(5000)?;
    /// assert_eq!(segment.len(), 5000);
    /// assert_eq!(segment.as_slice().as_ptr().addr() % page_size(), 0);
    /// # Ok::<(), forebay::memory::MapError>(())
    /// ```
    ///
    /// # Source
    /// Flink's `MemorySegmentFactory.allocateOffHeapUnsafeMemory`.
    pub fn map(len: usize) -> Result<Self, MapError> {
        let mapping = Mapping::new(len)?;
        Ok(Self { ptr: mapping.as_ptr(), len, backing: Backing::Mapped(mapping), borrow: PhantomData })
    }
}

impl From<Vec<u8>> for MemorySegment<'static> {
    /// Takes over the vector's bytes without copying. Wait-free.
    fn from(bytes: Vec<u8>) -> Self {
        let len = bytes.len();
        let heap = HeapMemory::from(bytes);
        Self { ptr: heap.as_ptr(), len, backing: Backing::Heap(heap), borrow: PhantomData }
    }
}

impl<'a> MemorySegment<'a> {
    /// A segment over memory that belongs to somebody else, for as long as it is borrowed. Wait-free.
    ///
    /// # Examples
    /// ```
    /// let mut bytes = [0; 8];
    /// forebay::memory::MemorySegment::wrap(&mut bytes).put_u16_be(6, 0x0102);
    /// assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 2]);
    /// ```
    ///
    /// # Source
    /// Flink's `MemorySegmentFactory.wrap`.
    #[must_use]
    pub fn wrap(bytes: &'a mut [u8]) -> Self {
        Self { len: bytes.len(), ptr: NonNull::from(bytes).cast(), backing: Backing::Borrowed, borrow: PhantomData }
    }

    /// The segment inside a view, which must lend it out by shared reference only (S4).
    #[inline]
    pub(super) fn view_of(bytes: &'a [u8]) -> Self {
        Self { len: bytes.len(), ptr: NonNull::from(bytes).cast(), backing: Backing::Borrowed, borrow: PhantomData }
    }

    /// As [`as_slice`](Self::as_slice), for a view to give out for the whole of `'a`.
    #[inline]
    pub(super) fn raw(&self) -> NonNull<[u8]> {
        NonNull::slice_from_raw_parts(self.ptr, self.len)
    }

    /// How many bytes the segment has. Never changes. Wait-free.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the segment has no bytes at all. Wait-free.
    #[must_use]
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// All bytes, to be read. Wait-free.
    #[must_use]
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: `len` initialised bytes at `ptr` (S2, S3) that stay there while `self` is borrowed (S1); nobody
        // writes them meanwhile, for that takes `&mut self` (S4).
        unsafe { self.raw().as_ref() }
    }

    /// All bytes, to be written. Wait-free.
    #[must_use]
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: `len` initialised bytes at `ptr` (S2, S3) that stay there while `self` is borrowed (S1); `&mut self`
        // on the only way to them keeps everybody else out (S4).
        unsafe { self.raw().as_mut() }
    }

    /// The `len` bytes from `offset` on, to be read as a segment. Wait-free; copies nothing.
    ///
    /// # Panics
    /// If they are not all inside the segment.
    ///
    /// # Examples
    /// ```
    /// let segment = forebay::memory::MemorySegment::from(vec![1, 2, 3, 4]);
    /// assert_eq!(segment.slice(1, 2).get_u16_be(0), 0x0203);
    /// ```
    ///
    /// # Source
    /// Flink's `MemorySegment.wrap`.
    #[must_use]
    #[inline]
    #[track_caller]
    pub fn slice(&self, offset: usize, len: usize) -> SegmentView<'_> {
        or_panic(self.try_slice(offset, len))
    }

    /// As [`slice`](Self::slice), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if the bytes are not all inside the segment.
    #[inline]
    pub fn try_slice(&self, offset: usize, len: usize) -> Result<SegmentView<'_>, OutOfBounds> {
        part(self.as_slice(), offset, len).map(SegmentView::new)
    }

    /// The `len` bytes from `offset` on, to be written as a segment. Wait-free; copies nothing.
    ///
    /// # Panics
    /// If they are not all inside the segment.
    ///
    /// # Examples
    /// ```
    /// let mut segment = forebay::memory::MemorySegment::allocate(4);
    /// segment.slice_mut(2, 2).put_u8(0, 9);
    /// assert_eq!(segment.as_slice(), [0, 0, 9, 0]);
    /// ```
    #[must_use]
    #[inline]
    #[track_caller]
    pub fn slice_mut(&mut self, offset: usize, len: usize) -> MemorySegment<'_> {
        or_panic(self.try_slice_mut(offset, len))
    }

    /// As [`slice_mut`](Self::slice_mut), with an error in place of a panic. Wait-free.
    ///
    /// # Errors
    /// [`OutOfBounds`] if the bytes are not all inside the segment.
    #[inline]
    pub fn try_slice_mut(&mut self, offset: usize, len: usize) -> Result<MemorySegment<'_>, OutOfBounds> {
        part_mut(self.as_mut_slice(), offset, len).map(MemorySegment::wrap)
    }
}

impl AsRef<[u8]> for MemorySegment<'_> {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsMut<[u8]> for MemorySegment<'_> {
    fn as_mut(&mut self) -> &mut [u8] {
        self.as_mut_slice()
    }
}

impl fmt::Debug for MemorySegment<'_> {
    /// Address, length and backing, not the bytes: they may be 32 KiB of somebody's secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backing = match self.backing {
            Backing::Borrowed => "borrowed",
            Backing::Heap(_) => "heap",
            Backing::Mapped(_) => "mapped",
        };
        let Range { start, .. } = self.as_slice().as_ptr_range();
        f.debug_struct("MemorySegment").field("ptr", &start).field("len", &self.len).field("backing", &backing).finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::testing::{cases, fits, offsets, on_each_backing};

    #[test]
    fn fresh_segments_are_zeroed_and_of_the_asked_length() {
        for len in [0, 1, 4095, 4096, 10_000] {
            for segment in [MemorySegment::allocate(len), MemorySegment::map(len).unwrap()] {
                assert_eq!(segment.as_slice(), vec![0; len]);
                assert_eq!((segment.len(), segment.is_empty()), (len, len == 0));
            }
        }
    }

    #[test]
    fn a_vector_keeps_its_bytes_and_address() {
        let mut bytes = Vec::with_capacity(100);
        bytes.extend_from_slice(b"spare capacity is given back too");
        let address = bytes.as_ptr();
        let segment = MemorySegment::from(bytes);
        assert_eq!(segment.as_slice(), b"spare capacity is given back too");
        assert_eq!(segment.as_slice().as_ptr(), address);
    }

    #[test]
    fn a_segment_may_move_between_threads_and_still_has_its_bytes() {
        let mut segment = MemorySegment::map(64).unwrap();
        segment.put_u64(8, 42);
        let moved = std::thread::spawn(move || segment).join().unwrap();
        assert_eq!(moved.get_u64(8), 42);
    }

    #[test]
    fn wrapped_memory_is_usable_again_once_the_segment_is_gone() {
        let mut bytes = [0; 4];
        let mut segment = MemorySegment::wrap(&mut bytes);
        segment.put_u8(3, 1);
        bytes[0] = 1; // compiles: a segment that is merely in scope does not extend its borrow
        assert_eq!(bytes, [1, 0, 0, 1]);
    }

    #[test]
    fn debug_names_the_backing_and_hides_the_bytes() {
        let text = format!("{:?}", MemorySegment::from(vec![222; 3]));
        assert!(text.contains("len: 3") && text.contains("heap") && !text.contains("222"), "{text}");
    }

    #[test]
    #[should_panic(expected = "4 bytes at offset 6 do not fit a segment of 8 bytes")]
    fn a_slice_past_the_end_panics_with_all_three_numbers() {
        let _ = MemorySegment::allocate(8).slice(6, 4);
    }

    #[test]
    fn a_panic_points_at_the_callers_line() {
        use std::sync::mpsc;
        let (send, line) = mpsc::channel();
        let default = std::panic::take_hook();
        let this_thread = std::thread::current().id();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().id() == this_thread {
                send.send(info.location().map(|l| (l.file().to_owned(), l.line()))).unwrap();
            } else {
                default(info); // another test's
            }
        }));
        let here = line!() + 1;
        let caught = std::panic::catch_unwind(|| MemorySegment::allocate(8).get_u32(usize::MAX));
        drop(std::panic::take_hook());
        assert!(caught.is_err());
        assert_eq!(line.recv().unwrap(), Some((file!().to_owned(), here)));
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn slices_are_the_bytes_of_a_plain_slice(
            contents in prop::collection::vec(any::<u8>(), 0..64), offset in offsets(), len in offsets(),
        ) {
            on_each_backing(&contents, |segment| {
                let refused = OutOfBounds { offset, len, segment_len: contents.len() };
                if fits(&contents, offset, len) {
                    let expected = &contents[offset..offset + len];
                    assert_eq!(segment.try_slice(offset, len).unwrap().as_slice(), expected);
                    assert_eq!(segment.slice(offset, len).to_bytes(), expected);
                    segment.slice_mut(offset, len).as_mut().fill(7);
                    let mut expected = contents.clone();
                    expected[offset..offset + len].fill(7);
                    assert_eq!(segment.as_ref(), expected);
                } else {
                    assert_eq!(segment.try_slice(offset, len).unwrap_err(), refused);
                    assert_eq!(segment.try_slice_mut(offset, len).unwrap_err(), refused);
                }
            });
        }
    }
}
