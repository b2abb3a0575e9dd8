//! Events: in order with the data, or ahead of it; one for all readers; and what they overtake.

use forebay::{
    CheckpointBarrier, Event, StopMode,
    buffer::{Buffer, DataType},
    gate::{BufferOrEvent, Input, InputGate, RecordOrEvent, RecordReader},
    partition::{Forward, RecordWriter, ResultPartition, RoundRobin, WriteError},
    pool::NetworkBufferPool,
    transport::in_process,
};

const SEGMENT: usize = 4096;

fn join(consumers: usize, segments: u32) -> (NetworkBufferPool, ResultPartition, Vec<InputGate>) {
    let pool = NetworkBufferPool::builder().segments(segments).segment_size(SEGMENT).build().unwrap();
    let local = pool.local_pool("writer").required(segments).build().unwrap();
    let (mut partitions, gates) = in_process(vec![local], consumers);
    (pool, partitions.remove(0), gates)
}

fn priority(gate: &mut InputGate) -> (Event, Vec<Buffer>) {
    match gate.try_next().unwrap() {
        Some((0, BufferOrEvent::Priority { event, overtaken })) => (event, overtaken),
        other => panic!("{other:?}"),
    }
}

fn buffer(gate: &mut InputGate) -> Buffer {
    match gate.try_next().unwrap() {
        Some((0, BufferOrEvent::Buffer(buffer))) => buffer,
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_stand_between_the_records_they_were_sent_between() {
    let (_pool, partition, mut gates) = join(2, 8);
    let mut writer = RecordWriter::new(partition, RoundRobin::default());
    let own = Event::Custom { data_type: DataType(77), bytes: b"opaque"[..].into() };
    writer.emit("a").unwrap();
    writer.emit("b").unwrap();
    writer.broadcast_event(own).unwrap();
    writer.broadcast("both").unwrap();
    writer.broadcast_event(CheckpointBarrier::at_least_once(3).into()).unwrap();
    writer.broadcast_event(Event::EndOfData(StopMode::NoDrain)).unwrap();
    writer.close();
    for (gate, first) in gates.drain(..).zip(["a", "b"]) {
        let mut reader = RecordReader::new(gate, 16);
        let mut seen = Vec::new();
        while let Some(found) = reader.next_or_event().unwrap() {
            seen.push(match found {
                RecordOrEvent::Record(record) => record.deserialize::<&str>().unwrap().to_owned(),
                RecordOrEvent::Event { channel: 0, event: Event::Custom { data_type, bytes } } => {
                    format!("{data_type}: {}", bytes.escape_ascii())
                }
                RecordOrEvent::Event { channel: 0, event: Event::CheckpointBarrier(barrier) } => {
                    format!("barrier {}", barrier.id)
                }
                RecordOrEvent::Event { event, .. } => format!("{event:?}"),
                other => panic!("{other:?}"),
            });
            assert_eq!(reader.gate().has_received_end_of_data(), seen.len() >= 5);
        }
        assert_eq!(seen, [first, "type 77: opaque", "both", "barrier 3", "EndOfData(NoDrain)", "EndOfPartition"]);
    }
}

#[test]
fn a_reader_of_records_skips_events() {
    let (_pool, partition, mut gates) = join(1, 4);
    let mut writer = RecordWriter::new(partition, Forward);
    writer.emit("one").unwrap();
    writer.broadcast_event(CheckpointBarrier::aligned(1).into()).unwrap();
    writer.broadcast_priority_event(CheckpointBarrier::unaligned(2).into()).unwrap();
    writer.emit("two").unwrap();
    writer.close();
    let mut reader = RecordReader::new(gates.remove(0), 16);
    assert_eq!(reader.next().unwrap().unwrap().bytes(), b"one");
    assert_eq!(reader.next().unwrap().unwrap().bytes(), b"two");
    assert!(reader.next().unwrap().is_none());
}

#[test]
fn one_event_is_shared_by_all_readers() {
    let (_pool, partition, mut gates) = join(3, 3);
    let mut writer = RecordWriter::new(partition, Forward);
    let bytes: std::sync::Arc<[u8]> = b"big"[..].into();
    writer.broadcast_event(Event::Custom { data_type: DataType::EVENT_BUFFER, bytes: bytes.clone() }).unwrap();
    assert_eq!(std::sync::Arc::strong_count(&bytes), 2, "not one for each");
    for gate in &mut gates {
        let Some((0, BufferOrEvent::Event(Event::Custom { bytes: seen, .. }))) = gate.try_next().unwrap() else {
            panic!()
        };
        assert!(std::sync::Arc::ptr_eq(&seen, &bytes));
    }
}

#[test]
fn an_end_is_no_event_to_broadcast() {
    let (_pool, partition, mut gates) = join(1, 1);
    let mut writer = RecordWriter::new(partition, Forward);
    assert_eq!(writer.broadcast_event(Event::EndOfPartition), Err(WriteError::Ends));
    assert_eq!(writer.broadcast_priority_event(Event::EndOfPartition), Err(WriteError::Ends));
    assert!(gates[0].try_next().unwrap().is_none());
    drop(gates);
    let gone = Err(WriteError::Released { subpartition: 0 });
    assert_eq!(writer.broadcast_priority_event(CheckpointBarrier::unaligned(1).into()), gone);
    assert_eq!(writer.broadcast_event(CheckpointBarrier::aligned(1).into()), gone);
}

/// What it overtakes is exactly what was written and not read, in order, and comes again.
#[test]
fn a_priority_event_hands_out_what_it_overtakes() {
    let (pool, partition, mut gates) = join(1, 8);
    let mut writer = RecordWriter::new(partition, Forward);
    let gate = &mut gates[0];
    writer.emit("read").unwrap();
    writer.flush();
    assert_eq!(&buffer(gate)[4..], b"read");
    writer.emit("half a segment").unwrap(); // in the same segment, of which the reader has a part already
    writer.broadcast_event(CheckpointBarrier::at_least_once(1).into()).unwrap();
    writer.emit(&vec![7_u8; 2 * SEGMENT]).unwrap();
    assert_eq!(writer.partition().backlog(0), 3, "finished ones");
    writer.broadcast_priority_event(CheckpointBarrier::unaligned(2).into()).unwrap();
    writer.emit("behind").unwrap();
    writer.broadcast_priority_event(CheckpointBarrier::unaligned(3).into()).unwrap();

    let (event, first) = priority(gate);
    assert!(matches!(event, Event::CheckpointBarrier(barrier) if barrier.id == 2));
    assert_eq!(first.iter().map(|buffer| buffer.len()).collect::<Vec<_>>(), [18, 4096, 4096, 4]);
    let (event, second) = priority(gate);
    assert!(matches!(event, Event::CheckpointBarrier(barrier) if barrier.id == 3));
    assert_eq!(second.len(), 5, "and what came between the two");
    assert_eq!(&second[4][4..], b"behind");

    assert_eq!(buffer(gate).as_ptr(), first[0].as_ptr(), "the very bytes");
    assert!(matches!(gate.try_next().unwrap(), Some((0, BufferOrEvent::Event(_)))), "events are not overtaken data");
    for overtaken in &second[1..] {
        assert_eq!(buffer(gate).as_ptr(), overtaken.as_ptr());
    }
    assert!(gate.try_next().unwrap().is_none());
    drop((first, second, writer, gates));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_priority_event_comes_before_what_other_channels_have_waiting() {
    let pool = NetworkBufferPool::builder().segments(6).segment_size(SEGMENT).build().unwrap();
    let locals = (0..3).map(|_| pool.local_pool("writer").required(2).build().unwrap()).collect();
    let (partitions, mut gates) = in_process(locals, 1);
    let mut writers: Vec<_> = partitions.into_iter().map(|partition| RecordWriter::new(partition, Forward)).collect();
    for writer in &mut writers {
        writer.emit("data").unwrap();
        writer.flush();
    }
    writers[2].broadcast_priority_event(CheckpointBarrier::unaligned(1).into()).unwrap();
    let (channel, BufferOrEvent::Priority { overtaken, .. }) = gates[0].try_next().unwrap().unwrap() else { panic!() };
    assert_eq!((channel, overtaken.len()), (2, 1));
}

#[test]
fn a_barrier_that_timed_out_overtakes_what_was_before_it() {
    let (_pool, partition, mut gates) = join(1, 4);
    let mut writer = RecordWriter::new(partition, Forward);
    let barrier = CheckpointBarrier::aligned(5).timeout(std::time::Duration::from_secs(1));
    assert!(!writer.alignment_timed_out(5).unwrap(), "not sent yet");
    writer.emit("before").unwrap();
    writer.broadcast_event(barrier.into()).unwrap();
    writer.emit("behind").unwrap();
    writer.flush();
    assert!(!writer.alignment_timed_out(4).unwrap());
    assert!(writer.alignment_timed_out(5).unwrap());
    assert!(!writer.alignment_timed_out(5).unwrap(), "once");
    let gate = &mut gates[0];
    let (event, overtaken) = priority(gate);
    assert!(matches!(event, Event::CheckpointBarrier(barrier) if barrier.id == 5 && barrier.is_unaligned()));
    assert_eq!(overtaken.iter().map(|buffer| &buffer[4..]).collect::<Vec<_>>(), [b"before"]);
    assert_eq!(&buffer(gate)[4..], b"before");
    assert!(matches!(gate.try_next().unwrap(), Some((0, BufferOrEvent::Event(Event::CheckpointBarrier(_))))));
    assert_eq!(&buffer(gate)[4..], b"behind");
}

#[test]
fn a_blocked_channel_is_left_alone_but_for_priority_events() {
    let pool = NetworkBufferPool::builder().segments(4).segment_size(SEGMENT).build().unwrap();
    let locals = (0..2).map(|_| pool.local_pool("writer").required(2).build().unwrap()).collect();
    let (partitions, mut gates) = in_process(locals, 1);
    let mut writers: Vec<_> = partitions.into_iter().map(|partition| RecordWriter::new(partition, Forward)).collect();
    let gate = &mut gates[0];
    gate.block_consumption(0);
    for writer in &mut writers {
        writer.emit("data").unwrap();
        writer.flush();
    }
    assert!(matches!(gate.try_next().unwrap(), Some((1, BufferOrEvent::Buffer(_)))));
    assert!(gate.try_next().unwrap().is_none(), "the other is blocked");
    writers[0].emit("more").unwrap();
    writers[0].flush();
    writers[0].broadcast_priority_event(CheckpointBarrier::unaligned(1).into()).unwrap();
    assert!(matches!(gate.try_next().unwrap(), Some((0, BufferOrEvent::Priority { .. }))));
    assert!(gate.try_next().unwrap().is_none());
    gate.resume_consumption(0);
    gate.resume_consumption(0); // harmless
    let Some((0, BufferOrEvent::Buffer(all))) = gate.try_next().unwrap() else { panic!() };
    assert_eq!(&*all, b"\0\0\0\x04data\0\0\0\x04more");
    assert!(gate.try_next().unwrap().is_none());
    gate.block_consumption(0);
    gate.resume_consumption(0); // before its turn came
    writers[0].emit("again").unwrap();
    writers[0].flush();
    assert!(matches!(gate.try_next().unwrap(), Some((0, BufferOrEvent::Buffer(_)))));
}

#[test]
fn a_writer_can_have_what_its_event_overtakes() {
    let (pool, partition, mut gates) = join(2, 6);
    let mut writer = RecordWriter::new(partition, RoundRobin::default());
    ["a1", "b1"].into_iter().for_each(|text| writer.emit(text).unwrap());
    let mut overtaken = writer.broadcast_priority_event_and_capture(CheckpointBarrier::unaligned(1).into()).unwrap();
    writer.emit("a2").unwrap();
    assert!(overtaken.try_buffers().is_none(), "no reader has come to it");
    let gone = gates.pop().unwrap();
    let mut gate = gates.pop().unwrap();
    assert!(priority(&mut gate).1.is_empty(), "they are the writer's");
    assert!(overtaken.try_buffers().is_none(), "one has");
    assert_eq!(&buffer(&mut gate)[4..], b"a1", "they are delivered all the same");
    drop(gone);
    let buffers = overtaken.buffers();
    assert_eq!(buffers.iter().map(|(to, buffer)| (*to, &buffer[4..])).collect::<Vec<_>>(), [(0, &b"a1"[..])]);
    assert!(writer.alignment_timed_out_and_capture(1).is_none());
    let late = writer.broadcast_priority_event_and_capture(CheckpointBarrier::unaligned(2).into()).unwrap();
    drop(gate);
    assert!(late.buffers().is_empty(), "readers that are gone have nothing in flight");
    drop((writer, buffers));
    assert_eq!(pool.in_use(), 0);
}
