//! Credit: how many buffers a sender may send, told in counters that only grow, each with one writer.
//!
//! ```text
//!   receiver                                                   sender
//!   CreditGranter ── granted: "so many in all, ever" ────────▶ CreditSpender: spent ≤ granted, always (C1)
//!                 ◀─ backlog: "so many are waiting here" ─────
//! ```
//!
//! The receiver sets segments aside and then grants them; the sender spends one for each data buffer, before it sends.
//! What may be sent is the difference, so there is no shared number that both sides add to and subtract from, and nothing
//! to lose or to count twice: a total that is told again, or overtaken by a later one, changes nothing
//! ([`CreditGranter::grant_total`]).
//!
//! | operation | progress |
//! |---|---|
//! | [`grant`](CreditGranter::grant), [`grant_total`](CreditGranter::grant_total) | wait-free |
//! | [`try_spend`](CreditSpender::try_spend), [`available`](CreditSpender::available) | wait-free |
//! | [`announce_backlog`](CreditSpender::announce_backlog), [`backlog`](CreditGranter::backlog) | wait-free |
//! | [`poll_available`](CreditSpender::poll_available) | wait-free, then waits for a grant |
//!
//! # Source
//! Flink's credit-based flow control (FLINK-7282) for what is counted; cumulative counts as in QUIC (RFC 9000, section 4.1).
#![forbid(unsafe_code)]

use std::task::{Context, Poll};

use crate::{
    lockfree::waker::WakerCell,
    sync::{Arc, AtomicBool, AtomicU64, Ordering, fence},
};

/// A new channel's credit: nothing granted, nothing spent, no backlog.
///
/// ```
/// let (mut receiver, mut sender) = forebay::credit::credit();
/// assert!(!sender.try_spend(1));
/// receiver.grant(2);
/// assert!(sender.try_spend(1));
/// assert_eq!(sender.available(), 1);
/// receiver.grant_total(2); // told again: nothing new
/// assert_eq!(sender.available(), 1);
/// ```
#[must_use]
pub fn credit() -> (CreditGranter, CreditSpender) {
    let shared = Arc::new(Shared {
        granted: AtomicU64::new(0),
        backlog: AtomicU64::new(0),
        waiting: AtomicBool::new(false),
        waker: WakerCell::new(),
    });
    (CreditGranter { shared: shared.clone(), granted: 0 }, CreditSpender { shared, spent: 0 })
}

#[derive(Debug)]
struct Shared {
    /// Written by the granter alone.
    granted: AtomicU64,
    /// Written by the spender alone.
    backlog: AtomicU64,
    /// The spender waits. Written by the spender alone.
    waiting: AtomicBool,
    waker: WakerCell,
}

/// The receiver's side: grants. One owner.
#[derive(Debug)]
pub struct CreditGranter {
    shared: Arc<Shared>,
    granted: u64,
}

impl CreditGranter {
    /// Allows the sender `buffers` more, for which segments are set aside; returns the new total. Wait-free.
    pub fn grant(&mut self, buffers: u32) -> u64 {
        self.grant_total(self.granted.saturating_add(u64::from(buffers)));
        self.granted
    }

    /// Allows the sender `total` buffers in all, from the beginning on. A total that is not above what was granted already
    /// changes nothing, so it may be repeated, or come late. Wait-free.
    pub fn grant_total(&mut self, total: u64) {
        if total <= self.granted {
            return;
        }
        self.granted = total;
        // ORDERING G1 Release, pairs with G2: what the receiver did to set the segments aside is seen by who spends.
        self.shared.granted.store(total, Ordering::Release);
        // ORDERING F3 SeqCst fence, pairs with F4: `granted` is raised before `waiting` is read. Either we see that the
        // spender waits, or it sees the grant when it looks again (M4).
        fence(Ordering::SeqCst);
        if self.shared.waiting.load(Ordering::Relaxed) {
            self.shared.waker.wake();
        }
    }

    /// Buffers granted in all.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Data buffers that waited at the sender when it last said so. A snapshot. Wait-free.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.shared.backlog.load(Ordering::Relaxed) // a number by itself: nothing is found through it
    }
}

/// The sender's side: spends. One owner.
#[derive(Debug)]
pub struct CreditSpender {
    shared: Arc<Shared>,
    spent: u64,
}

impl CreditSpender {
    /// Buffers that may be sent now. Only the owner makes it less; a grant may make it more at any moment. Wait-free.
    #[must_use]
    pub fn available(&self) -> u64 {
        // ORDERING G2 Acquire, pairs with G1.
        self.shared.granted.load(Ordering::Acquire) - self.spent
    }

    /// Spends the credit for `buffers` buffers, or none at all: `false` if there is not that much. Wait-free.
    #[must_use = "without credit nothing may be sent"]
    pub fn try_spend(&mut self, buffers: u32) -> bool {
        let enough = self.available() >= u64::from(buffers);
        if enough {
            self.spent += u64::from(buffers);
        }
        enough
    }

    /// Buffers spent in all.
    #[must_use]
    pub fn spent(&self) -> u64 {
        self.spent
    }

    /// Tells the receiver how many data buffers wait here, so that it can set segments aside. Wait-free.
    pub fn announce_backlog(&mut self, buffers: u64) {
        self.shared.backlog.store(buffers, Ordering::Relaxed); // a number by itself
    }

    /// Ready with what may be sent once that is not nothing; arranges for the waker to be woken by a grant until then.
    pub fn poll_available(&mut self, context: &mut Context<'_>) -> Poll<u64> {
        let mut available = self.available();
        if available == 0 {
            self.shared.waker.register(context.waker());
            self.shared.waiting.store(true, Ordering::Relaxed); // ordered by F4
            // ORDERING F4 SeqCst fence, pairs with F3: `waiting` is set before `granted` is read again.
            fence(Ordering::SeqCst);
            available = self.available();
            if available == 0 {
                return Poll::Pending;
            }
        }
        self.shared.waiting.store(false, Ordering::Relaxed); // ours alone to write; a late wake is harmless
        Poll::Ready(available)
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 512 }))]

        /// Totals repeated, late and out of order, between spends of any size.
        #[test]
        fn never_more_is_spent_than_was_granted(
            steps in prop::collection::vec((any::<bool>(), 0_u32..20), 0..200),
        ) {
            let (mut granter, mut spender) = credit();
            let (mut highest, mut spent) = (0, 0);
            for (grant, number) in steps {
                if grant {
                    granter.grant_total(u64::from(number) * 10);
                    highest = highest.max(u64::from(number) * 10);
                } else if spender.try_spend(number) {
                    spent += u64::from(number);
                }
                prop_assert_eq!((granter.granted(), spender.spent()), (highest, spent));
                prop_assert!(spent <= highest);
                prop_assert_eq!(spender.available(), highest - spent);
            }
        }
    }

    #[test]
    fn all_or_nothing_is_spent() {
        let (mut granter, mut spender) = credit();
        assert_eq!(granter.grant(3), 3);
        assert!(!spender.try_spend(4));
        assert!(spender.try_spend(3));
        assert_eq!((spender.available(), spender.spent()), (0, 3));
    }

    #[test]
    fn the_backlog_is_what_was_said_last() {
        let (granter, mut spender) = credit();
        spender.announce_backlog(7);
        spender.announce_backlog(2);
        assert_eq!(granter.backlog(), 2);
    }
}
