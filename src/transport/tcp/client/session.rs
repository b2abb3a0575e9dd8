//! The consumer's side of one connection, without the connection: bytes in, buffers to gates, requests and credit out.
//!
//! Knows no socket and no clock. A channel is found by its place, which stands in its id on the wire; a generation beside
//! it keeps what comes late for a closed channel from the next one in that place.

use std::{
    collections::VecDeque,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    credit::{Credit, Credits, Segments},
    error::{ChannelError, Failure},
    inlet::{Arrivals, Inlet, Landing},
};
use crate::{
    buffer::Buffer,
    channel::{Event, Released, Sender},
    transport::tcp::events,
    wire::{
        BufferResponse, ErrorResponse, InputChannelId, Limits, Message, PartitionRequest, ResultPartitionId,
        ResultSubpartitionIndexSet,
    },
};

/// What a gate asks of a connection.
#[derive(Debug)]
pub(super) struct OpenGate {
    pub(super) segments: Segments,
    pub(super) segment_size: usize,
    pub(super) partitions: Vec<ResultPartitionId>,
    pub(super) channels: Vec<OpenChannel>,
}

#[derive(Debug)]
pub(super) struct OpenChannel {
    pub(super) sender: Sender,
    /// Its place in `partitions`.
    pub(super) partition: u32,
    pub(super) subpartition: u32,
}

#[derive(Debug)]
struct Gate {
    segments: Segments,
    segment_size: usize,
    partitions: Vec<ResultPartitionId>,
}

#[derive(Debug)]
struct Channel {
    sender: Sender,
    credit: Credit,
    gate: u32,
    partition: u32,
    subpartition: u32,
    sequence: u32,
    /// It is in `dirty`: its gate is to be told.
    dirty: bool,
    requested: bool,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    channel: Option<Channel>,
}

/// The channels of a connection.
#[derive(Debug, Default)]
struct Channels(Vec<Slot>);

impl Credits for Channels {
    fn credit(&mut self, channel: u32) -> Option<&mut Credit> {
        self.get(channel).map(|channel| &mut channel.credit)
    }
}

