//! The producer's side of one connection, without the connection: messages in, frames out.
//!
//! ```text
//!  PartitionRequest ──▶ registry: here? ── receiver ──▶ Readers ── next, in turn ──▶ Outbox ──▶ the connection writes
//!                                   └ not yet: waits ──────▲
//!  AddCredit, ResumeConsumption, Ack…, Cancel ─────────────┘
//! ```
//!
//! Knows no socket and no clock: who drives it hands it bytes, the time, and what the registry delivers.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Weak},
    task::Waker,
    time::Instant,
};

use hashbrown::HashTable;

use super::{
    error::Refusal,
    registry::{Delivery, PartitionState, Registry, Request, Waiter},
};
use crate::{
    buffer::DataType,
    channel::{Event, Item, Prompt, Receiver},
    transport::readers::{Found, Readers},
    transport::tcp::{
        events,
        limits::{ServerLimits, after},
        outbox::Outbox,
        traffic::Traffic,
    },
    wire::{
        BUFFER_HEADER_BYTES, BufferResponse, DecodeError, Decoder, ErrorResponse, InputChannelId, Message,
        PartitionRequest, Role, TaskEventRequest,
    },
};

/// What a reader is about.
#[derive(Debug)]
struct Served {
    id: InputChannelId,
    subpartition: u32,
    sequence: u32,
    partition: Arc<PartitionState>,
}

/// Readers by the id of their channel, which stands with the reader alone: a few bytes for each.
#[derive(Debug, Default)]
struct Ids {
    table: HashTable<u32>,
    /// Ids are the peer's to choose.
    hasher: RandomState,
}

impl Ids {
    fn get(&self, id: InputChannelId, readers: &Readers<Served>) -> Option<u32> {
        self.table.find(self.hasher.hash_one(Some(id)), |&index| Self::id(index, readers) == Some(id)).copied()
    }

    /// The reader at `index` is open, and its id is not here yet.
    fn insert(&mut self, index: u32, readers: &Readers<Served>) {
        let hash = |&index: &u32| self.hasher.hash_one(Self::id(index, readers));
        self.table.insert_unique(hash(&index), index, hash);
    }

    /// To be called while the reader is open still.
    fn remove(&mut self, id: InputChannelId, readers: &Readers<Served>) -> Option<u32> {
        let hash = self.hasher.hash_one(Some(id));
        let entry = self.table.find_entry(hash, |&index| Self::id(index, readers) == Some(id)).ok()?;
        Some(entry.remove().0)
    }

    fn id(index: u32, readers: &Readers<Served>) -> Option<InputChannelId> {
        readers.with(index).map(|served| served.id)
    }
}

/// A request whose partition is not there yet.
#[derive(Debug)]
struct Waiting {
    request: PartitionRequest,
    until: Instant,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Session {
    readers: Readers<Served>,
    by_id: Ids,
    waiting: HashMap<InputChannelId, Waiting>,
    /// Those of `waiting` in order, and some that wait no more.
    expiry: VecDeque<(Instant, InputChannelId)>,
    decoder: Decoder,
    pub(crate) out: Outbox,
    /// The last message: its memory is used again.
    message: Vec<u8>,
    limits: ServerLimits,
    registry: Arc<Registry>,
    waiter: Waiter,
    /// The peer has said that it is done.
    closed: bool,
    requests: u64,
    /// Messages that came whole.
    messages: u64,
    pub(crate) traffic: Traffic,
}

/// Entries of `expiry` that wait no more and are kept all the same.
const MOST_STALE: usize = 64;

impl Session {
    pub(crate) fn new(registry: Arc<Registry>, waiter: Waiter, limits: ServerLimits) -> Self {
        Self {
            readers: Readers::new(limits.requests),
            by_id: Ids::default(),
            waiting: HashMap::new(),
            expiry: VecDeque::new(),
            decoder: Decoder::new(Role::Consumer, limits.wire()),
            out: Outbox::default(),
            message: Vec::new(),
            limits,
            registry,
            waiter,
            closed: false,
            requests: 0,
            messages: 0,
            traffic: Traffic::default(),
        }
    }

    /// Whether the peer has said that it is done.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether the peer has ever asked for a partition.
    pub(crate) fn has_requested(&self) -> bool {
        self.requests > 0
    }

    /// Messages that have come whole.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// Whether the stream from the peer may end here.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.decoder.is_between_messages()
    }

    /// Channels that are open or asked for.
    pub(crate) fn channels(&self) -> usize {
        self.readers.len() + self.waiting.len()
    }

