//! Pools on real threads, everything at once, in an order that a seed says: at the end all is home, and on the way
//! everybody got what was guaranteed.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use forebay::{
    buffer::{Buffer, BufferMut},
    memory::page_size,
    pool::{LocalBufferPool, NetworkBufferPool, PoolError, RequestError},
};

/// Much longer than it can take, unless somebody sleeps for good.
const FOR_EVER: Duration = Duration::from_secs(300);

/// Knuth's, of which the upper bits are good enough.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32 % limit
    }
}

/// What the tasks hand to one another.
type Exchange = Arc<Mutex<Vec<Buffer>>>;

struct Task {
    number: u32,
    random: Random,
    network: NetworkBufferPool,
    local: LocalBufferPool,
    exchange: Exchange,
    held: Vec<BufferMut>,
    /// Lent at most: what was lent when the pool was resized stays lent, and does not stand in the way of what is
    /// guaranteed.
    most: u32,
}

const SEGMENTS: u32 = 24;
const TASKS: u32 = 4;
/// So that all of them can have it, and an exclusive segment is left for each.
const MOST_REQUIRED: u32 = SEGMENTS / TASKS - 1;
const OVERDRAFT: u32 = 2;

impl Task {
    fn run(mut self, rounds: u32) {
        for _ in 0..rounds {
            self.step();
            let lent = self.local.lent();
            assert!(lent <= self.most, "task {}: {lent} of {}", self.number, self.most);
        }
    }

    fn step(&mut self) {
        match self.random.below(20) {
            0..=5 => {
                let got = self.local.try_request();
                self.keep(got);
            }
            6 => {
                let got = self.local.try_request_overdraft();
                self.keep(got);
            }
            7 | 8 => {
                let count = self.random.below(6);
                let before = self.held.len();
                let got = self.local.try_request_many(count, &mut self.held);
                assert_eq!(self.held.len(), before + if got.is_ok() { count as usize } else { 0 });
                self.held[before..].iter_mut().for_each(|buffer| mark(buffer, self.number));
            }
            9 => {
                let got = self.network.try_request();
                self.keep(got);
            }
            10..=12 => {
                if let Some(buffer) = self.pick() {
                    self.local.recycle(buffer);
                }
            }
            13 | 14 => drop(self.pick()),
            15 | 16 => {
                // To others, in two handles; or what others have put there.
                if let Some(buffer) = self.pick() {
                    let buffer = Buffer::from(buffer);
                    let clone = buffer.slice(4..);
                    self.exchange.lock().unwrap().extend([buffer, clone]);
                } else {
                    let taken = self.exchange.lock().unwrap().pop();
                    drop(taken);
                }
            }
            17 => {
                let required = self.random.below(MOST_REQUIRED + 1);
                let maximum = required + self.random.below(8) + 1;
                match self.local.resize(required, maximum) {
                    Ok(()) => self.most = (maximum + OVERDRAFT).max(self.local.lent() + required),
                    Err(PoolError::Insufficient { .. }) => {} // exclusive segments of others
                    Err(error) => panic!("{error}"),
                }
            }
            18 => match self.network.request_exclusive("exclusive", 1, Duration::ZERO) {
                Ok(mut got) => got.iter_mut().for_each(|buffer| mark(buffer, self.number)),
                Err(PoolError::TimedOut { .. } | PoolError::Insufficient { .. }) => {}
                Err(error) => panic!("{error}"),
            },
            _ => self.wait_for_what_is_guaranteed(),
        }
    }

    fn keep(&mut self, got: Result<BufferMut, RequestError>) {
        match got {
            Ok(mut buffer) => {
                mark(&mut buffer, self.number);
                self.held.push(buffer);
            }
            Err(error) => assert_eq!(error, RequestError::Exhausted),
        }
    }

    fn pick(&mut self) -> Option<BufferMut> {
        let count = self.held.len() as u32;
        let buffer = (count > 0).then(|| self.held.swap_remove(self.random.below(count) as usize))?;
        assert_eq!(buffer[..4], self.number.to_be_bytes(), "somebody else wrote into it");
        Some(buffer)
    }

