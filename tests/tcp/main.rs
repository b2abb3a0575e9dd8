//! Two sides over real sockets, by the public interface.
#![cfg(feature = "net")]

mod exchange;
mod hostile;
mod many;
mod range;
mod runtime;
mod support;
mod tls;
