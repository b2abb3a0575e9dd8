//! What the benches share: rounds that take turns, and a ring between two threads.

use std::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;
use forebay::pool::{LocalBufferPool, NetworkBufferPool};

pub mod exchange;

/// Bytes in a segment.
pub const SEGMENT: usize = 32 << 10;

/// A local pool that has all `segments` of a network pool of its own.
pub fn local(segments: u32) -> LocalBufferPool {
    let pool = NetworkBufferPool::builder().segments(segments).build().expect("memory");
    pool.local_pool("bench").required(segments).maximum(segments).build().expect("segments")
}

/// One contestant: its name, and a round that does a fixed number of operations and says how long they took.
pub struct Contestant<'a> {
    pub name: &'static str,
    pub round: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Contestant<'a> {
    pub fn new(name: &'static str, round: impl FnMut() -> Duration + 'a) -> Self {
        Self { name, round: Box::new(round) }
    }
}

/// Runs the contestants in turn, `rounds` times each after a warm-up, and prints for each the median time of one
/// operation, and the median over all rounds of its ratio to the first contestant's round beside it, with quartiles.
///
/// Ratios of rounds that stand side by side are what a shared, noisy machine can say; the times only put them in scale.
pub fn compare(title: &str, operations: u64, rounds: usize, mut contestants: Vec<Contestant<'_>>) {
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let took = (contestant.round)().as_secs_f64();
            if round > 0 {
                times.push(took * 1e9 / operations as f64);
            }
        }
    }
    println!("\n{title}");
    println!("  {:<44} {:>12} {:>9}  {:>15}", "", "ns/op median", "× first", "quartiles");
    for (contestant, own) in contestants.iter().zip(&times) {
        let ratios: Vec<f64> = own.iter().zip(&times[0]).map(|(own, first)| own / first).collect();
        let [low, middle, high] = quartiles(ratios);
        let [_, time, _] = quartiles(own.clone());
        println!("  {:<44} {time:>12.2} {middle:>9.2}  {low:>7.2}–{high:<7.2}", contestant.name);
    }
}

fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// The time `work` takes.
pub fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Runs `here` and `there` on two threads at once, and gives the time until both are done.
pub fn timed_pair(here: impl FnOnce(), there: impl FnOnce() + Send) -> Duration {
    thread::scope(|scope| {
        let start = Instant::now();
        let other = scope.spawn(there);
        here();
        other.join().expect("the other thread");
        start.elapsed()
    })
}

/// A ring from one thread to another: the road of the hand-written programs. Spins, then yields.
pub struct Ring<T> {
    slots: Box<[UnsafeCell<Option<T>>]>,
    head: CachePadded<AtomicUsize>,
    tail: CachePadded<AtomicUsize>,
}

// SAFETY: one thread pushes and one pops (as every use here does), and a slot is the pusher's from `head`'s release to
// `tail`'s, the popper's from `tail`'s release to `head`'s.
unsafe impl<T: Send> Sync for Ring<T> {}

impl<T> Ring<T> {
    pub fn new(capacity: usize) -> Self {
        assert!(capacity.is_power_of_two());
        Self {
            slots: (0..capacity).map(|_| UnsafeCell::new(None)).collect(),
            head: CachePadded::default(),
            tail: CachePadded::default(),
        }
    }

    pub fn push(&self, value: T) {
        let tail = self.tail.load(Ordering::Relaxed);
        wait_until(|| tail - self.head.load(Ordering::Acquire) < self.slots.len());
        // SAFETY: below `head + capacity`, so the slot is the pusher's.
        unsafe { *self.slots[tail & (self.slots.len() - 1)].get() = Some(value) };
        self.tail.store(tail + 1, Ordering::Release);
    }

    pub fn pop(&self) -> T {
        let head = self.head.load(Ordering::Relaxed);
        wait_until(|| self.tail.load(Ordering::Acquire) != head);
        // SAFETY: below `tail`, so the slot is the popper's.
        let slot = unsafe { &mut *self.slots[head & (self.slots.len() - 1)].get() };
        let value = slot.take().expect("pushed");
        self.head.store(head + 1, Ordering::Release);
        value
    }
}

fn wait_until(ready: impl Fn() -> bool) {
    let mut spins = 0;
    while !ready() {
        spins += 1;
        if spins < 200 { spin_loop() } else { thread::yield_now() }
    }
}
