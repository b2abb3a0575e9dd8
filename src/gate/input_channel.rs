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
    /// Flushed parts of open segments that were taken in a row.
    parts: u32,
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
    /// Something or nothing; the gate has the token, and may look at the channel itself for as long as it looks at all.
    Watch(Option<Item>),
}

/// After so many parts that were taken unasked it is time to see whether the writer flushes at all. Models have few.
const TRUSTED: u32 = if cfg!(forebay_loom) { 2 } else { 64 };

impl InputChannel {
    pub(super) fn new(receiver: Receiver) -> Self {
        Self {
            receiver,
            ended: false,
            flushed: false,
            parts: 0,
            end_of_data: false,
            consumption: Consumption::On,
            owes_resumption: false,
        }
    }

    /// Polls a channel whose token the gate has.
    pub(super) fn poll(&mut self) -> Polled {
        let (polled, whole) = if let Some(item) = self.receiver.poll_whole() {
            (Polled::Ready(item), true)
        } else {
            let keep = self.parts > 0; // who flushes twice in a row will flush again
            self.flushed |= if keep { self.receiver.take_note() } else { self.receiver.unqueue() };
            if let Some(item) = self.receiver.poll_whole() {
                let ours = keep || self.receiver.requeue();
                (if ours { Polled::Ready(item) } else { Polled::Announced(item) }, true)
            } else if std::mem::take(&mut self.flushed)
                && let Some(item) = self.receiver.poll()
            {
                // More of the same segment is of interest only once the writer says so.
                (if keep { Polled::Watch(Some(item)) } else { Polled::Announced(item) }, false)
            } else {
                return if keep { Polled::Watch(None) } else { Polled::Idle };
            }
        };
        self.parts = if whole { 0 } else { self.parts + 1 };
        if let Polled::Ready(item) | Polled::Announced(item) | Polled::Watch(Some(item)) = &polled {
            self.note_end(item);
        }
        polled
    }

    /// Looks at a channel that is watched. Of an open segment it takes what is committed, flushed or not; so after some
    /// time it asks whether the writer still flushes, and if not, returns false: not to be watched any more.
    #[inline]
    pub(super) fn poll_watched(&mut self) -> Option<(Item, bool)> {
        let item = self.receiver.poll()?;
        self.note_end(&item);
        self.parts += 1;
        if self.parts.is_multiple_of(TRUSTED) {
            self.flushed |= self.receiver.take_note();
            if !self.flushed {
                self.parts = 0;
                return Some((item, false));
            }
        }
        Some((item, true))
    }

    /// As [`poll_watched`](Self::poll_watched), for a part of an open segment alone, and unless it is time to ask.
    #[inline]
    pub(super) fn poll_part(&mut self) -> Option<Buffer> {
        if self.ended || self.consumption != Consumption::On || (self.parts + 1).is_multiple_of(TRUSTED) {
            return None;
        }
        let part = self.receiver.poll_part()?;
        self.parts += 1;
        Some(part)
    }

    /// Gives up the token of a channel that was watched; `false` if it has something, and the gate has the token still.
    pub(super) fn let_go(&mut self) -> bool {
        self.flushed |= self.receiver.unqueue();
        // Something: its turn comes. If the writer was faster, it has announced the channel anew.
        !((self.flushed || self.receiver.has_whole()) && self.receiver.requeue())
    }

    fn note_end(&mut self, item: &Item) {
        if let Item::Event(event) = item {
            self.ended |= event.is_end();
        }
    }

    /// Takes a priority event that the channel announced.
    pub(super) fn poll_priority(&mut self) -> Option<(SharedEvent, Vec<Buffer>)> {
        self.receiver.poll_priority()
    }

    pub(super) fn backlog(&self) -> u32 {
        self.receiver.backlog()
    }
}
