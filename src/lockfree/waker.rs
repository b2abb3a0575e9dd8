//! A place for the one waker of the one task that waits, which any thread may take and wake.
//!
//! A waiter registers first and looks at its condition again afterwards; a notifier changes the condition first and
//! wakes afterwards. Registering and waking both go through a read-modify-write of `state`, so one of the two sees the
//! other.
//!
//! Lock-free on both sides: a notifier that meets a registration in progress leaves a mark and goes on; the registering
//! thread sees the mark and wakes itself.
//!
//! # Invariants
//! * **K1** Who moved `state` from `IDLE` to `REGISTERING`, or set `WAKING` on `IDLE`, alone may touch `waker` until it
//!   sets `state` back.
//!
//! Source: the algorithm of `futures-core`'s `AtomicWaker`.

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
        // ORDERING K2 Acquire, pairs with K5: the cell as the last notifier left it.
        match self.state.compare_exchange(IDLE, REGISTERING, Ordering::Acquire, Ordering::Acquire) {
            Ok(_) => {
                let replaced = self.waker.with_mut(|slot| {
                    // SAFETY: K1, `state` is REGISTERING by us.
                    let slot = unsafe { &mut *slot };
                    match slot {
                        Some(old) if old.will_wake(waker) => None,
                        _ => slot.replace(waker.clone()),
                    }
                });
                drop(replaced);
                // ORDERING K3 AcqRel: Release pairs with K4, the notifier sees the waker; Acquire pairs with K4 of a
                // notifier that came meanwhile, so its condition is seen by the task that it made us wake.
                if self.state.compare_exchange(REGISTERING, IDLE, Ordering::AcqRel, Ordering::Acquire).is_err() {
                    // A notifier marked WAKING while we registered, and went on: the wake is ours to do.
                    // SAFETY: K1, `state` still carries our REGISTERING.
                    let waker = self.waker.with_mut(|slot| unsafe { (*slot).take() });
                    // ORDERING as K3.
                    self.state.swap(IDLE, Ordering::AcqRel);
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
        // ORDERING K4 AcqRel: Acquire pairs with K3, the waker is whole; Release pairs with K3 of a registration that
        // finds the mark.
        match self.state.fetch_or(WAKING, Ordering::AcqRel) {
            IDLE => {
                // SAFETY: K1, we set WAKING on IDLE.
                let waker = self.waker.with_mut(|slot| unsafe { (*slot).take() });
                // ORDERING K5 Release, pairs with K2.
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
