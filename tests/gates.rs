//! Several gates as one, and what barriers amount to.

use std::{thread, time::Duration};

use forebay::{
    CheckpointBarrier, Event,
    gate::{
        AbortReason, BufferOrEvent, CheckpointEvent, CheckpointedInputGate, InFlight, Input, InputGate, RecordOrEvent,
        RecordReader, UnionInputGate,
    },
    partition::{Forward, RecordWriter},
    pool::NetworkBufferPool,
    transport::in_process,
};

const SEGMENT: usize = 4096;

type Writer = RecordWriter<Forward>;

fn join(writers: usize, segments: u32) -> (NetworkBufferPool, Vec<Writer>, InputGate) {
    let pool = NetworkBufferPool::builder().segments(segments * writers as u32).segment_size(SEGMENT).build().unwrap();
    let locals = (0..writers).map(|_| pool.local_pool("writer").required(segments).build().unwrap()).collect();
    let (partitions, mut gates) = in_process(locals, 1);
    (pool, partitions.into_iter().map(|partition| RecordWriter::new(partition, Forward)).collect(), gates.remove(0))
}

fn write(writer: &mut Writer, text: &str) {
    writer.emit(text).unwrap();
    writer.flush();
}

fn send(writer: &mut Writer, barrier: CheckpointBarrier) {
    writer.broadcast_event(barrier.into()).unwrap();
}

fn overtake(writer: &mut Writer, barrier: CheckpointBarrier) {
    writer.broadcast_priority_event(barrier.into()).unwrap();
}

/// What there is now, as text.
fn read(gate: &mut impl Input) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some((channel, item)) = gate.try_next().unwrap() {
        seen.push(match item {
            BufferOrEvent::Buffer(buffer) => format!("{channel}: {}", buffer[4..].escape_ascii()),
            BufferOrEvent::Checkpoint(CheckpointEvent::Triggered(barrier)) => format!("triggered {}", barrier.id),
            BufferOrEvent::Checkpoint(CheckpointEvent::Completed(in_flight)) => {
                format!("completed {}{}", in_flight.checkpoint(), texts(&in_flight))
            }
            BufferOrEvent::Checkpoint(CheckpointEvent::Aborted { checkpoint, reason: AbortReason::Subsumed }) => {
                format!("subsumed {checkpoint}")
            }
            BufferOrEvent::Checkpoint(CheckpointEvent::Aborted { checkpoint, .. }) => format!("cancelled {checkpoint}"),
            BufferOrEvent::Event(event) => format!("{channel}: {event:?}"),
            other => panic!("{other:?}"),
        });
    }
    seen
}

fn texts(in_flight: &InFlight) -> String {
    let texts: Vec<_> =
        in_flight.buffers().iter().map(|(c, buffer)| format!(" {c}: {}", buffer[4..].escape_ascii())).collect();
    texts.concat()
}

#[test]
fn channels_whose_barrier_came_wait_for_the_others() {
    let (_pool, mut writers, gate) = join(3, 4);
    let mut gate = CheckpointedInputGate::exactly_once(gate);
    let [a, b, c] = &mut writers[..] else { unreachable!() };
    write(a, "a1");
    send(a, CheckpointBarrier::aligned(1));
    write(a, "a2");
    write(b, "b1");
    assert_eq!(read(&mut gate), ["0: a1", "1: b1"]);
    assert_eq!(gate.pending().map(|barrier| barrier.id), Some(1));
    send(b, CheckpointBarrier::aligned(1));
    write(b, "b2");
    write(c, "c1");
    assert_eq!(read(&mut gate), ["2: c1"]);
    send(c, CheckpointBarrier::aligned(1));
    assert_eq!(read(&mut gate), ["triggered 1", "completed 1", "0: a2", "1: b2"]);
    assert!(gate.pending().is_none());
    assert!(gate.alignment_time() > Duration::ZERO);
}

