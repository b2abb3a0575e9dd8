//! Records as they come: piece by piece, each where it lies.
//!
//! ```text
//!  channel 0:  [ … A₁ ] [ A₂ ] [ A₃ │ B ]        one buffer each, in turn
//!  channel 1:  [ C │ D₁ ] [ D₂ │ … ]
//!
//!  next_piece: A₁ · C · D₁ · A₂ · D₂ · A₃ · B    A₁'s segment is on its way home when C is handed out
//! ```
//!
//! A record that spans segments is a small stream: to have it in one piece costs a copy, and who only looks at its
//! head, or passes it on, needs none. Handing out all its pieces at once would hold as many segments as it has pieces,
//! and wait for ever if that is more than its writer's pool has. So there is one piece at a time, and the segment of
//! the one before is given back first: a reader holds one segment, however long the record, and memory is bounded by
//! the pool as ever.
//!
//! Channels take turns in the midst of a record, too. To hold the others back until it is whole could wait for ever:
//! their writers may be what its own writer waits for.

use std::task::{Context, Poll, ready};

use super::{
    input::{CheckpointEvent, Input, Next},
    record_reader::{ReadError, RecordOrEvent, RecordReader},
};
use crate::{
    buffer::Buffer,
    channel::Event,
    record::{Found, FoundPiece, SpanningReader},
};

/// A part of a record, or all of it, borrowed from the segment it lies in. See [`RecordReader::next_piece`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordPiece<'a> {
    channel: usize,
    bytes: &'a [u8],
    offset: usize,
    record_len: usize,
}

impl<'a> RecordPiece<'a> {
    /// The channel it came from: the place of its producer, from 0.
    #[must_use]
    pub fn channel(&self) -> usize {
        self.channel
    }

    /// Its bytes; none only if the record has none.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where in the record it begins, in bytes.
    #[must_use]
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn record_len(&self) -> usize {
        self.record_len
    }

    /// Whether it begins a record.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.offset == 0
    }

    /// Whether it ends its record.
    #[must_use]
    pub fn is_last(&self) -> bool {
        self.offset + self.bytes.len() == self.record_len
    }
}

/// A piece of a record, or an event: see [`RecordReader::next_piece_or_event`].
#[derive(Debug)]
#[non_exhaustive]
pub enum PieceOrEvent<'a> {
    /// A piece of a record, or all of it.
    Piece(RecordPiece<'a>),
    /// An event behind all the records before it; never inside one.
    Event {
        /// The channel it came from.
        channel: usize,
        /// The event.
        event: Event,
    },
    /// An event that has overtaken records; perhaps inside one.
    Priority {
        /// The channel it came from.
        channel: usize,
        /// The event.
        event: Event,
        /// What it has overtaken: see [`BufferOrEvent::Priority`](super::BufferOrEvent::Priority).
        overtaken: Vec<Buffer>,
    },
    /// What barriers amount to: see [`RecordOrEvent::Checkpoint`].
    Checkpoint(CheckpointEvent),
}

