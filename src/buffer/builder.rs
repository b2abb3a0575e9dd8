//! One thread fills a segment while others read the committed prefix.

use std::{fmt, ptr::NonNull};

use super::{data_type::DataType, exclusive::BufferMut, home, shared::Buffer, table::Header};
use crate::{
    memory::{copy, prefetch, stream},
    sync::Ordering,
};

/// Set in `committed` when nothing more will be appended.
const FINISHED: u32 = 1;

/// The writing end of a segment.
///
/// What was [appended](Self::append) becomes visible to the consumers by [`commit`](Self::commit), in whole commits
/// only (B1). Dropping the builder finishes the segment at the last commit. All operations are wait-free; dropping the
/// last handle to a segment costs what it does for a [`Buffer`].
///
/// The builder counts as a handle: the segment goes home when the builder, its consumers and their buffers are gone.
///
/// # Examples
/// ```
/// # use forebay::pool::NetworkBufferPool;
/// # let pool = NetworkBufferPool::builder().segments(4).build()?;
/// # let mut local = pool.local_pool("task").required(2).build()?;
/// let mut builder = local.try_request()?.into_builder();
/// let mut consumer = builder.create_consumer();
/// assert_eq!(builder.append(b"hello"), 5);
/// assert!(consumer.build().is_none(), "not committed yet");
/// builder.commit();
/// assert_eq!(&*consumer.build().unwrap(), b"hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `BufferBuilder`.
pub struct BufferBuilder {
    header: NonNull<Header>,
    data: NonNull<u8>,
    /// Bytes appended; those from the length in the header on, which only this builder stores, are nobody else's.
    written: u32,
    /// Where the builder stops: the segment's size, or less after `trim`.
    capacity: u32,
}

// SAFETY: H3, the only writer of its bytes.
unsafe impl Send for BufferBuilder {}
// SAFETY: `&BufferBuilder` writes nothing: appending and committing take `&mut self`.
unsafe impl Sync for BufferBuilder {}

impl BufferBuilder {
    pub(super) fn new(buffer: BufferMut) -> Self {
        let header = buffer.into_header(); // its count is ours now
        let (data, capacity) = {
            // SAFETY: H1, we are counted.
            let header = unsafe { header.as_ref() };
            // Relaxed: nobody else has a handle; how a consumer gets to another thread publishes it.
            header.committed.store(0, Ordering::Relaxed);
            (header.data(), header.capacity())
        };
        Self { header, data, written: 0, capacity }
    }

    /// A builder, and a consumer of everything. As [`new`](Self::new) and [`create_consumer`](Self::create_consumer),
    /// but counts by a store, which nobody waits for, where the line with the count is in another core's cache.
    pub(super) fn with_consumer(buffer: BufferMut) -> (Self, BufferConsumer) {
        let this = Self::new(buffer);
        // Relaxed: nobody else has a handle; how the consumer gets to another thread publishes it.
        this.header().refs.store(2, Ordering::Relaxed);
        let consumer = BufferConsumer { header: this.header, data: this.data, read: 0 };
        (this, consumer)
    }

    fn header(&self) -> &Header {
        // SAFETY: H1, we are counted.
        unsafe { self.header.as_ref() }
    }

    /// A consumer of everything from the first byte on. Any number of them may exist, each with a position of its own.
    /// Wait-free: one relaxed increment.
    #[must_use]
    pub fn create_consumer(&mut self) -> BufferConsumer {
        self.consumer_at(0)
    }

    /// A consumer of what will be committed after this call. Wait-free: one relaxed increment.
    #[must_use]
    pub fn create_consumer_from_here(&mut self) -> BufferConsumer {
        self.consumer_at(self.committed())
    }

    /// Bytes committed.
    fn committed(&self) -> u32 {
        self.header().committed.load(Ordering::Relaxed) >> 1 // nobody else writes
    }

