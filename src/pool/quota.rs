//! The wait-free credit protocol between local pools: how many segments nobody is guaranteed, in one counter.
//!
//! Each local pool has a guaranteed part, set aside when it is created. All the rest is the *surplus*. A pool borrows
//! of it by one subtraction, and whoever brings a segment back adds one: a bounded number of steps, never a
//! compare-and-swap loop. The counter is below zero while it is owed: a new pool sets its part aside at once, even if
//! others have borrowed it, and gets the segments as they come back (M3).
//!
//! At every quiescent point: `surplus` + guaranteed parts + borrowed segments = all segments (M1).

use crate::sync::{AtomicI64, Ordering};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Quota {
    surplus: AtomicI64,
}

impl Quota {
    /// All `segments` are surplus.
    pub(crate) fn new(segments: u32) -> Self {
        Self { surplus: AtomicI64::new(i64::from(segments)) }
    }

    /// Borrows `segments` of the surplus, all of them or none. Wait-free: at most three steps.
    ///
    /// The second value says that the counter was raised again after it had been lowered for nothing; a request of
    /// somebody else may have failed for that, so who waits must be told (M5).
    pub(crate) fn borrow(&self, segments: u32) -> (bool, Retracted) {
        let wanted = i64::from(segments);
        // Relaxed: other pools write; a guess, U1 decides. A look before the subtraction: when there is nothing, nobody
        // else's request fails for ours.
        if self.surplus.load(Ordering::Relaxed) < wanted {
            return (false, Retracted(false));
        }
        // ORDERING U1 Acquire, pairs with U2 in `give_back`: who has the credit finds the segment in the depot.
        if self.surplus.fetch_sub(wanted, Ordering::Acquire) >= wanted {
            return (true, Retracted(false));
        }
        self.give_back(segments);
        (false, Retracted(true))
    }

    /// Adds `segments` to the surplus: they are in the depot. Wait-free.
    pub(crate) fn give_back(&self, segments: u32) {
        // ORDERING U2 Release, pairs with U1 in `borrow`: the segment is in the depot before it is counted. All
        // changes are read-modify-writes, so later ones continue this release sequence.
        self.surplus.fetch_add(i64::from(segments), Ordering::Release);
    }

    /// Sets `segments` aside for a pool. Wait-free. The control plane has seen that they exist.
    pub(crate) fn set_aside(&self, segments: u32) {
        // Relaxed: other pools write too, and nothing is found through the lower value.
        self.surplus.fetch_sub(i64::from(segments), Ordering::Relaxed);
    }

    /// What may be borrowed now; below zero while segments are owed. A snapshot.
    pub(crate) fn surplus(&self) -> i64 {
        self.surplus.load(Ordering::Relaxed) // a snapshot; other pools write
    }
}

/// Whether a failed attempt to borrow has lowered the counter for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) struct Retracted(pub(crate) bool);

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_is_borrowed_and_given_back_adds_up() {
        let quota = Quota::new(2);
        assert!(quota.borrow(1).0);
        assert!(quota.borrow(1).0);
        assert_eq!(quota.borrow(1), (false, Retracted(false)));
        quota.give_back(2);
        assert_eq!(quota.surplus(), 2);
    }

    #[test]
    fn all_or_nothing_is_borrowed() {
        let quota = Quota::new(3);
        assert_eq!(quota.borrow(4), (false, Retracted(false)));
        assert!(quota.borrow(2).0);
        assert_eq!(quota.borrow(2), (false, Retracted(false)));
        assert_eq!(quota.surplus(), 1);
    }

    #[test]
    fn a_part_set_aside_is_owed_first() {
        let quota = Quota::new(2);
        assert!(quota.borrow(1).0);
        quota.set_aside(2);
        assert_eq!(quota.surplus(), -1);
        quota.give_back(1);
        assert!(!quota.borrow(1).0, "it belongs to the new pool");
    }
}
