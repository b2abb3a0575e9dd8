//! How forebay compares, in one run: `cargo bench --bench ratios`, or `make bench FILTER=ratios`.
//!
//! Contestants take turns, round by round, so that what else the machine does hits all of them; the figure is the median
//! of the ratios of neighbouring rounds, with quartiles. Smaller is faster. An argument keeps only the tables whose title
//! contains it.
//!
//! * *pool*: one segment taken and given back. Peers: crossbeam's `ArrayQueue` of ids, `Mutex<Vec>` of ids.
//! * *exchange*: one writer thread, one reader thread that adds up the first 8 bytes of each record. Peers: *the limit*, a
//!   hand-written program for just this (length-prefixed records into pooled blocks, blocks over a ring of one producer and
//!   one consumer, no other feature), once as it is and once with a reader that prefetches, of which the faster one counts;
//!   and `std::sync::mpsc` with a boxed slice for each record. Both sides wait by looking and yielding.
//! * *1 MiB records*: against copying on one core, and against a hand-written program that copies in on one core and out on
//!   the other: what passes between two cores is bound by the way between them, not by `memcpy`.
//! * *channels*, *idle channels*: forebay against itself.
//! * *ping-pong*: the median round trip of one flushed record, against what the machine takes for a cache line and for a
//!   futex.
//!
//! # Beside Flink
//!
//! Flink runs in a JVM of its own, so the two cannot take turns within a round; run them after one another, and again.
//! The counterpart of *exchange* is made of Flink's own classes, from outside (Flink 2.3, the jar `flink-dist` of the
//! Python package `apache-flink-libraries`):
//!
//! * a `NettyShuffleEnvironment` from `NettyShuffleServiceFactory` with an empty configuration, segments of 32 KiB;
//! * one thread with a `RecordWriter` (round-robin selector, timeout 100 ms) into a `PipelinedResultPartition` with a
//!   subpartition for each channel;
//! * one thread with a `MutableRecordReader` over a `SingleInputGate` of `LocalInputChannel`s, a
//!   `SpillingAdaptiveSpanningRecordDeserializer` for each;
//! * records of raw bytes, one bulk copy in and one out, the first 8 a running number; the rate is what the reader counts
//!   in a window of seconds, after a warm-up of some.
#![allow(missing_docs, unreachable_pub, clippy::cast_precision_loss)]

#[path = "support/mod.rs"]
mod support;

use std::{
    hint::black_box,
    sync::{Arc, Mutex},
};

use crossbeam_queue::ArrayQueue;
use forebay::buffer::{Buffer, BufferMut};
use support::{
    Contestant, Ring, SEGMENT, compare, compare_to_best_of,
    exchange::{AHEAD, beside_idle, boxed, forebay, limit, limit_in_pieces, memcpy, round_robin},
    latency, local, timed, timed_pair,
};

const ROUNDS: usize = 15;
/// Of the exchange: short rounds and many, for a round in which something else ran says nothing.
const EXCHANGE_ROUNDS: usize = 31;

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted =
        |title: &str| filter.as_ref().is_none_or(|filter| title.contains(filter.as_str()) || filter == "ratios");
    println!(
        "forebay {}, {} cores",
        env!("CARGO_PKG_VERSION"),
        std::thread::available_parallelism().map_or(0, usize::from)
    );
    if wanted("pool: one in flight") {
        one_in_flight();
    }
    if wanted("pool: 64 in flight") {
        many_in_flight();
    }
    if wanted("pool: handed to another thread, given back there") {
        hand_off();
    }
    if wanted("buffer: clone and drop") {
        clone_and_drop();
    }
    for payload in [8, 64, 256, 1024, SEGMENT - 8] {
        let title = format!("exchange: {payload} B records");
        if wanted(&title) {
            exchange(&title, payload);
        }
    }
    if wanted("exchange: 1 MiB records") {
        large();
    }
    if wanted("exchange: 64 B records over channels") {
        channels();
    }
    if wanted("exchange: 64 B records beside idle channels") {
        idle();
    }
    if wanted("ping-pong") {
        latency::ping_pong();
    }
}

fn ids(count: u32) -> ArrayQueue<u32> {
    let queue = ArrayQueue::new(count as usize);
    (0..count).for_each(|id| queue.push(id).expect("room"));
    queue
}

fn one_in_flight() {
    const OPERATIONS: u64 = 500_000;
    let (mut recycled, mut dropped) = (local(64), local(64));
    let queue = ids(64);
    let stack = Mutex::new((0..64).collect::<Vec<u32>>());
    compare(
        "pool: one in flight",
        OPERATIONS,
        ROUNDS,
        vec![
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
        ],
    );
}

