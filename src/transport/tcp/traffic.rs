//! How much has crossed, and at what cost.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the connections of a [`Server`](super::Server) or a [`Client`](super::Client) have sent or received so far.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Traffic {
    /// Buffers of data.
    pub buffers: u64,
    /// Bytes of data in them.
    pub bytes: u64,
    /// Of those, the bytes that were copied in user space, between a segment and the socket or TLS. A sender without
    /// TLS copies none; a receiver those of small buffers, which it reads many at a time.
    pub copied: u64,
    /// Reads from the system, or writes to it, that moved something.
    pub calls: u64,
}

/// Where connections add theirs up.
#[derive(Debug, Default)]
pub(super) struct Counter {
    buffers: AtomicU64,
    bytes: AtomicU64,
    copied: AtomicU64,
    calls: AtomicU64,
}

impl Counter {
    /// Adds what has come to `last` since, and keeps it there. Wait-free.
    pub(super) fn add(&self, last: &mut Traffic, now: Traffic) {
        if *last == now {
            return;
        }
        // Relaxed, all: other connections add too; numbers by themselves.
        self.buffers.fetch_add(now.buffers - last.buffers, Ordering::Relaxed);
        self.bytes.fetch_add(now.bytes - last.bytes, Ordering::Relaxed);
        self.copied.fetch_add(now.copied - last.copied, Ordering::Relaxed);
        self.calls.fetch_add(now.calls - last.calls, Ordering::Relaxed);
        *last = now;
    }

    pub(super) fn snapshot(&self) -> Traffic {
        // Relaxed, all: connections add at any moment.
        Traffic {
            buffers: self.buffers.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            copied: self.copied.load(Ordering::Relaxed),
            calls: self.calls.load(Ordering::Relaxed),
        }
    }
}
