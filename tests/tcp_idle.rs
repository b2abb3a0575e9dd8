//! What an idle channel takes: no segment, and little memory. In a program of its own, for it counts what is allocated.
#![cfg(feature = "net")]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    io::{Read, Write},
    net::TcpStream,
    sync::atomic::{AtomicIsize, Ordering},
};

use forebay::{
    gate::BufferOrEvent,
    partition::RecordWriter,
    pool::NetworkBufferPool,
    transport::tcp::{Client, GateOptions, RemotePartition, Server, ServerLimits},
    wire::{InputChannelId, Message, PartitionRequest, ResultPartitionId, ResultSubpartitionIndexSet},
};

static HELD: AtomicIsize = AtomicIsize::new(0);

struct Counting;

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn held() -> isize {
    HELD.load(Ordering::Relaxed)
}

#[test]
fn a_hundred_thousand_idle_channels_hold_no_segment_and_little_else() {
    let served = held_by_a_server();
    let (both, in_use) = held_by_both();
    let read = both - served;
    println!("{served} bytes a channel with the server, {read} with the client");
    assert!(in_use <= 3, "{in_use} segments, and one channel is not idle");
    // Measured on 64-bit Linux: queue, announcement and credit, places at writer, connection and gate, the table of
    // ids.
    assert!(served <= 256, "{served} bytes a channel with the server");
    assert!(read <= 256, "{read} bytes a channel with the client");
}

const CHANNELS: u32 = 100_000;
const LAST: usize = CHANNELS as usize - 1;

/// A server that lets one peer have so many channels, and the id of its partition.
fn serve() -> (Server, ResultPartitionId) {
    let mut limits = ServerLimits::default();
    limits.requests = CHANNELS;
    (Server::builder().limits(limits).start("127.0.0.1:0").unwrap(), ResultPartitionId::from_bytes([1; 60]))
}

fn pool() -> NetworkBufferPool {
    NetworkBufferPool::builder().segments(CHANNELS + 8).segment_size(4096).build().unwrap()
}

/// Bytes for each channel of a server whose peer is a bare socket.
fn held_by_a_server() -> isize {
    let pool = pool();
    let producer = pool.local_pool("producer").required(CHANNELS).build().unwrap();
    let (server, id) = serve();
    let before = held();
    let (partition, _served) = server.serve(id, producer, CHANNELS as usize).unwrap();
    let mut writer = RecordWriter::new(partition, |_: &[u8], _: usize| LAST);
    let mut peer = TcpStream::connect(server.local_addr()).unwrap();
    let mut requests = Vec::new();
    for n in 0..CHANNELS {
        let mut receiver = [7; 16];
        receiver[..4].copy_from_slice(&n.to_be_bytes());
        let request = PartitionRequest {
            partition: id,
            subpartitions: ResultSubpartitionIndexSet::one(n),
            receiver: InputChannelId(receiver),
            credit: 1,
        };
        Message::PartitionRequest(request).encode(&mut requests).unwrap();
        if requests.len() > 32 * 1024 || n + 1 == CHANNELS {
            peer.write_all(&requests).unwrap();
            requests.clear();
        }
    }
    drop(requests);
    // Requests are taken in order: once the last has something, all are there.
    writer.emit(&b"a record"[..]).unwrap();
    writer.flush();
    peer.read_exact(&mut [0; 47]).unwrap();
    (held() - before) / CHANNELS as isize
}

/// Bytes for each channel of a server and its client together; and the segments in use.
fn held_by_both() -> (isize, u32) {
    let pool = pool();
    let producer = pool.local_pool("producer").required(CHANNELS).build().unwrap();
    let (server, id) = serve();
    let client = Client::builder().start().unwrap();
    let before = held();
    let (partition, _served) = server.serve(id, producer, CHANNELS as usize).unwrap();
    let mut writer = RecordWriter::new(partition, |_: &[u8], _: usize| LAST);
    let mut gate = {
        let address = server.local_addr().to_string();
        let remotes: Vec<_> = (0..CHANNELS).map(|n| RemotePartition::new(address.clone(), id, n)).collect();
        client.gate(&pool, &GateOptions::default().exclusive(0), &remotes).unwrap()
    };
    // As above.
    writer.emit(&b"a record"[..]).unwrap();
    writer.flush();
    assert!(matches!(gate.next().unwrap(), Some((LAST, BufferOrEvent::Buffer(_)))));
    ((held() - before) / CHANNELS as isize, pool.in_use())
}
