//! What is written on one side is read on the other, and what goes with it.

use std::thread;

use forebay::{
    CheckpointBarrier, Event, StopMode,
    buffer::DataType,
    gate::{BufferOrEvent, GateError, Input, ReadError, RecordReader},
    partition::{Forward, RecordWriter, RoundRobin, WriteError},
    pool::NetworkBufferPool,
    record::RecordError,
    transport::tcp::{Client, Failure, GateOptions, Server},
};

use crate::support::{LONG, channel_error, gate, id, pool, read_all, record, remote, serve, with_sources};

#[test]
fn what_is_written_here_is_read_there() {
    for (size, records) in [(8, 20_000_u64), (100, 5_000), (32_764, 200), (1 << 20, 10)] {
        let pool = pool(64);
        let server = Server::builder().start("127.0.0.1:0").unwrap();
        let producer = pool.local_pool("producer").required(2).maximum(20).build().unwrap();
        let (partition, served) = server.serve(id(1), producer, 2).unwrap();
        let writing = thread::spawn(move || {
            let mut writer = RecordWriter::new(partition, RoundRobin::default());
            for number in 0..records {
                writer.emit(&record(number, size)[..]).unwrap();
            }
            writer.close();
        });
        let client = Client::builder().start().unwrap();
        let mut reader =
            RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0), remote(&server, 1, 1)]), 2 << 20);
        let mut next = [0, 1];
        while let Some(found) = reader.next().unwrap() {
            let number = &mut next[found.channel()];
            assert_eq!(found.bytes(), record(*number, size), "record {number} of {size} bytes");
            *number += 2;
        }
        assert_eq!(next, [records, records + 1]);
        writing.join().unwrap();
        assert!(served.wait_released(LONG));
        assert_eq!(served.lost(), 0);
        drop((reader, client));
        assert!(server.shutdown(LONG));
        assert_eq!(pool.in_use(), 0, "every segment is home");
    }
}

/// Small and large segments, with and without segments of the channel's own.
#[test]
fn any_segments_and_any_credit_will_do() {
    for (segment_size, exclusive, floating) in [(4096, 0, 1), (4096, 2, 0), (32 << 10, 0, 8), (64 << 10, 1, 1)] {
        let pool = NetworkBufferPool::builder().segments(32).segment_size(segment_size).build().unwrap();
        let server = Server::builder().start("127.0.0.1:0").unwrap();
        let (_, writing) = serve(&server, &pool, 1, 2000, 300);
        let client = Client::builder().start().unwrap();
        let options = GateOptions::default().exclusive(exclusive).floating(floating);
        let gate = client.gate(&pool, &options, &[remote(&server, 1, 0)]).unwrap();
        assert_eq!(read_all(gate, 300).unwrap(), 2000);
        writing.join().unwrap().unwrap();
    }
}

#[test]
fn a_partition_may_be_asked_for_before_it_is_there() {
    let pool = pool(32);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let early = gate(&client, &pool, &[remote(&server, 1, 0)]);
    // A channel that is answered says that what came before it on the connection has been taken up.
    let (_, writing) = serve(&server, &pool, 2, 1, 8);
    assert_eq!(read_all(gate(&client, &pool, &[remote(&server, 2, 0)]), 8).unwrap(), 1);
    writing.join().unwrap().unwrap();

    let (_, writing) = serve(&server, &pool, 1, 100, 8);
    assert_eq!(read_all(early, 8).unwrap(), 100);
    writing.join().unwrap().unwrap();
}

