//! The side table: one header of one cache line for each segment of an arena.

use std::{mem, ops::Range, ptr::NonNull};

use super::{home::Home, terms::Terms};
use crate::{
    lockfree::inbox::{Links, MAX_INDEX},
    memory::Arena,
    sync::{Arc, AtomicU32, Ordering, UnsafeCell},
};

/// The name of a segment that nobody holds. Who has it may lend it, and nobody else can.
///
/// Neither `Copy` nor `Clone`: passing it on is giving it away, so no segment is ever in two places (H2, M1). Dropping
/// one by mistake loses the segment, hence the bomb in debug builds.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "the segment is in no other place"]
pub(crate) struct FreeSegment(u32);

impl FreeSegment {
    /// Its index in the arena.
    pub(super) fn index(&self) -> u32 {
        self.0
    }

    /// Its index in the arena, to be kept in a list; [`SegmentTable::regain`] turns it back.
    pub(crate) fn into_index(self) -> u32 {
        let index = self.0;
        #[allow(clippy::mem_forget, reason = "given away, not lost")]
        mem::forget(self);
        index
    }
}

#[cfg(debug_assertions)]
impl Drop for FreeSegment {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "broken invariant M1: segment {} was lost", self.0);
    }
}

/// What is known of one segment, on a cache line of its own.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Header {
    /// Handles that exist (H1), and 1 while there is none: lending and dropping the only handle write nothing here, so
    /// a segment that goes from core to core takes this line along for reading only. Written by whoever clones a
    /// handle, or drops one of several.
    pub(super) refs: AtomicU32,
    /// `length << 1 | finished`. Written by the builder alone, read by its consumers.
    pub(super) committed: AtomicU32,
    index: u32,
    /// Who lent the segment: set while its only name is a `FreeSegment`, read by who drops the last handle.
    lent_by: UnsafeCell<LentBy>,
    data: NonNull<u8>,
    capacity: u32,
}

/// Who lent a segment, and on which terms. That it is an own segment of the owner who gives it back, and nothing else
/// is to be done, is one comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LentBy {
    /// One byte further on other terms than most, and so odd; odd, too, if there is none.
    home: NonNull<Home>,
    terms: Terms,
}

impl LentBy {
    /// Of no home yet.
    const NOBODY: Self = Self { home: NonNull::<u8>::dangling().cast(), terms: Terms::OWN };

    #[inline]
    pub(super) fn new(home: NonNull<Home>, terms: Terms) -> Self {
        Self { home: home.map_addr(|address| address | usize::from(terms != Terms::OWN)), terms } // homes are aligned
    }

    /// Whether all there is to do when the segment comes back is to give it to `home`.
    #[inline]
    pub(super) fn is_own_of(self, home: NonNull<Home>) -> bool {
        self.home == home
    }

    /// The home, if all there is to do is to give the segment to it.
    #[inline]
    pub(super) fn home_of_own(self) -> Option<NonNull<Home>> {
        (self.home.addr().get() & 1 == 0).then_some(self.home)
    }

    /// 0 if [it is an own one](Self::is_own_of) of `home`.
    #[inline]
    pub(super) fn away_from(self, home: NonNull<Home>) -> usize {
        self.home.addr().get() ^ home.addr().get()
    }

    #[inline]
    pub(super) fn terms(self) -> Terms {
        self.terms
    }

    /// The lender's home. The segment is lent, so there is one.
    #[inline]
    pub(super) fn home(self) -> NonNull<Home> {
        NonNull::new(self.home.as_ptr().map_addr(|address| address & !1)).expect("a lent segment has a home")
    }
}

// SAFETY: `data` points into the arena, which is Send + Sync; who may touch the bytes is H3, H4. `lent_by` is written
// only while one `FreeSegment` is the segment's only name, and read only with a handle counted.
unsafe impl Send for Header {}
// SAFETY: as above.
unsafe impl Sync for Header {}

impl Header {
    #[inline]
    pub(super) fn index(&self) -> u32 {
        self.index
    }

    #[inline]
    pub(super) fn data(&self) -> NonNull<u8> {
        self.data
    }

    /// Bytes in the segment.
    #[inline]
    pub(super) fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Counts one more handle. The caller has one, so nobody frees meanwhile. Wait-free.
    ///
    /// Aborts the process, as `Arc` does, rather than let the count overflow: with more than two thousand million
    /// handles to one segment, most of them were forgotten, and the next drop could free it under the others.
    #[inline]
    pub(super) fn retain(&self) {
        // Relaxed: others count too; how the new handle gets to another thread publishes it.
        if self.refs.fetch_add(1, Ordering::Relaxed) > u32::MAX / 2 {
            std::process::abort();
        }
    }

    /// Says who lends the segment. The caller has its only name, and nobody a handle.
    pub(super) fn stamp(&self, lent_by: LentBy) {
        // Always, also where it looks the same: another home may stand where an earlier one did, and a pointer to what
        // is freed may not be followed, though it is equal. Segments that stay with their owner are not stamped again
        // (L3).
        self.lent_by.with_mut(|slot| {
            // SAFETY: H2, the caller's promise, so no handle reads the cell.
            unsafe { *slot = lent_by }
        });
    }

