//! The reading end of a channel.

use super::{Entry, Event, QUEUED, RELEASED, Reader, Shared, Signal};
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

/// What [`Receiver::peek`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Data,
    Event,
}

/// See the [module](super).
#[derive(Debug)]
pub(crate) struct Receiver {
    shared: Arc<Shared>,
    /// There until released.
    queue: Option<Consumer<Entry>>,
    /// Segments taken out, wrapping.
    taken: u32,
}

impl Receiver {
    pub(super) fn new(shared: Arc<Shared>, queue: Consumer<Entry>) -> Self {
        Self { shared, queue: Some(queue), taken: 0 }
    }

    /// Says who reads; the reader has the token. Once, and before the first [`unqueue`](Self::unqueue).
    pub(crate) fn attach(&self, signal: Arc<Signal>, index: u32) {
        let attached = self.shared.reader.set(Reader { signal, index });
        assert!(attached.is_ok(), "a receiver has one reader");
    }

    /// What [`poll`](Self::poll) would return now; segments that turn out to be empty are dropped on the way. Wait-free.
    pub(crate) fn peek(&mut self) -> Option<Next> {
        let queue = self.queue.as_mut()?;
        loop {
            match queue.front()? {
                Entry::Event(_) => return Some(Next::Event),
                Entry::Whole(buffer) if !buffer.is_empty() => return Some(Next::Data),
                Entry::Whole(_) => {}
                Entry::Data(consumer) if consumer.is_readable() => return Some(Next::Data),
                Entry::Data(consumer) if !consumer.is_consumed() => return None,
                Entry::Data(_) => {}
            }
            queue.pop();
            self.taken = self.taken.wrapping_add(1);
        }
    }

    /// The next buffer or event, if there is one now. Wait-free.
    ///
    /// Of a segment that is still being filled it takes what is committed.
    pub(crate) fn poll(&mut self) -> Option<Item> {
        let next = self.peek()?;
        let queue = self.queue.as_mut()?;
        if next == Next::Data
            && let Some(Entry::Data(consumer)) = queue.front()
            && !consumer.is_finished()
        {
            return consumer.build().map(Item::Buffer);
        }
        if next == Next::Data {
            self.taken = self.taken.wrapping_add(1);
        }
        Some(match queue.pop()? {
            Entry::Event(event) => Item::Event(event),
            Entry::Whole(buffer) => Item::Buffer(buffer),
            Entry::Data(consumer) => Item::Buffer(consumer.into_last().expect("finished")),
        })
    }

    /// Segments that wait and are no longer being filled. May grow at any moment. Wait-free.
    pub(crate) fn backlog(&self) -> u32 {
        // Relaxed, both: the writer writes them; a hint, and no byte is read for it.
        let waiting = self.shared.added.load(Ordering::Relaxed).wrapping_sub(self.taken);
        waiting.saturating_sub(u32::from(self.shared.open.load(Ordering::Relaxed)))
    }

    /// Says that the reader found nothing; it must poll once more afterwards. Wait-free.
    pub(crate) fn unqueue(&self) {
        // ORDERING C2 AcqRel: Acquire pairs with C1 of a writer that found QUEUED on, and so did not tell us: the second
        // look sees what it added. Release pairs with C1 of the writer that takes the token next, see there.
        self.shared.state.fetch_and(!QUEUED, Ordering::AcqRel);
    }

    /// Takes the token back after the second look found something; `false` if the writer was faster, and the channel is
    /// in the gate's inbox. Wait-free.
    pub(crate) fn requeue(&self) -> bool {
        // Relaxed: writers turn it on too; the token is the reader's own, and nothing passes with it.
        self.shared.state.fetch_or(QUEUED, Ordering::Relaxed) & QUEUED == 0
    }
}

impl Receiver {
    /// Empties the queue and tells the writer that nobody reads. `true` says that the channel was announced, or is about
    /// to be, unless the caller has the token: its index will still turn up at the signal. Once. Control plane.
    pub(crate) fn release(&mut self) -> bool {
        let Some(mut queue) = self.queue.take() else { return false };
        while queue.pop().is_some() {}
        *self.shared.orphan.lock().expect("no panic while it is held") = Some(queue);
        // ORDERING C3 Acquire, pairs with C1 of a writer that added something and told us after the queue was emptied
        // above. Not Release: a writer that finds RELEASED takes the lock of `orphan` after us, for had it been before
        // us, its look at `state` would have been too.
        let announced = self.shared.state.fetch_or(RELEASED, Ordering::Acquire) & QUEUED != 0;
        if announced {
            self.shared.drain_orphan();
        }
        announced
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.release();
    }
}
