//! Doors for the models in `loom-tests/` to what is not public. In loom builds only, and no part of the interface.
#![forbid(unsafe_code)]

use crate::{
    buffer::Buffer,
    channel::{self, Event, Item, Prompt, Receiver, Shared, Signal},
    gate::InputGate,
    lockfree::{
        baton,
        inbox::{self, Links},
        lanes, number, spsc,
        wait::block_on,
        waker,
    },
    partition::ResultPartition,
    pool::LocalBufferPool,
    sync::{Arc, AtomicU32},
    transport::readers,
};
use std::{
    task::{Context, Poll, Waker},
    time::Instant,
};

/// An inbox with links of its own.
#[derive(Debug)]
pub struct Inbox {
    inbox: inbox::Inbox,
    links: Table,
}

#[derive(Debug)]
struct Table(Box<[AtomicU32]>);

impl Links for Table {
    fn link(&self, index: u32) -> &AtomicU32 {
        &self.0[index as usize]
    }
}

impl Inbox {
    /// For the indices below `indices`.
    #[must_use]
    pub fn new(indices: u32) -> Self {
        Self { inbox: inbox::Inbox::new(), links: Table((0..indices).map(|_| AtomicU32::new(u32::MAX)).collect()) }
    }

    /// Whether the owner must be woken; `None` if the inbox is closed.
    #[must_use]
    pub fn push(&self, index: u32) -> Option<bool> {
        self.inbox.push(self.links.link(index), index).ok()
    }

    /// Whether it was pushed.
    #[must_use]
    pub fn push_quietly(&self, index: u32) -> bool {
        self.inbox.push_quietly(self.links.link(index), index).is_ok()
    }

    /// Everything that arrived.
    #[must_use]
    pub fn take_all(&self) -> Vec<u32> {
        self.list(self.inbox.take_all())
    }

    /// Everything that arrived before it closed.
    #[must_use]
    pub fn close(&self) -> Vec<u32> {
        self.list(self.inbox.close())
    }

    /// Whether the owner may sleep.
    #[must_use]
    pub fn park(&self) -> bool {
        self.inbox.park()
    }

    fn list(&self, mut chain: inbox::Chain) -> Vec<u32> {
        std::iter::from_fn(|| chain.next(&self.links)).collect()
    }
}

/// The lanes of an owner, and what it alone knows of them.
#[derive(Debug)]
pub struct Lanes(lanes::Lanes);

/// See [`Lanes`].
#[derive(Debug)]
pub struct LaneOwner(lanes::Owner);

impl Lanes {
    /// Open ones, and their owner.
    #[must_use]
    pub fn open() -> (Self, LaneOwner) {
        let (lanes, mut owner) = Self::closed();
        lanes.open_again(&mut owner);
        (lanes, owner)
    }

    /// Closed ones, without memory, and their owner.
    #[must_use]
    pub fn closed() -> (Self, LaneOwner) {
        (Self(lanes::Lanes::new()), LaneOwner(lanes::Owner::new()))
    }

    /// Opens them after closing, or for the first time.
    pub fn open_again(&self, owner: &mut LaneOwner) {
        assert!(self.0.open(&mut owner.0));
    }

    /// Whether it was pushed.
    #[must_use]
    pub fn push(&self, index: u32) -> bool {
        self.0.push(index) || self.0.push_claiming(index)
    }

    /// Everything that was pushed.
    #[must_use]
    pub fn take(&self, owner: &mut LaneOwner) -> Vec<u32> {
        let mut all = Vec::new();
        self.0.take(&mut owner.0, |index| all.push(index));
        all
    }

    /// Whether they are closed, and what was there.
    #[must_use]
    pub fn close(&self, owner: &mut LaneOwner) -> (bool, Vec<u32>) {
        let mut all = Vec::new();
        let closed = self.0.close(&mut owner.0, |index| all.push(index));
        (closed, all)
    }
}

/// The numbers that threads get.
#[derive(Debug)]
pub struct Numbers(number::Numbers);

impl Numbers {
    /// All are free.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "loom's atomics exist inside a model only")]
    pub fn new() -> Self {
        Self(number::Numbers::new())
    }

    /// Takes one.
    #[must_use]
    pub fn claim(&self) -> u32 {
        self.0.claim()
    }

