//! The flush timer: it tells readers of what writers leave unsaid, whatever intervals and wakers it is given.

use std::{
    sync::{Arc, Mutex, Weak, mpsc},
    task::{Context, Wake, Waker},
    time::Duration,
};

use forebay::{
    gate::InputGate,
    partition::{FlushPolicy, FlushTimer, Forward, RecordWriter, ResultPartition},
    pool::NetworkBufferPool,
    transport::in_process,
};

const SHORT: Duration = Duration::from_millis(1);

fn join() -> (ResultPartition, InputGate) {
    let pool = NetworkBufferPool::builder().segments(2).build().unwrap();
    let local = pool.local_pool("writer").required(2).build().unwrap();
    let (mut partitions, mut gates) = in_process(vec![local], 1);
    (partitions.remove(0), gates.remove(0))
}

#[test]
fn what_was_written_is_shown_without_a_flush() {
    let timer = FlushTimer::new().unwrap();
    let (partition, mut gate) = join();
    let mut writer = RecordWriter::new(partition, Forward).with_flush(FlushPolicy::Every(SHORT, &timer));
    writer.emit("hello").unwrap();
    assert!(gate.next().unwrap().is_some(), "it waits until it is told");
}

#[test]
fn an_interval_beyond_the_clock_is_a_long_one() {
    let timer = FlushTimer::new().unwrap();
    let (partition, mut gate) = join();
    let writer = RecordWriter::new(partition, Forward).with_flush(FlushPolicy::Every(Duration::MAX, &timer));
    writer.close();
    assert!(gate.next().unwrap().is_some(), "the end");
}

/// A waker that registers another writer with the same timer, and then panics.
struct Meddler {
    timer: Weak<FlushTimer>,
    partition: Mutex<Option<ResultPartition>>,
    woken: mpsc::Sender<()>,
}

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        if let (Some(timer), Some(partition)) = (self.timer.upgrade(), self.partition.lock().unwrap().take()) {
            drop(RecordWriter::new(partition, Forward).with_flush(FlushPolicy::Every(SHORT, &timer)));
        }
        self.woken.send(()).unwrap();
        std::panic::resume_unwind(Box::new("a waker that panics"));
    }
}

#[test]
fn a_waker_may_use_the_timer_and_panic() {
    let timer = Arc::new(FlushTimer::new().unwrap());
    let ((partition, mut gate), (other, _other_gate)) = (join(), join());
    let mut writer = RecordWriter::new(partition, Forward).with_flush(FlushPolicy::Every(SHORT, &timer));
    let (woken, wakes) = mpsc::channel();
    let meddler = Meddler { timer: Arc::downgrade(&timer), partition: Mutex::new(Some(other)), woken };
    let waker: Waker = Arc::new(meddler).into();
    assert!(gate.poll_next(&mut Context::from_waker(&waker)).is_pending());
    writer.emit("hello").unwrap();
    wakes.recv().unwrap();
    let (partition, mut gate) = join();
    let mut next = RecordWriter::new(partition, Forward).with_flush(FlushPolicy::Every(SHORT, &timer));
    next.emit("the timer goes on").unwrap();
    assert!(gate.next().unwrap().is_some());
}