#[test]
fn events_cross_in_their_places() {
    let pool = pool(32);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let producer = pool.local_pool("producer").required(1).maximum(4).build().unwrap();
    let (partition, served) = server.serve(id(1), producer, 1).unwrap();
    let mut writer = RecordWriter::new(partition, Forward);
    writer.emit("before").unwrap();
    writer.broadcast_event(CheckpointBarrier::aligned(1).into()).unwrap();
    writer.emit("between").unwrap();
    writer.broadcast_event(CheckpointBarrier::aligned(2).into()).unwrap();
    writer.broadcast_event(Event::CancelCheckpointMarker { checkpoint: 3 }).unwrap();
    writer.emit("behind").unwrap();
    writer.broadcast_event(Event::EndOfData(StopMode::Drain)).unwrap();

    let client = Client::builder().start().unwrap();
    let mut gate = gate(&client, &pool, &[remote(&server, 1, 0)]);
    let mut seen = Vec::new();
    while seen.len() < 7 {
        let (_, found) = gate.next().unwrap().unwrap();
        seen.push(match found {
            BufferOrEvent::Buffer(buffer) => String::from_utf8(buffer[4..].to_vec()).unwrap(),
            BufferOrEvent::Event(event) => format!("{:?}", event.data_type().name().unwrap()),
            other => format!("{other:?}"),
        });
        if seen.len() == 4 {
            // Held up: nothing more comes until the channel is resumed. (That it does not is for the session's own
            // tests.)
            gate.block_consumption(0);
            assert!(gate.try_next().unwrap().is_none());
            gate.resume_consumption(0);
        }
    }
    let barrier = "\"ALIGNED_CHECKPOINT_BARRIER\"";
    let expected = ["before", barrier, "between", barrier, "\"EVENT_BUFFER\"", "behind", "\"END_OF_DATA\""];
    assert_eq!(seen, expected);

    gate.send_task_event(0, b"\0\0\0\x02");
    assert!(gate.try_next().unwrap().is_none());
    assert!(served.wait_acknowledged(LONG), "whoever asks for more has handled all in front of the end of data");
    let event = crate::support::wait_until(|| served.take_task_event());
    assert_eq!(event, (0, b"\0\0\0\x02".to_vec()));
    writer.close();
    assert!(matches!(gate.next().unwrap(), Some((0, BufferOrEvent::Event(Event::EndOfPartition)))));
    assert!(gate.next().unwrap().is_none());
    assert!(served.wait_released(LONG));
}

/// What the other side could not read would cost it the connection, and so all channels that go over it.
#[test]
fn an_event_that_the_wire_can_not_carry_fails_its_own_channel() {
    let large = vec![7; (1 << 20) + 1];
    let broken: [(DataType, &[u8], &str); 6] = [
        (DataType(77), b"\0\0\0\x63", "data type is 77"),
        (DataType::DATA_BUFFER, b"\0\0\0\x63", "data type is 1"),
        (DataType::EVENT_BUFFER, b"", "event is 0"),
        (DataType::EVENT_BUFFER, b"ack", "event is 3"),
        (DataType::EVENT_BUFFER, b"\0\0\0\0", "event is 0"), // the end of the partition
        (DataType::EVENT_BUFFER, &large, "event is 1048577"),
    ];
    let pool = pool(64);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let (_, writing) = serve(&server, &pool, 99, u64::MAX, 100);
    let mut other = RecordReader::new(gate(&client, &pool, &[remote(&server, 99, 0)]), 1024);
    for (number, (data_type, bytes, expected)) in (0..).zip(broken) {
        let producer = pool.local_pool("producer").required(1).build().unwrap();
        let (partition, served) = server.serve(id(number), producer, 1).unwrap();
        let mut writer = RecordWriter::new(partition, Forward);
        writer.emit("before").unwrap();
        writer.broadcast_event(Event::Custom { data_type, bytes: bytes.into() }).unwrap();
        let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, number, 0)]), 1024);
        assert_eq!(reader.next().unwrap().unwrap().bytes(), b"before");
        let error = channel_error(reader.next_or_event().map(|_| ()).unwrap_err());
        assert!(matches!(&error.failure, Failure::Remote { message, .. } if message.contains(expected)), "{error}");
        assert!(served.wait_released(LONG));
        assert!(other.next().unwrap().is_some(), "{expected}: another channel of the connection");
    }
    drop(other);
    assert!(writing.join().unwrap().is_err());
}