    fn consumer_at(&mut self, read: u32) -> BufferConsumer {
        self.header().retain();
        BufferConsumer { header: self.header, data: self.data, read }
    }

    /// Copies as much of `src` as fits, and returns how many bytes that was. Wait-free. Consumers see nothing of it
    /// before the next [`commit`](Self::commit).
    #[inline]
    pub fn append(&mut self, src: &[u8]) -> usize {
        let n = src.len().min(self.remaining());
        copy(self.spare(n), &src[..n]);
        self.advance(n);
        n
    }

    /// Appends all of `src`, past the cache: `memory::stream_fence` comes before the next commit.
    ///
    /// # Panics
    /// If `src` is longer than [`remaining`](Self::remaining).
    pub(super) fn append_past_cache(&mut self, src: &[u8]) {
        stream(self.spare(src.len()), src);
        self.written += src.len() as u32;
    }

    /// As [`append_past_cache`](Self::append_past_cache), `first` and `then`, of which `then` is stored before.
    ///
    /// # Panics
    /// If they are longer than [`remaining`](Self::remaining).
    pub(super) fn append_both_past_cache(&mut self, first: &[u8], then: &[u8]) {
        let len = first.len() + then.len();
        let (dst_first, dst_then) = self.spare(len).split_at_mut(first.len());
        stream(dst_then, then);
        stream(dst_first, first);
        self.written += len as u32;
    }

    /// The next `len` bytes, to be written in place; count them with [`advance`](Self::advance). Wait-free.
    ///
    /// What is in them is unspecified: bytes of earlier users of the segment. Write all that you count.
    ///
    /// # Panics
    /// If `len` is more than [`remaining`](Self::remaining).
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::NetworkBufferPool;
    /// # let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// # let mut local = pool.local_pool("task").required(2).build()?;
    /// let mut builder = local.try_request()?.into_builder();
    /// builder.spare(4).copy_from_slice(&7_u32.to_be_bytes());
    /// builder.advance(4);
    /// assert_eq!(builder.written(), 4);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    pub fn spare(&mut self, len: usize) -> &mut [u8] {
        assert!(len <= self.remaining(), "{len} bytes of {} that remain", self.remaining());
        let start = self.written as usize;
        self.header().writes(start..start + len);
        // SAFETY: `written <= capacity`, so the pointer stays in the segment (H1).
        let start = unsafe { self.data.add(start) };
        // SAFETY: `[written, written + len)` lies in the segment, is initialised (the arena zeroes, later users only
        // write), and at or above the committed length, so nobody else touches it (H3).
        unsafe { std::slice::from_raw_parts_mut(start.as_ptr(), len) }
    }

    /// Writes `length` bytes with `write`, in place, and commits them, if they fit and leave at least a byte; `false`
    /// if not. Wait-free. [`spare`](Self::spare), [`advance`](Self::advance) and [`commit`](Self::commit) in one, with
    /// one look at the bounds: the hot path of a record.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a call would add six stores to a record that has five")]
    pub(crate) fn commit_with(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        if len >= self.remaining() {
            return false;
        }
        write(self.spare(len));
        self.written += len as u32;
        self.commit();
        true
    }

    /// Counts the next `len` bytes as written, as [`append`](Self::append) does by itself. Wait-free.
    ///
    /// # Panics
    /// If `len` is more than [`remaining`](Self::remaining).
    #[inline]
    pub fn advance(&mut self, len: usize) {
        assert!(len <= self.remaining(), "{len} bytes of {} that remain", self.remaining());
        self.written += len as u32;
    }

    /// Shows the consumers every byte appended so far. Wait-free: one release store.
    ///
    /// Tells nobody: a consumer that waits for bytes needs a signal of its own, such as the exchange's flush.
    #[inline]
    pub fn commit(&mut self) {
        // ORDERING W1 Release, pairs with W2 in `BufferConsumer`: the bytes are visible no later than their length
        // (B1).
        self.header().committed.store(self.written << 1, Ordering::Release);
    }

    /// Commits, says that this was all, and gives up the segment. (A drop says so too, but leaves out what was not
    /// committed.) Wait-free; that of the last handle as its drop.
    pub fn finish(self) {
        let this = std::mem::ManuallyDrop::new(self);
        this.end(this.written);
    }

    /// Says that `len` bytes were all, and gives up the builder's count: its last touch.
    fn end(&self, len: u32) {
        // ORDERING W1 Release, pairs with W2, as in `commit`: the finished bit is seen with the last bytes.
        self.header().committed.store(len << 1 | FINISHED, Ordering::Release);
        home::release(self.header);
    }

    /// Bytes appended so far, committed or not. Wait-free.
    #[must_use]
    #[inline]
    pub fn written(&self) -> usize {
        self.written as usize
    }

    /// Bytes that still fit. Wait-free.
    #[must_use]
    #[inline]
    pub fn remaining(&self) -> usize {
        (self.capacity - self.written) as usize
    }

    /// Whether nothing more fits. Wait-free.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.written == self.capacity
    }

    /// Lowers the number of bytes that the segment takes to `capacity`, but not below what is written already nor above
    /// what it was. Wait-free.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::NetworkBufferPool;
    /// # let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// # let mut local = pool.local_pool("task").required(2).build()?;
    /// let mut builder = local.try_request()?.into_builder();
    /// builder.append(b"abc");
    /// builder.trim(4);
    /// assert_eq!(builder.append(b"def"), 1, "one of three fits");
    /// builder.trim(1);
    /// assert_eq!(builder.written(), 4, "what is written stays");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn trim(&mut self, capacity: usize) {
        self.capacity = capacity.clamp(self.written as usize, self.capacity as usize) as u32;
    }
}

