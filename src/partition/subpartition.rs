//! One reader's part of a partition.

use crate::{
    buffer::{BufferBuilder, BufferConsumer, BufferMut},
    channel::{Released, Sender, SharedEvent, Ticket, Told},
};

/// The segments for one reader, in order, of which the last may be open.
///
/// # Source
/// Flink's `PipelinedSubpartition`.
#[derive(Debug)]
pub(super) struct ResultSubpartition {
    sender: Sender,
    /// The segment being filled.
    pub(super) open: Option<BufferBuilder>,
    /// Bytes of the open segment that the reader was told of.
    told: u32,
    released: bool,
}

impl ResultSubpartition {
    pub(super) fn new(sender: Sender) -> Self {
        Self { sender, open: None, told: 0, released: false }
    }

    /// Opens a segment.
    pub(super) fn open(&mut self, buffer: BufferMut) -> &mut BufferBuilder {
        debug_assert!(self.open.is_none());
        let mut builder = buffer.into_builder();
        self.add(builder.create_consumer());
        self.told = 0;
        self.open.insert(builder)
    }

    /// Adds a segment that somebody else fills (a broadcast one).
    pub(super) fn add(&mut self, consumer: BufferConsumer) {
        if self.released {
            return; // nobody would take it out again
        }
        self.sender.add(consumer);
    }

    /// Finishes the open segment, if there is one, and tells the reader.
    pub(super) fn finish(&mut self) {
        if let Some(builder) = self.open.take() {
            builder.finish();
            self.sender.set_open(false);
            self.tell(Told::Whole);
        }
    }

    /// Tells the reader of what was committed in the open segment, if it is more than it was told of.
    pub(super) fn flush(&mut self) {
        if let Some(builder) = &self.open
            && builder.written() as u32 != self.told
        {
            self.told = builder.written() as u32;
            self.tell(Told::Flushed);
        }
    }

    /// Whether the reader was found to be gone.
    pub(super) fn is_released(&self) -> bool {
        self.released
    }

    /// Tells the reader that there is something.
    pub(super) fn tell(&mut self, told: Told) {
        if !self.released && self.sender.notify(told) == Err(Released) {
            self.released = true;
            self.open = None;
        }
    }

    /// Finishes the open segment and adds an event behind it.
    pub(super) fn send(&mut self, event: SharedEvent) {
        if let Some(builder) = self.open.take() {
            builder.finish();
        }
        self.sender.set_open(false);
        if !self.released && self.sender.send(event) == Err(Released) {
            self.released = true;
        }
    }

    /// Sends an event ahead of what is queued. The open segment is finished.
    pub(super) fn overtake(&mut self, event: SharedEvent, before: u32, ticket: Option<Ticket>) {
        if !self.released && self.sender.overtake_for(event, before, ticket) == Err(Released) {
            self.released = true;
        }
    }

    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }
}
