//! Local pools that wait for a segment of the depot.

use std::{mem, task::Waker};

use crate::sync::{AtomicBool, Mutex, Ordering, fence};

/// Wakers to be woken when a segment reaches the depot, one for each who waits. All of them are: each looks again for
/// itself.
///
/// Taking the lock is the slow path of the slow path: it happens only while somebody waits.
#[derive(Debug)]
pub(crate) struct Waiters {
    waiting: AtomicBool,
    list: Mutex<List>,
}

#[derive(Debug)]
struct List {
    /// Counts the times that wakers were taken out. A [`Slot`] of an earlier round is empty.
    round: u64,
    /// Keeps its memory, so that waiting allocates nothing once warm.
    wakers: Vec<Option<Waker>>,
}

/// How many wakers are taken out of the list at a time.
const AT_ONCE: usize = 32;

/// Where a waiter left its waker, so that leaving another one needs no search. A new one is nowhere.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    round: u64,
    index: usize,
}

impl Waiters {
    pub(crate) fn new() -> Self {
        let list = List { round: 1, wakers: Vec::new() }; // 1: a new `Slot` is nowhere
        Self { waiting: AtomicBool::new(false), list: Mutex::new(list) }
    }

    /// Leaves `waker` in `slot`, in place of an earlier one; the caller looks at the depot again afterwards. Blocking
    /// on other waiters for a moment.
    pub(crate) fn register(&self, slot: &mut Slot, waker: &Waker) {
        let waker = waker.clone(); // a waker's code is not ours: not under the lock
        let _replaced = {
            let mut list = self.list.lock().expect("no panic while it is held");
            let replaced = if slot.round == list.round {
                list.wakers[slot.index].replace(waker)
            } else {
                *slot = Slot { round: list.round, index: list.wakers.len() };
                list.wakers.push(Some(waker));
                None
            };
            // Relaxed: other waiters set it and wakers clear it, under this lock; F1 orders it against the look at the
            // surplus.
            self.waiting.store(true, Ordering::Relaxed);
            replaced
        };
        // ORDERING F1 SeqCst fence, pairs with F2: `waiting` is set before the caller looks at `Quota::surplus` (or the
        // depot, or the pressure) again. If the caller misses the change, who made it sees `waiting` (M4).
        fence(Ordering::SeqCst);
    }

    /// Takes the waker out of `slot`, if it is still there. Blocking on other waiters for a moment.
    pub(crate) fn forget(&self, slot: &mut Slot) {
        let _forgotten = {
            let mut list = self.list.lock().expect("no panic while it is held");
            if slot.round == list.round { list.wakers[slot.index].take() } else { None }
        };
    }

    /// Wakes everybody who waits. To be called after the segment is in the depot and counted.
    pub(crate) fn wake(&self) {
        // ORDERING F2 SeqCst fence, pairs with F1: the surplus is raised before `waiting` is read.
        fence(Ordering::SeqCst);
        // Relaxed: waiters and other wakers write; F2 orders it, and the lock below what it stands for.
        if !self.waiting.load(Ordering::Relaxed) {
            return;
        }
        loop {
            let mut woken = Woken { waiters: self, some: Default::default(), more: false };
            {
                let mut list = self.list.lock().expect("no panic while it is held");
                list.round += 1;
                let count = list.wakers.len().min(AT_ONCE);
                woken.some.iter_mut().zip(list.wakers.drain(..count)).for_each(|(slot, waker)| *slot = waker);
                woken.more = !list.wakers.is_empty();
                self.waiting.store(woken.more, Ordering::Relaxed); // whoever registers later takes the lock after us
            }
            woken.wake_all();
            if !mem::take(&mut woken.more) {
                return;
            }
        }
    }
}

/// Wakers that are still to be woken, who came first first: all of them, also if one of them panics.
struct Woken<'a> {
    waiters: &'a Waiters,
    some: [Option<Waker>; AT_ONCE],
    /// There are more on the list.
    more: bool,
}

impl Woken<'_> {
    fn wake_all(&mut self) {
        for waker in self.some.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }
}

impl Drop for Woken<'_> {
    fn drop(&mut self) {
        self.wake_all();
        if self.more {
            self.waiters.wake(); // one of them has panicked
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use std::{
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering::SeqCst},
        },
        task::Wake,
    };

    use super::*;

    struct Nth(usize, Arc<AtomicUsize>);

    impl Wake for Nth {
        fn wake(self: Arc<Self>) {
            self.1.fetch_add(1, SeqCst);
            if self.0 == 3 {
                std::panic::resume_unwind(Box::new("a waker that panics"));
            }
        }
    }

    fn many(waiters: &Waiters, count: usize) -> (Arc<AtomicUsize>, Vec<Slot>) {
        let woken = Arc::new(AtomicUsize::new(0));
        let mut slots: Vec<_> = (0..count).map(|_| Slot::default()).collect();
        for _ in 0..2 {
            for (nth, slot) in slots.iter_mut().enumerate() {
                waiters.register(slot, &Arc::new(Nth(nth, woken.clone())).into());
            }
        }
        (woken, slots)
    }

    #[test]
    fn all_are_woken_once_though_one_of_them_panics() {
        let waiters = Waiters::new();
        let (woken, mut slots) = many(&waiters, 3 * AT_ONCE + 1);
        assert!(catch_unwind(AssertUnwindSafe(|| waiters.wake())).is_err());
        assert_eq!(woken.load(SeqCst), slots.len());
        waiters.wake();
        assert_eq!(woken.load(SeqCst), slots.len(), "each once");
        let waker = Waker::noop();
        slots.iter_mut().for_each(|slot| waiters.register(slot, waker));
        assert_eq!(waiters.list.lock().unwrap().wakers.len(), slots.len(), "the old places are void");
    }

    #[test]
    fn who_gave_up_is_not_woken() {
        let waiters = Waiters::new();
        let (woken, mut slots) = many(&waiters, 2);
        waiters.forget(&mut slots[0]);
        waiters.forget(&mut Slot::default());
        waiters.wake();
        assert_eq!(woken.load(SeqCst), 1);
        waiters.forget(&mut slots[1]); // of an earlier round: nothing
    }
}