impl Drop for BufferBuilder {
    fn drop(&mut self) {
        self.end(self.committed());
    }
}

impl fmt::Debug for BufferBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferBuilder")
            .field("segment", &self.header().index())
            .field("written", &self.written)
            .field("committed", &self.committed())
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}

/// A reading end of a segment that is being filled: takes the committed bytes out as [`Buffer`]s, each byte once.
///
/// A clone starts where the original stands and goes on alone. All operations are wait-free; dropping the last handle
/// to a segment costs what it does for a [`Buffer`].
///
/// What [`is_finished`](Self::is_finished) and its like say about the builder is as of that moment: the builder may be
/// on another thread. Once finished it stays finished.
///
/// # Examples
/// ```
/// # use forebay::pool::NetworkBufferPool;
/// # let pool = NetworkBufferPool::builder().segments(4).build()?;
/// # let mut local = pool.local_pool("task").required(2).build()?;
/// let mut builder = local.try_request()?.into_builder();
/// let mut consumer = builder.create_consumer();
/// let reader = std::thread::spawn(move || {
///     let mut seen = Vec::new();
///     while !consumer.is_consumed() {
///         if let Some(buffer) = consumer.build() {
///             seen.extend_from_slice(&buffer); // whole commits, each byte once
///         }
///     }
///     seen
/// });
/// for piece in ["back ", "and ", "forth"] {
///     builder.append(piece.as_bytes());
///     builder.commit();
/// }
/// builder.finish();
/// assert_eq!(reader.join().unwrap(), b"back and forth");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `BufferConsumer`.
pub struct BufferConsumer {
    header: NonNull<Header>,
    data: NonNull<u8>,
    /// Bytes taken so far.
    read: u32,
}

/// The builder has finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Finished;

// SAFETY: H4, it reads frozen bytes only.
unsafe impl Send for BufferConsumer {}
// SAFETY: as above.
unsafe impl Sync for BufferConsumer {}

impl BufferConsumer {
    fn header(&self) -> &Header {
        // SAFETY: H1, we are counted.
        unsafe { self.header.as_ref() }
    }

