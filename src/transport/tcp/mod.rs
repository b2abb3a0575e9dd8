//! Partitions and gates across hosts, over TCP, by Flink's own protocol.
#![allow(
    clippy::disallowed_types,
    reason = "the threads of tokio are not loom's; what is shared with tasks is `channel`"
)]

mod client;
mod drain;
mod events;
mod gathering;
mod limits;
mod link;
mod options;
pub(crate) mod oracle;
mod outbox;
mod server;
mod threads;
mod tls;
mod traffic;

#[cfg(test)]
mod greedy;
#[cfg(test)]
mod tests;

pub use client::{ChannelError, Client, ClientBuilder, Failure, GateOptions, OpenError, RemotePartition};
pub use limits::ServerLimits;
pub use options::TcpOptions;
pub use server::{AlreadyServed, ConnectionError, ServedPartition, Server, ServerBuilder, StartError};
pub use tls::{TlsConfig, TlsError};
pub use traffic::Traffic;