impl Channels {
    fn get(&mut self, index: u32) -> Option<&mut Channel> {
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
const MOST_OUT: usize = 64 * 1024;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Session {
    pub(super) inlet: Inlet,
    state: State,
}

/// All but the inlet, which hands it what arrives.
#[derive(Debug)]
struct State {
    peer: Arc<str>,
    /// The first half of each channel's id.
    nonce: [u8; 8],
    channels: Channels,
    free: Vec<u32>,
    gates: Vec<Option<Gate>>,
    /// Channels whose exclusive segments are not there yet.
    opening: VecDeque<u32>,
    retries: VecDeque<Retry>,
    retry_until: Duration,
    started: Instant,
    dirty: Vec<u32>,
    told: Vec<u32>,
    out: Vec<u8>,
    written: usize,
    now: Instant,
    fatal: Option<Failure>,
}

impl Session {
    pub(super) fn new(peer: Arc<str>, nonce: [u8; 8], retry_until: Duration, now: Instant) -> Self {
        // A gate's segment size is what counts, see `header`.
        let limits = Limits { content: i32::MAX as u32, ..Limits::default() };
        let state = State {
            peer,
            nonce,
            channels: Channels::default(),
            free: Vec::new(),
            gates: Vec::new(),
            opening: VecDeque::new(),
            retries: VecDeque::new(),
            retry_until,
            started: now,
            dirty: Vec::new(),
            told: Vec::new(),
            out: Vec::new(),
            written: 0,
            now,
            fatal: None,
        };
        Self { inlet: Inlet::new(limits), state }
    }

    /// Opens the channels of a gate, each as soon as its exclusive segments are there.
    pub(super) fn open(&mut self, gate: OpenGate) {
        self.state.open(gate);
    }

    /// Takes up bytes that came to the memory of [`Inlet::with_parts`].
    ///
    /// # Errors
    /// [`Failure`]: all channels are to [fail](Self::fail).
    pub(super) fn arrived(&mut self, bytes: usize, now: Instant) -> Result<(), Failure> {
        self.state.now = now;
        let arrived = self.inlet.arrived(bytes, &mut self.state);
        self.state.tell_gates();
        arrived?;
        self.state.fatal.take().map_or(Ok(()), Err)
    }

    /// Sets segments aside, and writes down what credit that makes. Leaves the waker where a segment is short.
    pub(super) fn grant(&mut self, context: &mut Context<'_>) {
        self.state.poll_opening(context);
        self.state.grant(context);
    }

    /// When [`expire`](Self::expire) is to be called next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.state.retries.front().map(|retry| retry.at)
    }

    /// Asks again for partitions that were not there.
    pub(super) fn expire(&mut self, now: Instant) {
        self.state.now = now;
        while self.state.retries.front().is_some_and(|retry| retry.at <= now)
            && let Some(retry) = self.state.retries.pop_front()
        {
            if let Some(index) = self.state.find(retry.id) {
                self.state.request(index);
            }
        }
    }

    /// What is to be written.
    pub(super) fn out(&self) -> &[u8] {
        &self.state.out[self.state.written..]
    }

    /// Says that `bytes` of it were.
    pub(super) fn advance(&mut self, bytes: usize) {
        self.state.written += bytes;
        if self.state.written == self.state.out.len() {
            self.state.written = 0;
            self.state.out.clear();
            self.state.out.shrink_to(MOST_OUT);
        }
    }

    /// Says to the peer that this side is done with the connection.
    pub(super) fn close(&mut self) {
        self.state.send(&Message::CloseRequest);
    }

    /// Fails every channel.
    pub(super) fn fail(&mut self, failure: &Failure) {
        for index in 0..self.state.channels.0.len() as u32 {
            self.state.fail(index, failure.clone());
        }
        self.inlet.abandon();
    }
}

impl State {
    fn id(&self, index: u32) -> InputChannelId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.nonce);
        id[8..12].copy_from_slice(&self.channels.0[index as usize].generation.to_be_bytes());
        id[12..].copy_from_slice(&index.to_be_bytes());
        InputChannelId(id)
    }

    /// The open channel with that id.
    fn find(&self, id: InputChannelId) -> Option<u32> {
        let index = u32::from_be_bytes(*id.0.last_chunk()?);
        let slot = self.channels.0.get(index as usize)?;
        (slot.channel.is_some() && self.id(index) == id).then_some(index)
    }

    fn open(&mut self, gate: OpenGate) {
        let place = self.gates.iter().position(Option::is_none).unwrap_or_else(|| {
            self.gates.push(None);
            self.gates.len() - 1
        });
        let OpenGate { segments, segment_size, partitions, channels } = gate;
        self.gates[place] = Some(Gate { segments, segment_size, partitions });
        for OpenChannel { sender, partition, subpartition } in channels {
            let channel = Channel {
                sender,
                credit: Credit::default(),
                gate: place as u32,
                partition,
                subpartition,
                sequence: 0,
                dirty: false,
                requested: false,
            };
            let index = self.free.pop().unwrap_or_else(|| {
                self.channels.0.push(Slot { generation: 0, channel: None });
                self.channels.0.len() as u32 - 1
            });
            self.channels.0[index as usize].channel = Some(channel);
            self.opening.push_back(index);
        }
    }

    /// Requests what has its exclusive segments.
    fn poll_opening(&mut self, context: &mut Context<'_>) {
        let mut later = VecDeque::new();
        while let Some(index) = self.opening.pop_front() {
            let Some(channel) = self.channels.get(index) else { continue };
            let Some(gate) = &mut self.gates[channel.gate as usize] else { continue };
            match gate.segments.poll_exclusive(context) {
                Poll::Ready(credit) => {
                    channel.credit = credit;
                    channel.requested = true;
                    self.request(index);
                }
                Poll::Pending => later.push_back(index),
            }
        }
        self.opening = later;
    }

    fn request(&mut self, index: u32) {
        let receiver = self.id(index);
        let Some(channel) = self.channels.get(index) else { return };
        let Some(gate) = &self.gates[channel.gate as usize] else { return };
        let request = PartitionRequest {
            partition: gate.partitions[channel.partition as usize],
            subpartitions: ResultSubpartitionIndexSet::one(channel.subpartition),
            receiver,
            credit: channel.credit.told(),
        };
        self.send(&Message::PartitionRequest(request));
    }

    fn send(&mut self, message: &Message) {
        let encoded = message.encode(&mut self.out);
        debug_assert!(encoded.is_ok(), "what this side makes keeps to the limits of its fields");
    }

    /// Grants what segments allow, and tells the senders that need to know.
    fn grant(&mut self, context: &mut Context<'_>) {
        for gate in self.gates.iter_mut().flatten() {
            gate.segments.grant(context, &mut self.channels, &mut self.told);
        }
        if self.out.len() - self.written > MOST_OUT {
            return; // the credits wait, and become one
        }
        let mut told = std::mem::take(&mut self.told);
        told.retain(|&index| {
            let Some(channel) = self.channels.get(index) else { return false };
            if !channel.credit.is_worth_telling() {
                return channel.credit.has_untold();
            }
            let credit = channel.credit.tell();
            let receiver = self.id(index);
            self.send(&Message::AddCredit { credit, receiver });
            false
        });
        self.told = told;
    }

    /// Tells the gates of what came.
    fn tell_gates(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for index in dirty.drain(..) {
            let Some(channel) = self.channels.get(index) else { continue };
            channel.dirty = false;
            if channel.sender.notify() == Err(Released) {
                self.close(index);
            }
        }
        self.dirty = dirty;
    }

    fn mark_dirty(&mut self, index: u32) {
        if let Some(channel) = self.channels.get(index)
            && !std::mem::replace(&mut channel.dirty, true)
        {
            self.dirty.push(index);
        }
    }

    /// Says to the peer that the channel is done with, and frees its place and its segments.
    fn close(&mut self, index: u32) -> Option<Channel> {
        let id = self.id(index);
        let slot = &mut self.channels.0[index as usize];
        let mut channel = slot.channel.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(index);
        let gate = &mut self.gates[channel.gate as usize];
        if gate.as_mut().is_some_and(|gate| gate.segments.close(index, &mut channel.credit)) {
            *gate = None;
        }
        if channel.requested {
            self.send(&Message::CancelPartitionRequest { receiver: id });
        }
        Some(channel)
    }

    fn error(&mut self, index: u32, failure: Failure) -> Option<ChannelError> {
        let peer = self.peer.clone();
        let channel = self.channels.get(index)?;
        let (partition, subpartition, sequence) = (channel.partition, channel.subpartition, channel.sequence);
        let partition = *self.gates[channel.gate as usize].as_ref()?.partitions.get(partition as usize)?;
        Some(ChannelError { peer, partition, subpartition, sequence, failure })
    }

    /// Tells the gate that the channel has failed, and the peer that it is done with.
    fn fail(&mut self, index: u32, failure: Failure) {
        let Some(error) = self.error(index, failure) else { return };
        if let Some(mut channel) = self.close(index) {
            let _ = channel.sender.send(Event::Failed(Arc::new(error))); // gone already is as good
        }
    }

    fn failed_remotely(&mut self, error: &ErrorResponse) {
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
        let waited = self.now.saturating_duration_since(self.started);
        if waited >= self.retry_until {
            self.fail(index, Failure::NotFound { waited });
        } else {
            self.retries.push_back(Retry { id: receiver, at: self.now + RETRY_AFTER });
        }
    }

    fn backlog(&mut self, index: u32, backlog: u32) {
        let Some(channel) = self.channels.get(index) else { return };
        if let Some(gate) = &mut self.gates[channel.gate as usize] {
            gate.segments.backlog(index, &mut channel.credit, backlog);
        }
    }
}

