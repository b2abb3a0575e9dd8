//! Indices handed by many threads to one owner: a Treiber stack that is only ever emptied whole.
//!
//! ```text
//!            push (CAS)                        take_all (swap)
//!  any thread ─────────▶  top ─▶ 7 ─▶ 3 ─▶ 9  ─────────────────▶ the owner: 7, 3, 9
//! ```
//!
//! The links live with whoever owns the indices ([`Links`]), so a push allocates nothing. Nothing is popped singly, so
//! there is no ABA problem: a pusher that read an old `top` fails its compare-and-swap or links to what is really
//! there.
//!
//! The word also says that the owner sleeps. The owner goes to sleep by swapping `EMPTY` for `PARKED`, which fails when
//! something arrived; the push that replaces `PARKED` must wake it. Both are read-modify-writes of one word, so neither
//! can overlook the other (M4) and no store-load fence is needed.
//!
//! Source: R. K. Treiber, *Systems Programming: Coping with Parallelism*, 1986 (the stack).

use crate::sync::{AtomicU32, Ordering};

/// No index, and the owner is awake.
const EMPTY: u32 = u32::MAX;
/// No index, and the owner sleeps: whoever pushes next wakes it.
const PARKED: u32 = u32::MAX - 1;
/// The owner is gone for good.
const CLOSED: u32 = u32::MAX - 2;
/// The largest index an inbox carries. There would be room for more, but the lanes need a bit.
pub(crate) const MAX_INDEX: u32 = u32::MAX / 2;

/// Where the link of each index is kept. An index is in at most one inbox at a time, so one link each is enough.
pub(crate) trait Links {
    /// The link of `index`.
    fn link(&self, index: u32) -> &AtomicU32;
}

/// Why [`Inbox::push_quietly`] pushed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotQuiet {
    /// The owner sleeps, and a push would have to wake it.
    Parked,
    /// [`Inbox::close`] was called.
    Closed,
}

/// [`Inbox::close`] was called: the index was not pushed and is still the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Closed;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Inbox {
    top: AtomicU32,
}

impl Inbox {
    /// An empty inbox whose owner is awake.
    pub(crate) fn new() -> Self {
        Self { top: AtomicU32::new(EMPTY) }
    }

    /// Pushes `index`, whose link is `link`; `Ok(true)` says that the owner slept and the caller must wake it.
    /// Lock-free.
    ///
    /// # Errors
    /// [`Closed`]: nothing was pushed.
    pub(crate) fn push(&self, link: &AtomicU32, index: u32) -> Result<bool, Closed> {
        let mut top = self.top.load(Ordering::Relaxed); // a guess; the CAS decides
        loop {
            match top {
                CLOSED => return Err(Closed), // for good, and nothing is found through it
                _ => match self.link_and_swap(link, index, top) {
                    Ok(()) => return Ok(top == PARKED),
                    Err(now) => top = now,
                },
            }
        }
    }

    /// Pushes `index` unless the owner would have to be woken, or is gone. Lock-free.
    ///
    /// After a quiet push the caller need not touch the inbox again, so inbox and link may be freed under its feet.
    /// (That is why the link is passed, and not the table it is in: behind both references there are atomics alone,
    /// which may be freed while a call that was given them returns.)
    ///
    /// # Errors
    /// [`NotQuiet`]: nothing was pushed.
    #[inline]
    pub(crate) fn push_quietly(&self, link: &AtomicU32, index: u32) -> Result<(), NotQuiet> {
        let mut top = self.top.load(Ordering::Relaxed); // a guess; the CAS decides
        loop {
            match top {
                PARKED => return Err(NotQuiet::Parked),
                CLOSED => return Err(NotQuiet::Closed), // as in `push`
                _ => match self.link_and_swap(link, index, top) {
                    Ok(()) => return Ok(()),
                    Err(now) => top = now,
                },
            }
        }
    }

    /// One attempt to put `index` on `top`.
    #[inline]
    fn link_and_swap(&self, link: &AtomicU32, index: u32, top: u32) -> Result<(), u32> {
        debug_assert!(index <= MAX_INDEX);
        debug_assert_ne!(index, top, "an index is in an inbox once");
        let below = if top == PARKED { EMPTY } else { top };
        // Relaxed: only the pusher writes the link of an index it holds, and I1 publishes it.
        link.store(below, Ordering::Relaxed);
        // ORDERING I1 AcqRel: Release pairs with I2 in `take_all` and I3 in `close`: the link, and all that this thread
        // did with what the index names, are seen by the owner. Later pushes are read-modify-writes and so continue
        // this release sequence. Acquire pairs with I4 in `park`: who replaces PARKED sees the waker that was
        // registered before. Failure: Relaxed, the value is the next guess.
        self.top.compare_exchange_weak(top, index, Ordering::AcqRel, Ordering::Relaxed).map(|_| ())
    }

