//! The consumer's side: gates over partitions on other hosts.
//!
//! ```text
//!            network thread (one of a few, each with a runtime of its own)            reader's thread
//!  socket ═ readv ═▶ Inlet ─▶ the segment that was set aside ─▶ Sender ═ queue ═▶ InputGate ─▶ RecordReader
//!     ▲                                                            └─ announce ─▶ Signal ──▶ (woken once)
//!     └── requests, credit ◀── Segments ◀── a segment comes home ◀── dropped ◀──────────────────┘
//! ```

mod arrivals;
mod connection;
mod credit;
mod error;
mod inlet;
mod session;
mod unpack;

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
};

pub use error::{ChannelError, Failure, OpenError};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;

use self::{
    connection::{Command, Connection, run},
    credit::Segments,
    session::{OpenChannel, OpenGate, Session},
    unpack::Unpack,
};
use super::{
    link::Socket,
    options::TcpOptions,
    server::StartError,
    threads::Threads,
    tls::TlsConfig,
    traffic::{Counter, Traffic},
};
use crate::{
    channel::{Said, Signal, Upstream, channel},
    gate::InputGate,
    pool::NetworkBufferPool,
    wire::{Codec, Decompressor, ResultPartitionId},
};

/// Reads partitions from other hosts, forebay's or Flink's.
///
/// Has one connection for each peer, which all gates share (or a few, see [`ClientBuilder::stripes`]), and network threads
/// of its own; nothing here needs an async runtime. A connection is made when the first gate needs it and kept until the
/// client is dropped, which ends all its channels.
///
/// See [`Server`](super::Server) for an example.
///
/// # Source
/// Flink's `NettyConnectionManager` and `NettyPartitionRequestClient`.
pub struct Client {
    config: Arc<Config>,
    connections: Mutex<Connections>,
    received: Arc<Counter>,
    next_gate: AtomicU64,
    threads: Threads,
}

/// By peer and stripe.
type Connections = HashMap<(Arc<str>, usize), UnboundedSender<Command>>;

#[derive(Debug)]
struct Config {
    options: TcpOptions,
    tls: Option<Arc<ClientConfig>>,
    connect_timeout: Duration,
    attempts: u32,
    backoff: Duration,
    partition_wait: Duration,
    stripes: usize,
}

/// Settings of a [`Client`].
#[derive(Debug)]
#[must_use = "call `start`"]
pub struct ClientBuilder {
    config: Config,
    tls: Option<TlsConfig>,
    threads: usize,
}

impl ClientBuilder {
    /// What is asked of the system for each connection.
    pub fn options(mut self, options: TcpOptions) -> Self {
        self.config.options = options;
        self
    }

    /// Speaks TLS, with peers alone that have a certificate which this side trusts.
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How long one attempt to connect may take. 10 s unless set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How often it is tried to connect, at least once, with `backoff` behind the first failure and twice as long behind
    /// each further one. 5 times from 100 ms unless set.
    pub fn attempts(mut self, attempts: u32, backoff: Duration) -> Self {
        self.config.attempts = attempts.max(1);
        self.config.backoff = backoff;
        self
    }

    /// How long a partition that the peer does not have is asked for again. 10 s unless set.
    pub fn partition_wait(mut self, wait: Duration) -> Self {
        self.config.partition_wait = wait;
        self
    }

    /// Connections for each peer, among which its channels are dealt out; a channel stays on its own. 1 unless set.
    pub fn stripes(mut self, stripes: usize) -> Self {
        self.config.stripes = stripes.max(1);
        self
    }

    /// Network threads, among which connections are dealt out; at least 1, which is what it is unless set.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Starts the threads. Connects to nobody yet.
    ///
    /// # Errors
    /// [`StartError`]: the system refuses threads, or certificates can not be used.
    pub fn start(mut self) -> Result<Client, StartError> {
        self.config.tls = self.tls.map(|tls| tls.client()).transpose()?;
        let threads = Threads::start("forebay-client", self.threads).map_err(StartError::Thread)?;
        Ok(Client {
            config: Arc::new(self.config),
            connections: Mutex::default(),
            received: Arc::default(),
            next_gate: AtomicU64::new(0),
            threads,
        })
    }
}

/// A subpartition of a partition on another host.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemotePartition {
    /// Where it is served: host and port.
    pub address: String,
    /// Which partition.
    pub partition: ResultPartitionId,
    /// Which of its subpartitions.
    pub subpartition: u32,
}

impl RemotePartition {
    /// Subpartition `subpartition` of `partition`, served at `address`: host and port, as `10.0.0.1:6121`.
    pub fn new(address: impl Into<String>, partition: ResultPartitionId, subpartition: u32) -> Self {
        Self { address: address.into(), partition, subpartition }
    }
}

