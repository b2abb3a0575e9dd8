//! Writer to reader, whole: the queue between them, telling the reader, and either side going away.
#![cfg(forebay_loom)]

use forebay::{
    gate::{InputGate, RecordReader},
    models::Timer,
    partition::{Forward, RecordWriter, ResultPartition},
    pool::NetworkBufferPool,
    transport::in_process,
};
use loom::thread;

/// Segments of 8 bytes: a record of 3 leaves one byte, so the next length is cut.
fn join(segments: u32) -> (NetworkBufferPool, ResultPartition, InputGate) {
    let pool = NetworkBufferPool::builder().segments(segments).segment_size(8).build().unwrap();
    let local = pool.local_pool("writer").required(segments).maximum(segments).build().unwrap();
    let (mut partitions, mut gates) = in_process(vec![local], 1);
    (pool, partitions.remove(0), gates.remove(0))
}

/// 2 threads, 2 segments: a record in place, then one that spans; the reader sleeps when it is ahead (R1, M4).
/// Mutant: Q-F.
#[test]
fn writer_to_reader_with_two_segments() {
    loom::model(|| {
        let (pool, partition, gate) = join(2);
        let writer = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b"abc"[..]).unwrap();
            writer.emit(&b"de"[..]).unwrap();
            writer.close();
        });
        let mut reader = RecordReader::new(gate, 8);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"abc");
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"de");
        assert!(reader.next().unwrap().is_none());
        writer.join().unwrap();
        drop(reader);
        assert_eq!(pool.in_use(), 0);
    });
}

/// 2 threads, 1 segment: the writer can go on only when the reader has given the segment back.
/// Mutant: telling the reader in `ResultSubpartition::finish`.
#[test]
fn one_segment_goes_back_and_forth() {
    loom::model(|| {
        let (_pool, partition, gate) = join(1);
        let writer = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b"abcdefgh"[..]).unwrap(); // 12 bytes: two segments' worth
            writer.close();
        });
        let mut reader = RecordReader::new(gate, 8);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"abcdefgh");
        assert!(reader.next().unwrap().is_none());
        writer.join().unwrap();
    });
}

/// 2 threads, 2 segments: behind a segment that was filled without a flush, records are put together aside; what is
/// there when the segment ends is moved to it (R1). Mutant: the moving in `StagedBuilder::finish`.
#[test]
fn what_was_put_together_is_there_at_the_end() {
    loom::model(|| {
        let (pool, partition, gate) = join(2);
        let writer = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b"abcd"[..]).unwrap(); // a whole segment
            writer.emit(&b"e"[..]).unwrap(); // 5 of 8 bytes
            writer.close();
        });
        let mut reader = RecordReader::new(gate, 8);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"abcd");
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"e");
        assert!(reader.next().unwrap().is_none());
        writer.join().unwrap();
        drop(reader);
        assert_eq!(pool.in_use(), 0);
    });
}

/// The same, and a flush shows it while the segment stays open. Mutant: committing it in `StagedBuilder::show`.
#[test]
fn a_flush_shows_what_was_put_together() {
    loom::model(|| {
        let (_pool, partition, gate) = join(2);
        let writing = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b"abcd"[..]).unwrap(); // a whole segment
            writer.emit(&b""[..]).unwrap(); // 4 of 8 bytes
            writer.flush();
            writer
        });
        let mut reader = RecordReader::new(gate, 8);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"abcd");
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"");
        writing.join().unwrap().close();
        assert!(reader.next().unwrap().is_none());
    });
}

/// A flush shows what was written while the segment stays open. Nothing follows it, so a reader that overlooks it
/// sleeps for ever (M4). Mutants: telling the reader in `flush`, the wake in `Signal::announce`, the waker in
/// `Signal::park`.
#[test]
fn a_flush_is_not_overlooked() {
    loom::model(|| {
        let (_pool, partition, gate) = join(1);
        let writing = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b""[..]).unwrap(); // 4 of 8 bytes
            writer.flush();
            writer
        });
        let mut reader = RecordReader::new(gate, 8);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"");
        writing.join().unwrap().close();
        assert!(reader.next().unwrap().is_none());
    });
}

