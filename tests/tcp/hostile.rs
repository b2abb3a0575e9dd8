//! Peers that are broken, hostile, slow or suddenly gone.

use std::{io::Write, net::Shutdown, thread, time::Duration};

use forebay::{
    buffer::DataType,
    gate::RecordReader,
    transport::tcp::{Client, Failure, RemotePartition, Server},
    wire::{
        BufferResponse, Decoder, InputChannelId, Limits, Message, PartitionRequest, ResultSubpartitionIndexSet, Role,
    },
};

use crate::support::{
    LONG, Observed, Raw, channel_error, gate, id, limits, pool, read_all, remote, serve, with_sources,
};

fn request(number: u8, receiver: u8, credit: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let request = PartitionRequest {
        partition: id(number),
        subpartitions: ResultSubpartitionIndexSet::one(0),
        receiver: InputChannelId([receiver; 16]),
        credit,
    };
    Message::PartitionRequest(request).encode(&mut bytes).unwrap();
    bytes
}

/// What a good client reads is what it always reads: the server is well.
fn is_well(observed: &Observed) {
    let pool = pool(32);
    let client = Client::builder().start().unwrap();
    let (served, writing) = serve(&observed.server, &pool, 99, 100, 100);
    assert_eq!(read_all(gate(&client, &pool, &[remote(&observed.server, 99, 0)]), 100).unwrap(), 100);
    writing.join().unwrap().unwrap();
    served.remove();
}

#[test]
fn garbage_is_answered_and_cut_off() {
    let observed = Observed::start(Server::builder());
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        &[0xff; 64],
        &[0; 64],
        &[0, 0, 0, 97, 0xBA, 0xDC, 0x0F, 0xFE, 0], // a producer's message
        &[0x7f, 0xff, 0xff, 0xff, 0xBA, 0xDC, 0x0F, 0xFE, 3], // 2 GiB of a task event
    ];
    for bytes in garbage {
        let mut raw = Raw::connect(observed.address());
        raw.send(bytes);
        let answer = raw.read_to_end();
        let mut decoder = Decoder::new(Role::Producer, Limits::default());
        let message = decoder.next(&answer, &mut 0).unwrap();
        assert!(matches!(message, Some(Message::ErrorResponse(error)) if error.receiver.is_none()), "{bytes:?}");
    }
    assert!(observed.ends(5).iter().all(|end| end.contains("does not speak the protocol")));
    is_well(&observed);
}

#[test]
fn who_asks_for_nothing_is_shown_out() {
    let mut quick = limits();
    quick.first_request = Duration::from_millis(20);
    let observed = Observed::start(Server::builder().limits(quick));
    assert!(Raw::connect(observed.address()).read_to_end().is_empty());
    let mut raw = Raw::connect(observed.address());
    raw.send(&request(1, 1, 1)[..50]); // half a request is none
    assert!(raw.read_to_end().is_empty());
    assert!(observed.ends(2).iter().all(|end| end.contains("no partition request")), "{:?}", observed.ends(2));
}

#[test]
fn a_message_must_come_to_its_end() {
    let mut quick = limits();
    quick.message = Duration::from_millis(20);
    let observed = Observed::start(Server::builder().limits(quick));
    let mut raw = Raw::connect(observed.address());
    raw.send(&request(1, 1, 1));
    raw.send(&[0, 0, 0, 29, 0xBA]);
    assert!(raw.read_to_end().is_empty());
    assert!(observed.ends(1)[0].contains("was not complete"), "{:?}", observed.ends(1));
}

/// Limits that are no limits, and are added to the time nevertheless.
#[test]
fn patience_without_end_is_no_error() {
    let mut patient = limits();
    patient.first_request = Duration::MAX;
    patient.message = Duration::MAX;
    patient.stalled_write = Duration::MAX;
    patient.partition_wait = Duration::MAX;
    (patient.requests, patient.connections, patient.task_event) = (u32::MAX, u32::MAX, u32::MAX);
    let observed = Observed::start(Server::builder().limits(patient));
    let client = Client::builder().partition_wait(Duration::MAX).connect_timeout(Duration::MAX).start().unwrap();
    let pool = pool(32);
    let early = gate(&client, &pool, &[remote(&observed.server, 1, 0)]);
    is_well(&observed);
    let (_served, writing) = serve(&observed.server, &pool, 1, 100, 100);
    assert_eq!(read_all(early, 100).unwrap(), 100);
    writing.join().unwrap().unwrap();
}

