//! Peers that ask and take nothing, or go, what they are told of credit, and the passing of time: one side of a
//! conversation, the other by hand.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    rc::Rc,
    sync::{Arc, Barrier, atomic::AtomicU64},
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::{
    client::{
        self, GateOptions, RemotePartition,
        commands::{Command, Commands},
        connection::Connection as ClientConnection,
        credit::LOOKED_AT,
        granting::LOT,
    },
    events,
    limits::ServerLimits,
    link::Link,
    server::{
        connection::Connection as ServerConnection,
        registry::{Delivery, Registry, Request, Waiter},
        session::Session as ServerSession,
    },
};
use crate::{
    buffer::DataType,
    channel::{Event, Released, Told, channel_for_later},
    gate::{BufferOrEvent, GateError, InputGate},
    pool::NetworkBufferPool,
    wire::{
        BufferResponse, Decoder, ErrorResponse, InputChannelId, Limits, Message, PartitionRequest, ResultPartitionId,
        ResultSubpartitionIndexSet, Role,
    },
};

/// What the other side has sent and taken.
#[derive(Debug, Default)]
struct Peer {
    sent: VecDeque<u8>,
    taken: Vec<u8>,
    takes: bool,
}

/// The link to it.
#[derive(Debug, Clone, Default)]
struct ToPeer(Rc<RefCell<Peer>>);

impl ToPeer {
    fn send(&self, message: &Message) {
        self.send_bytes(&bytes(message));
    }

    fn send_bytes(&self, bytes: &[u8]) {
        self.0.borrow_mut().sent.extend(bytes);
    }

    fn take_nothing(&self) {
        self.0.borrow_mut().takes = false;
    }

    /// Takes from now on; what it has taken since the last time.
    fn take(&self) -> Vec<u8> {
        let mut peer = self.0.borrow_mut();
        peer.takes = true;
        std::mem::take(&mut peer.taken)
    }

    /// Bytes that were sent and not read.
    fn unread(&self) -> usize {
        self.0.borrow().sent.len()
    }
}

