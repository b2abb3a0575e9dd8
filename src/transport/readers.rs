//! The channels that one connection reads for its peer: which of them have something to send, and may.
//!
//! ```text
//!  writers ── announce ──▶ Signal.inbox ── collect ──▶ ready: [3, 0, 7] ── next: one buffer each, in turn ──▶ frames
//!                                                       ▲   │ nothing: let the token go, announced anew
//!                                         grant, resume │   ├──────────────────────────▶ idle
//!                                                       ├── held ◀── no credit, or blocked: the token stays
//!                                              gathered └── gathering ◀── flushed again in the same turn: the token stays
//! ```
//!
//! # Invariants
//! * **N1** A reader is in `ready` or in `gathering` only with its channel's token, and at most once; so its index is
//!   in the signal's inbox at most once, and in no two of the three.
//! * **N2** Data leave only for a credit; events need none.
//! * **N3** A slot is used again only when its index is in none of the three, nor about to be pushed to the inbox:
//!   a reader that goes while its channel is announced leaves the slot *leaving* until the index turns up.
//!
//! Without credit, or blocked, a reader keeps the token and rests: a writer that goes on wakes nobody. A grant or a
//! resumption puts it back in turn.
//!
//! # Gathering
//!
//! A writer that flushes each record faster than they can be sent would have a message and a call to the system for
//! each, on both sides. A turn is what is done from one waking of the connection to the next. The first thing that is
//! flushed goes out at once. What is flushed again in the same turn, while that was being written, or in one that
//! begins within 10 µs, is gathered: the reader keeps the token, so no further flush wakes anybody, until who drives
//! the connection says that it has [`gathered`](Readers::gathered) long enough; then all goes out in one. Who waits for
//! an answer before it flushes again is not made to wait: no answer comes so soon. Nor is a segment that is full, or an
//! event, that comes before the reader begins to gather.

#![cfg_attr(not(feature = "net"), allow(dead_code, reason = "the models use but a part of it"))]

use std::{
    collections::VecDeque,
    sync::Weak,
    task::Waker,
    time::{Duration, Instant},
};

use crate::{
    channel::{Announced, Item, Next, Prompt, Receiver, SharedEvent, Signal},
    sync::Arc,
};

/// One channel, read for the peer.
#[derive(Debug)]
pub(crate) struct Reader<T> {
    receiver: Receiver,
    /// Data messages that may be sent.
    credit: u32,
    /// It rests with the token: for credit, or for being resumed.
    held: bool,
    phase: Phase,
    /// [`WITHOUT_CREDIT`] and [`PART`] in one, for idle channels are to be small.
    marks: u8,
    /// The writer has flushed, and the open segment was not looked at since.
    flushed: bool,
    /// What its user keeps with it.
    pub(crate) with: T,
}

/// It had no credit when it came: it is told of data before it grants any, and has none behind an event that blocks.
const WITHOUT_CREDIT: u8 = 1;
/// A small part of an open segment was taken in this turn, or not long before: it is in `parts`.
const PART: u8 = 2;

impl<T> Reader<T> {
    /// Segments that wait behind what was taken last.
    pub(crate) fn backlog(&self) -> u32 {
        self.receiver.backlog()
    }

    pub(crate) fn is_blocked(&self) -> bool {
        self.phase == Phase::Blocked
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Nothing but priority events is taken from now on, until it is resumed.
    pub(crate) fn block(&mut self) {
        self.phase = Phase::Blocked;
    }

    /// Nothing is taken any more.
    pub(crate) fn end(&mut self) {
        self.phase = Phase::Ended;
    }
}

/// What a reader may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    /// Only priority events, until it is resumed.
    Blocked,
    /// Nothing follows.
    Ended,
}

#[derive(Debug)]
enum Slot<T> {
    Free,
    Open(Reader<T>),
    /// N3.
    Leaving,
}

