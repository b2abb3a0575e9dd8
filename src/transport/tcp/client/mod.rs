//! The consumer's side: gates over partitions on other hosts.
//!
//! ```text
//!            network thread (one of a few, each with a runtime of its own)            reader's thread
//!  socket ═ readv ═▶ Inlet ─▶ the segment that was set aside ─▶ Sender ═ queue ═▶ InputGate ─▶ RecordReader
//!     ▲                                                            └─ announce ─▶ Signal ──▶ (woken once)
//!     └── requests, credit ◀── Segments ◀── a segment comes home ◀── dropped ◀──────────────────┘
//! ```

mod connection;
mod credit;
mod error;
mod inlet;
mod session;

use std::{
    collections::HashMap,
    fmt,
    hash::{BuildHasher, RandomState},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::{
    net::TcpStream,
    sync::mpsc::{UnboundedReceiver, UnboundedSender},
};

pub use error::{ChannelError, Failure, OpenError};

use self::{
    connection::{Command, Connection, run},
    credit::Segments,
    session::{OpenChannel, OpenGate, Session},
};
use super::{
    options::TcpOptions,
    server::StartError,
    threads::Threads,
    traffic::{Counter, Traffic},
};
use crate::{
    channel::{Signal, channel},
    gate::InputGate,
    pool::NetworkBufferPool,
    wire::ResultPartitionId,
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
    threads: Threads,
}

/// By peer and stripe.
type Connections = HashMap<(Arc<str>, usize), UnboundedSender<Command>>;

#[derive(Debug)]
struct Config {
    options: TcpOptions,
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
    threads: usize,
}

impl ClientBuilder {
    /// What is asked of the system for each connection.
    pub fn options(mut self, options: TcpOptions) -> Self {
        self.config.options = options;
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
    /// [`StartError`]: the system refuses threads.
    pub fn start(self) -> Result<Client, StartError> {
        let threads = Threads::start("forebay-client", self.threads).map_err(StartError::Thread)?;
        Ok(Client { config: Arc::new(self.config), connections: Mutex::default(), received: Arc::default(), threads })
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
}

impl Default for GateOptions {
    fn default() -> Self {
        Self { name: "gate".into(), exclusive: 2, floating: 8 }
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
            connect_timeout: Duration::from_secs(10),
            attempts: 5,
            backoff: Duration::from_millis(100),
            partition_wait: Duration::from_secs(10),
            stripes: 1,
        };
        ClientBuilder { config, threads: 1 }
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
        options: GateOptions,
        partitions: &[RemotePartition],
    ) -> Result<InputGate, OpenError> {
        let GateOptions { name, exclusive, floating } = options;
        if partitions.is_empty() {
            return Err(OpenError::NoChannels);
        }
        if exclusive == 0 && floating == 0 {
            return Err(OpenError::NoSegments);
        }
        let channels = u32::try_from(partitions.len()).map_err(|_| OpenError::NoChannels)?;
        let signal = Arc::new(Signal::new(channels));
        let mut receivers = Vec::with_capacity(partitions.len());
        let mut by_peer: Vec<Peer<'_>> = Vec::new();
        let mut places: HashMap<(&str, usize), usize> = HashMap::new();
        for (index, remote) in (0..channels).zip(partitions) {
            let (sender, receiver) = channel(signal.clone(), index);
            receivers.push(receiver);
            let key = (remote.address.as_str(), index as usize % self.config.stripes);
            let place = *places.entry(key).or_insert_with(|| {
                by_peer.push(Peer { key, channels: Vec::new(), partitions: Vec::new() });
                by_peer.len() - 1
            });
            let Peer { channels, partitions, .. } = &mut by_peer[place];
            // Channels of one partition mostly come one after the other.
            if partitions.last() != Some(&remote.partition) {
                partitions.push(remote.partition);
            }
            let partition = partitions.len() as u32 - 1;
            channels.push(OpenChannel { sender, partition, subpartition: remote.subpartition });
        }
        let mut gates = Vec::with_capacity(by_peer.len());
        for Peer { key: (address, stripe), channels, partitions } in by_peer {
            let required = exclusive.saturating_mul(channels.len() as u32);
            let local = pool
                .local_pool(format!("{name} from {address}"))
                .required(required)
                .maximum(required.saturating_add(floating))
                .build()?;
            let segment_size = local.segment_size();
            let segments = Segments::new(local, exclusive, channels.len());
            gates.push(((address, stripe), OpenGate { segments, segment_size, partitions, channels }));
        }
        for ((address, stripe), gate) in gates {
            self.send(address, stripe, Command::Open(gate));
        }
        Ok(InputGate::new(signal, receivers))
    }

    /// What its connections have received so far. May grow at any moment. Wait-free.
    #[must_use]
    pub fn received(&self) -> Traffic {
        self.received.snapshot()
    }

    /// Sends `command` to the connection to `address`, a new one if there is none, or it has ended.
    fn send(&self, address: &str, stripe: usize, command: Command) {
        let mut connections = self.lock();
        let key = (Arc::from(address), stripe);
        let refused = match connections.get(&key) {
            Some(connection) => match connection.send(command) {
                Ok(()) => return,
                Err(refused) => refused.0,
            },
            None => command,
        };
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        let _ = sender.send(refused); // its receiver is right here
        let nth = connections.len();
        self.threads.spawn(nth, connect_and_run(key.0.clone(), self.config.clone(), self.received.clone(), receiver));
        connections.insert(key, sender);
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
    channels: Vec<OpenChannel>,
    partitions: Vec<ResultPartitionId>,
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
            while let Ok(Command::Open(gate)) = commands.try_recv() {
                session.open(gate);
            }
            session.fail(&failure);
        }
    }
}

async fn connect(peer: &str, config: &Config) -> Result<TcpStream, Failure> {
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
