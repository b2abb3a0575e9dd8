//! Both sides of a conversation over a pipe in memory: one thread, no clock, every step by a seed.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
    io::{self, IoSlice, IoSliceMut},
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tokio::sync::mpsc::unbounded_channel;

use super::{
    client::{self, GateOptions, RemotePartition},
    limits::ServerLimits,
    link::Link,
    oracle,
    server::{
        connection::Connection as ServerConnection,
        registry::{Registry, Waiter},
        session::Session as ServerSession,
    },
};
use crate::{
    CheckpointBarrier, Event, StopMode,
    buffer::DataType,
    channel::channel_for_later,
    gate::{GateError, ReadError, RecordReader},
    memory::page_size,
    partition::{RecordWriter, ResultPartition, RoundRobin},
    pool::NetworkBufferPool,
    transport::readers::NO_ANSWER,
    wire::{Decoder, Limits, Message, ResultPartitionId, Role},
};

/// Numbers that are the same in every run (Vigna's `SplitMix64`).
#[derive(Debug)]
struct Numbers(Cell<u64>);

impl Numbers {
    fn below(&self, limit: u64) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// What is on its way in one direction.
#[derive(Debug, Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// All that ever went in.
    carried: Vec<u8>,
    /// How many will.
    cut_at: Option<usize>,
    closed: bool,
}

/// One end of a pipe each way. Takes and gives as many bytes as the numbers say, at times none.
#[derive(Debug)]
struct PipeEnd {
    incoming: Rc<RefCell<Pipe>>,
    outgoing: Rc<RefCell<Pipe>>,
    numbers: Rc<Numbers>,
}

impl PipeEnd {
    /// Nothing more goes either way: the link is gone, with what was on it.
    fn is_cut(&self) -> bool {
        let cut = |pipe: &Pipe| pipe.cut_at.is_some_and(|at| pipe.carried.len() >= at);
        cut(&self.incoming.borrow()) || cut(&self.outgoing.borrow())
    }
}

impl Link for PipeEnd {
    fn poll_read(&mut self, _: &mut Context<'_>, parts: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        if self.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let mut pipe = self.incoming.borrow_mut();
        if pipe.bytes.is_empty() && pipe.closed {
            return Poll::Ready(Ok(0));
        }
        if pipe.bytes.is_empty() || self.numbers.below(3) == 0 {
            return Poll::Pending;
        }
        let most = 1 + self.numbers.below(if self.numbers.below(2) == 0 { 8 } else { 10_000 }) as usize;
        let mut read = 0;
        for part in parts {
            let n = part.len().min(pipe.bytes.len()).min(most - read);
            let (front, back) = pipe.bytes.as_slices();
            let first = n.min(front.len());
            part[..first].copy_from_slice(&front[..first]);
            part[first..n].copy_from_slice(&back[..n - first]);
            pipe.bytes.drain(..n);
            read += n;
        }
        Poll::Ready(Ok(read))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if self.is_cut() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut pipe = self.outgoing.borrow_mut();
        let room = 20_000_usize.saturating_sub(pipe.bytes.len());
        if room == 0 || self.numbers.below(3) == 0 {
            return Poll::Pending;
        }
        let mut most = (1 + self.numbers.below(10_000) as usize).min(room);
        if let Some(at) = pipe.cut_at {
            most = most.min(at - pipe.carried.len());
        }
        let mut written = 0;
        for part in parts {
            let n = part.len().min(most - written);
            pipe.bytes.extend(&part[..n]);
            pipe.carried.extend(&part[..n]);
            written += n;
        }
        Poll::Ready(Ok(written))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.borrow_mut().closed = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.outgoing.borrow_mut().closed = true;
        self.incoming.borrow_mut().closed = true;
    }
}

/// How a conversation went.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// Records of each channel that were read, and whether all of it was.
    read: Vec<(Vec<u64>, bool)>,
    /// What went to the producer, and to the consumer.
    carried: [Vec<u8>; 2],
    consumer_failed: bool,
    producer_failed: bool,
}

/// What stands behind the last record.
#[derive(Debug, PartialEq, Eq)]
enum End {
    AtOnce,
    /// The end, once all in front of it is acknowledged.
    Acknowledged,
    Failure,
}

