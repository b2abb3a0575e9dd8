//! Nothing on the data path allocates once it is warm (M2): a counting allocator says so.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use forebay::{
    gate::RecordReader,
    partition::{Broadcast, ChannelSelector, HashByKey, RecordWriter, RoundRobin},
    pool::NetworkBufferPool,
    transport::in_process,
};

struct Counting;

thread_local! {
    /// Allocations of this thread. Not of the process: the test harness has a thread of its own, which allocates when it
    /// pleases.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations that `work` makes on the calling thread.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// One thread plays writer and readers in turn, so that what is counted does not depend on how threads are scheduled.
fn exchange(selector: impl ChannelSelector<[u8]>) {
    const CONSUMERS: usize = 3;
    let pool = NetworkBufferPool::builder().segments(16).segment_size(4096).build().unwrap();
    let local = pool.local_pool("writer").required(16).build().unwrap();
    let (mut partitions, gates) = in_process(vec![local], CONSUMERS);
    let mut writer = RecordWriter::new(partitions.remove(0), selector);
    let mut readers: Vec<_> = gates.into_iter().map(|gate| RecordReader::new(gate, 1 << 20)).collect();
    let record: Vec<u8> = (0..10_000).map(|n| n as u8).collect();
    // Empty, small, cut by a segment's end, and spanning three segments.
    let lengths = [0, 1, 100, 2_000, 3_000, 10_000];
    let mut pass = |records: usize| {
        let (mut written, mut read) = (0, 0);
        for n in 0..records {
            let len = lengths[n % lengths.len()];
            writer.emit(&record[n % 256..][..len.min(record.len() - n % 256)]).unwrap();
            written += len.min(record.len() - n % 256);
            writer.flush();
            for reader in &mut readers {
                while let Some(record) = reader.try_next().unwrap() {
                    read += record.bytes().len();
                }
            }
        }
        (written, read)
    };
    let (written, read) = pass(600);
    assert!(read >= written && read > 0, "the warm-up went through");
    let count = allocations(|| {
        pass(3_000);
    });
    assert_eq!(count, 0, "allocations for 3,000 records");
}

#[test]
fn a_warm_exchange_allocates_nothing() {
    exchange(RoundRobin::default());
    exchange(HashByKey::new(|record: &[u8]| record.get(..1).unwrap_or_default()));
    exchange(Broadcast);

    let pool = NetworkBufferPool::builder().segments(8).segment_size(4096).build().unwrap();
    let mut local = pool.local_pool("task").required(4).build().unwrap();
    let mut held = Vec::with_capacity(8);
    let mut rounds = |rounds| {
        for _ in 0..rounds {
            held.extend(std::iter::from_fn(|| local.try_request().ok())); // own segments and borrowed ones
            let shared: forebay::buffer::Buffer = held.pop().unwrap().into();
            drop(shared.slice(..10));
            local.recycle(shared);
            held.clear();
        }
    };
    rounds(300); // warm: after some hundred returns the pool has made its lanes
    let count = allocations(|| rounds(1_000));
    assert_eq!(count, 0, "allocations for 1,000 rounds of the pool");
}
