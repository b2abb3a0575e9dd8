//! Records over TCP on the loopback interface, beside what bare programs reach:
//! `cargo bench --features net --bench network`, or `make bench FILTER=network`. An argument keeps only the tables
//! whose title contains it; behind `latency`, one more keeps one of its rows, `bare`, `each`, `tasks` or `threads`, as
//! to count what it asks of the system.
//!
//! * *throughput*: against two threads with blocking sockets that send nothing but frames of a 47-byte header and 32
//!   KiB, eight in one vectored write, and read each body with the next header in one vectored read.
//! * *latency*: one flushed record of 64 B there and one back, against a bare ping-pong of 64 B on tokio, whose sides
//!   are a task and a thread each: with writer and reader on threads, and network threads beside them; and with them as
//!   tasks, on the runtime that the network is on.
//! * *stalled*: 999 channels while another one of their connection stands still with all its credit used and more data
//!   waiting, against the same while that one is idle.
//! * *TLS*: against bare rustls streams that send the same frames.
//! * *beside Flink*: records a second by turns with Flink's own stack, where `FOREBAY_FLINK_TCP` is a command that runs
//!   it (see `benches/ratios.rs`), and with the bare sockets, were their frames full of such records.
//! * *trickle*: what the network threads take for a record when each is flushed, at 200,000 a second, and what writing
//!   and reading it takes beside them; the writer's wait for the time of its next record is not counted.
#![allow(missing_docs, unreachable_pub, clippy::cast_precision_loss, clippy::cast_possible_truncation)]

#[allow(dead_code, reason = "other benches use the rest")]
#[path = "support/mod.rs"]
mod support;