#[test]
fn a_marker_cancels_and_a_later_barrier_subsumes() {
    let (_pool, mut writers, gate) = join(2, 4);
    let mut gate = CheckpointedInputGate::exactly_once(gate);
    let [a, b] = &mut writers[..] else { unreachable!() };
    send(a, CheckpointBarrier::aligned(1));
    write(a, "a1");
    assert_eq!(read(&mut gate), [""; 0]);
    b.broadcast_event(Event::CancelCheckpointMarker { checkpoint: 1 }).unwrap();
    assert_eq!(read(&mut gate), ["cancelled 1", "0: a1"]);
    send(a, CheckpointBarrier::aligned(2));
    write(a, "a2");
    send(b, CheckpointBarrier::aligned(3));
    assert_eq!(read(&mut gate), ["subsumed 2", "0: a2"]);
    send(a, CheckpointBarrier::aligned(3));
    assert_eq!(read(&mut gate), ["triggered 3", "completed 3"]);
}

#[test]
fn a_channel_that_ends_or_fails_is_waited_for_no_more() {
    let (_pool, mut writers, gate) = join(3, 4);
    let mut gate = CheckpointedInputGate::exactly_once(gate);
    send(&mut writers[0], CheckpointBarrier::aligned(1));
    write(&mut writers[0], "a1");
    writers.remove(1).close();
    assert_eq!(read(&mut gate), ["1: EndOfPartition"]);
    writers.remove(1).fail("lost");
    assert!(gate.try_next().is_err());
    assert_eq!(read(&mut gate), ["triggered 1", "completed 1", "0: a1"]);
    writers.remove(0).close();
    assert_eq!(read(&mut gate), ["0: EndOfPartition"]);
    assert!(gate.is_ended());
}

