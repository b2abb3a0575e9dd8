//! Rounds that take turns, and a ring between two threads.

use std::{
    cell::{Cell, UnsafeCell},
    hint::spin_loop,
    mem::MaybeUninit,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;

const ROUNDS: usize = 15;

/// One contestant: its name, and a round that says how long `operations` of the table took.
pub(crate) struct Contestant<'a> {
    name: String,
    round: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Contestant<'a> {
    pub(crate) fn new(name: impl Into<String>, round: impl FnMut() -> Duration + 'a) -> Self {
        Self { name: name.into(), round: Box::new(round) }
    }
}

/// Runs the contestants in turn, `ROUNDS` times each after a warm-up, and prints for each the median time of one
/// operation, and the median over all rounds of its ratio to the first contestant's round beside it, with quartiles.
pub(crate) fn compare(title: &str, operations: u64, mut contestants: Vec<Contestant<'_>>) {
    let mut times = vec![Vec::with_capacity(ROUNDS); contestants.len()];
    for round in 0..=ROUNDS {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let took = (contestant.round)().as_secs_f64();
            if round > 0 {
                times.push(took * 1e9 / operations as f64);
            }
        }
    }
    println!("\n{title}");
    println!("  {:<50} {:>12} {:>9}  {:>15}", "", "ns/op median", "× first", "quartiles");
    for (contestant, own) in contestants.iter().zip(&times) {
        let ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, first)| own / first).collect();
        let [low, middle, high] = quartiles(ratios);
        let [_, time, _] = quartiles(own.clone());
        println!("  {:<50} {time:>12.2} {middle:>9.3}  {low:>7.3}–{high:<7.3}", contestant.name);
    }
}

pub(crate) fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// The time `work` takes.
pub(crate) fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Keeps the calling thread on processor `nth`, if there is one of that number to be had: two threads on one processor
/// take turns, and are no contention.
pub(crate) fn pin(nth: usize) {
    // SAFETY: a set of processors may be all zeros: it is the empty one.
    let mut only: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: within the set, as `nth` is small.
    unsafe { libc::CPU_SET(nth, &mut only) };
    // SAFETY: of the calling thread, and the set is as large as it says.
    unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const only) };
}

/// Runs `here` and `there` on two threads that start at once, and gives the time until both are done.
pub(crate) fn timed_pair(here: impl FnOnce(), there: impl FnOnce() + Send) -> Duration {
    let ready = Barrier::new(2);
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            pin(1);
            ready.wait();
            there();
        });
        ready.wait();
        let start = Instant::now();
        here();
        other.join().expect("the other thread");
        start.elapsed()
    })
}

/// A ring from one thread to another. Each end keeps in mind how far the other was when it last had to look, the pusher
/// reads no slot, and the popper writes none: so the ring costs little beside what is compared, and the same whatever
/// goes through it. What is in it when it is dropped is lost; nothing is.
pub(crate) struct Ring<T> {
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
    head: CachePadded<(AtomicUsize, Cell<usize>)>,
    tail: CachePadded<(AtomicUsize, Cell<usize>)>,
}

// SAFETY: one thread pushes and one pops (as every use here does), and a slot is the pusher's from `head`'s release to
// `tail`'s, the popper's from `tail`'s release to `head`'s. What was seen of `tail` stands beside `head` and is the
// popper's alone, and the other way round.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity.is_power_of_two());
        Self {
            slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
            head: CachePadded::default(),
            tail: CachePadded::default(),
        }
    }

    pub(crate) fn push(&self, value: T) {
        let (tail, head_seen) = &*self.tail;
        let place = tail.load(Ordering::Relaxed);
        while place - head_seen.get() == self.slots.len() {
            wait_until(|| self.head.0.load(Ordering::Acquire) != head_seen.get());
            head_seen.set(self.head.0.load(Ordering::Acquire));
        }
        // SAFETY: below `head + capacity`, so the slot is the pusher's.
        unsafe { self.slots[place & (self.slots.len() - 1)].get().write(MaybeUninit::new(value)) };
        tail.store(place + 1, Ordering::Release);
    }

    pub(crate) fn pop(&self) -> T {
        let (head, tail_seen) = &*self.head;
        let place = head.load(Ordering::Relaxed);
        while place == tail_seen.get() {
            wait_until(|| self.tail.0.load(Ordering::Acquire) != place);
            tail_seen.set(self.tail.0.load(Ordering::Acquire));
        }
        // SAFETY: below `tail`, so the slot is the popper's, and has what was pushed.
        let value = unsafe { self.slots[place & (self.slots.len() - 1)].get().read().assume_init() };
        head.store(place + 1, Ordering::Release);
        value
    }
}

/// Spins, then yields.
pub(crate) fn wait_until(ready: impl Fn() -> bool) {
    let mut spins = 0;
    while !ready() {
        spins += 1;
        if spins < 200 { spin_loop() } else { thread::yield_now() }
    }
}
