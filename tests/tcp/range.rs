//! Several subpartitions read as one channel.

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use forebay::{
    Event,
    gate::{RecordOrEvent, RecordReader},
    transport::tcp::{Client, Failure, GateOptions, OpenError, RemotePartition, Server},
    wire::{Decoder, Limits, Message, ResultSubpartitionIndexSet, Role},
};

use crate::support::{LONG, channel_error, gate, id, pool, read_all, remote, serve};

/// What a Flink has sent of three subpartitions of a blocking partition, each frame for whoever asks now.
fn captured(receiver: [u8; 16]) -> Vec<u8> {
    let capture = include_str!("../data/flink/blocking-range.hex");
    let mut bytes = Vec::new();
    for frame in capture.lines().filter_map(|line| line.strip_prefix("< ")).filter(|frame| !frame.starts_with("closed"))
    {
        let at = bytes.len();
        let digits = frame.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        bytes.extend(digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()));
        bytes[at + 9..at + 25].copy_from_slice(&receiver);
    }
    bytes
}

#[test]
fn a_range_of_a_blocking_partition_is_one_channel() {
    let pool = pool(32);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let several = RemotePartition::range(listener.local_addr().unwrap().to_string(), id(1), 0..=2);
    let mut reader = RecordReader::new(gate(&client, &pool, &[several]), 1024);
    let (mut flink, _) = listener.accept().unwrap();
    let mut asked = [0; 97];
    flink.read_exact(&mut asked).unwrap();
    let request = Decoder::new(Role::Consumer, Limits::default()).next(&asked, &mut 0).unwrap();
    let Some(Message::PartitionRequest(request)) = request else { panic!("{request:?}") };
    assert_eq!(request.subpartitions, ResultSubpartitionIndexSet { first: 0, last: 2 });
    flink.write_all(&captured(request.receiver.0)).unwrap();

    let (mut records, mut events) = (0, Vec::new());
    while let Some(found) = reader.next_or_event().unwrap() {
        match found {
            RecordOrEvent::Record(record) => {
                assert!(events.is_empty() && record.bytes().len() == 105, "a tag, a length and 100 bytes");
                records += 1;
            }
            RecordOrEvent::Event { channel: 0, event } => events.push(event),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(records, 9, "three of each");
    assert!(matches!(events[..], [Event::EndOfData(_), Event::EndOfPartition]), "once for all: {events:?}");
}

#[test]
fn a_range_that_ends_too_early_is_no_whole() {
    let pool = pool(32);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let several = RemotePartition::range(listener.local_addr().unwrap().to_string(), id(1), 4..=7);
    let mut reader = RecordReader::new(gate(&client, &pool, &[several]), 1024);
    let (mut flink, _) = listener.accept().unwrap();
    let mut asked = [0; 97];
    flink.read_exact(&mut asked).unwrap();
    flink.write_all(&captured(*asked[77..93].first_chunk().unwrap())).unwrap(); // three, and four were asked for
    drop(flink);
    let error = loop {
        match reader.next() {
            Ok(found) => assert!(found.is_some(), "the fourth has not ended"),
            Err(error) => break channel_error(error),
        }
    };
    assert!(error.to_string().starts_with("subpartitions 4-7 of partition"), "{error}");
}

#[test]
fn a_range_of_a_pipelined_partition_is_refused_and_the_connection_goes_on() {
    let pool = pool(32);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let (served, writing) = serve(&server, &pool, 1, 100, 8);
    let several = RemotePartition::range(server.local_addr().to_string(), id(1), 0..=1);
    let error = read_all(gate(&client, &pool, &[several]), 8).unwrap_err();
    let Failure::Remote { message, .. } = &error.failure else { panic!("{error}") };
    assert!(message.contains("this partition is pipelined, ask for each by itself"), "{error}");
    assert_eq!(read_all(gate(&client, &pool, &[remote(&server, 1, 0)]), 8).unwrap(), 100);
    writing.join().unwrap().unwrap();
    assert!(served.wait_released(LONG));
    assert_eq!(server.connections(), 1);
}

#[test]
#[allow(clippy::reversed_empty_ranges, reason = "what is refused")]
fn a_range_of_none_is_refused() {
    let client = Client::builder().start().unwrap();
    let none = RemotePartition::range("localhost:1", id(1), 2..=1);
    let refused = client.gate(&pool(8), &GateOptions::default(), &[none]);
    assert!(matches!(refused, Err(OpenError::EmptyRange { first: 2, last: 1 })));
}
