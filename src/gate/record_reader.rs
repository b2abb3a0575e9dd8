//! Buffers in, records out.

use std::{
    ops::Range,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    input::{BufferOrEvent, CheckpointEvent, GateError, Input, Next},
    input_gate::InputGate,
};
use crate::{
    buffer::Buffer,
    channel::Event,
    lockfree::wait,
    memory::prefetch,
    record::{DecodeError, DeserializeRecord, Found, LENGTH_BYTES, RecordError, SpanningReader, whole_record},
};

/// Records to prefetch ahead, on the guess that they are as long as the one at hand: where a record begins is known
/// only from the one before it, so without the guess each is a cache miss of its own, one after the other.
const AHEAD: usize = 8;
/// Looks for a record on the short way, before all that a wait takes is begun: about a microsecond of them.
const LOOKS: u32 = if cfg!(forebay_loom) { 1 } else { wait::LOOKS };

/// Reads the records of all channels of a gate.
///
/// A record is borrowed from the segment it lies in, and copied only if it spans several: who does not need it in one
/// piece is spared that, too, by [`next_piece`](Self::next_piece). Records of one channel come in the order they were
/// written; of several channels, those that have something take turns, a buffer each.
///
/// Besides the segments it reads from it has, for each channel on which a record spanned segments, one piece of heap as
/// large as the largest such record, at most the limit given to [`new`](Self::new).
///
/// # Examples
/// ```
/// use forebay::{
///     gate::{ReadError, RecordReader},
///     partition::{Forward, RecordWriter},
///     pool::NetworkBufferPool,
///     record::DecodeError,
///     transport::in_process,
/// };
/// let pool = NetworkBufferPool::builder().segments(4).build()?;
/// let producers = vec![
///     pool.local_pool("first").required(1).build()?,
///     pool.local_pool("second").required(1).build()?,
/// ];
/// let (partitions, mut gates) = in_process(producers, 1);
/// let mut reader = RecordReader::new(gates.remove(0), 1024);
/// assert!(reader.try_next()?.is_none() && !reader.is_ended(), "nothing now");
///
/// for (number, partition) in partitions.into_iter().enumerate() {
///     let mut writer = RecordWriter::new(partition, Forward);
///     writer.emit(&(10 * number as u32))?;
///     writer.close();
/// }
/// let mut sum = 0;
/// while let Some(record) = reader.next()? {
///     assert_eq!(record.bytes().len(), 4);
///     assert!(matches!(record.deserialize::<u64>(), Err(DecodeError::Length { expected: 8, len: 4, .. })));
///     sum += record.deserialize::<u32>()? + record.channel() as u32;
/// }
/// assert_eq!(sum, 0 + (10 + 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `RecordReader`.
#[derive(Debug)]
pub struct RecordReader<G = InputGate> {
    pub(super) gate: G,
    max_record: usize,
    /// One for each channel: a record may be open on each.
    /// From its first buffer on: a channel that nothing was written to has none.
    pub(super) spanning: Vec<Option<Box<SpanningReader>>>,
    /// What is kept of the memory of a record that spanned.
    keep: usize,
    /// Channels whose bytes turned out to be no stream of records: the rest of them is dropped.
    broken: Vec<bool>,
    /// The buffer at hand.
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    channel: usize,
    buffer: Buffer,
    at: usize,
    /// The byte at `at` begins a record: it can be cut out without asking the channel's [`SpanningReader`].
    between_records: bool,
}

/// One record, and where it came from. Borrowed from the reader: copy what must outlive the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    channel: usize,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The channel it came from: the place of its producer, from 0.
    #[must_use]
    pub fn channel(&self) -> usize {
        self.channel
    }

    /// Its bytes, without the length before them.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its value; may borrow from the segment.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no such value. The next record can be read.
    pub fn deserialize<T: DeserializeRecord<'a>>(&self) -> Result<T, DecodeError> {
        T::deserialize(self.bytes)
    }
}

/// A record, or what came between two: see [`RecordReader::next_or_event`].
#[derive(Debug)]
#[non_exhaustive]
pub enum RecordOrEvent<'a> {
    /// A record.
    Record(Record<'a>),
    /// An event behind all the records before it.
    Event {
        /// The channel it came from.
        channel: usize,
        /// The event.
        event: Event,
    },
    /// An event that has overtaken records.
    Priority {
        /// The channel it came from.
        channel: usize,
        /// The event.
        event: Event,
        /// What it has overtaken: see [`BufferOrEvent::Priority`].
        overtaken: Vec<Buffer>,
    },
    /// What barriers amount to; with a [`CheckpointedInputGate`](super::CheckpointedInputGate) only.
    Checkpoint(CheckpointEvent),
}

