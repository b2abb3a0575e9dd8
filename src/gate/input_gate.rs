//! All channels of one reading task.

use std::{
    collections::VecDeque,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::input_channel::{InputChannel, Polled};
use crate::{
    buffer::Buffer,
    channel::{Cause, Event, Item, Receiver, Signal},
    lockfree::wait::{WaitStrategy, deadline_after, wait},
    sync::Arc,
};

/// The channels of one reading task, as one sequence of buffers and events.
///
/// Fair: channels that have something take turns, one buffer each. The cost of a buffer does not depend on the number
/// of channels, only on how many have something (O(1) for each).
///
/// Comes from a transport, such as [`in_process`](crate::transport::in_process()). For records, hand it to a
/// [`RecordReader`](super::RecordReader); read from it directly to pass on whole buffers. Dropping it tells the writers
/// that nobody reads, and gives back what it holds.
///
/// # Examples
/// ```
/// use forebay::{
///     gate::BufferOrEvent,
///     partition::{Forward, RecordWriter},
///     pool::NetworkBufferPool,
///     transport::in_process,
///     Event,
/// };
/// let pool = NetworkBufferPool::builder().segments(2).build()?;
/// let (mut partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(1).build()?], 1);
/// let mut writer = RecordWriter::new(partitions.remove(0), Forward);
/// let mut gate = gates.remove(0);
/// assert!(gate.try_next()?.is_none(), "nothing now");
///
/// writer.emit("hi")?;
/// writer.close();
/// let Some((0, BufferOrEvent::Buffer(buffer))) = gate.next()? else { panic!() };
/// assert_eq!(&*buffer, b"\0\0\0\x02hi"); // framed: see `forebay::record`
/// assert!(matches!(gate.next()?, Some((0, BufferOrEvent::Event(Event::EndOfPartition)))));
/// assert!(gate.next()?.is_none() && gate.is_ended(), "nothing ever");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `SingleInputGate`.
#[derive(Debug)]
pub struct InputGate {
    signal: Arc<Signal>,
    channels: Vec<InputChannel>,
    /// Channels whose token we have, in turn.
    ready: VecDeque<u32>,
    /// Channels that have not ended.
    open: usize,
    strategy: WaitStrategy,
    idle: Duration,
}

/// What a gate delivers.
#[derive(Debug)]
#[non_exhaustive]
pub enum BufferOrEvent {
    /// Data of the channel's record stream. Never empty.
    Buffer(Buffer),
    /// An event behind all the data before it. Never [`Event::Failed`]: that is a [`GateError`].
    Event(Event),
}

/// Why a channel ended before its time.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum GateError {
    /// The producer said that it failed, or went away without a word. What it wrote before has been delivered, and is
    /// not all there was to be: discard what was made of it, or say that it is partial. The other channels can be read
    /// on.
    #[error("the producer behind channel {channel} failed")]
    ProducerFailed {
        /// The channel.
        channel: usize,
        /// What the producer gave as its reason.
        #[source]
        cause: Cause,
    },
}

impl InputGate {
    /// A gate over `receivers`, which announce themselves to `signal` by their place.
    pub(crate) fn new(signal: Arc<Signal>, receivers: Vec<Receiver>) -> Self {
        assert_eq!(signal.channels(), receivers.len());
        let open = receivers.len();
        let channels = receivers.into_iter().map(InputChannel::new).collect();
        Self {
            signal,
            channels,
            ready: VecDeque::with_capacity(open),
            open,
            strategy: WaitStrategy::default(),
            idle: Duration::ZERO,
        }
    }

