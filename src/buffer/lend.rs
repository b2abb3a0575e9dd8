//! Lending segments and getting them back: the owner's [`Lender`], and the [`Home`] that every handle points to.
//!
//! ```text
//!   Lender (one owner) ── lend ──▶ handles, on any thread
//!      ▲                              │ last one dropped
//!      │ collect (swap)               ▼
//!   Home.inbox ◀──── own segment: one CAS         borrowed segment: recycler (the common depot) at once
//!                                                 on other terms: what they ask for, then one of the two
//! ```
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
//!   Its addition to `debt`, or its quiet push to the inbox, is its last touch.
//! * **L2** `debt` is `CLOSING` exactly once: when the owner has closed and nothing is out and nobody has a pin.
//!
//! # Source
//! Flink's `BufferRecycler` and `LocalBufferPool.lazyDestroy`; the biased count is ours.

use std::{ptr::NonNull, task::Waker};

use super::{
    exclusive::BufferMut,
    shared::Buffer,
    table::{FreeSegment, Header, LentBy, SegmentTable},
    terms::Terms,
};
use crate::{
    lockfree::{
        inbox::{Closed, Inbox, Links, NotQuiet},
        waker::WakerCell,
    },
    sync::{Arc, AtomicI64, Ordering},
};

/// Where a segment goes that its lender has no claim to, or no longer wants. Called on any thread; must not block, and
/// must not touch the lender.
pub(crate) trait BufferRecycler: Send + Sync {
    /// Takes a borrowed segment that came back.
    fn recycle(&self, segment: FreeSegment);

    /// Takes an own segment that finds its lender gone.
    fn recycle_late(&self, segment: FreeSegment);

    /// A segment that was lent for `channel` is coming back; it is passed on afterwards.
    fn back_from(&self, channel: u32);
}

/// Set in `debt` once the owner has gone; far above what counting reaches.
const CLOSING: i64 = 1 << 62;

/// What handles point to: where their segment goes back to. See the [module](self).
pub(crate) struct Home {
    inbox: Inbox,
    waker: WakerCell,
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

    /// A new home, to be freed by [`settle`](Self::settle).
    fn leaked(table: Arc<SegmentTable>, recycler: Box<dyn BufferRecycler>) -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self {
            inbox: Inbox::new(),
            waker: WakerCell::new(),
            debt: AtomicI64::new(0),
            table,
            recycler,
            #[cfg(forebay_loom)]
            alive: crate::sync::UnsafeCell::new(()),
        })))
    }

    pub(super) fn table(&self) -> &SegmentTable {
        &self.table
    }

    /// Makes the segment's only name its only handle. Wait-free.
    #[inline]
    fn hand_out(home: NonNull<Self>, segment: FreeSegment, terms: Terms) -> BufferMut {
        // SAFETY: L1, the caller is the owner.
        let this = unsafe { home.as_ref() };
        let header = this.table.header(&segment);
        let lent_by = LentBy { home: home.as_ptr(), terms };
        // Mostly they are the same as last time: then the header's line stays as it is, on whichever core has it.
        if header.lent_by() != lent_by {
            header.lent_by.with_mut(|slot| {
                // SAFETY: H2, `segment` is the only name of the segment, so no handle reads the cell.
                unsafe { *slot = lent_by }
            });
        }
        // `refs` is 1 already: it counts the handle from here on.
        let _ = segment.into_index(); // named by the handle from here on
        BufferMut::lent(NonNull::from(header))
    }

    /// Brings a segment home that was lent on other terms than most.
    #[cold]
    fn bring_on_terms(home: NonNull<Self>, segment: FreeSegment, terms: Terms) {
        {
            // SAFETY: L1, we have a segment to bring back, so the home is not freed before our last touch.
            let this = unsafe { home.as_ref() };
            this.touched();
            if let Some(byte) = terms.wiped_with() {
                this.table.header(&segment).fill(byte);
            }
            // Before the segment, which wakes the owner if it waits for room.
            if let Some(channel) = terms.channel() {
                this.recycler.back_from(channel);
            }
            if terms.borrowed() {
                this.table.is_back(&segment);
                let _owed = Owed(home); // for the segment
                this.recycler.recycle(segment);
                return;
            }
        }
        Self::bring(home, segment);
    }

    /// Brings an own segment home: lock-free. No handle to it is left, and the calling thread dropped the last one.
    fn bring(home: NonNull<Self>, segment: FreeSegment) {
        // SAFETY: L1, we have a segment to bring back, so the home is not freed before our last touch.
        let this = unsafe { home.as_ref() };
        this.touched();
        this.table.is_back(&segment);
        let index = segment.into_index();
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
                        this.recycler.recycle_late(SegmentTable::free(index));
                    }
                }
            }
            Err(NotQuiet::Closed) => {
                let _owed = Owed(home);
                this.recycler.recycle_late(SegmentTable::free(index));
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
    let home = NonNull::new(lent_by.home.cast_mut()).expect("a lent segment has a home");
    let segment = SegmentTable::free(index);
    if lent_by.terms == Terms::OWN {
        Home::bring(home, segment);
    } else {
        Home::bring_on_terms(home, segment, lent_by.terms);
    }
}

