//! One flushed record there and one back: forebay's round trip, and what the machine takes for its own.

use std::{
    hint::spin_loop,
    sync::atomic::{AtomicU32, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use crossbeam_utils::CachePadded;
use forebay::{
    WaitStrategy,
    gate::{InputGate, RecordReader},
    partition::{Forward, RecordWriter, ResultPartition},
    transport::in_process,
};

use super::{Contestant, compare, local, on_core};

/// Round trips of one round, after a tenth of them to warm up.
const TRIPS: u64 = 20_000;
const ROUNDS: usize = 11;

/// Prints two tables of median round trips: spinning, against one cache line that goes back and forth; and parked,
/// against two futexes.
pub fn ping_pong() {
    compare(
        "ping-pong, spinning: median round trip of one flushed record of 8 B",
        1,
        ROUNDS,
        vec![
            Contestant::new("a bare cache line", cache_line),
            Contestant::new("forebay: two channels, WaitStrategy::Spin", || exchange(WaitStrategy::Spin)),
        ],
    );
    compare(
        "ping-pong, parked: median round trip of one flushed record of 8 B",
        1,
        ROUNDS,
        vec![
            Contestant::new("two bare futexes", futex),
            Contestant::new("forebay: two channels, WaitStrategy::Park", || exchange(WaitStrategy::Park)),
        ],
    );
}

/// The median time of a round trip, when `there` answers on another core.
fn median(mut trip: impl FnMut(u64) + Send, there: impl FnOnce() + Send) -> Duration {
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            on_core(1);
            there();
        });
        let mut times = scope
            .spawn(move || {
                on_core(0);
                (0..TRIPS / 10).for_each(&mut trip);
                let timed = |n| {
                    let start = Instant::now();
                    trip(n);
                    start.elapsed()
                };
                (TRIPS / 10..TRIPS).map(timed).collect::<Vec<_>>()
            })
            .join()
            .expect("this side");
        other.join().expect("the other side");
        times.sort_unstable();
        times[times.len() / 2]
    })
}

fn cache_line() -> Duration {
    let (there, back) = (CachePadded::new(AtomicU64::new(0)), CachePadded::new(AtomicU64::new(0)));
    median(
        |n| {
            there.store(n + 1, Ordering::Release);
            while back.load(Ordering::Acquire) != n + 1 {
                spin_loop();
            }
        },
        || {
            for n in 1..=TRIPS {
                while there.load(Ordering::Acquire) != n {
                    spin_loop();
                }
                back.store(n, Ordering::Release);
            }
        },
    )
}

/// A word that is counted up, and slept on.
struct Futex(CachePadded<AtomicU32>);

impl Futex {
    fn new() -> Self {
        Self(CachePadded::new(AtomicU32::new(0)))
    }

    fn set(&self, value: u32) {
        self.0.store(value, Ordering::Release);
        self.call(libc::FUTEX_WAKE, 1);
    }

    fn wait_for(&self, value: u32) {
        loop {
            let now = self.0.load(Ordering::Acquire);
            if now == value {
                return;
            }
            self.call(libc::FUTEX_WAIT, now);
        }
    }

    fn call(&self, operation: libc::c_int, value: u32) {
        let word: &AtomicU32 = &self.0;
        // SAFETY: the word lives as long as `self`, and no timeout is given.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                word.as_ptr(),
                operation | libc::FUTEX_PRIVATE_FLAG,
                value,
                std::ptr::null::<libc::timespec>(),
            );
        }
    }
}

fn futex() -> Duration {
    let (there, back) = (Futex::new(), Futex::new());
    median(
        |n| {
            there.set(n as u32 + 1);
            back.wait_for(n as u32 + 1);
        },
        || {
            for n in 1..=TRIPS as u32 {
                there.wait_for(n);
                back.set(n);
            }
        },
    )
}

fn road() -> (RecordWriter<Forward>, InputGate) {
    let (mut partitions, mut gates): (Vec<ResultPartition>, _) = in_process(vec![local(4)], 1);
    (RecordWriter::new(partitions.remove(0), Forward), gates.remove(0))
}

fn exchange(strategy: WaitStrategy) -> Duration {
    let ((mut there, to_other), (mut back, to_here)) = (road(), road());
    let mut here = RecordReader::new(to_here.with_wait_strategy(strategy), 64);
    let mut other = RecordReader::new(to_other.with_wait_strategy(strategy), 64);
    median(
        move |n| {
            there.emit(&n).expect("a reader");
            there.flush();
            let answer = here.next().expect("a writer").expect("an answer").deserialize::<u64>();
            assert_eq!(answer, Ok(n));
        },
        move || {
            for _ in 0..TRIPS {
                let n = other.next().expect("a writer").expect("a question").deserialize::<u64>().expect("a number");
                back.emit(&n).expect("a reader");
                back.flush();
            }
        },
    )
}