/// The writer is without credit, with data queued, when the barrier overtakes them.
#[test]
fn a_priority_event_needs_no_credit() {
    let pool = pool(32);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let producer = pool.local_pool("producer").required(1).maximum(8).build().unwrap();
    let (partition, _) = server.serve(id(1), producer, 1).unwrap();
    let client = Client::builder().start().unwrap();
    let options = GateOptions::default().exclusive(1).floating(0);
    let mut gate = client.gate(&pool, &options, &[remote(&server, 1, 0)]).unwrap();
    let mut writer = RecordWriter::new(partition, Forward);
    for number in 0..4 {
        writer.emit(&record(number, 32_764)[..]).unwrap(); // a segment each
    }
    let (_, BufferOrEvent::Buffer(held)) = gate.next().unwrap().unwrap() else { panic!("data come first") };
    writer.broadcast_priority_event(CheckpointBarrier::unaligned(1).into()).unwrap();
    let (_, found) = gate.next().unwrap().unwrap();
    assert!(matches!(found, BufferOrEvent::Priority { event: Event::CheckpointBarrier(_), .. }), "{found:?}");
    let own = Event::Custom { data_type: DataType::EVENT_BUFFER, bytes: b"\0\0\0\x63 whatever its type"[..].into() };
    writer.broadcast_priority_event(own).unwrap();
    let (_, found) = gate.next().unwrap().unwrap();
    assert!(matches!(found, BufferOrEvent::Priority { event: Event::Custom { .. }, .. }), "{found:?}");
    drop(held);
    writer.close();
    assert!(matches!(gate.next().unwrap().unwrap(), (0, BufferOrEvent::Buffer(_))), "and the data go on");
}

#[test]
fn a_producer_that_fails_says_why() {
    let pool = pool(32);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let producer = pool.local_pool("producer").required(1).build().unwrap();
    let (partition, _) = server.serve(id(1), producer, 1).unwrap();
    let mut writer = RecordWriter::new(partition, Forward);
    writer.emit("before").unwrap();
    let source = RecordError::TooLarge { len: 70, limit: 64, offset: 9 };
    writer.fail(ReadError::Record { channel: 3, source }); // as a task does that reads from another
    let client = Client::builder().start().unwrap();
    let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 1024);
    assert_eq!(reader.next().unwrap().unwrap().bytes(), b"before");
    let error = channel_error(reader.next().unwrap_err());
    let Failure::Remote { message, .. } = &error.failure else { panic!("{error}") };
    assert_eq!(
        message,
        "the producer failed: channel 3 can not be read on: the record at byte 9 of the stream is announced with \
         70 bytes, over the limit of 64"
    );
    assert_eq!((error.sequence, error.subpartition), (1, 0));
}

/// No segment will come for what the peer has to send: the reader hears of it in place of waiting for ever.
#[test]
fn a_pool_that_fails_fails_the_channels_that_wait_for_its_segments() {
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let (producers, readers) = (pool(32), pool(4));
    let (served, writing) = serve(&server, &producers, 1, u64::MAX, 1000);
    let options = GateOptions::default().exclusive(1).floating(0);
    let mut gate = client.gate(&readers, &options, &[remote(&server, 1, 0)]).unwrap();
    let held = gate.next().unwrap().unwrap(); // the only segment it may have
    readers.fail("cancelled");
    let GateError::ProducerFailed { cause, .. } = gate.next().unwrap_err() else { panic!() };
    let cause = with_sources(&*cause);
    assert!(cause.ends_with("ended before buffer 1: no segment can be had for what comes: cancelled"), "{cause}");
    assert!(writing.join().unwrap().is_err(), "and its writer is told");
    assert!(served.wait_released(LONG));
    drop((held, gate, client));
    assert_eq!(readers.in_use(), 0);
}

#[test]
fn a_reader_that_goes_away_stops_its_writer() {
    let pool = pool(32);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let (served, writing) = serve(&server, &pool, 1, u64::MAX, 1000);
    let client = Client::builder().start().unwrap();
    let mut reading = gate(&client, &pool, &[remote(&server, 1, 0)]);
    assert!(reading.next().unwrap().is_some());
    assert_eq!(served.lost(), 0);
    drop(reading);
    assert!(served.wait_released(LONG));
    assert_eq!(served.lost(), 1);
    assert!(writing.join().unwrap().is_err());
    // The connection is as good as before.
    let (_, writing) = serve(&server, &pool, 2, 100, 8);
    assert_eq!(read_all(gate(&client, &pool, &[remote(&server, 2, 0)]), 8).unwrap(), 100);
    writing.join().unwrap().unwrap();
}

