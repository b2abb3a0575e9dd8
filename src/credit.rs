//! Credit: how many buffers a sender may send, told in counters that only grow, each with one writer.
//!
//! ```text
//!   receiver                                                   sender
//!   CreditGranter ── granted: "so many in all, ever" ────────▶ CreditSpender: spent ≤ granted, always (C1)
//!                 ◀─ backlog: "so many are waiting here" ─────
//!                 ◀═ data buffers, each paid for ═════════════
//! ```
//!
//! The receiver sets segments aside and then grants them; the sender spends one for each data buffer, before it sends.
//! What may be sent is the difference, so there is no shared number that both sides add to and subtract from, and
//! nothing to lose or to count twice: a total that is told again, or overtaken by a later one, changes nothing
//! ([`CreditGranter::grant_total`]). Either side that is dropped wakes the other, which is told so ([`PeerGone`]).
//!
//! Within a process the two sides share memory. Between hosts each host has a pair: what the wire brings is granted to
//! the near one by `grant_total`, and what the wire is to carry is read from `granted`, `spent` and `backlog`.
//!
//! | operation | progress |
//! |---|---|
//! | [`grant`](CreditGranter::grant), [`grant_total`](CreditGranter::grant_total), [`announce_backlog`](CreditSpender::announce_backlog) | wait-free; lock-free when they wake somebody |
//! | [`try_spend`](CreditSpender::try_spend), [`available`](CreditSpender::available), [`receive`](CreditGranter::receive), [`wanted`](CreditGranter::wanted), [`backlog`](CreditGranter::backlog) | wait-free |
//! | [`poll_available`](CreditSpender::poll_available), [`poll_backlog`](CreditGranter::poll_backlog) | lock-free: they leave a waker |
//! | [`wait_available`](CreditSpender::wait_available) | blocking, on a grant |
//!
//! # Source
//! Flink's credit-based flow control (FLINK-7282) for what is counted; cumulative counts as in QUIC (RFC 9000, section
//! 4.1).
#![forbid(unsafe_code)]

use std::{
    task::{Context, Poll},
    time::Duration,
};

