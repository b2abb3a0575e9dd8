//! Lending segments and getting them back: the owner's [`Lender`], and the [`Home`] that every handle points to.
//!
//! ```text
//!   Lender (one owner) ── take, lend ──▶ handles, on any thread
//!      ▲ stash (plain memory)               │ last one dropped
//!      │                                    ▼
//!      ├─ Home.lanes ◀──── own segment, the owner awake: stores alone      borrowed segment:
//!      └─ Home.inbox ◀──── own segment, else: one CAS                      recycler (the common depot) at once
//! ```
//!
//! # Two ways home
//!
//! Any thread may bring a segment home by the inbox, and wakes the owner there if it sleeps. Once many have come while the
//! owner did not wait, it opens the lanes, where a return is a few plain stores, also on the owner's own thread. Before it
//! sleeps, or goes, it closes them again: so whether to sleep, and whom to wake, is the inbox's business alone.
//!
//! # Who keeps the home alive
//!
//! A handle has a plain pointer to its home: a counted one would be a counter that all cores hit. The home is freed by
//! the owner if everything is back when the [`Lender`] is dropped, else by whoever brings the last segment back. `debt`
//! settles who that is. It counts up by one for each return that the owner does not see (borrowed segments, and own ones
//! that find the inbox closed); on closing, the owner subtracts what is still out, and sets `CLOSING`. One of these
//! additions makes the value `CLOSING` exactly, and the thread that did it frees the home.
//!
//! # Invariants
//! * **L1** A thread touches a home only while it has a segment of it to bring back, or a pin in `debt`, or is the owner.
//!   Its addition to `debt`, its quiet push to the inbox, or its push to a lane, is its last touch.
//! * **L2** `debt` is `CLOSING` exactly once: when the owner has closed and nothing is out and nobody has a pin.
//! * **L3** An own segment that is free is in the stash, in a lane or in the inbox, in one of them once, and its header says
//!   already that it is lent by its home. The stash has room for all own segments.
//!
//! # Source
//! Flink's `BufferRecycler` and `LocalBufferPool.lazyDestroy`; the biased count is ours.

use std::{ptr::NonNull, task::Waker};

use super::{
    exclusive::BufferMut,
    shared::Buffer,
    stash::Stash,
    table::{FreeSegment, Header, LentBy, SegmentTable},
};
use crate::{
    lockfree::{
        inbox::{Closed, Inbox, Links, NotQuiet},
        lanes::{self, Lanes},
        waker::WakerCell,
    },
    sync::{Arc, AtomicI64, AtomicU64, Ordering, yield_now},
};

/// Where a segment goes that its lender has no claim to, or no longer wants.
pub(crate) trait BufferRecycler: Send + Sync {
    /// Takes a segment that nobody holds. Must not block, and must not touch the lender.
    fn recycle(&self, segment: FreeSegment);
}

/// Set in `debt` once the owner has gone; far above what counting reaches.
const CLOSING: i64 = 1 << 62;

/// So many segments that came by the inbox while the owner did not wait make it open the lanes: closing them costs it a
/// system call of about half a microsecond. Models have few segments.
const PATIENCE: u32 = if cfg!(forebay_loom) { 1 } else { 256 };

/// What handles point to: where their segment goes back to. See the [module](self).
pub(crate) struct Home {
    inbox: Inbox,
    lanes: Lanes,
    waker: WakerCell,
    /// Borrowed segments that came back, ever.
    borrowed_back: AtomicU64,
    /// See the module's docs.
    debt: AtomicI64,
    table: Arc<SegmentTable>,
    recycler: Box<dyn BufferRecycler>,
    /// Stands for the home as a whole: loom does not see memory that is freed under somebody's feet.
    #[cfg(forebay_loom)]
    alive: crate::sync::UnsafeCell<()>,
}

impl Home {
    /// Tells loom that the calling thread needs the home to be there. Nothing in a real build.
    #[inline]
    #[cfg_attr(not(forebay_loom), allow(clippy::unused_self, reason = "loom's part"))]
    fn touched(&self) {
        #[cfg(forebay_loom)]
        self.alive.with(|_| ());
    }

    pub(super) fn table(&self) -> &SegmentTable {
        &self.table
    }

    /// Brings `segment` home: lock-free. No handle to it is left, and the calling thread dropped the last one.
    fn bring(home: NonNull<Self>, segment: FreeSegment, borrowed: bool) {
        // SAFETY: L1, we have a segment to bring back, so the home is not freed before our last touch.
        let this = unsafe { home.as_ref() };
        this.touched();
        if borrowed {
            let _owed = Owed(home); // for the segment
            // Relaxed: other threads add too, and nothing is found through the number. Before `recycle`, which wakes the
            // owner if it waits for room: F1 and F2 in the pool's waiters order the number too.
            this.borrowed_back.fetch_add(1, Ordering::Relaxed);
            this.recycler.recycle(segment);
            return;
        }
        let index = segment.into_index();
        if this.lanes.push(index) {
            return; // the last touch
        }
        Self::bring_by_inbox(home, index);
    }

