//! Bounded, back-pressured buffer memory for data planes, and the record exchange on top of it: Apache Flink's network
//! stack, re-thought in Rust.
//!
//! ```text
//!  records ─▶ RecordWriter ─▶ segments of one pool ─▶ channels ─▶ InputGate ─▶ RecordReader ─▶ records
//!             selector        by reference count                  many to one   borrowed from the segment
//! ```
//!
//! Two ways to use it:
//!
//! * as an **allocator** of fixed-size segments from one mapping: [`pool`] lends a [`buffer::BufferMut`], which becomes
//!   a counted, read-only [`buffer::Buffer`] and goes home when its last handle is dropped, on whatever thread;
//! * as an **exchange** of records between tasks: [`partition::RecordWriter`] on one side, [`gate::RecordReader`] on
//!   the other, [`transport`] between them. When readers are behind, writers wait; memory does not grow.
//!
//! # Quick start
//!
//! ```
//! use forebay::{gate::RecordReader, partition::{RecordWriter, RoundRobin}, pool::NetworkBufferPool, transport};
//!
//! let pool = NetworkBufferPool::builder().segments(64).build()?; // 2 MiB, mapped once
//! let producer = pool.local_pool("producer").required(4).build()?; // 4 segments that nobody else can take
//! let (mut partitions, gates) = transport::in_process(vec![producer], 2); // one writing task, two reading ones
//!
//! let read = |gate| {
//!     let mut reader = RecordReader::new(gate, 1024); // no record over 1 KiB
//!     let mut sum = 0;
//!     while let Some(record) = reader.next().unwrap() {
//!         sum += record.deserialize::<u64>().unwrap();
//!     }
//!     sum
//! };
//! let readers: Vec<_> = gates.into_iter().map(|gate| std::thread::spawn(move || read(gate))).collect();
//!
//! let mut writer = RecordWriter::new(partitions.remove(0), RoundRobin::default());
//! (1..=1000_u64).try_for_each(|number| writer.emit(&number))?; // waits for a segment when the readers are behind
//! writer.close();
//! let sums: Vec<u64> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
//! assert_eq!(sums, [250_000, 250_500]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Floors
//!
//! Each module uses only those below it. Names are Flink's: who knows one knows the other. `docs/ARCHITECTURE.md` in
//! the repository argues each protocol.
//!
//! | floor | module | holds |
//! |---|---|---|
//! | 6 | [`transport`] | what joins the two sides: in one process, or over TCP and TLS (feature `net`) |
//! | 5 | [`wire`] | Flink's messages and events as bytes, and back |
//! | 4 | [`gate`] | the receiving side: [`InputGate`](gate::InputGate), [`RecordReader`](gate::RecordReader) |
//! | 4 | [`partition`] | the sending side: [`RecordWriter`](partition::RecordWriter), selectors, flushing |
//! | 4 | [`Event`], [`CheckpointBarrier`], [`Cause`] | what travels between records: ends, barriers, failures, your own |
//! | 3 | [`record`] | values and stream elements as bytes, and records out of a sequence of buffers |
//! | 2 | [`pool`] | [`NetworkBufferPool`](pool::NetworkBufferPool), [`LocalBufferPool`](pool::LocalBufferPool), quotas |
//! | 2 | [`credit`] | how many buffers a sender may send, in counters that only grow |
//! | 1 | [`buffer`] | who may touch which byte of a segment, and when |
//! | 0 | [`memory`] | [`MemorySegment`](memory::MemorySegment), and the arena all segments are part of |
//!
//! # Progress, errors, panics
//!
//! Every operation of the data path says whether it is wait-free, lock-free or blocking, and on what; `try_x` never
//! waits for a segment or a record, `x` may, `poll_x` leaves a [`Waker`](std::task::Waker). What says nothing of it
//! works on what its caller holds, or reads a number, and waits for nobody. No async runtime is needed.
//! There is one error type an operation, and each variant says what to do about it. What panics says so under *Panics*.
//!
//! # Features
//!
//! None is on by default. `net` adds `transport::tcp`; `cli` the program `forebay`, and `net`; `serde` adds
//! `record::Serde`, which makes records of any type that serde serializes. `compression` lets [`wire`] read what Flink
//! has compressed. `leaks` remembers which line of the source took each segment, for debugging, and costs nothing when
//! it is off.

pub mod buffer;
mod channel;
pub mod credit;
#[doc(hidden)]
pub mod fuzzing;
pub mod gate;
mod lockfree;
pub mod memory;
#[cfg(forebay_loom)]
#[doc(hidden)]
pub mod models;
pub mod partition;
pub mod pool;
pub mod record;
mod sync;
#[cfg(forebay_stall)]
#[doc(hidden)]
pub use sync::stepped as stall;
pub mod transport;
pub mod wire;

pub use channel::{AlignmentType, Cause, CheckpointBarrier, Event, SavepointFormat, SnapshotType, StopMode};
pub use lockfree::wait::WaitStrategy;

/// The README's Rust blocks, as doctests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
