//! One channel of a gate.

use crate::{
    buffer::Buffer,
    channel::{Item, Receiver, SharedEvent},
};

/// The reading end of a channel, and what the gate knows of it.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct InputChannel {
    receiver: Receiver,
    pub(super) ended: bool,
    /// The writer has flushed, and the open segment was not looked at since.
    flushed: bool,
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
    /// Something; the gate has not the token any more: the channel announces itself when there is more, or has done so.
    Announced(Item),
    /// Nothing; the channel announces itself when there is something.
    Idle,
}

impl InputChannel {
    pub(super) fn new(receiver: Receiver) -> Self {
        Self {
            receiver,
            ended: false,
            flushed: false,
            end_of_data: false,
            consumption: Consumption::On,
            owes_resumption: false,
        }
    }

    /// Polls a channel whose token the gate has.
    pub(super) fn poll(&mut self) -> Polled {
        let polled = if let Some(item) = self.receiver.poll_whole() {
            Polled::Ready(item)
        } else {
            self.flushed |= self.receiver.unqueue();
            if let Some(item) = self.receiver.poll_whole() {
                if self.receiver.requeue() { Polled::Ready(item) } else { Polled::Announced(item) }
            } else if std::mem::take(&mut self.flushed)
                && let Some(item) = self.receiver.poll()
            {
                // More of the same segment is of interest only once the writer says so.
                Polled::Announced(item)
            } else {
                return Polled::Idle;
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