    /// Whoever waits holds nothing, and leaves nothing in the exchange. So there is always one who goes on, and what is
    /// guaranteed comes.
    fn wait_for_what_is_guaranteed(&mut self) {
        self.held.clear();
        let left = std::mem::take(&mut *self.exchange.lock().unwrap());
        drop(left);
        let required = self.local.required();
        self.local.request_many_timeout(required, &mut self.held, FOR_EVER).unwrap_or_else(|error| {
            panic!("task {} was guaranteed {required}: {error}\n{}", self.number, self.network.usage())
        });
        self.held.iter_mut().for_each(|buffer| mark(buffer, self.number));
        if self.local.maximum() > self.held.len() as u32 && required == 0 {
            // Nobody guarantees this one, but others come down to their shares for it.
            let got = self.local.request_timeout(Duration::from_millis(1));
            if let Ok(mut buffer) = got {
                mark(&mut buffer, self.number);
                self.held.push(buffer);
            }
        }
    }
}

fn mark(buffer: &mut BufferMut, task: u32) {
    buffer[..4].copy_from_slice(&task.to_be_bytes());
}

fn stress(seed: u64, rounds: u32) {
    let network = NetworkBufferPool::builder().segments(SEGMENTS).segment_size(page_size()).build().unwrap();
    let exchange = Exchange::default();
    let tasks: Vec<_> = (0..TASKS)
        .map(|number| {
            let required = number % (MOST_REQUIRED + 1);
            let local = network.local_pool(format!("task {number}")).required(required).overdraft(OVERDRAFT);
            let task = Task {
                number,
                random: Random(seed.wrapping_add(u64::from(number) << 32)),
                network: network.clone(),
                local: local.build().unwrap(),
                exchange: exchange.clone(),
                held: Vec::new(),
                most: u32::MAX,
            };
            thread::Builder::new()
                .name(format!("seed {seed:#x}, task {number}"))
                .spawn(move || task.run(rounds))
                .unwrap()
        })
        .collect();
    tasks.into_iter().for_each(|task| task.join().unwrap());
    drop(exchange);
    let usage = network.usage();
    assert_eq!((usage.in_use, usage.surplus), (0, i64::from(SEGMENTS)), "seed {seed:#x}: all is home\n{usage}");
    assert_eq!((usage.exclusive, usage.direct, usage.pools.len()), (0, 0, 0), "seed {seed:#x}");
    // And all of it can be had, by one pool, at once.
    let mut all = Vec::new();
    network.local_pool("all").build().unwrap().try_request_many(SEGMENTS, &mut all).unwrap();
}

#[test]
fn everything_at_once_loses_nothing_and_keeps_what_was_promised() {
    let (seeds, rounds) = if cfg!(miri) { (1, 60) } else { (6, 20_000) };
    (0..seeds).for_each(|nth| stress(0x5EED + nth * 0x9E37_79B9, rounds));
}

/// A pool of which others hold every buffer, a few pools that borrow, and returns by threads that own nothing.
#[test]
fn returns_by_many_threads_meet_the_shrinking_of_a_pool() {
    let rounds = if cfg!(miri) { 6 } else { 2_000 };
    let network = NetworkBufferPool::builder().segments(8).segment_size(page_size()).build().unwrap();
    let mut local = network.local_pool("breathing").required(6).maximum(8).build().unwrap();
    let (to, from) = std::sync::mpsc::channel::<Vec<BufferMut>>();
    let from = Arc::new(Mutex::new(from));
    let returners: Vec<_> = (0..2)
        .map(|_| {
            let from = from.clone();
            thread::spawn(move || {
                loop {
                    let Ok(buffers) = from.lock().unwrap().recv() else { return };
                    drop(buffers);
                }
            })
        })
        .collect();
    let mut random = Random(0xB4EA_7411);
    for _ in 0..rounds {
        let mut buffers = Vec::new();
        let _ = local.try_request_many(random.below(7), &mut buffers);
        while let Some(buffer) = buffers.pop() {
            to.send(vec![buffer]).unwrap();
        }
        let required = random.below(7);
        local.resize(required, 8).unwrap();
        let usage = network.usage();
        assert!(usage.surplus <= i64::from(8 - required), "no more than what is not promised: {usage}");
        if required > 0 {
            let got = local.request_timeout(FOR_EVER).unwrap();
            local.recycle(got);
        }
    }
    drop(to);
    returners.into_iter().for_each(|returner| returner.join().unwrap());
    assert_eq!(local.lent(), 0);
    drop(local);
    assert_eq!((network.in_use(), network.usage().surplus), (0, 8));
}
