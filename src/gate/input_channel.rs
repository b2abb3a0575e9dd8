//! One channel of a gate.

use crate::channel::{Event, Item, Receiver};

/// The reading end of a channel, and whether it has ended.
#[derive(Debug)]
pub(super) struct InputChannel {
    receiver: Receiver,
    pub(super) ended: bool,
}

/// What the gate finds at a channel.
#[derive(Debug)]
pub(super) enum Polled {
    /// Something; the channel stays in turn.
    Ready(Item),
    /// Something; the channel has announced itself anew and stands in the inbox.
    Announced(Item),
    /// Nothing; the channel announces itself when there is something.
    Idle,
}

impl InputChannel {
    pub(super) fn new(receiver: Receiver) -> Self {
        Self { receiver, ended: false }
    }

    /// Polls a channel whose token the gate has.
    pub(super) fn poll(&mut self) -> Polled {
        let polled = if let Some(item) = self.receiver.poll() {
            Polled::Ready(item)
        } else {
            self.receiver.unqueue();
            match self.receiver.poll() {
                None => return Polled::Idle,
                Some(item) if self.receiver.requeue() => Polled::Ready(item),
                Some(item) => Polled::Announced(item),
            }
        };
        if let Polled::Ready(Item::Event(event)) | Polled::Announced(Item::Event(event)) = &polled {
            self.ended |= matches!(event, Event::EndOfPartition | Event::Failed(_));
        }
        polled
    }
}