/// What [`Readers::next`] found.
#[derive(Debug)]
pub(crate) enum Found {
    /// Something to send.
    Item(Item),
    /// An event to send that has overtaken what is queued.
    Priority(SharedEvent),
    /// Nothing to send: a reader that came without credit has data and no credit for them.
    Starved,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Readers<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    ready: VecDeque<u32>,
    /// Readers with a priority event, one for each. One that is gone, or another in its slot, finds none.
    priority: VecDeque<u32>,
    /// N1.
    gathering: Vec<u32>,
    /// Readers that a small part of an open segment was taken from, and in the turn that began when.
    parts: VecDeque<(Instant, u32)>,
    /// When this turn began; none if nothing is gathered.
    turn: Option<Instant>,
    signal: Arc<Signal>,
    open: usize,
}

/// A part of an open segment that is as large is worth a message of its own.
const LARGE_PART: usize = 8 * 1024;
/// So many readers are noted for it at a time: what is noted is kept, and idle channels are to be small. Parts of
/// others go out as they come.
pub(super) const MOST_PARTS: usize = 1024;
/// In less time no message gets to another thread by way of the system, and its answer back.
pub(super) const NO_ANSWER: Duration = Duration::from_micros(10);

impl<T> Readers<T> {
    /// For at most `most` readers at a time.
    pub(crate) fn new(most: u32) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            ready: VecDeque::new(),
            priority: VecDeque::new(),
            gathering: Vec::new(),
            parts: VecDeque::new(),
            turn: None,
            signal: Arc::new(Signal::new(most)),
            open: 0,
        }
    }

    /// How many are open.
    pub(crate) fn len(&self) -> usize {
        self.open
    }

    /// The readers, and where they are.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Reader<T>)> {
        (0..).zip(&self.slots).filter_map(|(index, slot)| match slot {
            Slot::Open(reader) => Some((index, reader)),
            Slot::Free | Slot::Leaving => None,
        })
    }

    /// Reads from `receiver` from now on.
    ///
    /// # Errors
    /// The receiver: all slots are taken.
    pub(crate) fn open(&mut self, receiver: Receiver, credit: u32, with: T) -> Result<u32, Receiver> {
        let index = match self.free.pop() {
            Some(index) => index,
            None if self.slots.len() < self.signal.channels() => {
                if self.slots.len() == self.slots.capacity() {
                    self.slots.reserve_exact(self.slots.len() / 16 + 16); // idle channels are to be small
                }
                self.slots.push(Slot::Free);
                self.slots.len() as u32 - 1
            }
            None => return Err(receiver),
        };
        receiver.attach(self.signal.clone(), index);
        let (phase, marks) = (Phase::Open, if credit == 0 { WITHOUT_CREDIT } else { 0 });
        let reader = Reader { receiver, credit, held: false, phase, marks, flushed: false, with };
        self.slots[index as usize] = Slot::Open(reader);
        self.ready.push_back(index); // N1: it has had the token from the start
        self.open += 1;
        Ok(index)
    }

    /// The reader at `index`, if there is one.
    pub(crate) fn get(&mut self, index: u32) -> Option<&mut Reader<T>> {
        match self.slots.get_mut(index as usize) {
            Some(Slot::Open(reader)) => Some(reader),
            _ => None,
        }
    }

    /// What is kept with the reader at `index`, if there is one.
    pub(crate) fn with(&self, index: u32) -> Option<&T> {
        match self.slots.get(index as usize) {
            Some(Slot::Open(reader)) => Some(&reader.with),
            _ => None,
        }
    }

    /// Stops reading at `index`, and gives back what was kept with the reader. What its channel holds is dropped.
    pub(crate) fn close(&mut self, index: u32) -> Option<T> {
        let slot = self.slots.get_mut(index as usize)?;
        if !matches!(slot, Slot::Open(_)) {
            return None;
        }
        let Slot::Open(mut reader) = std::mem::replace(slot, Slot::Leaving) else { return None };
        self.open -= 1;
        // With the token on, the index is in `ready`, in the inbox, or about to be pushed, unless it rests: N3.
        if !reader.receiver.release() || reader.held {
            *slot = Slot::Free;
            self.free.push(index);
        }
        Some(reader.with)
    }

    /// Allows the reader to send `credit` data messages more.
    pub(crate) fn grant(&mut self, index: u32, credit: u32) {
        let Some(reader) = self.get(index) else { return };
        reader.credit = reader.credit.saturating_add(credit);
        self.take_up(index);
    }

    /// Ends the blocking. `false` if it was not blocked.
    pub(crate) fn resume(&mut self, index: u32) -> bool {
        let Some(reader) = self.get(index) else { return true };
        match reader.phase {
            Phase::Open => return false,
            Phase::Blocked => reader.phase = Phase::Open,
            Phase::Ended => return true,
        }
        if reader.is_without_credit() {
            reader.credit = 0;
        }
        self.take_up(index);
        true
    }

    /// Puts a reader that rests with the token back in turn.
    fn take_up(&mut self, index: u32) {
        if let Some(reader) = self.get(index)
            && std::mem::take(&mut reader.held)
        {
            self.ready.push_back(index); // N1
        }
    }

    /// Gathers from `now` on; or no more, if there is no such time.
    pub(crate) fn gather(&mut self, now: Option<Instant>) {
        self.turn = now;
        self.gathered();
    }

    /// Begins a turn.
    pub(crate) fn turn(&mut self, now: Instant) {
        if self.turn.is_none() {
            return;
        }
        self.turn = Some(now);
        while let Some(&(then, index)) = self.parts.front()
            && now.saturating_duration_since(then) >= NO_ANSWER
        {
            self.parts.pop_front();
            self.forget_part(index);
        }
    }

    /// The next part of an open segment is sent as it comes.
    fn forget_part(&mut self, index: u32) {
        if let Some(reader) = self.get(index) {
            reader.marks &= !PART;
        }
    }

    /// Whether [`gathered`](Self::gathered) is waited for.
    pub(crate) fn is_gathering(&self) -> bool {
        !self.gathering.is_empty()
    }

    /// Puts the readers that gather back in turn.
    pub(crate) fn gathered(&mut self) {
        while let Some(index) = self.gathering.pop() {
            self.forget_part(index);
            self.ready.push_back(index); // N1, with the token that it has kept
        }
    }

    /// The next thing to send, and whose it is; `None` once nobody has anything.
    pub(crate) fn next(&mut self) -> Option<(u32, Found)> {
        loop {
            self.collect();
            if let Some((index, event)) = self.next_priority() {
                return Some((index, Found::Priority(event)));
            }
            let index = self.ready.pop_front()?;
            let slot = &mut self.slots[index as usize];
            let Slot::Open(reader) = slot else {
                *slot = Slot::Free; // it was leaving, and here is its index
                self.free.push(index);
                continue;
            };
            let marks = reader.marks;
            let turn = reader.next(self.turn.is_some() && self.parts.len() < MOST_PARTS);
            if reader.marks != marks
                && let Some(now) = self.turn
            {
                self.parts.push_back((now, index));
            }
            match turn {
                Turn::Item(item, Token::Kept) => {
                    self.ready.push_back(index);
                    return Some((index, Found::Item(item)));
                }
                Turn::Item(item, Token::Gone) => return Some((index, Found::Item(item))),
                Turn::Starved => return Some((index, Found::Starved)),
                Turn::Gather => self.gathering.push(index), // N1
                Turn::Idle => {}
            }
        }
    }

    /// Takes in what channels have announced.
    fn collect(&mut self) {
        let (arrived, ready, mut priority) = (self.ready.len(), &mut self.ready, false);
        self.signal.collect(|announced| match announced {
            Announced::Channel(index) => {
                // Of a hundred thousand that all end at once it would take for ever.
                debug_assert!(ready.len() > 100 || !ready.contains(&index), "N1: {index} is announced and in turn");
                ready.push_back(index);
            }
            Announced::Priority => priority = true,
        });
        if ready.len() - arrived > 1 {
            ready.make_contiguous()[arrived..].reverse(); // first come, first served
        }
        if priority {
            self.signal.collect_priority(&mut self.priority);
        }
    }

    /// A priority event needs no credit, and passes a blocked channel. What it overtakes is settled where it is read.
    fn next_priority(&mut self) -> Option<(u32, SharedEvent)> {
        while let Some(index) = self.priority.pop_front() {
            if let Some(reader) = self.get(index)
                && reader.phase != Phase::Ended
                && let Some((event, _)) = reader.receiver.poll_priority()
            {
                return Some((index, event));
            }
        }
        None
    }

    /// Has `prompt` send what is flushed while who drives the connection sleeps. Before it parks for the first time.
    pub(crate) fn prompt(&self, prompt: Weak<dyn Prompt>) {
        self.signal.prompt(prompt);
    }

    /// Leaves `waker` for the next announcement; `false` if there is one, or a reader is in turn.
    pub(crate) fn park(&self, waker: &Waker) -> bool {
        self.ready.is_empty() && self.priority.is_empty() && self.signal.park(waker)
    }
}

