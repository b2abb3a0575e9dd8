//! How the pools compare, in one run: `make bench FILTER=pools`.
//!
//! Contestants take turns, round by round, so that what else the machine does hits all of them; the figure is the
//! median of the ratios of neighbouring rounds, with quartiles. Smaller is faster. An argument keeps only the tables
//! whose title contains it.
//!
//! A segment is 32 KiB; nobody touches its bytes, so what is measured is the taking and giving back. The bare queue and
//! stack carry ids, and leave out what makes an id a buffer: counting, who wrote what, and where it goes.
//!
//! # What is not from crates.io
//!
//! Programs of their own take part that `FOREBAY_PEERS` names; each takes the name of a table and a number of
//! operations, and prints the nanoseconds that they took. Two are here, DPDK's mempool and Flink's `LocalBufferPool`,
//! and say at their head what they take and where it comes from:
//!
//! ```sh
//! FOREBAY_PEERS="peers/dpdk.sh peers/flink.sh" make bench FILTER=pool
//! ```
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "the peers' interfaces")]

mod peers;
mod rounds;
mod tables;
mod wake;

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted = |title: &str| {
        let wanted = filter.as_ref().is_none_or(|filter| filter == "pools" || title.contains(filter.as_str()));
        wanted.then(|| title.to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("forebay's pools and their peers, {cores} cores");
    rounds::pin(0); // and the other thread of a table to 1
    for (title, table) in tables::ALL {
        if let Some(title) = wanted(title) {
            table(&title);
        }
    }
    if let Some(title) = wanted(wake::TITLE) {
        wake::table(&title);
    }
}
