//! One segment and its handles: who frees it, and who sees which bytes.
#![cfg(forebay_loom)]

use forebay::{
    buffer::Buffer,
    pool::{LocalBufferPool, NetworkBufferPool},
};
use loom::thread;

mod common;
use common::Done;

fn one_segment() -> LocalBufferPool {
    let pool = NetworkBufferPool::builder().segments(1).segment_size(8).build().unwrap();
    pool.local_pool("task").required(1).maximum(1).build().unwrap()
}

fn filled(local: &mut LocalBufferPool, byte: u8) -> Buffer {
    let mut buffer = local.try_request().unwrap();
    buffer[0] = byte;
    buffer.freeze(1)
}

/// A thread that reads, then drops.
fn reading(buffer: Buffer, done: &Done) -> thread::JoinHandle<()> {
    let done = done.clone();
    thread::spawn(move || {
        assert_eq!(buffer[0], 7);
        drop(buffer);
        done.set();
    })
}

/// 2 threads, 1 segment, 2 handles, 1 drop each. A segment comes home once, and whole, whoever drops last (M1, H2).
/// Mutants: R0, R1, R2 in `lend::release`.
#[test]
fn last_drop_recycles_once() {
    loom::model(|| {
        let mut local = one_segment();
        let here = filled(&mut local, 7);
        let there = here.clone();
        let done = Done::new();
        let other = reading(there, &done);
        done.look();
        assert_eq!(here[0], 7);
        drop(here);
        if let Ok(mut early) = local.try_request() {
            early[0] = 8; // only once both handles are gone: else loom sees a write beside a read
        }
        other.join().unwrap();
        let again = local.try_request();
        assert!(again.is_ok() && local.try_request().is_err(), "home, and only once");
    });
}

/// The same, but the owner gives its handle back on its own side. Mutant: R0 in `Lender::take_back`.
#[test]
fn owner_side_recycle_waits_for_the_others() {
    loom::model(|| {
        let mut local = one_segment();
        let here = filled(&mut local, 7);
        let there = here.clone();
        let done = Done::new();
        let other = reading(there, &done);
        done.look();
        local.recycle(here);
        if let Ok(mut early) = local.try_request() {
            early[0] = 8;
        }
        other.join().unwrap();
        assert!(local.try_request().is_ok());
    });
}

/// A buffer is exclusive again only when every other handle is gone, and done with the bytes.
/// Mutant: R0 in `Buffer::is_unique`.
#[test]
fn unique_means_that_nobody_reads() {
    loom::model(|| {
        let mut local = one_segment();
        let here = filled(&mut local, 7);
        let there = here.clone();
        let done = Done::new();
        let other = reading(there, &done);
        done.look();
        match here.try_into_mut() {
            Ok(mut exclusive) => exclusive[0] = 8,
            Err(shared) => assert_eq!(shared[0], 7),
        }
        other.join().unwrap();
    });
}

/// 2 threads, 1 segment, 2 commits. The consumer sees whole commits, and the bytes of what it sees (B1).
/// Mutants: W1, W2.
#[test]
fn committed_bytes_are_seen() {
    loom::model(|| {
        let mut local = one_segment();
        let mut builder = local.try_request().unwrap().into_builder();
        let mut consumer = builder.create_consumer();
        let writer = thread::spawn(move || {
            builder.append(b"ab");
            builder.commit();
            builder.append(b"cd"); // never committed: dropped with the builder
        });
        let first = consumer.build();
        if let Some(buffer) = &first {
            assert_eq!(&**buffer, b"ab");
        }
        writer.join().unwrap();
        match (first, consumer.into_last()) {
            (Some(_), Ok(last)) => assert!(last.is_empty()),
            (None, Ok(last)) => assert_eq!(&*last, b"ab"),
            (_, Err(_)) => panic!("the builder is gone, so the segment is finished"),
        }
        assert!(local.try_request().is_ok());
    });
}

/// What was appended last is seen with the finished bit. Mutant: W1 in `BufferBuilder::drop`.
#[test]
fn a_finished_segment_is_whole() {
    loom::model(|| {
        let mut local = one_segment();
        let mut builder = local.try_request().unwrap().into_builder();
        let consumer = builder.create_consumer();
        let writer = thread::spawn(move || {
            builder.append(b"xyz");
            builder.finish();
        });
        match consumer.into_last() {
            Ok(last) => assert_eq!(&*last, b"xyz"),
            Err(consumer) => drop(consumer),
        }
        writer.join().unwrap();
        assert!(local.try_request().is_ok(), "home");
    });
}

/// Two consumers of one builder, on two threads, while the builder finishes on a third: each sees every byte once.
/// Mutant: W1 in `finish`.
#[test]
fn several_consumers_see_the_same() {
    loom::model(|| {
        let mut local = one_segment();
        let mut builder = local.try_request().unwrap().into_builder();
        let (here, there) = (builder.create_consumer(), builder.create_consumer());
        let other = thread::spawn(move || read(there));
        builder.append(b"ok");
        builder.finish();
        read(here);
        other.join().unwrap();
        assert!(local.try_request().is_ok(), "home");
    });

    fn read(mut consumer: forebay::buffer::BufferConsumer) {
        if let Some(buffer) = consumer.build() {
            assert_eq!(&*buffer, b"ok");
            assert!(consumer.build().is_none());
        }
    }
}
