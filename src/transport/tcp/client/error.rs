//! Why a channel from another host failed.
#![allow(clippy::disallowed_types, reason = "errors are immutable: loom has nothing to see in their `Arc`s")]

use std::{io, sync::Arc, time::Duration};

use crate::{
    pool::{self, LocalBufferPool, PoolError, RequestError},
    wire::{DecodeError, DecompressError, ResultPartitionId},
};

/// A channel from another host that ended before its time: found as the cause in
/// [`GateError::ProducerFailed`](crate::gate::GateError::ProducerFailed). What came before has been delivered.
/// Its text says where; its sources say what happened, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{} of partition {partition} at {peer} ended before buffer {sequence}", self.subpartitions())]
#[non_exhaustive]
pub struct ChannelError {
    /// The peer, as it was named.
    pub peer: Arc<str>,
    /// The partition.
    pub partition: ResultPartitionId,
    /// Which of its subpartitions; of several, the first.
    pub subpartition: u32,
    /// The last of them; the same, unless several are read as one.
    pub last_subpartition: u32,
    /// The number of the buffer or event that would have been next.
    pub sequence: u32,
    /// What happened.
    #[source]
    pub failure: Failure,
}

impl ChannelError {
    fn subpartitions(&self) -> String {
        let (first, last) = (self.subpartition, self.last_subpartition);
        if first == last { format!("subpartition {first}") } else { format!("subpartitions {first}-{last}") }
    }
}

/// What happened to a channel, or to the connection under it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The peer can not be reached. See whether it runs, and whether a firewall is between.
    #[error("cannot connect, {attempts} attempts")]
    Connect {
        /// How often it was tried.
        attempts: u32,
        /// What the system said last.
        source: Arc<io::Error>,
    },
    /// The handshake of TLS failed: the peer speaks no TLS, or one side does not trust the other's certificate.
    #[error("the handshake of TLS failed")]
    Tls(#[source] Arc<io::Error>),
    /// The peer wants TLS, and this side was not told to speak it.
    #[error("the peer speaks TLS, and this side does not")]
    NeedsTls,
    /// The peer closed the connection, or went away. Its own log says why.
    #[error("the peer closed the connection")]
    Closed,
    /// The connection is lost: the system's error says how.
    #[error("the connection is lost")]
    Lost(#[source] Arc<io::Error>),
    /// What came is not the protocol. See what listens on that port.
    #[error("the peer does not speak the protocol")]
    Decode(#[from] DecodeError),
    /// A buffer is missing, or came twice: the peer is at fault.
    #[error("buffer {found} came")]
    Sequence {
        /// The number that came.
        found: u32,
    },
    /// More was sent than there was credit for: the peer is at fault.
    #[error("data came without credit")]
    NoCredit,
    /// Events wait for a reader that takes none, and another came. Events need no credit: see why the reader stands
    /// still, and what the producer sends.
    #[error("events of {limit} KiB wait for the reader, and another came")]
    TooManyEvents {
        /// How much may wait, in KiB; an event is one at least.
        limit: u16,
    },
    /// Data are larger than a segment. Give both sides segments of one size.
    #[error("{size} bytes of data came, and a segment has {segment}: give both sides segments of one size")]
    TooLarge {
        /// Bytes that came.
        size: usize,
        /// Bytes of a segment.
        segment: usize,
    },
    /// Data came compressed. Tell the gate by which codec, as the peer is configured: it is not on the wire.
    #[error("compressed data came, and the gate was told of no codec")]
    Compressed,
    /// Data could not be decompressed: they are damaged, or of another codec than the gate was told of.
    #[error(transparent)]
    Decompress(DecompressError),
    /// An event makes no sense: the peer is at fault, or of another version than Flink's that is spoken here.
    #[error("an event can not be read")]
    Event(#[source] DecodeError),
    /// The partition did not appear. See whether its producer runs, and whether the id is right.
    #[error("there was no such partition within {waited:?}")]
    NotFound {
        /// How long it was asked for.
        waited: Duration,
    },
    /// The producer, or its host, failed and said why: see there.
    #[error("the peer says: {message} ({class})")]
    Remote {
        /// The exception's class, as Flink names it.
        class: String,
        /// Its text.
        message: String,
    },
    /// The pool of the gate has failed, and it has no segment for what the peer has to send. The pool says why.
    #[error("no segment can be had for what comes")]
    Pool(#[source] pool::Failure),
    /// The client was dropped: keep it as long as its gates are read.
    #[error("this side has shut down")]
    ShutDown,
}

impl Failure {
    /// `error` of a request of `pool` that waited.
    pub(super) fn of_pool(pool: &LocalBufferPool, error: RequestError) -> Self {
        Self::Pool(pool.failure().unwrap_or_else(|| pool::Failure::new(error)))
    }
}

/// Why a gate could not be made. Nothing was requested.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The segments that would be set aside can not be had.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// No exclusive segments and no floating ones: nothing could ever arrive. Set one of them.
    #[error("a gate without exclusive and without floating segments could receive nothing")]
    NoSegments,
    /// A channel of no subpartition: name the lower one first.
    #[error("a channel over the subpartitions {first} to {last}, which are none")]
    EmptyRange {
        /// The first.
        first: u32,
        /// The last, which is below it.
        last: u32,
    },
    /// The codec is not built in: build with the feature `compression`.
    #[error(transparent)]
    Codec(#[from] DecompressError),
    /// There is nothing to read: name a partition.
    #[error("a gate needs at least one channel")]
    NoChannels,
}
