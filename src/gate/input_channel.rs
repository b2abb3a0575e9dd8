//! One channel of a gate.

use crate::channel::{Event, Item, Receiver};

/// The reading end of a channel, and whether it has ended.
#[derive(Debug)]
pub(super) struct InputChannel {
    receiver: Receiver,
    pub(super) ended: bool,
    /// The writer has flushed, and the open segment was not looked at since.
    flushed: bool,
}

/// What the gate finds at a channel.
#[derive(Debug)]
pub(super) enum Polled {
    /// Something; the channel stays in turn.
    Ready(Item),
    /// Something; the gate has not the token any more: the channel announces itself when there is more, or has done so.
    Announced(Item),
    /// Nothing; the channel announces itself when there is something.
    Idle,
}

impl InputChannel {
    pub(super) fn new(receiver: Receiver) -> Self {
        Self { receiver, ended: false, flushed: false }
    }

    /// Polls a channel whose token the gate has.
    pub(super) fn poll(&mut self) -> Polled {
        let polled = if let Some(item) = self.receiver.poll(false) {
            Polled::Ready(item)
        } else {
            self.flushed |= self.receiver.unqueue();
            if let Some(item) = self.receiver.poll(false) {
                if self.receiver.requeue() { Polled::Ready(item) } else { Polled::Announced(item) }
            } else if std::mem::take(&mut self.flushed)
                && let Some(item) = self.receiver.poll(true)
            {
                // More of the same segment is of interest only once the writer says so.
                Polled::Announced(item)
            } else {
                return Polled::Idle;
            }
        };
        if let Polled::Ready(Item::Event(event)) | Polled::Announced(Item::Event(event)) = &polled {
            self.ended |= matches!(event, Event::EndOfPartition | Event::Failed(_));
        }
        polled
    }
}
