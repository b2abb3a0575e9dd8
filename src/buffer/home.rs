//! Where a segment goes when its last handle is dropped: the [`Home`] that every handle points to.
//!
//! ```text
//!   handles, on any thread ── last one dropped ─┬─ own segment, the owner awake ─▶ lanes: stores alone
//!                                               ├─ own segment, else ────────────▶ inbox: one compare-and-swap
//!                                               └─ borrowed ─────────────────────▶ recycler (the common depot) at once
//!                       on other terms than most: first what they ask for
//! ```
//!
//! # Two ways home
//!
//! Any thread may bring a segment home by the inbox, and wakes the owner there if it sleeps. Once many have come while
//! the owner did not wait, it opens the lanes, where a return is a few plain stores, also on the owner's own thread.
//! Before it sleeps, or goes, it closes them again: so whether to sleep, and whom to wake, is the inbox's business
//! alone.
//!
//! # Who keeps the home alive
//!
//! A handle has a plain pointer to its home: a counted one would be a counter that all cores hit. The home is freed by
//! the owner if everything is back when the [`Lender`](super::lend::Lender) is dropped, else by whoever brings the last
//! segment back. `debt` settles who that is. It counts up by one for each return that the owner does not see (borrowed
//! segments, and own ones that find the inbox closed); on closing, the owner subtracts what is still out, and sets
//! `CLOSING`. One of these additions makes the value `CLOSING` exactly, and the thread that did it frees the home.
//!
//! # Invariants
//! * **L1** A thread touches a home only while it has a segment of it to bring back, or a pin in `debt`, or is the
//!   owner. Its addition to `debt`, its quiet push to the inbox, or its push to a lane, is its last touch.
//! * **L2** `debt` is `CLOSING` exactly once: when the owner has closed and nothing is out and nobody has a pin.
//!
//! # Source
//! Flink's `BufferRecycler` and `LocalBufferPool.lazyDestroy`; the biased count is ours.

use std::ptr::NonNull;

use super::{
    exclusive::BufferMut,
    table::{FreeSegment, Header, LentBy, SegmentTable},
    terms::Terms,
};
use crate::{
    lockfree::{
        inbox::{Closed, Inbox, Links, NotQuiet},
        lanes::Lanes,
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
pub(super) const CLOSING: i64 = 1 << 62;

/// What handles point to: where their segment goes back to. See the [module](self).
pub(crate) struct Home {
    pub(super) inbox: Inbox,
    pub(super) lanes: Lanes,
    pub(super) waker: WakerCell,
    /// See the module's docs.
    pub(super) debt: AtomicI64,
    pub(super) table: Arc<SegmentTable>,
    pub(super) recycler: Box<dyn BufferRecycler>,
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
    pub(super) fn leaked(table: Arc<SegmentTable>, recycler: Box<dyn BufferRecycler>) -> NonNull<Self> {
        NonNull::from(Box::leak(Box::new(Self {
            inbox: Inbox::new(),
            lanes: Lanes::new(),
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
    pub(super) fn hand_out(home: NonNull<Self>, segment: FreeSegment, terms: Terms) -> BufferMut {
        // SAFETY: L1, the caller is the owner.
        let this = unsafe { home.as_ref() };
        let header = this.table.header(&segment);
        header.stamp(LentBy::new(home, terms)); // ours alone: `segment` is its only name
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
                this.table.is_back(segment.index());
                let _owed = Owed(home); // for the segment
                this.recycler.recycle(segment);
                return;
            }
            // L3; and ours alone, for `segment` is its only name.
            this.table.header(&segment).stamp(LentBy::new(home, terms.for_no_channel()));
        }
        Self::bring(home, segment);
    }

    /// Brings an own segment home: lock-free. No handle to it is left, and the calling thread dropped the last one.
    #[inline]
    fn bring(home: NonNull<Self>, segment: FreeSegment) {
        // SAFETY: L1, we have a segment to bring back, so the home is not freed before our last touch.
        let this = unsafe { home.as_ref() };
        this.touched();
        let index = segment.into_index();
        this.table.is_back(index);
        if !this.lanes.push(index) {
            Self::bring_without_lane(home, index);
        } // else that was the last touch
    }

    /// The same where the calling thread has no lane, or can not use it now.
    #[inline(never)]
    fn bring_without_lane(home: NonNull<Self>, index: u32) {
        // SAFETY: L1, as in `bring`.
        let this = unsafe { home.as_ref() };
        if this.lanes.push_claiming(index) {
            return; // the last touch
        }
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
    pub(super) fn settle(home: NonNull<Self>, amount: i64) {
        let debt = {
            // SAFETY: L1, the caller has a segment or a pin that it has not settled yet.
            let this = unsafe { home.as_ref() };
            this.touched();
            // ORDERING L-D AcqRel, pairs with itself: Release, so that who frees has seen our last touch; Acquire, so
            // that if it is we who free, we have seen everybody's.
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
        // ORDERING R0 Acquire, pairs with R1 of the others: if we are the only one left, what they did with the bytes
        // is done.
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

/// The same, out of the way of who gives back on the owner's side.
#[cold]
#[inline(never)]
pub(super) fn release_elsewhere(header: NonNull<Header>) {
    release(header);
}

/// Brings the segment of the only handle home: lock-free.
#[inline]
pub(super) fn release_last(header: NonNull<Header>) {
    let (lent_by, index) = {
        // SAFETY: H1, nobody else has a handle, and ours is not given up yet.
        let header = unsafe { header.as_ref() };
        (header.lent_by(), header.index())
    };
    let segment = SegmentTable::free(index);
    match lent_by.home_of_own() {
        Some(home) => Home::bring(home, segment),
        None => Home::bring_on_terms(lent_by.home(), segment, lent_by.terms()),
    }
}