/// What [`RecordReader::find`] found, behind the borrow checker's back: lent out by its caller.
pub(super) enum Arrived {
    Record(Found),
    Event(RecordOrEvent<'static>),
}

/// Why a record could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A producer failed. The other channels can be read on.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The bytes of a channel are no stream of records, or hold one over the limit: what follows on that channel cannot
    /// be made out, and is dropped. Said once; the other channels can be read on. Give up, or raise the limit if the
    /// writer is right.
    #[error("channel {channel} can not be read on")]
    Record {
        /// The channel.
        channel: usize,
        /// What is wrong with them.
        source: RecordError,
    },
}

impl<G: Input> RecordReader<G> {
    /// Reads records of at most `max_record` bytes from `gate`. A longer one is [`RecordError::TooLarge`], before any
    /// memory is taken for it: a length is untrusted input.
    #[must_use]
    pub fn new(gate: G, max_record: usize) -> Self {
        let channels = gate.channels();
        let spanning = (0..channels).map(|_| None).collect();
        Self { gate, max_record, spanning, keep: usize::MAX, broken: vec![false; channels], current: None }
    }

    /// Gives the memory of a record that spanned buffers back when it took more than `bytes`: see
    /// [`SpanningReader::keep_at_most`]. For many readers of few large records.
    #[must_use]
    pub fn keep_at_most(mut self, bytes: usize) -> Self {
        self.keep = bytes;
        self
    }

