//! The producer's side: partitions that other hosts read.
//!
//! ```text
//!  writer's thread                      network thread (one of a few, each with a runtime of its own)
//!  RecordWriter ─▶ Sender ═ queue ═▶ Receiver ─▶ Readers ─▶ Outbox ═ writev ═▶ socket
//!                       └─ announce ─▶ Signal ──▶ (the connection's task, woken once)
//! ```
//!
//! A connection's task owns all it needs; what it shares with a writer is the channel between them, as in one process.

mod changed;
pub(super) mod connection;
mod driven;
mod error;
pub(super) mod registry;
pub(super) mod session;

use std::{
    fmt,
    net::{SocketAddr, TcpListener, ToSocketAddrs},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{net::TcpStream, runtime::Handle, task::AbortHandle};
use tokio_rustls::TlsAcceptor;

pub use error::{ConnectionError, StartError};
pub use registry::AlreadyServed;

use self::{
    changed::Changed,
    connection::Connection,
    driven::run,
    registry::{Delivery, PartitionState, Registry, Waiter},
    session::Session,
};
use super::{
    limits::ServerLimits,
    link::Socket,
    options::TcpOptions,
    threads::Threads,
    tls::TlsConfig,
    traffic::{Counter, Traffic},
};
use crate::{channel::channel_for_later, partition::ResultPartition, pool::LocalBufferPool, wire::ResultPartitionId};

/// Hears of each connection that ended, with its peer and why.
type Observer = Arc<dyn Fn(SocketAddr, Result<(), &ConnectionError>) + Send + Sync>;

/// Serves partitions to consumers on other hosts, forebay's or Flink's.
///
/// Network threads of its own do the work, and nothing here needs an async runtime; or it runs on [one of
/// yours](ServerBuilder::runtime). Dropping it closes all connections at once, and tells whoever writes what nobody has
/// asked for that nobody will; [`shutdown`](Self::shutdown) lets them end first.
///
/// # Examples
/// ```
/// use forebay::{
///     gate::RecordReader,
///     partition::{Forward, RecordWriter},
///     pool::NetworkBufferPool,
///     transport::tcp::{Client, GateOptions, RemotePartition, Server},
///     wire::ResultPartitionId,
/// };
/// let pool = NetworkBufferPool::builder().segments(32).build()?;
/// let id = ResultPartitionId::from_bytes([7; 60]);
///
/// let server = Server::builder().start("127.0.0.1:0")?;
/// let producer = pool.local_pool("producer").required(1).maximum(8).build()?;
/// let (partition, served) = server.serve(id, producer, 1)?;
/// let writing = std::thread::spawn(move || {
///     let mut writer = RecordWriter::new(partition, Forward);
///     writer.emit("across hosts").unwrap();
///     writer.close();
/// });
///
/// let client = Client::builder().start()?;
/// let remote = RemotePartition::new(server.local_addr().to_string(), id, 0);
/// let mut reader = RecordReader::new(client.gate(&pool, &GateOptions::default(), &[remote])?, 1024);
/// assert_eq!(reader.next()?.unwrap().bytes(), b"across hosts");
/// assert!(reader.next()?.is_none());
/// writing.join().unwrap();
/// assert!(served.wait_released(std::time::Duration::from_secs(10)), "its consumer is done");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `NettyServer`, `PartitionRequestServerHandler` and `PartitionRequestQueue`.
pub struct Server {
    local_addr: SocketAddr,
    registry: Arc<Registry>,
    shared: Arc<Shared>,
    accepting: AbortHandle,
    /// Dropped last: on threads of its own its tasks end with it.
    _threads: Threads,
}

/// What the connections of a server share. None of it is touched for a buffer.
struct Shared {
    options: TcpOptions,
    tls: Option<TlsAcceptor>,
    limits: ServerLimits,
    observer: Option<Observer>,
    connections: Mutex<Connections>,
    /// There is one connection less.
    ended: Changed,
    next: AtomicU64,
    refused: AtomicU64,
    sent: Arc<Counter>,
}

#[derive(Default)]
struct Connections {
    open: Vec<Open>,
    /// No more are taken.
    closing: bool,
    /// Those that are open end as they are.
    dropped: bool,
}

struct Open {
    waiter: Waiter,
    /// Its task, once that is there.
    task: Option<AbortHandle>,
}

/// Settings of a [`Server`].
#[must_use = "call `start`"]
pub struct ServerBuilder {
    options: TcpOptions,
    tls: Option<TlsConfig>,
    limits: ServerLimits,
    threads: usize,
    runtime: Option<Handle>,
    observer: Option<Observer>,
}

impl ServerBuilder {
    /// What is asked of the system for each connection.
    pub fn options(mut self, options: TcpOptions) -> Self {
        self.options = options;
        self
    }

    /// Speaks TLS, and with peers alone that have a certificate which this side trusts.
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// What it holds against hostile, broken and slow peers.
    pub fn limits(mut self, limits: ServerLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Network threads, among which connections are dealt out; at least 1, which is what it is unless set.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Runs on a runtime of the caller's, which must have I/O and timers, instead of threads of its own.
    ///
    /// Where writers and readers are tasks on that runtime too, and it has one thread, a record that is flushed is on
    /// its way without another thread: a round trip takes less. What such tasks do in between, the network waits for: a
    /// task that blocks (with `emit` in place of `emit_async`, or `next` in place of `poll_next`) waits for ever for
    /// what only its own thread could bring. A runtime with several threads is as good, and wakes among them.
    ///
    /// The runtime goes on when the server is dropped, which does not wait: the tasks end when it gets to them. If it
    /// is the runtime that goes first, all connections end with it: writers find their readers gone, readers get a
    /// [`ChannelError`](super::ChannelError) with [`Failure::ShutDown`](super::Failure::ShutDown), segments are home,
    /// and a partition that is served later has no reader from the start.
    ///
    /// # Examples
    /// ```
    /// use std::future::poll_fn;
    /// use forebay::{
    ///     gate::RecordReader,
    ///     partition::{Forward, RecordWriter},
    ///     pool::NetworkBufferPool,
    ///     transport::tcp::{Client, GateOptions, RemotePartition, Server},
    ///     wire::ResultPartitionId,
    /// };
    /// use tokio::runtime::Handle;
    ///
    /// let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    /// runtime.block_on(async {
    ///     let pool = NetworkBufferPool::builder().segments(32).build()?;
    ///     let id = ResultPartitionId::from_bytes([7; 60]);
    ///     let server = Server::builder().runtime(Handle::current()).start("127.0.0.1:0")?;
    ///     let producer = pool.local_pool("producer").required(1).maximum(8).build()?;
    ///     let (partition, served) = server.serve(id, producer, 1)?;
    ///     let writing = tokio::spawn(async move {
    ///         let mut writer = RecordWriter::new(partition, Forward);
    ///         writer.emit_async("across hosts").await?;
    ///         poll_fn(|context| writer.poll_close(context)).await
    ///     });
    ///
    ///     let client = Client::builder().runtime(Handle::current()).start()?;
    ///     let remote = RemotePartition::new(server.local_addr().to_string(), id, 0);
    ///     let mut reader = RecordReader::new(client.gate(&pool, &GateOptions::default(), &[remote])?, 1024);
    ///     let length = poll_fn(|context| {
    ///         reader.poll_next(context).map(|found| found.map(|record| record.map(|record| record.bytes().len())))
    ///     });
    ///     assert_eq!(length.await?, Some("across hosts".len()));
    ///     writing.await??;
    ///     drop(reader);
    ///     served.wait_released_async().await;
    ///     server.shutdown_async().await;
    ///     Ok::<(), Box<dyn std::error::Error>>(())
    /// })
    /// # .map_err(|error| error.to_string())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Calls `observer` for each connection that ended, on a network thread: for logs, which want the error's sources
    /// too. It must not block.
    pub fn observer(
        mut self,
        observer: impl Fn(SocketAddr, Result<(), &ConnectionError>) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Listens on `address`, port 0 for any, and starts the threads, if it is to have any. Blocking, on the system.
    ///
    /// # Errors
    /// [`StartError`]: the address can not be listened on, the system refuses threads, certificates can not be used, or the
    /// [runtime](Self::runtime) has shut down.
    ///
    /// # Panics
    /// If the [runtime](Self::runtime) has no I/O, or no timers.
    pub fn start(self, address: impl ToSocketAddrs + fmt::Display) -> Result<Server, StartError> {
        let tls = self.tls.map(|tls| tls.server()).transpose()?.map(TlsAcceptor::from);
        let listen = |source| StartError::Listen { address: address.to_string(), source };
        let listener = TcpListener::bind(&address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let local_addr = listener.local_addr().map_err(listen)?;
        let threads = Threads::start("forebay-server", self.threads, self.runtime).map_err(StartError::Thread)?;
        let handles = threads.handles();
        let listener = {
            let _inside = handles[0].enter();
            tokio::net::TcpListener::from_std(listener).map_err(listen)?
        };
        let registry = Arc::new(Registry::default());
        let shared = Arc::new(Shared {
            options: self.options,
            tls,
            limits: self.limits.kept(),
            observer: self.observer,
            connections: Mutex::default(),
            ended: Changed::default(),
            next: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            sent: Arc::default(),
        });
        let accepting = accept(listener, handles, registry.clone(), shared.clone());
        let accepting = threads.spawn(0, accepting);
        Ok(Server { local_addr, registry, shared, accepting, _threads: threads })
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder")
            .field("options", &self.options)
            .field("limits", &self.limits)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// The settings to start from.
    pub fn builder() -> ServerBuilder {
        ServerBuilder {
            options: TcpOptions::default(),
            tls: None,
            limits: ServerLimits::default(),
            threads: 1,
            runtime: None,
            observer: None,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Makes a partition and serves it under `id`; consumers that have asked for it already get it now. Write to the
    /// one, and keep the other to hear what consumers say; dropping that makes no difference to them.
    ///
    /// `pool` needs as many required segments as there are subpartitions. Control plane: takes the registry's lock.
    ///
    /// # Errors
    /// [`AlreadyServed`]: choose another id, or [remove](ServedPartition::remove) the earlier one.
    pub fn serve(
        &self,
        id: ResultPartitionId,
        pool: LocalBufferPool,
        subpartitions: usize,
    ) -> Result<(ResultPartition, ServedPartition), AlreadyServed> {
        let (senders, receivers) = (0..subpartitions).map(|_| channel_for_later()).unzip();
        let partition = ResultPartition::new(pool, senders);
        let state = self.registry.register(id, receivers)?;
        Ok((partition, ServedPartition { state, registry: self.registry.clone() }))
    }

    /// Connections that are open. Takes a lock that is held for a moment.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().open.len()
    }

    /// Connections that were refused, or ended before their peer was done.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed) // a number by itself
    }

    /// What its connections have sent so far. May grow at any moment. Wait-free.
    #[must_use]
    pub fn sent(&self) -> Traffic {
        self.shared.sent.snapshot()
    }

    /// Takes no new connections, waits until those that are open have sent all their channels have and their peers have
    /// taken it, and closes them: a peer that is told the end closes its side too, and has
    /// [`stalled_write`](ServerLimits::stalled_write) for that. `false` if `timeout` came first: what is open then is
    /// closed as it is. Blocking, on producers and consumers; so not for a thread of the
    /// [runtime](ServerBuilder::runtime) that it runs on.
    #[must_use]
    pub fn shutdown(self, timeout: Duration) -> bool {
        self.close_in_order();
        let deadline = Instant::now().checked_add(timeout);
        self.shared.ended.wait(&self.shared.connections, deadline, |connections| connections.open.is_empty())
    }

    /// The same for a task: waits, on producers and consumers, as long as it takes. Dropping the future before closes
    /// what is open then as it is, so give it to your runtime's timeout.
    pub async fn shutdown_async(self) {
        self.close_in_order();
        self.shared.ended.wait_async(&self.shared.connections, |connections| connections.open.is_empty()).await;
    }

    fn close_in_order(&self) {
        let mut connections = self.shared.lock();
        connections.closing = true; // for one that is being taken at this moment
        for open in &connections.open {
            let _ = open.waiter.deliveries.send(Delivery::Shutdown); // gone already is as good
        }
        drop(connections);
        self.accepting.abort();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        let mut connections = self.shared.lock();
        connections.closing = true;
        connections.dropped = true;
        let tasks: Vec<_> = connections.open.iter_mut().filter_map(|open| open.task.take()).collect();
        drop(connections); // what ends takes itself off the list
        tasks.iter().for_each(AbortHandle::abort);
        self.registry.close();
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("local_addr", &self.local_addr).finish_non_exhaustive()
    }
}

/// A partition that is served, from its producer's side: what its consumers say. From [`Server::serve`].
#[derive(Clone)]
pub struct ServedPartition {
    state: Arc<PartitionState>,
    registry: Arc<Registry>,
}

impl ServedPartition {
    /// The id it is served under.
    #[must_use]
    pub fn id(&self) -> ResultPartitionId {
        self.state.id()
    }

    /// Waits until the consumer of every subpartition is done with it, or gone; `false` if `timeout` came first.
    /// Blocking, on the consumers.
    #[must_use]
    pub fn wait_released(&self, timeout: Duration) -> bool {
        self.state.wait_released(Instant::now().checked_add(timeout))
    }

    /// Waits until every consumer has said that it has handled all records, or is gone; `false` if `timeout` came
    /// first. They say so once they have got the end of data. Blocking, on the consumers.
    #[must_use]
    pub fn wait_acknowledged(&self, timeout: Duration) -> bool {
        self.state.wait_acknowledged(Instant::now().checked_add(timeout))
    }

    /// Waits, as a task, until the consumer of every subpartition is done with it, or gone.
    pub async fn wait_released_async(&self) {
        self.state.wait_released_async().await;
    }

    /// Waits, as a task, until every consumer has said that it has handled all records, or is gone.
    pub async fn wait_acknowledged_async(&self) {
        self.state.wait_acknowledged_async().await;
    }

    /// How many subpartitions have lost their consumer before it had all of them: by an error, by its leaving, or with
    /// its connection. Nobody can ask for those again, so whoever wants all of the partition begins anew. Takes a lock
    /// that is held for a moment.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.state.are_lost()
    }

    /// The next task event that a consumer has sent, and the subpartition it reads; in Flink's form. Takes a lock that
    /// is held for a moment.
    #[must_use]
    pub fn take_task_event(&self) -> Option<(u32, Vec<u8>)> {
        self.state.take_event()
    }

    /// Serves it no more under its id: what nobody has asked for yet is dropped, and counts as released; its writer is
    /// told so. What consumers have is theirs still, and another partition of that id may be served. Control plane:
    /// takes the registry's lock.
    pub fn remove(self) {
        self.registry.remove(&self.state);
    }
}

impl fmt::Debug for ServedPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedPartition").field("id", &self.state.id()).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a new connection is spoken over.
    async fn link(&self, stream: std::net::TcpStream) -> Result<Socket, ConnectionError> {
        let stream = TcpStream::from_std(stream).map_err(ConnectionError::Read)?;
        self.options.apply(&stream).map_err(ConnectionError::Read)?;
        let Some(tls) = &self.tls else { return Ok(Socket::Plain(stream)) };
        let limit = self.limits.first_request;
        match tokio::time::timeout(limit, tls.accept(stream)).await {
            Ok(accepted) => Ok(Socket::Tls(Box::new(accepted.map_err(ConnectionError::Tls)?.into()))),
            Err(_) => Err(ConnectionError::NoRequest { limit }),
        }
    }

    fn report(&self, peer: SocketAddr, end: Result<(), &ConnectionError>) {
        if end.is_err() {
            self.refused.fetch_add(1, Ordering::Relaxed); // a number by itself
        }
        if let Some(observer) = &self.observer {
            observer(peer, end);
        }
    }
}

/// Takes connections until it is aborted, or the runtime ends.
async fn accept(listener: tokio::net::TcpListener, handles: Vec<Handle>, registry: Arc<Registry>, shared: Arc<Shared>) {
    let listening = Listening { registry, shared };
    let Listening { registry, shared } = &listening;
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // Out of descriptors, or a connection that ended in the queue: others may still be there.
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (deliveries, delivered) = tokio::sync::mpsc::unbounded_channel();
        let connection = shared.next.fetch_add(1, Ordering::Relaxed); // written here alone
        let waiter = Waiter { connection, deliveries };
        let limit = shared.limits.connections;
        let taken = {
            let mut connections = shared.lock();
            if connections.closing {
                return;
            }
            let room = connections.open.len() < limit as usize;
            connections.open.extend(room.then(|| Open { waiter: waiter.clone(), task: None }));
            room
        };
        if !taken {
            shared.report(peer, Err(&ConnectionError::TooManyConnections { limit }));
            continue; // and so closed
        }
        let guard = Arc::new(Registered { shared: shared.clone(), connection });
        let session = Session::new(registry.clone(), waiter, shared.limits);
        let handle = &handles[connection as usize % handles.len()];
        let Ok(stream) = stream.into_std() else { continue };
        let task = handle.spawn(async move {
            let started = Instant::now();
            let shared = &guard.shared;
            let end = match shared.link(stream).await {
                Ok(link) => {
                    let sent = shared.sent.clone();
                    let connection = Connection::new(link, session, delivered, shared.limits, sent, started);
                    run(connection, shared.options, guard.clone()).await
                }
                Err(error) => Err(error),
            };
            shared.report(peer, end.as_ref().copied());
        });
        let mut connections = shared.lock();
        let task = task.abort_handle();
        if let Some(open) = connections.open.iter_mut().find(|open| open.waiter.connection == connection) {
            open.task = Some(task.clone());
        }
        let dropped = connections.dropped;
        drop(connections); // what ends takes itself off the list
        if dropped {
            task.abort();
        }
    }
}

/// Dropped, connections are taken no more: it was aborted, or its runtime has ended.
struct Listening {
    registry: Arc<Registry>,
    shared: Arc<Shared>,
}

impl Drop for Listening {
    fn drop(&mut self) {
        // In a shutdown those that are open may still ask for something; the server is dropped behind it.
        if !self.shared.lock().closing {
            self.registry.close();
        }
    }
}

/// A connection's place in the list of them: its task's, and of who else has the connection.
struct Registered {
    shared: Arc<Shared>,
    connection: u64,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.lock().open.retain(|open| open.waiter.connection != self.connection);
        self.shared.ended.tell();
    }
}
