//! One channel of a gate.

use crate::{
    buffer::Buffer,
    channel::{Item, Receiver, SharedEvent},
};

/// The reading end of a channel, and what the gate knows of it.
#[derive(Debug)]
pub(super) struct InputChannel {
    receiver: Receiver,
    pub(super) ended: bool,
    /// It has said that no more records follow.
    pub(super) end_of_data: bool,
    pub(super) consumption: Consumption,
    /// Its writer waits to be told when it is resumed.
    pub(super) owes_resumption: bool,
}

/// Whether a channel is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consumption {
    On,
    Blocked,
    /// Blocked, and its turn has come since: the gate has its token, and it is in no list.
    Held,
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
        Self { receiver, ended: false, end_of_data: false, consumption: Consumption::On, owes_resumption: false }
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
            self.ended |= event.is_end();
        }
        polled
    }

    /// Takes a priority event that the channel announced.
    pub(super) fn poll_priority(&mut self) -> Option<(SharedEvent, Vec<Buffer>)> {
        self.receiver.poll_priority()
    }

    pub(super) fn backlog(&self) -> u32 {
        self.receiver.backlog()
    }
}
