//! A gate that knows what barriers amount to.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    alignment::{Alignment, Step},
    in_flight::InFlight,
    input::{BufferOrEvent, CheckpointEvent, GateError, Input, Next},
    input_gate::InputGate,
    tracker::Tracker,
};
use crate::{
    buffer::Buffer,
    channel::{CheckpointBarrier, Event},
    lockfree::wait::{WaitStrategy, Waited},
};

/// A gate that puts the barriers of all its channels together, and says what they amount to: one
/// [`CheckpointEvent::Triggered`] a checkpoint, where each channel's data is cut as the barriers say.
///
/// | barrier | channel whose barrier has come | triggered | belongs to the checkpoint besides |
/// |---|---|---|---|
/// | aligned | waits for the others, unread | by the last | nothing |
/// | unaligned, a priority event | goes on | by the first | what is [in flight](InFlight) |
/// | aligned, and turned by [`time_out`](Self::time_out) or by its writer | waits until then | then | the same |
/// | any, at least once | goes on | by the last | nothing: records behind a barrier may be part of it |
///
/// Memory is bounded by the writers' pools: who waits holds what its writer has written, and a buffer that is in flight
/// is a handle to the same segment. Barriers and markers themselves are not delivered; all else is, as it comes.
///
/// # Examples
/// ```
/// use forebay::{
///     CheckpointBarrier,
///     gate::{CheckpointEvent, CheckpointedInputGate, RecordOrEvent, RecordReader},
///     partition::{Forward, RecordWriter},
///     pool::NetworkBufferPool,
///     transport::in_process,
/// };
/// let pool = NetworkBufferPool::builder().segments(8).build()?;
/// let locals = (0..2).map(|_| pool.local_pool("writer").required(4).build()).collect::<Result<_, _>>()?;
/// let (partitions, mut gates) = in_process(locals, 1);
/// let mut writers: Vec<_> = partitions.into_iter().map(|partition| RecordWriter::new(partition, Forward)).collect();
/// let mut reader = RecordReader::new(CheckpointedInputGate::exactly_once(gates.remove(0)), 1024);
///
/// writers[0].broadcast_event(CheckpointBarrier::aligned(1).into())?;
/// writers[0].emit("behind the barrier")?;
/// writers[1].emit("before it")?;
/// writers.iter_mut().for_each(|writer| writer.flush());
/// let Some(RecordOrEvent::Record(record)) = reader.next_or_event()? else { panic!() };
/// assert_eq!(record.bytes(), b"before it");
/// assert!(reader.try_next_or_event()?.is_none(), "the first channel waits for the second");
///
/// writers[1].broadcast_event(CheckpointBarrier::aligned(1).into())?;
/// let Some(RecordOrEvent::Checkpoint(CheckpointEvent::Triggered(barrier))) = reader.next_or_event()? else { panic!() };
/// assert_eq!(barrier.id, 1);
/// assert!(matches!(reader.next_or_event()?, Some(RecordOrEvent::Checkpoint(CheckpointEvent::Completed(_)))));
/// assert_eq!(reader.next()?.unwrap().bytes(), b"behind the barrier");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `CheckpointedInputGate`, with its `SingleCheckpointBarrierHandler` and `CheckpointBarrierTracker`, and the
/// `ChannelStatePersister` of its channels.
#[derive(Debug)]
pub struct CheckpointedInputGate<G = InputGate> {
    gate: G,
    handler: Handler,
    /// What the handler says; kept for its memory.
    steps: Vec<Step>,
    /// What is to be delivered before the gate is asked again.
    out: VecDeque<(usize, BufferOrEvent)>,
    /// Of the checkpoint that overtakes.
    in_flight: Option<InFlight>,
    aligning: Waited,
}

#[derive(Debug)]
enum Handler {
    ExactlyOnce(Alignment),
    AtLeastOnce(Tracker),
}

impl<G: Input> CheckpointedInputGate<G> {
    /// Barriers cut the data of each channel exactly.
    #[must_use]
    pub fn exactly_once(gate: G) -> Self {
        let handler = Handler::ExactlyOnce(Alignment::new(gate.channels()));
        Self::with(gate, handler)
    }