/// Settings of one gate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GateOptions {
    /// What its pools are called in errors and in [`NetworkBufferPool::usage`].
    pub name: String,
    /// Segments that each channel has for itself, set aside before it is requested: the data it may be sent at any moment.
    /// 0 is allowed; then data are announced before they are sent. 2 unless set, as Flink's.
    pub exclusive: u32,
    /// Segments beyond those, for channels with more data, of each peer at most so many. 8 unless set, as Flink's.
    pub floating: u32,
    /// What the peers compress data with, if they do: the wire does not say. None unless set. Takes up to 8 segments more
    /// for each peer.
    pub compression: Option<Codec>,
}

impl Default for GateOptions {
    fn default() -> Self {
        Self { name: "gate".into(), exclusive: 2, floating: 8, compression: None }
    }
}

impl GateOptions {
    /// The same, with this name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// The same, with so many segments for each channel.
    #[must_use]
    pub fn exclusive(mut self, segments: u32) -> Self {
        self.exclusive = segments;
        self
    }

    /// The same, for data compressed with `codec`. Needs the feature `compression`.
    #[must_use]
    pub fn compression(mut self, codec: Codec) -> Self {
        self.compression = Some(codec);
        self
    }

    /// The same, with so many segments beyond those.
    #[must_use]
    pub fn floating(mut self, segments: u32) -> Self {
        self.floating = segments;
        self
    }
}

impl Client {
    /// The settings to start from.
    pub fn builder() -> ClientBuilder {
        let config = Config {
            options: TcpOptions::default(),
            tls: None,
            connect_timeout: Duration::from_secs(10),
            attempts: 5,
            backoff: Duration::from_millis(100),
            partition_wait: Duration::from_secs(10),
            stripes: 1,
        };
        ClientBuilder { config, tls: None, threads: 1 }
    }

    /// A gate over `partitions`, each a channel in this order. What arrives is in segments of `pool`, for each peer from a
    /// local pool of its own.
    ///
    /// Does not wait for peers: a channel that can not be had fails later, with a [`ChannelError`] as the cause. Control
    /// plane: takes the lock of the list of connections.
    ///
    /// # Errors
    /// [`OpenError`]: the segments can not be promised, or could never suffice. Nothing was requested.
    pub fn gate(
        &self,
        pool: &NetworkBufferPool,
        options: &GateOptions,
        partitions: &[RemotePartition],
    ) -> Result<InputGate, OpenError> {
        if partitions.is_empty() {
            return Err(OpenError::NoChannels);
        }
        if options.exclusive == 0 && options.floating == 0 {
            return Err(OpenError::NoSegments);
        }
        let channels = u32::try_from(partitions.len()).map_err(|_| OpenError::NoChannels)?;
        let mut peers: Vec<Peer<'_>> = Vec::new();
        let mut places: HashMap<(&str, usize), usize> = HashMap::new();
        let mut routes = Vec::with_capacity(partitions.len());
        for (index, remote) in partitions.iter().enumerate() {
            let key = (remote.address.as_str(), index % self.config.stripes);
            let place = *places.entry(key).or_insert_with(|| {
                peers.push(Peer { key, ids: Vec::new(), channels: Vec::new() });
                peers.len() - 1
            });
            routes.push((place as u32, peers[place].channels.len() as u32));
            peers[place].channel(remote);
        }
        let mut gates = Vec::with_capacity(peers.len());
        for peer in &peers {
            gates.push(peer.gate(pool, options, self.next_gate.fetch_add(1, Ordering::Relaxed))?); // only counted here
        }
        let connections: Vec<_> = peers.iter().map(|peer| self.connection(peer.key)).collect();
        let to = connections.iter().zip(&gates).map(|(connection, gate)| (connection.clone(), gate.token)).collect();
        let signal = Arc::new(Signal::new(channels).with_upstream(Box::new(Routes { to, routes: routes.clone() })));
        let mut receivers = Vec::with_capacity(partitions.len());
        for (index, (peer, nth)) in (0..).zip(routes) {
            let (sender, receiver) = channel(signal.clone(), index);
            receivers.push(receiver);
            let (partition, subpartition) = peers[peer as usize].channels[nth as usize];
            gates[peer as usize].channels.push(OpenChannel { sender, partition, subpartition });
        }
        for (connection, gate) in connections.into_iter().zip(gates) {
            if let Err(lost) = connection.send(Command::Open(Box::new(gate)))
                && let Command::Open(gate) = lost.0
            {
                gate.fail(&Failure::Closed); // it has ended in this very moment
            }
        }
        Ok(InputGate::new(signal, receivers))
    }

    /// What its connections have received so far. May grow at any moment. Wait-free.
    #[must_use]
    pub fn received(&self) -> Traffic {
        self.received.snapshot()
    }

