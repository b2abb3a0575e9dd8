//! One bounded pool of segments for a process, and local pools of it for each task.
//!
//! ```text
//!                    NetworkBufferPool: depot (crossbeam ArrayQueue) of free segments, surplus (one counter)
//!                       ▲     │ guaranteed part: taken once, then kept        ▲ borrowed part: back at once
//!        pool is dropped│     ▼                                               │
//!   task ── request ─▶ LocalBufferPool: stash (LIFO, plain memory) ─ lend ─▶ buffers ─ dropped anywhere ─▶ lanes, inbox
//!                         ▲                                                                                │
//!                         └──────────────────────────── collect (a load, a swap) ──────────────────────────┘
//! ```
//!
//! A [`LocalBufferPool`] belongs to the one task that requests. It has a *required* number of segments that nobody else
//! can take (M3), and may borrow from the common surplus up to its *maximum*. Borrowing and giving back are a bounded
//! number of additions to one counter (`quota`); no step is repeated until it succeeds.
//!
//! Its *fair share* is its required part and a proportion of the surplus. A pool may borrow beyond it, but not while
//! another waits that has less than its own. A pool can be [resized](LocalBufferPool::resize) while in use, [let
//! fail](PoolControl), asked for [several segments at once](LocalBufferPool::try_request_many), [for a
//! channel](LocalBufferPool::try_request_for) of which each has a maximum, and [beyond its
//! maximum](LocalBufferPool::try_request_overdraft) by an overdraft. Without a local pool segments come from the
//! [network pool](NetworkBufferPool::try_request), or are [exclusive](NetworkBufferPool::request_exclusive).
//!
//! A request takes, in this order: the segment returned last (still warm in cache) from the stash; what other threads
//! returned; a segment of the required part that was never used; a borrowed one.
//!
//! | operation | progress |
//! |---|---|
//! | [`LocalBufferPool::try_request`], hit in stash, lanes or inbox | wait-free |
//! | the same, from the depot | lock-free, in crossbeam's loose sense: it may wait for a thread that was suspended inside a push |
//! | the same, when another pool was faster with the last surplus segment | as above, and takes the lock of the waiting list if somebody waits |
//! | drop of a buffer on any thread | lock-free, and wait-free where it takes a lane; a borrowed one as from the depot, and takes the lock of the waiting list if somebody waits |
//! | [`LocalBufferPool::recycle`], [`LocalBufferPool::recycle_many`] by the owner, own segment | wait-free |
//! | [`LocalBufferPool::request`] | blocking, on the return of a segment: a few attempts, then parks the thread |
//! | [`LocalBufferPool::poll_request`] | as [`LocalBufferPool::try_request`]; when it finds nothing takes the lock of the waiting list, and makes a system call if the lanes are open |
//! | [`LocalBufferPool::try_request_many`], [`try_request_for`](LocalBufferPool::try_request_for), [`try_request_overdraft`](LocalBufferPool::try_request_overdraft) | as [`LocalBufferPool::try_request`] |
//! | [`NetworkBufferPool::try_request`], [`try_request_many`](NetworkBufferPool::try_request_many) | as a request from the depot |
//! | creating, resizing and dropping pools, exclusive segments, [`NetworkBufferPool::usage`] | blocking, on one mutex of the control plane; dropping, and resizing to less than is lent, also on a thread in the middle of a return |
//!
//! # Source
//! Flink's `NetworkBufferPool` and `LocalBufferPool`; the stash is DPDK's per-lcore mempool cache.
#![forbid(unsafe_code)]

mod batch;
mod builder;
mod channels;
mod control;
mod core;
mod depot;
mod direct;
mod error;
mod failure;
mod late;
mod local;
mod network;
mod network_builder;
mod pressure;
pub(crate) mod quota;
mod registry;
mod resize;
mod share;
mod state;
mod usage;
mod waiters;
mod waiting;

pub use builder::LocalBufferPoolBuilder;
pub use control::PoolControl;
pub use error::{PoolError, RequestError};
pub use failure::Failure;
pub use local::LocalBufferPool;
pub use network::NetworkBufferPool;
pub use network_builder::NetworkBufferPoolBuilder;
pub use usage::{Holder, Overcommitment, Usage};