    /// No channel waits, and nothing is captured, whatever the barriers ask for.
    #[must_use]
    pub fn at_least_once(gate: G) -> Self {
        let handler = Handler::AtLeastOnce(Tracker::new(gate.channels()));
        Self::with(gate, handler)
    }

    fn with(gate: G, handler: Handler) -> Self {
        let (steps, out) = (Vec::new(), VecDeque::new());
        Self { gate, handler, steps, out, in_flight: None, aligning: Waited::default() }
    }

    /// The gate within, for its numbers.
    #[must_use]
    pub fn gate(&self) -> &G {
        &self.gate
    }

    /// The checkpoint of which barriers are missing, if channels wait for each other or are overtaken.
    #[must_use]
    pub fn pending(&self) -> Option<&CheckpointBarrier> {
        match &self.handler {
            Handler::ExactlyOnce(alignment) => alignment.pending(),
            Handler::AtLeastOnce(_) => None,
        }
    }

    /// Turns `checkpoint` into an unaligned one, if it is aligning and its barrier
    /// [may](CheckpointBarrier::is_timeoutable) be turned: it is triggered, the channels that wait go on, and what
    /// comes on the others until their barrier becomes [`InFlight`]. The time is the caller's to keep.
    ///
    /// # Source
    /// Flink's `SingleCheckpointBarrierHandler`, its alignment timer.
    pub fn time_out(&mut self, checkpoint: i64) {
        if let Handler::ExactlyOnce(alignment) = &mut self.handler {
            alignment.time_out(checkpoint, &mut self.steps);
            self.apply(0, checkpoint, Vec::new());
        }
    }

    /// The time for which channels have waited for each other, in all.
    #[must_use]
    pub fn alignment_time(&self) -> Duration {
        self.aligning.total()
    }

    /// Takes up what the gate delivered: what is to be passed on, or to be looked for in `out`.
    fn handle(&mut self, channel: usize, item: BufferOrEvent) -> Option<(usize, BufferOrEvent)> {
        match item {
            BufferOrEvent::Buffer(buffer) => {
                if let (Some(in_flight), Handler::ExactlyOnce(alignment)) = (&mut self.in_flight, &self.handler)
                    && alignment.captures(channel)
                {
                    in_flight.buffers.push((channel, buffer.clone()));
                }
                Some((channel, BufferOrEvent::Buffer(buffer)))
            }
            BufferOrEvent::Event(Event::CheckpointBarrier(barrier)) => {
                self.barrier(channel, &barrier, Vec::new());
                None
            }
            BufferOrEvent::Priority { event: Event::CheckpointBarrier(barrier), overtaken } => {
                self.barrier(channel, &barrier, overtaken);
                None
            }
            BufferOrEvent::Event(Event::CancelCheckpointMarker { checkpoint })
            | BufferOrEvent::Priority { event: Event::CancelCheckpointMarker { checkpoint }, .. } => {
                match &mut self.handler {
                    Handler::ExactlyOnce(alignment) => alignment.cancel(checkpoint, &mut self.steps),
                    Handler::AtLeastOnce(tracker) => tracker.cancel(checkpoint, &mut self.steps),
                }
                self.apply(channel, checkpoint, Vec::new());
                None
            }
            item => {
                if matches!(&item, BufferOrEvent::Event(event) if event.is_end()) {
                    self.ended(channel);
                }
                Some((channel, item))
            }
        }
    }

    fn barrier(&mut self, channel: usize, barrier: &CheckpointBarrier, mut overtaken: Vec<Buffer>) {
        match &mut self.handler {
            Handler::ExactlyOnce(alignment) => {
                if !(barrier.is_unaligned() && alignment.awaits(channel, barrier.id)) {
                    overtaken.clear(); // of the past, or nothing that the checkpoint lacks
                }
                alignment.barrier(channel, barrier, &mut self.steps);
            }
            Handler::AtLeastOnce(tracker) => {
                overtaken.clear();
                tracker.barrier(channel, barrier, &mut self.steps);
            }
        }
        self.apply(channel, barrier.id, overtaken);
    }