use std::{
    future::poll_fn,
    io::{IoSlice, IoSliceMut, Read, Write},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use forebay::{
    gate::RecordReader,
    partition::{Forward, RecordWriter, ResultPartition, RoundRobin},
    pool::NetworkBufferPool,
    transport::tcp::{Client, ClientBuilder, GateOptions, RemotePartition, Server, ServerBuilder, TlsConfig},
    wire::ResultPartitionId,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use support::{Contestant, SEGMENT, compare, timed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const ROUNDS: usize = 9;
const HEADER: usize = 47;
const BATCH: usize = 8;

fn main() {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let wanted =
        |title: &str| filter.as_ref().is_none_or(|filter| title.contains(filter.as_str()) || filter == "network");
    println!("forebay {}, {} cores", env!("CARGO_PKG_VERSION"), thread::available_parallelism().map_or(0, usize::from));
    for (payload, bytes) in [(SEGMENT - 4, 256 << 20), (1 << 20, 256 << 20), (1024, 128 << 20), (64, 128 << 20)] {
        let title = format!("throughput: {payload} B records over one channel, per 32 KiB");
        if wanted(&title) {
            throughput(&title, payload, bytes, 1, None);
        }
    }
    if wanted("throughput: 64 B records over 256 channels, per 32 KiB") {
        throughput("throughput: 64 B records over 256 channels, per 32 KiB", 64, 128 << 20, 256, None);
    }
    if wanted("stalled: 1 KiB records over 999 channels of a connection, per 32 KiB") {
        stalled("stalled: 1 KiB records over 999 channels of a connection, per 32 KiB");
    }
    if wanted("TLS: 32764 B records, per 32 KiB") {
        throughput("TLS: 32764 B records, per 32 KiB", SEGMENT - 4, 128 << 20, 1, Some(&Certificates::new()));
    }
    if wanted("latency") {
        latency(std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).nth(1).as_deref());
    }
    if wanted("trickle") {
        trickle();
    }
    if wanted("over TCP beside Flink") {
        let rows = [(64, 1), (1024, 1), (SEGMENT - 8, 1), (1 << 20, 1), (64, 256)];
        let records = |payload: usize| (2_000_000_000 / (payload + 36)).min(10_000_000);
        let ours = |payload, channels| {
            let records = records(payload);
            records as f64 / Pair::new(channels as u32, None).run(records, payload).as_secs_f64()
        };
        let limit = |payload, _| {
            let frames = records(payload) * (payload + 4) / SEGMENT;
            records(payload) as f64 / bare(frames).as_secs_f64()
        };
        support::flink::beside("over TCP beside Flink", "FOREBAY_FLINK_TCP", &rows, ours, limit);
    }
}

/// An authority, and a node that it has signed.
struct Certificates {
    authority: String,
    certificate: String,
    key: String,
}

impl Certificates {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        let key = KeyPair::generate().expect("a key");
        let node = CertificateParams::new(vec!["127.0.0.1".into()]).expect("a name");
        let certificate = node.signed_by(&key, &authority).expect("signed");
        Self { authority: authority.pem(), certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn config(&self) -> TlsConfig {
        let (certificate, key) = (self.certificate.as_bytes(), self.key.as_bytes());
        TlsConfig::from_pem(certificate, key, self.authority.as_bytes()).expect("made above")
    }
}

fn throughput(title: &str, payload: usize, bytes: usize, channels: u32, tls: Option<&Certificates>) {
    let records = bytes / payload;
    let frames = bytes / SEGMENT;
    let mut pair = Pair::new(channels, tls);
    let limit = match tls {
        None => Contestant::new("the limit: bare sockets, two threads", || bare(frames)),
        Some(tls) => Contestant::new("bare rustls streams, two threads", || bare_tls(tls, frames)),
    };
    let ours = Contestant::new("forebay", || pair.run(records, payload));
    compare(title, frames as u64, ROUNDS, vec![limit, ours]);
}

fn stalled(title: &str) {
    const CHANNELS: u32 = 999;
    let records = (128 << 20) / 1020;
    let (mut free, mut beside) = (Pair::new(CHANNELS, None), Pair::new(CHANNELS, None));
    let (_idle, _idle_reader) = free.open_channels(1, 32);
    let (partition, mut stuck) = beside.open_channels(1, 32);
    let writing = thread::spawn(move || {
        let mut writer = RecordWriter::new(partition, Forward);
        while writer.emit(&[1_u8; 1020][..]).is_ok() {} // until the reader is gone
    });
    assert!(stuck.next().expect("a writer").is_some()); // its segment is held, and no other is asked for
    let none = Contestant::new("the other one idle", || free.run(records, 1020));
    let one = Contestant::new("the other one stalled", || beside.run(records, 1020));
    compare(title, (records * 1024 / SEGMENT) as u64, ROUNDS, vec![none, one]);
    drop(stuck);
    writing.join().expect("no panic");
}

fn connected() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let out = TcpStream::connect(listener.local_addr().expect("bound")).expect("connected");
    let (back, _) = listener.accept().expect("accepted");
    for stream in [&out, &back] {
        stream.set_nodelay(true).expect("an option");
    }
    (out, back)
}

fn bare(frames: usize) -> Duration {
    let (mut out, mut back) = connected();
    timed(|| {
        thread::scope(|scope| {
            scope.spawn(move || {
                let bodies: Vec<Vec<u8>> = (0..16).map(|n| vec![n; SEGMENT]).collect();
                let header = [1; HEADER];
                for batch in 0..frames / BATCH {
                    let mut parts = [IoSlice::new(&[]); 2 * BATCH];
                    for n in 0..BATCH {
                        parts[2 * n] = IoSlice::new(&header);
                        parts[2 * n + 1] = IoSlice::new(&bodies[(batch * BATCH + n) % bodies.len()]);
                    }
                    let mut parts = &mut parts[..];
                    while !parts.is_empty() {
                        let n = out.write_vectored(parts).expect("a reader");
                        IoSlice::advance_slices(&mut parts, n);
                    }
                }
            });
            scope.spawn(move || {
                let mut bodies: Vec<Vec<u8>> = (0..16).map(|_| vec![0; SEGMENT]).collect();
                let mut header = [0; HEADER];
                back.read_exact(&mut header).expect("a writer");
                let frames = frames / BATCH * BATCH;
                for frame in 0..frames {
                    let len = bodies.len();
                    let body = &mut bodies[frame % len];
                    let next = if frame + 1 < frames { HEADER } else { 0 };
                    let (mut at, mut next_at) = (0, 0);
                    while at < SEGMENT || next_at < next {
                        let parts = [IoSliceMut::new(&mut body[at..]), IoSliceMut::new(&mut header[next_at..next])];
                        let n = back.read_vectored(&mut { parts }).expect("a writer");
                        let body_part = n.min(SEGMENT - at);
                        at += body_part;
                        next_at += n - body_part;
                    }
                    std::hint::black_box(body[0]);
                }
            });
        });
    })
}

fn bare_tls(certificates: &Certificates, frames: usize) -> Duration {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    let (mut out, mut back) = connected();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificates.authority.as_bytes()).expect("PEM")).expect("a root");
    let chain = vec![CertificateDer::from_pem_slice(certificates.certificate.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(certificates.key.as_bytes()).expect("PEM");
    let server = rustls::ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .expect("a certificate");
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "127.0.0.1".try_into().expect("a name");
    let mut server = rustls::ServerConnection::new(Arc::new(server)).expect("a connection");
    let mut client = rustls::ClientConnection::new(Arc::new(client), name).expect("a connection");
    timed(|| {
        thread::scope(|scope| {
            scope.spawn(move || {
                let frame = vec![1; HEADER + SEGMENT];
                let mut stream = rustls::Stream::new(&mut server, &mut out);
                (0..frames).for_each(|_| stream.write_all(&frame).expect("a reader"));
                stream.flush().expect("a reader");
            });
            scope.spawn(move || {
                let mut frame = vec![0; HEADER + SEGMENT];
                let mut stream = rustls::Stream::new(&mut client, &mut back);
                for _ in 0..frames {
                    stream.read_exact(&mut frame).expect("a writer");
                    std::hint::black_box(frame[HEADER]);
                }
            });
        });
    })
}

/// A server and a client of it, for one partition after another.
struct Pair {
    pool: NetworkBufferPool,
    server: Server,
    client: Client,
    channels: u32,
    next: u32,
}

impl Pair {
    fn new(channels: u32, tls: Option<&Certificates>) -> Self {
        let (mut server, mut client) = (Server::builder(), Client::builder());
        if let Some(tls) = tls {
            (server, client) = (server.tls(tls.config()), client.tls(tls.config()));
        }
        Self::on(channels, server, client)
    }

    fn on(channels: u32, server: ServerBuilder, client: ClientBuilder) -> Self {
        let pool = NetworkBufferPool::builder().segments(4 * channels + 256).prefault(true).build().expect("memory");
        let server = server.start("127.0.0.1:0").expect("loopback");
        Self { pool, server, client: client.start().expect("a thread"), channels, next: 0 }
    }

    fn open(&mut self) -> (ResultPartition, RecordReader) {
        self.open_channels(self.channels, u32::MAX)
    }

    /// `most` is what the writer may fill: one whose reader stands still would else take what there is.
    fn open_channels(&mut self, channels: u32, most: u32) -> (ResultPartition, RecordReader) {
        self.next += 1;
        let mut id = [7; 60];
        id[16..20].copy_from_slice(&self.next.to_be_bytes());
        let id = ResultPartitionId::from_bytes(id);
        let producer =
            self.pool.local_pool("producer").required(channels.max(32)).maximum(most).build().expect("segments");
        let (partition, _) = self.server.serve(id, producer, channels as usize).expect("a new id");
        let address = self.server.local_addr().to_string();
        let remotes: Vec<_> = (0..channels).map(|n| RemotePartition::new(address.clone(), id, n)).collect();
        let gate = self.client.gate(&self.pool, &GateOptions::default().floating(30), &remotes).expect("segments");
        (partition, RecordReader::new(gate, 2 << 20))
    }

    fn run(&mut self, records: usize, payload: usize) -> Duration {
        let (partition, mut reader) = self.open();
        timed(|| {
            thread::scope(|scope| {
                scope.spawn(move || {
                    let record = vec![1_u8; payload];
                    let mut writer = RecordWriter::new(partition, RoundRobin::default());
                    (0..records).for_each(|_| writer.emit(&record[..]).expect("a reader"));
                    writer.close();
                });
                let mut count = 0;
                while let Some(record) = reader.next().expect("a writer") {
                    std::hint::black_box(record.bytes()[0]);
                    count += 1;
                }
                assert_eq!(count, records);
            });
        })
    }
}

const TRIPS: usize = 10_000;

/// p50, p99 and p99.9 of round trips.
fn percentiles(mut times: Vec<Duration>) -> [Duration; 3] {
    times.sort_unstable();
    [500, 990, 999].map(|per_mille| times[times.len() * per_mille / 1000])
}

fn latency(only: Option<&str>) {
    type PingPong = fn() -> Vec<Duration>;
    let mut contestants: Vec<(&str, PingPong)> = vec![
        ("bare tokio", bare_ping_pong),
        ("the same, a connection each way", bare_ping_pong_both_ways),
        ("forebay, on the tasks' runtimes", ping_pong_of_tasks),
        ("forebay, network threads of its own", ping_pong),
    ];
    contestants.retain(|(name, _)| only.is_none_or(|only| name.contains(only)));
    let mut rounds = vec![Vec::new(); contestants.len()];
    for _ in 0..5 {
        for (rounds, (_, run)) in rounds.iter_mut().zip(&contestants) {
            rounds.push(percentiles(run()));
        }
    }
    println!("\nlatency: round trip of 64 B, each flushed; medians of 5 rounds of {TRIPS}, and times the bare one's");
    let middle = |rounds: &Vec<[Duration; 3]>| {
        [0, 1, 2].map(|nth| {
            let mut values: Vec<_> = rounds.iter().map(|round| round[nth]).collect();
            values.sort_unstable();
            values[values.len() / 2].as_secs_f64() * 1e6
        })
    };
    let middles: Vec<_> = rounds.iter().map(middle).collect();
    for ((name, _), &middle) in contestants.iter().zip(&middles) {
        print!("  {name:<36}");
        for (what, (ours, bare)) in ["p50", "p99", "p99.9"].into_iter().zip(middle.into_iter().zip(middles[0])) {
            print!("{what:>8} {ours:>7.1} µs {:>5.2} x", ours / bare);
        }
        println!();
    }
}

fn bare_ping_pong() -> Vec<Duration> {
    let (out, back) = connected();
    let clone = |stream: &TcpStream| stream.try_clone().expect("a descriptor");
    bare_ping_pong_over([(clone(&out), out), (clone(&back), back)])
}

/// Over a connection for each direction, as what is written here and what is read here are where each side asks for its
/// data.
fn bare_ping_pong_both_ways() -> Vec<Duration> {
    let ((there, from_there), (answer, from_answer)) = (connected(), connected());
    bare_ping_pong_over([(there, from_answer), (answer, from_there)])
}

/// Each side writes to its first stream and reads from its second.
fn bare_ping_pong_over([first, second]: [(TcpStream, TcpStream); 2]) -> Vec<Duration> {
    let run = |(to, from): (TcpStream, TcpStream), first: bool| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
        let task = runtime.spawn(async move {
            let [mut to, mut from] = [to, from].map(|stream| {
                stream.set_nonblocking(true).expect("an option");
                tokio::net::TcpStream::from_std(stream).expect("a socket")
            });
            let mut message = [1; 64];
            let mut times = Vec::with_capacity(TRIPS);
            for _ in 0..TRIPS {
                let start = Instant::now();
                if first {
                    to.write_all(&message).await.expect("a peer");
                }
                from.read_exact(&mut message).await.expect("a peer");
                if !first {
                    to.write_all(&message).await.expect("a peer");
                }
                times.push(start.elapsed());
            }
            times
        });
        runtime.block_on(task).expect("no panic")
    };
    thread::scope(|scope| {
        scope.spawn(move || run(second, false));
        run(first, true)
    })
}

fn ping_pong() -> Vec<Duration> {
    let (mut there, mut back) = (Pair::new(1, None), Pair::new(1, None));
    let ((to, mut from_first), (answer, mut answers)) = (there.open(), back.open());
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut writer = RecordWriter::new(answer, Forward);
            while let Some(record) = from_first.next().expect("a peer") {
                writer.emit(record.bytes()).expect("a peer");
                writer.flush();
            }
            writer.close();
        });
        let mut writer = RecordWriter::new(to, Forward);
        let mut times = Vec::with_capacity(TRIPS);
        for _ in 0..TRIPS {
            let start = Instant::now();
            writer.emit(&[1_u8; 64][..]).expect("a peer");
            writer.flush();
            assert!(answers.next().expect("a peer").is_some());
            times.push(start.elapsed());
        }
        writer.close();
        assert!(answers.next().expect("a peer").is_none());
        times
    })
}

