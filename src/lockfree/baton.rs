//! A value that a task and others take turns at, where nobody waits for who holds it.
//!
//! ```text
//!          try_with                    poll_with
//!  FREE ────────────▶ HELD by another ────────────▶ HELD, ASKED
//!   ▲ ▲ ◀──────────── put back                           │ put back: the task is woken
//!   │ │                poll_with                         ▼
//!   │ └──────────────────────────────────────────────▶ ASKED: the task's
//!   └─────────────────────────────────────────────────── put back
//! ```
//!
//! Whoever finds it held goes on with something else: nobody waits for who holds it, as one would for a lock. The task
//! leaves its waker, and the next turn is its own: the others, however many, are refused until it has had that. But who
//! holds the value and is not run keeps it from all. One task asks at a time; if it goes away having asked, nobody gets
//! the value any more.
//!
//! # Invariants
//! * **H1** Who moved `state` from `FREE` to `HELD` alone may touch `value` until it takes `HELD` away.
//! * **H2** While `ASKED` is on and `HELD` is off the task alone may touch `value`: the others find `state` not `FREE`.

use std::{
    fmt,
    task::{Context, Poll},
};

use super::waker::WakerCell;
use crate::sync::{AtomicU32, Ordering, UnsafeCell};

const FREE: u32 = 0;
/// Another than the task has the value.
const HELD: u32 = 1;
/// The task has the value, or has asked for it.
const ASKED: u32 = 2;

/// See the [module](self).
pub(crate) struct Baton<T> {
    state: AtomicU32,
    waker: WakerCell,
    value: UnsafeCell<T>,
}

// SAFETY: H1 and H2 let one thread at a time touch the value, which may be sent to it.
unsafe impl<T: Send> Sync for Baton<T> {}

impl<T> Baton<T> {
    /// Nobody holds it.
    pub(crate) fn new(value: T) -> Self {
        Self { state: AtomicU32::new(FREE), waker: WakerCell::new(), value: UnsafeCell::new(value) }
    }

    /// Hands the value to `f`; `None` if somebody has it, or the task has asked for it. Wait-free, but for `f`; which
    /// may come here again, and is refused.
    pub(crate) fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        // ORDERING J1 Acquire, pairs with J4 and J5: the value as the last holder left it. Failure: Relaxed, nothing is
        // touched.
        self.state.compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed).ok()?;
        let _back = PutBack(self);
        // SAFETY: H1, we have moved `state` to HELD, and `_back` takes that away behind this.
        Some(self.value.with_mut(|value| f(unsafe { &mut *value })))
    }

    /// The same for the task. Pending leaves its waker, to be woken when the value is put back, which is the task's
    /// then. Wait-free, but for `f` and what the waker does.
    pub(crate) fn poll_with<R>(&self, context: &mut Context<'_>, f: impl FnOnce(&mut T) -> R) -> Poll<R> {
        // ORDERING J2 Acquire, pairs with J4: as J1.
        if self.state.fetch_or(ASKED, Ordering::Acquire) & HELD != 0 {
            self.waker.register(context.waker());
            // The second look: who has put it back before we registered has found no waker to wake.
            // ORDERING J3 Acquire, pairs with J4: as J1. That it sees what was done before a wake that came too early
            // is the cell's K2.
            if self.state.load(Ordering::Acquire) & HELD != 0 {
                return Poll::Pending;
            }
        }
        let _back = PutBackByTask(self);
        // SAFETY: H2, ASKED is on, HELD was off when we looked, and `_back` takes ASKED away behind this.
        Poll::Ready(self.value.with_mut(|value| f(unsafe { &mut *value })))
    }
}

/// Puts the value back, if its holder panics too.
struct PutBack<'a, T>(&'a Baton<T>);

impl<T> Drop for PutBack<'_, T> {
    fn drop(&mut self) {
        // ORDERING J4 Release, pairs with J1, J2 and J3: the value as we leave it.
        if self.0.state.fetch_and(!HELD, Ordering::Release) & ASKED != 0 {
            self.0.waker.wake();
        }
    }
}

/// The same for the task, which nobody can have asked meanwhile.
struct PutBackByTask<'a, T>(&'a Baton<T>);

impl<T> Drop for PutBackByTask<'_, T> {
    fn drop(&mut self) {
        // ORDERING J5 Release, pairs with J1: the value as we leave it. Nobody else writes: H2.
        self.0.state.store(FREE, Ordering::Release);
    }
}

impl<T> fmt::Debug for Baton<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Baton").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
        task::{Wake, Waker},
    };

    use super::*;

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_task_that_has_asked_is_woken_and_gets_it_before_all_others() {
        let (baton, wakes) = (Baton::new(0), Arc::new(Wakes::default()));
        let waker = wakes.clone().into();
        let mut context = Context::from_waker(&waker);
        let mut asked = |baton: &Baton<u32>| baton.poll_with(&mut context, |value| *value += 1);
        let refused = |baton: &Baton<u32>| baton.try_with(|value| *value += 10).is_none();

        baton
            .try_with(|_| {
                assert!(refused(&baton), "by whoever holds it, too");
                assert!(asked(&baton).is_pending() && asked(&baton).is_pending());
            })
            .unwrap();
        assert_eq!(wakes.0.load(SeqCst), 1);
        assert!(refused(&baton), "it is the task's turn");
        assert!(asked(&baton).is_ready());
        assert_eq!(baton.try_with(|value| *value), Some(1));
        assert_eq!(wakes.0.load(SeqCst), 1, "nobody has asked since");
    }

    #[test]
    fn who_panics_puts_it_back() {
        let (baton, mut context) = (Baton::new(()), Context::from_waker(Waker::noop()));
        let panicked = |f: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(f)).is_err();
        assert!(panicked(&mut || baton.try_with(|()| panic!("in the middle")).unwrap_or(())));
        assert!(panicked(&mut || {
            let _ = baton.poll_with(&mut context, |()| panic!("in the middle"));
        }));
        assert!(baton.try_with(|()| ()).is_some());
    }
}
