//! How the exchange compares, in one run: `cargo bench --bench ratios`, or `make bench FILTER=ratios`. The pools have a bench
//! of their own, in `benches/pools/`.
//!
//! Contestants take turns, round by round, so that what else the machine does hits all of them; the figure is the median
//! of the ratios of neighbouring rounds, with quartiles. Smaller is faster. An argument keeps only the tables whose title
//! contains it.
//!
//! * *exchange*: one writer thread, one reader thread that adds up the first 8 bytes of each record. Peers: *the limit*, a
//!   hand-written program for just this (length-prefixed records into pooled blocks, blocks over a ring of one producer and
//!   one consumer, no other feature), and `std::sync::mpsc` with a boxed slice for each record.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::cast_precision_loss)]

#[path = "support/mod.rs"]
mod support;

use support::{
    Contestant, SEGMENT, compare_to_best_of,
    exchange::{AHEAD, boxed, forebay, limit},
    latency,
};

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
    if wanted("ping-pong") {
        latency::ping_pong();
    }
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