    /// The same where no lane is to be had.
    #[inline(never)]
    fn bring_by_inbox(home: NonNull<Self>, index: u32) {
        // SAFETY: L1, as in `bring`.
        let this = unsafe { home.as_ref() };
        let link = this.table.link(index);
        match this.inbox.push_quietly(link, index) {
            Ok(()) => {} // the last touch
            Err(NotQuiet::Parked) => {
                // The owner sleeps, and once we have pushed nothing of ours keeps the home alive while we wake it: pin.
                // Relaxed: our segment keeps the home until the push, which publishes the pin with it.
                this.debt.fetch_sub(1, Ordering::Relaxed);
                let _pin = Owed(home);
                match this.inbox.push(link, index) {
                    Ok(true) => {
                        this.touched();
                        this.waker.wake();
                    }
                    Ok(false) => {}
                    Err(Closed) => {
                        let _owed = Owed(home); // for the segment, beside the pin
                        this.recycler.recycle(SegmentTable::free(index));
                    }
                }
            }
            Err(NotQuiet::Closed) => {
                let _owed = Owed(home);
                this.recycler.recycle(SegmentTable::free(index));
            }
        }
    }

    /// Adds `amount` to `debt`, and frees the home if that settles it. The caller's last touch.
    fn settle(home: NonNull<Self>, amount: i64) {
        let debt = {
            // SAFETY: L1, the caller has a segment or a pin that it has not settled yet.
            let this = unsafe { home.as_ref() };
            this.touched();
            // ORDERING L-D AcqRel, pairs with itself: Release, so that who frees has seen our last touch; Acquire, so that
            // if it is we who free, we have seen everybody's.
            this.debt.fetch_add(amount, Ordering::AcqRel) + amount
        };
        if debt == CLOSING {
            #[cfg(forebay_loom)]
            {
                // SAFETY: L2, as below.
                let this = unsafe { home.as_ref() };
                this.alive.with_mut(|_| ());
            }
            // SAFETY: L2, we alone got here, and everybody's last touch is behind us (L-D).
            drop(unsafe { Box::from_raw(home.as_ptr()) });
        }
    }
}

/// One that a thread owes to `debt`: settled when it is done, also if a waker panics on the way.
struct Owed(NonNull<Home>);

impl Drop for Owed {
    fn drop(&mut self) {
        Home::settle(self.0, 1);
    }
}

/// Drops a handle that was counted in `header`. Wait-free unless it is the last one, then lock-free.
#[inline]
pub(super) fn release(header: NonNull<Header>) {
    {
        // SAFETY: H1, the caller's handle is still counted.
        let header = unsafe { header.as_ref() };
        // ORDERING R0 Acquire, pairs with R1 of the others: if we are the only one left, what they did with the bytes is
        // done.
        if header.refs.load(Ordering::Acquire) != 1 {
            // ORDERING R1 Release, pairs with R0 and R2: what we did with the bytes is done before the segment is free.
            if header.refs.fetch_sub(1, Ordering::Release) != 1 {
                return;
            }
            // ORDERING R2 Acquire, pairs with R1 of all others. A load rather than a fence: ThreadSanitizer sees it.
            header.refs.load(Ordering::Acquire);
            // Relaxed: no handle is left, so nobody else looks until the segment is lent again; the inbox publishes it.
            header.refs.store(1, Ordering::Relaxed);
        }
    }
    release_last(header);
}