    /// Who lent the segment. The caller holds a handle to it, or its `FreeSegment`.
    #[inline]
    pub(super) fn lent_by(&self) -> LentBy {
        // SAFETY: written before the first handle existed, and not again while one does.
        self.lent_by.with(|lent| unsafe { *lent })
    }

    /// Fills all bytes of the segment, which nobody holds any more.
    pub(super) fn fill(&self, byte: u8) {
        self.writes(0..self.capacity as usize);
        // SAFETY: `[data, data + capacity)` is the segment's (S5), and no handle to it is left (H3): the caller has its
        // only name.
        unsafe { self.data.write_bytes(byte, self.capacity as usize) };
    }

    /// Tells loom that the calling thread reads `range`. Nothing in a real build.
    #[inline]
    pub(super) fn reads(&self, range: Range<usize>) {
        if cfg!(forebay_loom) {
            self.arena(|arena| arena.reads(self.index, range));
        }
    }

    /// Tells loom that the calling thread writes `range`. Nothing in a real build.
    #[inline]
    pub(super) fn writes(&self, range: Range<usize>) {
        if cfg!(forebay_loom) {
            self.arena(|arena| arena.writes(self.index, range));
        }
    }

    fn arena(&self, f: impl FnOnce(&Arena)) {
        // SAFETY: H1, the caller holds a handle or brings the segment home (L1), so the home exists.
        let home = unsafe { self.lent_by().home().as_ref() };
        f(&home.table().arena);
    }
}

/// An arena and the headers of its segments. Kept alive by every [`Home`] that lends from it.
#[derive(Debug)]
pub(crate) struct SegmentTable {
    headers: Box<[Header]>,
    /// The link of the inbox, or none, that each segment is in. Not in the headers: the owner walks a chain of them,
    /// and here one cache line has sixteen.
    links: Box<[AtomicU32]>,
    arena: Arena,
    #[cfg(feature = "leaks")]
    pub(crate) takers: super::leaks::Takers,
}

impl SegmentTable {
    /// Takes over `arena`; every segment of it is free, and named by the tokens in [`all`](Self::all).
    pub(crate) fn new(arena: Arena) -> Arc<Self> {
        assert!(arena.segments() <= MAX_INDEX, "the pool's builder refuses more segments than can be named");
        let capacity = arena.segment_size() as u32;
        let headers = (0..arena.segments())
            .map(|index| Header {
                refs: AtomicU32::new(1),
                committed: AtomicU32::new(0),
                index,
                lent_by: UnsafeCell::new(LentBy::NOBODY),
                data: arena.data(index),
                capacity,
            })
            .collect();
        let links = (0..arena.segments()).map(|_| AtomicU32::new(0)).collect();
        Arc::new(Self {
            headers,
            links,
            #[cfg(feature = "leaks")]
            takers: super::leaks::Takers::new(arena.segments()),
            arena,
        })
    }

    /// The names of all segments. To be called once, when the table is made.
    pub(crate) fn all(&self) -> impl Iterator<Item = FreeSegment> {
        (0..self.segments()).map(FreeSegment)
    }

    /// Number of segments.
    pub(crate) fn segments(&self) -> u32 {
        self.headers.len() as u32
    }

    /// Bytes in each segment.
    pub(crate) fn segment_size(&self) -> usize {
        self.arena.segment_size()
    }

    /// A segment is coming back: with the feature `leaks`, nobody has taken it any more.
    #[inline]
    #[cfg_attr(not(feature = "leaks"), allow(clippy::unused_self, reason = "the feature's part"))]
    pub(super) fn is_back(&self, index: u32) {
        #[cfg(feature = "leaks")]
        self.takers.forget(index);
        #[cfg(not(feature = "leaks"))]
        let _ = index;
    }

    /// Turns an index that came from [`FreeSegment::into_index`] back into the name, once.
    pub(crate) fn regain(&self, index: u32) -> FreeSegment {
        assert!(index < self.segments(), "broken invariant M1: no segment {index}");
        // Relaxed: nobody else has the index, so nobody writes.
        debug_assert_eq!(self.headers[index as usize].refs.load(Ordering::Relaxed), 1, "M1: segment {index} is held");
        FreeSegment(index)
    }

    /// The headers of all segments, each at its index.
    #[inline]
    pub(super) fn headers(&self) -> &[Header] {
        &self.headers
    }

    /// The header of the segment with this index.
    #[inline]
    pub(super) fn header_of(&self, index: u32) -> NonNull<Header> {
        NonNull::from(&self.headers[index as usize])
    }

    pub(super) fn header(&self, segment: &FreeSegment) -> &Header {
        &self.headers[segment.0 as usize]
    }

    pub(super) fn free(index: u32) -> FreeSegment {
        FreeSegment(index)
    }
}

impl Links for SegmentTable {
    fn link(&self, index: u32) -> &AtomicU32 {
        &self.links[index as usize]
    }
}