impl Arrivals for State {
    fn header(&mut self, header: &BufferResponse, _: &[u32]) -> Landing {
        let Some(index) = self.find(header.receiver) else {
            self.send(&Message::CancelPartitionRequest { receiver: header.receiver });
            return Landing::Nowhere;
        };
        let Some(channel) = self.channels.get(index) else { return Landing::Nowhere };
        if header.sequence_number != channel.sequence {
            self.fail(index, Failure::Sequence { found: header.sequence_number });
            return Landing::Nowhere;
        }
        if !header.data_type.is_data() {
            return Landing::Event;
        }
        let Some(gate) = &mut self.gates[channel.gate as usize] else { return Landing::Nowhere };
        let (size, segment) = (header.size as usize, gate.segment_size);
        if size > segment {
            self.fail(index, Failure::TooLarge { size, segment });
            return Landing::Nowhere;
        }
        let Some(segment) = gate.segments.use_credit(&mut channel.credit) else {
            self.fail(index, Failure::NoCredit);
            return Landing::Nowhere;
        };
        Landing::Segment(segment)
    }

    fn content(&mut self, header: &BufferResponse, sizes: &[u32], content: Buffer) {
        let Some(index) = self.find(header.receiver) else { return };
        let Some(channel) = self.channels.get(index) else { return };
        let content = content.with_data_type(header.data_type).with_compressed(header.compressed);
        channel.sequence = channel.sequence.wrapping_add(header.partials.max(1));
        if sizes.len() < 2 {
            channel.sender.add_whole(content);
        } else {
            let mut at = 0;
            for &size in sizes {
                channel.sender.add_whole(content.slice(at..at + size as usize));
                at += size as usize;
            }
        }
        self.backlog(index, header.backlog);
        self.mark_dirty(index);
    }

