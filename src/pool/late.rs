//! What comes back to a home that its pool has given up.
//!
//! A pool that shrinks while more is lent than it is guaranteed makes another home for what it lends from then on. Of
//! what is still to come back to the old one, the first become surplus, as many as the pool is over; the rest is still
//! the pool's own: it goes to the depot, but not into the surplus, and the pool takes others for it. So the pool has
//! its guarantee all the time, in its hands or in the depot.
//!
//! One number says which is which: `over`, how many of the next to come back are surplus. Whoever brings one back
//! subtracts one. It begins far above what counting reaches, which is right for a pool that is dropped: all become
//! surplus.

use crate::sync::{Arc, AtomicI64, Ordering};

/// Far above what counting reaches.
const ALL: i64 = 1 << 62;

/// What those who bring a segment back see. See the [module](self).
#[derive(Debug)]
pub(crate) struct Late {
    over: AtomicI64,
}

impl Late {
    pub(crate) fn new() -> Self {
        Self { over: AtomicI64::new(ALL) }
    }

    /// Counts one that is back, and in the depot; whether it is surplus. Wait-free.
    pub(crate) fn count(&self) -> bool {
        // ORDERING E1 Release, pairs with E2: the segment is in the depot before the pool counts it as there.
        self.over.fetch_sub(1, Ordering::Release) > 0
    }
}

/// The owner's side of a home it has left. Control plane, but for [`kept`](Self::kept).
#[derive(Debug)]
pub(crate) struct Left {
    late: Arc<Late>,
    /// The pool's own, back or not.
    own: u32,
}

impl Left {
    /// Of the next `out` to come back, the last `own` are the pool's. The second value says how many of those have come
    /// back already and are counted as surplus.
    pub(crate) fn new(late: Arc<Late>, out: u32, own: u32) -> (Self, u32) {
        let over = i64::from(out - own);
        // Relaxed: who brings one back lowers it meanwhile; either order is settled, by what it was before.
        let early = ALL - late.over.fetch_sub(ALL - over, Ordering::Relaxed);
        (Self { late, own }, (early - over).max(0) as u32)
    }

    /// How many of the pool's own are not back yet. Shrinks at any moment. Wait-free.
    pub(crate) fn kept(&self) -> u32 {
        // ORDERING E2 Acquire, pairs with E1: what is back is found in the depot.
        self.kept_if(self.late.over.load(Ordering::Acquire))
    }

    fn kept_if(&self, over: i64) -> u32 {
        (i64::from(self.own) + over.min(0)).max(0) as u32
    }

    /// Lets up to `segments` of the pool's own be surplus when they come back; how many that are. Those that are back
    /// by now are not among them. Lock-free, against returns alone.
    pub(crate) fn give_up(&mut self, segments: u32) -> u32 {
        let mut over = self.late.over.load(Ordering::Acquire); // E2, as above, also below
        loop {
            let kept = self.kept_if(over);
            let given = kept.min(segments);
            let more = over.max(0) + i64::from(given);
            match self.late.over.compare_exchange_weak(over, more, Ordering::Acquire, Ordering::Acquire) {
                Ok(_) => {
                    self.own = kept - given;
                    return given;
                }
                Err(now) => over = now,
            }
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    fn left(out: u32, own: u32) -> (Arc<Late>, Left) {
        let late = Arc::new(Late::new());
        let (left, early) = Left::new(late.clone(), out, own);
        assert_eq!(early, 0);
        (late, left)
    }

    #[test]
    fn the_last_to_come_back_are_the_pools_own() {
        let (late, left) = left(3, 2);
        assert_eq!(left.kept(), 2);
        assert_eq!([late.count(), late.count()], [true, false]);
        assert_eq!(left.kept(), 1);
        assert!(!late.count());
        assert_eq!(left.kept(), 0);
    }

    #[test]
    fn what_is_given_up_becomes_surplus() {
        let (late, mut left) = left(5, 4);
        assert_eq!([late.count(), late.count()], [true, false], "one over, one own");
        assert_eq!((left.give_up(2), left.kept()), (2, 1));
        assert_eq!([late.count(), late.count(), late.count()], [true, true, false]);
        assert_eq!((left.give_up(1), left.kept()), (0, 0));
    }

    #[test]
    fn who_comes_back_early_is_made_up_for() {
        let late = Arc::new(Late::new());
        assert!(late.count() && late.count(), "as of a pool that is dropped");
        let (left, early) = Left::new(late, 3, 2);
        assert_eq!((early, left.kept()), (1, 1));
    }
}
