//! Lending segments and getting them back: the owner's [`Lender`].
//!
//! ```text
//!   Lender (one owner) ── take, adopt, lend_borrowed ──▶ handles, on any thread
//!      ▲ stash (plain memory) ◀── take_back ── the owner │
//!      │                                                 ▼ last one dropped
//!      └───────────── collect ◀──────────────── lanes and inbox of the home
//! ```
//!
//! # Invariants
//! * **L3** An own segment that is free is in the stash, in a lane or in the inbox, in one of them once, and its header
//!   says already that it is lent by its home. The stash has room for all own segments.
//!
//! # Source
//! Flink's `BufferRecycler` and `LocalBufferPool.lazyDestroy`; when to open the lanes is ours.

use std::{ptr::NonNull, task::Waker};

use super::{
    exclusive::BufferMut,
    handle::{Handle, sealed::Count},
    home::{self, BufferRecycler, CLOSING, Home},
    stash::Stash,
    table::{FreeSegment, Header, LentBy, SegmentTable},
    terms::Terms,
};
use crate::{
    lockfree::lanes,
    sync::{Arc, Ordering, yield_now},
};

/// So many segments that came by the inbox while the owner did not wait make it open the lanes: closing them costs it a
/// system call of about half a microsecond. Models have few segments.
const PATIENCE: u32 = if cfg!(forebay_loom) { 1 } else { 256 };

/// The owner's end of a [`Home`]: lends segments, and gets its own back. One owner at a time (`&mut self`).
pub(crate) struct Lender {
    home: NonNull<Home>,
    /// Own segments that are free, as far as the owner has looked, the one returned last on top. See L3.
    stash: Stash,
    /// Own segments, free or lent.
    own: u32,
    /// What the owner alone knows of `Home::lanes`.
    lanes: lanes::Owner,
    /// Segments that came by the inbox since the owner last waited.
    by_inbox: u32,
    /// Borrowed segments that were lent, ever.
    borrowed: u64,
    /// On which its own segments are lent.
    terms: Terms,
}

/// What became of [`Lender::park`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Park {
    /// The next own segment that comes back wakes the owner.
    Asleep,
    /// An own segment is back.
    Look,
    /// A thread is in the middle of bringing one back, and will not wake the owner: come again in a moment.
    Again,
}

// SAFETY: what the owner alone has moves with it, and everything in `Home` and in headers is meant for many threads.
unsafe impl Send for Lender {}
// SAFETY: `&Lender` gives access to numbers and to atomics of `Home` only.
unsafe impl Sync for Lender {}

impl Lender {
    /// Lends segments of `table`, on `terms`, and has room for `own` of its own. Borrowed ones, and all that come back
    /// after the lender is gone, go to `recycler`.
    pub(crate) fn new(table: Arc<SegmentTable>, own: u32, recycler: Box<dyn BufferRecycler>, terms: Terms) -> Self {
        Self {
            home: Home::leaked(table, recycler),
            stash: Stash::with_capacity(own as usize),
            own: 0,
            lanes: lanes::Owner::new(),
            by_inbox: 0,
            borrowed: 0,
            terms,
        }
    }

    fn home(&self) -> &Home {
        // SAFETY: L1, we are the owner, and free the home at the earliest when we are dropped.
        unsafe { self.home.as_ref() }
    }

    /// The table the segments belong to.
    pub(crate) fn table(&self) -> &Arc<SegmentTable> {
        &self.home().table
    }

    /// Lends the own segment that came back last, of those the owner has collected. Wait-free.
    #[inline]
    pub(crate) fn take(&mut self) -> Option<BufferMut> {
        // `refs` is 1 already: it counts the handle from here on; and `lent_by` says us, on our terms (L3).
        self.stash.pop().map(BufferMut::lent)
    }

    /// The same, counted for `channel` until it is back.
    pub(crate) fn take_for(&mut self, channel: Option<u32>) -> Option<BufferMut> {
        let header = self.stash.pop()?;
        if channel.is_some() {
            // SAFETY: H1, the home keeps the table.
            unsafe { header.as_ref() }.stamp(LentBy::new(self.home, self.terms_for(channel))); // ours alone: it was free
        }
        Some(BufferMut::lent(header))
    }

    /// Lends `count` of them, if there are as many. Wait-free but for `into`'s allocator.
    #[inline]
    pub(crate) fn take_many(&mut self, count: usize, into: &mut Vec<BufferMut>) -> bool {
        let Some(segments) = self.stash.pop_many(count) else { return false };
        into.reserve(count);
        let len = into.len();
        // SAFETY: there is room for `count` more.
        let end = unsafe { into.as_mut_ptr().add(len) };
        let handles = segments.as_ptr().cast::<BufferMut>(); // a pointer to a header each, and transparent
        // SAFETY: as above; each is a handle from here on, as in `take`; and the stash is another allocation.
        unsafe { handles.copy_to_nonoverlapping(end, count) };
        // SAFETY: as above, and they were just written.
        unsafe { into.set_len(len + count) };
        true
    }

    /// Makes room for `own` segments of the owner's.
    pub(crate) fn reserve(&mut self, own: u32) {
        self.stash.grow(own as usize);
    }

