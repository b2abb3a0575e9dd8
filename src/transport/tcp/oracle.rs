//! What must hold of either side of a conversation, whatever the other sends. Run by the fuzz targets, and over their
//! seeds.
//!
//! The input is a program: each byte, with a few behind it, is something that one of the two sides does.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Waker},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::unbounded_channel;

use super::{
    client::{GateOptions, RemotePartition, commands::Command, gate::open, session::Session as ClientSession},
    limits::ServerLimits,
    server::{
        registry::{Registry, Waiter},
        session::Session as ServerSession,
    },
};
use crate::{
    buffer::DataType,
    channel::{CheckpointBarrier, Event, StopMode, channel_for_later},
    gate::Input,
    partition::{ChannelSelector, RecordWriter, ResultPartition},
    pool::NetworkBufferPool,
    wire::{
        BufferResponse, Decoder, ErrorResponse, InputChannelId, Limits, Message, PartitionRequest, ResultPartitionId,
        ResultSubpartitionIndexSet, Role,
    },
};

const SUBPARTITIONS: usize = 3;

/// The bytes of a program.
struct Program<'a>(&'a [u8]);

impl Program<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    /// A small number; 0 once the program is over.
    fn below(&mut self, limit: u8) -> u8 {
        self.byte().unwrap_or(0) % limit
    }

    fn take(&mut self, len: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }
}

fn pool() -> NetworkBufferPool {
    let size = crate::memory::page_size();
    NetworkBufferPool::builder().segments(32).segment_size(size).build().expect("a few pages")
}

fn id() -> ResultPartitionId {
    ResultPartitionId::from_bytes([7; ResultPartitionId::BYTES])
}

/// What a consumer knows of a channel from what it has sent and got.
#[derive(Debug, Default)]
#[allow(clippy::struct_excessive_bools, reason = "each says a thing of its own")]
struct Known {
    credit: u64,
    sequence: u32,
    blocked: bool,
    ended: bool,
    none_at_first: bool,
    may_announce: bool,
}

/// A producer's session keeps to the protocol whatever a consumer sends it: data for credit alone, numbers without a
/// gap, nothing but priority events while a channel rests, nothing behind its end; and gives back every segment.
///
/// # Panics
/// If it does not.
pub(crate) fn server_conversation(input: &[u8]) {
    let mut program = Program(input);
    let pool = pool();
    let registry = Arc::new(Registry::default());
    let (deliveries, mut delivered) = unbounded_channel();
    let limits = ServerLimits { requests: 4, ..ServerLimits::default() };
    let mut now = Instant::now();
    let waiter = Waiter { connection: 0, deliveries };
    let mut session = ServerSession::new(registry.clone(), waiter, limits);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..SUBPARTITIONS).map(|_| channel_for_later()).unzip();
    let local = pool.local_pool("writer").required(SUBPARTITIONS as u32).maximum(12).build().expect("there are 32");
    let selector = |_: &[u8], _: usize| 0_usize;
    let mut writer = Some(RecordWriter::new(ResultPartition::new(local, senders), selector));
    let mut receivers = Some(receivers);
    let mut decoder = Decoder::new(Role::Producer, Limits::default());
    let mut known: HashMap<InputChannelId, Known> = HashMap::new();
    let mut broken = false;

    while let Some(step) = program.byte() {
        let receiver = InputChannelId([program.below(4); 16]);
        let message = match step % 16 {
            0..=2 => {
                let (first, credit) = (u32::from(program.below(SUBPARTITIONS as u8 + 1)), u32::from(program.below(4)));
                let subpartitions =
                    ResultSubpartitionIndexSet { first, last: first + u32::from(program.below(8) == 7) };
                Some(Message::PartitionRequest(PartitionRequest { partition: id(), subpartitions, receiver, credit }))
            }
            3..=5 => Some(Message::AddCredit { credit: u32::from(program.below(5)) + 1, receiver }),
            6 => Some(Message::ResumeConsumption { receiver }),
            7 => Some(Message::AckAllUserRecordsProcessed { receiver }),
            8 => Some(Message::CancelPartitionRequest { receiver }),
            9 => Some(Message::NewBufferSize { size: 1, receiver }),
            10 => {
                if let Some(receivers) = receivers.take() {
                    registry.register(id(), receivers).expect("once");
                }
                None
            }
            11 => {
                let garbage = program.below(64);
                let garbage = program.take(usize::from(garbage)).to_vec();
                broken |= session.receive(&garbage, now).is_err();
                broken |= !session.is_between_messages(); // what follows is out of step
                None
            }
            _ => {
                write(&mut writer, &mut program);
                None
            }
        };
        if broken {
            break;
        }
        if let Some(message) = message {
            told(&mut known, &message);
            let mut bytes = Vec::new();
            message.encode(&mut bytes).expect("small numbers");
            session.receive(&bytes, now).expect("a message of a consumer");
        }
        while let Ok(delivery) = delivered.try_recv() {
            session.take_delivery(delivery);
        }
        // Bits of the step that nothing else looks at.
        if step & 16 != 0 {
            session.gather((step & 32 == 0).then_some(now));
        }
        if step & 64 != 0 {
            now += Duration::from_micros(7);
            session.turn(now);
        }
        if step & 128 != 0 {
            session.gathered();
        }
        session.fill();
        let sent = session.out.with_parts(|parts| parts.iter().flat_map(|part| part.to_vec()).collect::<Vec<u8>>());
        session.out.advance(sent.len());
        check(&mut decoder, &sent, &mut known);
    }
    drop((session, registry, receivers, delivered));
    drop(writer);
    assert_eq!(pool.in_use(), 0, "every segment is home");
}

