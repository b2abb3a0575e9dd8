//! Buffers in, records out.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use super::input_gate::{BufferOrEvent, GateError, InputGate};
use crate::{
    buffer::Buffer,
    channel::Event,
    record::{DecodeError, DeserializeRecord, Found, RecordError, SpanningReader},
};

/// Reads the records of all channels of a gate.
///
/// A record is borrowed from the segment it lies in, and copied only if it spans several. Records of one channel come in
/// the order they were written.
///
/// # Source
/// Flink's `RecordReader`.
#[derive(Debug)]
pub struct RecordReader {
    gate: InputGate,
    /// One for each channel: a record may be open on each.
    spanning: Vec<SpanningReader>,
    /// The buffer at hand.
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    channel: usize,
    buffer: Buffer,
    at: usize,
}

/// One record, and where it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    channel: usize,
    bytes: &'a [u8],
}

impl<'a> Record<'a> {
    /// The channel it came from.
    #[must_use]
    pub fn channel(&self) -> usize {
        self.channel
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its value; may borrow from the segment.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no such value.
    pub fn deserialize<T: DeserializeRecord<'a>>(&self) -> Result<T, DecodeError> {
        T::deserialize(self.bytes)
    }
}

/// Why a record could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// A producer failed. The other channels can be read on.
    #[error(transparent)]
    Gate(#[from] GateError),
    /// The bytes of a channel are no stream of records. Give up: what follows on that channel cannot be made out.
    #[error("channel {channel}: {source}")]
    Record {
        /// The channel.
        channel: usize,
        /// What is wrong with them.
        source: RecordError,
    },
}

impl RecordReader {
    /// Reads records of at most `max_record` bytes from `gate`.
    #[must_use]
    pub fn new(gate: InputGate, max_record: usize) -> Self {
        let spanning = (0..gate.channels()).map(|_| SpanningReader::new(max_record)).collect();
        Self { gate, spanning, current: None }
    }

    /// The next record; `None` when every channel has ended. Blocking, on the producers.
    ///
    /// # Errors
    /// [`ReadError`].
    #[allow(clippy::should_implement_trait, reason = "records are lent, which an Iterator cannot do")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let found = loop {
            if let Some(found) = self.next_at_hand()? {
                break found;
            }
            match self.gate.next()? {
                None => return Ok(None),
                Some(arrived) => self.arrived(arrived)?,
            }
        };
        Ok(self.lend(&found))
    }

    /// The next record if there is one now; `None` if there is nothing now, or nothing ever
    /// ([`is_ended`](Self::is_ended)). Lock-free.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn try_next(&mut self) -> Result<Option<Record<'_>>, ReadError> {
        let found = loop {
            if let Some(found) = self.next_at_hand()? {
                break found;
            }
            match self.gate.try_next()? {
                None => return Ok(None),
                Some(arrived) => self.arrived(arrived)?,
            }
        };
        Ok(self.lend(&found))
    }

    /// As [`next`](Self::next), but arranges for the waker to be woken when there may be something.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<Record<'_>>, ReadError>> {
        let found = loop {
            if let Some(found) = self.next_at_hand()? {
                break found;
            }
            match self.gate.poll_next(context)? {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Ready(Some(arrived)) => self.arrived(arrived)?,
            }
        };
        Poll::Ready(Ok(self.lend(&found)))
    }

    /// Whether every channel has ended and all was read. Stays true.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.current.is_none() && self.gate.is_ended()
    }

    /// The time that [`next`](Self::next) has waited for producers, in all.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.gate.idle()
    }

    /// The gate it reads from.
    #[must_use]
    pub fn gate(&self) -> &InputGate {
        &self.gate
    }

    /// Looks for a record in the buffer at hand; gives the buffer back when it is used up.
    #[inline]
    fn next_at_hand(&mut self) -> Result<Option<Found>, ReadError> {
        let Some(current) = &mut self.current else { return Ok(None) };
        let channel = current.channel;
        match self.spanning[channel].next(&current.buffer, &mut current.at) {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => {
                self.current = None;
                Ok(None)
            }
            Err(source) => Err(ReadError::Record { channel, source }),
        }
    }

    /// Takes up what the gate delivered.
    fn arrived(&mut self, (channel, item): (usize, BufferOrEvent)) -> Result<(), ReadError> {
        match item {
            BufferOrEvent::Buffer(buffer) => {
                self.current = Some(Current { channel, buffer, at: 0 });
                Ok(())
            }
            BufferOrEvent::Event(Event::EndOfPartition | Event::Failed(_)) => {
                self.spanning[channel].finish().map_err(|source| ReadError::Record { channel, source })
            }
        }
    }

    /// The record that [`next_at_hand`](Self::next_at_hand) found.
    #[inline]
    fn lend(&self, found: &Found) -> Option<Record<'_>> {
        let current = self.current.as_ref()?;
        let bytes = self.spanning[current.channel].bytes(&current.buffer, found);
        Some(Record { channel: current.channel, bytes })
    }
}