/// What was found, behind the borrow checker's back: lent out by its caller.
enum Arrived {
    Piece(FoundPiece),
    Event(PieceOrEvent<'static>),
}

impl<G: Input> RecordReader<G> {
    /// The next piece of a record; `None` when every channel has ended. Blocking, on the producers. Copies nothing,
    /// allocates nothing, and holds one segment, whatever the records' length.
    ///
    /// A record that lies in one segment is one piece; one that spans several is one for each, in order. Pieces of
    /// several channels take turns, as their buffers do: [`channel`](RecordPiece::channel) and
    /// [`offset`](RecordPiece::offset) say where each belongs. How a record is cut is the writer's affair, and may
    /// differ from run to run: the first piece may be a single byte.
    ///
    /// May be mixed with [`next`](Self::next) and its like: of a record that they have begun to gather what is there is
    /// the first piece, and they skip the rest of a record of which a piece was handed out. Events are skipped, as by
    /// [`next`](Self::next).
    ///
    /// # Errors
    /// As [`next`](Self::next): a length over the limit before the first piece, an end inside a record in place of the
    /// last. What the pieces before were made into is then part of a record that does not come.
    ///
    /// # Examples
    /// A record of eight segments through a pool of two, into memory that is the reader's own:
    /// ```
    /// # use forebay::{gate::RecordReader, partition::{Forward, RecordWriter}, pool::NetworkBufferPool, transport::in_process};
    /// # let pool = NetworkBufferPool::builder().segments(2).segment_size(4096).build()?;
    /// # let (mut partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(2).build()?], 1);
    /// # let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    /// let writing = std::thread::spawn(move || {
    ///     writer.emit(&[7_u8; 8 * 4096][..])?;
    ///     writer.close();
    ///     Ok::<_, forebay::partition::WriteError>(())
    /// });
    /// let mut reader = RecordReader::new(gates.remove(0), 1 << 20);
    /// let mut record = Vec::new();
    /// while let Some(piece) = reader.next_piece()? {
    ///     assert_eq!(piece.offset(), record.len());
    ///     record.extend_from_slice(piece.bytes());
    ///     assert_eq!(piece.is_last(), record.len() == piece.record_len());
    /// }
    /// assert!(record == [7; 8 * 4096]);
    /// writing.join().unwrap()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink copies every record that spans, in `SpanningWrapper`; there is no counterpart.
    pub fn next_piece(&mut self) -> Result<Option<RecordPiece<'_>>, ReadError> {
        match self.find_piece(|gate| Poll::Ready(gate.next())) {
            Poll::Ready(found) => Ok(found?.and_then(|found| self.lend_piece(&found))),
            Poll::Pending => Ok(None), // never: the gate waits
        }
    }