/// What a consumer has said, as far as it changes what it may get.
fn told(known: &mut HashMap<InputChannelId, Known>, message: &Message) {
    match message {
        Message::PartitionRequest(request) => {
            // An earlier request of that name may have been refused, by an error that names nobody: so this is the most
            // that the channel can have.
            let none = request.credit == 0;
            let channel = known.entry(request.receiver).or_insert(Known { none_at_first: none, ..Known::default() });
            channel.credit += u64::from(request.credit);
            channel.none_at_first &= none;
            channel.may_announce |= none;
        }
        Message::AddCredit { credit, receiver } => {
            if let Some(channel) = known.get_mut(receiver) {
                channel.credit += u64::from(*credit); // more than it has, if it is not open yet
            }
        }
        Message::ResumeConsumption { receiver } => {
            if let Some(channel) = known.get_mut(receiver)
                && std::mem::take(&mut channel.blocked)
                && channel.none_at_first
            {
                channel.credit = 0;
            }
        }
        Message::CancelPartitionRequest { receiver } => {
            known.remove(receiver);
        }
        _ => {}
    }
}

/// Checks what a producer has sent.
fn check(decoder: &mut Decoder, sent: &[u8], known: &mut HashMap<InputChannelId, Known>) {
    let mut at = 0;
    while let Some(message) = decoder.next(sent, &mut at).expect("a message of a producer") {
        match message {
            Message::BufferResponse(buffer) => {
                at += buffer.size as usize;
                let channel = known.get_mut(&buffer.receiver).expect("only to who has asked");
                assert!(!channel.ended, "nothing follows the end");
                assert_eq!(buffer.sequence_number, channel.sequence);
                channel.sequence += 1;
                let priority = buffer.data_type == DataType::PRIORITIZED_EVENT_BUFFER;
                assert!(priority || !channel.blocked, "{:?} of a channel that rests", buffer.data_type);
                if buffer.data_type.is_data() {
                    channel.credit = channel.credit.checked_sub(1).expect("credit for each message with data");
                }
                if buffer.data_type.blocks() {
                    assert_eq!(buffer.backlog, 0);
                    channel.blocked = true;
                }
                channel.ended = buffer.data_type == DataType::END_OF_PARTITION;
            }
            Message::BacklogAnnouncement { receiver, .. } => assert!(known[&receiver].may_announce),
            Message::ErrorResponse(ErrorResponse { receiver: Some(receiver), .. }) => {
                // Refused: another may take its name. (One that failed while it was open has no more to say.)
                known.remove(&receiver);
            }
            _ => {}
        }
    }
}

type Writer<S> = Option<RecordWriter<S>>;