/// What is said.
#[derive(Debug)]
struct Script {
    channels: u32,
    records: u64,
    /// Sizes of records, again from the start behind the last.
    sizes: &'static [usize],
    /// A barrier stands behind so many records.
    barrier_every: u64,
    end: End,
    options: GateOptions,
}

impl Script {
    /// Three channels with records of many sizes, some of which span segments, and barriers among them.
    fn long(options: GateOptions) -> Self {
        Self {
            channels: 3,
            records: 30,
            sizes: &[8, 13, 308, 2008, 5008],
            barrier_every: 10,
            end: End::AtOnce,
            options,
        }
    }

    /// What record `number` is.
    fn body(&self, number: u64) -> Vec<u8> {
        let size = self.sizes[number as usize % self.sizes.len()];
        number.to_be_bytes().into_iter().cycle().take(size).collect()
    }

    /// The records of a channel, in order.
    fn of(&self, channel: usize) -> impl Iterator<Item = u64> + Clone + use<> {
        (channel as u64..self.records).step_by(self.channels as usize)
    }

    /// The next step of the task that writes; `true` if it was a record.
    fn write(&self, writer: &mut Option<RecordWriter<RoundRobin>>, number: u64, acknowledged: bool) -> bool {
        let Some(task) = writer else { return false };
        if number == self.records {
            if self.end == End::Acknowledged && !acknowledged {
                return false;
            }
            match writer.take() {
                Some(task) if self.end == End::Failure => task.fail("as told to"),
                Some(task) => task.close(),
                None => {}
            }
            return false;
        }
        let emitted = task.try_emit(&self.body(number)[..]).is_ok();
        if emitted && (number + 1).is_multiple_of(self.barrier_every) {
            let _ = task.broadcast_event(CheckpointBarrier::aligned(number as i64).into()); // a reader may be gone
        }
        if emitted && number + 1 == self.records && self.end != End::Failure {
            let _ = task.broadcast_event(Event::EndOfData(StopMode::Drain)); // as above
        }
        task.flush();
        emitted
    }

    /// Reads what there is now; `true` if that was something.
    fn read(&self, reader: &mut Option<RecordReader>, read: &mut [(Vec<u64>, bool)]) -> bool {
        let mut some = false;
        while let Some(reader) = reader {
            match reader.try_next() {
                Ok(None) => break,
                Ok(Some(record)) => {
                    let number = u64::from_be_bytes(*record.bytes().first_chunk().unwrap());
                    assert_eq!(record.bytes(), self.body(number), "record {number}, byte for byte");
                    read[record.channel()].0.push(number);
                }
                Err(ReadError::Gate(GateError::ProducerFailed { channel, .. })) => read[channel].1 = false,
                Err(error) => panic!("{error}"),
            }
            some = true;
        }
        some
    }
}