    /// Sets how [`next`](Self::next) and [`next_timeout`](Self::next_timeout) wait. Unless told so, they spin a little and
    /// then park the thread.
    ///
    /// # Examples
    /// ```
    /// # use forebay::{pool::NetworkBufferPool, transport::in_process, WaitStrategy};
    /// # let pool = NetworkBufferPool::builder().segments(2).build()?;
    /// # let (_partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(1).build()?], 1);
    /// let mut gate = gates.remove(0).with_wait_strategy(WaitStrategy::Park); // another thread needs the core more
    /// assert!(gate.next_timeout(std::time::Duration::from_millis(1)).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_wait_strategy(mut self, strategy: WaitStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Number of channels, ended or not. Never changes.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Whether every channel has ended, or failed, and all was delivered. Stays true.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.open == 0
    }

    /// The next buffer or event and its channel, if there is one now; `None` if there is nothing now, or nothing ever
    /// ([`is_ended`](Self::is_ended)). Lock-free; allocates nothing.
    ///
    /// # Errors
    /// [`GateError`], once for each channel that failed.
    pub fn try_next(&mut self) -> Result<Option<(usize, BufferOrEvent)>, GateError> {
        loop {
            let (arrived, ready) = (self.ready.len(), &mut self.ready);
            self.signal.collect(|channel| ready.push_back(channel));
            if ready.len() - arrived > 1 {
                ready.make_contiguous()[arrived..].reverse(); // first come, first served
            }
            let Some(index) = self.ready.pop_front() else { return Ok(None) };
            let channel = &mut self.channels[index as usize];
            if channel.ended {
                continue;
            }
            let item = match channel.poll() {
                Polled::Idle => continue,
                Polled::Announced(item) => item,
                Polled::Ready(item) => {
                    self.ready.push_back(index);
                    item
                }
            };
            if channel.ended {
                self.open -= 1;
            }
            let channel = index as usize;
            return match item {
                Item::Buffer(buffer) => Ok(Some((channel, BufferOrEvent::Buffer(buffer)))),
                Item::Event(Event::Failed(cause)) => Err(GateError::ProducerFailed { channel, cause }),
                Item::Event(event) => Ok(Some((channel, BufferOrEvent::Event(event)))),
            };
        }
    }

    /// As [`try_next`](Self::try_next), but arranges for the waker to be woken when there may be something. Ready with
    /// `None` when every channel has ended. Lock-free. Only the waker of the last call counts.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<(usize, BufferOrEvent)>, GateError>> {
        loop {
            match self.try_next() {
                Ok(None) if self.is_ended() => return Poll::Ready(Ok(None)),
                Ok(None) => {}
                found => return Poll::Ready(found),
            }
            // No channel is ready, so the inbox is the only place where something can arrive (M4).
            if self.signal.park(context.waker()) {
                return Poll::Pending;
            }
        }
    }

    /// As [`try_next`](Self::try_next), but waits until there is something; `None` when every channel has ended.
    /// Blocking, on the producers: waits as its [`WaitStrategy`] says.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    #[allow(clippy::should_implement_trait, reason = "as the record reader's `next`, which lends")]
    pub fn next(&mut self) -> Result<Option<(usize, BufferOrEvent)>, GateError> {
        loop {
            if let Some(found) = self.next_until(None) {
                return found;
            }
        }
    }

    /// As [`next`](Self::next), but waits at most `timeout`; the outer `None` says that it passed.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    #[allow(clippy::type_complexity, reason = "the outer Option is the timeout's, as in `recv_timeout`")]
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Result<Option<(usize, BufferOrEvent)>, GateError>> {
        self.next_until(deadline_after(timeout))
    }

    #[allow(clippy::type_complexity, reason = "as above")]
    fn next_until(&mut self, deadline: Option<Instant>) -> Option<Result<Option<(usize, BufferOrEvent)>, GateError>> {
        match self.try_next() {
            Ok(None) if !self.is_ended() => {}
            found => return Some(found),
        }
        let since = Instant::now();
        let look = |gate: &mut Self| match gate.try_next() {
            Ok(None) if !gate.is_ended() => None,
            found => Some(found),
        };
        let found = wait(self.strategy, deadline, self, look, Self::poll_next);
        self.idle += since.elapsed();
        found
    }

    /// The time that [`next`](Self::next) and [`next_timeout`](Self::next_timeout) have waited, in all.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.idle
    }
}
