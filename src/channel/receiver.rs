//! The reading end of a channel.

use super::{Entry, Event, FLUSHED, QUEUED, RELEASED, Shared};
use crate::{
    buffer::Buffer,
    lockfree::spsc::Consumer,
    sync::{Arc, Ordering},
};

/// What [`Receiver::poll`] found.
#[derive(Debug)]
pub(crate) enum Item {
    /// Never empty.
    Buffer(Buffer),
    Event(Event),
}

/// See the [module](super).
#[derive(Debug)]
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    /// There until dropped.
    queue: Option<Consumer<Entry>>,
}

impl Receiver {
    pub(super) fn new(shared: Arc<Shared>, queue: Consumer<Entry>) -> Self {
        Self { shared, queue: Some(queue) }
    }

    /// The next buffer or event, if there is one now. Wait-free.
    ///
    /// If `open`, it takes what is committed of a segment that is still being filled, too.
    pub(crate) fn poll(&mut self, open: bool) -> Option<Item> {
        let queue = self.queue.as_mut()?;
        loop {
            let Entry::Data(consumer) = queue.front()? else {
                let Some(Entry::Event(event)) = queue.pop() else { unreachable!("the front was an event") };
                return Some(Item::Event(event));
            };
            if !consumer.is_finished() {
                return if open { consumer.build().map(Item::Buffer) } else { None };
            }
            let Some(Entry::Data(consumer)) = queue.pop() else { unreachable!("the front was data") };
            let buffer = consumer.into_last().expect("finished");
            if !buffer.is_empty() {
                return Some(Item::Buffer(buffer));
            }
        }
    }

    /// Says that the reader found nothing; it must poll once more afterwards, and if this returns true, the open segment
    /// too. Wait-free.
    pub(crate) fn unqueue(&self) -> bool {
        // ORDERING C2 AcqRel: Acquire pairs with C1 of a writer that found QUEUED on, and so did not tell us: the second
        // look sees what it added. Release pairs with C1 of the writer that takes the token next, see there.
        self.shared.state.fetch_and(!(QUEUED | FLUSHED), Ordering::AcqRel) & FLUSHED != 0
    }

    /// Takes the token back after the second look found something; `false` if the writer was faster, and the channel is
    /// in the gate's inbox. Wait-free.
    pub(crate) fn requeue(&self) -> bool {
        // Relaxed: writers turn it on too; the token is the reader's own, and nothing passes with it.
        self.shared.state.fetch_or(QUEUED, Ordering::Relaxed) & QUEUED == 0
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let mut queue = self.queue.take().expect("there until dropped");
        while queue.pop().is_some() {}
        *self.shared.orphan.lock().expect("no panic while it is held") = Some(queue);
        // ORDERING C3 Acquire, pairs with C1 of a writer that added something and told us after the queue was emptied
        // above. Not Release: a writer that finds RELEASED takes the lock of `orphan` after us, for had it been before
        // us, its look at `state` would have been too.
        if self.shared.state.fetch_or(RELEASED, Ordering::Acquire) & QUEUED != 0 {
            self.shared.drain_orphan();
        }
    }
}
