//! What a connection's task shares with writers and readers: announcements, credit, places that are used again.
#![cfg(forebay_loom)]

use forebay::{
    gate::{BufferOrEvent, InputGate},
    models::{Driven, Readers, Sent, Unread, remote, serve},
    partition::{Forward, RecordWriter, ResultPartition},
    pool::NetworkBufferPool,
};
use loom::thread;

/// A partition of one channel, with segments of 8 bytes.
fn partition(segments: u32) -> (NetworkBufferPool, ResultPartition, Unread) {
    partition_of(segments, 8)
}

/// The same, with segments of so many.
fn partition_of(segments: u32, size: usize) -> (NetworkBufferPool, ResultPartition, Unread) {
    let pool = NetworkBufferPool::builder().segments(segments).segment_size(size).build().unwrap();
    let local = pool.local_pool("writer").required(segments).maximum(segments).build().unwrap();
    let (partition, mut unread) = serve(local, 1);
    (pool, partition, unread.remove(0))
}

/// 2 threads, 1 segment: the reader comes before, while or after the writer writes and says that it has; whatever it
/// finds, it comes to the end. Mutants: the token of a channel whose reader is yet to come, the second look.
#[test]
fn a_reader_that_comes_later_misses_nothing() {
    loom::model(|| {
        let (_pool, partition, unread) = partition(1);
        let writer = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b"abc"[..]).unwrap();
            writer.close();
        });
        let mut readers = Readers::new(1);
        let index = readers.open(unread, 1).unwrap();
        let (from, Sent::Data(buffer)) = readers.next() else { panic!("data come first") };
        assert_eq!((from, &buffer[4..]), (index, &b"abc"[..]));
        assert!(matches!(readers.next(), (_, Sent::Event)), "the end");
        writer.join().unwrap();
    });
}

/// 2 threads, 1 segment that stays open: what is flushed is sent, whether the reader looks before, in between or after.
/// Mutants: the flush that is taken note of.
#[test]
fn a_flush_is_sent_though_the_segment_stays_open() {
    loom::model(|| {
        let (_pool, partition, unread) = partition(1);
        let writer = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b"a"[..]).unwrap();
            writer.flush();
            writer
        });
        let mut readers = Readers::new(1);
        readers.open(unread, 1).unwrap();
        let (_, Sent::Data(buffer)) = readers.next() else { panic!("there is nothing else") };
        assert_eq!(&buffer[4..], b"a");
        drop(writer.join().unwrap());
    });
}

/// 2 threads, 1 segment that stays open: of two flushes the second may come in the turn of the first, and be gathered;
/// in the turn behind it is sent. Mutants: the round behind gathering, the token of who gathers.
#[test]
fn a_flush_that_is_gathered_is_sent_in_the_end() {
    loom::model(|| {
        let (_pool, partition, unread) = partition_of(1, 16);
        let writer = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            for record in [&b""[..], &b""[..]] {
                writer.emit(record).unwrap(); // its length alone: 4 bytes
                writer.flush();
            }
            writer
        });
        let mut readers = Readers::new(1);
        readers.gather();
        readers.open(unread, 2).unwrap();
        let mut sent = 0;
        while sent < 8 {
            let (_, Sent::Data(buffer)) = readers.next() else { panic!("there is nothing else") };
            sent += buffer.len();
        }
        assert_eq!(sent, 8);
        let writer = writer.join().unwrap();
        assert!(readers.try_next().is_none(), "nothing else");
        drop(writer);
    });
}

/// 2 threads, 1 segment that stays open: what is flushed is sent by the task, or on the thread that flushes if the task
/// sleeps; if neither can the task is woken. Mutants: the waking behind a prompt.
#[test]
fn a_flush_is_sent_by_the_task_or_where_it_is_flushed() {
    loom::model(|| {
        let (_pool, partition, unread) = partition_of(1, 16);
        let mut readers = Readers::new(1);
        readers.open(unread, 2).unwrap();
        let driven = Driven::new(readers, 4);
        let writer = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b""[..]).unwrap(); // its length alone: 4 bytes
            writer.flush();
            writer
        });
        driven.run();
        drop(writer.join().unwrap());
    });
}

/// 2 threads, 1 segment, no credit at first: a channel that rests for credit while its writer goes on is in turn again
/// once it is granted, and one that has become idle before is announced. Mutants: the round after a grant.
#[test]
fn credit_comes_to_a_channel_that_rests_or_is_idle() {
    loom::model(|| {
        let (_pool, partition, unread) = partition(1);
        let writer = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            writer.emit(&b"abc"[..]).unwrap();
            writer.close();
        });
        let mut readers = Readers::new(1);
        let index = readers.open(unread, 0).unwrap();
        assert!(matches!(readers.next(), (_, Sent::Starved)), "it has data, and may not send");
        assert!(readers.try_next().is_none(), "and rests");
        readers.grant(index, 1);
        assert!(matches!(readers.next(), (_, Sent::Data(_))));
        assert!(matches!(readers.next(), (_, Sent::Event)), "the end needs no credit");
        writer.join().unwrap();
    });
}