/// Something that a producing task does; nothing of it waits.
fn write<S: ChannelSelector<[u8]>>(writer: &mut Writer<S>, program: &mut Program<'_>) {
    let Some(task) = writer else { return };
    // What fails is a reader that is gone, which the task may well not care for.
    let _ = match program.below(8) {
        0..=2 => task.try_emit(&[0xab; 300][..usize::from(program.below(200))]).is_ok(),
        3 => {
            task.flush();
            true
        }
        4 => task.broadcast_event(CheckpointBarrier::aligned(1).into()).is_ok(),
        5 => task.broadcast_priority_event(CheckpointBarrier::unaligned(1).into()).is_ok(),
        6 => task.broadcast_event(Event::EndOfData(StopMode::Drain)).is_ok(),
        _ if program.below(4) > 0 => true,
        _ => {
            if let Some(task) = writer.take() {
                if program.below(2) == 0 { task.close() } else { task.fail("no more") }
            }
            true
        }
    };
}

/// A consumer's session keeps to the protocol whatever a producer sends it: no more credit than it has segments,
/// nothing for a channel that it has cancelled; what it hands on is what came, in order; and gives back every segment.
///
/// # Panics
/// If it does not.
pub(crate) fn client_conversation(input: &[u8]) {
    const CHANNELS: usize = 3;
    let mut program = Program(input);
    let pool = pool();
    let options = GateOptions::default().exclusive(u32::from(program.below(3))).floating(4);
    let segments = u64::from(options.exclusive) * CHANNELS as u64 + 4;
    let (commands, mut commanded) = unbounded_channel();
    let remotes: Vec<_> = (0..CHANNELS as u32).map(|n| RemotePartition::new("peer", id(), n)).collect();
    let gate = open(&pool, &options, &remotes, 1, &AtomicU64::new(0), |_| commands.clone());
    let mut gate = Some(gate.expect("there are 32 segments"));
    let now = Instant::now();
    let mut session = ClientSession::new(Arc::from("peer"), [9; 8], Duration::ZERO, now);
    let mut context = Context::from_waker(Waker::noop());
    let mut decoder = Decoder::new(Role::Consumer, Limits::default());
    let mut consumer = Consumer::default();
    let mut held = Vec::new();

    loop {
        while let Ok(command) = commanded.try_recv() {
            match command {
                Command::Open(gate) => session.open(*gate),
                Command::Said(gate, nth, said) => session.said(gate, nth, said),
                Command::Gone(gate) => session.gone(gate),
                Command::End => {}
            }
        }
        session.grant(&mut context);
        let said = session.out().to_vec();
        session.advance(said.len());
        consumer.check(&mut decoder, &said);
        assert!(consumer.outstanding() <= segments, "credit without segments");

        let Some(step) = program.byte() else { break };
        if step & 8 != 0 {
            session.tell_when_idle(); // written with what is next
        }
        let mut about = None;
        let bytes = match step % 8 {
            0..=3 => {
                let (receiver, message, content) = consumer.invent(&mut program);
                about = Some(receiver);
                let mut bytes = message;
                bytes.extend_from_slice(&content);
                bytes
            }
            4 => {
                let garbage = program.below(64);
                program.take(usize::from(garbage)).to_vec()
            }
            5 => {
                if let Some(gate) = &mut gate {
                    held.extend(gate.try_next().ok().flatten());
                }
                continue;
            }
            6 => {
                held.clear();
                if let (Some(gate), channel) = (&mut gate, usize::from(program.below(CHANNELS as u8))) {
                    if program.below(2) == 0 {
                        gate.block_consumption(channel);
                    } else {
                        gate.resume_consumption(channel);
                    }
                }
                continue;
            }
            _ => {
                if program.below(16) == 0 {
                    gate = None;
                }
                continue;
            }
        };
        let before = session.inlet.traffic.buffers;
        let failed = feed(&mut session, &bytes, now);
        if let Some(credit) = about.and_then(|receiver| consumer.outstanding.get_mut(&receiver)) {
            *credit = credit.checked_sub(session.inlet.traffic.buffers - before).expect("a segment for each credit");
        }
        if failed {
            break;
        }
    }
    drop(session);
    drop((held, gate, commanded));
    assert_eq!(pool.in_use(), 0, "every segment is home");
}