/// One conversation, from the first request to the last byte, or until the link is cut behind so many bytes in the one
/// direction or the other.
fn converse(seed: u64, cut: Option<(bool, usize)>, script: &Script) -> Outcome {
    let numbers = Rc::new(Numbers(Cell::new(seed)));
    let size = page_size();
    let pool = NetworkBufferPool::builder().segments(64).segment_size(size).build().unwrap();
    let id = ResultPartitionId::from_bytes([3; 60]);
    let (up, down) = (Rc::new(RefCell::new(Pipe::default())), Rc::new(RefCell::new(Pipe::default())));
    if let Some((to_consumer, at)) = cut {
        if to_consumer { &down } else { &up }.borrow_mut().cut_at = Some(at);
    }
    let now = Instant::now();

    let registry = Arc::new(Registry::default());
    let (deliveries, delivered) = unbounded_channel();
    let limits = ServerLimits::default();
    let mut session = ServerSession::new(registry.clone(), Waiter { connection: 0, deliveries }, limits);
    let end = PipeEnd { incoming: up.clone(), outgoing: down.clone(), numbers: numbers.clone() };
    session.gather((seed & 1 == 0).then_some(now));
    let mut server = Some(ServerConnection::new(end, session, delivered, limits, Arc::default(), now));
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..script.channels).map(|_| channel_for_later()).unzip();
    let local = pool.local_pool("writer").required(script.channels).build().unwrap();
    let mut writer = Some(RecordWriter::new(ResultPartition::new(local, senders), RoundRobin::default()));
    let (mut receivers, mut served) = (Some(receivers), None);

    let (commands, commanded) = unbounded_channel();
    let remotes: Vec<_> = (0..script.channels).map(|nth| RemotePartition::new("peer", id, nth)).collect();
    let gate =
        client::gate::open(&pool, &script.options, &remotes, 1, &AtomicU64::new(0), |_| commands.clone()).unwrap();
    let session = client::session::Session::new(Arc::from("peer"), [5; 8], Duration::from_secs(10), now);
    let end = PipeEnd { incoming: down.clone(), outgoing: up.clone(), numbers: numbers.clone() };
    let mut client = Some(client::connection::Connection::new(
        end,
        session,
        client::commands::Commands::new(Arc::from("peer"), commanded),
        Arc::default(),
    ));
    let mut reader = Some(RecordReader::new(gate, 1 << 20));

    let mut context = Context::from_waker(Waker::noop());
    let mut read = vec![(Vec::new(), true); script.channels as usize];
    let (mut consumer_failed, mut producer_failed) = (false, false);
    let (mut written, mut commands, mut idle) = (0, Some(commands), 0);
    // A seed may well be idle for a while; what has come to a stand is so for ever.
    while (client.is_some() || server.is_some()) && idle < 10_000 {
        idle += 1;
        match numbers.below(4) {
            0 => {
                if let Some(connection) = &mut server {
                    if numbers.below(2) == 0 {
                        connection.session.gathered();
                    }
                    if numbers.below(4) == 0 {
                        // As who flushes would, or in vain.
                        connection.flush(&mut context, now + NO_ANSWER);
                    } else if let Poll::Ready(end) = connection.poll(&mut context, now) {
                        producer_failed = end.is_err();
                        server = None;
                    }
                }
            }
            1 => {
                if let Some(connection) = &mut client {
                    let end = match connection.poll(&mut context, now) {
                        Poll::Pending if numbers.below(2) == 0 => {
                            connection.tell_when_idle(&mut context).err().map(Err)
                        }
                        Poll::Pending => None,
                        Poll::Ready(end) => Some(end),
                    };
                    if let Some(end) = end {
                        consumer_failed = end.is_err();
                        client = None;
                    }
                }
            }
            2 => {
                if numbers.below(8) == 0
                    && let Some(receivers) = receivers.take()
                {
                    served = registry.register(id, receivers).ok(); // no sooner than this
                }
                let acknowledged = served.as_ref().is_some_and(|served| served.wait_acknowledged(Some(now)));
                for _ in 0..numbers.below(8) {
                    written += u64::from(script.write(&mut writer, written, acknowledged));
                }
            }
            _ => idle = if script.read(&mut reader, &mut read) { 0 } else { idle },
        }
        if reader.as_ref().is_some_and(RecordReader::is_ended) {
            (reader, commands) = (None, None); // done: the client says so and closes
        }
    }
    assert!(client.is_none() && server.is_none(), "it comes to an end");
    script.read(&mut reader, &mut read);
    drop((server, client, reader, writer, receivers, registry, commands));
    assert_eq!(pool.in_use(), 0, "every segment is home");
    let carried = [up, down].map(|pipe| pipe.take().carried);
    Outcome { read, carried, consumer_failed, producer_failed }
}

fn credits() -> [GateOptions; 3] {
    let options = GateOptions::default;
    [options(), options().exclusive(0).floating(1), options().exclusive(1).floating(0)]
}

#[test]
fn however_bytes_are_cut_every_record_arrives() {
    for script in credits().map(Script::long) {
        for seed in 0..if cfg!(miri) { 1 } else { 40 } {
            let outcome = converse(seed, None, &script);
            for (channel, (read, whole)) in outcome.read.iter().enumerate() {
                assert!(*whole && read.iter().copied().eq(script.of(channel)), "seed {seed}: {outcome:?}");
            }
            assert!(!outcome.consumer_failed && !outcome.producer_failed, "seed {seed}: {outcome:?}");
        }
    }
}

