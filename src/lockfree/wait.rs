//! Blocking on top of polling: every wait in this crate is a poll function and a [`Waker`]; a blocking call parks its
//! thread between polls, or looks again and again, as its [`WaitStrategy`] says.
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

/// How a blocking call waits for what is not there yet: a setting of who waits, on its side alone.
///
/// | strategy | while it waits | is there again after |
/// |---|---|---|
/// | [`Spin`](Self::Spin) | keeps its core | a cache line's way between two cores |
/// | [`Yield`](Self::Yield) | uses the core unless somebody else wants it | the same, if nobody does |
/// | [`SpinThenPark`](Self::SpinThenPark) | looks for ten microseconds, then sleeps | the first, or the last, by how long it took |
/// | [`Park`](Self::Park) | sleeps | a system call here and one there, and what the scheduler takes |
///
/// All of them see the same things in the same order, and none loses a wake-up (M4). Not for the `poll_` forms: there
/// the waiting is the caller's, and its [`Waker`]'s.
///
/// # Source
/// Aeron's `IdleStrategy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum WaitStrategy {
    /// Looks again and again. The least latency; give the thread a core of its own, for whoever it waits for may need
    /// one too.
    Spin,
    /// Looks again and again, and offers the core to others between two looks.
    Yield,
    /// Looks about as long as parking and being woken take, then yields a few times, then parks.
    #[default]
    SpinThenPark,
    /// Parks at once. The least work while nothing comes, and the most when something does: whoever brings it must make
    /// a system call.
    Park,
}

/// Looks from one look at the clock to the next.
pub(crate) const LOOKS: u32 = 32;
/// How long to look before parking: about the time of parking and being woken, so that a wait costs at most twice what
/// it would have if its length had been known. By the clock, for a pause is 40 cycles on one processor and 140 on
/// another.
const SPIN: Duration = Duration::from_micros(10);
/// Yields between the two.
const YIELDS: u32 = 4;

/// Waits for something of `on`: looks for it with `look`, or polls for it with `poll` and parks in between, as
/// `strategy` says; `None` once `deadline` has passed. Blocking.
///
/// Under loom it parks whatever the strategy: each look would be a step to explore, and what is looked at is to be
/// checked, not how often.
pub(crate) fn wait<S: ?Sized, T>(
    strategy: WaitStrategy,
    deadline: Option<Instant>,
    on: &mut S,
    look: impl FnMut(&mut S) -> Option<T>,
    poll: impl FnMut(&mut S, &mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    wait_and_tell(strategy, deadline, on, |_| {}, look, poll)
}

/// As [`wait`]; `begin` is called once if the first [`LOOKS`] find nothing, to take the time: to ask the clock for the
/// length of a wait that is over in a moment would take as long as the wait. Blocking.
pub(crate) fn wait_and_tell<S: ?Sized, T>(
    strategy: WaitStrategy,
    deadline: Option<Instant>,
    on: &mut S,
    begin: impl FnOnce(&mut S),
    mut look: impl FnMut(&mut S) -> Option<T>,
    mut poll: impl FnMut(&mut S, &mut Context<'_>) -> Poll<T>,
) -> Option<T> {
    let spins = match strategy {
        WaitStrategy::Park => false,
        WaitStrategy::SpinThenPark => !cfg!(any(forebay_loom, miri)), // Miri is slow, and has no other core
        WaitStrategy::Spin | WaitStrategy::Yield => !cfg!(forebay_loom),
    };
    if spins {
        let pause = if strategy == WaitStrategy::Yield { std::thread::yield_now } else { std::hint::spin_loop };
        if let Some(value) = looks(LOOKS, pause, || look(on)) {
            return Some(value);
        }
        begin(on);
        let until = if strategy == WaitStrategy::SpinThenPark { deadline_after(SPIN) } else { deadline };
        while until.is_none_or(|until| Instant::now() < until) {
            if let Some(value) = looks(LOOKS, pause, || look(on)) {
                return Some(value);
            }
        }
        if strategy != WaitStrategy::SpinThenPark {
            return None;
        }
        if let Some(value) = looks(YIELDS, std::thread::yield_now, || look(on)) {
            return Some(value);
        }
    } else {
        begin(on);
    }
    block_on(deadline, |context| poll(on, context))
}

/// Looks up to `times` times, each after a pause.
#[inline]
fn looks<T>(times: u32, pause: fn(), mut look: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..times {
        pause();
        if let Some(value) = look() {
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
    fn every_strategy_gives_up_at_the_deadline_and_finds_what_is_there() {
        use WaitStrategy::{Park, Spin, SpinThenPark, Yield};
        for strategy in [Spin, Yield, SpinThenPark, Park] {
            let wait = |there: bool| {
                let looks = &mut 0;
                let look = |looks: &mut u32| {
                    *looks += 1;
                    there.then_some(*looks)
                };
                let poll = |looks: &mut u32, _: &mut Context<'_>| look(looks).map_or(Poll::Pending, Poll::Ready);
                wait(strategy, Some(Instant::now()), looks, look, poll)
            };
            assert_eq!(wait(true), Some(1), "{strategy:?}");
            assert_eq!(wait(false), None, "{strategy:?}");
        }
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