fn many_in_flight() {
    const BATCH: usize = 64;
    const OPERATIONS: u64 = 64 * 8_000;
    let mut pool = local(2 * BATCH as u32);
    let queue = ids(2 * BATCH as u32);
    let mut bulk = local(2 * BATCH as u32);
    let mut taken = Vec::<BufferMut>::with_capacity(BATCH);
    let (mut held, mut held_ids) = (Vec::<BufferMut>::with_capacity(BATCH), Vec::with_capacity(BATCH));
    compare(
        "pool: 64 in flight",
        OPERATIONS,
        ROUNDS,
        vec![
            Contestant::new("ArrayQueue: pop 64, push 64", || {
                timed(|| {
                    for _ in 0..OPERATIONS / BATCH as u64 {
                        held_ids.extend((0..BATCH).map(|_| queue.pop().expect("full")));
                        held_ids.drain(..).for_each(|id| queue.push(id).expect("room"));
                    }
                })
            }),
            Contestant::new("forebay: try_request 64, recycle 64", || {
                timed(|| {
                    for _ in 0..OPERATIONS / BATCH as u64 {
                        held.extend((0..BATCH).map(|_| pool.try_request().expect("free")));
                        held.drain(..).for_each(|buffer| pool.recycle(buffer));
                    }
                })
            }),
            Contestant::new("forebay: try_request_many, recycle_many", || {
                timed(|| {
                    for _ in 0..OPERATIONS / BATCH as u64 {
                        bulk.try_request_many(BATCH as u32, &mut taken).expect("free");
                        black_box(&mut taken);
                        bulk.recycle_many(&mut taken);
                    }
                })
            }),
        ],
    );
}

fn hand_off() {
    const OPERATIONS: u64 = 200_000;
    let queue = ids(64);
    let mut pool = local(64);
    compare(
        "pool: handed to another thread, given back there",
        OPERATIONS,
        ROUNDS,
        vec![
            Contestant::new("ArrayQueue: pop here, push there", || {
                let ring = Ring::new(64);
                timed_pair(
                    || {
                        for _ in 0..OPERATIONS {
                            ring.push(loop {
                                match queue.pop() {
                                    Some(id) => break id,
                                    None => std::hint::spin_loop(),
                                }
                            });
                        }
                    },
                    || (0..OPERATIONS).for_each(|_| queue.push(ring.pop()).expect("room")),
                )
            }),
            Contestant::new("forebay: try_request here, drop there", || {
                let ring = Ring::new(64);
                timed_pair(
                    || {
                        for _ in 0..OPERATIONS {
                            let buffer = loop {
                                match pool.try_request() {
                                    Ok(buffer) => break buffer,
                                    Err(_) => std::hint::spin_loop(),
                                }
                            };
                            ring.push(buffer);
                        }
                    },
                    || (0..OPERATIONS).for_each(|_| drop(ring.pop())),
                )
            }),
        ],
    );
}

fn clone_and_drop() {
    const OPERATIONS: u64 = 500_000;
    let mut pool = local(1);
    let buffer: Buffer = pool.try_request().expect("free").into();
    let arc = Arc::new([0_u8; 64]);
    compare(
        "buffer: clone and drop",
        OPERATIONS,
        ROUNDS,
        vec![
            Contestant::new("Arc", || timed(|| (0..OPERATIONS).for_each(|_| drop(black_box(Arc::clone(&arc)))))),
            Contestant::new("forebay: Buffer", || {
                timed(|| (0..OPERATIONS).for_each(|_| drop(black_box(buffer.clone()))))
            }),
        ],
    );
}

fn exchange(title: &str, payload: usize) {
    let records = (150_000_000 / (payload as u64 + 40)).min(1_000_000);
    compare_to_best_of(
        2,
        title,
        records,
        EXCHANGE_ROUNDS,
        vec![
            Contestant::new("the limit: hand-written, 16 blocks", || limit(records, payload, 0)),
            Contestant::new("the limit, its reader prefetching", || limit(records, payload, AHEAD)),
            Contestant::new("forebay: RecordWriter, RecordReader, 16 segments", || forebay(records, payload)),
            Contestant::new("std mpsc of boxed records", || boxed(records.min(100_000), payload, records)),
        ],
    );
}

fn large() {
    const RECORDS: u64 = 100;
    compare(
        "exchange: 1 MiB records",
        RECORDS,
        EXCHANGE_ROUNDS,
        vec![
            Contestant::new("memcpy on one core", || memcpy(RECORDS, 1 << 20)),
            Contestant::new("the limit: in on one core, out on the other", || limit_in_pieces(RECORDS, 1 << 20)),
            Contestant::new("forebay: RecordWriter, RecordReader, 16 segments", || forebay(RECORDS, 1 << 20)),
        ],
    );
}

fn channels() {
    const RECORDS: u64 = 2_000_000;
    compare(
        "exchange: 64 B records over channels",
        RECORDS,
        ROUNDS,
        vec![
            Contestant::new("forebay: 16 channels in turn", || round_robin(RECORDS, 64, 16)),
            Contestant::new("forebay: 1,000 channels in turn", || round_robin(RECORDS, 64, 1_000)),
        ],
    );
}

fn idle() {
    const RECORDS: u64 = 2_000_000;
    compare(
        "exchange: 64 B records beside idle channels",
        RECORDS,
        EXCHANGE_ROUNDS,
        vec![
            Contestant::new("forebay: 10 channels", || beside_idle(RECORDS, 64, 0)),
            Contestant::new("forebay: 10 channels beside 10,000 idle ones", || beside_idle(RECORDS, 64, 10_000)),
        ],
    );
}