/// Where the token is after a turn with an item.
#[derive(Debug, Clone, Copy)]
enum Token {
    Kept,
    /// The channel has announced itself anew.
    Gone,
}

enum Turn {
    Item(Item, Token),
    Starved,
    Gather,
    Idle,
}

/// What a reader may do.
enum May {
    Send,
    /// Something is there that needs credit, or resumption.
    Rest,
    /// There is nothing.
    Nothing,
}

impl<T> Reader<T> {
    /// Of a segment that is still being filled there is something only once the writer has flushed: else it would go in
    /// as many pieces as we look at it, each a message.
    fn may(&mut self) -> May {
        match self.receiver.peek(self.flushed) {
            None => May::Nothing,
            _ if self.is_ended() => May::Nothing,
            _ if self.is_blocked() => May::Rest,
            Some(Next::Data) if self.credit == 0 => May::Rest,
            Some(_) => May::Send,
        }
    }

    /// Whether what it may send is a part of an open segment, behind another one that was taken a moment ago.
    fn is_to_gather(&mut self) -> bool {
        self.marks & PART != 0 && !self.receiver.has_whole()
    }

    fn is_without_credit(&self) -> bool {
        self.marks & WITHOUT_CREDIT != 0
    }

    /// After [`May::Send`].
    fn take(&mut self, gathers: bool) -> Option<Item> {
        let item = self.receiver.poll_whole().or_else(|| {
            self.flushed = false; // more of the same segment is of interest only once the writer says so
            let part = self.receiver.poll();
            if gathers && matches!(&part, Some(Item::Buffer(part)) if part.len() < LARGE_PART) {
                self.marks |= PART;
            }
            part
        });
        if let Some(Item::Buffer(_)) = &item {
            self.credit -= 1; // N2: looked at in `may`
        }
        item
    }

    /// One turn of a reader whose token we have.
    fn next(&mut self, gathers: bool) -> Turn {
        match self.may() {
            May::Rest => return self.rest(),
            May::Send if self.is_to_gather() => return Turn::Gather,
            May::Send => {
                if let Some(item) = self.take(gathers) {
                    return Turn::Item(item, Token::Kept);
                }
            }
            May::Nothing => {}
        }
        self.flushed |= self.receiver.unqueue();
        match self.may() {
            May::Rest if self.receiver.requeue() => self.rest(),
            May::Nothing | May::Rest => Turn::Idle, // if there is something it is announced anew, and its turn comes
            May::Send if self.is_to_gather() => {
                if self.receiver.requeue() { Turn::Gather } else { Turn::Idle } // announced anew, it gathers then
            }
            May::Send => match self.take(gathers) {
                Some(item) if self.receiver.requeue() => Turn::Item(item, Token::Kept),
                Some(item) => Turn::Item(item, Token::Gone),
                None => Turn::Idle,
            },
        }
    }

    fn rest(&mut self) -> Turn {
        self.held = true;
        if self.is_without_credit() && !self.is_blocked() { Turn::Starved } else { Turn::Idle }
    }
}
