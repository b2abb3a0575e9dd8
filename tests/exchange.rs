//! The exchange in one process: every record once, in order, byte for byte, or an error (R1).
#![allow(clippy::needless_pass_by_value)]

use std::{collections::BTreeMap, thread};

use forebay::{
    Event, StopMode,
    gate::{GateError, InputGate, ReadError, RecordReader},
    partition::{
        Broadcast, ChannelSelector, Forward, HashByKey, RecordWriter, ResultPartition, RoundRobin, WriteError,
    },
    pool::NetworkBufferPool,
    record::{RecordError, SerializeRecord},
    transport::in_process,
};
use proptest::prelude::*;

const SEGMENT: usize = 4096;

fn join(
    producers: usize,
    consumers: usize,
    segments: u32,
) -> (NetworkBufferPool, Vec<ResultPartition>, Vec<InputGate>) {
    let pool =
        NetworkBufferPool::builder().segments(segments * producers as u32).segment_size(SEGMENT).build().unwrap();
    let locals = (0..producers).map(|p| pool.local_pool(format!("p{p}")).required(segments).build().unwrap()).collect();
    let (partitions, gates) = in_process(locals, consumers);
    (pool, partitions, gates)
}

/// What each consumer read from each producer, in order.
type Received = Vec<BTreeMap<usize, Vec<Vec<u8>>>>;

