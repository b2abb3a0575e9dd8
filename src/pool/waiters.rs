//! Local pools that wait for a segment of the depot.

use std::task::Waker;

use crate::sync::{AtomicBool, Mutex, Ordering, fence};

/// Wakers to be woken when a segment reaches the depot, one for each pool. All of them are: each looks again for itself.
///
/// Taking the lock is the slow path of the slow path: it happens only while a pool waits.
#[derive(Debug)]
pub(crate) struct Waiters {
    waiting: AtomicBool,
    /// By the pool's number.
    wakers: Mutex<Vec<(u64, Waker)>>,
}

impl Waiters {
    pub(crate) fn new() -> Self {
        Self { waiting: AtomicBool::new(false), wakers: Mutex::new(Vec::new()) }
    }

    /// Leaves `waker` for `pool`, in place of an earlier one; the caller looks at the depot again afterwards. Blocking on
    /// other waiters for a moment.
    pub(crate) fn register(&self, pool: u64, waker: &Waker) {
        let waker = waker.clone(); // a waker's code is not ours: not under the lock
        let _replaced = {
            let mut wakers = self.wakers.lock().expect("no panic while it is held");
            let replaced = if let Some((_, old)) = wakers.iter_mut().find(|(of, _)| *of == pool) {
                Some(std::mem::replace(old, waker))
            } else {
                wakers.push((pool, waker));
                None
            };
            // Relaxed: other waiters set it and wakers clear it, under this lock; F1 orders it against the look at the
            // surplus.
            self.waiting.store(true, Ordering::Relaxed);
            replaced
        };
        // ORDERING F1 SeqCst fence, pairs with F2: `waiting` is set before the caller looks at `Quota::surplus` (or the
        // depot) again. If the caller misses the segment, the one who gave it back sees `waiting` (M4).
        fence(Ordering::SeqCst);
    }

    /// Wakes everybody who waits. To be called after the segment is in the depot and counted.
    pub(crate) fn wake(&self) {
        // ORDERING F2 SeqCst fence, pairs with F1: the surplus is raised before `waiting` is read.
        fence(Ordering::SeqCst);
        // Relaxed: waiters and other wakers write; F2 orders it, and the lock below what it stands for.
        if !self.waiting.load(Ordering::Relaxed) {
            return;
        }
        let woken = {
            let mut wakers = self.wakers.lock().expect("no panic while it is held");
            self.waiting.store(false, Ordering::Relaxed); // whoever registers later takes the lock after us
            std::mem::take(&mut *wakers)
        };
        let mut woken = Woken(woken.into_iter());
        woken.wake_all();
    }
}

/// Wakers that are still to be woken: all of them, also if one of them panics.
struct Woken(std::vec::IntoIter<(u64, Waker)>);

impl Woken {
    fn wake_all(&mut self) {
        for (_, waker) in &mut self.0 {
            waker.wake();
        }
    }
}

impl Drop for Woken {
    fn drop(&mut self) {
        self.wake_all();
    }
}