#[test]
fn what_is_removed_is_released_and_another_may_have_its_id() {
    let pool = pool(32);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let producer = pool.local_pool("producer").required(2).build().unwrap();
    let (partition, served) = server.serve(id(1), producer, 2).unwrap();
    let mut writer = RecordWriter::new(partition, Forward);
    writer.emit("for the one that asks").unwrap();
    let client = Client::builder().start().unwrap();
    let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 1024);
    writer.flush();
    assert!(reader.next().unwrap().is_some());
    served.clone().remove();
    assert!(!served.wait_released(std::time::Duration::ZERO), "one of two has its consumer");
    writer.emit_to_one("more", 0).unwrap();
    writer.flush();
    assert_eq!(reader.next().unwrap().unwrap().bytes(), b"more");
    let _ = writer.emit_to_one("nobody's", 1); // which the writer hears when it tells of it
    writer.flush();
    assert!(matches!(writer.emit_to_one("nobody's", 1), Err(WriteError::Released { subpartition: 1 })));
    writer.close();
    assert!(reader.next().unwrap().is_none());
    assert!(served.wait_released(LONG), "the other will have none");

    let (_, writing) = serve(&server, &pool, 1, 100, 8);
    served.remove(); // which it was already: the other of that id stays
    assert_eq!(read_all(gate(&client, &pool, &[remote(&server, 1, 0)]), 8).unwrap(), 100);
    writing.join().unwrap().unwrap();
}

#[test]
fn what_can_not_be_had_says_so() {
    let pool = pool(32);
    let mut quick = forebay::transport::tcp::ServerLimits::default();
    quick.partition_wait = std::time::Duration::ZERO;
    let server = Server::builder().limits(quick).start("127.0.0.1:0").unwrap();
    let client = Client::builder().partition_wait(std::time::Duration::ZERO).start().unwrap();
    let error = read_all(gate(&client, &pool, &[remote(&server, 1, 0)]), 8).unwrap_err();
    assert!(matches!(error.failure, Failure::NotFound { .. }), "{error}");

    // Nobody can listen on port 0; a port that was free a moment ago may be another test's by now.
    let nowhere = forebay::transport::tcp::RemotePartition::new("127.0.0.1:0", id(1), 0);
    let client = Client::builder().attempts(2, std::time::Duration::ZERO).start().unwrap();
    let error = read_all(gate(&client, &pool, &[nowhere]), 8).unwrap_err();
    assert!(matches!(error.failure, Failure::Connect { attempts: 2, .. }), "{error}");

    let (_served, writing) = serve(&server, &pool, 2, 1, 8);
    let client = Client::builder().start().unwrap();
    let error = read_all(gate(&client, &pool, &[remote(&server, 2, 7)]), 8).unwrap_err();
    assert!(with_sources(&*error).contains("the peer says: subpartition 7 of 1 "), "{error:?}");
    writing.join().unwrap().unwrap();
}

#[test]
fn a_shutdown_lets_everything_arrive() {
    let pool = pool(32);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let (_, writing) = serve(&server, &pool, 1, 5000, 100);
    let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 1024);
    assert!(reader.next().unwrap().is_some());
    let ending = thread::spawn(move || server.shutdown(LONG));
    let mut count = 1;
    while reader.next().unwrap().is_some() {
        count += 1;
    }
    assert_eq!(count, 5000);
    writing.join().unwrap().unwrap();
    assert!(ending.join().unwrap());
}

/// A full buffer is moved by the system alone, on both sides.
#[test]
fn full_buffers_are_not_copied() {
    let pool = pool(64);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let (_, writing) = serve(&server, &pool, 1, 500, 32_764);
    assert_eq!(read_all(gate(&client, &pool, &[remote(&server, 1, 0)]), 32_764).unwrap(), 500);
    writing.join().unwrap().unwrap();
    // It is counted once a connection comes to rest.
    let received = crate::support::wait_until(|| Some(client.received()).filter(|received| received.buffers == 500));
    assert_eq!((received.buffers, received.bytes, received.copied), (500, 500 * 32_768, 0));
    drop(client);
    assert_eq!(server.sent().copied, 0);
}