fn run<S>(inputs: Vec<Vec<Vec<u8>>>, consumers: usize, segments: u32, selector: S) -> Received
where
    S: ChannelSelector<[u8]> + Clone + Send + 'static,
{
    let (pool, partitions, gates) = join(inputs.len(), consumers, segments);
    let readers: Vec<_> = gates
        .into_iter()
        .map(|gate| {
            thread::spawn(move || {
                let mut reader = RecordReader::new(gate, 1 << 20);
                let mut received: BTreeMap<usize, Vec<Vec<u8>>> = BTreeMap::new();
                while let Some(record) = reader.next().unwrap() {
                    received.entry(record.channel()).or_default().push(record.bytes().to_vec());
                }
                assert!(reader.is_ended());
                received
            })
        })
        .collect();
    let writers: Vec<_> = partitions
        .into_iter()
        .zip(inputs)
        .map(|(partition, input)| {
            let mut writer = RecordWriter::new(partition, selector.clone());
            thread::spawn(move || {
                input.iter().for_each(|record| writer.emit(&record[..]).unwrap());
                writer.close();
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let received = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
    assert_eq!((pool.in_use(), pool.usage().surplus), (0, i64::from(pool.segments())), "every segment is home");
    received
}

fn numbered(producer: usize, count: usize, len: impl Fn(usize) -> usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|n| {
            let mut record = format!("{producer}/{n}/").into_bytes();
            let more = len(n).saturating_sub(record.len());
            record.extend((0..more).map(|i| (i * 7 + n) as u8));
            record
        })
        .collect()
}

#[test]
fn round_robin_delivers_all_in_order_with_two_segments() {
    let count = if cfg!(miri) { 60 } else { 30_000 };
    let input = numbered(0, count, |n| n % 300);
    let received = run(vec![input.clone()], 2, 2, RoundRobin::default());
    for (consumer, received) in received.iter().enumerate() {
        let expected: Vec<_> = input.iter().skip(consumer).step_by(2).cloned().collect();
        assert_eq!(received[&0], expected);
    }
}

#[test]
fn records_span_segments_and_lengths_are_cut() {
    let count = if cfg!(miri) { 12 } else { 2_000 };
    // Around the size of a segment, and well over it; 2 * SEGMENT + 3 * 4 - 3 leaves a length cut behind its third
    // byte.
    let lengths =
        [0, SEGMENT - 7, 1, 3 * SEGMENT, SEGMENT - 4, SEGMENT - 5, SEGMENT, 100_000, 2 * SEGMENT - 7, SEGMENT];
    let input = numbered(0, count, |n| lengths[n % lengths.len()]);
    let received = run(vec![input.clone()], 1, 2, Forward);
    assert!(received[0][&0] == input);
}

#[test]
fn a_length_may_be_cut_anywhere_and_a_record_be_as_large_as_the_limit() {
    let limit = 3 * SEGMENT;
    // Each leaves so many bytes of its segment, from none to more than a length: the next length is cut there.
    for left in if cfg!(miri) { 2..4 } else { 0..7 } {
        for next in [0, 1, SEGMENT - 4, limit] {
            let first = 2 * SEGMENT - 4 - left; // spans, so that none of its segment is spared
            let input: Vec<Vec<u8>> = [first, next, 5].iter().map(|&len| vec![len as u8; len]).collect();
            let (_pool, mut partitions, mut gates) = join(1, 1, 8);
            let mut writer = RecordWriter::new(partitions.remove(0), Forward);
            input.iter().for_each(|record| writer.emit(record).unwrap());
            writer.close();
            let mut reader = RecordReader::new(gates.remove(0), limit);
            for record in &input {
                assert!(reader.next().unwrap().unwrap().bytes() == record, "{left} left, then {next}");
            }
            assert!(reader.next().unwrap().is_none());
        }
    }
}

#[test]
fn hash_keeps_a_key_together_and_the_order_of_each_producer() {
    let count = if cfg!(miri) { 40 } else { 5_000 };
    let inputs: Vec<_> = (0..3).map(|p| numbered(p, count, |n| 10 + n % 50)).collect();
    fn key(record: &[u8]) -> &[u8] {
        &record[record.len() - 1..]
    }
    let received = run(inputs.clone(), 4, 4, HashByKey::new(key));
    let mut consumer_of = BTreeMap::new();
    for (consumer, from) in received.iter().enumerate() {
        for record in from.values().flatten() {
            assert_eq!(*consumer_of.entry(key(record).to_vec()).or_insert(consumer), consumer, "one key, one consumer");
        }
    }
    for (producer, input) in inputs.iter().enumerate() {
        for (consumer, from) in received.iter().enumerate() {
            let expected: Vec<_> = input.iter().filter(|record| consumer_of[key(record)] == consumer).collect();
            assert_eq!(from.get(&producer).map_or(vec![], |records| records.iter().collect()), expected);
        }
    }
}

#[test]
fn broadcast_reaches_all_with_one_segment_in_circulation() {
    let count = if cfg!(miri) { 20 } else { 3_000 };
    let input = numbered(0, count, |n| [10, 500, 5_000][n % 3]);
    for received in run(vec![input.clone()], 3, 1, Broadcast) {
        assert!(received[&0] == input);
    }
}

#[test]
fn broadcast_records_keep_their_place_among_the_others() {
    let (_pool, mut partitions, gates) = join(1, 2, 8); // enough for all of it, as nobody reads meanwhile
    let mut writer = RecordWriter::new(partitions.remove(0), RoundRobin::default());
    for text in ["a", "b"] {
        writer.emit(text).unwrap();
    }
    writer.broadcast("both").unwrap();
    for text in ["c", "d"] {
        writer.emit(text).unwrap();
    }
    writer.close();
    let read: Vec<Vec<String>> = gates
        .into_iter()
        .map(|gate| {
            let mut reader = RecordReader::new(gate, 16);
            let mut texts = Vec::new();
            while let Some(record) = reader.next().unwrap() {
                texts.push(record.deserialize::<&str>().unwrap().to_owned());
            }
            texts
        })
        .collect();
    assert_eq!(read, [["a", "both", "c"], ["b", "both", "d"]]);
}

#[test]
fn a_value_without_bytes_of_its_own_may_span_too() {
    struct Repeated(u8, usize);
    impl SerializeRecord for Repeated {
        fn serialized_len(&self) -> usize {
            self.1
        }
        fn serialize_into(&self, dst: &mut [u8]) {
            dst.fill(self.0);
        }
    }
    let (_pool, mut partitions, mut gates) = join(1, 1, 8);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let sizes = [0, 4000, 3 * SEGMENT, 17];
    for (n, size) in sizes.into_iter().enumerate() {
        writer.emit(&Repeated(n as u8, size)).unwrap();
    }
    writer.close();
    let mut reader = RecordReader::new(gates.remove(0), 1 << 20);
    for (n, size) in sizes.into_iter().enumerate() {
        assert_eq!(reader.next().unwrap().unwrap().bytes(), vec![n as u8; size]);
    }
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn a_flush_shows_what_is_written_and_nothing_is_shown_before() {
    let (_pool, mut partitions, mut gates) = join(1, 1, 2);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0), 16);
    writer.emit("one").unwrap();
    assert!(reader.try_next().unwrap().is_none(), "not told yet");
    writer.flush();
    assert_eq!(reader.try_next().unwrap().unwrap().bytes(), b"one");
    writer.emit("two").unwrap();
    writer.flush();
    writer.flush();
    assert_eq!(reader.try_next().unwrap().unwrap().bytes(), b"two");
    assert!(reader.try_next().unwrap().is_none());
    writer.close();
    assert!(reader.try_next().unwrap().is_none());
    assert!(reader.is_ended());
}

#[test]
fn a_failed_producer_is_an_error_after_what_it_wrote() {
    let (pool, mut partitions, mut gates) = join(2, 1, 2);
    let mut failing = RecordWriter::new(partitions.remove(0), Forward);
    let mut other = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0), 16);
    failing.emit("before").unwrap();
    failing.fail("disk on fire");
    assert_eq!(reader.next().unwrap().unwrap().bytes(), b"before");
    let error = reader.next().unwrap_err();
    let ReadError::Gate(GateError::ProducerFailed { channel: 0, cause }) = &error else { panic!("{error}") };
    assert_eq!(cause.to_string(), "disk on fire");
    other.emit("still here").unwrap();
    other.close();
    assert_eq!(reader.next().unwrap().unwrap().bytes(), b"still here");
    assert!(reader.next().unwrap().is_none());
    drop(reader);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_writer_that_is_dropped_has_failed() {
    let (_pool, mut partitions, mut gates) = join(1, 1, 1);
    drop(partitions.remove(0));
    let error = RecordReader::new(gates.remove(0), 16).next().unwrap_err();
    assert_eq!(
        std::error::Error::source(&error).map(ToString::to_string).as_deref(),
        Some("the producer went away before it ended its partition")
    );
}

#[test]
fn a_reader_that_goes_away_is_an_error_for_its_writer_and_keeps_no_segment() {
    let (pool, mut partitions, mut gates) = join(1, 2, 4);
    let mut writer = RecordWriter::new(partitions.remove(0), RoundRobin::default());
    let mut stays = RecordReader::new(gates.remove(0), SEGMENT);
    let goes = gates.remove(0);
    let big = vec![1; SEGMENT - 4];
    writer.emit(&big).unwrap();
    writer.emit(&big).unwrap();
    drop(goes);
    writer.emit(&big).unwrap();
    assert_eq!(writer.emit(&big), Err(WriteError::Released { subpartition: 1 }));
    assert!(writer.emit(&big).is_ok(), "the other can be written to");
    assert_eq!(writer.emit(&big), Err(WriteError::Released { subpartition: 1 }));
    writer.close();
    for _ in 0..3 {
        assert_eq!(stays.next().unwrap().unwrap().bytes(), big);
    }
    assert!(stays.next().unwrap().is_none());
    drop(stays);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_writer_that_waits_for_a_reader_that_goes_away_is_woken() {
    let rounds = if cfg!(miri) { 3 } else { 300 };
    for _ in 0..rounds {
        let (pool, mut partitions, mut gates) = join(1, 1, 1);
        let mut writer = RecordWriter::new(partitions.remove(0), Forward);
        let waiting = thread::spawn(move || {
            let record = vec![1; SEGMENT];
            loop {
                if let Err(error) = writer.emit(&record) {
                    return error;
                }
            }
        });
        let mut gate = gates.remove(0);
        drop(gate.next().unwrap());
        drop(gate);
        assert_eq!(waiting.join().unwrap(), WriteError::Released { subpartition: 0 });
        assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn too_few_segments_are_an_error_not_a_deadlock() {
    let (_pool, mut partitions, _gates) = join(1, 4, 3);
    let mut writer = RecordWriter::new(partitions.remove(0), RoundRobin::default());
    let error = writer.emit("record").unwrap_err();
    assert_eq!(error.to_string(), "4 subpartitions need a local pool with as many required segments, but \"p0\" has 3");
}

#[test]
fn a_record_over_the_readers_limit_is_an_error() {
    let (_pool, mut partitions, mut gates) = join(1, 1, 4);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    writer.emit(&[0_u8; 100][..]).unwrap();
    writer.close();
    let mut reader = RecordReader::new(gates.remove(0), 99);
    let error = reader.next().unwrap_err();
    assert!(matches!(
        error,
        ReadError::Record { channel: 0, source: RecordError::TooLarge { offset: 0, len: 100, limit: 99 } }
    ));
}

#[test]
fn a_channel_that_can_not_be_read_does_not_hold_up_the_others() {
    let (pool, mut partitions, mut gates) = join(2, 1, 2);
    let mut bad = RecordWriter::new(partitions.remove(0), Forward);
    let mut good = RecordWriter::new(partitions.remove(0), Forward);
    bad.emit(&[0_u8; 100][..]).unwrap();
    bad.emit("lost").unwrap();
    bad.close();
    good.emit("ok").unwrap();
    good.close();
    let mut reader = RecordReader::new(gates.remove(0), 10);
    let (mut errors, mut records) = (0, Vec::new());
    loop {
        match reader.next() {
            Ok(Some(record)) => records.push(record.bytes().to_vec()),
            Ok(None) => break,
            Err(error) => {
                assert!(matches!(error, ReadError::Record { channel: 0, .. }), "{error}");
                errors += 1;
            }
        }
    }
    assert_eq!((errors, records), (1, vec![b"ok".to_vec()]));
    drop(reader);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_broadcast_reaches_whoever_is_still_there_whole() {
    let (_pool, mut partitions, mut gates) = join(1, 2, 8);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    drop(gates.remove(1));
    let big = vec![7; SEGMENT + 1000];
    let released = Err(WriteError::Released { subpartition: 1 });
    assert_eq!(writer.broadcast(&big), released, "it takes two segments, so the writer hears of it");
    assert_eq!(writer.broadcast("small"), released, "and says it each time");
    assert_eq!(writer.emit("to the first"), Ok(()));
    assert_eq!(writer.broadcast("again"), released);
    writer.close();
    let mut reader = RecordReader::new(gates.remove(0), 1 << 20);
    for expected in [&big[..], b"small", b"to the first", b"again"] {
        assert_eq!(reader.next().unwrap().unwrap().bytes(), expected);
    }
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn flushing_one_shows_what_was_broadcast() {
    let (_pool, mut partitions, mut gates) = join(1, 2, 2);
    let mut writer = RecordWriter::new(partitions.remove(0), Broadcast);
    writer.emit("to all").unwrap();
    writer.flush_one(1);
    let mut reader = RecordReader::new(gates.remove(1), 16);
    assert_eq!(reader.try_next().unwrap().unwrap().bytes(), b"to all");
}

#[test]
fn without_readers_there_is_no_subpartition_to_write_to() {
    let (_pool, mut partitions, _gates) = join(1, 0, 1);
    let mut writer = RecordWriter::new(partitions.remove(0), HashByKey::new(|key: &str| key.as_bytes()));
    assert_eq!(writer.emit("lost"), Err(WriteError::NoSuchSubpartition { chosen: 0, subpartitions: 0 }));
}

/// Records of a producer, and bytes in one; Miri is slow.
const MOST: usize = if cfg!(miri) { 3 } else { 40 };
const LONGEST: usize = if cfg!(miri) { 3_100 } else { 10_000 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 64 }))]

    #[test]
    fn whatever_is_written_is_read(
        inputs in prop::collection::vec(prop::collection::vec(
            prop_oneof![
                prop::collection::vec(any::<u8>(), 0..64),
                prop::collection::vec(any::<u8>(), 3_000..LONGEST),
            ], 0..MOST), 1..4),
        consumers in 1_usize..5,
        more in 0_u32..3,
    ) {
        let received = run(inputs.clone(), consumers, consumers as u32 + more, RoundRobin::default());
        for (consumer, received) in received.iter().enumerate() {
            for (producer, input) in inputs.iter().enumerate() {
                let expected: Vec<_> = input.iter().skip(consumer).step_by(consumers).cloned().collect();
                prop_assert_eq!(received.get(&producer).cloned().unwrap_or_default(), expected);
            }
        }
    }
}

#[test]
fn however_many_channels_are_flushed_often_each_is_read_at_once() {
    for producers in [1, 2, 4, 5, 9] {
        let (_pool, partitions, mut gates) = join(producers, 1, 2);
        let mut writers: Vec<_> =
            partitions.into_iter().map(|partition| RecordWriter::new(partition, Forward)).collect();
        let mut reader = RecordReader::new(gates.remove(0), 1 << 10);
        for round in 0..if cfg!(miri) { 8 } else { 200_usize } {
            // All, then ever fewer: those that are left out go on being watched, with nothing to find.
            let writing = producers - round % producers;
            for writer in &mut writers[..writing] {
                writer.emit(&(round as u64)).unwrap();
                writer.flush();
            }
            let mut from = vec![0; producers];
            while let Some(record) = reader.try_next().unwrap() {
                assert_eq!(record.bytes(), (round as u64).to_be_bytes());
                from[record.channel()] += 1;
            }
            assert!((0..producers).all(|channel| from[channel] == usize::from(channel < writing)), "{from:?}");
        }
    }
}

/// The short way to what is flushed one by one is left for whatever does not fit it, and taken again.
#[test]
fn records_that_are_waited_for_one_by_one_keep_their_order() {
    for producers in [1, 2, 3] {
        let (_pool, partitions, mut gates) = join(producers, 1, 8);
        let mut writers: Vec<_> =
            partitions.into_iter().map(|partition| RecordWriter::new(partition, Forward)).collect();
        let mut reader = RecordReader::new(gates.remove(0), 1 << 14);
        let record = |round: usize, len: usize| -> Vec<u8> { (0..len).map(|at| (round + at) as u8).collect() };
        for round in 0..if cfg!(miri) { 16 } else { 400_usize } {
            // The first flushes each, and now and then a record spans, an event comes between, or the others have one
            // too.
            let len = [8, 0, 100, 1, 8, 9_000, 8][round % 7];
            let writing = if round % 5 == 4 { producers } else { 1 };
            for (nth, writer) in writers[..writing].iter_mut().enumerate() {
                writer.emit(&record(round, len + nth)[..]).unwrap();
                writer.flush();
            }
            if round % 11 == 10 {
                writers[0].broadcast_event(Event::EndOfData(StopMode::Drain)).unwrap();
            }
            let mut from = vec![false; producers];
            for _ in 0..writing {
                let read = reader.next().unwrap().unwrap();
                assert_eq!(read.bytes(), record(round, len + read.channel()));
                assert!(!std::mem::replace(&mut from[read.channel()], true), "once");
            }
            if round % 3 == 2 {
                assert!(reader.try_next().unwrap().is_none(), "no more now");
            }
        }
        writers.into_iter().for_each(RecordWriter::close);
        assert!(reader.next().unwrap().is_none() && reader.is_ended());
    }
}
