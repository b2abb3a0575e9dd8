//! A shuffle whose two halves are on two hosts: `serve` is the producers, `fetch` the consumers, a ticket what one has
//! to know of the other.

pub(crate) mod args;
pub(crate) mod fetch;
pub(crate) mod framing;
pub(crate) mod loopback;
pub(crate) mod serve;
pub(crate) mod ticket;
