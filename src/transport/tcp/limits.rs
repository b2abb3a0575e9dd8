//! What a peer can make this side hold, and how long it can make it wait.

use std::time::{Duration, Instant};

use crate::wire::Limits;

/// What a server holds against peers that are hostile, broken or slow. Each limit closes the connection of whoever goes
/// over it, or refuses the one request, and leaves the others alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerLimits {
    /// Connections at a time; one over it is closed as it comes. 1,024 unless set.
    pub connections: u32,
    /// Channels that one connection has open or waits for. 16,384 unless set, and no more than a million (2²⁰) however
    /// it is set; each takes 4 bytes whether used or not.
    pub requests: u32,
    /// Bytes of a task event. 64 KiB unless set.
    pub task_event: u32,
    /// How long a new connection may take to its first partition request, TLS included. 10 s unless set.
    pub first_request: Duration,
    /// How long a message may take from its first byte to its last. 10 s unless set.
    pub message: Duration,
    /// How long a peer may take nothing of what is written to it. 60 s unless set. Back pressure is no reason for it:
    /// what is written has credit, so the peer has said that it has room.
    pub stalled_write: Duration,
    /// How long a request waits for a partition that is not there. 10 s unless set, as Flink's; zero refuses it at
    /// once, where all are served before anyone is told of them.
    pub partition_wait: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            connections: 1024,
            requests: 16 * 1024,
            task_event: 64 * 1024,
            first_request: Duration::from_secs(10),
            message: Duration::from_secs(10),
            stalled_write: Duration::from_secs(60),
            partition_wait: Duration::from_secs(10),
        }
    }
}

/// 4 MiB for each connection.
const MOST_REQUESTS: u32 = 1 << 20;

impl ServerLimits {
    /// Those that a server keeps to.
    pub(super) fn kept(self) -> Self {
        Self { requests: self.requests.min(MOST_REQUESTS), ..self }
    }

    /// Those of the codec.
    pub(super) fn wire(&self) -> Limits {
        Limits { event: self.task_event, ..Limits::default() }
    }
}

/// `wait` after `since`; what the clock can not say, as for [`Duration::MAX`], is 30 years after it.
pub(super) fn after(since: Instant, wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    since.checked_add(wait).unwrap_or_else(|| since + FAR)
}