/// Two flushes of one segment: the second may come while the reader looks for more after the first (M4).
/// Mutants: C1, C2, the second look in `InputChannel::poll`.
#[test]
fn a_second_flush_is_not_overlooked() {
    loom::model(|| {
        let (_pool, partition, gate) = join(2);
        let writing = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b""[..]).unwrap();
            writer.flush();
            writer.emit(&b"x"[..]).unwrap();
            writer.flush();
            writer
        });
        let mut reader = RecordReader::new(gate, 8);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"");
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"x");
        drop(writing.join().unwrap());
    });
}

/// A flush while the reader holds the token: it first finds the segment that was filled meanwhile, and then what was
/// flushed behind it, though the mark of the flush is gone by then (M4). Mutant: the flush forgotten in
/// `InputChannel::poll`.
#[test]
fn a_flush_behind_a_full_segment_is_not_overlooked() {
    loom::model(|| {
        let (_pool, partition, gate) = join(2);
        let mut writer = RecordWriter::new(partition, Forward);
        writer.emit(&b""[..]).unwrap(); // 4 of 8 bytes
        writer.flush();
        let writing = thread::spawn(move || {
            writer.emit(&b""[..]).unwrap(); // full
            writer.emit(&b""[..]).unwrap();
            writer.flush();
            writer
        });
        let mut reader = RecordReader::new(gate, 8);
        for _ in 0..3 {
            assert_eq!(reader.next().unwrap().unwrap().bytes(), b"");
        }
        drop(writing.join().unwrap());
    });
}

/// A partition of one subpartition with a segment of 16 bytes, of which a record of no bytes is written and read twice,
/// flushed each time: from now on the gate watches the channel.
fn watched() -> (RecordWriter<Forward>, RecordReader) {
    let pool = NetworkBufferPool::builder().segments(2).segment_size(16).build().unwrap();
    let local = pool.local_pool("writer").required(2).maximum(2).build().unwrap();
    let (mut partitions, mut gates) = in_process(vec![local], 1);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0), 8);
    for _ in 0..2 {
        writer.emit(&b""[..]).unwrap();
        writer.flush();
        assert!(reader.try_next().unwrap().is_some());
    }
    (writer, reader)
}

/// A gate that watches a channel holds its token, so the writer announces nothing; before the gate sleeps, it gives the
/// token up, and must not overlook a flush that came meanwhile (M4). Nothing follows. Where the flush was first, the
/// reader finds it by its short way. Mutants: the flush in `InputChannel::let_go`, letting go in
/// `InputGate::poll_next`, what `RecordReader::next_flushed` found.
#[test]
fn a_flush_is_not_overlooked_by_who_watches() {
    loom::model(|| {
        let (mut writer, mut reader) = watched();
        let writing = thread::spawn(move || {
            writer.emit(&b""[..]).unwrap();
            writer.flush();
            writer
        });
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"");
        drop(writing.join().unwrap());
    });
}

/// The same for a segment that is full. Mutant: `Receiver::has_whole` in `InputChannel::let_go`.
#[test]
fn a_full_segment_is_not_overlooked_by_who_watches() {
    loom::model(|| {
        let (mut writer, mut reader) = watched();
        let writing = thread::spawn(move || {
            writer.emit(&b"full"[..]).unwrap();
            writer
        });
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"full");
        drop(writing.join().unwrap());
    });
}

