//! A value that a task and others take turns at, where nobody waits for who holds it.
//!
//! ```text
//!                 try_with, poll_with                     poll_with
//!  FREE ───────────────────────────────────▶ HELD ─────────────────────────▶ ASKED
//!    ▲                                        │ put back                       │ put back: the task is woken
//!    └────────────────────────────────────────┴────────────────────────────────┘
//! ```
//!
//! Whoever finds it held goes on with something else. The task then leaves its waker, and is woken once the value is
//! put back; others do without. So a holder that loses its processor stops nobody, as it would with a lock. One task
//! asks at a time.
//!
//! # Invariants
//! * **H1** Who moved `state` from `FREE` to `HELD` alone may touch `value` until it sets `state` back to `FREE`.

use std::{
    fmt,
    task::{Context, Poll},
};

use super::waker::WakerCell;
use crate::sync::{AtomicU32, Ordering, UnsafeCell};

const FREE: u32 = 0;
const HELD: u32 = 1;
const ASKED: u32 = 2;

/// See the [module](self).
pub(crate) struct Baton<T> {
    state: AtomicU32,
    waker: WakerCell,
    value: UnsafeCell<T>,
}

// SAFETY: H1 lets one thread at a time touch the value, which may be sent to it.
unsafe impl<T: Send> Sync for Baton<T> {}

impl<T> Baton<T> {
    /// Nobody holds it.
    pub(crate) fn new(value: T) -> Self {
        Self { state: AtomicU32::new(FREE), waker: WakerCell::new(), value: UnsafeCell::new(value) }
    }

    /// Hands the value to `f`; `None` if somebody holds it. Wait-free, but for `f`.
    pub(crate) fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        // ORDERING J1 Acquire, pairs with J3: the value as the last holder left it. Failure: Relaxed, nothing is
        // touched.
        self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(self.hold(f))
    }

    /// The same for the task. Pending leaves its waker, to be woken when the value is put back. Lock-free, but for `f`.
    pub(crate) fn poll_with<R>(&self, context: &mut Context<'_>, f: impl FnOnce(&mut T) -> R) -> Poll<R> {
        let mut registered = false;
        loop {
            // ORDERING J2 Acquire, pairs with J3: as J1. Failure: Relaxed, nothing is touched.
            if self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).is_ok() {
                return Poll::Ready(self.hold(f));
            }
            if !std::mem::replace(&mut registered, true) {
                self.waker.register(context.waker());
            }
            // Release, for J3 of the holder to see the waker: its wake comes behind our leave in the cell. Failure:
            // Relaxed, nothing is touched. (No model tells it from Relaxed: loom has a read-modify-write see the last
            // one always.)
            match self.state.compare_exchange(HELD, ASKED, Ordering::Release, Ordering::Relaxed) {
                Ok(_) | Err(ASKED) => return Poll::Pending,
                Err(_) => {} // it is free again
            }
        }
    }

    /// After `state` was moved to `HELD`.
    fn hold<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        let _back = PutBack(self);
        // SAFETY: H1, we have moved `state` to HELD, and `_back` sets it back behind this.
        self.value.with_mut(|value| f(unsafe { &mut *value }))
    }
}

/// Puts the value back, if its holder panics too.
struct PutBack<'a, T>(&'a Baton<T>);

impl<T> Drop for PutBack<'_, T> {
    fn drop(&mut self) {
        // ORDERING J3 AcqRel: Release pairs with J1 and J2, the value as we leave it; Acquire with who has asked, its
        // waker.
        if self.0.state.swap(FREE, Ordering::AcqRel) == ASKED {
            self.0.waker.wake();
        }
    }
}

impl<T> fmt::Debug for Baton<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baton").finish_non_exhaustive()
    }
}
