//! Nothing on the data path allocates once it is warm (M2): a counting allocator says so.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    task::{Context, Waker},
};

use forebay::{
    gate::{RecordReader, StreamItem, StreamReader},
    partition::{
        Broadcast, ChannelSelector, Forward, Global, HashByCode, HashByKey, LeastLoaded, Random, RecordWriter, Rescale,
        RoundRobin, StreamWriter,
    },
    pool::NetworkBufferPool,
    record::{LatencyMarker, RecordAttributes, StringValue, Watermark, WatermarkStatus},
    transport::in_process,
};

struct Counting;

thread_local! {
    /// Allocations of this thread. Not of the process: the test harness has a thread of its own, which allocates when
    /// it pleases.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Bytes of them.
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        BYTES.set(BYTES.get() + layout.size() as u64);
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

const CONSUMERS: usize = 3;

/// One thread plays writer and readers in turn, so that what is counted does not depend on how threads are scheduled.
fn exchange<S: ChannelSelector<[u8]>>(selector: S) {
    let pool = NetworkBufferPool::builder().segments(16).segment_size(4096).build().unwrap();
    let local = pool.local_pool("writer").required(16).build().unwrap();
    let (mut partitions, gates) = in_process(vec![local], CONSUMERS);
    let mut writer = RecordWriter::new(partitions.remove(0), selector);
    let mut readers: Vec<_> = gates.into_iter().map(|gate| RecordReader::new(gate, 1 << 20)).collect();
    let record: Vec<u8> = (0..10_000).map(|n| n as u8).collect();
    // Empty, small, cut by a segment's end, and spanning three segments; each is read whole and in pieces.
    let lengths = [0, 1, 100, 2_000, 3_000, 10_000, 9_000];
    let mut pass = |records: usize| {
        let (mut written, mut read) = (0, 0);
        for n in 0..records {
            let len = lengths[n % lengths.len()];
            writer.emit(&record[n % 256..][..len.min(record.len() - n % 256)]).unwrap();
            written += len.min(record.len() - n % 256);
            writer.flush();
            for reader in &mut readers {
                if n % 2 == 0 {
                    while let Some(record) = reader.try_next().unwrap() {
                        read += record.bytes().len();
                    }
                } else {
                    while let Some(piece) = reader.try_next_piece().unwrap() {
                        read += piece.bytes().len();
                    }
                }
            }
        }
        (written, read)
    };
    let (written, read) = pass(2_800);
    assert!(read >= written && read > 0, "the warm-up went through");
    let count = allocations(|| {
        pass(1_400);
    });
    assert_eq!(count, 0, "allocations for 1,400 records, {}", std::any::type_name::<S>());
}

/// As [`exchange`], of stream elements from two writers: what is between the records goes to all, and is merged.
fn stream<'a, S: ChannelSelector<(u64, StringValue<'a>)> + Clone>(selector: &S, text: &'a str) {
    let pool = NetworkBufferPool::builder().segments(32).segment_size(4096).build().unwrap();
    let locals = (0..2).map(|_| pool.local_pool("writer").required(16).build().unwrap()).collect();
    let (partitions, gates) = in_process(locals, CONSUMERS);
    let mut writers: Vec<_> = partitions.into_iter().map(|p| StreamWriter::new(p, selector.clone())).collect();
    let mut readers: Vec<_> =
        gates.into_iter().map(|gate| StreamReader::new(RecordReader::new(gate, 1 << 20))).collect();
    // Each channel gets its stage, which it has from the first 2 KiB without a flush on: where a selector begins decides
    // when, else.
    for writer in &mut writers {
        for _ in 0..400 {
            writer.emit_watermark_status(WatermarkStatus::Idle).unwrap();
            writer.emit_watermark_status(WatermarkStatus::Active).unwrap();
        }
        writer.flush();
        readers.iter_mut().for_each(|reader| while reader.try_next().unwrap().is_some() {});
    }
    let lengths = [0, 1, 100, 2_000, 3_000, 10_000]; // as above
    let mut timestamp = 0;
    let mut pass = |records: usize| {
        let (mut sum, mut watermarks) = (0, 0);
        for n in 0..records {
            timestamp += 1;
            let writer = &mut writers[n % 2];
            let text = &text[..lengths[n % lengths.len()]];
            writer.emit_at(timestamp, &(1, StringValue::from(text))).unwrap();
            writer.emit_watermark(Watermark::new(timestamp)).unwrap();
            if n % 10 < 2 {
                let marker = LatencyMarker { marked_time: timestamp, operator_id: [7; 16], subtask_index: 0 };
                writer.emit_latency_marker(&marker).unwrap();
                writer.emit_record_attributes(RecordAttributes { is_backlog: n % 20 < 2 }).unwrap();
                writer.emit_watermark_status(WatermarkStatus::Idle).unwrap();
                writer.emit_watermark_status(WatermarkStatus::Active).unwrap();
            }
            writer.flush();
            for reader in &mut readers {
                while let Some(item) = reader.try_next().unwrap() {
                    match item {
                        StreamItem::Record { record, .. } => {
                            sum += record.deserialize::<(u64, StringValue)>().unwrap().0;
                        }
                        StreamItem::Watermark(_) => watermarks += 1,
                        _ => {}
                    }
                }
            }
        }
        (sum, watermarks)
    };
    let (sum, watermarks) = pass(2_400);
    assert!(sum >= 600 && watermarks >= 600, "the warm-up went through: {sum}, {watermarks}");
    let count = allocations(|| {
        pass(1_200);
    });
    assert_eq!(count, 0, "allocations for 1,200 records, {}", std::any::type_name::<S>());
}