#[test]
fn who_grants_credit_must_take_what_comes() {
    let mut quick = limits();
    quick.stalled_write = Duration::from_millis(50);
    let observed = Observed::start(Server::builder().limits(quick));
    let pool = pool(32);
    let (served, writing) = serve(&observed.server, &pool, 1, u64::MAX, 30_000);
    let mut raw = Raw::connect(observed.address());
    raw.send(&request(1, 1, 1_000_000));
    assert!(observed.ends(1)[0].contains("took nothing"), "{:?}", observed.ends(1));
    assert!(writing.join().unwrap().is_err(), "its writer is told");
    assert!(served.wait_released(LONG));
    is_well(&observed);
}

#[test]
fn connections_and_requests_are_counted() {
    let mut few = limits();
    few.connections = 2;
    few.requests = 3;
    let observed = Observed::start(Server::builder().limits(few));
    let mut first = Raw::connect(observed.address());
    for receiver in 0..4 {
        first.send(&request(1, receiver, 1));
    }
    let mut header = [0; 9];
    std::io::Read::read_exact(&mut first.0, &mut header).unwrap();
    assert_eq!(header[8], 1, "the fourth is refused by an error; the others wait");
    let _second = Raw::connect(observed.address());
    assert!(Raw::connect(observed.address()).read_to_end().is_empty());
    assert!(observed.ends(1)[0].contains("more than 2 connections"));
}

#[test]
fn a_peer_that_is_killed_is_an_error_on_the_other_side() {
    let pool = pool(32);
    // The producer's side goes.
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let (_, writing) = serve(&server, &pool, 1, u64::MAX, 1000);
    let client = Client::builder().start().unwrap();
    let mut reader = RecordReader::new(gate(&client, &pool, &[remote(&server, 1, 0)]), 4096);
    assert!(reader.next().unwrap().is_some());
    let address = server.local_addr().to_string();
    drop(server);
    assert!(writing.join().unwrap().is_err());
    let error = loop {
        match reader.next() {
            Ok(found) => assert!(found.is_some(), "never an end"),
            Err(error) => break channel_error(error),
        }
    };
    assert!(matches!(error.failure, Failure::Closed | Failure::Lost(_)), "{error}");
    assert!(error.to_string().contains(&address) && error.sequence > 0, "{error}");
    drop((reader, client));

    // The consumer's side goes.
    let observed = Observed::start(Server::builder());
    let (served, writing) = serve(&observed.server, &pool, 1, u64::MAX, 1000);
    let mut raw = Raw::connect(observed.address());
    raw.send(&request(1, 1, 2));
    drop(raw);
    assert!(writing.join().unwrap().is_err());
    assert!(served.wait_released(LONG));
    assert_eq!(served.lost(), 1);
    drop((observed, served));
    assert_eq!(pool.in_use(), 0, "every segment is home");
}

/// A socket that is closed before its peer has said its last takes back what that has not read yet.
#[test]
fn what_a_peer_says_behind_the_end_costs_it_nothing() {
    let observed = Observed::start(Server::builder());
    let pool = pool(32);
    let (_served, writing) = serve(&observed.server, &pool, 1, 3, 100);
    let mut raw = Raw::connect(observed.address());
    raw.send(&request(1, 1, 2));
    writing.join().unwrap().unwrap();
    raw.wait_for_first();
    let ending = thread::spawn(move || observed.server.shutdown(LONG));
    assert!(raw.read_to_end().len() > 3 * 100, "and an end");
    let mut late = Vec::new();
    Message::AddCredit { credit: 1, receiver: InputChannelId([1; 16]) }.encode(&mut late).unwrap();
    raw.send(&late.repeat((16 << 20) / late.len())); // more than sockets hold: it is read
    drop(raw);
    assert!(ending.join().unwrap());
}

