//! A place for the one waker of the one task that waits, which any thread may take and wake.
//!
//! A waiter registers first and looks at its condition afterwards, each time it is polled; a notifier changes the
//! condition first and wakes afterwards. Registering and waking both go through read-modify-writes of `state`, so
//! either the registration (K2) sees what every notifier before it did, or the notifier (K4) finds the waker or the
//! mark of a registration in progress, and the waiter is woken and registers anew.
//!
//! Lock-free on both sides: a notifier that meets a registration in progress leaves a mark and goes on; the registering
//! thread sees the mark and wakes itself.
//!
//! # Invariants
//! * **K1** Who moved `state` from `IDLE` to `REGISTERING`, or set `WAKING` on `IDLE`, alone may touch `waker` until it
//!   sets `state` back.
//!
//! Source: the algorithm of `futures-core`'s `AtomicWaker`, with Acquire only where the waiter looks afterwards.

use std::task::Waker;

use crate::sync::{AtomicU32, Ordering, UnsafeCell};

const IDLE: u32 = 0;
const REGISTERING: u32 = 1;
const WAKING: u32 = 2;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct WakerCell {
    state: AtomicU32,
    waker: UnsafeCell<Option<Waker>>,
}

// SAFETY: `Waker` is Send, and K1 lets one thread at a time touch it.
unsafe impl Send for WakerCell {}
// SAFETY: as above: `waker` is reached only under K1.
unsafe impl Sync for WakerCell {}

impl WakerCell {
    /// An empty cell.
    pub(crate) fn new() -> Self {
        Self { state: AtomicU32::new(IDLE), waker: UnsafeCell::new(None) }
    }

    /// Leaves `waker` to be woken, in place of an earlier one. Lock-free.
    ///
    /// Look at the condition again afterwards. One task at a time registers; of two that race one is woken at once.
    pub(crate) fn register(&self, waker: &Waker) {
        let mut new = Some(waker.clone()); // a waker's code is not ours: not between K2 and K3
        // ORDERING K2 Acquire, pairs with K5, the cell as the last notifier left it, and with K4 of all notifiers so
        // far, what they did before they woke us. All changes of `state` are read-modify-writes, so the release
        // sequence of each reaches us. Failure: Acquire too: somebody is waking, and what it did before is seen at
        // once.
        match self.state.compare_exchange(IDLE, REGISTERING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                self.waker.with_mut(|slot| {
                    // SAFETY: K1, `state` is REGISTERING by us.
                    let slot = unsafe { &mut *slot };
                    std::mem::swap(slot, &mut new); // the old one is dropped in the end
                });
                // ORDERING K3 Release, pairs with K4: the notifier sees the waker. Failure: Relaxed, we wake ourselves,
                // and register again before the last look.
                if self.state.compare_exchange(REGISTERING, IDLE, Ordering::Release, Ordering::Relaxed).is_err() {
                    // A notifier marked WAKING while we registered, and went on: the wake is ours to do.
                    // SAFETY: K1, `state` still carries our REGISTERING.
                    let waker = self.waker.with_mut(|slot| unsafe { (*slot).take() });
                    // ORDERING K6 Release, pairs with K4 of the next notifier: the cell as we left it.
                    self.state.swap(IDLE, Ordering::Release);
                    if let Some(waker) = waker {
                        waker.wake();
                    }
                }
            }
            // Somebody is waking right now: be woken too, and look again.
            Err(_) => waker.wake_by_ref(),
        }
    }

    /// Wakes the registered task, if there is one. Lock-free; one read-modify-write when nobody waits.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.take() {
            waker.wake();
        }
    }

    /// Takes the registered waker out, to be woken by the caller.
    pub(crate) fn take(&self) -> Option<Waker> {
        // ORDERING K4 AcqRel: Acquire pairs with K3, K5 and K6, the cell as it was left; Release pairs with K2, what
        // the caller did before this is seen by who registers after it.
        match self.state.fetch_or(WAKING, Ordering::AcqRel) {
            IDLE => {
                // SAFETY: K1, we set WAKING on IDLE.
                let waker = self.waker.with_mut(|slot| unsafe { (*slot).take() });
                // ORDERING K5 Release, pairs with K2 and K4: the cell as we left it.
                self.state.fetch_and(!WAKING, Ordering::Release);
                waker
            }
            _ => None,
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering::SeqCst},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn wakes_the_last_registered_once() {
        let (first, last) = (std::sync::Arc::new(Count::default()), std::sync::Arc::new(Count::default()));
        let cell = WakerCell::new();
        cell.wake();
        cell.register(&first.clone().into());
        cell.register(&last.clone().into());
        cell.wake();
        cell.wake();
        assert_eq!((first.0.load(SeqCst), last.0.load(SeqCst)), (0, 1));
    }
}
