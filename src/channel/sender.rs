//! The writing end of a channel.

use super::{Entry, Shared, SharedEvent, Ticket, Told};
use crate::{
    buffer::{Buffer, BufferConsumer},
    lockfree::spsc::Producer,
    sync::{Arc, Ordering},
};

/// The reading end is gone: what is added goes nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Released;

/// See the [module](super).
#[derive(Debug)]
pub(crate) struct Sender {
    shared: Arc<Shared>,
    queue: Producer<Entry>,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, queue: Producer<Entry>) -> Self {
        Self { shared, queue }
    }

    /// Two bytes for whoever has this end; at first 0.
    pub(crate) fn notes(&self) -> [u8; 2] {
        self.queue.notes
    }

    /// Changes them.
    pub(crate) fn notes_mut(&mut self) -> &mut [u8; 2] {
        &mut self.queue.notes
    }

    /// A number for the same; at first 0.
    pub(crate) fn noted(&self) -> u32 {
        self.queue.noted
    }

    /// Changes it.
    pub(crate) fn noted_mut(&mut self) -> &mut u32 {
        &mut self.queue.noted
    }

    /// Adds a segment that is about to be filled. The reader is not told yet.
    pub(crate) fn add(&mut self, consumer: BufferConsumer) {
        self.count();
        self.queue.push(Entry::Data(consumer));
        self.set_open(true);
    }

    /// Adds a segment that is filled already. The reader is not told yet.
    pub(crate) fn add_whole(&mut self, buffer: Buffer) {
        self.count();
        self.queue.push(Entry::Whole(buffer));
    }

    /// Counts a buffer as added. Before it is: so a reader never takes what is not counted.
    fn count(&self) {
        // Relaxed: nobody else writes. Read for the backlog, a number by itself, and by `overtake`, on this thread.
        self.shared.added.store(self.added().wrapping_add(1), Ordering::Relaxed);
    }

    /// Buffers ever added, wrapping: a place in the queue, for [`overtake`](Self::overtake).
    pub(crate) fn added(&self) -> u32 {
        self.shared.added.load(Ordering::Relaxed) // nobody else writes
    }

    /// Says whether the last segment is still being filled, for the flush timer.
    pub(crate) fn set_open(&self, open: bool) {
        // Relaxed: nobody else writes; a hint for the timer, see `Shared::flush_if_open`.
        self.shared.open.store(open, Ordering::Relaxed);
    }

    /// Adds an event behind everything else, and tells the reader.
    ///
    /// # Errors
    /// [`Released`].
    pub(crate) fn send(&mut self, event: impl Into<SharedEvent>) -> Result<(), Released> {
        self.queue.push(Entry::Event(event.into()));
        self.notify(Told::Whole)
    }

    /// Sends an event that overtakes what is queued, and tells the reader, which gets it next. Of the buffers that it
    /// overtakes, those up to number `before` are handed out with it: [`added`](Self::added), unless the event belongs
    /// to an earlier place. The last of them must be finished. Blocking for a moment, on the reader's looking.
    ///
    /// # Errors
    /// [`Released`].
    pub(crate) fn overtake(&mut self, event: impl Into<SharedEvent>, before: u32) -> Result<(), Released> {
        self.overtake_for(event.into(), before, None)
    }

    /// As [`overtake`](Self::overtake); with a `ticket` the buffers go to who made that, in place of the reader.
    ///
    /// # Errors
    /// [`Released`].
    pub(crate) fn overtake_for(
        &mut self,
        event: SharedEvent,
        before: u32,
        ticket: Option<Ticket>,
    ) -> Result<(), Released> {
        {
            let mut rare = self.shared.rare();
            let rare = rare.get_or_insert_default();
            if rare.orphan.is_some() {
                return Err(Released);
            }
            rare.lane.push_back((event, before, ticket));
        }
        // A reader that comes later looks into the lane after it said who it is, under the same lock.
        if let Some((signal, index)) = self.shared.reader() {
            signal.announce_priority(index);
        }
        Ok(())
    }

    /// Tells the reader that there is something to read. Lock-free.
    ///
    /// # Errors
    /// [`Released`]: everything added was dropped.
    pub(crate) fn notify(&self, told: Told) -> Result<(), Released> {
        if self.shared.notify(told) {
            return Ok(());
        }
        self.shared.drain_orphan();
        Err(Released)
    }

    /// Buffers that wait for the reader, the one that is being filled counted. A snapshot. Wait-free.
    #[inline]
    pub(crate) fn queued(&self) -> u32 {
        self.shared.queued()
    }

    /// The [weight](crate::channel::Event::weight) of all events that the reader has ever taken, priority events too,
    /// wrapping. A snapshot. Wait-free.
    pub(crate) fn events_taken(&self) -> u16 {
        self.shared.events_taken.load(Ordering::Relaxed) // the reader alone writes; a number by itself
    }

    /// As [`queued`](Self::queued), the one that is being filled not counted.
    pub(crate) fn backlog(&self) -> u32 {
        self.shared.backlog()
    }

    /// What the flush timer needs.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }
}