/// 3 threads, 1 place: a channel is given up while its writer announces it; the next gets its place no sooner than the
/// announcement has turned up, and is not lost among them. Mutant: the place that is kept.
#[test]
fn a_place_is_used_again_once_its_index_has_turned_up() {
    loom::model(|| {
        let (_pool, first, gone) = partition(1);
        let (_other, second, mut next) = partition(1);
        let write = |partition| {
            thread::spawn(move || {
                let mut writer = RecordWriter::new(partition, Forward);
                let _ = writer.emit(&b"abc"[..]);
                writer.close();
            })
        };
        let mut readers = Readers::new(1);
        let index = readers.open(gone, 0).unwrap();
        let early = readers.try_next(); // nothing yet, and the token is gone; or starved
        let writers = [write(first), write(second)];
        readers.close(index);
        drop(early);
        loop {
            match readers.open(next, 1) {
                Ok(_) => break,
                Err(unread) => next = unread,
            }
            assert!(readers.try_next().is_none(), "nothing is sent of what is given up");
            thread::yield_now();
        }
        assert!(matches!(readers.next(), (_, Sent::Data(_))));
        assert!(matches!(readers.next(), (_, Sent::Event)));
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    });
}

/// 2 threads, 1 place: a channel is given up while its writer is about to push its index. Were its place free at once,
/// the next in it would be announced by the same index meanwhile, which is then in the inbox twice (N3). Mutants: the
/// place that is kept.
#[test]
fn an_index_that_is_about_to_be_pushed_keeps_its_place() {
    loom::model(|| {
        let (_pool, first, gone) = partition(1);
        let (_other, second, mut next) = partition(1);
        let mut late = RecordWriter::new(first, Forward);
        late.emit(&b"abc"[..]).unwrap();
        let mut readers = Readers::new(1);
        let index = readers.open(gone, 1).unwrap();
        assert!(readers.try_next().is_none(), "not flushed: the token is gone");
        let late = thread::spawn(move || {
            late.flush();
            late
        });
        readers.close(index);
        loop {
            match readers.open(next, 1) {
                Ok(_) => break,
                Err(unread) => next = unread,
            }
            assert!(readers.try_next().is_none(), "nothing is sent of what is given up");
            thread::yield_now();
        }
        assert!(readers.try_next().is_none(), "nothing is there yet, and the token is gone");
        let mut writer = RecordWriter::new(second, Forward);
        writer.emit(&b"abc"[..]).unwrap();
        writer.flush();
        let late = late.join().unwrap();
        let mut sent = 0;
        while let Some((_, found)) = readers.try_next() {
            assert!(matches!(found, Sent::Data(_)));
            sent += 1;
        }
        assert_eq!(sent, 1);
        drop((late, writer));
    });
}

/// 2 threads, 2 segments: buffers come from a connection while the gate looks, sleeps, or goes away; each comes home.
/// Mutants: telling the gate.
#[test]
fn what_arrives_is_not_overlooked_by_the_gate() {
    loom::model(|| {
        let (pool, mut arrivals, mut gate) = arriving();
        let mut local = pool.local_pool("connection").required(1).build().unwrap();
        let connection = thread::spawn(move || {
            let buffer = local.try_request().unwrap().freeze(4);
            assert!(arrivals.arrive(buffer));
            arrivals.end();
            local
        });
        assert!(matches!(gate.next().unwrap(), Some((0, BufferOrEvent::Buffer(_)))));
        assert!(matches!(gate.next().unwrap(), Some((0, BufferOrEvent::Event(_)))));
        drop(connection.join().unwrap());
        assert_eq!(pool.in_use(), 0);
    });
}

/// 2 threads, 1 segment: the gate goes while a buffer is on its way to it. The connection's end stays, for with it goes
/// whatever is left in the queue. Mutant: the draining on the connection's side.
#[test]
fn what_arrives_for_a_gate_that_goes_comes_home() {
    loom::model(|| {
        let (pool, mut arrivals, gate) = arriving();
        let mut local = pool.local_pool("connection").required(1).build().unwrap();
        let connection = thread::spawn(move || {
            let buffer = local.try_request().unwrap().freeze(4);
            let _ = arrivals.arrive(buffer);
            (local, arrivals)
        });
        drop(gate);
        let (local, arrivals) = connection.join().unwrap();
        drop(local);
        assert_eq!(pool.in_use(), 0, "whoever came last has emptied the queue");
        drop(arrivals);
    });
}

fn arriving() -> (NetworkBufferPool, forebay::models::Arrivals, InputGate) {
    let pool = NetworkBufferPool::builder().segments(1).segment_size(8).build().unwrap();
    let (arrivals, gate) = remote();
    (pool, arrivals, gate)
}