#[test]
fn a_peer_that_does_not_close_holds_up_a_shutdown_for_its_time_and_no_longer() {
    let mut quick = limits();
    quick.stalled_write = Duration::from_millis(50);
    let observed = Observed::start(Server::builder().limits(quick));
    let pool = pool(32);
    let (_served, writing) = serve(&observed.server, &pool, 1, 3, 100);
    let mut raw = Raw::connect(observed.address());
    raw.send(&request(1, 1, 2));
    writing.join().unwrap().unwrap();
    raw.wait_for_first();
    assert!(observed.server.shutdown(LONG), "not for all the time that the shutdown has");
    assert!(raw.read_to_end().len() > 3 * 100, "it had all, and an end");
}

#[test]
fn half_a_peer_is_none() {
    let pool = pool(32);
    // One that will send no more requests, with a channel open.
    let observed = Observed::start(Server::builder());
    let (served, writing) = serve(&observed.server, &pool, 1, u64::MAX, 1000);
    let mut raw = Raw::connect(observed.address());
    raw.send(&request(1, 1, 2));
    raw.0.shutdown(Shutdown::Write).unwrap();
    assert!(writing.join().unwrap().is_err());
    assert!(served.wait_released(LONG));
    // One that will send no more buffers, in the middle of one.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let remote = RemotePartition::new(listener.local_addr().unwrap().to_string(), id(1), 0);
    let gate = gate(&client, &pool, &[remote]);
    let (mut stream, _) = listener.accept().unwrap();
    let mut asked = [0; 97];
    std::io::Read::read_exact(&mut stream, &mut asked).unwrap();
    let header = BufferResponse {
        receiver: InputChannelId(*asked[77..].first_chunk().unwrap()),
        subpartition: Some(0),
        partials: 0,
        sequence_number: 0,
        backlog: 0,
        data_type: DataType::DATA_BUFFER,
        compressed: false,
        size: 100,
    };
    stream.write_all(&header.encode().unwrap()).unwrap();
    stream.write_all(&[0; 50]).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let error = read_all(gate, 8).unwrap_err();
    assert!(matches!(error.failure, Failure::Closed), "{error}");
    drop(client);
    drop((observed, served));
    assert_eq!(pool.in_use(), 0, "every segment is home");
}

/// A producer that breaks the rules: each is found, and named.
#[test]
fn a_producer_that_breaks_the_rules_is_named() {
    let data = BufferResponse {
        receiver: InputChannelId([0; 16]),
        subpartition: Some(0),
        partials: 0,
        sequence_number: 0,
        backlog: 0,
        data_type: DataType::DATA_BUFFER,
        compressed: false,
        size: 4,
    };
    type Breaks = fn(BufferResponse) -> Vec<(BufferResponse, usize)>;
    let broken: [(Breaks, &str); 4] = [
        (|data| vec![(BufferResponse { sequence_number: 1, ..data }, 4)], "buffer 1 came"),
        (|data| (0..3).map(|n| (BufferResponse { sequence_number: n, ..data }, 4)).collect(), "without credit"),
        (|data| vec![(BufferResponse { size: 40_000, ..data }, 40_000)], "segments of one size"),
        (|data| vec![(BufferResponse { data_type: DataType::EVENT_BUFFER, size: 2, ..data }, 2)], "event"),
    ];
    for (messages, expected) in broken {
        let pool = pool(32);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::builder().start().unwrap();
        let remote = RemotePartition::new(listener.local_addr().unwrap().to_string(), id(1), 0);
        // Two segments, and nobody gives one back.
        let options = forebay::transport::tcp::GateOptions::default().exclusive(2).floating(0);
        let mut gate = client.gate(&pool, &options, &[remote]).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        let mut asked = [0; 97];
        std::io::Read::read_exact(&mut stream, &mut asked).unwrap();
        let receiver = InputChannelId(*asked[77..].first_chunk().unwrap());
        let sending = thread::spawn(move || {
            for (header, size) in messages(BufferResponse { receiver, ..data }) {
                stream.write_all(&header.encode().unwrap()).unwrap();
                stream.write_all(&vec![0xee; size]).unwrap();
            }
            stream
        });
        let mut held = Vec::new();
        let error = loop {
            match gate.next() {
                Ok(found) => held.push(found.expect("no end")),
                Err(error) => break error,
            }
        };
        let forebay::gate::GateError::ProducerFailed { cause, .. } = error else { panic!("{error}") };
        let cause = with_sources(&*cause);
        assert!(cause.contains(expected), "{cause}");
        drop(sending.join().unwrap());
    }
}
