//! The counted, read-only handle to a range of a segment.

use std::{
    fmt,
    ops::{Bound, Deref, RangeBounds},
    ptr::NonNull,
};

use super::{data_type::DataType, exclusive::BufferMut, home, table::Header};
use crate::sync::Ordering;

/// A read-only range of a segment, counted: the segment goes back to its pool when the last handle to it is dropped.
///
/// Dereferences to `[u8]`. The bytes never change while a handle exists. 24 bytes in size.
///
/// | operation | cost | progress |
/// |---|---|---|
/// | [`clone`](Clone::clone), [`slice`](Self::slice) | one relaxed increment | wait-free |
/// | drop of a handle that has siblings | one release decrement | wait-free |
/// | drop of the only handle | no read-modify-write on the count; then a few stores home, or one compare-and-swap | lock-free |
///
/// The last drop brings the segment home. If the pool's owner sleeps it wakes it; if the segment was borrowed from the
/// surplus it goes to the network pool, and if somebody waits there takes the lock of the waiting list; if pools and
/// buffers are gone but for this one it frees them, down to the mapping.
///
/// # Examples
/// ```
/// use forebay::{buffer::DataType, pool::NetworkBufferPool};
/// let pool = NetworkBufferPool::builder().segments(4).build()?;
/// let mut local = pool.local_pool("task").required(2).build()?;
///
/// let mut bytes = local.try_request()?;
/// bytes[..5].copy_from_slice(b"hello");
/// let buffer = bytes.freeze(5);
/// let ell = buffer.slice(1..4);
/// let there = std::thread::spawn({
///     let buffer = buffer.clone(); // no copy: the same segment
///     move || buffer.len()
/// });
/// assert_eq!(there.join().unwrap(), 5);
///
/// let buffer = buffer.try_into_mut().expect_err("a slice counts as a handle");
/// drop(buffer);
/// assert_eq!(local.lent(), 1, "the slice keeps the segment");
/// let again = ell.try_into_mut().expect("the only handle");
/// assert_eq!(&again[..5], b"hello", "the whole segment");
/// assert!(again.freeze(5).with_data_type(DataType::EVENT_BUFFER).is_unique());
/// assert_eq!(local.lent(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `NetworkBuffer` and `ReadOnlySlicedNetworkBuffer`; the count is `Arc`'s, without its weak half.
pub struct Buffer {
    header: NonNull<Header>,
    data: NonNull<u8>,
    len: u32,
    data_type: DataType,
    compressed: bool,
}

// SAFETY: H4, the bytes are frozen, and the count is atomic.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A handle that takes over one count in `header.refs`; `[data, data + len)` is a frozen range of the segment.
    #[inline]
    pub(super) fn counted(header: NonNull<Header>, data: NonNull<u8>, len: u32, data_type: DataType) -> Self {
        Self { header, data, len, data_type, compressed: false }
    }

    pub(super) fn header(&self) -> NonNull<Header> {
        self.header
    }

    fn header_ref(&self) -> &Header {
        // SAFETY: H1, we are counted.
        unsafe { self.header.as_ref() }
    }

    /// What the bytes are. Wait-free.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The same bytes under another type. The other handles keep theirs. Wait-free.
    #[must_use]
    pub fn with_data_type(mut self, data_type: DataType) -> Self {
        self.data_type = data_type;
        self
    }

    /// Whether the bytes are marked as compressed. The codec is a matter between the two ends. Wait-free.
    #[must_use]
    pub fn is_compressed(&self) -> bool {
        self.compressed
    }

    /// The same bytes, marked as compressed or not: nothing is done to them. The other handles keep theirs. Wait-free.
    #[must_use]
    pub fn with_compressed(mut self, compressed: bool) -> Self {
        self.compressed = compressed;
        self
    }

    /// A part of this buffer that keeps the whole segment alive. Wait-free; copies nothing.
    ///
    /// # Panics
    /// If the range does not lie in this buffer.
    #[must_use]
    #[track_caller]
    pub fn slice(&self, range: impl RangeBounds<usize>) -> Self {
        let len = self.len as usize;
        let start = match range.start_bound() {
            Bound::Included(&start) => Some(start),
            Bound::Excluded(&start) => start.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let end = match range.end_bound() {
            Bound::Included(&end) => end.checked_add(1),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => Some(len),
        };
        let (Some(start), Some(end)) = (start, end) else { panic!("a range beyond usize::MAX of a buffer of {len}") };
        assert!(start <= end && end <= len, "bytes {start}..{end} of a buffer of {len}");
        let mut part = self.clone();
        // SAFETY: `start <= len`, so the pointer stays in the segment or one past its end (H1).
        part.data = unsafe { self.data.add(start) };
        part.len = (end - start) as u32;
        part
    }

    /// Whether this is the only handle to the segment. Stays true as long as you do not clone it; may become true at
    /// any moment otherwise. Wait-free.
    #[must_use]
    #[inline]
    pub fn is_unique(&self) -> bool {
        // ORDERING R0 Acquire, pairs with R1, as in `home::release`.
        self.header_ref().refs.load(Ordering::Acquire) == 1
    }

    /// The whole segment, to write, if this is its only handle. Wait-free; copies nothing.
    ///
    /// # Errors
    /// The buffer itself, if there are other handles (clones, slices, a builder or a consumer): try again when they are
    /// gone, or request another segment and copy.
    pub fn try_into_mut(self) -> Result<BufferMut, Self> {
        if !self.is_unique() {
            return Err(self);
        }
        let header = self.header;
        #[allow(clippy::mem_forget, reason = "the count passes to the new handle")]
        std::mem::forget(self);
        Ok(BufferMut::lent(header))
    }
}

impl From<BufferMut> for Buffer {
    /// All bytes of the segment, frozen. Wait-free.
    fn from(buffer: BufferMut) -> Self {
        let len = buffer.len();
        buffer.freeze(len)
    }
}

impl Clone for Buffer {
    /// Another handle to the same bytes. Wait-free: one relaxed increment.
    ///
    /// Aborts the process, as `Arc` does, rather than let the count overflow: with 2³¹ handles to one segment, which
    /// takes a loop that forgets them.
    #[inline]
    fn clone(&self) -> Self {
        self.header_ref().retain();
        Self { header: self.header, ..*self }
    }
}

impl Deref for Buffer {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let len = self.len as usize;
        if cfg!(forebay_loom) {
            let start = self.data.as_ptr().addr() - self.header_ref().data().as_ptr().addr();
            self.header_ref().reads(start..start + len);
        }
        // SAFETY: H1, H4: the range lies in a mapped, initialised segment, and nobody writes it.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), len) }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        home::release(self.header);
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Buffer")
            .field("segment", &self.header_ref().index())
            .field("len", &self.len)
            .field("data_type", &self.data_type)
            .field("compressed", &self.compressed)
            .finish_non_exhaustive()
    }
}
