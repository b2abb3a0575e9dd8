//! What the tests have in common.

use std::{
    error::Error,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::Duration,
};

use forebay::{
    gate::{GateError, InputGate, ReadError, RecordReader},
    partition::{Forward, RecordWriter, WriteError},
    pool::NetworkBufferPool,
    transport::tcp::{
        ChannelError, Client, ConnectionError, GateOptions, RemotePartition, ServedPartition, Server, ServerBuilder,
        ServerLimits,
    },
    wire::ResultPartitionId,
};

/// Longer than anything takes; where a wait comes to its end, a test has failed.
pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn id(number: u8) -> ResultPartitionId {
    ResultPartitionId::from_bytes([number; 60])
}

/// `size` bytes, at least 8, that say which record they are.
pub(crate) fn record(number: u64, size: usize) -> Vec<u8> {
    number.to_be_bytes().into_iter().cycle().take(size.max(8)).collect()
}

pub(crate) fn pool(segments: u32) -> NetworkBufferPool {
    NetworkBufferPool::builder().segments(segments).build().unwrap()
}

/// Limits that no test but one about them meets.
pub(crate) fn limits() -> ServerLimits {
    ServerLimits::default()
}

/// A server, and what its connections ended with.
pub(crate) struct Observed {
    pub(crate) server: Server,
    ends: Arc<Mutex<Vec<String>>>,
}

impl Observed {
    pub(crate) fn start(builder: ServerBuilder) -> Self {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let told = ends.clone();
        let observer = move |_, end: Result<(), &ConnectionError>| {
            told.lock().unwrap().push(end.map_or_else(|error| with_sources(error), |()| "in order".to_owned()));
        };
        Self { server: builder.observer(observer).start("127.0.0.1:0").unwrap(), ends }
    }

    /// Waits until `count` connections have ended, and says how.
    pub(crate) fn ends(&self, count: usize) -> Vec<String> {
        wait_until(|| {
            let ends = self.ends.lock().unwrap();
            (ends.len() >= count).then(|| ends.clone())
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.local_addr()
    }
}

/// Looks until there is something; what is waited for has no signal of its own.
pub(crate) fn wait_until<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + LONG;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "it never came");
        thread::yield_now();
    }
}

/// Serves partition `number` with one subpartition, to which a thread writes `records` records of `size` bytes.
pub(crate) fn serve(
    server: &Server,
    pool: &NetworkBufferPool,
    number: u8,
    records: u64,
    size: usize,
) -> (ServedPartition, JoinHandle<Result<(), WriteError>>) {
    let producer = pool.local_pool("producer").required(2).maximum(8).build().unwrap();
    let (partition, served) = server.serve(id(number), producer, 1).unwrap();
    let writing = thread::spawn(move || {
        let mut writer = RecordWriter::new(partition, Forward);
        for number in 0..records {
            writer.emit(&record(number, size)[..])?;
        }
        writer.close();
        Ok(())
    });
    (served, writing)
}

pub(crate) fn remote(server: &Server, number: u8, subpartition: u32) -> RemotePartition {
    RemotePartition::new(server.local_addr().to_string(), id(number), subpartition)
}

pub(crate) fn gate(client: &Client, pool: &NetworkBufferPool, partitions: &[RemotePartition]) -> InputGate {
    client.gate(pool, &GateOptions::default(), partitions).unwrap()
}

/// Reads all of one channel: how many records there were, each as [`record`] makes it.
pub(crate) fn read_all(gate: InputGate, size: usize) -> Result<u64, Arc<ChannelError>> {
    let mut reader = RecordReader::new(gate, 8 << 20);
    let mut count = 0;
    loop {
        match reader.next() {
            Ok(Some(found)) => assert_eq!(found.bytes(), record(count, size)),
            Ok(None) => return Ok(count),
            Err(error) => return Err(channel_error(error)),
        }
        count += 1;
    }
}

/// The error and its sources on one line.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {}", with_sources(source)))
}

/// The error of a remote channel in what a reader said.
pub(crate) fn channel_error(error: ReadError) -> Arc<ChannelError> {
    let ReadError::Gate(GateError::ProducerFailed { cause, .. }) = error else { panic!("{error}") };
    Arc::new(cause.downcast_ref::<ChannelError>().unwrap_or_else(|| panic!("{cause}")).clone())
}

/// A peer that is no library at all.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        Self(stream)
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Waits until something comes: so what was asked for is under way.
    pub(crate) fn wait_for_first(&mut self) {
        assert_eq!(self.0.peek(&mut [0]).unwrap(), 1, "the other side closed");
    }

    /// All that comes until the other side closes.
    pub(crate) fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = self.0.read_to_end(&mut bytes); // a reset is an end too
        bytes
    }
}