#[test]
fn an_unaligned_barrier_triggers_at_once_and_hands_out_what_is_in_flight() {
    let (pool, mut writers, gate) = join(2, 6);
    let mut gate = CheckpointedInputGate::exactly_once(gate);
    let [a, b] = &mut writers[..] else { unreachable!() };
    write(a, "a0");
    assert_eq!(read(&mut gate), ["0: a0"]);
    write(a, "a1");
    write(b, "b1");
    overtake(a, CheckpointBarrier::unaligned(1));
    write(a, "a2");
    assert_eq!(read(&mut gate), ["triggered 1", "0: a1", "1: b1", "0: a2"]);
    write(b, "b2");
    overtake(b, CheckpointBarrier::unaligned(1));
    write(b, "b3");
    assert_eq!(
        read(&mut gate),
        ["completed 1 0: a1 1: b1 1: b2", "1: b2", "1: b3"],
        "what it overtook, and what came before the barrier of the other channel"
    );
    drop((writers, gate));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_barrier_that_times_out_frees_who_waits() {
    let (_pool, mut writers, gate) = join(2, 6);
    let mut gate = CheckpointedInputGate::exactly_once(gate);
    let [a, b] = &mut writers[..] else { unreachable!() };
    let barrier = CheckpointBarrier::aligned(1).timeout(Duration::from_secs(1));
    send(a, barrier.clone());
    write(a, "a1");
    write(b, "b1");
    assert_eq!(read(&mut gate), ["1: b1"]);
    gate.time_out(2);
    assert_eq!(read(&mut gate), [""; 0], "another one");
    gate.time_out(1);
    assert_eq!(read(&mut gate), ["triggered 1", "0: a1"]);
    write(b, "b2");
    send(b, barrier);
    write(b, "b3");
    assert_eq!(read(&mut gate), ["1: b2", "completed 1 1: b2", "1: b3"]);
}

#[test]
fn a_writer_whose_barrier_times_out_overtakes_its_own_data() {
    let (_pool, mut writers, gate) = join(2, 6);
    let mut gate = CheckpointedInputGate::exactly_once(gate);
    let [a, b] = &mut writers[..] else { unreachable!() };
    let barrier = CheckpointBarrier::aligned(1).timeout(Duration::from_secs(1));
    send(b, barrier.clone());
    assert_eq!(read(&mut gate), [""; 0]);
    write(a, "a1");
    send(a, barrier);
    write(a, "a2");
    assert!(a.alignment_timed_out(1).unwrap());
    assert!(b.alignment_timed_out(1).unwrap());
    write(b, "b1");
    assert_eq!(read(&mut gate), ["triggered 1", "completed 1 0: a1", "0: a1", "1: b1", "0: a2"]);
}

#[test]
fn at_least_once_nobody_waits() {
    let (_pool, mut writers, gate) = join(2, 4);
    let mut gate = CheckpointedInputGate::at_least_once(gate);
    let [a, b] = &mut writers[..] else { unreachable!() };
    send(a, CheckpointBarrier::at_least_once(1));
    write(a, "a1");
    assert_eq!(read(&mut gate), ["0: a1"]);
    send(b, CheckpointBarrier::at_least_once(1));
    assert_eq!(read(&mut gate), ["triggered 1", "completed 1"]);
}

#[test]
fn a_union_takes_turns_and_numbers_channels_through() {
    let (_first_pool, mut first, first_gate) = join(2, 2);
    let (_second_pool, mut second, second_gate) = join(1, 2);
    let none = in_process(Vec::new(), 1).1.remove(0); // a gate without a channel
    let mut union = UnionInputGate::new(vec![first_gate, none, second_gate]);
    assert_eq!(union.channels(), 3);
    assert_eq!(read(&mut union), [""; 0]);
    for round in 0..2 {
        write(&mut first[0], "a");
        write(&mut first[1], "b");
        write(&mut second[0], "c");
        assert_eq!(read(&mut union), ["0: a", "2: c", "1: b"], "gates take turns, in round {round}");
    }
    union.block_consumption(2);
    write(&mut second[0], "c2");
    write(&mut first[1], "b2");
    assert_eq!(read(&mut union), ["1: b2"]);
    union.resume_consumption(2);
    assert_eq!(read(&mut union), ["2: c2"]);
    second.remove(0).fail("gone");
    assert!(matches!(union.try_next(), Err(forebay::gate::GateError::ProducerFailed { channel: 2, .. })));
    assert!(!union.is_ended());
    first.drain(..).for_each(RecordWriter::close);
    assert_eq!(read(&mut union), ["0: EndOfPartition", "1: EndOfPartition"]);
    assert!(union.is_ended() && union.next().unwrap().is_none());
}

#[test]
fn a_union_of_gates_is_aligned_as_one_and_read_by_threads() {
    let records = if cfg!(miri) { 100 } else { 2_000_u32 };
    let (pools, parts): (Vec<_>, Vec<_>) = (0..3).map(|_| join(2, 2)).map(|(pool, w, g)| (pool, (w, g))).unzip();
    let (writers, gates): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut writing = Vec::new();
    for mut writer in writers.into_iter().flatten() {
        writing.push(thread::spawn(move || {
            for n in 0..records {
                writer.emit(&u64::from(n)).unwrap();
                if n % 100 == 99 {
                    send(&mut writer, CheckpointBarrier::aligned(i64::from(n / 100)));
                }
            }
            writer.close();
        }));
    }
    let mut reader = RecordReader::new(CheckpointedInputGate::exactly_once(UnionInputGate::new(gates)), 64);
    let mut next = [0; 6];
    let mut checkpoints = 0;
    while let Some(found) = reader.next_or_event().unwrap() {
        match found {
            RecordOrEvent::Record(record) => {
                let channel = record.channel();
                assert_eq!(record.deserialize::<u64>().unwrap(), next[channel]);
                next[channel] += 1;
            }
            RecordOrEvent::Checkpoint(CheckpointEvent::Triggered(barrier)) => {
                assert_eq!(barrier.id, checkpoints);
                checkpoints += 1;
                assert_eq!(next, [checkpoints as u64 * 100; 6], "every channel is cut at its barrier");
            }
            _ => {}
        }
    }
    writing.into_iter().for_each(|writing| writing.join().unwrap());
    assert_eq!((next, checkpoints), ([u64::from(records); 6], i64::from(records / 100)));
    drop(reader);
    assert!(pools.iter().all(|pool| pool.in_use() == 0));
}
