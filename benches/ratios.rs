//! How the exchange compares, in one run: `cargo bench --bench ratios`, or `make bench FILTER=ratios`. The pools have a
//! bench of their own, in `benches/pools/`.
//!
//! Contestants take turns, round by round, so that what else the machine does hits all of them; the figure is the
//! median of the ratios of neighbouring rounds, with quartiles. Smaller is faster. An argument keeps only the tables
//! whose title contains it.
//!
//! * *exchange*: one writer thread, one reader thread that adds up the first 8 bytes of each record. Peers: *the
//!   limit*, a hand-written program for just this (length-prefixed records into pooled blocks, blocks over a ring of
//!   one producer and one consumer, no other feature), once as it is, once with a reader that prefetches, and once with
//!   a writer that stores whole lines past the cache, of which the fastest counts; and `std::sync::mpsc` with a boxed
//!   slice for each record. Both sides wait by looking and yielding.
//! * *1 MiB records*: against copying on one core. In each row all of a record is copied into segments, and the reader
//!   looks at its first 8 bytes; but once it leaves the rest where it is, in the segments (`next_piece`), and once it
//!   copies the record together (`next`): then all of it passes between two cores, and is bound by the way between
//!   them, not by `memcpy`. The limit for each is a hand-written program that does the same.
//! * *channels*, *idle channels*: forebay against itself.
//! * *ping-pong*: the median round trip of one flushed record, against what the machine takes for a cache line and for
//!   a futex.
//!
//! # Beside Flink
//!
//! Flink runs in a JVM of its own. Where `FOREBAY_FLINK` is a shell command that runs it, the two take turns
//! (`make bench FILTER=Flink`): `payload=BYTES channels=NUMBER` is added to the command, and it prints records a second
//! as a field of JSON, `"value":NUMBER`. Each warms up before it counts: Flink as its command says, forebay by a round
//! that is discarded, for the first after a JVM has gone finds the memory and the cores as that left them. Each waits
//! as it does by itself; forebay's two threads have a core each, Flink's are where the system puts them.
//!
//! The counterpart of *exchange* is made of Flink's own classes, from outside (Flink 2.3, the jar `flink-dist` of the
//! Python package `apache-flink-libraries`):
//!
//! * a `NettyShuffleEnvironment` from `NettyShuffleServiceFactory` with an empty configuration, segments of 32 KiB;
//! * one thread with a `RecordWriter` (round-robin selector, timeout 100 ms) into a `PipelinedResultPartition` with a
//!   subpartition for each channel;
//! * one thread with a `MutableRecordReader` over a `SingleInputGate` of `LocalInputChannel`s, a
//!   `SpillingAdaptiveSpanningRecordDeserializer` for each;
//! * records of raw bytes, one bulk copy in and one out, the first 8 a running number; the rate is what the reader
//!   counts in a window of seconds, after a warm-up of some.
//!
//! `benches/network.rs` does the same over TCP, where `FOREBAY_FLINK_TCP` is the command: there two such environments
//! are in one JVM, joined by loopback, with `RemoteInputChannel`s and one connection.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::cast_precision_loss)]

#[path = "support/mod.rs"]
mod support;

use forebay::WaitStrategy;
use support::{
    Contestant, SEGMENT, compare, compare_to_best_of,
    exchange::{
        AHEAD, beside_idle, boxed, forebay, forebay_in_pieces, forebay_waiting, limit, limit_copied_out,
        limit_in_pieces, limit_past_cache, limit_straight, memcpy, round_robin,
    },
    flink, latency,
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
    if wanted("beside Flink") {
        let rows = [(8, 1), (64, 1), (1024, 1), (SEGMENT - 8, 1), (64, 1_000)];
        let records = |payload: usize| (3_000_000_000 / (payload as u64 + 100)).min(10_000_000);
        let ours = |payload, channels| {
            let records = records(payload);
            let took = match channels {
                1 => forebay_waiting(records, payload, WaitStrategy::default()),
                _ => round_robin(records, payload, channels),
            };
            records as f64 / took.as_secs_f64()
        };
        let limit = |payload, _| records(payload) as f64 / limit(records(payload), payload, AHEAD).as_secs_f64();
        flink::beside("beside Flink", "FOREBAY_FLINK", &rows, ours, limit);
    }
}

fn exchange(title: &str, payload: usize) {
    let records = (150_000_000 / (payload as u64 + 40)).min(1_000_000);
    let mut limits = vec![
        Contestant::new("the limit: hand-written, 16 blocks", || limit(records, payload, 0)),
        Contestant::new("the limit, its reader prefetching", || limit(records, payload, AHEAD)),
        Contestant::new("the same, its writer storing past the cache", || limit_past_cache(records, payload)),
    ];
    if payload >= 2 * 64 {
        // Of shorter ones no line is wholly of one.
        limits.push(Contestant::new("the same, lines of one record from where it lies", || {
            limit_straight(records, payload)
        }));
    }
    let limit_count = limits.len();
    let others = [
        Contestant::new("forebay: RecordWriter, RecordReader, 16 segments", || forebay(records, payload)),
        Contestant::new("std mpsc of boxed records", || boxed(records.min(100_000), payload, records)),
    ];
    let all = limits.into_iter().chain(others).collect();
    compare_to_best_of(limit_count, title, records, EXCHANGE_ROUNDS, all);
}

fn large() {
    const RECORDS: u64 = 100;
    compare(
        "exchange: 1 MiB records",
        RECORDS,
        EXCHANGE_ROUNDS,
        vec![
            Contestant::new("memcpy on one core", || memcpy(RECORDS, 1 << 20)),
            Contestant::new("the limit, records read where they lie", || limit_in_pieces(RECORDS, 1 << 20)),
            Contestant::new("forebay, records read where they lie", || forebay_in_pieces(RECORDS, 1 << 20)),
            Contestant::new("the limit, records copied together", || limit_copied_out(RECORDS, 1 << 20)),
            Contestant::new("forebay, records copied together", || forebay(RECORDS, 1 << 20)),
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
