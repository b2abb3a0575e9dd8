//! A request that must wait and is woken, beside a futex that is waited for and woken.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

use forebay::{
    WaitStrategy,
    pool::{LocalBufferPool, NetworkBufferPool},
};

use crate::rounds::{Ring, quartiles};

pub(crate) const TITLE: &str = "pool: a request that waits and is woken";

const ROUND_TRIPS: usize = 3_000;
const ROUNDS: usize = 9;

/// Two threads wake each other in turn. A round trip is two waits and two wakes.
pub(crate) fn table(title: &str) {
    println!("\n{title} (round trip of two; of {ROUNDS} rounds of {ROUND_TRIPS})");
    println!("  {:<50} {:>12} {:>9}  {:>15}", "", "µs median", "× first", "quartiles");
    let mut medians = [Vec::new(), Vec::new()];
    for round in 0..=ROUNDS {
        for (medians, run) in medians.iter_mut().zip([futex as fn() -> Vec<f64>, requests]) {
            let [_, median, _] = quartiles(run());
            if round > 0 {
                medians.push(median);
            }
        }
    }
    let firsts = medians[0].clone();
    for (name, own) in ["futex: wait, wake", "forebay: request that parks, drop"].into_iter().zip(medians) {
        let [low, middle, high] = quartiles(own.iter().zip(&firsts).map(|(own, first)| own / first).collect());
        let [_, time, _] = quartiles(own);
        println!("  {name:<50} {time:>12.2} {middle:>9.3}  {low:>7.3}–{high:<7.3}");
    }
}

fn futex() -> Vec<f64> {
    fn wait(word: &AtomicU32) {
        while word.swap(0, Ordering::Acquire) == 0 {
            // SAFETY: the word outlives the call, and no timeout is given.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG, 0, 0) };
        }
    }
    fn wake(word: &AtomicU32) {
        word.store(1, Ordering::Release);
        // SAFETY: the word outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG, 1) };
    }
    let words = [AtomicU32::new(0), AtomicU32::new(0)];
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUND_TRIPS {
                wait(&words[0]);
                wake(&words[1]);
            }
        });
        (0..ROUND_TRIPS)
            .map(|_| {
                let start = Instant::now();
                wake(&words[0]);
                wait(&words[1]);
                start.elapsed().as_secs_f64() * 1e6
            })
            .collect()
    })
}

/// Each thread has a pool of one segment, and holds the other's: dropping it wakes the other.
fn requests() -> Vec<f64> {
    let network = NetworkBufferPool::builder().segments(2).build().expect("memory");
    let pool = |name: &str| -> LocalBufferPool {
        let pool = network.local_pool(name).required(1).maximum(1).waiting(WaitStrategy::Park);
        pool.build().expect("segments")
    };
    let (mut here, mut there) = (pool("here"), pool("there"));
    let (to_here, to_there) = (Ring::new(2), Ring::new(2));
    to_here.push(there.request().expect("its own"));
    to_there.push(here.request().expect("its own"));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUND_TRIPS {
                let own = there.request().expect("its own"); // waits until the other drops it
                let others = to_there.pop(); // there before that
                to_here.push(own);
                drop(others);
            }
        });
        (0..ROUND_TRIPS)
            .map(|_| {
                let others = to_here.pop();
                let start = Instant::now();
                drop(others);
                let own = here.request().expect("its own");
                let took = start.elapsed().as_secs_f64() * 1e6;
                to_there.push(own);
                took
            })
            .collect()
    })
}
