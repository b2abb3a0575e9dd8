//! How the pools compare, in one run: `make bench FILTER=pools`.
//!
//! Contestants take turns, round by round, so that what else the machine does hits all of them; the figure is the median
//! of the ratios of neighbouring rounds, with quartiles. Smaller is faster. An argument keeps only the tables whose title
//! contains it.
//!
//! A segment is 32 KiB; nobody touches its bytes, so what is measured is the taking and giving back. The bare queue and
//! stack carry ids, and leave out what makes an id a buffer: counting, who wrote what, and where it goes.
//!
//! # What is not from crates.io
//!
//! *DPDK's mempool*, current: of a source tree of <https://dpdk.org>,
//!
//! ```sh
//! meson setup build -Dtests=true -Denable_drivers=mempool/ring && ninja -C build
//! echo mempool_perf_autotest | build/app/dpdk-test --no-huge --no-pci -m 1024 -l 0,1
//! ```
//!
//! or Debian's `apt install dpdk-dev libdpdk-dev` (22.11) and `dpdk-test` of the package `dpdk`. Of its output
//! `n_get_bulk=1 n_put_bulk=1 n_keep=1` is *one in flight*, `n_keep=64` is *64 in flight*, with `n_get_bulk=64` for the bulk
//! call; 10⁹ ÷ `rate_persec` is nanoseconds, `cores=2` is *a pool for each thread*, and `cache=0` is the bare ring.
//!
//! *Flink's `LocalBufferPool`*: a `main` with `flink-runtime` of Maven Central on its class path, that makes a
//! `NetworkBufferPool(1024, 32768)`, of it `createBufferPool(64, 64)`, and loops over `requestBuffer()` and
//! `Buffer.recycleBuffer()`, 10⁷ times for the warm-up and as often for the figure; for two threads a pool each; for the
//! hand-off a ring to a thread that recycles.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "the peers' interfaces")]

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
    for (title, table) in tables::ALL {
        if let Some(title) = wanted(title) {
            table(&title);
        }
    }
    if let Some(title) = wanted(wake::TITLE) {
        wake::table(&title);
    }
}
