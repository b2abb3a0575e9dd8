//! Two sides over real sockets.
#![cfg(feature = "net")]

use std::{thread, time::Duration};

use forebay::{
    gate::RecordReader,
    partition::{RecordWriter, RoundRobin},
    pool::NetworkBufferPool,
    transport::tcp::{Client, GateOptions, RemotePartition, Server},
    wire::ResultPartitionId,
};

const LONG: Duration = Duration::from_secs(60);

fn id(number: u8) -> ResultPartitionId {
    ResultPartitionId::from_bytes([number; 60])
}

/// `size` bytes that say which record they are.
fn record(number: u64, size: usize) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(size.max(8)).collect()
}

#[test]
fn what_is_written_here_is_read_there() {
    for (size, records) in [(8, 20_000_u64), (100, 5_000), (32_764, 200), (1 << 20, 10)] {
        let pool = NetworkBufferPool::builder().segments(64).build().unwrap();
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
        let remote = |subpartition| RemotePartition::new(server.local_addr().to_string(), id(1), subpartition);
        let gate = client.gate(&pool, &GateOptions::default(), &[remote(0), remote(1)]).unwrap();
        let mut reader = RecordReader::new(gate, 2 << 20);
        let mut next = [0, 1];
        while let Some(found) = reader.next().unwrap() {
            let number = &mut next[found.channel()];
            assert_eq!(found.bytes(), record(*number, size), "record {number} of {size} bytes");
            *number += 2;
        }
        assert_eq!(next, [records, records + 1]);
        writing.join().unwrap();
        assert!(served.wait_released(LONG));
        drop((reader, client));
        assert!(server.shutdown(LONG));
        assert_eq!(pool.in_use(), 0, "every segment is home");
    }
}