impl Link for ToPeer {
    fn poll_read(&mut self, _: &mut Context<'_>, parts: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        let mut peer = self.0.borrow_mut();
        if peer.sent.is_empty() {
            return Poll::Pending;
        }
        let mut read = 0;
        for part in parts {
            read += io::Read::read(&mut peer.sent, part)?;
        }
        Poll::Ready(Ok(read))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let mut peer = self.0.borrow_mut();
        if !peer.takes {
            return Poll::Pending;
        }
        parts.iter().for_each(|part| peer.taken.extend(&**part));
        Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn bytes(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    bytes
}

fn partition() -> ResultPartitionId {
    ResultPartitionId::from_bytes([3; 60])
}

fn asked(receiver: u8) -> PartitionRequest {
    let subpartitions = ResultSubpartitionIndexSet::one(0);
    PartitionRequest { partition: partition(), subpartitions, receiver: InputChannelId([receiver; 16]), credit: 1 }
}

fn request(receiver: u8) -> Message {
    Message::PartitionRequest(asked(receiver))
}

/// How many messages of this length a peer sends that means no good.
fn many(len: usize) -> usize {
    (256 << 10) / len
}

struct Served {
    peer: ToPeer,
    connection: ServerConnection<ToPeer>,
    /// Kept, so that the connection is not told to end.
    _deliveries: UnboundedSender<Delivery>,
    now: Instant,
}

impl Served {
    fn new() -> Self {
        Self::of(Arc::default())
    }

    fn of(registry: Arc<Registry>) -> Self {
        let (peer, now, limits) = (ToPeer::default(), Instant::now(), ServerLimits::default());
        let (deliveries, delivered) = unbounded_channel();
        let waiter = Waiter { connection: 0, deliveries: deliveries.clone() };
        let session = ServerSession::new(registry, waiter, limits);
        let connection = ServerConnection::new(peer.clone(), session, delivered, limits, Arc::default(), now);
        Self { peer, connection, _deliveries: deliveries, now }
    }

    fn poll(&mut self) {
        assert!(self.connection.poll(&mut Context::from_waker(Waker::noop()), self.now).is_pending());
    }
}

#[test]
#[cfg_attr(miri, ignore = "a megabyte of answers; the same code as with fewer")]
fn who_takes_no_answers_is_not_read_on() {
    let mut served = Served::new();
    served.peer.take_nothing();
    // Each is answered by an error, which is longer.
    let wrong = bytes(&Message::AddCredit { credit: 1, receiver: InputChannelId([9; 16]) });
    let sent = wrong.repeat(many(wrong.len()));
    served.peer.send_bytes(&sent);
    served.poll();
    assert!(served.peer.unread() > sent.len() / 2, "{} of {} are unread", served.peer.unread(), sent.len());
    let mut taken = served.peer.take().len();
    while served.peer.unread() > 0 {
        served.poll();
        taken += served.peer.take().len();
    }
    assert!(taken > sent.len(), "and all of it is answered");
}

#[test]
fn who_is_always_within_a_message_is_not_slow() {
    let mut served = Served::new();
    served.peer.send(&request(1));
    let hint = bytes(&Message::NewBufferSize { size: 1, receiver: InputChannelId([1; 16]) });
    served.peer.send_bytes(&hint[..10]);
    served.poll();
    for _ in 0..30 {
        served.now += Duration::from_secs(1);
        served.peer.send_bytes(&[&hint[10..], &hint[..10]].concat());
        served.poll();
        assert!(served.connection.expire(served.now).is_ok());
    }
    served.now += ServerLimits::default().message;
    served.poll();
    assert!(served.connection.expire(served.now).is_err(), "and one that it does not end is");
}

/// A partition comes while the connection that waits for it goes. Either it is there for the next who asks, or its
/// producer is told that its reader is gone: it never waits for nobody.
#[test]
fn a_partition_that_comes_as_its_consumer_goes_is_there_for_another_or_released() {
    for round in 0..if cfg!(miri) { 10 } else { 1_000 } {
        let registry = Arc::new(Registry::default());
        let mut going = Served::of(registry.clone());
        going.peer.send(&request(1));
        going.poll();
        let (sender, receiver) = channel_for_later();
        let (ready, register) = (Barrier::new(2), || registry.register(partition(), vec![receiver]).unwrap());
        let state = thread::scope(|scope| match round {
            0 => {
                let state = register();
                drop(going);
                state
            }
            1 => {
                drop(going);
                register()
            }
            _ => {
                let registering = scope.spawn(|| {
                    ready.wait();
                    register()
                });
                ready.wait();
                drop(going);
                registering.join().unwrap()
            }
        });
        let waiter = Waiter { connection: 1, deliveries: unbounded_channel().0 };
        let (told, released) = (sender.notify(Told::Whole), state.wait_released(Some(Instant::now())));
        match registry.request(&asked(2), &waiter) {
            Request::Here(..) => assert_eq!((told, released), (Ok(()), false), "round {round}"),
            Request::Refused(_) => assert_eq!((told, released), (Err(Released), true), "round {round}"),
            Request::Later => panic!("it is registered"),
        }
    }
}

struct Reading {
    peer: ToPeer,
    connection: ClientConnection<ToPeer>,
    commands: UnboundedSender<Command>,
    pool: NetworkBufferPool,
    now: Instant,
}

/// How long a partition is asked for.
const WAIT: Duration = Duration::from_secs(10);

impl Reading {
    fn new() -> Self {
        let (peer, now) = (ToPeer::default(), Instant::now());
        let (commands, commanded) = unbounded_channel();
        let session = client::session::Session::new(Arc::from("peer"), [5; 8], WAIT, now);
        let connection =
            ClientConnection::new(peer.clone(), session, Commands::new(Arc::from("peer"), commanded), Arc::default());
        let size = crate::memory::page_size();
        let pool = NetworkBufferPool::builder().segments(16).segment_size(size).build().unwrap();
        Self { peer, connection, commands, pool, now }
    }

    /// A gate of one channel, and what the channel is called.
    fn open(&mut self) -> (InputGate, InputChannelId) {
        self.open_with(&GateOptions::default())
    }

    fn open_with(&mut self, options: &GateOptions) -> (InputGate, InputChannelId) {
        let remote = RemotePartition::new("peer", partition(), 0);
        let (next, connection) = (AtomicU64::new(0), |_: (&str, usize)| self.commands.clone());
        let gate = client::gate::open(&self.pool, options, &[remote], 1, &next, connection).unwrap();
        self.peer.take();
        self.poll();
        let asked = self.peer.take();
        assert_eq!(asked.len(), 97, "one request");
        (gate, InputChannelId(*asked[77..].first_chunk().unwrap()))
    }

    /// Buffer `sequence_number` of the channel comes, and is taken up with the next poll.
    fn comes(&self, receiver: InputChannelId, sequence_number: u32, data_type: DataType, content: &[u8]) {
        let header = BufferResponse {
            receiver,
            subpartition: Some(0),
            partials: 0,
            sequence_number,
            backlog: 0,
            data_type,
            compressed: data_type.is_data(),
            size: content.len() as u32,
        };
        self.peer.send_bytes(&header.encode().unwrap());
        self.peer.send_bytes(content);
    }

    /// The same, data that are not compressed, with `backlog` buffers behind them.
    fn data(&self, receiver: InputChannelId, sequence_number: u32, backlog: u32, content: &[u8]) {
        let header = BufferResponse {
            receiver,
            subpartition: Some(0),
            partials: 0,
            sequence_number,
            backlog,
            data_type: DataType::DATA_BUFFER,
            compressed: false,
            size: content.len() as u32,
        };
        self.peer.send_bytes(&header.encode().unwrap());
        self.peer.send_bytes(content);
    }

    fn poll(&mut self) {
        assert!(self.connection.poll(&mut Context::from_waker(Waker::noop()), self.now).is_pending());
    }

    fn not_found(&self, receiver: InputChannelId) {
        self.peer.send(&Message::ErrorResponse(ErrorResponse::partition_not_found(&partition(), receiver)));
    }

    /// What is asked again after so long.
    fn after(&mut self, wait: Duration) -> Vec<u8> {
        self.now += wait;
        self.connection.session.expire(self.now);
        self.poll();
        self.peer.take()
    }
}

#[test]
fn a_partition_is_asked_for_as_long_on_an_old_connection() {
    let mut reading = Reading::new();
    reading.now += Duration::from_secs(3600);
    let (mut gate, receiver) = reading.open();
    reading.not_found(receiver);
    reading.poll();
    assert!(gate.try_next().unwrap().is_none(), "it may still come");
    assert_eq!(reading.after(Duration::from_secs(1)).len(), 97, "and is asked for again");
    reading.now += WAIT;
    reading.not_found(receiver);
    reading.poll();
    let error = gate.try_next().unwrap_err();
    assert_eq!(failure(&error), "there was no such partition within 11s");
}

#[test]
fn a_partition_is_asked_for_once_however_often_it_is_not_there() {
    let mut reading = Reading::new();
    let (_gate, receiver) = reading.open();
    for _ in 0..100 {
        reading.not_found(receiver);
    }
    reading.poll();
    assert_eq!(reading.after(Duration::from_secs(1)).len(), 97);
}

/// Has 200 channels of one gate want credit, of which there is one, and then `close` them; how often one of those that
/// want some was looked at.
fn looked_at_by(close: impl FnOnce(&mut Reading, InputGate, &[InputChannelId])) -> usize {
    let mut reading = Reading::new();
    let channels: Vec<_> = (0..200).map(|s| RemotePartition::new("peer", partition(), s)).collect();
    let (next, connection) = (AtomicU64::new(0), |_: (&str, usize)| reading.commands.clone());
    let options = GateOptions::default().exclusive(0).floating(1);
    let gate = client::gate::open(&reading.pool, &options, &channels, 1, &next, connection).unwrap();
    reading.peer.take();
    reading.poll();
    let asked = reading.peer.take();
    let receivers: Vec<_> = asked.chunks(97).map(|asked| InputChannelId(*asked[77..].first_chunk().unwrap())).collect();
    for &receiver in &receivers {
        reading.peer.send(&Message::BacklogAnnouncement { backlog: 2, receiver });
    }
    reading.poll();
    LOOKED_AT.set(0);
    close(&mut reading, gate, &receivers);
    LOOKED_AT.get()
}

#[test]
fn channels_that_are_closed_are_not_looked_for_among_those_that_want_credit() {
    let lost = looked_at_by(|reading, _gate, _| reading.connection.session.fail(&client::Failure::Closed));
    assert_eq!(lost, 0, "all at once");
    let gone = looked_at_by(|reading, gate, _| {
        drop(gate);
        reading.poll();
    });
    assert_eq!(gone, 0, "with their gate");
    let failed = looked_at_by(|reading, _gate, receivers| {
        for &receiver in receivers {
            reading.peer.send(&Message::ErrorResponse(ErrorResponse::io_exception("it failed", Some(receiver))));
            reading.poll();
        }
    });
    assert!((200..2000).contains(&failed), "one by one, with a turn behind each: {failed}");
}

#[test]
fn answers_to_what_was_never_asked_for_do_not_pile_up() {
    let mut reading = Reading::new();
    let (_gate, _) = reading.open();
    reading.peer.take_nothing();
    let stray = bytes(&Message::BacklogAnnouncement { backlog: 1, receiver: InputChannelId([9; 16]) });
    reading.peer.send_bytes(&stray.repeat(many(stray.len())));
    reading.poll();
    assert_eq!(reading.peer.unread(), 0);
    assert!(reading.connection.session.out().len() < 128 << 10, "{} bytes", reading.connection.session.out().len());
}

/// An event of a kibibyte, as it goes over the wire.
fn event() -> (DataType, Vec<u8>) {
    let event = Event::Custom { data_type: DataType::EVENT_BUFFER, bytes: vec![0x5A; 1000].into() };
    let (data_type, content) = events::encode(&event).unwrap();
    (data_type, content.to_vec())
}

/// What happened to the channel.
fn failure(error: &GateError) -> String {
    let GateError::ProducerFailed { cause, .. } = error;
    cause.source().unwrap().to_string()
}

fn too_many_events(error: &GateError) {
    assert_eq!(failure(error), "events of 4096 KiB wait for the reader, and another came");
}

#[test]
#[cfg_attr(miri, ignore = "thousands of events; the same code as with fewer")]
fn events_do_not_pile_up_before_a_reader_that_takes_none() {
    let (data_type, content) = event();
    let mut reading = Reading::new();
    let (mut gate, receiver) = reading.open();
    let limit = u32::from(client::arrivals::MOST_EVENTS);
    let send = |reading: &mut Reading, numbers: std::ops::RangeInclusive<u32>| {
        numbers.for_each(|number| reading.comes(receiver, number, data_type, &content));
        reading.poll();
    };
    send(&mut reading, 0..=limit - 1);
    assert!(matches!(gate.try_next().unwrap(), Some((_, BufferOrEvent::Event(_)))));
    send(&mut reading, limit..=limit); // what was taken makes room
    send(&mut reading, limit + 1..=limit + 1);
    for _ in 0..limit {
        assert!(gate.try_next().unwrap().is_some(), "what came before is read");
    }
    too_many_events(&gate.try_next().unwrap_err());
}

/// Segments with what was decompressed, and read by nobody.
#[cfg(feature = "compression")]
const ROOM: usize = 8;

#[cfg(feature = "compression")]
impl Reading {
    /// A gate to which one piece more has come than there are segments to decompress it into.
    fn without_room(&mut self) -> (InputGate, InputChannelId) {
        let (gate, receiver) = self.open_with(&GateOptions::default().compression(crate::wire::Codec::Lz4));
        let block = lz4_flex::block::compress(&[7; 100]);
        let piece = [&(block.len() as i32).to_le_bytes()[..], &100_i32.to_le_bytes(), &block].concat();
        for number in 0..=ROOM as u32 {
            self.comes(receiver, number, DataType::DATA_BUFFER, &piece);
            self.poll();
        }
        (gate, receiver)
    }
}

#[test]
#[cfg(feature = "compression")]
fn what_waits_to_be_decompressed_when_the_pool_fails_is_an_error() {
    let mut reading = Reading::new();
    let (mut gate, _) = reading.without_room();
    let held: Vec<_> = std::iter::from_fn(|| gate.try_next().unwrap()).collect();
    assert_eq!(held.len(), ROOM);
    reading.pool.fail("cancelled");
    reading.poll();
    let error = gate.try_next().unwrap_err();
    assert_eq!(failure(&error), "no segment can be had for what comes");
}

/// Nor do they where they wait behind a piece for which there is no segment to decompress it into.
#[test]
#[cfg(feature = "compression")]
#[cfg_attr(miri, ignore = "as above")]
fn events_do_not_pile_up_behind_what_is_to_be_decompressed() {
    let mut reading = Reading::new();
    let (mut gate, receiver) = reading.without_room();
    let (data_type, content) = event();
    let mut send = |numbers: std::ops::Range<u32>| {
        numbers.for_each(|number| reading.comes(receiver, number, data_type, &content));
        reading.poll();
    };
    let (first, limit) = (ROOM as u32 + 1, u32::from(client::arrivals::MOST_EVENTS));
    send(first..first + limit);
    let held: Vec<_> = std::iter::from_fn(|| gate.try_next().unwrap()).collect();
    assert!(held.len() == ROOM && held.iter().all(|(_, found)| matches!(found, BufferOrEvent::Buffer(_))), "{held:?}");
    send(first + limit..first + limit + 1);
    too_many_events(&gate.try_next().unwrap_err());
}

/// Has a sender send `count` buffers one by one, each read as it comes, with `backlog` more behind each; how often it
/// is told of credit. It has some before each.
fn told(reading: &mut Reading, count: u32, backlog: u32, idle: bool) -> usize {
    let (mut gate, receiver) = reading.open();
    let (mut credit, mut told) = (GateOptions::default().exclusive, 0);
    let mut decoder = Decoder::new(Role::Consumer, Limits::default());
    for sequence_number in 0..count {
        credit = credit.checked_sub(1).expect("some is left");
        reading.data(receiver, sequence_number, backlog, &[0; 4]);
        reading.poll();
        if idle {
            reading.connection.tell_when_idle(&mut Context::from_waker(Waker::noop())).unwrap();
        }
        assert!(matches!(gate.try_next().unwrap(), Some((_, BufferOrEvent::Buffer(_)))));
        let (taken, mut at) = (reading.peer.take(), 0);
        while let Some(message) = decoder.next(&taken, &mut at).unwrap() {
            let Message::AddCredit { credit: more, .. } = message else { panic!("{message:?}") };
            credit += more;
            told += 1;
        }
    }
    told
}

#[test]
fn a_sender_with_nothing_waiting_is_seldom_told_of_credit() {
    // It has half of the 8 floating ones ahead, and is told again when it has no more than its 2.
    let told = told(&mut Reading::new(), 100, 0, true);
    assert!((20..=26).contains(&told), "{told} times");
}

#[test]
fn a_sender_that_is_out_of_credit_does_not_wait_until_this_side_is_idle() {
    let told = told(&mut Reading::new(), 100, 0, false);
    assert!((10..=26).contains(&told), "{told} times");
}

#[test]
fn a_sender_with_more_waiting_is_told_before_it_is_out_of_credit() {
    let told = told(&mut Reading::new(), 100, 20, false);
    assert!(told >= 20, "{told} times");
}

#[test]
fn senders_of_many_channels_that_have_some_left_are_told_of_credit_in_lots() {
    let mut reading = Reading::new();
    let channels: Vec<_> = (0..=LOT as u32).map(|s| RemotePartition::new("peer", partition(), s)).collect();
    let (next, connection) = (AtomicU64::new(0), |_: (&str, usize)| reading.commands.clone());
    let pool = NetworkBufferPool::builder().segments(64).segment_size(reading.pool.segment_size()).build().unwrap();
    let mut gate = client::gate::open(&pool, &GateOptions::default(), &channels, 1, &next, connection).unwrap();
    reading.peer.take();
    reading.poll();
    let asked = reading.peer.take();
    let receivers: Vec<_> = asked.chunks(97).map(|asked| InputChannelId(*asked[77..].first_chunk().unwrap())).collect();
    let credit = bytes(&Message::AddCredit { credit: 1, receiver: receivers[0] }).len();
    // How many are told once a buffer of that channel has come, with `backlog` more behind it.
    let mut told = |nth: usize, sequence_number, backlog| {
        reading.data(receivers[nth], sequence_number, backlog, &[0; 4]);
        reading.poll();
        reading.connection.tell_when_idle(&mut Context::from_waker(Waker::noop())).unwrap();
        assert!(gate.try_next().unwrap().is_some());
        reading.peer.take().len() / credit
    };
    assert!((0..LOT - 1).all(|nth| told(nth, 0, 0) == 0), "each has one left");
    assert_eq!(told(LOT - 1, 0, 0), LOT, "it is a lot");
    assert_eq!([told(0, 1, 0), told(LOT, 0, 0)], [0, 0]);
    assert_eq!(told(LOT, 1, 0), 2, "one that has none left, and the other with it");
    assert_eq!(told(1, 1, 1), 0, "as many left as wait");
    assert_eq!(told(2, 1, 2), 2, "fewer left than wait, and the other with it");
}
