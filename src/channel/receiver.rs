//! The reading end of a channel.

use super::{Entry, FLUSHED, QUEUED, RELEASED, Rare, Shared, SharedEvent, Signal};
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
    Event(SharedEvent),
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
}

impl Receiver {
    pub(super) fn new(shared: Arc<Shared>, queue: Consumer<Entry>) -> Self {
        Self { shared, queue: Some(queue) }
    }

    /// Says who reads; the reader has the token. Once, and before the first [`unqueue`](Self::unqueue).
    pub(crate) fn attach(&self, signal: Arc<Signal>, index: u32) {
        self.shared.index.store(index, Ordering::Relaxed); // nobody else writes; published by the next
        let attached = self.shared.signal.set(signal);
        assert!(attached.is_ok(), "a receiver has one reader");
        // What overtook before there was anybody to tell. One that is told twice is found once.
        let waiting = self.shared.rare().as_ref().map_or(0, |rare| rare.lane.len());
        if let Some((signal, index)) = self.shared.reader() {
            (0..waiting).for_each(|_| signal.announce_priority(index));
        }
    }

    /// What [`poll`](Self::poll), or [`poll_whole`](Self::poll_whole) if not `open`, would return now; segments that
    /// turn out to be empty are dropped on the way. Wait-free.
    pub(crate) fn peek(&mut self, open: bool) -> Option<Next> {
        let queue = self.queue.as_mut()?;
        loop {
            match queue.front()? {
                Entry::Event(_) => return Some(Next::Event),
                Entry::Whole(buffer) if !buffer.is_empty() => return Some(Next::Data),
                Entry::Data(consumer) if !consumer.is_finished() => {
                    return (open && consumer.is_readable()).then_some(Next::Data);
                }
                Entry::Data(consumer) if consumer.is_readable() => return Some(Next::Data),
                Entry::Whole(_) | Entry::Data(_) => {}
            }
            queue.pop();
            self.shared.count_taken();
        }
    }

    /// The next buffer or event, if there is one now. Wait-free.
    ///
    /// Of a segment that is still being filled it takes what is committed.
    pub(crate) fn poll(&mut self) -> Option<Item> {
        self.poll_for(true)
    }

    /// As [`poll`](Self::poll), but finds nothing but what was committed of a segment that is still being filled.
    /// Wait-free.
    #[inline]
    pub(crate) fn poll_part(&mut self) -> Option<Buffer> {
        match self.queue.as_mut()?.front()? {
            Entry::Data(consumer) => {
                consumer.prefetch(); // beside the length, rather than after it
                consumer.build_unfinished().ok()?
            }
            _ => None,
        }
    }

    /// As [`poll`](Self::poll), but leaves a segment that is still being filled alone. Wait-free.
    pub(crate) fn poll_whole(&mut self) -> Option<Item> {
        self.poll_for(false)
    }

    fn poll_for(&mut self, open: bool) -> Option<Item> {
        let queue = self.queue.as_mut()?;
        loop {
            let front = queue.front()?;
            if let Entry::Data(consumer) = front {
                if open {
                    consumer.prefetch(); // beside the length, rather than after it
                    if let Ok(part) = consumer.build_unfinished() {
                        return part.map(Item::Buffer);
                    }
                } else if !consumer.is_finished() {
                    // Nor was the beginning asked for: the line would be taken from who is filling the segment, and of
                    // a whole one perhaps nobody reads it.
                    return None;
                }
            }
            let buffer = match queue.pop()? {
                Entry::Event(event) => {
                    self.shared.count_event(&event);
                    return Some(Item::Event(event));
                }
                Entry::Data(consumer) => consumer.into_last().expect("finished"),
                Entry::Whole(buffer) => buffer,
            };
            self.shared.count_taken();
            if !buffer.is_empty() {
                return Some(Item::Buffer(buffer));
            }
        }
    }

