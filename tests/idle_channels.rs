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
fn a_channel_that_is_idle_again_takes_two_blocks_more_and_holds_no_segment() {
    let idle = bytes_each(join);
    let used = bytes_each(|readers| {
        let (pool, partitions, gates) = join(readers);
        let writers: Vec<_> = partitions
            .into_iter()
            .map(|partition| {
                let mut writer = RecordWriter::new(partition, RoundRobin::default());
                for _ in 0..10 {
                    (0..readers).for_each(|n| writer.emit(&(n as u64)).unwrap());
                    writer.flush_and_release();
                }
                writer
            })
            .collect();
        let mut readers: Vec<_> = gates;
        for gate in &mut readers {
            while gate.try_next().unwrap().is_some() {}
        }
        assert_eq!(writers.iter().map(|writer| writer.partition().backlog(0)).sum::<usize>(), 0);
        (pool, writers, readers)
    });
    println!("idle: {idle:.0} bytes, and {used:.0} once it was used");
    assert!(used <= idle + 2.0 * 112.0 + 8.0, "{used} bytes");

    let (pool, partitions, mut gates) = join(1);
    let mut writers: Vec<_> = partitions.into_iter().map(|p| RecordWriter::new(p, RoundRobin::default())).collect();
    writers.iter_mut().for_each(|writer| writer.emit("a record").unwrap());
    writers.iter_mut().for_each(RecordWriter::flush_and_release);
    while gates[0].try_next().unwrap().is_some() {}
    drop(writers.drain(1..)); // their pools keep what is guaranteed, free
    let held = pool.usage();
    drop((writers, gates));
    assert!(pool.in_use() == 0, "{held:?}");
}
