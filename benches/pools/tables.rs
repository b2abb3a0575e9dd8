//! The tables of ratios.

use std::{
    alloc::{GlobalAlloc, Layout},
    hint::{black_box, spin_loop},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use crossbeam_queue::ArrayQueue;
use forebay::{
    buffer::{Buffer, BufferMut},
    pool::{LocalBufferPool, NetworkBufferPool},
};
use lockfree_object_pool::LinearObjectPool;
use mimalloc::MiMalloc;

use crate::{
    peers,
    rounds::{Contestant, Ring, compare, timed, timed_pair},
};

/// Prints itself under the title given.
type Table = fn(&str);

/// Each with its title.
pub(crate) const ALL: [(&str, Table); 7] = [
    ("pool: one in flight", one_in_flight),
    ("pool: 64 in flight", many_in_flight),
    ("pool: two threads", two_threads),
    ("pool: handed to another thread, given back there", hand_off),
    ("pool: 100,000 segments", scale),
    ("buffer: clone and drop", clone_and_drop),
    ("buffer: drop of the only handle, by the owner's thread", drop_unique),
];

const SEGMENT: usize = 32 << 10;

/// A local pool that has all `segments` of a network pool of its own.
fn local(segments: u32) -> LocalBufferPool {
    let pool = NetworkBufferPool::builder().segments(segments).build().expect("memory");
    pool.local_pool("bench").required(segments).maximum(segments).build().expect("segments")
}

fn ids(count: u32) -> ArrayQueue<u32> {
    let queue = ArrayQueue::new(count as usize);
    (0..count).for_each(|id| queue.push(id).expect("room"));
    queue
}

fn block() -> Layout {
    Layout::from_size_align(SEGMENT, 4096).expect("a size")
}

fn allocate() -> *mut u8 {
    // SAFETY: the size is not 0.
    let block = unsafe { MiMalloc.alloc(block()) };
    assert!(!block.is_null());
    block
}

fn free(pointer: *mut u8) {
    // SAFETY: from `allocate`, once.
    unsafe { MiMalloc.dealloc(pointer, block()) };
}

fn one_in_flight(title: &str) {
    const OPERATIONS: u64 = 500_000;
    let (mut recycled, mut dropped) = (local(64), local(64));
    let queue = ids(64);
    let stack = Mutex::new((0..64).collect::<Vec<u32>>());
    let objects = LinearObjectPool::<u32>::new(|| 0, |_| ());
    compare(
        title,
        OPERATIONS,
        [
            Contestant::new("ArrayQueue: pop, push", || {
                timed(|| (0..OPERATIONS).for_each(|_| queue.push(black_box(queue.pop().expect("full"))).expect("room")))
            }),
            Contestant::new("Mutex<Vec>: pop, push", || {
                timed(|| {
                    for _ in 0..OPERATIONS {
                        let id = stack.lock().expect("sound").pop().expect("full");
                        stack.lock().expect("sound").push(black_box(id));
                    }
                })
            }),
            Contestant::new("lockfree-object-pool: pull, drop", || {
                timed(|| (0..OPERATIONS).for_each(|_| drop(black_box(objects.pull()))))
            }),
            Contestant::new("mimalloc: allocate, free", || {
                timed(|| (0..OPERATIONS).for_each(|_| free(black_box(allocate()))))
            }),
            Contestant::new("BytesMut: with_capacity, drop", || {
                timed(|| (0..OPERATIONS).for_each(|_| drop(black_box(BytesMut::with_capacity(SEGMENT)))))
            }),
            Contestant::new("forebay: try_request, recycle by the owner", || {
                timed(|| {
                    for _ in 0..OPERATIONS {
                        let buffer = black_box(recycled.try_request().expect("free"));
                        recycled.recycle(buffer);
                    }
                })
            }),
            Contestant::new("forebay: try_request, drop", || {
                timed(|| (0..OPERATIONS).for_each(|_| drop(black_box(dropped.try_request().expect("free")))))
            }),
        ]
        .into_iter()
        .chain(peers::contestants("one", OPERATIONS))
        .collect(),
    );
}

fn many_in_flight(title: &str) {
    const BATCH: usize = 64;
    const BATCHES: u64 = 8_000;
    let [mut single, mut bulk, mut dropped] = [(); 3].map(|()| local(2 * BATCH as u32));
    let queue = ids(2 * BATCH as u32);
    let mut ids = Vec::with_capacity(BATCH);
    let mut blocks = Vec::with_capacity(BATCH);
    let [mut singly, mut at_once, mut to_drop] = [(); 3].map(|()| Vec::<BufferMut>::with_capacity(BATCH));
    compare(
        title,
        BATCHES * BATCH as u64,
        [
            Contestant::new("ArrayQueue: pop 64, push 64", || {
                timed(|| {
                    for _ in 0..BATCHES {
                        ids.extend((0..BATCH).map(|_| queue.pop().expect("full")));
                        black_box(&mut ids).drain(..).for_each(|id| queue.push(id).expect("room"));
                    }
                })
            }),
            Contestant::new("mimalloc: allocate 64, free 64", || {
                timed(|| {
                    for _ in 0..BATCHES {
                        blocks.extend((0..BATCH).map(|_| allocate()));
                        black_box(&mut blocks).drain(..).for_each(free);
                    }
                })
            }),
            Contestant::new("forebay: try_request 64, recycle 64", || {
                timed(|| {
                    for _ in 0..BATCHES {
                        singly.extend((0..BATCH).map(|_| single.try_request().expect("free")));
                        black_box(&mut singly).drain(..).for_each(|buffer| single.recycle(buffer));
                    }
                })
            }),
            Contestant::new("forebay: try_request_many, recycle_many", || {
                timed(|| {
                    for _ in 0..BATCHES {
                        bulk.try_request_many(BATCH as u32, &mut at_once).expect("free");
                        bulk.recycle_many(black_box(&mut at_once));
                    }
                })
            }),
            Contestant::new("forebay: try_request 64, drop 64", || {
                timed(|| {
                    for _ in 0..BATCHES {
                        to_drop.extend((0..BATCH).map(|_| dropped.try_request().expect("free")));
                        black_box(&mut to_drop).clear();
                    }
                })
            }),
        ]
        .into_iter()
        .chain(peers::contestants("many", BATCHES * BATCH as u64))
        .chain(peers::contestants("bulk", BATCHES * BATCH as u64))
        .collect(),
    );
}

fn two_threads(title: &str) {
    const OPERATIONS: u64 = 200_000; // each
    let queue = ids(64);
    let network = NetworkBufferPool::builder().segments(128).build().expect("memory");
    let [mut here, mut there] =
        ["here", "there"].map(|name| network.local_pool(name).required(64).maximum(64).build().expect("segments"));
    let take_and_give =
        || (0..OPERATIONS).for_each(|_| queue.push(black_box(queue.pop().expect("enough"))).expect("room"));
    let request_and_recycle = |pool: &mut LocalBufferPool| {
        for _ in 0..20 * OPERATIONS {
            let buffer = black_box(pool.try_request().expect("free"));
            pool.recycle(buffer);
        }
    };
    compare(
        &format!("{title} (time of one operation of each)"),
        OPERATIONS,
        [
            Contestant::new("one ArrayQueue: pop, push", || timed_pair(take_and_give, take_and_give)),
            Contestant::new("forebay, a pool each: try_request, recycle", || {
                // Twenty times as many, for the start of two threads not to be what is measured.
                timed_pair(|| request_and_recycle(&mut here), || request_and_recycle(&mut there)) / 20
            }),
        ]
        .into_iter()
        .chain(peers::contestants("two", OPERATIONS))
        .collect(),
    );
}

fn hand_off(title: &str) {
    const OPERATIONS: u64 = 400_000;
    const SEGMENTS: usize = 256;
    let queue = ids(SEGMENTS as u32);
    let mut pool = local(SEGMENTS as u32);
    fn attempt<T>(mut attempt: impl FnMut() -> Option<T>) -> T {
        loop {
            match attempt() {
                Some(found) => break found,
                None => spin_loop(),
            }
        }
    }
    compare(
        title,
        OPERATIONS,
        [
            Contestant::new("ArrayQueue: pop here, push there", || {
                let ring = Ring::new(SEGMENTS);
                timed_pair(
                    || (0..OPERATIONS).for_each(|_| ring.push(attempt(|| queue.pop()))),
                    || (0..OPERATIONS).for_each(|_| queue.push(ring.pop()).expect("room")),
                )
            }),
            Contestant::new("nothing: ids through the same ring", || {
                let ring = Ring::new(SEGMENTS);
                timed_pair(
                    || (0..OPERATIONS).for_each(|id| ring.push(id)),
                    || (0..OPERATIONS).for_each(|_| _ = black_box(ring.pop())),
                )
            }),
            Contestant::new("forebay: try_request here, drop there", || {
                let ring = Ring::new(SEGMENTS);
                timed_pair(
                    || (0..OPERATIONS).for_each(|_| ring.push(attempt(|| pool.try_request().ok()))),
                    || (0..OPERATIONS).for_each(|_| drop(ring.pop())),
                )
            }),
        ]
        .into_iter()
        .chain(peers::contestants("hand-off", OPERATIONS))
        .collect(),
    );
}

fn scale(title: &str) {
    const BATCH: usize = 64;
    const BATCHES: u64 = 8_000;
    // All segments have been lent, and are back.
    let used = |segments| {
        let mut pool = local(segments);
        let mut all: Vec<_> = (0..segments).map(|_| pool.try_request().expect("free")).collect();
        pool.recycle_many(&mut all);
        pool
    };
    let [mut few, mut many] = [100, 100_000].map(used);
    let mut held = Vec::with_capacity(BATCH);
    let mut round = |pool: &mut LocalBufferPool| -> Duration {
        timed(|| {
            for _ in 0..BATCHES {
                held.extend((0..BATCH).map(|_| pool.try_request().expect("free")));
                black_box(&mut held).drain(..).for_each(|buffer| pool.recycle(buffer));
            }
        })
    };
    let round = &std::cell::RefCell::new(&mut round);
    compare(
        &format!("{title}, 64 in flight"),
        BATCHES * BATCH as u64,
        vec![
            Contestant::new("100 segments: try_request 64, recycle 64", || round.borrow_mut()(&mut few)),
            Contestant::new("100,000 segments", || round.borrow_mut()(&mut many)),
        ],
    );
}

fn clone_and_drop(title: &str) {
    const OPERATIONS: u64 = 500_000;
    let mut pool = local(1);
    let buffer: Buffer = pool.try_request().expect("free").into();
    let arc = Arc::new([0_u8; 64]);
    let bytes = Bytes::from(vec![0_u8; SEGMENT]);
    drop(bytes.clone()); // from here on it is counted
    compare(
        title,
        OPERATIONS,
        vec![
            Contestant::new("Arc", || timed(|| (0..OPERATIONS).for_each(|_| drop(black_box(Arc::clone(&arc)))))),
            Contestant::new("Bytes", || timed(|| (0..OPERATIONS).for_each(|_| drop(black_box(bytes.clone()))))),
            Contestant::new("forebay: Buffer", || {
                timed(|| (0..OPERATIONS).for_each(|_| drop(black_box(buffer.clone()))))
            }),
        ],
    );
}

fn drop_unique(title: &str) {
    const BATCH: usize = 100; // no more than a thread has room for in its lane
    const BATCHES: u64 = 5_000;
    let mut pool = local(BATCH as u32);
    let mut held = Vec::<BufferMut>::with_capacity(BATCH);
    let arc = Arc::new([0_u8; 64]);
    let clock = (0..10_000).map(|_| timed(|| ())).sum::<Duration>() / 10_000;
    compare(
        &format!("{title} (less the clock's {clock:?} for each {BATCH})"),
        BATCHES * BATCH as u64,
        vec![
            Contestant::new("Arc: clone and drop", || {
                timed(|| (0..BATCHES * BATCH as u64).for_each(|_| drop(black_box(Arc::clone(&arc)))))
            }),
            Contestant::new("forebay: drop alone", || {
                (0..BATCHES)
                    .map(|_| {
                        held.extend((0..BATCH).map(|_| pool.try_request().expect("free")));
                        timed(|| black_box(&mut held).clear()).saturating_sub(clock)
                    })
                    .sum()
            }),
        ],
    );
}
