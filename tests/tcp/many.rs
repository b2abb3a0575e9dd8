//! Many channels on one connection, and many connections.

use std::thread;

use forebay::{
    gate::{BufferOrEvent, RecordReader},
    partition::{RecordWriter, RoundRobin},
    transport::tcp::{Client, GateOptions, Server},
};

use crate::support::{LONG, gate, id, pool, read_all, record, remote, serve};

/// One gate of one channel stands still with all its segments; a gate of a thousand others, on the same connection, gets
/// everything.
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

#[test]
fn two_hundred_connections_are_served_side_by_side() {
    const CONNECTIONS: usize = 200;
    let pool = pool(4096);
    let server = Server::builder().threads(2).start("127.0.0.1:0").unwrap();
    let producer = pool.local_pool("producer").required(CONNECTIONS as u32).build().unwrap();
    let (partition, served) = server.serve(id(1), producer, CONNECTIONS).unwrap();
    // A stripe is a connection, so this is as good as two hundred clients, and fewer threads.
    let few = Client::builder().stripes(CONNECTIONS).start().unwrap();
    let remotes: Vec<_> = (0..CONNECTIONS as u32).map(|subpartition| remote(&server, 1, subpartition)).collect();
    let mut reader = RecordReader::new(gate(&few, &pool, &remotes), 4096);
    let writing = thread::spawn(move || {
        let mut writer = RecordWriter::new(partition, RoundRobin::default());
        for number in 0..CONNECTIONS as u64 * 50 {
            writer.emit(&record(number / CONNECTIONS as u64, 1000)[..]).unwrap();
        }
        writer.close();
    });
    let mut next = vec![0; CONNECTIONS];
    while let Some(found) = reader.next().unwrap() {
        let number = &mut next[found.channel()];
        assert_eq!(found.bytes(), record(*number, 1000));
        *number += 1;
    }
    assert!(next.iter().all(|&number| number == 50));
    assert_eq!(server.connections(), CONNECTIONS);
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