/// Brings the segment of the last handle home.
#[inline]
fn release_last(header: NonNull<Header>) {
    let (lent_by, index) = {
        // SAFETY: H1, nobody else has a handle, and ours is not yet given up.
        let header = unsafe { header.as_ref() };
        (header.lent_by(), header.index())
    };
    Home::bring(lent_by.home(), SegmentTable::free(index), lent_by.is_borrowed());
}

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
    /// Lends segments of `table`, and has room for `own` of its own. Borrowed ones, and all that come back after the lender
    /// is gone, go to `recycler`.
    pub(crate) fn new(table: Arc<SegmentTable>, own: u32, recycler: Box<dyn BufferRecycler>) -> Self {
        let home = Box::new(Home {
            inbox: Inbox::new(),
            lanes: Lanes::new(),
            waker: WakerCell::new(),
            borrowed_back: AtomicU64::new(0),
            debt: AtomicI64::new(0),
            table,
            recycler,
            #[cfg(forebay_loom)]
            alive: crate::sync::UnsafeCell::new(()),
        });
        Self {
            home: NonNull::from(Box::leak(home)),
            stash: Stash::with_capacity(own as usize),
            own: 0,
            lanes: lanes::Owner::new(),
            by_inbox: 0,
            borrowed: 0,
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
        // `refs` is 1 already: it counts the handle from here on; and `lent_by` says us (L3).
        self.stash.pop().map(BufferMut::lent)
    }

    /// Lends `count` of them, if there are as many. Wait-free but for `into`'s allocator.
    #[inline]
    pub(crate) fn take_many(&mut self, count: usize, into: &mut Vec<BufferMut>) -> bool {
        let Some(segments) = self.stash.pop_many(count) else { return false };
        into.extend(segments.iter().flatten().map(|&header| BufferMut::lent(header))); // as in `take`
        true
    }

    /// Makes `segment` the owner's, and lends it: it comes back to the stash. Wait-free but for the allocator, if there
    /// are more than there was to be room for.
    pub(crate) fn adopt(&mut self, segment: FreeSegment) -> BufferMut {
        self.own += 1;
        self.stash.grow(self.own as usize);
        self.hand_out(segment, LentBy::own(self.home))
    }

    /// Lends a segment that goes to the recycler when it comes back. Wait-free.
    pub(crate) fn lend_borrowed(&mut self, segment: FreeSegment) -> BufferMut {
        self.borrowed += 1;
        self.hand_out(segment, LentBy::borrowed(self.home))
    }

    fn hand_out(&self, segment: FreeSegment, terms: LentBy) -> BufferMut {
        let header = self.home().table.header(&segment);
        // Mostly they are the same as last time: then the header's line stays as it is, on whichever core has it.
        if header.lent_by() != terms {
            header.lent_by.with_mut(|lent_by| {
                // SAFETY: H2, `segment` is the only name of the segment, so no handle reads the cell.
                unsafe { *lent_by = terms }
            });
        }
        // `refs` is 1 already: it counts the handle from here on.
        let _ = segment.into_index(); // named by the handle from here on
        BufferMut::lent(NonNull::from(header))
    }

    /// Takes an own segment back into the stash without any read-modify-write, if `buffer` is its only handle. Wait-free.
    ///
    /// # Errors
    /// The buffer, if it is shared, borrowed, or of another lender.
    #[inline]
    pub(crate) fn take_back(&mut self, buffer: Buffer) -> Result<(), Buffer> {
        let header = buffer.header();
        {
            // SAFETY: H1, `buffer` is counted.
            let header = unsafe { header.as_ref() };
            // ORDERING R0 Acquire, pairs with R1, as in `release`.
            if header.lent_by() != LentBy::own(self.home) || header.refs.load(Ordering::Acquire) != 1 {
                return Err(buffer);
            }
        }
        self.keep(header);
        #[allow(clippy::mem_forget, reason = "its count stays for whoever takes it from the stash")]
        std::mem::forget(buffer);
        Ok(())
    }

    /// Takes all `buffers` back, those that are not own ones as if they were dropped. Wait-free, or as drop.
    #[inline]
    pub(crate) fn take_back_many(&mut self, buffers: &mut Vec<BufferMut>) {
        for buffer in buffers.drain(..) {
            // SAFETY: H1, `buffer` is counted.
            let lent_by = unsafe { buffer.header_ptr().as_ref() }.lent_by();
            if lent_by == LentBy::own(self.home) {
                self.keep(buffer.into_header()); // H3: a `BufferMut` is the only handle
            }
        }
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

    /// Lends an own segment that came back since the owner last looked, if there is one. Wait-free, as
    /// [`collect`](Self::collect).
    #[inline(never)]
    pub(crate) fn take_returned(&mut self) -> Option<BufferMut> {
        if !self.collect_from_lanes() {
            self.collect_from_inbox();
        }
        self.take()
    }

    /// Whether there were any.
    #[inline]
    fn collect_from_lanes(&mut self) -> bool {
        // SAFETY: L1, we are the owner.
        let home = unsafe { self.home.as_ref() };
        let before = self.stash.len();
        let (lanes, stash) = (&mut self.lanes, &mut self.stash);
        // SAFETY: L3, an own segment that was not in the stash, so there is room for it.
        home.lanes.take(lanes, |index| unsafe { stash.push(home.table.header_of(index)) });
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

    /// Borrowed segments that are out. May shrink at any moment.
    pub(crate) fn borrowed_out(&self) -> u64 {
        // Relaxed: whoever brings one back adds, see `Home::bring`.
        self.borrowed - self.home().borrowed_back.load(Ordering::Relaxed)
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
        while let Some(header) = self.stash.pop() {
            // SAFETY: H1, the home keeps the table.
            let index = unsafe { header.as_ref() }.index();
            home.recycler.recycle(SegmentTable::free(index)); // L3: it was in the stash alone
        }
        Home::settle(self.home, CLOSING - out as i64);
    }
}

impl std::fmt::Debug for Lender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lender")
            .field("own", &self.own)
            .field("free", &self.free())
            .field("borrowed_out", &self.borrowed_out())
            .finish_non_exhaustive()
    }
}