    /// Gives it back.
    pub fn release(&self, number: u32) {
        self.0.release(number);
    }
}

/// A waker cell.
#[derive(Debug)]
pub struct WakerCell(waker::WakerCell);

impl WakerCell {
    /// An empty one.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "loom's atomics exist inside a model only")]
    pub fn new() -> Self {
        Self(waker::WakerCell::new())
    }

    /// Leaves a waker.
    pub fn register(&self, waker: &std::task::Waker) {
        self.0.register(waker);
    }

    /// Wakes it.
    pub fn wake(&self) {
        self.0.wake();
    }
}

/// A value that a task and others take turns at.
#[derive(Debug)]
pub struct Baton<T>(baton::Baton<T>);

impl<T> Baton<T> {
    /// Nobody holds it.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(baton::Baton::new(value))
    }

    /// Hands the value over, if nobody holds it.
    pub fn try_with<R>(&self, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        self.0.try_with(f)
    }

    /// The same for the task, whose waker it leaves otherwise.
    pub fn poll_with<R>(&self, waker: &Waker, f: impl FnOnce(&mut T) -> R) -> Option<R> {
        match self.0.poll_with(&mut Context::from_waker(waker), f) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}

/// The end of a queue that adds.
#[derive(Debug)]
pub struct Producer<T>(spsc::Producer<T>);

/// The end of a queue that takes.
#[derive(Debug)]
pub struct Consumer<T>(spsc::Consumer<T>);

/// A queue from one thread to another.
#[must_use]
pub fn queue<T>() -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = spsc::queue();
    (Producer(producer), Consumer(consumer))
}

impl<T> Producer<T> {
    /// Adds.
    pub fn push(&mut self, value: T) {
        self.0.push(value);
    }
}

impl<T> Consumer<T> {
    /// Takes.
    pub fn pop(&mut self) -> Option<T> {
        self.0.pop()
    }
}

/// What the flush timer has of a partition.
#[derive(Debug)]
pub struct Timer(Vec<Arc<Shared>>);

impl Timer {
    /// The timer of `partition`.
    #[must_use]
    pub fn of(partition: &ResultPartition) -> Self {
        Self(partition.shared())
    }

    /// What the timer does when it is time.
    pub fn tick(&self) {
        self.0.iter().for_each(|channel| channel.flush_if_open());
    }
}

/// How much of its guarantee a pool has, or has lent and not yet back: what it does not find in the depot.
#[must_use]
pub fn claimed(pool: &LocalBufferPool) -> u32 {
    pool.claimed()
}

/// What a connection reads for its peer.
#[derive(Debug)]
pub struct Readers(readers::Readers<()>);

/// A channel whose reader is yet to come.
#[derive(Debug)]
pub struct Unread(Receiver);

/// A partition that waits for its readers.
#[must_use]
pub fn serve(pool: LocalBufferPool, subpartitions: usize) -> (ResultPartition, Vec<Unread>) {
    let (senders, receivers) = (0..subpartitions).map(|_| channel::channel_for_later()).unzip();
    let receivers: Vec<Receiver> = receivers;
    (ResultPartition::new(pool, senders), receivers.into_iter().map(Unread).collect())
}

/// What a reader sends.
#[derive(Debug)]
pub enum Sent {
    /// Data.
    Data(Buffer),
    /// An event.
    Event,
    /// Nothing: it wants credit.
    Starved,
}

impl Readers {
    /// For so many.
    #[must_use]
    pub fn new(most: u32) -> Self {
        Self(readers::Readers::new(most))
    }

    /// Reads a channel from now on.
    ///
    /// # Errors
    /// The channel: no place is free yet.
    pub fn open(&mut self, channel: Unread, credit: u32) -> Result<u32, Unread> {
        self.0.open(channel.0, credit, ()).map_err(Unread)
    }

    /// Reads it no more.
    pub fn close(&mut self, index: u32) {
        self.0.close(index);
    }

    /// Grants credit.
    pub fn grant(&mut self, index: u32, credit: u32) {
        self.0.grant(index, credit);
    }

    /// Gathers from now on.
    pub fn gather(&mut self) {
        self.0.gather(Some(Instant::now()));
    }

