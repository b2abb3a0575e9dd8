//! What all gates have in common.

use std::{
    fmt,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::in_flight::InFlight;
use crate::{
    buffer::Buffer,
    channel::{Cause, CheckpointBarrier, Event},
    lockfree::wait::{WaitStrategy, deadline_after, wait_and_tell},
};

/// What a gate delivers.
#[derive(Debug)]
#[non_exhaustive]
pub enum BufferOrEvent {
    /// Data of the channel's record stream. Never empty.
    Buffer(Buffer),
    /// An event behind all the data before it. Never [`Event::Failed`]: that is a [`GateError`].
    Event(Event),
    /// An event that has overtaken what was queued in its channel.
    Priority {
        /// The event.
        event: Event,
        /// What it has overtaken, by reference count: the same buffers are delivered afterwards, each in its turn.
        /// Keeps their segments from the writer: store them, and drop them.
        overtaken: Vec<Buffer>,
    },
    /// What barriers amount to. From a [`CheckpointedInputGate`](super::CheckpointedInputGate) only.
    Checkpoint(CheckpointEvent),
}

/// What the barriers of all channels amount to.
#[derive(Debug)]
#[non_exhaustive]
pub enum CheckpointEvent {
    /// Take the snapshot now, and send the barrier on. Once a checkpoint.
    Triggered(CheckpointBarrier),
    /// The barrier has come on every channel. Of an unaligned checkpoint here is what it overtook; of others nothing.
    /// Follows [`Triggered`](Self::Triggered).
    Completed(InFlight),
    /// The checkpoint is given up, triggered or not: discard what was made of it, and send a
    /// [`CancelCheckpointMarker`](Event::CancelCheckpointMarker) on.
    Aborted {
        /// Its number.
        checkpoint: i64,
        /// Why.
        reason: AbortReason,
    },
}

/// Why a checkpoint was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AbortReason {
    /// A later one began before it was complete.
    Subsumed,
    /// A producer said so.
    Cancelled,
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

/// What a gate's `try_next` found: something and its channel, or nothing.
pub type Next = Result<Option<(usize, BufferOrEvent)>, GateError>;

/// A gate: channels, numbered from 0, as one sequence of buffers and events.
///
/// An [`InputGate`](super::InputGate), several in a [`UnionInputGate`](super::UnionInputGate), either of them behind a
/// [`CheckpointedInputGate`](super::CheckpointedInputGate). A [`RecordReader`](super::RecordReader) reads from any.
///
/// # Source
/// Flink's `PullingAsyncDataInput` and `CheckpointableInput`.
pub trait Input: fmt::Debug {
    /// Number of channels, ended or not. Never changes.
    fn channels(&self) -> usize;

    /// Whether every channel has ended, or failed, and all was delivered. Stays true.
    fn is_ended(&self) -> bool;

    /// The next buffer or event and its channel, if there is one now; `None` if there is nothing now, or nothing ever
    /// ([`is_ended`](Self::is_ended)). Lock-free.
    ///
    /// # Errors
    /// [`GateError`], once for each channel that failed.
    fn try_next(&mut self) -> Next;

    /// As [`try_next`](Self::try_next), but arranges for the waker to be woken when there may be something. Ready with
    /// `None` when every channel has ended. Lock-free. Only the waker of the last call counts.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next>;

    /// Leaves a channel unread until [`resume_consumption`](Self::resume_consumption): its writer is held up once its
    /// pool is empty. Priority events are delivered all the same. Wait-free.
    ///
    /// # Panics
    /// If there is no such channel.
    fn block_consumption(&mut self, channel: usize);

    /// Reads a channel again. Wait-free.
    ///
    /// # Panics
    /// If there is no such channel.
    fn resume_consumption(&mut self, channel: usize);

    /// How [`next`](Self::next) and [`next_timeout`](Self::next_timeout) wait.
    fn wait_strategy(&self) -> WaitStrategy;

    /// The time that was waited for producers, in all.
    fn idle(&self) -> Duration;

    /// For the measuring of [`idle`](Self::idle): whoever asks begins to wait, or has given up.
    #[doc(hidden)]
    fn waits(&mut self, waits: bool);

    /// The short way to what one writer flushes, record by record: what [`try_next`](Self::try_next) would find in one of
    /// `looks` looks, or nothing where it takes more than a look at the open segment of the only channel that is in turn.
    #[doc(hidden)]
    fn next_part(&mut self, looks: u32) -> Option<(usize, Buffer)> {
        let _ = looks;
        None
    }

    /// As [`try_next`](Self::try_next), but waits until there is something; `None` when every channel has ended.
    /// Blocking, on the producers: waits as its [`WaitStrategy`] says.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    #[allow(clippy::should_implement_trait, reason = "as the record reader's `next`, which lends")]
    fn next(&mut self) -> Next
    where
        Self: Sized,
    {
        loop {
            if let Some(found) = next_until(self, None) {
                return found;
            }
        }
    }

    /// As [`next`](Self::next), but waits at most `timeout`; the outer `None` says that it passed.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    fn next_timeout(&mut self, timeout: Duration) -> Option<Next>
    where
        Self: Sized,
    {
        next_until(self, deadline_after(timeout))
    }
}

fn next_until<I: Input>(input: &mut I, deadline: Option<Instant>) -> Option<Next> {
    let look = |input: &mut I| match input.try_next() {
        Ok(None) if !input.is_ended() => None,
        found => Some(found),
    };
    if let Some(found) = look(input) {
        return Some(found);
    }
    let found =
        wait_and_tell(input.wait_strategy(), deadline, input, |input| input.waits(true), look, Input::poll_next);
    input.waits(false);
    found
}
