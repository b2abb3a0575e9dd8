//! What reaches a connection from the side.
#![allow(clippy::disallowed_types, reason = "the name of a peer is immutable")]

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::mpsc::UnboundedReceiver;

use super::{error::Failure, session::OpenGate};
use crate::{channel::Said, transport::tcp::drain::close_and_drain};

#[derive(Debug)]
pub(crate) enum Command {
    /// Open its channels.
    Open(Box<OpenGate>),
    /// A gate says something to the writer of one of its channels.
    Said(u64, u32, Said),
    /// A gate is gone.
    Gone(u64),
    /// The client is gone: end.
    End,
}

/// The connection's end. A gate that is in it when it goes, with a task that never ran perhaps, is failed: nobody waits
/// for what can not come.
#[derive(Debug)]
pub(crate) struct Commands {
    peer: Arc<str>,
    receiver: UnboundedReceiver<Command>,
}

impl Commands {
    /// Of the connection to `peer`.
    pub(crate) fn new(peer: Arc<str>, receiver: UnboundedReceiver<Command>) -> Self {
        Self { peer, receiver }
    }

    /// The next one; `None` once nobody can send any more.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Command>> {
        self.receiver.poll_recv(context)
    }

    /// Takes no more, and fails the gates that were to be opened.
    pub(super) fn fail(&mut self, failure: &Failure) {
        close_and_drain(&mut self.receiver, |command| {
            if let Command::Open(gate) = command {
                gate.fail(self.peer.clone(), failure);
            }
        });
    }
}

impl Drop for Commands {
    fn drop(&mut self) {
        self.fail(&Failure::ShutDown);
    }
}