/// What kinds of messages went each way.
fn kinds(carried: &[Vec<u8>; 2]) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::new();
    for (role, bytes) in [Role::Consumer, Role::Producer].into_iter().zip(carried) {
        let (mut decoder, mut at) = (Decoder::new(role, Limits::default()), 0);
        while let Some(message) = decoder.next(bytes, &mut at).unwrap() {
            kinds.insert(match message {
                Message::PartitionRequest(_) => "request",
                Message::AddCredit { .. } => "credit",
                Message::ResumeConsumption { .. } => "resumption",
                Message::AckAllUserRecordsProcessed { .. } => "acknowledgement",
                Message::CancelPartitionRequest { .. } => "cancel",
                Message::CloseRequest => "close",
                Message::BacklogAnnouncement { .. } => "backlog announced",
                Message::ErrorResponse(_) => "error",
                Message::BufferResponse(header) => {
                    at += header.size as usize;
                    match header.data_type {
                        DataType::END_OF_PARTITION => "end of partition",
                        DataType::END_OF_DATA => "end of data",
                        DataType::ALIGNED_CHECKPOINT_BARRIER => "barrier",
                        _ if header.size as usize == page_size() => "whole segment",
                        _ => "flushed part",
                    }
                }
                other => panic!("{other:?}"),
            });
        }
    }
    kinds
}

/// Cuts a conversation behind every `step`th byte that goes the one way and the other. Either everything has come, or
/// both sides are told that it has not; what has come is a beginning of it, in order.
#[track_caller]
fn cut_everywhere(script: &Script, step: usize) -> BTreeSet<&'static str> {
    let whole = converse(1, None, script).carried;
    for (to_consumer, carried) in [false, true].into_iter().zip(&whole) {
        for at in (0..carried.len()).step_by(step) {
            let outcome = converse(1, Some((to_consumer, at)), script);
            for (channel, (read, whole)) in outcome.read.iter().enumerate() {
                let expected = script.of(channel);
                assert!(read.iter().copied().eq(expected.clone().take(read.len())), "cut at {at}: {read:?}");
                assert!(!*whole || read.iter().copied().eq(expected), "cut at {at}: a beginning is no whole");
            }
            assert!(outcome.producer_failed || outcome.consumer_failed, "cut at {at}: {outcome:?}");
        }
    }
    kinds(&whole)
}

/// Two short conversations, in which between them everything is said, each cut at every byte.
#[test]
fn a_link_that_is_lost_at_any_byte_is_an_error_on_both_sides() {
    let options = GateOptions::default().floating(1);
    let (sizes, barrier_every, step) = (&[8, 4100, 30][..], 2, if cfg!(miri) { 199 } else { 1 });
    let ends =
        Script { channels: 2, records: 3, sizes, barrier_every, end: End::Acknowledged, options: options.exclusive(0) };
    let mut kinds = cut_everywhere(&ends, step);
    let (sizes, options) = (&[8, 20][..], GateOptions::default().exclusive(1).floating(1));
    let fails = Script { channels: 2, records: 6, sizes, barrier_every, end: End::Failure, options };
    kinds.extend(cut_everywhere(&fails, step));
    let all = "acknowledgement, backlog announced, barrier, cancel, close, credit, end of data, end of partition, error, \
               flushed part, request, resumption, whole segment";
    assert_eq!(kinds.into_iter().collect::<Vec<_>>().join(", "), all);
}

#[test]
fn a_longer_conversation_is_cut_here_and_there() {
    for script in credits().map(Script::long) {
        cut_everywhere(&script, if cfg!(miri) { 9973 } else { 199 });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn a_servers_session_keeps_to_the_protocol(input in prop::collection::vec(any::<u8>(), 0..400)) {
        oracle::server_conversation(&input);
    }

    #[test]
    fn a_clients_session_keeps_to_the_protocol(input in prop::collection::vec(any::<u8>(), 0..400)) {
        oracle::client_conversation(&input);
    }
}
