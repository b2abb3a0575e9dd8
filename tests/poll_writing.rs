//! Writing without blocking: by attempts and by wakers; a record is accepted whole or not at all.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
};

use forebay::{
    CheckpointBarrier,
    gate::{InputGate, RecordReader},
    partition::{
        Broadcast, ChannelSelector, Forward, RecordWriter, ResultPartition, RoundRobin, TryEmitError, WriteError,
    },
    pool::NetworkBufferPool,
    transport::in_process,
};
use proptest::prelude::*;

const SEGMENT: usize = 4096;

fn join(consumers: usize, segments: u32) -> (NetworkBufferPool, ResultPartition, Vec<InputGate>) {
    let pool = NetworkBufferPool::builder().segments(segments).segment_size(SEGMENT).build().unwrap();
    let local = pool.local_pool("writer").required(segments).build().unwrap();
    let (mut partitions, gates) = in_process(vec![local], consumers);
    (pool, partitions.remove(0), gates)
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Runs a future on this thread: as small as an executor gets.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker: Waker = Arc::new(Unpark(thread::current())).into();
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

#[test]
fn a_refused_record_is_not_written_at_all() {
    let (_pool, partition, mut gates) = join(1, 1);
    let mut writer = RecordWriter::new(partition, Forward);
    assert_eq!(writer.try_emit(&[1_u8; SEGMENT - 4][..]), Ok(()));
    let Err(TryEmitError::Full(_)) = writer.try_emit("refused") else { panic!() };
    let Err(TryEmitError::Full(_)) = writer.try_emit(&vec![2_u8; 3 * SEGMENT]) else { panic!() };
    let mut reader = RecordReader::new(gates.remove(0), 1 << 20);
    assert_eq!(reader.next().unwrap().unwrap().bytes().len(), SEGMENT - 4);
    assert!(reader.try_next().unwrap().is_none());
    assert_eq!(writer.try_emit("taken"), Ok(()));
    assert_eq!(writer.records(), 2);
    writer.close();
    assert_eq!(reader.next().unwrap().unwrap().bytes(), b"taken");
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn a_record_that_spans_is_accepted_with_its_first_segment() {
    let (pool, partition, mut gates) = join(1, 2);
    let mut writer = RecordWriter::new(partition, Forward);
    let mut reader = RecordReader::new(gates.remove(0), 1 << 20);
    let big: Vec<u8> = (0..5 * SEGMENT).map(|n| n as u8).collect();
    assert_eq!(writer.try_emit(&big), Ok(()));
    let Err(TryEmitError::Full(_)) = writer.try_emit("not before the rest of it") else { panic!() };
    let count = Arc::new(Count::default());
    let waker = count.clone().into();
    let mut context = Context::from_waker(&waker);
    assert!(writer.poll_ready(&mut context).is_pending());
    let mut rounds = 0;
    while writer.poll_ready(&mut context).is_pending() {
        let woken = count.0.load(Ordering::Relaxed);
        assert!(reader.try_next().unwrap().is_none(), "takes what is there");
        assert!(count.0.load(Ordering::Relaxed) > woken, "its return wakes the writer");
        rounds += 1;
    }
    assert!(rounds >= 2);
    writer.close();
    assert_eq!(reader.next().unwrap().unwrap().bytes(), big);
    assert!(reader.next().unwrap().is_none());
    drop(reader);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_waits_for_a_segment_is_left_alone_by_what_is_written_to_others() {
    let (_pool, partition, mut gates) = join(2, 3);
    let by_number = |&(to, _): &(u8, &[u8]), _: usize| usize::from(to);
    let mut writer = RecordWriter::new(partition, by_number);
    let [mut first, mut second] = [gates.remove(0), gates.remove(0)].map(|gate| RecordReader::new(gate, 1 << 20));
    let short: Vec<u8> = (0..900_u32).map(|n| n as u8).collect();
    for _ in 0..6 {
        writer.try_emit(&(1, &short[..])).unwrap(); // a segment and a part of the next, by the stage
    }
    for _ in 0..4 {
        assert_eq!(second.try_next().unwrap().unwrap().deserialize::<(u8, &[u8])>(), Ok((1, &short[..])));
    }
    assert!(second.try_next().unwrap().is_none());
    let long: Vec<u8> = (0..3 * SEGMENT as u32).map(|n| (n % 251) as u8).collect();
    writer.try_emit(&(0, &long[..])).unwrap(); // two segments of it, and the rest waits
    for _ in 0..2 {
        writer.try_emit(&(1, &short[..])).unwrap(); // bytes in two places, so put together before they are staged
    }
    assert!(first.try_next().unwrap().is_none(), "not all of it");
    writer.try_emit(&(0, &short[..])).unwrap();
    writer.close();
    assert_eq!(first.next().unwrap().unwrap().deserialize::<(u8, &[u8])>(), Ok((0, &long[..])));
    assert_eq!(first.next().unwrap().unwrap().deserialize::<(u8, &[u8])>(), Ok((0, &short[..])));
    for _ in 0..4 {
        assert_eq!(second.next().unwrap().unwrap().deserialize::<(u8, &[u8])>(), Ok((1, &short[..])));
    }
    assert!(first.next().unwrap().is_none() && second.next().unwrap().is_none());
}

#[test]
fn a_writer_dropped_in_the_middle_of_a_record_has_failed() {
    let (_pool, partition, mut gates) = join(1, 1);
    let mut writer = RecordWriter::new(partition, Forward);
    assert_eq!(writer.try_emit(&vec![0_u8; 2 * SEGMENT]), Ok(()));
    drop(writer);
    assert!(RecordReader::new(gates.remove(0), 1 << 20).next().is_err());
}

#[test]
fn a_future_dropped_before_it_is_ready_has_written_nothing() {
    let (_pool, partition, mut gates) = join(2, 2);
    let mut writer = RecordWriter::new(partition, RoundRobin::default());
    let waker = Waker::noop();
    let mut context = Context::from_waker(waker);
    let page = [7; SEGMENT - 4];
    for _ in 0..2 {
        assert_eq!(pin!(writer.emit_async(&page[..])).poll(&mut context), Poll::Ready(Ok(())));
    }
    {
        let mut dropped = pin!(writer.emit_async("dropped"));
        assert!(dropped.as_mut().poll(&mut context).is_pending());
        assert!(dropped.as_mut().poll(&mut context).is_pending());
    }
    assert_eq!(writer.records(), 2);
    let mut readers: Vec<_> = gates.drain(..).map(|gate| RecordReader::new(gate, SEGMENT)).collect();
    for reader in &mut readers {
        assert_eq!(reader.next().unwrap().unwrap().bytes(), page);
        assert!(reader.try_next().unwrap().is_none());
    }
    block_on(writer.emit_async("the selector was asked once for the dropped one, so this goes to the second")).unwrap();
    writer.close();
    assert!(readers[0].next().unwrap().is_none());
    assert!(readers[1].next().unwrap().is_some());
}

#[test]
fn a_reader_that_goes_away_wakes_the_waiting_writer() {
    let (pool, partition, gates) = join(1, 1);
    let mut writer = RecordWriter::new(partition, Forward);
    writer.try_emit(&[0_u8; SEGMENT - 4][..]).unwrap();
    let count = Arc::new(Count::default());
    let waker = count.clone().into();
    let mut context = Context::from_waker(&waker);
    let mut emit = writer.emit_async(&[1_u8; SEGMENT][..]);
    assert!(pin!(&mut emit).poll(&mut context).is_pending());
    drop(gates);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(
        pin!(&mut emit).poll(&mut context),
        Poll::Ready(Err(WriteError::Released { subpartition: 0 })),
        "found out when its segment is full"
    );
    drop(writer);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn an_event_waits_for_the_rest_of_the_record_before_it() {
    let (_pool, partition, mut gates) = join(1, 1);
    let mut writer = RecordWriter::new(partition, Forward);
    writer.try_emit(&vec![3_u8; 3 * SEGMENT]).unwrap();
    let gate = gates.remove(0);
    let reading = thread::spawn(move || {
        let mut reader = RecordReader::new(gate, 1 << 20);
        assert_eq!(reader.next().unwrap().unwrap().bytes().len(), 3 * SEGMENT);
        assert!(matches!(
            reader.next_or_event().unwrap(),
            Some(forebay::gate::RecordOrEvent::Event { channel: 0, event: forebay::Event::CheckpointBarrier(_) })
        ));
    });
    writer.broadcast_event(CheckpointBarrier::at_least_once(1).into()).unwrap();
    reading.join().unwrap();
}

fn write_and_read(
    records: &[Vec<u8>],
    consumers: usize,
    segments: u32,
    selector: impl ChannelSelector<[u8]> + Send,
) -> Vec<Vec<Vec<u8>>> {
    let (pool, partition, gates) = join(consumers, segments);
    let read = thread::scope(|scope| {
        let readers: Vec<_> = gates
            .into_iter()
            .map(|gate| {
                scope.spawn(move || {
                    let mut reader = RecordReader::new(gate, 1 << 20);
                    let mut records = Vec::new();
                    block_on(async {
                        loop {
                            let record = poll_fn(|context| {
                                reader
                                    .poll_next(context)
                                    .map(|found| found.unwrap().map(|record| record.bytes().to_vec()))
                            });
                            match record.await {
                                Some(record) => records.push(record),
                                None => return,
                            }
                        }
                    });
                    records
                })
            })
            .collect();
        let mut writer = RecordWriter::new(partition, selector);
        block_on(async {
            for record in records {
                writer.emit_async(&record[..]).await.unwrap();
            }
            poll_fn(|context| writer.poll_close(context)).await.unwrap();
        });
        drop(writer);
        readers.into_iter().map(|reader| reader.join().unwrap()).collect()
    });
    assert_eq!(pool.in_use(), 0);
    read
}

/// Of one segment or several. A byte is no choice of its own: thousands of those take longer than all the rest.
fn record() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![0_usize..64, 3_000..if cfg!(miri) { 9_000_usize } else { 20_000 }];
    (len, any::<u8>()).prop_map(|(len, first)| (0..len).map(|n| first.wrapping_add(n as u8)).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

    #[test]
    fn whatever_is_written_without_blocking_is_read(
        records in prop::collection::vec(record(), 0..if cfg!(miri) { 3 } else { 40 }),
        consumers in 1_usize..4,
        more in 0_u32..3,
    ) {
        let read = write_and_read(&records, consumers, consumers as u32 + more, RoundRobin::default());
        for (consumer, read) in read.iter().enumerate() {
            let expected: Vec<_> = records.iter().skip(consumer).step_by(consumers).cloned().collect();
            prop_assert_eq!(read, &expected);
        }
        for read in write_and_read(&records, consumers, 1, Broadcast) {
            prop_assert_eq!(&read, &records);
        }
    }
}