    /// The next record; `None` when every channel has ended. Blocking, on the producers; wait-free while the buffer at
    /// hand has a whole record. Events between records are skipped: [`next_or_event`](Self::next_or_event) has them.
    ///
    /// # Errors
    /// [`ReadError`], once for each channel that failed; then the others go on.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the hot path of a record, whose place would else be stored and loaded")]
    #[allow(clippy::should_implement_trait, reason = "records are lent, which an Iterator cannot do")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        if let Some(place) = self.at_hand() {
            return Ok(self.lend_in_place(place));
        }
        if let Some(place) = self.next_flushed(LOOKS) {
            return Ok(self.lend_in_place(place));
        }
        match self.next_elsewhere(|gate| Poll::Ready(gate.next())) {
            Poll::Ready(found) => Ok(found?.and_then(|found| self.lend(&found))),
            Poll::Pending => Ok(None), // never: the gate waits
        }
    }

    /// The next record if there is one now; `None` if there is nothing now, or nothing ever
    /// ([`is_ended`](Self::is_ended)). Lock-free. Events between records are skipped.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `next`")]
    pub fn try_next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        if let Some(place) = self.at_hand() {
            return Ok(self.lend_in_place(place));
        }
        match self.next_elsewhere(|gate| Poll::Ready(gate.try_next())) {
            Poll::Ready(found) => Ok(found?.and_then(|found| self.lend(&found))),
            Poll::Pending => Ok(None), // never: the gate says `None`
        }
    }

    /// As [`next`](Self::next), but arranges for the waker to be woken when there may be something. Lock-free. Only the
    /// waker of the last call counts.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Record<'_>>, ReadError>> {
        if let Some(place) = self.at_hand() {
            return Poll::Ready(Ok(self.lend_in_place(place)));
        }
        let found = ready!(self.next_elsewhere(|gate| gate.poll_next(context)))?;
        Poll::Ready(Ok(found.and_then(|found| self.lend(&found))))
    }

    /// The next record or event; `None` when every channel has ended. Blocking, as [`next`](Self::next).
    ///
    /// An event comes between the records that its writer sent it between. A priority event comes as soon as the buffer
    /// at hand is used up, and may stand inside a record, of which [`open_record`](Self::open_record) is here already.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    ///
    /// # Examples
    /// ```
    /// # use forebay::{Event, StopMode, partition::{Forward, RecordWriter}, pool::NetworkBufferPool, transport::in_process};
    /// use forebay::gate::{RecordOrEvent, RecordReader};
    /// # let pool = NetworkBufferPool::builder().segments(2).build()?;
    /// # let (mut partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(2).build()?], 1);
    /// # let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    /// writer.emit("last")?;
    /// writer.broadcast_event(Event::EndOfData(StopMode::Drain))?;
    /// writer.close();
    /// let mut reader = RecordReader::new(gates.remove(0), 16);
    /// let Some(RecordOrEvent::Record(record)) = reader.next_or_event()? else { panic!() };
    /// assert_eq!(record.bytes(), b"last");
    /// let Some(RecordOrEvent::Event { channel: 0, event }) = reader.next_or_event()? else { panic!() };
    /// assert!(matches!(event, Event::EndOfData(StopMode::Drain)));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn next_or_event(&mut self) -> Result<Option<RecordOrEvent<'_>>, ReadError> {
        match self.next_item(|gate| Poll::Ready(gate.next())) {
            Poll::Ready(found) => found,
            Poll::Pending => Ok(None), // never: the gate waits
        }
    }

    /// The next record or event if there is one now, as [`try_next`](Self::try_next). Lock-free.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn try_next_or_event(&mut self) -> Result<Option<RecordOrEvent<'_>>, ReadError> {
        match self.next_item(|gate| Poll::Ready(gate.try_next())) {
            Poll::Ready(found) => found,
            Poll::Pending => Ok(None), // never: the gate says `None`
        }
    }

    /// The next record or event, as [`poll_next`](Self::poll_next). Lock-free.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn poll_next_or_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<RecordOrEvent<'_>>, ReadError>> {
        self.next_item(|gate| gate.poll_next(context))
    }

    /// Whether every channel has ended and all was read. True only after a call has found that there is no more, and
    /// stays true.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.current.is_none() && self.gate.is_ended()
    }

    /// The time that was waited for producers, in all.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.gate.idle()
    }

    /// The gate it reads from, for its numbers.
    #[must_use]
    pub fn gate(&self) -> &G {
        &self.gate
    }

    /// The gate it reads from, to block and resume channels. What is taken out of it is missing from the records.
    #[must_use]
    pub fn gate_mut(&mut self) -> &mut G {
        &mut self.gate
    }

    /// The record of a channel that has not come whole: what has come of its length, and of its bytes, but for those
    /// that were handed out in [pieces](Self::next_piece). Belongs to what an unaligned checkpoint stores of the
    /// channel, before its buffers.
    ///
    /// # Panics
    /// If there is no such channel.
    #[must_use]
    pub fn open_record(&self, channel: usize) -> (&[u8], &[u8]) {
        self.spanning[channel].as_ref().map_or((&[], &[]), |spanning| spanning.open_record())
    }

    /// Takes the next record of the buffer at hand, if that has all of it. The hot path.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `next`")]
    pub(super) fn at_hand(&mut self) -> Option<Range<usize>> {
        let current = self.current.as_mut().filter(|current| current.between_records)?;
        let place = whole_record(&current.buffer, current.at, self.max_record)?;
        current.at = place.end;
        prefetch(current.buffer.as_ptr().wrapping_add(place.end + AHEAD * (LENGTH_BYTES + place.len())));
        Some(place)
    }

    /// The next record where it is all that is in what its writer has flushed, the buffer at hand is used up, and no
    /// other channel is in turn: the way of a record that somebody waits for. Else nothing has changed but that the
    /// buffer at hand, if it is used up, has gone back.
    #[inline(never)]
    fn next_flushed(&mut self, looks: u32) -> Option<Range<usize>> {
        if let Some(current) = &self.current {
            if !current.between_records || current.at < current.buffer.len() {
                return None;
            }
            self.current = None;
        }
        let (channel, buffer) = self.gate.next_part(looks)?;
        if self.broken[channel] {
            return None;
        }
        self.take_up(channel, buffer);
        self.at_hand()
    }

    /// The next record where [`at_hand`](Self::at_hand) has none: one that is cut by an end of the buffer at hand, or
    /// one in what `arrive` brings.
    #[cold]
    fn next_elsewhere(&mut self, arrive: impl FnMut(&mut G) -> Poll<Next>) -> Poll<Result<Option<Found>, ReadError>> {
        match self.next_at_hand()? {
            None => self.next_record(arrive),
            found => Poll::Ready(Ok(found)),
        }
    }

    /// Looks for a record in the buffer at hand; gives the buffer back when it is used up.
    fn next_at_hand(&mut self) -> Result<Option<Found>, ReadError> {
        self.cut_at_hand(SpanningReader::next)
    }

    /// Lets `cut` look at the buffer at hand; gives the buffer back when that says that it is used up.
    pub(super) fn cut_at_hand<T>(
        &mut self,
        cut: impl FnOnce(&mut SpanningReader, &[u8], &mut usize) -> Result<Option<T>, RecordError>,
    ) -> Result<Option<T>, ReadError> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let channel = current.channel;
        let Some(spanning) = &mut self.spanning[channel] else { unreachable!("made for its first buffer") };
        match cut(spanning, &current.buffer, &mut current.at) {
            Ok(Some(found)) => {
                current.between_records = spanning.is_between_records();
                Ok(Some(found))
            }
            Ok(None) => {
                self.current = None;
                Ok(None)
            }
            Err(source) => {
                self.current = None;
                self.broken[channel] = true;
                Err(ReadError::Record { channel, source })
            }
        }
    }

    /// The next record, now that the buffer at hand is used up, without the events before it.
    fn next_record(&mut self, mut arrive: impl FnMut(&mut G) -> Poll<Next>) -> Poll<Result<Option<Found>, ReadError>> {
        loop {
            match ready!(self.next_arriving(&mut arrive))? {
                Some(Arrived::Event(_)) => {}
                Some(Arrived::Record(found)) => return Poll::Ready(Ok(Some(found))),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// The next record, to be [lent](Self::lend), or event.
    #[inline]
    pub(super) fn find(
        &mut self,
        arrive: &mut impl FnMut(&mut G) -> Poll<Next>,
    ) -> Poll<Result<Option<Arrived>, ReadError>> {
        match self.at_hand() {
            Some(place) => Poll::Ready(Ok(Some(Arrived::Record(Found::InPlace(place))))),
            None => self.find_elsewhere(arrive),
        }
    }

    #[cold]
    fn find_elsewhere(
        &mut self,
        arrive: &mut impl FnMut(&mut G) -> Poll<Next>,
    ) -> Poll<Result<Option<Arrived>, ReadError>> {
        match self.next_at_hand()? {
            Some(found) => Poll::Ready(Ok(Some(Arrived::Record(found)))),
            None => self.next_arriving(arrive),
        }
    }

    /// The next record or event.
    fn next_item(
        &mut self,
        mut arrive: impl FnMut(&mut G) -> Poll<Next>,
    ) -> Poll<Result<Option<RecordOrEvent<'_>>, ReadError>> {
        Poll::Ready(Ok(match ready!(self.find(&mut arrive))? {
            Some(Arrived::Record(found)) => self.lend(&found).map(RecordOrEvent::Record),
            Some(Arrived::Event(event)) => Some(event),
            None => None,
        }))
    }

    /// The next record or event in what `arrive` brings, now that the buffer at hand is used up; `None` if that brings
    /// nothing.
    fn next_arriving(
        &mut self,
        arrive: &mut impl FnMut(&mut G) -> Poll<Next>,
    ) -> Poll<Result<Option<Arrived>, ReadError>> {
        loop {
            match ready!(arrive(&mut self.gate)) {
                Err(error) => self.failed(error)?,
                Ok(None) => return Poll::Ready(Ok(None)),
                Ok(Some(arrived)) => {
                    if let Some(event) = self.arrived(arrived)? {
                        return Poll::Ready(Ok(Some(Arrived::Event(event))));
                    }
                }
            }
            // First as any other: a lone record that was flushed is mostly a whole one.
            if let Some(place) = self.at_hand() {
                return Poll::Ready(Ok(Some(Arrived::Record(Found::InPlace(place)))));
            }
            if let Some(found) = self.next_at_hand()? {
                return Poll::Ready(Ok(Some(Arrived::Record(found))));
            }
        }
    }

    /// Passes on that a channel failed, unless that has been said of it already.
    pub(super) fn failed(&self, error: GateError) -> Result<(), ReadError> {
        let GateError::ProducerFailed { channel, .. } = error;
        if self.broken[channel] { Ok(()) } else { Err(error.into()) }
    }

    /// Takes up what the gate delivered; passes on what is no data.
    pub(super) fn arrived(
        &mut self,
        (channel, item): (usize, BufferOrEvent),
    ) -> Result<Option<RecordOrEvent<'static>>, ReadError> {
        Ok(match item {
            BufferOrEvent::Checkpoint(event) => Some(RecordOrEvent::Checkpoint(event)),
            _ if self.broken[channel] => None,
            BufferOrEvent::Buffer(buffer) => {
                self.take_up(channel, buffer);
                None
            }
            BufferOrEvent::Event(event) => {
                if event.is_end() {
                    let spanning = self.spanning[channel].as_ref();
                    spanning
                        .map_or(Ok(()), |spanning| spanning.finish())
                        .map_err(|source| ReadError::Record { channel, source })?;
                }
                Some(RecordOrEvent::Event { channel, event })
            }
            BufferOrEvent::Priority { event, overtaken } => Some(RecordOrEvent::Priority { channel, event, overtaken }),
        })
    }

    /// Makes a buffer the one at hand.
    fn take_up(&mut self, channel: usize, buffer: Buffer) {
        let (max_record, keep) = (self.max_record, self.keep);
        let spanning =
            self.spanning[channel].get_or_insert_with(|| Box::new(SpanningReader::new(max_record).keep_at_most(keep)));
        let between_records = spanning.is_between_records();
        self.current = Some(Current { channel, buffer, at: 0, between_records });
    }

    /// The record that [`at_hand`](Self::at_hand) took.
    #[inline]
    pub(super) fn lend_in_place(&self, place: Range<usize>) -> Option<Record<'_>> {
        let current = self.current.as_ref()?;
        Some(Record { channel: current.channel, bytes: &current.buffer[place] })
    }

    /// The record that [`next_at_hand`](Self::next_at_hand) found.
    #[inline]
    pub(super) fn lend(&self, found: &Found) -> Option<Record<'_>> {
        let current = self.current.as_ref()?;
        let bytes = self.spanning[current.channel].as_ref()?.bytes(&current.buffer, found);
        Some(Record { channel: current.channel, bytes })
    }
}
