//! What the benches share: rounds that take turns, and a ring between two threads.

use std::{
    cell::UnsafeCell,
    hint::spin_loop,
    sync::{
        Barrier,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;
use forebay::pool::{LocalBufferPool, NetworkBufferPool};

pub mod exchange;
pub mod flink;
pub mod latency;

/// Bytes in a segment.
pub const SEGMENT: usize = 32 << 10;

/// A local pool that has all `segments` of a network pool of its own. Its memory is there before anything is timed, as
/// Flink's is, which is filled with zeros when it is allocated; and in huge pages if it is large enough for one and the
/// system has them, as a pool of a thousand channels should be.
pub fn local(segments: u32) -> LocalBufferPool {
    let pool = |huge| NetworkBufferPool::builder().segments(segments).prefault(true).huge_pages(huge).build();
    let pool = pool(true).or_else(|_| pool(false)).expect("memory");
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
/// operation, and the median over all rounds of its ratio to the first contestant's round beside it (marked `*`), with
/// quartiles.
///
/// Ratios of rounds that stand side by side are what a shared, noisy machine can say; the times only put them in scale.
pub fn compare(title: &str, operations: u64, rounds: usize, contestants: Vec<Contestant<'_>>) {
    compare_to_best_of(1, title, operations, rounds, contestants);
}

/// As [`compare`], but the ratios are to whichever of the first `references` contestants has the lowest median.
pub fn compare_to_best_of(
    references: usize,
    title: &str,
    operations: u64,
    rounds: usize,
    mut contestants: Vec<Contestant<'_>>,
) {
    let mut times = vec![Vec::with_capacity(rounds); contestants.len()];
    for round in 0..=rounds {
        for (contestant, times) in contestants.iter_mut().zip(&mut times) {
            let took = (contestant.round)().as_secs_f64();
            if round > 0 {
                times.push(took * 1e9 / operations as f64);
            }
        }
    }
    let medians: Vec<f64> = times.iter().map(|own| quartiles(own.clone())[1]).collect();
    let reference = (0..references).min_by(|&a, &b| medians[a].total_cmp(&medians[b])).expect("at least one");
    println!("\n{title}");
    println!("  {:<52} {:>12} {:>9}  {:>15}", "", "ns/op median", "ratio", "quartiles");
    for (nth, (contestant, own)) in contestants.iter().zip(&times).enumerate() {
        let ratios: Vec<f64> = own.iter().zip(&times[reference]).map(|(own, first)| own / first).collect();
        let [low, middle, high] = quartiles(ratios);
        let mark = if nth == reference { '*' } else { ' ' };
        println!("{mark} {:<52} {:>12.2} {middle:>9.2}  {low:>7.2}–{high:<7.2}", contestant.name, medians[nth]);
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

/// Runs `here` and `there` on two threads at once, each on a core of its own, and gives the time from when the first
/// began to when the last was done. Those two take it: a third thread gets a core when they leave one, which may be
/// milliseconds later.
pub fn timed_pair(here: impl FnOnce() + Send, there: impl FnOnce() + Send) -> Duration {
    fn run(core: usize, ready: &Barrier, work: impl FnOnce()) -> (Instant, Instant) {
        on_core(core);
        ready.wait();
        let start = Instant::now();
        work();
        (start, Instant::now())
    }
    let ready = &Barrier::new(2);
    thread::scope(|scope| {
        let threads = [scope.spawn(move || run(0, ready, here)), scope.spawn(move || run(1, ready, there))];
        let [one, other] = threads.map(|thread| thread.join().expect("no panic"));
        one.1.max(other.1) - one.0.min(other.0)
    })
}

/// Keeps the calling thread on one core, so that a round is not two threads on the same one; without effect where there
/// is only one, or no such call.
pub fn on_core(core: usize) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: a plain set of bits, of which all zero is the empty one.
        let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: `core` is 0 or 1, below `CPU_SETSIZE`.
        unsafe { libc::CPU_SET(core, &mut set) };
        // SAFETY: 0 is the calling thread, and the set lives on.
        unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
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
