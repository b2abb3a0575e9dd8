//! The consumer's side of one connection, without the connection: bytes in, buffers to gates, requests and credit out.
//!
//! Knows no socket and no clock. A channel is found by its place, which stands in its id on the wire; a generation
//! beside it keeps what comes late for a closed channel from the next one in that place.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use super::{
    commands::{Command, Commands},
    credit::{Credit, Credits, Segments},
    error::{ChannelError, Failure},
    inlet::Inlet,
    unpack::Unpack,
};
use crate::{
    channel::{Event, Released, Said, Sender, Told},
    wire::{
        ErrorResponse, InputChannelId, Limits, Message, PartitionRequest, ResultPartitionId,
        ResultSubpartitionIndexSet, TaskEventRequest,
    },
};

/// What a gate asks of a connection.
#[derive(Debug)]
pub(crate) struct OpenGate {
    /// Names it on this connection.
    pub(crate) token: u64,
    pub(crate) segments: Segments,
    pub(crate) segment_size: usize,
    pub(crate) unpack: Option<Unpack>,
    pub(crate) partitions: Vec<ResultPartitionId>,
    pub(crate) channels: Vec<OpenChannel>,
}

impl OpenGate {
    /// Fails its channels before they are open.
    pub(crate) fn fail(self, peer: Arc<str>, failure: &Failure) {
        let mut session = Session::new(peer, [0; 8], Duration::ZERO, Instant::now());
        session.open(self);
        session.fail(failure);
    }
}

#[derive(Debug)]
pub(crate) struct OpenChannel {
    pub(crate) sender: Sender,
    /// Its place in `partitions`.
    pub(crate) partition: u32,
    pub(crate) subpartitions: ResultSubpartitionIndexSet,
}

/// What a channel over several subpartitions is to have counted before it has ended. Beside the channels, for few are
/// such.
#[derive(Debug)]
struct Several {
    last: u32,
    /// Subpartitions that have not said that no more records follow.
    producing: u32,
    /// Subpartitions that have not ended.
    open: u32,
}

#[derive(Debug)]
pub(crate) struct Gate {
    token: u64,
    pub(crate) segments: Segments,
    pub(crate) segment_size: usize,
    pub(crate) unpack: Option<Unpack>,
    partitions: Vec<ResultPartitionId>,
    /// When the last of its channels was asked for, for the first time.
    asked: Instant,
    /// Where each of its channels is, or was.
    pub(super) places: Vec<u32>,
}

/// No place: the channel is closed.
const CLOSED: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) sender: Sender,
    pub(crate) credit: Credit,
    pub(crate) gate: u32,
    partition: u32,
    subpartition: u32,
    /// The number of the buffer or event that is next.
    pub(crate) sequence: u32,
    /// It is in `dirty`: its gate is to be told.
    dirty: bool,
    asked: Asked,
    /// The sender rests until it is told to go on.
    pub(crate) blocked: bool,
    /// Which channel of those that its gate has on this connection.
    nth: u32,
    /// The weight of all events that have come for its reader, wrapping.
    pub(crate) events: u16,
}

/// Whether the peer was asked for a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    NotYet,
    Yes,
    /// Yes, and did not have it: the channel is in `retries`.
    AgainSoon,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    channel: Option<Channel>,
}

/// The channels of a connection.
#[derive(Debug, Default)]
pub(crate) struct Channels(Vec<Slot>);

impl Credits for Channels {
    fn credit(&mut self, channel: u32) -> Option<&mut Credit> {
        self.get(channel).map(|channel| &mut channel.credit)
    }
}

impl Channels {
    /// Which channel this is of those that were in that place one after the other.
    pub(crate) fn generation(&self, index: u32) -> u32 {
        self.0[index as usize].generation
    }

    pub(crate) fn get(&mut self, index: u32) -> Option<&mut Channel> {
        self.0.get_mut(index as usize)?.channel.as_mut()
    }
}