/// Two writers, one gate: each channel announces itself, neither is forgotten. Mutant: all but the last in
/// `Signal::collect`.
#[test]
fn two_channels_of_one_gate() {
    loom::model(|| {
        let pool = NetworkBufferPool::builder().segments(2).segment_size(8).build().unwrap();
        let locals = (0..2).map(|_| pool.local_pool("writer").required(1).maximum(1).build().unwrap()).collect();
        let (partitions, mut gates) = in_process(locals, 1);
        let writers: Vec<_> = partitions
            .into_iter()
            .map(|partition| {
                thread::spawn(move || {
                    let mut writer = RecordWriter::new(partition, Forward);
                    writer.emit(&b"ab"[..]).unwrap();
                    writer.close();
                })
            })
            .collect();
        let mut reader = RecordReader::new(gates.remove(0), 8);
        let mut from = [0; 2];
        while let Some(record) = reader.next().unwrap() {
            assert_eq!(record.bytes(), b"ab");
            from[record.channel()] += 1;
        }
        assert_eq!(from, [1, 1]);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}

/// The reader goes away while the writer waits for the segment it holds: the writer gets an error, and the segment
/// comes home. Mutant: the draining in `Receiver::release`.
#[test]
fn a_reader_that_goes_away_frees_its_writer() {
    loom::model(|| {
        let (pool, partition, gate) = join(1);
        let writer = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            // Two segments' worth: the second is there only once the first has come home.
            let error = loop {
                if let Err(error) = writer.emit(&b"abcdefgh"[..]) {
                    break error;
                }
            };
            drop(writer);
            error
        });
        drop(gate);
        writer.join().unwrap();
        assert_eq!(pool.in_use(), 0);
    });
}

/// The writer goes away without closing: the reader hears of it, and does not wait for ever. Mutant: telling the reader
/// in `Sender::send`.
#[test]
fn a_writer_that_goes_away_is_an_error() {
    loom::model(|| {
        let (_pool, partition, gate) = join(1);
        let writer = thread::spawn(move || drop(RecordWriter::new(partition, Forward)));
        assert!(RecordReader::new(gate, 8).next().is_err());
        writer.join().unwrap();
    });
}

/// 3 threads: the flush timer tells the reader while the writer does. The channel stands in the gate's inbox at most
/// once, and neither hides the other (R1, M4). Mutant: QUEUED ignored in `notify`.
#[test]
fn the_timer_flushes_beside_the_writer() {
    loom::model(|| {
        let (_pool, partition, gate) = join(1);
        let timer = Timer::of(&partition);
        let mut writer = RecordWriter::new(partition, Forward);
        writer.emit(&b""[..]).unwrap();
        let ticking = thread::spawn(move || timer.tick());
        let writing = thread::spawn(move || writer.close());
        let mut reader = RecordReader::new(gate, 8);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"");
        assert!(reader.next().unwrap().is_none());
        ticking.join().unwrap();
        writing.join().unwrap();
    });
}

/// 2 threads: the reader goes away while the writer tells it of its segments. The writer waits for the one that it has,
/// and once both are through, everything that was on the way is home: a borrowed segment is back in the depot. Mutants:
/// C1, C3, the draining on either side, RELEASED ignored in `notify`.
#[test]
fn a_reader_that_goes_away_leaves_no_segment_behind() {
    loom::model(|| {
        let pool = NetworkBufferPool::builder().segments(2).segment_size(8).build().unwrap();
        let local = pool.local_pool("writer").required(1).maximum(2).build().unwrap();
        let (mut partitions, gates) = in_process(vec![local], 1);
        let mut writer = RecordWriter::new(partitions.remove(0), Forward);
        let writer = thread::spawn(move || {
            while writer.emit(&b"abcd"[..]).is_ok() {} // each fills a segment
            writer
        });
        drop(gates);
        let writer = writer.join().unwrap();
        assert!(pool.in_use() <= 1, "the pool's own");
        drop(writer);
        assert_eq!(pool.in_use(), 0);
    });
}

/// 2 threads: a broadcast segment is shown when it is full, and on a flush; nothing follows either (M4).
/// Mutants: telling the readers in `finish_broadcast` and in `flush`.
#[test]
fn a_broadcast_is_not_overlooked() {
    loom::model(|| {
        let (_pool, partition, gate) = join(2);
        let writing = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.broadcast(&b"full"[..]).unwrap();
            writer
        });
        let mut reader = RecordReader::new(gate, 8);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"full");
        let mut writer = writing.join().unwrap();
        let writing = thread::spawn(move || {
            writer.broadcast(&b""[..]).unwrap();
            writer.flush();
            writer
        });
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"");
        drop(writing.join().unwrap());
    });
}
