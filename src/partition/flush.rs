//! When readers are told of a segment that is not full.
//!
//! The timer is one thread for any number of writers. It holds no lock that a writer takes, and touches nothing of a
//! partition but the flag that tells its readers: what a writer has committed is there to be read already.
#![allow(
    clippy::disallowed_types,
    reason = "the timer's thread and clock are outside of every model; what it does to a channel is `flush_if_open`"
)]

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, Weak},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::result_partition::ResultPartition;
use crate::channel::Shared;

/// When readers are told of a segment that is not full. For
/// [`RecordWriter::with_flush`](super::RecordWriter::with_flush).
///
/// # Source
/// Flink's `execution.buffer-timeout`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum FlushPolicy<'a> {
    /// Only when it is full, on [`flush`](super::RecordWriter::flush), and at the end: the most throughput.
    WhenFull,
    /// After each record: the least latency, one exchange between cores for each record.
    EveryRecord,
    /// At this interval, of at least a millisecond, by this timer: no record waits much longer than that to be seen.
    /// Costs the writer nothing.
    Every(Duration, &'a FlushTimer),
}

/// One thread that flushes any number of writers, each at its interval. Dropping it stops the thread, and its writers
/// are flushed no more: keep it as long as they run.
///
/// # Examples
/// ```
/// # use forebay::{gate::RecordReader, pool::NetworkBufferPool, transport::in_process};
/// use forebay::partition::{FlushPolicy, FlushTimer, Forward, RecordWriter};
/// # let pool = NetworkBufferPool::builder().segments(2).build()?;
/// # let (mut partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(1).build()?], 1);
/// let timer = FlushTimer::new()?;
/// let mut writer = RecordWriter::new(partitions.remove(0), Forward)
///     .with_flush(FlushPolicy::Every(std::time::Duration::from_millis(10), &timer));
/// let mut reader = RecordReader::new(gates.remove(0), 1024);
/// writer.emit("a segment is far from full")?;
/// assert!(reader.next()?.is_some(), "10 ms later it is there all the same");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `RecordWriter.OutputFlusher`, which is a thread for each writer.
#[derive(Debug)]
pub struct FlushTimer {
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    writers: Vec<Writer>,
    stopped: bool,
}

#[derive(Debug)]
struct Writer {
    /// Ends with the writer: the timer keeps no channel alive.
    channels: Vec<Weak<Shared>>,
    interval: Duration,
    next: Instant,
}

impl FlushTimer {
    /// Starts the thread, `forebay-flush`. It sleeps until a writer needs it.
    ///
    /// # Errors
    /// The system's, if it refuses a thread: end some, or raise the limit on them.
    pub fn new() -> std::io::Result<Self> {
        let inner = Arc::new(Inner::default());
        let thread = std::thread::Builder::new().name("forebay-flush".into()).spawn({
            let inner = inner.clone();
            move || inner.run()
        })?;
        Ok(Self { inner, thread: Some(thread) })
    }

    pub(super) fn register(&self, partition: &ResultPartition, interval: Duration) {
        let interval = interval.max(Duration::from_millis(1));
        let channels = partition.shared().iter().map(downgrade).collect();
        self.inner.lock().writers.push(Writer { channels, interval, next: Instant::now() + interval });
        self.inner.changed.notify_one();
    }
}

#[cfg(not(forebay_loom))]
fn downgrade(shared: &Arc<Shared>) -> Weak<Shared> {
    Arc::downgrade(shared)
}

/// loom's `Arc` has no weak handles; nothing in a model gets here.
#[cfg(forebay_loom)]
fn downgrade(_: &loom::sync::Arc<Shared>) -> Weak<Shared> {
    Weak::new()
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while it is held")
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.stopped {
            let now = Instant::now();
            state.writers.retain_mut(|writer| writer.tick(now));
            let next = state.writers.iter().map(|writer| writer.next).min();
            state = match next {
                None => self.changed.wait(state).expect("no panic while it is held"),
                Some(next) => {
                    let wait = next.saturating_duration_since(now);
                    self.changed.wait_timeout(state, wait).expect("no panic while it is held").0
                }
            };
        }
    }
}

impl Writer {
    /// Flushes if it is time; `false` once the writer is gone.
    fn tick(&mut self, now: Instant) -> bool {
        if now < self.next {
            return true;
        }
        self.next = now + self.interval;
        self.channels.retain(|channel| {
            channel.upgrade().is_some_and(|channel| {
                channel.flush_if_open();
                true
            })
        });
        !self.channels.is_empty()
    }
}

impl Drop for FlushTimer {
    fn drop(&mut self) {
        self.inner.lock().stopped = true;
        self.inner.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // it panics only for a broken invariant, and has said so
        }
    }
}