    /// The next priority event, if there is one, and the buffers of this channel that it overtakes: each is handed out
    /// here, by reference count, and comes again from [`poll`](Self::poll). If the writer wanted them, it has them.
    /// Blocking for a moment, on the writer's sending one; for a channel that announced one.
    pub(crate) fn poll_priority(&mut self) -> Option<(SharedEvent, Vec<Buffer>)> {
        let (event, before, ticket) = self.shared.rare().as_mut()?.lane.pop_front()?;
        self.shared.count_event(&event);
        let mut left = before.wrapping_sub(self.shared.taken()) as i32; // none, if the reader is beyond that place already
        let mut overtaken = Vec::new();
        if let Some(queue) = &mut self.queue {
            queue.look_through(|entry| {
                match entry {
                    _ if left <= 0 => return false,
                    Entry::Event(_) => return true,
                    Entry::Data(consumer) => overtaken.extend(consumer.clone().build()),
                    Entry::Whole(buffer) => overtaken.push(buffer.clone()),
                }
                left -= 1;
                true
            });
        }
        if let Some(ticket) = ticket {
            ticket.deliver(std::mem::take(&mut overtaken));
        }
        Some((event, overtaken))
    }

    /// Buffers that wait here, the one that is being filled not counted. May grow at any moment. Wait-free.
    pub(crate) fn backlog(&self) -> u32 {
        self.shared.backlog()
    }

    /// Says that the reader found nothing; it must poll once more afterwards. If this returns false, the writer has not
    /// flushed since the last time: what is whole is enough. Wait-free.
    pub(crate) fn unqueue(&self) -> bool {
        // ORDERING C2 AcqRel: Acquire pairs with C1 of a writer that found QUEUED on, and so did not tell us: the
        // second look sees what it added. Release pairs with C1 of the writer that takes the token next, see there.
        self.shared.state.fetch_and(!(QUEUED | FLUSHED), Ordering::AcqRel) & FLUSHED != 0
    }

    /// As [`unqueue`](Self::unqueue), but keeps the token: takes note of the last flush only. Wait-free.
    pub(crate) fn take_note(&self) -> bool {
        // ORDERING C2 Acquire, as in `unqueue`. Not Release: the token stays here. (Not modelled: to find the mark
        // here, and not in `unqueue`, takes a second channel that has something, and so a third thread.)
        self.shared.state.fetch_and(!FLUSHED, Ordering::Acquire) & FLUSHED != 0
    }

    /// Whether [`poll_whole`](Self::poll_whole) has something to look at. Wait-free.
    pub(crate) fn has_whole(&mut self) -> bool {
        match self.queue.as_mut().and_then(Consumer::front) {
            Some(Entry::Data(consumer)) => consumer.is_finished(),
            Some(_) => true,
            None => false,
        }
    }

    /// Takes the token back after the second look found something; `false` if the writer was faster, and the channel is
    /// in the gate's inbox. Wait-free.
    pub(crate) fn requeue(&self) -> bool {
        // Relaxed: writers turn it on too; the token is the reader's own, and nothing passes with it.
        self.shared.state.fetch_or(QUEUED, Ordering::Relaxed) & QUEUED == 0
    }
}

impl Receiver {
    /// Empties the queue and tells the writer that nobody reads. `true` says that the channel was announced, or is
    /// about to be, unless the caller has the token: its index will still turn up at the signal. Once. Control plane.
    pub(crate) fn release(&mut self) -> bool {
        let Some(mut queue) = self.queue.take() else { return false };
        while queue.pop().is_some() {}
        let left = Box::new(Rare { orphan: Some(queue), ..Rare::default() });
        let lane = self.shared.rare().replace(left);
        drop(lane); // under no lock
        // ORDERING C3 Acquire, pairs with C1 of a writer that added something and told us after the queue was emptied
        // above. Not Release: a writer that finds RELEASED takes the lock of `rare` after us, for had it been before
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