    /// Makes `segment` the owner's, and lends it, counted for `channel`: it comes back to the stash. Wait-free but for
    /// the allocator, if there are more than there was to be room for.
    pub(crate) fn adopt(&mut self, segment: FreeSegment, channel: Option<u32>) -> BufferMut {
        self.own += 1;
        self.stash.grow(self.own as usize);
        Home::hand_out(self.home, segment, self.terms_for(channel))
    }

    /// Makes `segment` the owner's, and keeps it for the next request. As [`adopt`](Self::adopt).
    pub(crate) fn add(&mut self, segment: FreeSegment) {
        self.own += 1;
        self.stash.grow(self.own as usize);
        let header = self.home().table.header_of(segment.into_index());
        // SAFETY: H1, the home keeps the table.
        unsafe { header.as_ref() }.stamp(LentBy::new(self.home, self.terms)); // ours alone: it is free
        self.keep(header);
    }

    /// Takes a free segment that is the owner's no more, of those it has collected. Wait-free.
    pub(crate) fn give_up(&mut self) -> Option<FreeSegment> {
        let header = self.stash.pop()?;
        self.own -= 1;
        // SAFETY: H1, the home keeps the table.
        let index = unsafe { header.as_ref() }.index();
        Some(SegmentTable::free(index)) // L3: it was in the stash alone
    }

    /// Lends a segment that goes to the recycler when it comes back, and is counted for `channel`. Wait-free.
    pub(crate) fn lend_borrowed(&mut self, segment: FreeSegment, channel: Option<u32>) -> BufferMut {
        self.borrowed += 1;
        Home::hand_out(self.home, segment, self.terms_for(channel).on_loan())
    }

    fn terms_for(&self, channel: Option<u32>) -> Terms {
        channel.map_or(self.terms, |channel| self.terms.for_channel(channel))
    }

    /// Takes an own segment back into the stash without any read-modify-write, if `handle` is its only one, and nothing
    /// is to be done on its way back. Else it is as if it were dropped. Wait-free, or as drop.
    #[inline]
    pub(crate) fn take_back(&mut self, handle: impl Handle) {
        let only = handle.is_only();
        let Count(counted) = handle.into_count(); // it stays for whoever takes it from the stash, or is given up below
        // SAFETY: H1, it is counted.
        let header = unsafe { counted.as_ref() };
        if header.lent_by().is_own_of(self.home) && only {
            self.home().table.is_back(header.index());
            self.keep(counted);
        } else {
            home::release_elsewhere(counted);
        }
    }

    /// Takes all `buffers` back, those that are not own ones as if they were dropped. Wait-free, or as drop.
    #[inline]
    pub(crate) fn take_back_many(&mut self, buffers: &mut Vec<BufferMut>) {
        if cfg!(feature = "leaks") {
            return self.take_back_each(buffers);
        }
        let home = self.home;
        let headers = buffers.iter().map(BufferMut::header_ptr);
        // H3: a `BufferMut` is the only handle, so whose it is is all there is to be looked at.
        // SAFETY: H1, `buffers` are counted.
        let all = self.stash.push_all(headers, |header| unsafe { header.as_ref() }.lent_by().away_from(home));
        if !all {
            return self.take_back_each(buffers);
        }
        // SAFETY: their counts stay for whoever takes them from the stash, so they are handles no more.
        unsafe { buffers.set_len(0) };
    }

    #[cold]
    fn take_back_each(&mut self, buffers: &mut Vec<BufferMut>) {
        buffers.drain(..).for_each(|buffer| self.take_back(buffer));
    }

    /// Puts an own segment that nobody holds on top of the stash.
    #[inline]
    fn keep(&mut self, header: NonNull<Header>) {
        // SAFETY: L3, `header` is an own segment that is not in the stash yet, so there is room for it.
        unsafe { self.stash.push(header) };
    }

    /// Takes the own segments that came back into the stash, the most recent on top. Wait-free; opens the lanes when it
    /// is time.
    #[inline]
    pub(crate) fn collect(&mut self) {
        self.collect_from_lanes();
        self.collect_from_inbox();
    }

    /// Takes the own segments that came back into the stash, if there is none in it. As [`collect`](Self::collect).
    #[inline]
    pub(crate) fn collect_if_empty(&mut self) {
        if self.free() == 0 && !self.collect_from_lanes() {
            self.collect_from_inbox();
        }
    }

    /// Lends an own segment that came back since the owner last looked, if there is one. Wait-free, as
    /// [`collect`](Self::collect).
    #[inline(never)]
    pub(crate) fn take_returned(&mut self) -> Option<BufferMut> {
        self.collect_if_empty();
        self.take()
    }

    /// Whether there were any.
    #[allow(clippy::inline_always, reason = "all that a request does whose segments come by a lane")]
    #[inline(always)]
    fn collect_from_lanes(&mut self) -> bool {
        // SAFETY: L1, we are the owner.
        let home = unsafe { self.home.as_ref() };
        let before = self.stash.len();
        let (lanes, stash) = (&mut self.lanes, &mut self.stash);
        let headers = home.table.headers(); // looked up once: as far as the compiler knows, a push might change it
        // SAFETY: L3, an own segment that was not in the stash, so there is room for it.
        home.lanes.take(lanes, |index| unsafe { stash.push(NonNull::from(&headers[index as usize])) });
        self.stash.len() > before
    }