fn ping_pong_of_tasks() -> Vec<Duration> {
    let runtime =
        || tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().expect("a runtime");
    let (first, second) = (runtime(), runtime());
    let pair = |from: &tokio::runtime::Runtime, to: &tokio::runtime::Runtime| {
        let server = Server::builder().runtime(from.handle().clone());
        Pair::on(1, server, Client::builder().runtime(to.handle().clone()))
    };
    let (mut there, mut back) = (pair(&first, &second), pair(&second, &first));
    let ((to, mut from_first), (answer, mut answers)) = (there.open(), back.open());
    let answering = async move {
        let mut writer = RecordWriter::new(answer, Forward);
        while is_there(&mut from_first).await {
            writer.emit_async(&[2_u8; 64][..]).await.expect("a peer");
            writer.flush();
        }
        poll_fn(|context| writer.poll_close(context)).await.expect("a peer");
        back.server.shutdown_async().await;
    };
    let asking = async move {
        let mut writer = RecordWriter::new(to, Forward);
        let mut times = Vec::with_capacity(TRIPS);
        for _ in 0..TRIPS {
            let start = Instant::now();
            writer.emit_async(&[1_u8; 64][..]).await.expect("a peer");
            writer.flush();
            assert!(is_there(&mut answers).await);
            times.push(start.elapsed());
        }
        poll_fn(|context| writer.poll_close(context)).await.expect("a peer");
        assert!(!is_there(&mut answers).await);
        times
    };
    // Spawned: the future of `block_on` itself is polled behind a look at the sockets.
    thread::scope(|scope| {
        scope.spawn(move || second.block_on(second.spawn(answering)).expect("no panic"));
        first.block_on(first.spawn(asking)).expect("no panic")
    })
}