use crate::{
    lockfree::{
        wait::{WaitStrategy, deadline_after, wait},
        waker::WakerCell,
    },
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
///
/// sender.announce_backlog(3); // 3 more are waiting, and one of them is paid for
/// receiver.receive(1)?;
/// assert_eq!(receiver.wanted(2), 4, "for the other 2, and 2 that are always at hand");
/// # Ok::<(), forebay::credit::Unearned>(())
/// ```
#[must_use]
pub fn credit() -> (CreditGranter, CreditSpender) {
    let shared = Arc::new(Shared { credit: Told::new(), backlog: Told::new() });
    (CreditGranter { shared: shared.clone(), granted: 0, received: 0, seen: 0 }, CreditSpender { shared, spent: 0 })
}

#[derive(Debug)]
struct Shared {
    /// Buffers granted in all: by the granter to the spender.
    credit: Told,
    /// Buffers waiting: by the spender to the granter.
    backlog: Told,
}

/// A number that one side tells the other.
#[derive(Debug)]
struct Told {
    /// Written by the side that tells.
    value: AtomicU64,
    /// That side is gone. Written by it, once.
    gone: AtomicBool,
    /// The other side waits. Written by that one.
    waiting: AtomicBool,
    waker: WakerCell,
}

impl Told {
    fn new() -> Self {
        Self {
            value: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            waiting: AtomicBool::new(false),
            waker: WakerCell::new(),
        }
    }

    fn get(&self) -> u64 {
        // ORDERING G2 Acquire, pairs with G1.
        self.value.load(Ordering::Acquire)
    }

    fn tell(&self, value: u64) {
        // ORDERING G1 Release, pairs with G2: what this side did before is seen by who reads the number: the segments
        // that were set aside, the buffers that wait.
        self.value.store(value, Ordering::Release);
        self.wake();
    }

    fn leave(&self) {
        // Relaxed: nobody else writes, and F3 in `tell` stands between the last number and this: the fence is a
        // Release, too.
        self.gone.store(true, Ordering::Relaxed);
        self.wake();
    }

    fn is_gone(&self) -> bool {
        // ORDERING G3 Acquire, pairs with F3: the last number is seen by who sees that no other will come.
        self.gone.load(Ordering::Acquire)
    }

    fn wake(&self) {
        // ORDERING F3 SeqCst fence, pairs with F4: the value is there before `waiting` is read. Either we see that the
        // other side waits, or it sees the value when it looks again (M4).
        fence(Ordering::SeqCst);
        if self.waiting.load(Ordering::Relaxed) {
            self.waker.wake();
        }
    }

    /// Ready once `look` finds something, or nothing more will come.
    fn poll(&self, context: &mut Context<'_>, look: impl Fn(u64) -> bool) -> Poll<Result<u64, PeerGone>> {
        let mut found = self.look(&look);
        if found.is_pending() {
            self.waker.register(context.waker());
            self.waiting.store(true, Ordering::Relaxed); // ordered by F4
            // ORDERING F4 SeqCst fence, pairs with F3: `waiting` is set before the value is read again.
            fence(Ordering::SeqCst);
            found = self.look(&look);
            if found.is_pending() {
                return Poll::Pending;
            }
        }
        self.waiting.store(false, Ordering::Relaxed); // ours alone to write; a late wake is harmless
        found
    }

    fn look(&self, look: &impl Fn(u64) -> bool) -> Poll<Result<u64, PeerGone>> {
        let gone = self.is_gone(); // before the value: no other comes after that
        match self.get() {
            value if look(value) => Poll::Ready(Ok(value)),
            _ if gone => Poll::Ready(Err(PeerGone)),
            _ => Poll::Pending,
        }
    }
}

/// The other side was dropped, and what it said has been used up. Stop sending, or receiving; whether that is a failure
/// is for what else is known of it to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the other side of the credit is gone")]
pub struct PeerGone;

/// More buffers have arrived than were granted (C1): the sender does not keep to the protocol. Close the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the sender sent {received} buffers, but was granted {granted}; close the connection")]
#[non_exhaustive]
pub struct Unearned {
    /// Buffers received in all, with those that were refused.
    pub received: u64,
    /// Buffers granted in all.
    pub granted: u64,
}

/// The receiver's side: grants. One owner. Dropping it tells the sender.
#[derive(Debug)]
pub struct CreditGranter {
    shared: Arc<Shared>,
    granted: u64,
    received: u64,
    /// The backlog that `poll_backlog` returned last.
    seen: u64,
}

impl CreditGranter {
    /// Allows the sender `buffers` more, for which segments are set aside; returns the new total. Wait-free.
    pub fn grant(&mut self, buffers: u32) -> u64 {
        self.grant_total(self.granted.saturating_add(u64::from(buffers)));
        self.granted
    }

    /// Allows the sender `total` buffers in all, from the beginning on. A total that is not above what was granted
    /// already changes nothing, so it may be repeated, or come late. Wait-free.
    pub fn grant_total(&mut self, total: u64) {
        if total <= self.granted {
            return;
        }
        self.granted = total;
        self.shared.credit.tell(total);
    }

    /// Buffers granted in all.
    #[must_use]
    pub fn granted(&self) -> u64 {
        self.granted
    }

    /// Counts data buffers that have arrived. Wait-free.
    ///
    /// # Errors
    /// [`Unearned`]: the sender had no credit for all of them, so there may be no segment to put them into. They are not
    /// counted.
    pub fn receive(&mut self, buffers: u32) -> Result<(), Unearned> {
        let received = self.received.saturating_add(u64::from(buffers));
        if received > self.granted {
            return Err(Unearned { received, granted: self.granted });
        }
        self.received = received;
        Ok(())
    }

    /// Buffers that were granted and have not arrived: for each a segment is to be at hand.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.granted - self.received
    }

    /// How many more to grant, so that everything that waits at the sender may come, and `at_hand` more. Wait-free.
    ///
    /// # Source
    /// Flink's `BufferManager.requestFloatingBuffers`: backlog and initial credit, less what there is.
    #[must_use]
    pub fn wanted(&self, at_hand: u32) -> u64 {
        self.backlog().saturating_add(u64::from(at_hand)).saturating_sub(self.outstanding())
    }

    /// Data buffers that waited at the sender when it last said so, paid for or not. A snapshot. Wait-free.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        self.shared.backlog.get()
    }

    /// Ready with the backlog once it is another than when this was ready last (at first: than 0); arranges for the
    /// waker to be woken until then. Lock-free.
    ///
    /// # Errors
    /// [`PeerGone`]: the sender was dropped, and its last backlog was returned before.
    pub fn poll_backlog(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, PeerGone>> {
        let seen = self.seen;
        let polled = self.shared.backlog.poll(context, |backlog| backlog != seen);
        if let Poll::Ready(Ok(backlog)) = polled {
            self.seen = backlog;
        }
        polled
    }

    /// Whether the sender was dropped.
    #[must_use]
    pub fn is_peer_gone(&self) -> bool {
        self.shared.backlog.is_gone()
    }
}

