//! One reader's part of a partition.

use crate::{
    buffer::{BufferConsumer, BufferMut, StagedBuilder},
    channel::{Released, Sender, SharedEvent, Ticket, Told},
};

/// The segments for one reader, in order, of which the last may be open.
///
/// # Source
/// Flink's `PipelinedSubpartition`.
#[derive(Debug)]
#[repr(C)] // what a record needs comes first, and together
pub(super) struct ResultSubpartition {
    /// The segment being filled.
    open: StagedBuilder,
    /// Has in its notes the [`Staging`], whether the reader was found to be gone, and the bytes of the open segment that
    /// were shown: thousands of these may be idle.
    sender: Sender,
}

/// When records are put together aside before they go to the segment: not before [`ENOUGH`] of them came without a
/// flush, so that who writes little, or flushes often, has neither the memory for it nor the extra copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Staging {
    Never,
    /// Not before there are enough, or a segment is full.
    NotYet,
    /// In the open segment, or the next.
    Now,
}

/// Bytes in a segment, without a flush among them, that are enough. More than the segments of models have.
const ENOUGH: usize = 2048;

impl ResultSubpartition {
    pub(super) fn new(sender: Sender) -> Self {
        let mut subpartition = Self { open: StagedBuilder::default(), sender };
        subpartition.set_staging(Staging::NotYet);
        subpartition
    }

    fn staging(&self) -> Staging {
        match self.sender.notes()[0] {
            never if never == Staging::Never as u8 => Staging::Never,
            now if now == Staging::Now as u8 => Staging::Now,
            _ => Staging::NotYet,
        }
    }

    fn set_staging(&mut self, staging: Staging) {
        self.sender.notes_mut()[0] = staging as u8;
    }

    fn set_released(&mut self) {
        self.sender.notes_mut()[1] = 1;
    }

    /// Commits each record from now on, for somebody else may tell the reader.
    pub(super) fn commit_each(&mut self) {
        self.open.commit_each();
        self.open.release_stage();
        self.set_staging(Staging::Never);
    }

    /// Opens a segment.
    pub(super) fn open(&mut self, buffer: BufferMut) {
        let (builder, consumer) = buffer.into_builder_and_consumer();
        self.add(consumer);
        *self.sender.noted_mut() = 0;
        self.open.open(builder, self.staging() == Staging::Now);
    }

    /// Puts records together aside from now on, if there were enough without a flush. Asked before each record that
    /// does not go that way yet.
    #[inline]
    pub(super) fn stage_if_enough(&mut self) {
        if self.staging() == Staging::NotYet && self.open.committed_unshown(self.sender.noted()) >= ENOUGH {
            self.set_staging(Staging::Now);
            self.open.begin_stage();
        }
    }

    /// The open segment, if there is one.
    #[inline]
    pub(super) fn builder(&mut self) -> &mut StagedBuilder {
        &mut self.open
    }

    /// Adds a segment that somebody else fills (a broadcast one).
    pub(super) fn add(&mut self, consumer: BufferConsumer) {
        if self.is_released() {
            return; // nobody would take it out again
        }
        self.sender.add(consumer);
    }

    /// Finishes the open segment, if there is one, and tells the reader.
    pub(super) fn finish(&mut self) {
        if self.finish_open() {
            self.sender.set_open(false);
            self.tell(Told::Whole);
        }
    }

    /// Finishes the open segment; `false` if there is none.
    fn finish_open(&mut self) -> bool {
        let finished = self.open.finish();
        if finished && self.staging() != Staging::Never {
            let shown = self.sender.noted() > 0;
            self.set_staging(if shown { Staging::NotYet } else { Staging::Now });
        }
        finished
    }

    /// Gives up what it has beside segments. None is open.
    pub(super) fn release_stage(&mut self) {
        self.open.release_stage();
    }

    /// Tells the reader of what was written to the open segment, if it is more than it was told of.
    pub(super) fn flush(&mut self) {
        if self.open.show(self.sender.noted_mut()) {
            if self.staging() == Staging::Now {
                self.set_staging(Staging::NotYet);
            }
            self.tell(Told::Flushed);
        }
    }

    /// Whether the reader was found to be gone.
    pub(super) fn is_released(&self) -> bool {
        self.sender.notes()[1] != 0
    }

    /// Tells the reader that there is something.
    pub(super) fn tell(&mut self, told: Told) {
        if !self.is_released() && self.sender.notify(told) == Err(Released) {
            self.set_released();
            self.open.abandon();
        }
    }

    /// Finishes the open segment and adds an event behind it.
    pub(super) fn send(&mut self, event: SharedEvent) {
        self.finish_open();
        self.sender.set_open(false);
        if !self.is_released() && self.sender.send(event) == Err(Released) {
            self.set_released();
        }
    }

    /// Sends an event ahead of what is queued. The open segment is finished.
    pub(super) fn overtake(&mut self, event: SharedEvent, before: u32, ticket: Option<Ticket>) {
        if !self.is_released() && self.sender.overtake_for(event, before, ticket) == Err(Released) {
            self.set_released();
        }
    }

    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }
}
