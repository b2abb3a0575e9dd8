//! Events that overtake, barriers that block, gates in a union, and writing by wakers: the exchange beyond records.
#![cfg(forebay_loom)]

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
};

use forebay::{
    CheckpointBarrier, Event,
    buffer::DataType,
    gate::{BufferOrEvent, CheckpointEvent, CheckpointedInputGate, Input, InputGate, RecordReader, UnionInputGate},
    partition::{Forward, RecordWriter, ResultPartition},
    pool::NetworkBufferPool,
    transport::in_process,
};
use loom::thread;

type Writer = RecordWriter<Forward>;

/// Segments of 8 bytes, so a record of 3 leaves one byte.
fn join(writers: usize, segments: u32) -> (NetworkBufferPool, Vec<Writer>, InputGate) {
    let pool = NetworkBufferPool::builder().segments(segments * writers as u32).segment_size(8).build().unwrap();
    let local = |_| pool.local_pool("writer").required(segments).maximum(segments).build().unwrap();
    let (partitions, mut gates) = in_process((0..writers).map(local).collect(), 1);
    (pool, partitions.into_iter().map(writer).collect(), gates.remove(0))
}

fn writer(partition: ResultPartition) -> Writer {
    RecordWriter::new(partition, Forward)
}

struct Unpark(thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread::park(),
        }
    }
}

fn custom(number: u8) -> Event {
    Event::Custom { data_type: DataType::EVENT_BUFFER, bytes: [number][..].into() }
}

/// 2 threads, 1 segment, 1 priority event: whatever the reader has read when it comes, what was written before the
/// event has been read or is handed out with it, not both and not neither (R1). Mutants: telling the gate in
/// `overtake`, the place of the cut.
#[test]
fn what_a_priority_event_overtakes_is_what_was_not_read() {
    loom::model(|| {
        let (_pool, mut writers, mut gate) = join(1, 1);
        let mut writer = writers.remove(0);
        let writing = thread::spawn(move || {
            writer.emit(&b"abcd"[..]).unwrap(); // a whole segment
            writer.broadcast_priority_event(custom(1)).unwrap();
            writer
        });
        let (mut read, mut events) = (0, 0);
        while read + events < 2 {
            match gate.next().unwrap().unwrap().1 {
                BufferOrEvent::Buffer(_) => read += 1,
                BufferOrEvent::Priority { overtaken, .. } => {
                    events += 1;
                    assert_eq!(read + overtaken.len(), 1);
                }
                other => panic!("{other:?}"),
            }
        }
        drop(writing.join().unwrap());
    });
}

/// 2 threads, 2 priority events and nothing else: each is found, in order (M4).
/// Mutant: the gate's taking note in `collect_priority`.
#[test]
fn a_second_priority_event_is_not_overlooked() {
    loom::model(|| {
        let (_pool, mut writers, mut gate) = join(1, 1);
        let mut writer = writers.remove(0);
        let writing = thread::spawn(move || {
            writer.broadcast_priority_event(custom(1)).unwrap();
            writer.broadcast_priority_event(custom(2)).unwrap();
            writer
        });
        for number in 1..3 {
            let found = gate.next().unwrap().unwrap().1;
            let BufferOrEvent::Priority { event: Event::Custom { bytes, .. }, .. } = found else { panic!() };
            assert_eq!(*bytes, [number]);
        }
        drop(writing.join().unwrap());
    });
}

/// 2 threads: the gate has the token of a blocked channel, and sleeps. A priority event of that channel wakes it (M4).
/// Mutant: telling the gate in `announce_priority`.
#[test]
fn a_priority_event_wakes_a_gate_that_blocks_the_channel() {
    loom::model(|| {
        let (_pool, mut writers, mut gate) = join(1, 1);
        let mut writer = writers.remove(0);
        writer.emit(&b""[..]).unwrap();
        writer.flush();
        gate.block_consumption(0);
        assert!(gate.try_next().unwrap().is_none(), "its turn came");
        let writing = thread::spawn(move || {
            writer.broadcast_priority_event(custom(1)).unwrap();
            writer
        });
        assert!(matches!(gate.next().unwrap(), Some((0, BufferOrEvent::Priority { .. }))));
        drop(writing.join().unwrap());
    });
}

/// 2 threads: a writer that waits for what its event overtakes is woken when the reader has come to it (M4).
/// Mutant: the wake in `Ticket::drop`.
#[test]
fn a_writer_is_told_what_its_event_overtakes() {
    loom::model(|| {
        let (_pool, mut writers, mut gate) = join(1, 1);
        let mut writer = writers.remove(0);
        writer.emit(&b""[..]).unwrap();
        let overtaken = writer.broadcast_priority_event_and_capture(custom(1)).unwrap();
        let reading = thread::spawn(move || {
            assert!(matches!(gate.try_next().unwrap(), Some((0, BufferOrEvent::Priority { .. }))));
            gate
        });
        assert_eq!(overtaken.buffers().len(), 1);
        drop(reading.join().unwrap());
    });
}

/// 2 threads: the gate goes away while the writer sends an event that overtakes: no segment stays behind, and the
/// writer hears of it at the latest when it sends the next. Mutant: RELEASED unseen in `overtake`.
#[test]
fn a_gate_that_goes_away_drops_what_overtakes() {
    loom::model(|| {
        let (pool, mut writers, gate) = join(1, 1);
        let mut writer = writers.remove(0);
        let writing = thread::spawn(move || {
            writer.emit(&b""[..]).unwrap();
            let _ = writer.broadcast_priority_event(custom(1));
            writer
        });
        drop(gate);
        let mut writer = writing.join().unwrap();
        assert!(writer.broadcast_priority_event(custom(2)).is_err());
        drop(writer);
        assert_eq!(pool.in_use(), 0);
    });
}