    /// What is sent next, if there is anything.
    pub fn try_next(&mut self) -> Option<(u32, Sent)> {
        let (index, found) = self.0.next()?;
        Some(match found {
            readers::Found::Item(Item::Buffer(buffer)) => (index, Sent::Data(buffer)),
            readers::Found::Item(Item::Event(_)) | readers::Found::Priority(_) => (index, Sent::Event),
            readers::Found::Starved => (index, Sent::Starved),
        })
    }

    /// The same, waiting for it as a connection's task does, for which the time to gather is over at once.
    #[allow(clippy::should_implement_trait, reason = "as the gate's `next`")]
    pub fn next(&mut self) -> (u32, Sent) {
        let found = block_on(None, |context| {
            loop {
                if let Some(found) = self.try_next() {
                    return Poll::Ready(found);
                }
                if self.0.is_gathering() {
                    self.0.gathered();
                    continue;
                }
                if self.0.park(context.waker()) {
                    return Poll::Pending;
                }
            }
        });
        found.expect("no deadline")
    }
}

/// What a connection reads for its peer, and sends from its task or from the thread that flushes.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "loom's has no weak handles, and a signal's prompt is one")]
pub struct Driven(std::sync::Arc<Sending>);

#[derive(Debug)]
struct Sending(baton::Baton<Turns>);

#[derive(Debug)]
struct Turns {
    readers: Readers,
    /// That of the task.
    waker: Option<Waker>,
    sent: usize,
    all: usize,
}

impl Turns {
    /// Sends what there is; `true` if that was the last, or the next announcement wakes the task.
    fn turn(&mut self) -> bool {
        while let Some((_, sent)) = self.readers.try_next() {
            self.sent += if let Sent::Data(buffer) = sent { buffer.len() } else { 0 };
        }
        self.sent == self.all || self.waker.as_ref().is_some_and(|waker| self.readers.0.park(waker))
    }
}

#[allow(clippy::disallowed_types, reason = "as above")]
impl Prompt for Sending {
    fn flushed(self: std::sync::Arc<Self>) -> bool {
        let turn = |turns: &mut Turns| {
            let done = turns.waker.is_some() && turns.turn();
            if let Some(waker) = &turns.waker
                && turns.sent == turns.all
            {
                waker.wake_by_ref(); // it waits for that
            }
            done
        };
        self.0.try_with(turn).unwrap_or(false)
    }
}

impl Driven {
    /// Of readers that are to send so many bytes.
    #[must_use]
    #[allow(clippy::disallowed_types, reason = "as above")]
    pub fn new(readers: Readers, all: usize) -> Self {
        Self(std::sync::Arc::new_cyclic(|sending: &std::sync::Weak<Sending>| {
            readers.0.prompt(sending.clone());
            Sending(baton::Baton::new(Turns { readers, waker: None, sent: 0, all }))
        }))
    }

    /// Drives them as the task, until all is sent.
    pub fn run(&self) {
        let sent = block_on(None, |context| {
            let waker = context.waker().clone();
            loop {
                let turned = self.0.0.poll_with(context, |turns| {
                    turns.waker = Some(waker.clone());
                    (turns.turn(), turns.sent == turns.all)
                });
                match turned {
                    Poll::Ready((_, true)) => return Poll::Ready(()),
                    Poll::Ready((false, _)) => {} // something was announced meanwhile
                    Poll::Ready((true, _)) | Poll::Pending => return Poll::Pending,
                }
            }
        });
        sent.expect("no deadline");
    }
}

/// The end of a gate's channel that a connection has.
#[derive(Debug)]
pub struct Arrivals(channel::Sender);

/// A gate of one channel, and the connection's end of it.
#[must_use]
pub fn remote() -> (Arrivals, InputGate) {
    let signal = Arc::new(Signal::new(1));
    let (sender, receiver) = channel::channel(signal.clone(), 0);
    (Arrivals(sender), InputGate::new(signal, vec![receiver]))
}

impl Arrivals {
    /// A buffer has come; `false` if the gate is gone.
    #[must_use]
    pub fn arrive(&mut self, buffer: Buffer) -> bool {
        self.0.add_whole(buffer);
        self.0.notify(channel::Told::Whole).is_ok()
    }

    /// The end has come.
    pub fn end(mut self) {
        let _ = self.0.send(Event::EndOfPartition); // gone already is as good
    }
}
