//! An idle channel is free (R2): no segment, and few bytes. A counting allocator says how many.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use forebay::{
    gate::{InputGate, RecordReader},
    partition::{RecordWriter, ResultPartition, RoundRobin},
    pool::NetworkBufferPool,
    transport::in_process,
};

struct Counting;

thread_local! {
    /// Bytes that this thread has allocated and not freed.
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.set(BYTES.get() + layout.size() as isize);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.set(BYTES.get() - layout.size() as isize);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const WRITERS: usize = 100;

fn join(readers: usize) -> (NetworkBufferPool, Vec<ResultPartition>, Vec<InputGate>) {
    let pool = NetworkBufferPool::builder().segments((WRITERS * 100) as u32).segment_size(4096).build().unwrap();
    let locals = (0..WRITERS).map(|_| pool.local_pool("writer").required(100).build().unwrap()).collect();
    let (partitions, gates) = in_process(locals, readers);
    (pool, partitions, gates)
}

/// Bytes that each channel takes, from what fifty readers more take.
fn bytes_each<T>(make: impl Fn(usize) -> T) -> f64 {
    let of = |readers| {
        let before = BYTES.get();
        let made = make(readers);
        let bytes = BYTES.get() - before;
        drop(made);
        bytes
    };
    (of(100) - of(50)) as f64 / (50 * WRITERS) as f64
}

#[test]
fn an_idle_channel_takes_at_most_256_bytes() {
    let gates = bytes_each(join);
    let records = bytes_each(|readers| {
        let (pool, partitions, gates) = join(readers);
        let writers: Vec<_> = partitions.into_iter().map(|p| RecordWriter::new(p, RoundRobin::default())).collect();
        let readers: Vec<_> = gates.into_iter().map(|gate| RecordReader::new(gate, 1024)).collect();
        (pool, writers, readers)
    });
    println!("a channel with both its ends: {gates:.0} bytes; with the reader of its records: {records:.0}");
    assert!(gates <= 256.0, "{gates} bytes");
    assert!(records <= 256.0, "{records} bytes with the reader of its records");
}

#[test]
fn a_channel_that_is_idle_again_keeps_two_blocks_and_no_segment() {
    const READERS: usize = 50;
    let (pool, partitions, mut gates) = join(READERS);
    let mut writers: Vec<_> = partitions.into_iter().map(|p| RecordWriter::new(p, RoundRobin::default())).collect();
    let before = BYTES.get();
    for _ in 0..6 {
        for writer in &mut writers {
            (0..READERS).for_each(|n| writer.emit(&(n as u64)).unwrap());
            writer.flush_and_release();
        }
        for gate in &mut gates {
            while gate.try_next().unwrap().is_some() {}
        }
    }
    let more = (BYTES.get() - before) as f64 / (WRITERS * READERS) as f64;
    println!("a channel that was used keeps {more:.0} bytes more");
    assert!(more <= 288.0, "{more} bytes: a block of the queue, and a spare one");

    // Every guaranteed segment is free again: each writer can take all of its own at once.
    let page = vec![0_u8; 4092];
    for writer in &mut writers {
        (0..100).for_each(|_| writer.try_emit(&page).unwrap());
    }
    drop((writers, gates));
    assert_eq!(pool.in_use(), 0);
}
