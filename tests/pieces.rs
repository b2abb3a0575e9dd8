//! Records read piece by piece, where they lie.

use std::{
    task::{Context, Poll, Waker},
    thread,
    time::Duration,
};

use forebay::{
    CheckpointBarrier, Event, StopMode, WaitStrategy,
    gate::{BufferOrEvent, GateError, Input, InputGate, Next, PieceOrEvent, ReadError, RecordPiece, RecordReader},
    partition::{Forward, RecordWriter, ResultPartition, WriteError},
    pool::NetworkBufferPool,
    record::RecordError,
    transport::in_process,
};
use proptest::prelude::*;

const SEGMENT: usize = 4096;
const LIMIT: usize = 1 << 20;

fn join(producers: usize, segments: u32) -> (NetworkBufferPool, Vec<ResultPartition>, InputGate) {
    let pool = NetworkBufferPool::builder().segments(segments * producers as u32).segment_size(SEGMENT);
    let pool = pool.build().unwrap();
    let locals = (0..producers).map(|p| pool.local_pool(format!("p{p}")).required(segments).build().unwrap()).collect();
    let (partitions, mut gates) = in_process(locals, 1);
    (pool, partitions, gates.remove(0))
}

fn record(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|n| (n * 31 + seed * 7) as u8).collect()
}

/// Puts the pieces of each channel together; they must be in order and without a gap.
#[derive(Default)]
struct Assembly {
    open: Vec<Vec<u8>>,
    records: Vec<Vec<Vec<u8>>>,
}

impl Assembly {
    fn of(channels: usize) -> Self {
        Self { open: vec![Vec::new(); channels], records: vec![Vec::new(); channels] }
    }

    fn add(&mut self, piece: RecordPiece<'_>) {
        let open = &mut self.open[piece.channel()];
        assert_eq!(piece.offset(), open.len(), "one behind the other");
        assert_eq!(piece.is_first(), open.is_empty());
        assert!(!piece.bytes().is_empty() || piece.record_len() == 0, "no piece for nothing");
        open.extend_from_slice(piece.bytes());
        assert_eq!(piece.is_last(), open.len() == piece.record_len());
        if piece.is_last() {
            self.records[piece.channel()].push(std::mem::take(open));
        }
    }
}

