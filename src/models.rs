//! Doors for the models in `loom-tests/` to what is not public. In loom builds only, and no part of the interface.
#![forbid(unsafe_code)]

use crate::{
    channel::Shared,
    lockfree::{
        inbox::{self, Links},
        lanes, number, spsc, waker,
    },
    partition::ResultPartition,
    pool::LocalBufferPool,
    sync::{Arc, AtomicU32},
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
        let (lanes, mut owner) = (Self(lanes::Lanes::new()), LaneOwner(lanes::Owner::new()));
        lanes.open_again(&mut owner);
        (lanes, owner)
    }

    /// Opens them after closing.
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
