//! Many channels on one connection, and many connections.

use std::thread;

use forebay::{
    gate::{BufferOrEvent, RecordReader},
    partition::{RecordWriter, RoundRobin},
    transport::tcp::{Client, GateOptions, Server},
};

use crate::support::{LONG, gate, id, pool, read_all, record, remote, serve, wait_until};

/// One gate of one channel stands still with all its segments; a gate of a thousand others, on the same connection,
/// gets everything.
#[test]
fn one_stalled_channel_of_a_thousand_holds_up_nobody() {
    const CHANNELS: u32 = 1000;
    const ROUNDS: u64 = 20;
    let pool = pool(4096);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    let (_, stalled_writing) = serve(&server, &pool, 2, u64::MAX, 10_000);
    let mut stalled = gate(&client, &pool, &[remote(&server, 2, 0)]);
    let held: Vec<_> = (0..10).map(|_| stalled.next().unwrap().unwrap()).collect(); // all that it may have

    let producer = pool.local_pool("producer").required(CHANNELS).build().unwrap();
    let (partition, _) = server.serve(id(1), producer, CHANNELS as usize).unwrap();
    let writing = thread::spawn(move || {
        let mut writer = RecordWriter::new(partition, RoundRobin::default());
        for round in 0..ROUNDS {
            for _ in 0..CHANNELS {
                writer.emit(&record(round, 2000)[..]).unwrap();
            }
        }
        writer.close();
    });
    let remotes: Vec<_> = (0..CHANNELS).map(|subpartition| remote(&server, 1, subpartition)).collect();
    let options = GateOptions::default().exclusive(1);
    let mut reader = RecordReader::new(client.gate(&pool, &options, &remotes).unwrap(), 4096);
    let mut rounds = vec![0; CHANNELS as usize];
    while let Some(found) = reader.next().unwrap() {
        let round = &mut rounds[found.channel()];
        assert_eq!(found.bytes(), record(*round, 2000));
        *round += 1;
    }
    assert!(rounds.iter().all(|&round| round == ROUNDS));
    writing.join().unwrap();
    assert!(held.iter().all(|(_, found)| matches!(found, BufferOrEvent::Buffer(_))));
    assert_eq!(server.connections(), 1, "all of it went over one");
    drop(stalled);
    assert!(stalled_writing.join().unwrap().is_err());
}

/// A hundred clients with two connections each: of a thousand descriptors, which is what a process often may have, two
/// hundred clients would need as many.
#[test]
fn two_hundred_connections_are_served_side_by_side() {
    const CLIENTS: u32 = 100;
    const EACH: u32 = 2;
    const RECORDS: u64 = 50;
    let channels = CLIENTS * EACH;
    let pool = pool(4096);
    let server = Server::builder().threads(2).start("127.0.0.1:0").unwrap();
    let producer = pool.local_pool("producer").required(channels).build().unwrap();
    let (partition, served) = server.serve(id(1), producer, channels as usize).unwrap();
    let clients: Vec<_> = (0..CLIENTS).map(|_| Client::builder().stripes(EACH as usize).start().unwrap()).collect();
    let mut readers: Vec<_> = (0..)
        .zip(&clients)
        .map(|(client, own)| {
            let remotes: Vec<_> = (EACH * client..EACH * (client + 1)).map(|n| remote(&server, 1, n)).collect();
            RecordReader::new(gate(own, &pool, &remotes), 4096)
        })
        .collect();
    wait_until(|| (server.connections() == channels as usize).then_some(()));
    let writing = thread::spawn(move || {
        let mut writer = RecordWriter::new(partition, RoundRobin::default());
        for number in 0..u64::from(channels) * RECORDS {
            writer.emit(&record(number / u64::from(channels), 1000)[..]).unwrap();
        }
        writer.close();
    });
    let mut next = vec![[0; EACH as usize]; CLIENTS as usize];
    for _ in 0..RECORDS * u64::from(EACH) {
        for (reader, next) in readers.iter_mut().zip(&mut next) {
            let found = reader.next().unwrap().unwrap();
            let number = &mut next[found.channel()];
            assert_eq!(found.bytes(), record(*number, 1000));
            *number += 1;
        }
    }
    assert!(next.iter().all(|&each| each == [RECORDS; EACH as usize]));
    assert!(readers.iter_mut().all(|reader| reader.next().unwrap().is_none()));
    assert_eq!(server.connections(), channels as usize);
    writing.join().unwrap();
    assert!(served.wait_released(LONG));
}

#[test]
fn one_connection_serves_one_gate_after_another() {
    let pool = pool(64);
    let server = Server::builder().start("127.0.0.1:0").unwrap();
    let client = Client::builder().start().unwrap();
    for round in 1..20 {
        let (served, writing) = serve(&server, &pool, round, 50, 5000);
        assert_eq!(read_all(gate(&client, &pool, &[remote(&server, round, 0)]), 5000).unwrap(), 50);
        writing.join().unwrap().unwrap();
        assert!(served.wait_released(LONG));
        assert_eq!(server.connections(), 1);
    }
}
