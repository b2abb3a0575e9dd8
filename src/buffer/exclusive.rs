//! The only handle to a segment: read and write.

use std::{
    fmt,
    ops::{Deref, DerefMut},
    ptr::NonNull,
};

use super::{
    builder::{BufferBuilder, BufferConsumer},
    data_type::DataType,
    home,
    shared::Buffer,
    table::Header,
};
use crate::memory::MemorySegment;

/// One segment, lent to you alone: all its bytes, to read and to write.
///
/// Dereferences to `[u8]` of the segment's size. The bytes are whatever the last user left there, be it another task of
/// the process. Dropping it gives the segment back at once: from any thread, with the cost and progress of dropping the
/// only handle to a [`Buffer`].
///
/// Comes from a [`LocalBufferPool`](crate::pool::LocalBufferPool), or from [`Buffer::try_into_mut`]. Turn it into a
/// read-only, cheaply cloned [`Buffer`] with [`freeze`](Self::freeze), or fill it piece by piece while another thread
/// reads with [`into_builder`](Self::into_builder).
///
/// # Examples
/// ```
/// # use forebay::pool::NetworkBufferPool;
/// let pool = NetworkBufferPool::builder().segments(4).build()?;
/// let mut local = pool.local_pool("task").required(2).build()?;
/// let mut buffer = local.try_request()?;
/// buffer.segment().put_u64_be(0, 42);
/// let frozen = buffer.freeze(8);
/// assert_eq!(frozen[7], 42);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `MemorySegment` as a `BufferProvider` gives it out.
#[repr(transparent)] // many are taken and given back as so many pointers
pub struct BufferMut {
    header: NonNull<Header>,
}

// SAFETY: H3, the only handle to its bytes; everything it points to is Send + Sync.
unsafe impl Send for BufferMut {}
// SAFETY: `&BufferMut` only reads bytes that nobody writes meanwhile.
unsafe impl Sync for BufferMut {}

impl BufferMut {
    /// The handle of a segment that was just lent; takes over the one count in `header.refs`.
    #[inline]
    pub(super) fn lent(header: NonNull<Header>) -> Self {
        Self { header }
    }

    #[inline]
    pub(super) fn header_ptr(&self) -> NonNull<Header> {
        self.header
    }

    /// Gives up the handle, but not its count.
    #[inline]
    pub(super) fn into_header(self) -> NonNull<Header> {
        let header = self.header;
        #[allow(clippy::mem_forget, reason = "the caller takes over its count")]
        std::mem::forget(self);
        header
    }

    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: H1, we are counted.
        unsafe { self.header.as_ref() }
    }

    /// The segment's number.
    #[cfg(feature = "leaks")]
    pub(super) fn index(&self) -> u32 {
        self.header().index()
    }

    /// The typed view of the bytes: `buffer.segment().put_u32_be(0, 7)`. Wait-free; copies nothing.
    #[must_use]
    pub fn segment(&mut self) -> MemorySegment<'_> {
        MemorySegment::wrap(self)
    }

    /// The first `len` bytes as a read-only buffer of type [`DataType::DATA_BUFFER`]. Wait-free; copies nothing.
    ///
    /// The rest of the segment is out of reach until it is exclusive again. `Buffer::from(self)` freezes all of it.
    ///
    /// # Panics
    /// If `len` is more than the segment's size.
    #[must_use]
    #[inline]
    pub fn freeze(self, len: usize) -> Buffer {
        assert!(len <= self.len(), "freezing {len} bytes of a segment of {}", self.len());
        let data = self.header().data();
        Buffer::counted(self.into_header(), data, len as u32, DataType::DATA_BUFFER)
    }

    /// Fills the segment piece by piece from the first byte on, while others read what was committed. Wait-free; copies
    /// nothing.
    #[must_use]
    pub fn into_builder(self) -> BufferBuilder {
        BufferBuilder::new(self)
    }

    /// As [`into_builder`](Self::into_builder), with the first consumer. Wait-free: two plain stores.
    pub(crate) fn into_builder_and_consumer(self) -> (BufferBuilder, BufferConsumer) {
        BufferBuilder::with_consumer(self)
    }
}

impl Deref for BufferMut {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let (data, len) = (self.header().data(), self.header().capacity() as usize);
        self.header().reads(0..len);
        // SAFETY: the arena maps and initialises `[0, capacity)` (H1), and only `&mut self` could write it (H3).
        unsafe { std::slice::from_raw_parts(data.as_ptr(), len) }
    }
}

impl DerefMut for BufferMut {
    fn deref_mut(&mut self) -> &mut [u8] {
        let (data, len) = (self.header().data(), self.header().capacity() as usize);
        self.header().writes(0..len);
        // SAFETY: as in `deref`; `&mut self` on the only handle keeps everybody else out (H3).
        unsafe { std::slice::from_raw_parts_mut(data.as_ptr(), len) }
    }
}

impl Drop for BufferMut {
    #[inline]
    fn drop(&mut self) {
        // H3: the only handle. Whoever found out that others are gone has acquired what they did (R0).
        home::release_last(self.header);
    }
}

impl fmt::Debug for BufferMut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header();
        f.debug_struct("BufferMut").field("segment", &header.index()).field("size", &header.capacity()).finish()
    }
}
