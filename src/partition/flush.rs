//! When readers are told of a segment that is not full.
//!
//! The timer is one thread for any number of writers. It holds no lock that a writer takes, and touches nothing of a
//! partition but the flag that tells its readers: what a writer has committed is there to be read already. Where the
//! reader is a connection that sleeps, to be told is to write (`TcpOptions::inline_flush`), which does not block.
#![allow(
    clippy::disallowed_types,
    reason = "the timer's thread and clock are outside of every model; what it does to a channel is `flush_if_open`"
)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
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

/// Longer intervals mean this one: a year.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

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
    /// Each ends when both its ends are gone: the timer keeps no channel alive.
    channels: Vec<Weak<Shared>>,
    interval: Duration,
    next: Instant,
}

impl FlushTimer {
    /// Starts the thread, `forebay-flush`. It sleeps until a writer needs it. Blocking, on the system.
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
        let interval = interval.clamp(Duration::from_millis(1), LONGEST);
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
    /// Nothing that can panic runs under the lock, and if it did, the list would be whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut due = Vec::new();
        let mut state = self.lock();
        while !state.stopped {
            let now = Instant::now();
            state.writers.retain_mut(|writer| writer.collect(now, &mut due));
            if !due.is_empty() {
                // Telling a reader runs its waker, which is not our code: not under the lock, and it shall not end us.
                drop(state);
                for channel in due.drain(..) {
                    let _ = catch_unwind(AssertUnwindSafe(move || channel.flush_if_open())); // a panic has said so
                }
                state = self.lock();
                continue;
            }
            state = match state.writers.iter().map(|writer| writer.next).min() {
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(next) => {
                    let wait = next.saturating_duration_since(now);
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

impl Writer {
    /// Adds the channels to `due` if it is time; `false` once they are all gone.
    fn collect(&mut self, now: Instant, due: &mut Vec<Arc<Shared>>) -> bool {
        if now < self.next {
            return true;
        }
        self.next = now + self.interval;
        let before = due.len();
        self.channels.retain(|channel| {
            let channel = channel.upgrade();
            due.extend(channel.clone());
            channel.is_some()
        });
        due.len() > before
    }
}

impl Drop for FlushTimer {
    fn drop(&mut self) {
        self.inner.lock().stopped = true;
        self.inner.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join(); // it panics only for a broken invariant, and has said so
        }
    }
}
