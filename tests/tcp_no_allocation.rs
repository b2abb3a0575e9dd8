//! Over TCP too, nothing on the data path allocates once it is warm (M2): a counting allocator says so.
#![cfg(feature = "net")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    future::poll_fn,
};

use forebay::{
    gate::RecordReader,
    partition::{RecordWriter, RoundRobin},
    pool::NetworkBufferPool,
    transport::tcp::{Client, GateOptions, RemotePartition, Server},
    wire::ResultPartitionId,
};

struct Counting;

thread_local! {
    /// Allocations of this thread, which plays all parts.
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

const CHANNELS: u32 = 3;
const SEGMENT: usize = 4096;

/// Rounds that are counted.
const ROUNDS: usize = 200;
/// Rounds before them: lanes are opened once some hundred segments have come home.
const WARM: usize = 600;
/// Of these, rounds of so much that each side has to wait: what a wait takes is kept, too.
const FULL: usize = 10;

/// Allocations for [`ROUNDS`] of `records` records of `len` bytes each, all of which are written before one is read.
/// Writer, reader and both ends of the connection are on one thread, so that nothing depends on how threads are
/// scheduled.
fn allocations(options: &GateOptions, records: usize, len: usize) -> u64 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pool = NetworkBufferPool::builder().segments(256).segment_size(SEGMENT).build().unwrap();
        let server = Server::builder().runtime(runtime.handle().clone()).start("127.0.0.1:0").unwrap();
        let client = Client::builder().runtime(runtime.handle().clone()).start().unwrap();
        let producer = pool.local_pool("producer").required(64).build().unwrap();
        let id = ResultPartitionId::from_bytes([1; 60]);
        let (partition, _served) = server.serve(id, producer, CHANNELS as usize).unwrap();
        let address = server.local_addr().to_string();
        let remotes: Vec<_> = (0..CHANNELS).map(|n| RemotePartition::new(address.clone(), id, n)).collect();
        let mut writer = RecordWriter::new(partition, RoundRobin::default());
        let mut reader = RecordReader::new(client.gate(&pool, options, &remotes).unwrap(), 1 << 20);
        let record = vec![7_u8; len];
        let mut warm = 0;
        for round in 0..WARM + ROUNDS {
            if round == WARM {
                warm = ALLOCATIONS.get();
            }
            let records = if round < FULL { 40 * SEGMENT / (4 + len) } else { records };
            for _ in 0..records {
                writer.emit_async(&record[..]).await.unwrap();
            }
            writer.flush();
            for _ in 0..records {
                let read = poll_fn(|context| reader.poll_next(context).map_ok(|record| record.unwrap().bytes().len()));
                assert_eq!(read.await.unwrap(), len);
            }
        }
        ALLOCATIONS.get() - warm
    })
}

#[test]
fn a_warm_connection_allocates_nothing() {
    // Flushed one by one, several to a segment, filling one, and spanning several; with credit at once, and by
    // announcing.
    for exclusive in [2, 0] {
        let options = GateOptions::default().exclusive(exclusive);
        for (records, len) in [(1, 8), (30, 100), (3, SEGMENT - 4), (2, 3 * SEGMENT)] {
            let count = allocations(&options, records, len);
            assert_eq!(count, 0, "for rounds of {records} records of {len} bytes, {exclusive} exclusive segments");
        }
    }
}