/// Waits for the next record; `false` at the end.
async fn is_there(reader: &mut RecordReader) -> bool {
    poll_fn(|context| reader.poll_next(context).map(|found| found.expect("a peer").is_some())).await
}

/// CPU time so far of the threads of this process whose name begins with `name`.
#[cfg(target_os = "linux")]
fn cpu(name: &str) -> Duration {
    let mut nanos = 0;
    for task in std::fs::read_dir("/proc/self/task").expect("Linux").flatten() {
        let read = |file| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
        if read("comm").starts_with(name) {
            nanos += read("schedstat").split_whitespace().next().and_then(|ran| ran.parse().ok()).unwrap_or(0);
        }
    }
    Duration::from_nanos(nanos)
}

#[cfg(not(target_os = "linux"))]
fn cpu(_: &str) -> Duration {
    Duration::ZERO
}

fn trickle() {
    const A_SECOND: u64 = 200_000;
    const RECORDS: u64 = 3 * A_SECOND;
    let mut pair = Pair::new(1, None);
    let (partition, mut reader) = pair.open();
    let before = cpu("forebay-");
    let start = Instant::now();
    let (writing, reading) = thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let mut writer = RecordWriter::new(partition, Forward);
            let mut writing = Duration::ZERO;
            for number in 0..RECORDS {
                while start.elapsed().as_secs_f64() * (A_SECOND as f64) < number as f64 {
                    thread::yield_now();
                }
                let begun = Instant::now();
                writer.emit(&[1_u8; 64][..]).expect("a reader");
                writer.flush();
                writing += begun.elapsed();
            }
            writer.close();
            writing
        });
        let reader = thread::Builder::new().name("trickle-reader".into()).spawn_scoped(scope, move || {
            while reader.next().expect("a writer").is_some() {}
            cpu("trickle-reader")
        });
        (writer.join().expect("no panic"), reader.expect("a thread").join().expect("no panic"))
    });
    let (took, network, received) = (start.elapsed(), cpu("forebay-").saturating_sub(before), pair.client.received());
    println!("\ntrickle: {RECORDS} records of 64 B, each flushed, {A_SECOND} a second offered");
    println!("  {:.0} a second", RECORDS as f64 / took.as_secs_f64());
    for (what, time) in [
        ("CPU of the network threads", network),
        ("CPU of the reader's thread", reading),
        ("time in the writer's emit and flush", writing),
    ] {
        println!("  {:.2} µs a record: {what}", time.as_secs_f64() * 1e6 / RECORDS as f64);
    }
    println!("  {:.1} records a buffer", RECORDS as f64 / received.buffers.max(1) as f64);
}