/// A request to be repeated: the peer did not have the partition.
#[derive(Debug)]
struct Retry {
    id: InputChannelId,
    at: Instant,
}

/// How long to wait before a partition that was not there is asked for again.
const RETRY_AFTER: Duration = Duration::from_millis(100);
/// Credit waits for the link rather than pile up here.
pub(super) const MOST_OUT: usize = 64 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) inlet: Inlet,
    state: State,
}

/// All but the inlet, which hands it what arrives.
#[derive(Debug)]
pub(crate) struct State {
    peer: Arc<str>,
    /// The first half of each channel's id.
    nonce: [u8; 8],
    pub(crate) channels: Channels,
    several: HashMap<u32, Several>,
    free: Vec<u32>,
    pub(crate) gates: Vec<Option<Gate>>,
    /// Channels whose exclusive segments are not there yet.
    opening: VecDeque<u32>,
    retries: VecDeque<Retry>,
    retry_until: Duration,
    dirty: Vec<u32>,
    /// Channels with credit that their sender does not know of.
    pub(super) untold: Vec<u32>,
    /// Some of them are to be told once this side is idle.
    pub(super) tells_when_idle: bool,
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    now: Instant,
    /// Something that ends all of the connection.
    pub(crate) fatal: Option<Failure>,
}

impl Session {
    pub(crate) fn new(peer: Arc<str>, nonce: [u8; 8], retry_until: Duration, now: Instant) -> Self {
        // A gate's segment size is what counts, see `header`.
        let limits = Limits { content: i32::MAX as u32, ..Limits::default() };
        let state = State {
            peer,
            nonce,
            channels: Channels::default(),
            several: HashMap::new(),
            free: Vec::new(),
            gates: Vec::new(),
            opening: VecDeque::new(),
            retries: VecDeque::new(),
            retry_until,
            dirty: Vec::new(),
            untold: Vec::new(),
            tells_when_idle: false,
            out: Vec::new(),
            written: 0,
            now,
            fatal: None,
        };
        Self { inlet: Inlet::new(limits), state }
    }

    /// Tells the time.
    pub(crate) fn tick(&mut self, now: Instant) {
        self.state.now = now;
    }

    /// Opens the channels of a gate, each as soon as its exclusive segments are there.
    pub(crate) fn open(&mut self, gate: OpenGate) {
        self.state.open(gate);
    }

    /// Whether there has been a gate.
    pub(crate) fn has_gates(&self) -> bool {
        !self.state.gates.is_empty()
    }

    /// Does what `commands` say. Ready once they say to end: all channels have failed then, and no more of them is
    /// taken.
    pub(super) fn poll_commands(&mut self, commands: &mut Commands, context: &mut Context<'_>) -> Poll<()> {
        loop {
            match ready!(commands.poll(context)) {
                Some(Command::Open(gate)) => self.open(*gate),
                Some(Command::Said(gate, nth, said)) => self.said(gate, nth, said),
                Some(Command::Gone(gate)) => self.gone(gate),
                Some(Command::End) | None => break,
            }
        }
        self.fail(&Failure::ShutDown);
        commands.fail(&Failure::ShutDown);
        Poll::Ready(())
    }

    /// What a gate says to the writer of one of its channels.
    pub(crate) fn said(&mut self, gate: u64, nth: u32, said: Said) {
        self.state.said(gate, nth, said);
    }

    /// A gate is gone: its channels are done with.
    pub(crate) fn gone(&mut self, gate: u64) {
        let gate = self.state.gates.iter().flatten().find(|other| other.token == gate);
        for index in gate.map_or_else(Vec::new, |gate| gate.places.clone()) {
            self.state.close(index);
        }
    }

    /// Takes up bytes that came to the memory of [`Inlet::with_parts`].
    ///
    /// # Errors
    /// [`Failure`]: all channels are to [fail](Self::fail).
    pub(crate) fn arrived(&mut self, bytes: usize, now: Instant) -> Result<(), Failure> {
        self.state.now = now;
        let arrived = self.inlet.arrived(bytes, &mut self.state);
        self.state.tell_gates();
        arrived?;
        self.state.fatal.take().map_or(Ok(()), Err)
    }