impl Drop for CreditGranter {
    fn drop(&mut self) {
        self.shared.credit.leave();
    }
}

/// The sender's side: spends. One owner. Dropping it tells the receiver.
#[derive(Debug)]
pub struct CreditSpender {
    shared: Arc<Shared>,
    spent: u64,
}

impl CreditSpender {
    /// Buffers that may be sent now. Only the owner makes it less; a grant may make it more at any moment. Wait-free.
    #[must_use]
    pub fn available(&self) -> u64 {
        self.shared.credit.get() - self.spent
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
        self.shared.backlog.tell(buffers);
    }

    /// Ready with what may be sent once that is not nothing; arranges for the waker to be woken by a grant until then.
    /// Lock-free.
    ///
    /// # Errors
    /// [`PeerGone`]: the receiver was dropped, and its credit is used up.
    pub fn poll_available(&mut self, context: &mut Context<'_>) -> Poll<Result<u64, PeerGone>> {
        let spent = self.spent;
        self.shared.credit.poll(context, |granted| granted > spent).map(|found| found.map(|granted| granted - spent))
    }

    /// Waits until something may be sent, at most `timeout`; `None` when the time is over. Blocking, on a grant.
    ///
    /// # Errors
    /// As [`poll_available`](Self::poll_available).
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// let (mut receiver, mut sender) = forebay::credit::credit();
    /// assert_eq!(sender.wait_available(Duration::ZERO), Ok(None));
    /// let granting = std::thread::spawn(move || drop(receiver.grant(2)));
    /// assert_eq!(sender.wait_available(Duration::MAX), Ok(Some(2)));
    /// # granting.join().unwrap();
    /// assert!(sender.try_spend(2));
    /// assert!(sender.wait_available(Duration::MAX).is_err(), "the receiver went away");
    /// ```
    pub fn wait_available(&mut self, timeout: Duration) -> Result<Option<u64>, PeerGone> {
        let look = |this: &mut Self| {
            let spent = this.spent;
            match this.shared.credit.look(&|granted| granted > spent) {
                Poll::Ready(found) => Some(found.map(|granted| granted - spent)),
                Poll::Pending => None,
            }
        };
        wait(WaitStrategy::default(), deadline_after(timeout), self, look, Self::poll_available).transpose()
    }

    /// Whether the receiver was dropped.
    #[must_use]
    pub fn is_peer_gone(&self) -> bool {
        self.shared.credit.is_gone()
    }
}

impl Drop for CreditSpender {
    fn drop(&mut self) {
        self.shared.backlog.leave();
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
    fn who_is_not_paid_for_is_refused() {
        let (mut granter, _spender) = credit();
        granter.grant(2);
        granter.receive(2).unwrap();
        let error = granter.receive(1).unwrap_err();
        assert_eq!((error.received, error.granted, granter.outstanding()), (3, 2, 0));
        granter.grant(1);
        assert!(granter.receive(1).is_ok());
    }

    #[test]
    fn what_is_wanted_pays_for_the_backlog_and_some_more() {
        let (mut granter, mut spender) = credit();
        assert_eq!(granter.wanted(2), 2);
        granter.grant(2);
        spender.announce_backlog(5);
        assert_eq!(granter.wanted(2), 5);
        granter.grant(u32::try_from(granter.wanted(2)).unwrap());
        assert_eq!((granter.wanted(2), granter.wanted(0)), (0, 0));
        spender.announce_backlog(u64::MAX);
        assert_eq!(granter.wanted(u32::MAX), u64::MAX - 7);
    }

    #[test]
    fn each_side_is_told_that_the_other_is_gone_after_what_it_said() {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let (mut granter, mut spender) = credit();
        assert!(granter.poll_backlog(&mut context).is_pending());
        spender.announce_backlog(7);
        drop(spender);
        assert_eq!(granter.poll_backlog(&mut context), Poll::Ready(Ok(7)));
        assert_eq!(granter.poll_backlog(&mut context), Poll::Ready(Err(PeerGone)));
        let (mut granter, mut spender) = credit();
        granter.grant(1);
        drop(granter);
        assert_eq!(spender.poll_available(&mut context), Poll::Ready(Ok(1)));
        assert!(spender.is_peer_gone() && spender.try_spend(1));
        assert_eq!(spender.poll_available(&mut context), Poll::Ready(Err(PeerGone)));
    }

    #[test]
    fn the_backlog_is_what_was_said_last() {
        let (granter, mut spender) = credit();
        spender.announce_backlog(7);
        spender.announce_backlog(2);
        assert_eq!(granter.backlog(), 2);
    }
}