    #[inline(never)]
    fn collect_from_inbox(&mut self) {
        // SAFETY: L1, we are the owner.
        let home = unsafe { self.home.as_ref() };
        let before = self.stash.len();
        let mut chain = home.inbox.take_all();
        while let Some(index) = chain.next(&*home.table) {
            self.keep(home.table.header_of(index));
        }
        let came = self.stash.len() - before;
        if came > 0 {
            self.stash.reverse_above(before);
            self.by_inbox += came as u32;
            if self.by_inbox >= PATIENCE {
                self.by_inbox = 0;
                if self.lanes.is_closed() {
                    home.lanes.open(&mut self.lanes);
                }
            }
        }
    }

    /// Own segments that are free, as of the last [`collect`](Self::collect).
    pub(crate) fn free(&self) -> u32 {
        self.stash.len() as u32
    }

    /// Own segments, free or lent.
    pub(crate) fn own(&self) -> u32 {
        self.own
    }

    /// Own segments that are out, as of the last [`collect`](Self::collect).
    pub(crate) fn own_out(&self) -> u64 {
        u64::from(self.own - self.free())
    }

    /// Leaves `waker` to be woken by the next own segment that comes back after [`park`](Self::park).
    pub(crate) fn register(&self, waker: &Waker) {
        self.home().waker.register(waker);
    }

    /// Closes the lanes; `true` once nobody is in one.
    fn close_lanes(&mut self) -> bool {
        // SAFETY: L1, we are the owner.
        let home = unsafe { self.home.as_ref() };
        let (lanes, stash) = (&mut self.lanes, &mut self.stash);
        // SAFETY: L3, as in `collect_from_lanes`.
        home.lanes.close(lanes, |index| unsafe { stash.push(home.table.header_of(index)) })
    }

    /// Says that the owner is about to wait. Wait-free, but for the system where the lanes are open.
    pub(crate) fn park(&mut self) -> Park {
        if !self.lanes.is_closed() {
            let before = self.stash.len();
            self.by_inbox = 0;
            let closed = self.close_lanes();
            if self.stash.len() > before {
                return Park::Look;
            }
            if !closed {
                yield_now(); // to that thread, if it waits for this core
                return Park::Again;
            }
        }
        if self.home().inbox.park() { Park::Asleep } else { Park::Look }
    }
}

impl Drop for Lender {
    /// Gives every own segment that is free to the recycler. Blocking on threads that are in the middle of bringing one
    /// back by a lane, a few instructions.
    fn drop(&mut self) {
        // SAFETY: L1, we are the owner.
        let home = unsafe { self.home.as_ref() };
        while !self.close_lanes() {
            yield_now();
        }
        let mut chain = home.inbox.close();
        while let Some(index) = chain.next(&*home.table) {
            self.keep(home.table.header_of(index));
        }
        // The borrowed segments that are back count in `debt` already.
        let out = self.own_out() + self.borrowed;
        while let Some(segment) = self.give_up() {
            home.recycler.recycle_late(segment);
        }
        Home::settle(self.home, CLOSING - out as i64);
    }
}

impl std::fmt::Debug for Lender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lender")
            .field("own", &self.own)
            .field("free", &self.free())
            .field("borrowed", &self.borrowed)
            .finish_non_exhaustive()
    }
}

/// Lends from many threads at once; everything goes to the recycler when it comes back. So nothing is counted on the
/// owner's side, and each segment is counted in `debt` when it is lent.
pub(crate) struct SharedLender {
    home: NonNull<Home>,
    terms: Terms,
}

// SAFETY: `Home` is meant for many threads, and the lender has nothing else.
unsafe impl Send for SharedLender {}
// SAFETY: as above.
unsafe impl Sync for SharedLender {}

impl SharedLender {
    /// As [`Lender::new`].
    pub(crate) fn new(table: Arc<SegmentTable>, recycler: Box<dyn BufferRecycler>, terms: Terms) -> Self {
        Self { home: Home::leaked(table, recycler), terms: terms.on_loan() }
    }

    /// Lends a segment that goes to the recycler when it comes back. Wait-free.
    pub(crate) fn lend(&self, segment: FreeSegment) -> BufferMut {
        {
            // SAFETY: L1, we are the owner, and free the home at the earliest when we are dropped.
            let home = unsafe { self.home.as_ref() };
            // Relaxed: other threads add too; how the handle gets to another thread publishes it, and how we get to the
            // one that drops us.
            home.debt.fetch_sub(1, Ordering::Relaxed);
        }
        Home::hand_out(self.home, segment, self.terms)
    }
}

impl Drop for SharedLender {
    fn drop(&mut self) {
        Home::settle(self.home, CLOSING);
    }
}

impl std::fmt::Debug for SharedLender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedLender").field("terms", &self.terms).finish_non_exhaustive()
    }
}