    fn ended(&mut self, channel: usize) {
        match &mut self.handler {
            Handler::ExactlyOnce(alignment) => alignment.end(channel, &mut self.steps),
            Handler::AtLeastOnce(tracker) => tracker.end(channel, &mut self.steps),
        }
        self.apply(channel, 0, Vec::new());
    }

    /// Does what the handler said; `overtaken` is what `checkpoint` has overtaken on `channel`.
    fn apply(&mut self, channel: usize, checkpoint: i64, overtaken: Vec<Buffer>) {
        let mut overtaken = overtaken.into_iter().map(|buffer| (channel, buffer));
        let mut steps = std::mem::take(&mut self.steps);
        if let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| in_flight.checkpoint == checkpoint) {
            in_flight.buffers.extend(overtaken.by_ref()); // behind what was read of the channel meanwhile
        }
        for step in steps.drain(..) {
            let event = match step {
                Step::Block(channel) => {
                    self.gate.block_consumption(channel);
                    continue;
                }
                Step::Resume(channel) => {
                    self.gate.resume_consumption(channel);
                    continue;
                }
                Step::Trigger(barrier) => {
                    if barrier.is_unaligned() {
                        let buffers = overtaken.by_ref().collect();
                        self.in_flight = Some(InFlight { checkpoint: barrier.id, buffers });
                    }
                    CheckpointEvent::Triggered(barrier)
                }
                Step::Complete(checkpoint) => {
                    let none = InFlight { checkpoint, buffers: Vec::new() };
                    CheckpointEvent::Completed(self.in_flight.take().unwrap_or(none))
                }
                Step::Abort(checkpoint, reason) => {
                    self.in_flight = None;
                    CheckpointEvent::Aborted { checkpoint, reason }
                }
            };
            self.out.push_back((channel, BufferOrEvent::Checkpoint(event)));
        }
        self.steps = steps;
        match &self.handler {
            Handler::ExactlyOnce(alignment) if alignment.aligns() => self.aligning.begin(),
            _ => self.aligning.end(),
        }
    }

    /// A failed channel has no barriers any more.
    fn failed(&mut self, error: GateError) -> GateError {
        let GateError::ProducerFailed { channel, .. } = &error;
        self.ended(*channel);
        error
    }
}

impl<G: Input> Input for CheckpointedInputGate<G> {
    fn channels(&self) -> usize {
        self.gate.channels()
    }

    fn is_ended(&self) -> bool {
        self.gate.is_ended() && self.out.is_empty()
    }

    fn try_next(&mut self) -> Next {
        loop {
            if let Some(found) = self.out.pop_front() {
                return Ok(Some(found));
            }
            match self.gate.try_next() {
                Ok(Some((channel, item))) => {
                    if let Some(found) = self.handle(channel, item) {
                        return Ok(Some(found));
                    }
                }
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.failed(error)),
            }
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            if let Some(found) = self.out.pop_front() {
                return Poll::Ready(Ok(Some(found)));
            }
            match ready!(self.gate.poll_next(context)) {
                Ok(Some((channel, item))) => {
                    if let Some(found) = self.handle(channel, item) {
                        return Poll::Ready(Ok(Some(found)));
                    }
                }
                Ok(None) => return Poll::Ready(Ok(None)),
                Err(error) => return Poll::Ready(Err(self.failed(error))),
            }
        }
    }

    /// Beside what barriers block: a channel that waits for the others is resumed when they have come, too.
    fn block_consumption(&mut self, channel: usize) {
        self.gate.block_consumption(channel);
    }

    fn resume_consumption(&mut self, channel: usize) {
        self.gate.resume_consumption(channel);
    }

    fn wait_strategy(&self) -> WaitStrategy {
        self.gate.wait_strategy()
    }

    fn idle(&self) -> Duration {
        self.gate.idle()
    }

    fn waits(&mut self, waits: bool) {
        self.gate.waits(waits);
    }
}
