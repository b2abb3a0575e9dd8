//! Polling with wakers: none is forgotten, whatever is done between two polls, and whatever other wakers do (M4).

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Wake, Waker},
    thread,
};

use forebay::{
    buffer::BufferMut,
    gate::RecordReader,
    partition::{Broadcast, FlushPolicy, Forward, RecordWriter, WriteError},
    pool::NetworkBufferPool,
    transport::in_process,
};

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn counting() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), count.into())
}

fn network(segments: u32) -> NetworkBufferPool {
    NetworkBufferPool::builder().segments(segments).segment_size(4096).build().unwrap()
}

fn dropped_elsewhere(buffer: BufferMut) {
    thread::spawn(move || drop(buffer)).join().unwrap();
}

#[test]
fn a_pool_that_was_looked_at_is_still_woken() {
    let pool = network(1);
    let mut local = pool.local_pool("task").required(1).build().unwrap();
    let buffer = local.try_request().unwrap();
    let (count, waker) = counting();
    assert!(local.poll_request(&mut Context::from_waker(&waker)).is_pending());
    assert_eq!(local.lent(), 1);
    assert!(local.try_request().is_err());
    dropped_elsewhere(buffer);
    assert_eq!(count.0.load(SeqCst), 1);
}

#[test]
fn only_the_waker_of_the_last_poll_is_woken() {
    let pool = network(1);
    for (required, name) in [(1, "own"), (0, "borrowed")] {
        let mut local = pool.local_pool(name).required(required).maximum(1).build().unwrap();
        let buffer = local.try_request().unwrap();
        let ((first, early), (last, late)) = (counting(), counting());
        for waker in [&early, &late] {
            assert!(local.poll_request(&mut Context::from_waker(waker)).is_pending());
        }
        dropped_elsewhere(buffer);
        assert_eq!((first.0.load(SeqCst), last.0.load(SeqCst)), (0, 1), "{name}");
    }
}

#[test]
fn a_reader_that_was_looked_at_is_still_woken() {
    let pool = network(1);
    let local = pool.local_pool("writer").required(1).build().unwrap();
    let (mut partitions, mut gates) = in_process(vec![local], 1);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0), 100);
    let (count, waker) = counting();
    assert!(reader.poll_next(&mut Context::from_waker(&waker)).is_pending());
    assert!(reader.try_next().unwrap().is_none());
    writer.emit("x").unwrap();
    writer.flush();
    assert_eq!(count.0.load(SeqCst), 1);
    assert!(reader.poll_next(&mut Context::from_waker(&waker)).is_ready());
}

#[test]
fn a_waker_that_panics_keeps_nobody_asleep() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            std::panic::resume_unwind(Box::new("a waker that panics"));
        }
    }
    let pool = network(1);
    let [mut holder, mut first, mut second] =
        ["holder", "first", "second"].map(|name| pool.local_pool(name).maximum(1).build().unwrap());
    let buffer = holder.try_request().unwrap();
    let (count, waker) = counting();
    let panics = Arc::new(Panics).into();
    assert!(first.poll_request(&mut Context::from_waker(&panics)).is_pending());
    assert!(second.poll_request(&mut Context::from_waker(&waker)).is_pending());
    assert!(catch_unwind(AssertUnwindSafe(|| drop(buffer))).is_err());
    assert_eq!(count.0.load(SeqCst), 1);
    drop((holder, first, second));
    assert_eq!((pool.in_use(), pool.usage().surplus), (0, 1), "and the segment is home");
}

#[test]
fn readers_that_stay_are_told_of_each_broadcast_record() {
    let pool = network(2);
    let local = pool.local_pool("writer").required(1).build().unwrap();
    let (mut partitions, mut gates) = in_process(vec![local], 2);
    let mut writer = RecordWriter::new(partitions.remove(0), Broadcast).with_flush(FlushPolicy::EveryRecord);
    drop(gates.remove(1));
    let mut reader = RecordReader::new(gates.remove(0), 100);
    for number in 0..5_u32 {
        let told = writer.emit(&number);
        assert!(matches!(told, Ok(()) | Err(WriteError::Released { subpartition: 1 })));
        assert_eq!(reader.try_next().unwrap().unwrap().deserialize::<u32>(), Ok(number));
    }
}

/// The owner frees everything while the thread that brought the last segment home is still on its way out: what that
/// thread has references to then must be atomics alone. For Miri.
#[test]
fn a_pool_may_be_freed_while_the_last_return_is_on_its_way_out() {
    for _ in 0..if cfg!(miri) { 60 } else { 1_000 } {
        let pool = network(1);
        let mut local = pool.local_pool("task").required(1).build().unwrap();
        drop(pool);
        let buffer = local.try_request().unwrap();
        let returner = thread::spawn(move || drop(buffer));
        while local.lent() != 0 {
            thread::yield_now();
        }
        drop(local);
        returner.join().unwrap();
    }
}