/// The owner's end of a [`Home`]: lends segments, and gets its own back. One owner at a time (`&mut self`).
pub(crate) struct Lender {
    home: NonNull<Home>,
    /// Own segments that are lent, as far as the owner has looked.
    own_out: u64,
    /// Borrowed segments that were lent, ever.
    borrowed: u64,
    /// On which its own segments are lent.
    terms: Terms,
}

// SAFETY: the owner's counters move with it, and everything in `Home` is meant for many threads.
unsafe impl Send for Lender {}
// SAFETY: `&Lender` gives access to atomics of `Home` only.
unsafe impl Sync for Lender {}

impl Lender {
    /// Lends segments of `table`, on `terms`. Borrowed ones, and all that come back after the lender is gone, go to
    /// `recycler`.
    pub(crate) fn new(table: Arc<SegmentTable>, recycler: Box<dyn BufferRecycler>, terms: Terms) -> Self {
        Self { home: Home::leaked(table, recycler), own_out: 0, borrowed: 0, terms }
    }

    fn home(&self) -> &Home {
        // SAFETY: L1, we are the owner, and free the home at the earliest when we are dropped.
        unsafe { self.home.as_ref() }
    }

    /// The table the segments belong to.
    pub(crate) fn table(&self) -> &Arc<SegmentTable> {
        &self.home().table
    }

    /// Lends a segment of the owner's: it comes back to [`collect`](Self::collect). Wait-free.
    #[inline]
    pub(crate) fn lend(&mut self, segment: FreeSegment) -> BufferMut {
        self.own_out += 1;
        Home::hand_out(self.home, segment, self.terms)
    }

    /// The same, counted for `channel` until it is back.
    pub(crate) fn lend_for(&mut self, segment: FreeSegment, channel: Option<u32>) -> BufferMut {
        self.own_out += 1;
        Home::hand_out(self.home, segment, channel.map_or(self.terms, |channel| self.terms.for_channel(channel)))
    }

    /// Lends a segment that goes to the recycler when it comes back, and is counted for `channel`. Wait-free.
    pub(crate) fn lend_borrowed(&mut self, segment: FreeSegment, channel: Option<u32>) -> BufferMut {
        self.borrowed += 1;
        let terms = channel.map_or(self.terms, |channel| self.terms.for_channel(channel));
        Home::hand_out(self.home, segment, terms.on_loan())
    }

    /// Takes an own segment back without any read-modify-write, if `buffer` is its only handle. Wait-free.
    ///
    /// # Errors
    /// The buffer, if it is shared, borrowed, of another lender, or if something is to be done on its way back.
    #[inline]
    pub(crate) fn take_back(&mut self, buffer: Buffer) -> Result<FreeSegment, Buffer> {
        let header = buffer.header();
        {
            // SAFETY: H1, `buffer` is counted.
            let header = unsafe { header.as_ref() };
            let lent_by = header.lent_by();
            // ORDERING R0 Acquire, pairs with R1, as in `release`.
            if lent_by.terms != Terms::OWN
                || !std::ptr::eq(lent_by.home, self.home.as_ptr())
                || header.refs.load(Ordering::Acquire) != 1
            {
                return Err(buffer);
            }
        }
        self.own_out -= 1;
        // SAFETY: H1, the table outlives us.
        let index = unsafe { header.as_ref() }.index();
        #[allow(clippy::mem_forget, reason = "its count was given up above")]
        std::mem::forget(buffer);
        let segment = SegmentTable::free(index);
        self.home().table.is_back(&segment);
        Ok(segment)
    }

    /// Passes on the own segments that came back since the last call, most recent first. Wait-free but for `each`.
    pub(crate) fn collect(&mut self, mut each: impl FnMut(FreeSegment)) {
        let mut chain = self.home().inbox.take_all();
        while let Some(index) = chain.next(&*self.home().table) {
            self.own_out -= 1;
            each(SegmentTable::free(index));
        }
    }

    /// Own segments that are out, as of the last [`collect`](Self::collect).
    pub(crate) fn own_out(&self) -> u64 {
        self.own_out
    }

    /// Leaves `waker` to be woken by the next own segment that comes back after [`park`](Self::park).
    pub(crate) fn register(&self, waker: &Waker) {
        self.home().waker.register(waker);
    }

    /// Says that the owner is about to wait; `false` if an own segment is back already.
    pub(crate) fn park(&self) -> bool {
        self.home().inbox.park()
    }
}

impl Drop for Lender {
    fn drop(&mut self) {
        let home = self.home();
        let mut out = self.own_out + self.borrowed; // the borrowed ones that are back count in `debt` already
        let mut chain = home.inbox.close();
        while let Some(index) = chain.next(&*home.table) {
            out -= 1;
            home.recycler.recycle_late(SegmentTable::free(index));
        }
        Home::settle(self.home, CLOSING - out as i64);
    }
}

impl std::fmt::Debug for Lender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lender")
            .field("own_out", &self.own_out)
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
