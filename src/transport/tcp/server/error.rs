//! Why a request is refused, or a server does not start.

use std::{any::Any, io, time::Duration};

use crate::{
    channel::Cause,
    transport::tcp::tls::TlsError,
    wire::{DecodeError, EncodeError, InputChannelId},
};

/// What the peer is told.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this is no message of a consumer of Flink {version}: {0}", version = crate::wire::FLINK_VERSION)]
    Decode(DecodeError),
    #[error("{message} for receiver {receiver}, which is not open")]
    UnknownReceiver { receiver: InputChannelId, message: &'static str },
    #[error("ResumeConsumption for receiver {receiver}, which should be blocked by checkpoint, and is not")]
    NotBlocked { receiver: InputChannelId },
    #[error("more than {limit} requests are open on this connection")]
    TooManyRequests { limit: u32 },
    #[error("receiver {receiver} is in use on this connection")]
    ReceiverTaken { receiver: InputChannelId },
    #[error("several subpartitions in one request: this partition is pipelined, ask for each by itself")]
    SeveralSubpartitions,
    #[error("subpartition {index} of {subpartitions}")]
    NoSuchSubpartition { index: u32, subpartitions: usize },
    #[error("subpartition {index} is being consumed already")]
    SubpartitionTaken { index: u32 },
    #[error("task events of {limit} KiB wait for the producer, and another came")]
    TooManyEvents { limit: usize },
    #[error("an event has no form on the wire: {0}")]
    Encode(EncodeError),
    #[error("the producer failed: {}", with_sources(.0))]
    ProducerFailed(Cause),
}

/// `cause` and what is behind it, on one line: the peer gets a text, and no more.
fn with_sources(cause: &Cause) -> String {
    let mut text = cause.to_string();
    let mut next = cause.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// Why a connection ended before its peer was done. The other connections go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The peer closed the connection, or went away, with channels open. Their producers have been told.
    #[error("the peer closed the connection with {channels} channels open")]
    ClosedByPeer {
        /// How many.
        channels: usize,
    },
    /// The system could not read from the peer: it is gone.
    #[error("cannot read from the peer")]
    Read(#[source] io::Error),
    /// The system could not write to the peer: it is gone.
    #[error("cannot write to the peer")]
    Write(#[source] io::Error),
    /// What came is not the protocol. See what connects to this port.
    #[error("the peer does not speak the protocol")]
    Decode(#[from] DecodeError),
    /// The handshake of TLS failed: the peer does not speak it, or has no certificate that this side trusts.
    #[error("the handshake of TLS failed")]
    Tls(#[source] io::Error),
    /// The peer asked for nothing: see who it is, or raise
    /// [`first_request`](crate::transport::tcp::ServerLimits::first_request).
    #[error("no partition request within {limit:?}")]
    NoRequest {
        /// The limit it is over.
        limit: Duration,
    },
    /// The peer began a message and did not end it: see what is between, or raise
    /// [`message`](crate::transport::tcp::ServerLimits::message).
    #[error("a message was not complete within {limit:?}")]
    SlowMessage {
        /// The limit it is over.
        limit: Duration,
    },
    /// The peer took nothing of what was written to it, or did not close its side when it was told the end: it hangs,
    /// or is gone. Its producers have been told.
    #[error("the peer took nothing for {limit:?}, although it had granted credit or was told the end")]
    StalledWrite {
        /// The limit it is over.
        limit: Duration,
    },
    /// There were too many connections already: see whose they are, or raise
    /// [`connections`](crate::transport::tcp::ServerLimits::connections).
    #[error("more than {limit} connections")]
    TooManyConnections {
        /// The limit it is over.
        limit: u32,
    },
    /// Something that this side runs for the connection panicked: the waker of a task that got a segment back, say, or
    /// this library. Its channels have been told that their reader is gone. The hook for panics has said where it was.
    #[error("a panic ended the connection: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
}

impl ConnectionError {
    /// From what was caught.
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        Self::Panicked { message: text.unwrap_or("it said nothing").to_owned() }
    }
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The address can not be listened on: take another, or see who has it.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: String,
        /// What the system says.
        source: io::Error,
    },
    /// Certificates or keys can not be used.
    #[error("TLS can not be set up")]
    Tls(#[from] TlsError),
    /// The system refuses a thread, or what a runtime takes: end some programs, or raise the limits.
    #[error("cannot start a network thread")]
    Thread(#[source] io::Error),
}