#[test]
fn a_record_larger_than_its_pool_comes_in_pieces_and_in_one() {
    let lens = [50 * SEGMENT, 0, 3, 2 * SEGMENT - 4, 7 * SEGMENT + 1];
    for in_pieces in [true, false] {
        let (pool, mut partitions, gate) = join(1, 2);
        let mut writer = RecordWriter::new(partitions.remove(0), Forward);
        let writing = thread::spawn(move || {
            lens.iter().for_each(|&len| writer.emit(&record(len, len)[..]).unwrap());
            writer.close();
        });
        let mut reader = RecordReader::new(gate, LIMIT);
        let mut assembly = Assembly::of(1);
        if in_pieces {
            while let Some(piece) = reader.next_piece().unwrap() {
                assert!(piece.bytes().len() <= SEGMENT);
                assembly.add(piece);
            }
        } else {
            while let Some(record) = reader.next().unwrap() {
                assembly.records[0].push(record.bytes().to_vec());
            }
        }
        writing.join().unwrap();
        assert_eq!(assembly.records[0], lens.map(|len| record(len, len)));
        assert!(reader.is_ended());
        assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn a_reader_of_pieces_holds_one_segment() {
    let (pool, mut partitions, gate) = join(1, 8);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    writer.emit(&record(0, 7 * SEGMENT)[..]).unwrap();
    writer.close();
    let mut reader = RecordReader::new(gate, LIMIT);
    let written = pool.in_use();
    for nth in 0..written {
        assert!(reader.try_next_piece().unwrap().is_some());
        assert_eq!(pool.in_use(), written - nth, "the one before is home");
    }
    assert!(reader.try_next_piece().unwrap().is_none());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn while_a_record_of_one_channel_streams_the_others_take_their_turns() {
    let (_pool, mut partitions, gate) = join(2, 8);
    let mut short = RecordWriter::new(partitions.remove(1), Forward);
    let mut long = RecordWriter::new(partitions.remove(0), Forward);
    long.emit(&record(1, 6 * SEGMENT)[..]).unwrap();
    let mut reader = RecordReader::new(gate, LIMIT);
    let mut assembly = Assembly::of(2);
    for n in 0..6 {
        short.emit(&record(n, 5)[..]).unwrap();
        short.flush();
        let mut both = [false; 2];
        for _ in 0..2 {
            let piece = reader.try_next_piece().unwrap().unwrap();
            both[piece.channel()] = true;
            assembly.add(piece);
        }
        assert_eq!(both, [true; 2], "in turn");
    }
    long.close();
    short.close();
    while let Some(piece) = reader.next_piece().unwrap() {
        assembly.add(piece);
    }
    assert_eq!(assembly.records[0], [record(1, 6 * SEGMENT)]);
    assert_eq!(assembly.records[1], (0..6).map(|n| record(n, 5)).collect::<Vec<_>>());
}

#[test]
fn events_stand_between_records_and_a_priority_event_inside_one() {
    let (_pool, mut partitions, gate) = join(1, 8);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    writer.emit(&record(1, 3 * SEGMENT)[..]).unwrap();
    writer.broadcast_event(Event::EndOfData(StopMode::Drain)).unwrap();
    let mut reader = RecordReader::new(gate, LIMIT);
    let mut assembly = Assembly::of(1);
    let Some(PieceOrEvent::Piece(piece)) = reader.next_piece_or_event().unwrap() else { panic!() };
    assembly.add(piece);
    writer.broadcast_priority_event(CheckpointBarrier::unaligned(1).into()).unwrap();
    let found = reader.try_next_piece_or_event().unwrap();
    let Some(PieceOrEvent::Priority { channel: 0, overtaken, .. }) = found else { panic!("{found:?}") };
    assert_eq!(overtaken.len(), 3, "what was not handed out");
    drop(overtaken);
    writer.close();
    let mut context = Context::from_waker(Waker::noop());
    let mut events = Vec::new();
    while let Poll::Ready(Ok(Some(found))) = reader.poll_next_piece_or_event(&mut context) {
        match found {
            PieceOrEvent::Piece(piece) => assembly.add(piece),
            PieceOrEvent::Event { event, .. } => {
                assert_eq!(assembly.records[0].len(), 1, "behind the record");
                events.push(event);
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(assembly.records[0], [record(1, 3 * SEGMENT)]);
    assert!(matches!(events[..], [Event::EndOfData(StopMode::Drain), Event::EndOfPartition]));
}

#[test]
fn the_rest_of_a_record_is_left_out_by_whoever_asks_for_the_next() {
    for ask in 0..2 {
        let (pool, mut partitions, gate) = join(1, 8);
        let mut writer = RecordWriter::new(partitions.remove(0), Forward);
        writer.emit(&record(1, 5 * SEGMENT)[..]).unwrap();
        writer.emit(&record(2, 10)[..]).unwrap();
        writer.close();
        let mut reader = RecordReader::new(gate, LIMIT);
        reader.skip_rest(0); // nothing to leave out
        assert!(reader.next_piece().unwrap().unwrap().is_first());
        assert!(!reader.next_piece().unwrap().unwrap().is_first());
        if ask == 0 {
            assert_eq!(reader.next().unwrap().unwrap().bytes(), record(2, 10));
        } else {
            reader.skip_rest(0);
            let piece = reader.next_piece().unwrap().unwrap();
            assert_eq!((piece.bytes(), piece.is_first(), piece.is_last()), (&record(2, 10)[..], true, true));
        }
        assert!(reader.next_piece().unwrap().is_none() && reader.is_ended());
        assert_eq!(pool.in_use(), 0);
    }
}

#[test]
fn of_a_record_that_was_begun_to_be_gathered_what_is_there_is_the_first_piece() {
    let (_pool, mut partitions, gate) = join(1, 2);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    writer.try_emit(&record(1, 4 * SEGMENT)[..]).unwrap();
    let mut reader = RecordReader::new(gate, LIMIT);
    assert!(reader.try_next().unwrap().is_none(), "two of five segments");
    writer.flush(); // the rest goes on
    let mut assembly = Assembly::of(1);
    let mut context = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(Some(piece))) = reader.poll_next_piece(&mut context) else { panic!() };
    assert_eq!(piece.bytes().len(), 2 * SEGMENT - 4, "gathered");
    assembly.add(piece);
    while assembly.records[0].is_empty() {
        writer.flush();
        let Poll::Ready(Ok(Some(piece))) = reader.poll_next_piece(&mut context) else { panic!() };
        assembly.add(piece);
    }
    assert_eq!(assembly.records[0], [record(1, 4 * SEGMENT)]);
    assert!(reader.poll_next_piece(&mut context).is_pending());
}

#[test]
fn a_reader_that_goes_away_inside_a_record_frees_its_writer() {
    let (pool, mut partitions, gate) = join(1, 2);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let writing = thread::spawn(move || writer.emit(&record(0, 50 * SEGMENT)[..]));
    let mut reader = RecordReader::new(gate, LIMIT);
    assert!(reader.next_piece().unwrap().is_some());
    drop(reader);
    assert!(matches!(writing.join().unwrap(), Err(WriteError::Released { subpartition: 0 })));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_writer_that_goes_away_inside_a_record_is_an_error_behind_its_pieces() {
    let (pool, mut partitions, gate) = join(1, 2);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    writer.try_emit(&record(0, 4 * SEGMENT)[..]).unwrap();
    drop(writer);
    let mut reader = RecordReader::new(gate, LIMIT);
    assert!(reader.next_piece().unwrap().unwrap().is_first());
    assert!(!reader.next_piece().unwrap().unwrap().is_last());
    assert!(matches!(reader.next_piece(), Err(ReadError::Gate(GateError::ProducerFailed { channel: 0, .. }))));
    assert!(reader.next_piece().unwrap().is_none());
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_length_over_the_limit_is_refused_before_the_first_piece_and_the_other_channels_go_on() {
    let (pool, mut partitions, gate) = join(2, 4);
    let mut writers: Vec<_> = partitions.drain(..).map(|partition| RecordWriter::new(partition, Forward)).collect();
    writers[0].emit(&record(0, 2 * SEGMENT + 1)[..]).unwrap();
    writers[1].emit(&record(1, 2 * SEGMENT)[..]).unwrap();
    writers.into_iter().for_each(RecordWriter::close);
    let mut reader = RecordReader::new(gate, 2 * SEGMENT);
    let (mut assembly, mut refused) = (Assembly::of(2), 0);
    loop {
        match reader.next_piece() {
            Ok(Some(piece)) => assembly.add(piece),
            Ok(None) => break,
            Err(error) => {
                let ReadError::Record { channel: 0, source } = error else { panic!("{error}") };
                let (len, limit) = (2 * SEGMENT as u32 + 1, 2 * SEGMENT);
                assert_eq!(source, RecordError::TooLarge { offset: 0, len, limit });
                refused += 1;
            }
        }
    }
    assert_eq!((refused, assembly.records), (1, vec![vec![], vec![record(1, 2 * SEGMENT)]]));
    assert_eq!(pool.in_use(), 0);
}

/// A gate that loses a buffer.
#[derive(Debug)]
struct Losing {
    gate: InputGate,
    /// Buffers until then.
    left: usize,
}

impl Input for Losing {
    fn channels(&self) -> usize {
        self.gate.channels()
    }

    fn is_ended(&self) -> bool {
        self.gate.is_ended()
    }

    fn try_next(&mut self) -> Next {
        let found = self.gate.try_next();
        if let Ok(Some((_, BufferOrEvent::Buffer(_)))) = found {
            self.left = self.left.wrapping_sub(1);
            if self.left == usize::MAX {
                return self.try_next();
            }
        }
        found
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        match self.try_next() {
            Ok(None) => self.gate.poll_next(context),
            found => Poll::Ready(found),
        }
    }

    fn block_consumption(&mut self, channel: usize) {
        self.gate.block_consumption(channel);
    }

    fn resume_consumption(&mut self, channel: usize) {
        self.gate.resume_consumption(channel);
    }

    fn wait_strategy(&self) -> WaitStrategy {
        self.gate.wait_strategy()
    }

    fn idle(&self) -> Duration {
        self.gate.idle()
    }

    fn waits(&mut self, _: bool) {}
}

#[test]
fn an_end_inside_a_record_is_an_error_behind_its_pieces() {
    for skips in [false, true] {
        let (_pool, mut partitions, gate) = join(1, 4);
        let mut writer = RecordWriter::new(partitions.remove(0), Forward);
        writer.emit(&record(0, 3 * SEGMENT - 4)[..]).unwrap();
        writer.close();
        let mut reader = RecordReader::new(Losing { gate, left: 2 }, LIMIT);
        assert_eq!(reader.next_piece().unwrap().unwrap().bytes().len(), SEGMENT - 4);
        if skips {
            reader.skip_rest(0);
        } else {
            assert_eq!(reader.next_piece().unwrap().unwrap().bytes().len(), SEGMENT);
        }
        let Err(ReadError::Record { channel: 0, source }) = reader.next_piece() else { panic!() };
        let cut = RecordError::CutShort { offset: 2 * SEGMENT as u64, missing: SEGMENT };
        assert_eq!(source, cut);
        assert!(reader.next_piece().unwrap().is_none() && reader.is_ended());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 64 }))]

    #[test]
    fn whatever_is_written_is_read_in_pieces(
        lens in prop::collection::vec(prop_oneof![0_usize..20, 0..SEGMENT, SEGMENT - 9..3 * SEGMENT], 0..20),
        flush_every in 1_usize..6,
        ways in prop::collection::vec(any::<bool>(), 1..8),
    ) {
        let (pool, mut partitions, gate) = join(1, 2);
        let mut writer = RecordWriter::new(partitions.remove(0), Forward);
        let written = lens.clone();
        let writing = thread::spawn(move || {
            for (n, len) in written.into_iter().enumerate() {
                writer.emit(&record(n, len)[..]).unwrap();
                if n % flush_every == 0 {
                    writer.flush();
                }
            }
            writer.close();
        });
        let mut reader = RecordReader::new(gate, LIMIT);
        let mut assembly = Assembly::of(1);
        for &in_pieces in ways.iter().cycle() {
            if in_pieces || !assembly.open[0].is_empty() {
                let Some(piece) = reader.next_piece().unwrap() else { break };
                assembly.add(piece);
            } else {
                let Some(record) = reader.next().unwrap() else { break };
                assembly.records[0].push(record.bytes().to_vec());
            }
        }
        writing.join().unwrap();
        prop_assert_eq!(&assembly.records[0], &lens.iter().enumerate().map(|(n, &len)| record(n, len)).collect::<Vec<_>>());
        prop_assert_eq!(pool.in_use(), 0);
    }
}
