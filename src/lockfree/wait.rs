//! Blocking on top of polling: every wait in this crate is a poll function and a [`Waker`]; a blocking call parks its
//! thread between polls.
#![forbid(unsafe_code)]
#![allow(clippy::disallowed_types, reason = "a `Waker` is made of std's `Arc`")]

use std::{
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use crate::sync::{Thread, current, park_until};

/// Unparks one thread. The park token remembers a wake that comes before the park, so none is lost.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(not(forebay_loom))]
fn with_thread_waker<R>(f: impl FnOnce(&Waker) -> R) -> R {
    thread_local! {
        static WAKER: Waker = Arc::new(Unpark(current())).into();
    }
    WAKER.with(f)
}

/// loom starts each execution anew, so nothing is kept from one to the next.
#[cfg(forebay_loom)]
fn with_thread_waker<R>(f: impl FnOnce(&Waker) -> R) -> R {
    f(&Arc::new(Unpark(current())).into())
}

/// Attempts a few times before it is worth to park: on another core, what is waited for may be there in a moment.
///
/// As many attempts as take about the time of parking and being woken; the last few yield to whoever wants the core.
/// Under loom none: each would be a step to explore, and the parking is what is to be checked.
pub(crate) fn spin<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let (spins, yields) = if cfg!(any(forebay_loom, miri)) { (0, 0) } else { (100, 4) };
    for nth in 0..spins + yields {
        if nth < spins {
            std::hint::spin_loop();
        } else {
            std::thread::yield_now();
        }
        if let Some(value) = attempt() {
            return Some(value);
        }
    }
    None
}

/// The moment `timeout` from now; `None` (no limit) when that is beyond what the clock can say.
pub(crate) fn deadline_after(timeout: Duration) -> Option<Instant> {
    Instant::now().checked_add(timeout)
}

/// Polls until ready, parking the thread in between; `None` once `deadline` has passed. Blocking.
pub(crate) fn block_on<T>(deadline: Option<Instant>, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
    with_thread_waker(|waker| {
        let mut context = Context::from_waker(waker);
        loop {
            if let Poll::Ready(value) = poll(&mut context) {
                return Some(value);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            park_until(deadline);
        }
    })
}

/// How long somebody has waited, in all: from the first attempt that found nothing to the one that found something,
/// whether the thread slept in between or the task was somewhere else.
#[derive(Debug, Default)]
pub(crate) struct Waited {
    total: Duration,
    since: Option<Instant>,
}

impl Waited {
    /// Nothing was found; counts from here, or goes on counting.
    pub(crate) fn begin(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Something was found, or the waiting was given up. Costs a look if nobody waited.
    #[inline]
    pub(crate) fn end(&mut self) {
        if let Some(since) = self.since.take() {
            self.total += since.elapsed();
        }
    }

    /// The time that has been waited, without a wait that has not ended.
    pub(crate) fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn gives_up_at_the_deadline_after_one_last_poll() {
        let mut polls = 0;
        let result: Option<()> = block_on(Some(Instant::now()), |_| {
            polls += 1;
            Poll::Pending
        });
        assert_eq!((result, polls), (None, 1));
    }

    #[test]
    fn a_wake_before_the_park_is_not_lost() {
        let mut woken = false;
        let result = block_on(None, |context| {
            if woken {
                return Poll::Ready(7);
            }
            woken = true;
            context.waker().wake_by_ref();
            Poll::Pending
        });
        assert_eq!(result, Some(7));
    }
}