    /// The connection to a peer: a new one if there is none, or it has ended.
    fn connection(&self, (address, stripe): (&str, usize)) -> UnboundedSender<Command> {
        let mut connections = self.lock();
        let key = (Arc::from(address), stripe);
        if let Some(connection) = connections.get(&key).filter(|connection| !connection.is_closed()) {
            return connection.clone();
        }
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let nth = connections.len();
        self.threads.spawn(nth, connect_and_run(key.0.clone(), self.config.clone(), self.received.clone(), receiver));
        connections.insert(key, sender.clone());
        sender
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.lock().clear(); // the connections say so to their peers, if they get to it before their threads end
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The channels of a gate that go over one connection.
struct Peer<'a> {
    key: (&'a str, usize),
    ids: Vec<ResultPartitionId>,
    /// Place of the partition in `ids`, and subpartition.
    channels: Vec<(u32, u32)>,
}

impl Peer<'_> {
    fn channel(&mut self, remote: &RemotePartition) {
        // Channels of one partition mostly come one after the other.
        if self.ids.last() != Some(&remote.partition) {
            self.ids.push(remote.partition);
        }
        self.channels.push((self.ids.len() as u32 - 1, remote.subpartition));
    }

    /// The gate for it, with its pools and no channels yet.
    fn gate(&self, pool: &NetworkBufferPool, options: &GateOptions, token: u64) -> Result<OpenGate, OpenError> {
        let name = format!("{} from {}", options.name, self.key.0);
        let required = options.exclusive.saturating_mul(self.channels.len() as u32);
        let maximum = required.saturating_add(options.floating);
        let local = pool.local_pool(name.clone()).required(required).maximum(maximum).build()?;
        let unpack = match options.compression {
            None => None,
            Some(codec) => {
                let decompressor = Decompressor::new(codec)?;
                let pool = pool.local_pool(format!("{name}, decompressed")).required(1).maximum(UNPACKED).build()?;
                Some(Unpack::new(pool, decompressor))
            }
        };
        Ok(OpenGate {
            token,
            segment_size: local.segment_size(),
            segments: Segments::new(local, options.exclusive, self.channels.len()),
            unpack,
            partitions: self.ids.clone(),
            channels: Vec::with_capacity(self.channels.len()),
        })
    }
}

/// Decompressed segments of a gate that nobody has read, at most.
const UNPACKED: u32 = 8;

/// The way from a gate to its connections.
#[derive(Debug)]
struct Routes {
    /// The connections, and what the gate is called there.
    to: Vec<(UnboundedSender<Command>, u64)>,
    /// For each channel, which of them, and which channel there.
    routes: Vec<(u32, u32)>,
}

impl Upstream for Routes {
    fn say(&self, channel: u32, said: Said) {
        let (to, nth) = self.routes[channel as usize];
        let (connection, gate) = &self.to[to as usize];
        let _ = connection.send(Command::Said(*gate, nth, said)); // without a connection there is nobody to hear it
    }

    fn gone(&self) {
        for (connection, gate) in &self.to {
            let _ = connection.send(Command::Gone(*gate)); // as above
        }
    }
}

/// The life of a connection.
async fn connect_and_run(
    peer: Arc<str>,
    config: Arc<Config>,
    received: Arc<Counter>,
    mut commands: UnboundedReceiver<Command>,
) {
    let nonce = RandomState::new().hash_one(&peer).to_be_bytes();
    let mut session = Session::new(peer.clone(), nonce, config.partition_wait, Instant::now());
    match connect(&peer, &config).await {
        Ok(link) => {
            let mut connection = Connection::new(link, session, commands, received);
            let _ = run(&mut connection).await; // the channels have been told
        }
        Err(failure) => {
            // Nobody can send any more; who has sent already is told.
            commands.close();
            while let Ok(command) = commands.try_recv() {
                if let Command::Open(gate) = command {
                    session.open(*gate);
                }
            }
            session.fail(&failure);
        }
    }
}

async fn connect(peer: &str, config: &Config) -> Result<Socket, Failure> {
    let stream = connect_tcp(peer, config).await?;
    let Some(tls) = &config.tls else { return Ok(Socket::Plain(stream)) };
    let host = peer.rsplit_once(':').map_or(peer, |(host, _)| host).trim_start_matches('[').trim_end_matches(']');
    let refused = |error| Failure::Tls(Arc::new(error));
    let name = ServerName::try_from(host.to_owned()).map_err(|error| refused(io::Error::other(error)))?;
    match tokio::time::timeout(config.connect_timeout, TlsConnector::from(tls.clone()).connect(name, stream)).await {
        Ok(connected) => Ok(Socket::Tls(Box::new(connected.map_err(refused)?.into()))),
        Err(_) => Err(refused(io::ErrorKind::TimedOut.into())),
    }
}

async fn connect_tcp(peer: &str, config: &Config) -> Result<TcpStream, Failure> {
    let mut backoff = config.backoff;
    let mut attempts = 0;
    loop {
        attempts += 1;
        let connected = match tokio::time::timeout(config.connect_timeout, TcpStream::connect(peer)).await {
            Ok(connected) => connected,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        match connected.and_then(|stream| config.options.apply(&stream).map(|()| stream)) {
            Ok(stream) => return Ok(stream),
            Err(source) if attempts >= config.attempts => {
                return Err(Failure::Connect { attempts, source: Arc::new(source) });
            }
            Err(_) => tokio::time::sleep(backoff).await,
        }
        backoff = backoff.saturating_mul(2);
    }
}
