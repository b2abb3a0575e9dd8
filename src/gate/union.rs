//! Several gates read as one.

use std::{
    collections::VecDeque,
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{
    input::{GateError, Input, Next},
    input_gate::InputGate,
};
use crate::{
    lockfree::{
        inbox::{Inbox, Links, MAX_INDEX},
        wait::{WaitStrategy, Waited},
        waker::WakerCell,
    },
    sync::{Arc, AtomicBool, AtomicU32, Ordering},
};

/// Several gates as one: the channels of the first, then those of the second, and so on, numbered through.
///
/// Fair: gates that have something take turns, one buffer each, and so do the channels within each. The cost of a
/// buffer does not depend on the number of gates, only on how many have something (O(1) for each). A priority event
/// comes before all else in its gate, and so after at most one buffer of each other gate.
///
/// # Examples
/// ```
/// use forebay::{
///     gate::{RecordReader, UnionInputGate},
///     partition::{Forward, RecordWriter},
///     pool::NetworkBufferPool,
///     transport::in_process,
/// };
/// let pool = NetworkBufferPool::builder().segments(4).build()?;
/// let mut gates = Vec::new();
/// for input in ["orders", "customers"] {
///     let (mut partitions, mut gate) = in_process(vec![pool.local_pool(input).required(1).build()?], 1);
///     let mut writer = RecordWriter::new(partitions.remove(0), Forward);
///     writer.emit(input)?;
///     writer.close();
///     gates.append(&mut gate);
/// }
/// let mut reader = RecordReader::new(UnionInputGate::new(gates), 1024);
/// let mut inputs = Vec::new();
/// while let Some(record) = reader.next()? {
///     inputs.push((record.channel(), record.deserialize::<&str>()?.to_owned()));
/// }
/// assert_eq!(inputs, [(0, "orders".to_owned()), (1, "customers".to_owned())]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `UnionInputGate`.
#[derive(Debug)]
pub struct UnionInputGate {
    gates: Vec<Member>,
    /// Gates that may have something, in turn. The others sleep: their waker tells us.
    ready: VecDeque<u32>,
    /// The gate of each channel.
    gate_of: Vec<u32>,
    doors: Arc<Doors>,
    /// Gates that have not ended.
    open: usize,
    strategy: WaitStrategy,
    idle: Waited,
}

#[derive(Debug)]
struct Member {
    gate: InputGate,
    /// The number of its first channel.
    first: usize,
    /// Announces the gate.
    waker: Waker,
    /// Stands in `ready`, or has ended and is never looked at again.
    ready: bool,
}

/// Where gates that were asleep announce themselves: shared with their wakers.
#[derive(Debug)]
struct Doors {
    inbox: Inbox,
    gates: Box<[Door]>,
    waker: WakerCell,
}

#[derive(Debug)]
struct Door {
    /// The gate is in the inbox. A waker may be woken more than once, and an index is in an inbox once.
    announced: AtomicBool,
    link: AtomicU32,
}

impl Links for Doors {
    fn link(&self, index: u32) -> &AtomicU32 {
        &self.gates[index as usize].link
    }
}

impl Doors {
    /// Announces a gate, and wakes the union if it sleeps. Lock-free. From any thread.
    fn announce(&self, gate: u32) {
        let door = &self.gates[gate as usize];
        // ORDERING N1 Acquire, pairs with N2: the union has read the link before we write it again. Not modelled: loom
        // lets no load see a store that comes later. Not Release: if the gate is announced already, the union will
        // clear that first and then poll the gate, which sleeps only by a read-modify-write of the word that we were
        // woken by.
        if !door.announced.swap(true, Ordering::Acquire) && self.inbox.push(&door.link, gate) == Ok(true) {
            self.waker.wake();
        }
    }
}

/// A gate's waker.
#[derive(Debug)]
struct Announce {
    doors: Arc<Doors>,
    gate: u32,
}

#[allow(clippy::disallowed_types, reason = "a `Waker` is made of std's `Arc`")]
impl Wake for Announce {
    fn wake(self: std::sync::Arc<Self>) {
        self.doors.announce(self.gate);
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        self.doors.announce(self.gate);
    }
}

impl UnionInputGate {
    /// The gates in this order.
    ///
    /// # Panics
    /// If they have more than 2³² channels between them.
    #[must_use]
    pub fn new(gates: Vec<InputGate>) -> Self {
        let count = u32::try_from(gates.len()).expect("fewer than 2^32 gates");
        assert!(count <= MAX_INDEX, "{count} gates in one union");
        let door = |_| Door { announced: AtomicBool::new(false), link: AtomicU32::new(0) };
        let doors = (0..count).map(door).collect();
        let doors = Arc::new(Doors { inbox: Inbox::new(), gates: doors, waker: WakerCell::new() });
        let mut gate_of = Vec::new();
        let member = |(index, gate): (u32, InputGate)| {
            let first = gate_of.len();
            gate_of.extend(std::iter::repeat_n(index, gate.channels()));
            #[allow(clippy::disallowed_types, reason = "as above")]
            let waker = std::sync::Arc::new(Announce { doors: doors.clone(), gate: index }).into();
            Member { gate, first, waker, ready: true }
        };
        let gates: Vec<_> = (0..).zip(gates).map(member).collect();
        let mut ready = VecDeque::with_capacity(gates.len());
        ready.extend((0..count).filter(|&index| !gates[index as usize].gate.is_ended()));
        let (open, strategy, idle) = (ready.len(), WaitStrategy::default(), Waited::default());
        Self { gates, ready, gate_of, doors, open, strategy, idle }
    }

    /// Sets how [`next`](Input::next) and [`next_timeout`](Input::next_timeout) wait.
    #[must_use]
    pub fn with_wait_strategy(mut self, strategy: WaitStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// The gates in it, for their numbers.
    #[must_use]
    pub fn gates(&self) -> impl ExactSizeIterator<Item = &InputGate> {
        self.gates.iter().map(|member| &member.gate)
    }

    /// Takes in the gates that were woken.
    fn collect(&mut self) {
        let mut woken = self.doors.inbox.take_all();
        let arrived = self.ready.len();
        while let Some(index) = woken.next(&*self.doors) {
            // ORDERING N2 Release, pairs with N1 of the waker that announces the gate next, and is not modelled either.
            // A read-modify-write, so that it comes before or behind that waker's, and not into the middle.
            self.doors.gates[index as usize].announced.swap(false, Ordering::Release);
            let member = &mut self.gates[index as usize];
            if !std::mem::replace(&mut member.ready, true) {
                self.ready.push_back(index);
            }
        }
        if self.ready.len() - arrived > 1 {
            self.ready.make_contiguous()[arrived..].reverse(); // first come, first served
        }
    }

    /// Marks a gate as one that is to be looked at.
    fn wake(&mut self, index: u32) {
        if !std::mem::replace(&mut self.gates[index as usize].ready, true) {
            self.ready.push_back(index);
        }
    }

    fn member(&mut self, channel: usize) -> (u32, usize) {
        let index = self.gate_of[channel];
        (index, channel - self.gates[index as usize].first)
    }
}

impl Input for UnionInputGate {
    fn channels(&self) -> usize {
        self.gate_of.len()
    }

    fn is_ended(&self) -> bool {
        self.open == 0
    }

    fn try_next(&mut self) -> Next {
        loop {
            self.collect();
            let Some(index) = self.ready.pop_front() else { return Ok(None) };
            let member = &mut self.gates[index as usize];
            let found = member.gate.poll_next(&mut Context::from_waker(&member.waker));
            match found {
                Poll::Pending => member.ready = false,   // its waker announces it
                Poll::Ready(Ok(None)) => self.open -= 1, // and it stays marked, for it is never looked at again
                Poll::Ready(found) => {
                    self.ready.push_back(index);
                    let first = member.first;
                    self.idle.end();
                    return match found {
                        Ok(found) => Ok(found.map(|(channel, item)| (first + channel, item))),
                        Err(GateError::ProducerFailed { channel, cause }) => {
                            Err(GateError::ProducerFailed { channel: first + channel, cause })
                        }
                    };
                }
            }
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            match self.try_next() {
                Ok(None) if self.is_ended() => return Poll::Ready(Ok(None)),
                Ok(None) => {}
                found => return Poll::Ready(found),
            }
            // No gate is ready, so the inbox is the only place where one can arrive (M4).
            self.doors.waker.register(context.waker());
            if self.doors.inbox.park() {
                self.idle.begin();
                return Poll::Pending;
            }
        }
    }

    fn block_consumption(&mut self, channel: usize) {
        let (gate, channel) = self.member(channel);
        self.gates[gate as usize].gate.block_consumption(channel);
    }

    fn resume_consumption(&mut self, channel: usize) {
        let (gate, channel) = self.member(channel);
        self.gates[gate as usize].gate.resume_consumption(channel);
        self.wake(gate); // what the channel held back wakes nobody
    }

    fn wait_strategy(&self) -> WaitStrategy {
        self.strategy
    }

    fn idle(&self) -> Duration {
        self.idle.total()
    }

    fn waits(&mut self, waits: bool) {
        if waits {
            self.idle.begin();
        } else {
            self.idle.end();
        }
    }
}