    /// When the first request that waits has waited long enough.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        while let Some(&(until, receiver)) = self.expiry.front() {
            if self.waiting.get(&receiver).is_some_and(|waiting| waiting.until == until) {
                return Some(until);
            }
            self.expiry.pop_front();
        }
        None
    }

    /// Takes up bytes from the peer.
    ///
    /// # Errors
    /// [`DecodeError`]: close the connection once what is in `out` is written.
    pub(crate) fn receive(&mut self, bytes: &[u8], now: Instant) -> Result<(), DecodeError> {
        let mut at = 0;
        while !self.closed {
            match self.decoder.next(bytes, &mut at) {
                Ok(None) => break,
                Ok(Some(message)) => {
                    self.messages += 1;
                    self.message(message, now);
                }
                Err(error) => {
                    self.refuse(None, &Refusal::Decode(error));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn message(&mut self, message: Message, now: Instant) {
        match message {
            Message::PartitionRequest(request) => self.request(request, now),
            Message::AddCredit { credit, receiver } => match self.find(receiver) {
                Some(index) => self.readers.grant(index, credit),
                None => self.refuse(None, &Refusal::UnknownReceiver { receiver, message: "AddCredit" }),
            },
            Message::ResumeConsumption { receiver } => match self.find(receiver) {
                Some(index) => {
                    if !self.readers.resume(index) {
                        self.refuse(None, &Refusal::NotBlocked { receiver });
                    }
                }
                None => self.refuse(None, &Refusal::UnknownReceiver { receiver, message: "ResumeConsumption" }),
            },
            Message::AckAllUserRecordsProcessed { receiver } => match self.find(receiver) {
                Some(index) => {
                    if let Some(reader) = self.readers.get(index) {
                        reader.with.partition.acknowledge(reader.with.subpartition);
                    }
                }
                None => {
                    self.refuse(None, &Refusal::UnknownReceiver { receiver, message: "AckAllUserRecordsProcessed" });
                }
            },
            Message::TaskEventRequest(request) => self.task_event(request),
            Message::CancelPartitionRequest { receiver } => self.cancel(receiver),
            Message::CloseRequest => self.closed = true,
            // A hint, and one for a kind of partition that there is none of here. And a producer's messages, none of
            // which the decoder lets pass.
            Message::NewBufferSize { .. }
            | Message::SegmentId { .. }
            | Message::BufferResponse(_)
            | Message::ErrorResponse(_)
            | Message::BacklogAnnouncement { .. } => {}
        }
    }

    fn find(&self, receiver: InputChannelId) -> Option<u32> {
        self.by_id.get(receiver, &self.readers)
    }

    fn request(&mut self, request: PartitionRequest, now: Instant) {
        self.requests += 1;
        if self.find(request.receiver).is_some() || self.waiting.contains_key(&request.receiver) {
            return self.refuse(None, &Refusal::ReceiverTaken { receiver: request.receiver });
        }
        if self.channels() >= self.limits.requests as usize {
            let limit = self.limits.requests;
            return self.refuse(Some(request.receiver), &Refusal::TooManyRequests { limit });
        }
        let registry = self.registry.clone();
        match registry.request(&request, &self.waiter) {
            Request::Here(receiver, partition) => self.open(request, receiver, &partition),
            Request::Later => {
                let until = after(now, self.limits.partition_wait);
                self.waiting.insert(request.receiver, Waiting { request, until });
                self.expiry.push_back((until, request.receiver));
            }
            Request::Refused(refusal) => self.refuse_request(request.receiver, &refusal),
        }
    }

    /// Takes up what the registry, or the server, has sent; `true` if that is to shut down.
    pub(crate) fn take_delivery(&mut self, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Partition(request, receiver, partition) => self.deliver(request, receiver, &partition),
            Delivery::Refusal(request, refusal) => self.deliver_refusal(&request, &refusal),
            Delivery::Shutdown => return true,
        }
        false
    }

    /// The partition that a request has waited for is there.
    fn deliver(&mut self, request: PartitionRequest, receiver: Receiver, partition: &Arc<PartitionState>) {
        if self.waiting.remove(&request.receiver).is_some() {
            self.open(request, receiver, partition);
        } else {
            partition.lost(request.subpartitions.first); // cancelled or given up meanwhile
        }
    }

    /// The partition that a request has waited for is there, but will not have it.
    fn deliver_refusal(&mut self, request: &PartitionRequest, refusal: &Refusal) {
        if self.waiting.remove(&request.receiver).is_some() {
            self.refuse_request(request.receiver, refusal);
        }
    }

    /// What Flink takes for an error of the whole connection is one here too; a range it does not refuse at all.
    fn refuse_request(&mut self, receiver: InputChannelId, refusal: &Refusal) {
        let one = matches!(refusal, Refusal::SeveralSubpartitions).then_some(receiver);
        self.refuse(one, refusal);
    }

    fn open(&mut self, request: PartitionRequest, receiver: Receiver, partition: &Arc<PartitionState>) {
        let subpartition = request.subpartitions.first;
        let served = Served { id: request.receiver, subpartition, sequence: 0, partition: partition.clone() };
        if let Ok(index) = self.readers.open(receiver, request.credit, served) {
            self.by_id.insert(index, &self.readers);
        } else {
            // Slots that are leaving count too.
            partition.lost(subpartition);
            let limit = self.limits.requests;
            self.refuse(Some(request.receiver), &Refusal::TooManyRequests { limit });
        }
    }

    fn cancel(&mut self, receiver: InputChannelId) {
        if let Some(index) = self.by_id.remove(receiver, &self.readers) {
            self.close_reader(index, true);
        } else if let Some(waiting) = self.waiting.remove(&receiver) {
            self.registry.forget(&waiting.request, &self.waiter);
            // Else who asks and cancels over and over would fill it, for as long as one request before them waits.
            if self.expiry.len() > 2 * self.waiting.len() + MOST_STALE {
                let waiting = &self.waiting;
                self.expiry.retain(|(until, receiver)| waiting.get(receiver).is_some_and(|it| it.until == *until));
            }
        }
    }

    /// `all_sent` says that what was sent has arrived, as far as this side can know.
    fn close_reader(&mut self, index: u32, all_sent: bool) {
        let whole = all_sent && self.readers.get(index).is_some_and(|reader| reader.is_ended());
        match self.readers.close(index) {
            Some(served) if whole => served.partition.released(served.subpartition),
            Some(served) => served.partition.lost(served.subpartition),
            None => {}
        }
    }

    fn task_event(&mut self, request: TaskEventRequest) {
        let refusal = match self.find(request.receiver).and_then(|index| self.readers.get(index)) {
            Some(reader) => match reader.with.partition.task_event(reader.with.subpartition, request.event) {
                Ok(()) => return,
                Err(refusal) => refusal,
            },
            None => Refusal::UnknownReceiver { receiver: request.receiver, message: "TaskEventRequest" },
        };
        self.refuse(Some(request.receiver), &refusal);
    }

    /// Tells the peer that `receiver`, or everything, has failed.
    fn refuse(&mut self, receiver: Option<InputChannelId>, refusal: &Refusal) {
        let error = ErrorResponse::io_exception(&refusal.to_string(), receiver);
        self.send(&Message::ErrorResponse(error));
    }

    fn send(&mut self, message: &Message) {
        self.message.clear();
        // What this side makes keeps to the limits of its fields.
        if message.encode(&mut self.message).is_ok() {
            self.out.push_message(&self.message);
        }
        self.message.shrink_to(BUFFER_HEADER_BYTES); // one that was longer has told of an error
    }

    /// Gives up the requests that have waited long enough.
    pub(crate) fn expire(&mut self, now: Instant) {
        while self.deadline().is_some_and(|until| until <= now)
            && let Some((_, receiver)) = self.expiry.pop_front()
            && let Some(Waiting { request, .. }) = self.waiting.remove(&receiver)
        {
            self.registry.forget(&request, &self.waiter);
            self.send(&Message::ErrorResponse(ErrorResponse::partition_not_found(
                &request.partition,
                request.receiver,
            )));
        }
    }

    /// Gathers what is flushed in quick succession from `now` on, see [there](crate::transport::readers#gathering); or
    /// no more, if there is no such time.
    pub(crate) fn gather(&mut self, now: Option<Instant>) {
        self.readers.gather(now);
    }

    /// Begins a turn: what is flushed is sent, and what is flushed again while that is done is gathered.
    pub(crate) fn turn(&mut self, now: Instant) {
        self.readers.turn(now);
    }

    /// Whether something waits for [`gathered`](Self::gathered).
    pub(crate) fn is_gathering(&self) -> bool {
        self.readers.is_gathering()
    }

    /// Says that what is gathered is to be sent.
    pub(crate) fn gathered(&mut self) {
        self.readers.gathered();
    }

    /// Makes frames of what is ready, as many as are worth one write.
    pub(crate) fn fill(&mut self) {
        while !self.out.is_full() {
            let Some((index, found)) = self.readers.next() else { return };
            match found {
                Found::Starved => self.announce_backlog(index),
                Found::Item(Item::Buffer(buffer)) => {
                    let Some(reader) = self.readers.get(index) else { continue };
                    let backlog = reader.backlog();
                    let header = reader.with.header(buffer.data_type(), backlog, buffer.len());
                    if let Ok(head) = header.encode() {
                        self.traffic.buffers += 1;
                        self.traffic.bytes += buffer.len() as u64;
                        self.out.push_buffer(head, buffer);
                    }
                }
                Found::Item(Item::Event(event)) => self.event(index, &event, false),
                Found::Priority(event) => self.event(index, &event, true),
            }
        }
    }

    fn announce_backlog(&mut self, index: u32) {
        let Some(reader) = self.readers.get(index) else { return };
        let message = Message::BacklogAnnouncement { backlog: reader.backlog().max(1), receiver: reader.with.id };
        self.send(&message);
    }

    /// `overtakes` says that it goes before what is queued, there too, whatever its own type.
    fn event(&mut self, index: u32, event: &Event, overtakes: bool) {
        let Some(reader) = self.readers.get(index) else { return };
        if let Event::Failed(cause) = event {
            let id = reader.with.id;
            reader.end();
            return self.refuse(Some(id), &Refusal::ProducerFailed(cause.clone()));
        }
        let (data_type, bytes) = match events::encode(event) {
            Ok(encoded) => encoded,
            Err(error) => {
                let id = reader.with.id;
                reader.end();
                return self.refuse(Some(id), &Refusal::Encode(error));
            }
        };
        let data_type = if overtakes { DataType::PRIORITIZED_EVENT_BUFFER } else { data_type };
        if data_type.blocks() {
            reader.block();
        }
        if matches!(event, Event::EndOfPartition) {
            reader.end();
        }
        let backlog = if reader.is_blocked() { 0 } else { reader.backlog() };
        let header = reader.with.header(data_type, backlog, bytes.len());
        if let Ok(head) = header.encode() {
            self.out.push_event(head, bytes);
        }
    }

    /// Has `prompt` send what is flushed while nobody drives the session. Before it parks for the first time.
    pub(crate) fn prompt(&self, prompt: Weak<dyn Prompt>) {
        self.readers.prompt(prompt);
    }

    /// Leaves `waker` for when a channel has something; `false` if one has.
    pub(crate) fn park(&self, waker: &Waker) -> bool {
        self.readers.park(waker)
    }

    /// Whether every channel that is open has sent all it will.
    pub(crate) fn has_sent_all(&self) -> bool {
        self.waiting.is_empty() && self.readers.iter().all(|(_, reader)| reader.is_ended())
    }
}

impl Served {
    fn header(&mut self, data_type: DataType, backlog: u32, size: usize) -> BufferResponse {
        let sequence_number = self.sequence;
        self.sequence = self.sequence.wrapping_add(1);
        BufferResponse {
            receiver: self.id,
            subpartition: Some(self.subpartition),
            partials: 0,
            sequence_number,
            backlog,
            data_type,
            compressed: false,
            size: size as u32,
        }
    }
}

impl Drop for Session {
    /// The peer is gone: the writers hear of it, and what was on its way goes home.
    fn drop(&mut self) {
        for waiting in self.waiting.values() {
            self.registry.forget(&waiting.request, &self.waiter);
        }
        let open: Vec<u32> = self.readers.iter().map(|(index, _)| index).collect();
        let all_sent = self.closed || self.out.is_empty();
        for index in open {
            self.close_reader(index, all_sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ResultPartitionId, ResultSubpartitionIndexSet};
    use std::time::Duration;

    fn request(receiver: u8) -> PartitionRequest {
        PartitionRequest {
            partition: ResultPartitionId::from_bytes([1; 60]),
            subpartitions: ResultSubpartitionIndexSet::one(0),
            receiver: InputChannelId([receiver; 16]),
            credit: 1,
        }
    }

    #[test]
    fn where_nothing_is_waited_for_a_partition_that_is_not_there_is_refused_at_once() {
        let waiter = Waiter { connection: 0, deliveries: tokio::sync::mpsc::unbounded_channel().0 };
        let limits = ServerLimits { partition_wait: Duration::ZERO, ..ServerLimits::default() };
        let mut session = Session::new(Arc::default(), waiter, limits);
        let now = Instant::now();
        session.message(Message::PartitionRequest(request(1)), now);
        assert_eq!(session.deadline(), Some(now), "the very turn that reads it");
        session.expire(now);
        assert!(session.waiting.is_empty() && !session.out.is_empty());
    }

    #[test]
    fn requests_that_are_cancelled_are_not_kept_behind_one_that_waits() {
        let waiter = Waiter { connection: 0, deliveries: tokio::sync::mpsc::unbounded_channel().0 };
        let mut session = Session::new(Arc::default(), waiter, ServerLimits::default());
        let now = Instant::now();
        session.message(Message::PartitionRequest(request(1)), now);
        for _ in 0..1000 {
            session.message(Message::PartitionRequest(request(2)), now);
            session.message(Message::CancelPartitionRequest { receiver: request(2).receiver }, now);
        }
        assert!(session.expiry.len() <= MOST_STALE + 3, "{} entries", session.expiry.len());
        assert_eq!(session.deadline(), Some(now + ServerLimits::default().partition_wait), "the first waits still");
    }
}