    /// Sets segments aside, and writes down what credit that makes. Leaves the waker where a segment is short.
    pub(crate) fn grant(&mut self, context: &mut Context<'_>) {
        self.state.unpack(context);
        self.state.poll_opening(context);
        self.state.grant(context);
        self.state.tell(false);
    }

    /// Whether there is credit to [tell when idle](Self::tell_when_idle).
    pub(crate) fn tells_when_idle(&self) -> bool {
        self.state.tells_when_idle
    }

    /// Writes down the credit that was put off until there is nothing else to do. A sender that is out of credit does
    /// not wait for it.
    pub(crate) fn tell_when_idle(&mut self) {
        self.state.tell(true);
    }

    /// When [`expire`](Self::expire) is to be called next.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.state.retries.front().map(|retry| retry.at)
    }

    /// Asks again for partitions that were not there.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.state.now = now;
        while self.state.retries.front().is_some_and(|retry| retry.at <= now)
            && let Some(retry) = self.state.retries.pop_front()
        {
            if let Some(index) = self.state.find(retry.id)
                && let Some(channel) = self.state.channels.get(index)
            {
                channel.asked = Asked::Yes;
                self.state.request(index);
            }
        }
    }

    /// What is to be written.
    pub(crate) fn out(&self) -> &[u8] {
        &self.state.out[self.state.written..]
    }

    /// Says that `bytes` of it were.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.state.written += bytes;
        if self.state.written == self.state.out.len() {
            self.state.written = 0;
            self.state.out.clear();
            self.state.out.shrink_to(MOST_OUT);
        }
    }

    /// Says to the peer that this side is done with the connection.
    pub(crate) fn close(&mut self) {
        self.state.send(&Message::CloseRequest);
    }

    /// Fails every channel.
    pub(crate) fn fail(&mut self, failure: &Failure) {
        self.state.fail_all(failure);
        self.inlet.abandon();
    }
}