    /// The next piece if there is one now; `None` if there is nothing now, or nothing ever
    /// ([`is_ended`](Self::is_ended)). Lock-free. Else as [`next_piece`](Self::next_piece).
    ///
    /// # Errors
    /// As [`next_piece`](Self::next_piece).
    pub fn try_next_piece(&mut self) -> Result<Option<RecordPiece<'_>>, ReadError> {
        match self.find_piece(|gate| Poll::Ready(gate.try_next())) {
            Poll::Ready(found) => Ok(found?.and_then(|found| self.lend_piece(&found))),
            Poll::Pending => Ok(None), // never: the gate says `None`
        }
    }

    /// As [`next_piece`](Self::next_piece), but arranges for the waker to be woken when there may be something.
    /// Lock-free. Only the waker of the last call counts.
    ///
    /// # Errors
    /// As [`next_piece`](Self::next_piece).
    pub fn poll_next_piece(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<RecordPiece<'_>>, ReadError>> {
        let found = ready!(self.find_piece(|gate| gate.poll_next(context)))?;
        Poll::Ready(Ok(found.and_then(|found| self.lend_piece(&found))))
    }

    /// The next piece or event; `None` when every channel has ended. Blocking, as [`next_piece`](Self::next_piece).
    /// Events come as from [`next_or_event`](Self::next_or_event).
    ///
    /// # Errors
    /// As [`next_piece`](Self::next_piece).
    pub fn next_piece_or_event(&mut self) -> Result<Option<PieceOrEvent<'_>>, ReadError> {
        match self.next_piece_item(|gate| Poll::Ready(gate.next())) {
            Poll::Ready(found) => found,
            Poll::Pending => Ok(None), // never: the gate waits
        }
    }

    /// The next piece or event if there is one now, as [`try_next_piece`](Self::try_next_piece). Lock-free.
    ///
    /// # Errors
    /// As [`next_piece`](Self::next_piece).
    pub fn try_next_piece_or_event(&mut self) -> Result<Option<PieceOrEvent<'_>>, ReadError> {
        match self.next_piece_item(|gate| Poll::Ready(gate.try_next())) {
            Poll::Ready(found) => found,
            Poll::Pending => Ok(None), // never: the gate says `None`
        }
    }

    /// The next piece or event, as [`poll_next_piece`](Self::poll_next_piece). Lock-free.
    ///
    /// # Errors
    /// As [`next_piece`](Self::next_piece).
    pub fn poll_next_piece_or_event(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Result<Option<PieceOrEvent<'_>>, ReadError>> {
        self.next_piece_item(|gate| gate.poll_next(context))
    }

    /// Leaves out the pieces that are left of the record of `channel` of which one was handed out; nothing if there is
    /// none. Their segments go back unread. Wait-free.
    ///
    /// # Panics
    /// If there is no such channel.
    ///
    /// # Examples
    /// ```
    /// # use forebay::{gate::RecordReader, partition::{Forward, RecordWriter}, pool::NetworkBufferPool, transport::in_process};
    /// # let pool = NetworkBufferPool::builder().segments(4).segment_size(4096).build()?;
    /// # let (mut partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(4).build()?], 1);
    /// # let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    /// writer.emit(&[1_u8; 3 * 4096][..])?;
    /// writer.emit("short")?;
    /// writer.close();
    /// let mut reader = RecordReader::new(gates.remove(0), 1 << 20);
    /// let head = reader.next_piece()?.unwrap();
    /// assert_eq!((head.record_len(), head.bytes()[0]), (3 * 4096, 1));
    /// reader.skip_rest(0);
    /// assert_eq!(reader.next_piece()?.unwrap().bytes(), b"short");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn skip_rest(&mut self, channel: usize) {
        if let Some(spanning) = &mut self.spanning[channel] {
            spanning.skip_rest();
        }
    }

    /// The next piece or event.
    fn next_piece_item(
        &mut self,
        mut arrive: impl FnMut(&mut G) -> Poll<Next>,
    ) -> Poll<Result<Option<PieceOrEvent<'_>>, ReadError>> {
        Poll::Ready(Ok(match ready!(self.find_piece_or_event(&mut arrive))? {
            Some(Arrived::Piece(found)) => self.lend_piece(&found).map(PieceOrEvent::Piece),
            Some(Arrived::Event(event)) => Some(event),
            None => None,
        }))
    }

    /// The next piece, without the events before it.
    fn find_piece(
        &mut self,
        mut arrive: impl FnMut(&mut G) -> Poll<Next>,
    ) -> Poll<Result<Option<FoundPiece>, ReadError>> {
        loop {
            match ready!(self.find_piece_or_event(&mut arrive))? {
                Some(Arrived::Event(_)) => {}
                Some(Arrived::Piece(found)) => return Poll::Ready(Ok(Some(found))),
                None => return Poll::Ready(Ok(None)),
            }
        }
    }

    fn find_piece_or_event(
        &mut self,
        arrive: &mut impl FnMut(&mut G) -> Poll<Next>,
    ) -> Poll<Result<Option<Arrived>, ReadError>> {
        loop {
            if let Some(found) = self.piece_at_hand()? {
                return Poll::Ready(Ok(Some(Arrived::Piece(found))));
            }
            match ready!(arrive(&mut self.gate)) {
                Err(error) => self.failed(error)?,
                Ok(None) => return Poll::Ready(Ok(None)),
                Ok(Some(arrived)) => {
                    if let Some(event) = self.arrived(arrived)? {
                        return Poll::Ready(Ok(Some(Arrived::Event(event_of(event)))));
                    }
                }
            }
        }
    }

    /// Looks for a piece in the buffer at hand; gives the buffer back when it is used up.
    fn piece_at_hand(&mut self) -> Result<Option<FoundPiece>, ReadError> {
        if let Some(place) = self.at_hand() {
            let record_len = place.len();
            return Ok(Some(FoundPiece { place: Found::InPlace(place), offset: 0, record_len }));
        }
        self.cut_at_hand(SpanningReader::next_piece)
    }

    /// The piece that was found.
    fn lend_piece(&self, found: &FoundPiece) -> Option<RecordPiece<'_>> {
        let record = self.lend(&found.place)?;
        let (channel, bytes) = (record.channel(), record.bytes());
        Some(RecordPiece { channel, bytes, offset: found.offset, record_len: found.record_len })
    }
}

fn event_of(event: RecordOrEvent<'static>) -> PieceOrEvent<'static> {
    match event {
        RecordOrEvent::Event { channel, event } => PieceOrEvent::Event { channel, event },
        RecordOrEvent::Priority { channel, event, overtaken } => PieceOrEvent::Priority { channel, event, overtaken },
        RecordOrEvent::Checkpoint(event) => PieceOrEvent::Checkpoint(event),
        RecordOrEvent::Record(_) => unreachable!("events only"),
    }
}
