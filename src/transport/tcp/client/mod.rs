//! The consumer's side: gates over partitions on other hosts.
//!
//! ```text
//!            network thread (one of a few, each with a runtime of its own)            reader's thread
//!  socket ═ readv ═▶ Inlet ─▶ the segment that was set aside ─▶ Sender ═ queue ═▶ InputGate ─▶ RecordReader
//!     ▲                                                            └─ announce ─▶ Signal ──▶ (woken once)
//!     └── requests, credit ◀── Segments ◀── a segment comes home ◀── dropped ◀──────────────────┘
//! ```

pub(super) mod arrivals;
pub(super) mod commands;
pub(super) mod connection;
pub(super) mod credit;
mod error;
pub(super) mod gate;
pub(super) mod granting;
mod inlet;
pub(super) mod session;
mod unpack;

use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    hash::{BuildHasher, RandomState},
    io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    task::Poll,
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, runtime::Handle, sync::mpsc::UnboundedSender};

pub use error::{ChannelError, Failure, OpenError};
pub use gate::{GateOptions, RemotePartition};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio_rustls::TlsConnector;

use self::{
    commands::{Command, Commands},
    connection::{Connection, run},
    session::Session,
};
use super::{
    link::Socket,
    options::TcpOptions,
    server::StartError,
    threads::Threads,
    tls::TlsConfig,
    traffic::{Counter, Traffic},
};
use crate::{gate::InputGate, pool::NetworkBufferPool};

/// Reads partitions from other hosts, forebay's or Flink's.
///
/// Has one connection for each peer, which all gates share (or a few, see [`ClientBuilder::stripes`]), and network
/// threads of its own; nothing here needs an async runtime. A connection is made when the first gate needs it and kept
/// until the client is dropped, which ends all its channels.
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
    runtime: Option<Handle>,
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

    /// How often it is tried to connect, at least once, with `backoff` behind the first failure and twice as long
    /// behind each further one. 5 times from 100 ms unless set.
    pub fn attempts(mut self, attempts: u32, backoff: Duration) -> Self {
        self.config.attempts = attempts.max(1);
        self.config.backoff = backoff;
        self
    }

    /// How long a partition that the peer does not have is asked for again. 10 s unless set; zero asks once.
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

    /// Runs on a runtime of the caller's instead of threads of its own; see [`ServerBuilder::runtime`], which says what
    /// comes of that.
    ///
    /// [`ServerBuilder::runtime`]: super::ServerBuilder::runtime
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Starts the threads, if it is to have any. Connects to nobody yet. Blocking, on the system.
    ///
    /// # Errors
    /// [`StartError`]: the system refuses threads, or certificates can not be used.
    ///
    /// # Panics
    /// If the [runtime](Self::runtime) has no timers.
    pub fn start(mut self) -> Result<Client, StartError> {
        self.config.tls = self.tls.map(|tls| tls.client()).transpose()?;
        let threads = Threads::start("forebay-client", self.threads, self.runtime).map_err(StartError::Thread)?;
        Ok(Client {
            config: Arc::new(self.config),
            connections: Mutex::default(),
            received: Arc::default(),
            next_gate: AtomicU64::new(0),
            threads,
        })
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
        ClientBuilder { config, tls: None, threads: 1, runtime: None }
    }

    /// A gate over `partitions`, each a channel in this order. What arrives is in segments of `pool`, for each peer
    /// from a local pool of its own.
    ///
    /// Does not wait for peers: a channel that can not be had fails later, with a [`ChannelError`] as the cause.
    /// Control plane: takes the lock of the list of connections.
    ///
    /// # Errors
    /// [`OpenError`]: the segments can not be promised, or could never suffice. Nothing was requested.
    pub fn gate(
        &self,
        pool: &NetworkBufferPool,
        options: &GateOptions,
        partitions: &[RemotePartition],
    ) -> Result<InputGate, OpenError> {
        gate::open(pool, options, partitions, self.config.stripes, &self.next_gate, |peer| self.connection(peer))
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
        connections.retain(|_, connection| !connection.is_closed()); // of peers that were never asked again
        let nth = connections.len();
        let commands = Commands::new(key.0.clone(), receiver);
        self.threads.spawn(nth, connect_and_run(key.0.clone(), self.config.clone(), self.received.clone(), commands));
        connections.insert(key, sender.clone());
        sender
    }

    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for (_, connection) in self.lock().drain() {
            let _ = connection.send(Command::End); // it says so to its peer, if it gets to that before its thread ends
        }
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("config", &self.config).finish_non_exhaustive()
    }
}

/// The life of a connection, which is made once a gate asks for something.
async fn connect_and_run(peer: Arc<str>, config: Arc<Config>, received: Arc<Counter>, mut commands: Commands) {
    let nonce = RandomState::new().hash_one(&peer).to_be_bytes();
    let mut session = Session::new(peer.clone(), nonce, config.partition_wait, Instant::now());
    let connected = {
        let mut connecting = pin!(connect(&peer, &config));
        poll_fn(|context| {
            if session.poll_commands(&mut commands, context).is_ready() {
                return Poll::Ready(Err(Failure::ShutDown));
            }
            if !session.has_gates() {
                return Poll::Pending; // a peer waits only so long for the first request, and a large gate takes its time
            }
            connecting.as_mut().poll(context)
        })
        .await
    };
    match connected {
        Ok(link) => {
            let mut connection = Connection::new(link, session, commands, received);
            let _ = run(&mut connection).await; // the channels have been told
        }
        Err(failure) => {
            session.fail(&failure);
            commands.fail(&failure);
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;
    use crate::wire::ResultPartitionId;

    #[test]
    fn a_connection_is_made_once_a_gate_asks_for_something() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let client = Client::builder().runtime(runtime.handle().clone()).start().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let goes_on = || {
            runtime.block_on(async {
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
            });
        };
        let _early = client.connection((&address, 0)); // as a gate does, before it is whole
        goes_on();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let pool = NetworkBufferPool::builder().segments(16).build().unwrap();
        let remote = RemotePartition::new(address, ResultPartitionId::from_bytes([1; 60]), 0);
        let _gate = client.gate(&pool, &GateOptions::default(), &[remote]).unwrap();
        goes_on();
        assert!(listener.accept().is_ok(), "on the loopback interface it is made in one call");
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "and one will do");
    }
}