    fn event(&mut self, header: &BufferResponse, sizes: &[u32], content: &[u8]) {
        let whole = [content.len() as u32];
        let sizes = if sizes.is_empty() { &whole } else { sizes };
        let mut at = 0;
        for &size in sizes {
            let Some(index) = self.find(header.receiver) else { return };
            let piece = &content[at..at + size as usize];
            at += size as usize;
            match events::decode(piece) {
                Err(error) => return self.fail(index, Failure::Event(error)),
                Ok(event) => self.one_event(index, event),
            }
        }
        if let Some(index) = self.find(header.receiver) {
            self.backlog(index, header.backlog);
        }
    }

    fn message(&mut self, message: Message) {
        match message {
            Message::ErrorResponse(error) => self.failed_remotely(&error),
            Message::BacklogAnnouncement { backlog, receiver } => match self.find(receiver) {
                Some(index) => self.backlog(index, backlog),
                None => self.send(&Message::CancelPartitionRequest { receiver }),
            },
            _ => {} // the decoder lets no message of a consumer pass, and buffers come by another way
        }
    }
}

impl State {
    fn one_event(&mut self, index: u32, event: Option<Event>) {
        let Some(channel) = self.channels.get(index) else { return };
        channel.sequence = channel.sequence.wrapping_add(1);
        let Some(event) = event else { return };
        if matches!(event, Event::EndOfPartition) {
            if let Some(mut channel) = self.close(index) {
                let _ = channel.sender.send(event); // gone already is as good
            }
        } else if channel.sender.send(event) == Err(Released) {
            self.close(index);
        }
    }
}

impl Drop for State {
    fn drop(&mut self) {
        for index in 0..self.channels.0.len() as u32 {
            self.fail(index, Failure::ShutDown);
        }
    }
}