impl State {
    pub(super) fn id(&self, index: u32) -> InputChannelId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.nonce);
        id[8..12].copy_from_slice(&self.channels.0[index as usize].generation.to_be_bytes());
        id[12..].copy_from_slice(&index.to_be_bytes());
        InputChannelId(id)
    }

    /// The open channel with that id.
    pub(crate) fn find(&self, id: InputChannelId) -> Option<u32> {
        let index = u32::from_be_bytes(*id.0.last_chunk()?);
        let slot = self.channels.0.get(index as usize)?;
        (slot.channel.is_some() && self.id(index) == id).then_some(index)
    }

    fn open(&mut self, gate: OpenGate) {
        let place = self.gates.iter().position(Option::is_none).unwrap_or_else(|| {
            self.gates.push(None);
            self.gates.len() - 1
        });
        let OpenGate { token, segments, segment_size, unpack, partitions, channels } = gate;
        let mut places = Vec::with_capacity(channels.len());
        self.channels.0.reserve_exact(channels.len().saturating_sub(self.free.len()));
        for (nth, OpenChannel { sender, partition, subpartitions }) in (0..).zip(channels) {
            let channel = Channel {
                sender,
                credit: Credit::default(),
                gate: place as u32,
                partition,
                subpartition: subpartitions.first,
                sequence: 0,
                dirty: false,
                asked: Asked::NotYet,
                blocked: false,
                nth,
                events: 0,
            };
            let index = self.free.pop().unwrap_or_else(|| {
                self.channels.0.push(Slot { generation: 0, channel: None });
                self.channels.0.len() as u32 - 1
            });
            self.channels.0[index as usize].channel = Some(channel);
            if subpartitions.first < subpartitions.last {
                let count = subpartitions.size() as u32;
                self.several.insert(index, Several { last: subpartitions.last, producing: count, open: count });
            }
            self.opening.push_back(index);
            places.push(index);
        }
        self.gates[place] = Some(Gate { token, segments, segment_size, unpack, partitions, asked: self.now, places });
    }

    /// Requests what has its exclusive segments.
    fn poll_opening(&mut self, context: &mut Context<'_>) {
        let mut later = VecDeque::new();
        while let Some(index) = self.opening.pop_front() {
            let Some(channel) = self.channels.get(index).filter(|channel| channel.asked == Asked::NotYet) else {
                continue;
            };
            let Some(gate) = &mut self.gates[channel.gate as usize] else { continue };
            match gate.segments.poll_exclusive(context) {
                Poll::Ready(Ok(credit)) => {
                    channel.credit = credit;
                    channel.asked = Asked::Yes;
                    gate.asked = self.now;
                    self.request(index);
                }
                Poll::Ready(Err(failure)) => self.fail(index, failure),
                Poll::Pending => later.push_back(index),
            }
        }
        self.opening = later;
    }

    fn request(&mut self, index: u32) {
        let receiver = self.id(index);
        let Some(channel) = self.channels.get(index) else { return };
        let Some(gate) = &self.gates[channel.gate as usize] else { return };
        let first = channel.subpartition;
        let last = self.several.get(&index).map_or(first, |several| several.last);
        let request = PartitionRequest {
            partition: gate.partitions[channel.partition as usize],
            subpartitions: ResultSubpartitionIndexSet { first, last },
            receiver,
            credit: channel.credit.told(),
        };
        self.send(&Message::PartitionRequest(request));
    }

    /// Whether an event that came speaks for the whole channel: of several subpartitions each says that it ends.
    pub(crate) fn is_the_last(&mut self, index: u32, event: &Event) -> bool {
        let Some(several) = self.several.get_mut(&index) else { return true };
        let left = match event {
            Event::EndOfData(_) => &mut several.producing,
            Event::EndOfPartition => &mut several.open,
            _ => return true,
        };
        *left = left.saturating_sub(1);
        *left == 0
    }

    fn said(&mut self, gate: u64, nth: u32, said: Said) {
        let Some(gate) = self.gates.iter().flatten().find(|other| other.token == gate) else { return };
        let Some(&index) = gate.places.get(nth as usize) else { return };
        let Some(channel) = self.channels.get(index) else { return };
        let partition = gate.partitions[channel.partition as usize];
        match said {
            Said::Resume => self.resume(index),
            Said::AllRecordsProcessed => {
                let receiver = self.id(index);
                self.send(&Message::AckAllUserRecordsProcessed { receiver });
            }
            Said::TaskEvent(event) => {
                let receiver = self.id(index);
                self.send(&Message::TaskEventRequest(TaskEventRequest { event: event.into(), partition, receiver }));
            }
        }
    }

    /// The sender rests, and has no credit any more if it had none at first.
    pub(crate) fn rest(&mut self, index: u32) {
        let Some(channel) = self.channels.get(index) else { return };
        channel.blocked = true;
        if let Some(gate) = &mut self.gates[channel.gate as usize]
            && gate.segments.exclusive() == 0
        {
            gate.segments.forget(&mut channel.credit);
        }
    }

    /// Tells a sender that rests to go on.
    pub(crate) fn resume(&mut self, index: u32) {
        if let Some(channel) = self.channels.get(index)
            && std::mem::take(&mut channel.blocked)
        {
            let receiver = self.id(index);
            self.send(&Message::ResumeConsumption { receiver });
        }
    }

    pub(crate) fn send(&mut self, message: &Message) {
        let encoded = message.encode(&mut self.out);
        debug_assert!(encoded.is_ok(), "what this side makes keeps to the limits of its fields");
    }

    /// Something came for a channel that is not open. If it was, its sender has been told, so this may be left out:
    /// else a peer that sends such things, and takes nothing, would fill `out`.
    pub(crate) fn disown(&mut self, receiver: InputChannelId) {
        if self.out.len() - self.written <= MOST_OUT {
            self.send(&Message::CancelPartitionRequest { receiver });
        }
    }

    /// Tells the gates of what came.
    pub(crate) fn tell_gates(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            let Some(channel) = self.channels.get(index) else { continue };
            channel.dirty = false;
            if channel.sender.notify(Told::Whole) == Err(Released) {
                self.close(index);
            }
        }
        self.dirty = dirty;
    }

    pub(crate) fn mark_dirty(&mut self, index: u32) {
        if let Some(channel) = self.channels.get(index)
            && !std::mem::replace(&mut channel.dirty, true)
        {
            self.dirty.push(index);
        }
    }

    /// Says to the peer that the channel is done with, and frees its place and its segments.
    pub(crate) fn close(&mut self, index: u32) -> Option<Channel> {
        self.channels.get(index)?;
        let id = self.id(index);
        let slot = &mut self.channels.0[index as usize];
        let mut channel = slot.channel.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        self.several.remove(&index);
        let gate = &mut self.gates[channel.gate as usize];
        if let Some(open) = gate {
            open.places[channel.nth as usize] = CLOSED;
            if open.segments.close(&mut channel.credit) {
                *gate = None;
            }
        }
        if channel.asked != Asked::NotYet {
            self.send(&Message::CancelPartitionRequest { receiver: id });
        }
        Some(channel)
    }

    fn error(&mut self, index: u32, failure: Failure) -> Option<ChannelError> {
        let peer = self.peer.clone();
        let last = self.several.get(&index).map(|several| several.last);
        let channel = self.channels.get(index)?;
        let (partition, subpartition, sequence) = (channel.partition, channel.subpartition, channel.sequence);
        let partition = *self.gates[channel.gate as usize].as_ref()?.partitions.get(partition as usize)?;
        let last_subpartition = last.unwrap_or(subpartition);
        Some(ChannelError { peer, partition, subpartition, last_subpartition, sequence, failure })
    }

    /// Tells the gate that the channel has failed, and the peer that it is done with.
    pub(crate) fn fail(&mut self, index: u32, failure: Failure) {
        let Some(error) = self.error(index, failure) else { return };
        if let Some(mut channel) = self.close(index) {
            let _ = channel.sender.send(Event::Failed(Arc::new(error))); // gone already is as good
        }
    }

    fn fail_all(&mut self, failure: &Failure) {
        (0..self.channels.0.len() as u32).for_each(|index| self.fail(index, failure.clone()));
    }

    pub(crate) fn failed_remotely(&mut self, error: &ErrorResponse) {
        let remote = || {
            let exception = error.exception();
            let class = exception.as_ref().map_or_else(String::new, |exception| exception.class.clone());
            Failure::Remote { class, message: exception.and_then(|e| e.message).unwrap_or_default() }
        };
        let Some(receiver) = error.receiver else {
            self.fatal.get_or_insert_with(remote);
            return;
        };
        let Some(index) = self.find(receiver) else { return };
        if !error.is_partition_not_found() {
            return self.fail(index, remote());
        }
        let Some(channel) = self.channels.get(index) else { return };
        if std::mem::replace(&mut channel.asked, Asked::AgainSoon) != Asked::Yes {
            return; // it is asked for again once, however often the peer says so
        }
        let asked = self.gates[channel.gate as usize].as_ref().map_or(self.now, |gate| gate.asked);
        let waited = self.now.saturating_duration_since(asked);
        if waited >= self.retry_until {
            self.fail(index, Failure::NotFound { waited });
        } else {
            self.retries.push_back(Retry { id: receiver, at: self.now + RETRY_AFTER });
        }
    }

    pub(crate) fn backlog(&mut self, index: u32, backlog: u32) {
        let Some(channel) = self.channels.get(index) else { return };
        if let Some(gate) = &mut self.gates[channel.gate as usize] {
            gate.segments.backlog(index, &mut channel.credit, backlog);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.fail_all(&Failure::ShutDown);
    }
}