/// 2 threads, 2 channels: what a channel adds while it is blocked by its barrier is read once the other's has come
/// (M4). Mutants: the token that is kept in `try_next`, the turn that is given back in `resume_consumption`.
#[test]
fn a_channel_blocked_by_its_barrier_is_read_afterwards() {
    loom::model(|| {
        let (_pool, mut writers, gate) = join(2, 1);
        let mut gate = CheckpointedInputGate::exactly_once(gate);
        let (mut second, mut first) = (writers.pop().unwrap(), writers.pop().unwrap());
        first.broadcast_event(CheckpointBarrier::aligned(1).into()).unwrap();
        let writing = thread::spawn(move || {
            first.emit(&b""[..]).unwrap();
            first.flush();
            second.broadcast_event(CheckpointBarrier::aligned(1).into()).unwrap();
            (first, second)
        });
        let mut next = || gate.next().unwrap().unwrap();
        assert!(matches!(next().1, BufferOrEvent::Checkpoint(CheckpointEvent::Triggered(_))));
        assert!(matches!(next().1, BufferOrEvent::Checkpoint(CheckpointEvent::Completed(_))));
        assert!(matches!(next(), (0, BufferOrEvent::Buffer(_))), "behind the barrier, and behind the checkpoint");
        drop(writing.join().unwrap());
    });
}

/// 2 threads, 2 gates of one channel: neither is overlooked, whichever is awake (M4).
/// Mutants: the wake in `announce`, the union's own waker.
#[test]
fn two_gates_of_a_union() {
    loom::model(|| {
        let (_pool, mut writers, gate) = join(1, 1);
        let (_other_pool, mut other_writers, other_gate) = join(1, 1);
        let mut union = UnionInputGate::new(vec![gate, other_gate]);
        let (mut first, mut second) = (writers.remove(0), other_writers.remove(0));
        let writing = thread::spawn(move || {
            second.broadcast_event(custom(1)).unwrap();
            first.broadcast_event(custom(0)).unwrap();
            (first, second)
        });
        let mut from = [0; 2];
        for _ in 0..2 {
            let (channel, _) = union.next().unwrap().unwrap();
            from[channel] += 1;
        }
        assert_eq!(from, [1, 1]);
        drop(writing.join().unwrap());
    });
}

/// 2 threads, 1 gate in a union, which sleeps and is woken twice (M4). Mutant: the mark that is taken back in
/// `collect`.
#[test]
fn a_gate_of_a_union_is_woken_again() {
    loom::model(|| {
        let (_pool, mut writers, gate) = join(1, 1);
        let mut union = UnionInputGate::new(vec![gate]);
        let mut writer = writers.remove(0);
        let writing = thread::spawn(move || {
            writer.broadcast_event(custom(1)).unwrap();
            writer.broadcast_event(custom(2)).unwrap();
            writer
        });
        for number in 1..3 {
            let Some((0, BufferOrEvent::Event(Event::Custom { bytes, .. }))) = union.next().unwrap() else { panic!() };
            assert_eq!(*bytes, [number]);
        }
        drop(writing.join().unwrap());
    });
}

/// 2 threads, 1 segment: a task that writes is woken when the reader gives the segment back (M4).
/// Mutant: the waker that is left in `request`.
#[test]
fn a_task_that_writes_is_woken_by_its_reader() {
    loom::model(|| {
        let (_pool, mut writers, mut gate) = join(1, 1);
        let mut writer = writers.remove(0);
        writer.emit(&b"abcd"[..]).unwrap(); // a whole segment
        let writing = thread::spawn(move || {
            block_on(writer.emit_async(&b""[..])).unwrap();
            writer
        });
        drop(gate.try_next().unwrap().unwrap());
        drop(writing.join().unwrap());
    });
}

/// 3 threads: one segment read by two readers, who both get it whole, and the last of whom sends it home.
/// Mutant: telling each reader in `tell_all`.
#[test]
fn a_broadcast_reaches_two_readers() {
    loom::model(|| {
        let pool = NetworkBufferPool::builder().segments(1).segment_size(8).build().unwrap();
        let local = pool.local_pool("writer").required(1).maximum(1).build().unwrap();
        let (mut partitions, mut gates) = in_process(vec![local], 2);
        let mut writer = writer(partitions.remove(0));
        let read = |mut gate: InputGate| {
            let Some((0, BufferOrEvent::Buffer(buffer))) = gate.next().unwrap() else { panic!() };
            assert_eq!(&*buffer, b"\0\0\0\x04both");
            gate
        };
        let other = gates.pop().unwrap();
        let reading = thread::spawn(move || drop(read(other)));
        let writing = thread::spawn(move || {
            writer.broadcast(&b"both"[..]).unwrap();
            writer
        });
        let gate = read(gates.pop().unwrap());
        reading.join().unwrap();
        let writer = writing.join().unwrap();
        drop((gate, writer));
        assert_eq!(pool.in_use(), 0);
    });
}

/// 2 threads: a failure comes behind what was written, and wakes who waits (R1, M4). Mutant: telling the reader in
/// `Sender::send`.
#[test]
fn a_failure_comes_behind_what_was_written() {
    loom::model(|| {
        let (_pool, mut writers, gate) = join(1, 1);
        let mut writer = writers.remove(0);
        let writing = thread::spawn(move || {
            writer.emit(&b"x"[..]).unwrap();
            writer.fail("on purpose");
        });
        let mut reader = RecordReader::new(gate, 8);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"x");
        assert!(reader.next().is_err());
        assert!(reader.next().unwrap().is_none());
        writing.join().unwrap();
    });
}