    /// Takes every index, most recent first. Owner only. Wait-free.
    ///
    /// An owner that has parked stays parked if there is nothing.
    #[inline]
    pub(crate) fn take_all(&self) -> Chain {
        // Relaxed: only a hint that the swap is worth it; a push that is missed now is taken next time, and a push that
        // must not be missed replaces PARKED and wakes us.
        let top = self.top.load(Ordering::Relaxed);
        if top > MAX_INDEX {
            return Chain { next: EMPTY };
        }
        // ORDERING I2 Acquire, pairs with I1: the links, and what the pushers did before, are seen.
        Chain { next: self.top.swap(EMPTY, Ordering::Acquire) }
    }

    /// Whether [`take_all`](Self::take_all) would find nothing now. Owner only. Wait-free.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.top.load(Ordering::Relaxed) > MAX_INDEX // as in `take_all`
    }

    /// Says that the owner is about to sleep; `false` if something has arrived, so it must not. Owner only. Wait-free.
    pub(crate) fn park(&self) -> bool {
        // ORDERING I4 Release, pairs with the Acquire half of I1: the waker registered before this is seen by whoever
        // replaces PARKED. Failure: Relaxed, nothing is found through the value.
        match self.top.compare_exchange(EMPTY, PARKED, Ordering::Release, Ordering::Relaxed) {
            Ok(_) => true,
            // ORDERING I4 again: parked already, and not woken since; this publishes the waker registered anew.
            Err(PARKED) => self.top.compare_exchange(PARKED, PARKED, Ordering::Release, Ordering::Relaxed).is_ok(),
            Err(_) => false,
        }
    }

    /// Refuses every later push, and takes what is there. Owner only. Wait-free.
    pub(crate) fn close(&self) -> Chain {
        // ORDERING I3 Acquire, pairs with I1, as I2. Not Release: who is refused needs nothing of the owner's.
        Chain { next: self.top.swap(CLOSED, Ordering::Acquire) }
    }
}

/// Indices taken from an [`Inbox`]. Dropping it early would lose them.
#[derive(Debug)]
#[must_use = "the indices are in no other place"]
pub(crate) struct Chain {
    next: u32,
}

impl Chain {
    /// The next index, most recently pushed first.
    #[inline]
    pub(crate) fn next(&mut self, links: &impl Links) -> Option<u32> {
        if self.next > MAX_INDEX {
            return None;
        }
        let index = self.next;
        // Relaxed: I2 (or I3) made the links visible, and nobody writes the link of an index that is not theirs.
        self.next = links.link(index).load(Ordering::Relaxed);
        Some(index)
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    struct Table(Vec<AtomicU32>);

    impl Links for Table {
        fn link(&self, index: u32) -> &AtomicU32 {
            &self.0[index as usize]
        }
    }

    fn table(n: u32) -> Table {
        Table((0..n).map(|_| AtomicU32::new(0)).collect())
    }

    fn all(mut chain: Chain, table: &Table) -> Vec<u32> {
        std::iter::from_fn(|| chain.next(table)).collect()
    }

    #[test]
    fn the_most_recent_comes_first() {
        let (inbox, links) = (Inbox::new(), table(3));
        for index in 0..3 {
            assert_eq!(inbox.push(links.link(index), index), Ok(false));
        }
        assert_eq!(all(inbox.take_all(), &links), [2, 1, 0]);
        assert_eq!(all(inbox.take_all(), &links), []);
    }

    #[test]
    fn only_the_first_push_after_parking_wakes() {
        let (inbox, links) = (Inbox::new(), table(3));
        assert!(inbox.park());
        assert!(inbox.park(), "parking again is harmless");
        assert_eq!(all(inbox.take_all(), &links), [], "and so is looking: it stays parked");
        assert_eq!(inbox.push_quietly(links.link(0), 0), Err(NotQuiet::Parked));
        assert_eq!(inbox.push(links.link(0), 0), Ok(true));
        assert_eq!(inbox.push(links.link(1), 1), Ok(false));
        assert!(!inbox.park(), "there is something to take");
        assert_eq!(all(inbox.take_all(), &links), [1, 0]);
    }

    #[test]
    fn a_closed_inbox_refuses_and_gives_out_what_it_had() {
        let (inbox, links) = (Inbox::new(), table(2));
        assert_eq!(inbox.push_quietly(links.link(0), 0), Ok(()));
        assert_eq!(all(inbox.close(), &links), [0]);
        assert_eq!(inbox.push(links.link(1), 1), Err(Closed));
        assert_eq!(inbox.push_quietly(links.link(1), 1), Err(NotQuiet::Closed));
        assert_eq!(all(inbox.take_all(), &links), []);
        assert_eq!(inbox.push(links.link(1), 1), Err(Closed), "taking does not open it again");
    }
}