/// Hands `bytes` to a session as a link would; `true` if it will read no more.
fn feed(session: &mut ClientSession, mut bytes: &[u8], now: Instant) -> bool {
    while !bytes.is_empty() {
        let read = session.inlet.with_parts(|parts| {
            let mut read = 0;
            for part in parts {
                let n = part.len().min(bytes.len());
                part[..n].copy_from_slice(&bytes[..n]);
                bytes = &bytes[n..];
                read += n;
            }
            read
        });
        if session.arrived(read, now).is_err() {
            return true;
        }
    }
    false
}

/// What a producer knows of its consumer.
#[derive(Debug, Default)]
struct Consumer {
    open: Vec<(InputChannelId, u32)>,
    /// Credit of each channel that is open.
    outstanding: HashMap<InputChannelId, u64>,
    cancelled: HashSet<InputChannelId>,
    none_at_first: bool,
}

impl Consumer {
    fn outstanding(&self) -> u64 {
        self.outstanding.values().sum()
    }

    /// Takes up what the consumer says, and checks it.
    fn check(&mut self, decoder: &mut Decoder, said: &[u8]) {
        let mut at = 0;
        while let Some(message) = decoder.next(said, &mut at).expect("a message of a consumer") {
            match message {
                Message::PartitionRequest(request) => {
                    if !self.outstanding.contains_key(&request.receiver) {
                        self.open.push((request.receiver, 0));
                    }
                    self.none_at_first |= request.credit == 0;
                    self.outstanding.insert(request.receiver, u64::from(request.credit));
                }
                Message::AddCredit { credit, receiver } => {
                    assert!(!self.cancelled.contains(&receiver), "credit for a channel that is cancelled");
                    *self.outstanding.get_mut(&receiver).expect("a channel that was asked for") += u64::from(credit);
                }
                Message::CancelPartitionRequest { receiver } => {
                    self.cancelled.insert(receiver);
                    self.outstanding.remove(&receiver);
                }
                Message::ResumeConsumption { receiver } | Message::AckAllUserRecordsProcessed { receiver } => {
                    assert!(!self.cancelled.contains(&receiver), "a word for a channel that is cancelled");
                }
                _ => {}
            }
        }
    }

    /// A message that a producer could send, or mostly could.
    fn invent(&mut self, program: &mut Program<'_>) -> (InputChannelId, Vec<u8>, Vec<u8>) {
        let nth = usize::from(program.below(4));
        let (receiver, sequence) = self.open.get(nth).copied().unwrap_or((InputChannelId([0xee; 16]), 0));
        let mut bytes = Vec::new();
        let kind = program.below(16);
        let content: Vec<u8> = match kind {
            0 => {
                let backlog = u32::from(program.below(9)) + 1;
                let announced = Message::BacklogAnnouncement { backlog, receiver };
                announced.encode(&mut bytes).expect("small numbers");
                return (receiver, bytes, Vec::new());
            }
            1 => {
                let error = ErrorResponse::io_exception("no", (program.below(8) > 0).then_some(receiver));
                Message::ErrorResponse(error).encode(&mut bytes).expect("small");
                return (receiver, bytes, Vec::new());
            }
            2 => vec![0; 4],                               // the end of the partition
            3 => vec![0, 0, 0, 8, 0],                      // the end of the data
            4 => vec![0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 1], // a cancelled checkpoint
            _ => vec![0xab; usize::from(program.below(200)) * 16],
        };
        let data_type = match kind {
            2 => DataType::END_OF_PARTITION,
            3 => DataType::END_OF_DATA,
            4 if program.below(2) == 0 => DataType::ALIGNED_CHECKPOINT_BARRIER,
            4 => DataType::PRIORITIZED_EVENT_BUFFER,
            _ => DataType::DATA_BUFFER,
        };
        let wrong = u32::from(program.below(32) == 31);
        let header = BufferResponse {
            receiver,
            subpartition: Some(0),
            partials: 0,
            sequence_number: sequence + wrong,
            backlog: u32::from(program.below(12)),
            data_type,
            compressed: program.below(32) == 31 && data_type.is_data(),
            size: content.len() as u32,
        };
        if let Some((_, sequence)) = self.open.get_mut(nth) {
            *sequence += 1;
        }
        if data_type.blocks() && self.none_at_first {
            self.outstanding.insert(receiver, 0); // both sides forget it there
        }
        (receiver, header.encode().expect("small numbers").to_vec(), content)
    }
}