    /// Committed bytes, and whether that is all there will be.
    #[inline]
    fn committed(&self) -> (u32, bool) {
        // ORDERING W2 Acquire, pairs with W1 in `BufferBuilder`: the bytes below the length are seen, and stay (H4).
        let committed = self.header().committed.load(Ordering::Acquire);
        (committed >> 1, committed & FINISHED != 0)
    }

    /// The bytes committed since the last call as one buffer, if there are any. Wait-free: one acquire load and one
    /// relaxed increment.
    pub fn build(&mut self) -> Option<Buffer> {
        let (committed, _) = self.committed();
        if committed == self.read {
            return None;
        }
        self.header().retain();
        Some(self.take_to(committed))
    }

    /// As [`build`](Self::build), of a segment that is still being filled. One look at the length for both.
    ///
    /// # Errors
    /// [`Finished`]: it is not. [`into_last`](Self::into_last) has what is left.
    #[inline]
    pub(crate) fn build_unfinished(&mut self) -> Result<Option<Buffer>, Finished> {
        let (committed, finished) = self.committed();
        if finished {
            return Err(Finished);
        }
        if committed == self.read {
            return Ok(None);
        }
        self.header().retain();
        Ok(Some(self.take_to(committed)))
    }

    /// All that is left as one buffer, if the builder has finished: hands over the consumer's own count, so costs no
    /// read-modify-write. The buffer may be empty. Wait-free.
    ///
    /// # Errors
    /// The consumer itself, if the builder has not finished yet: take what there is with [`build`](Self::build), and
    /// try again later.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::NetworkBufferPool;
    /// # let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// # let mut local = pool.local_pool("task").required(2).build()?;
    /// let mut builder = local.try_request()?.into_builder();
    /// let consumer = builder.create_consumer();
    /// builder.append(b"all of it");
    /// let consumer = consumer.into_last().expect_err("still being filled");
    /// builder.finish();
    /// assert_eq!(&*consumer.into_last().expect("finished"), b"all of it");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_last(mut self) -> Result<Buffer, Self> {
        let (committed, finished) = self.committed();
        if !finished {
            return Err(self);
        }
        let buffer = self.take_to(committed);
        #[allow(clippy::mem_forget, reason = "its count passed to the buffer")]
        std::mem::forget(self);
        Ok(buffer)
    }

    /// A buffer of `[read, committed)` that takes over one count.
    fn take_to(&mut self, committed: u32) -> Buffer {
        // SAFETY: `read <= committed <= capacity`, so the pointer stays in the segment or one past its end (H1).
        let start = unsafe { self.data.add(self.read as usize) };
        let len = committed - self.read;
        self.read = committed;
        Buffer::counted(self.header, start, len, DataType::DATA_BUFFER)
    }

    /// Asks for the bytes that come next.
    #[inline]
    pub(crate) fn prefetch(&self) {
        prefetch(self.data.as_ptr().wrapping_add(self.read as usize));
    }

    /// Whether the builder has finished. Once true, it stays true. Wait-free.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.committed().1
    }

    /// Whether the builder has finished and every byte was taken. Once true, it stays true. Wait-free.
    #[must_use]
    pub fn is_consumed(&self) -> bool {
        self.committed() == (self.read, true)
    }

    /// Whether there is something that [`build`](Self::build) would return. Stays true until it is taken. Wait-free.
    #[must_use]
    pub fn is_readable(&self) -> bool {
        self.committed().0 != self.read
    }
}

impl Clone for BufferConsumer {
    fn clone(&self) -> Self {
        self.header().retain();
        Self { ..*self }
    }
}

impl Drop for BufferConsumer {
    fn drop(&mut self) {
        home::release(self.header);
    }
}

impl fmt::Debug for BufferConsumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (committed, finished) = self.committed();
        f.debug_struct("BufferConsumer")
            .field("segment", &self.header().index())
            .field("read", &self.read)
            .field("committed", &committed)
            .field("finished", &finished)
            .finish_non_exhaustive()
    }
}