#[test]
fn a_warm_exchange_allocates_nothing_whatever_selects() {
    exchange(Forward);
    exchange(Global);
    exchange(RoundRobin::default());
    exchange(Rescale::new(0, 2));
    exchange(Random::seeded(7));
    exchange(Broadcast);
    exchange(HashByKey::new(|record: &[u8]| record.get(..1).unwrap_or_default()));
    exchange(HashByCode::new(|record: &[u8]| record.len() as i32));
    exchange(LeastLoaded::default());
    exchange(|record: &[u8], channels: usize| record.len() % channels);
}

#[test]
fn a_warm_stream_of_elements_allocates_nothing() {
    let text: String = "stream of elements, ".repeat(500);
    stream(&RoundRobin::default(), &text);
    stream(&Random::seeded(7), &text);
    stream(&Broadcast, &text);
    stream(&HashByKey::new(|value: &(u64, StringValue)| value.1.as_bytes()), &text);
    stream(&LeastLoaded::default(), &text);
}

#[test]
fn a_warm_pool_allocates_nothing() {
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

/// Batches, borrowing, channels, overdraft, waiting with a waker, requests without a local pool, pressure.
#[test]
fn a_warm_pool_allocates_nothing_whatever_is_asked_of_it() {
    let pool = NetworkBufferPool::builder().segments(8).segment_size(4096).build().unwrap();
    let mut local = pool.local_pool("task").required(2).maximum(4).overdraft(1).channels(2).build().unwrap();
    let mut other = pool.local_pool("other").build().unwrap();
    let mut held = Vec::with_capacity(16);
    let mut round = || {
        let mut context = Context::from_waker(Waker::noop());
        local.try_request_many(4, &mut held).unwrap();
        held.push(local.try_request_overdraft().unwrap());
        other.try_request_many(3, &mut held).unwrap();
        assert!(local.poll_request(&mut context).is_pending());
        assert!(other.poll_request(&mut context).is_pending());
        assert!(other.poll_request_many(&mut context, 2, &mut held).is_pending());
        assert!(pool.try_request().is_err());
        held.clear(); // wakes both
        held.push(local.try_request_for(1).unwrap());
        assert!(local.poll_available(&mut context).is_ready());
        pool.try_request_many(2, &mut held).unwrap();
        assert!(other.poll_request(&mut context).is_ready());
        held.drain(..).for_each(|buffer| local.recycle(buffer));
    };
    (0..300).for_each(|_| round()); // as above
    let while_warm = allocations(|| (0..100).for_each(|_| round()));
    assert_eq!(while_warm, 0);
}

/// What it costs to make, resize and drop a local pool does not depend on how many segments there are.
#[test]
fn a_local_pool_costs_the_same_however_many_segments_there_are() {
    let cost = |segments: u32| {
        let pool = NetworkBufferPool::builder().segments(segments).segment_size(4096).build().unwrap();
        let _another = pool.local_pool("another").required(1).build().unwrap();
        let bytes = BYTES.get();
        let mut local = pool.local_pool("task").required(2).maximum(4).build().unwrap();
        local.resize(4, 8).unwrap();
        let held = [local.try_request().unwrap(), local.try_request().unwrap()];
        local.resize(1, 8).unwrap();
        drop((local, held));
        BYTES.get() - bytes
    };
    assert_eq!(cost(10), cost(if cfg!(miri) { 100 } else { 100_000 }));
}
