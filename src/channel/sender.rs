//! The writing end of a channel.

use super::{Entry, Event, Shared};
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
    /// As in `shared`.
    added: u32,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>, queue: Producer<Entry>) -> Self {
        Self { shared, queue, added: 0 }
    }

    /// Adds a segment that is about to be filled. The reader is not told yet.
    pub(crate) fn add(&mut self, consumer: BufferConsumer) {
        self.queue.push(Entry::Data(consumer));
        self.set_open(true);
        self.count();
    }

    /// Adds a segment that is filled already. The reader is not told yet.
    pub(crate) fn add_whole(&mut self, buffer: Buffer) {
        self.queue.push(Entry::Whole(buffer));
        self.count();
    }

    fn count(&mut self) {
        self.added = self.added.wrapping_add(1);
        // Relaxed: nobody else writes; a number by itself.
        self.shared.added.store(self.added, Ordering::Relaxed);
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
    pub(crate) fn send(&mut self, event: Event) -> Result<(), Released> {
        self.queue.push(Entry::Event(event));
        self.notify()
    }

    /// Tells the reader that there is something to read. Lock-free.
    ///
    /// # Errors
    /// [`Released`]: everything added was dropped.
    pub(crate) fn notify(&self) -> Result<(), Released> {
        if self.shared.notify() {
            return Ok(());
        }
        self.shared.drain_orphan();
        Err(Released)
    }

    /// What the flush timer needs.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }
}
