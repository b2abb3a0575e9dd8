//! One connection: the session, and the link it goes over.

use std::{
    io::{self, IoSlice},
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use super::{commands::Commands, error::Failure, session::Session};
use crate::transport::tcp::{
    link::Link,
    traffic::{Counter, Traffic},
};

/// How long a peer is waited for to take what it is told last.
const LINGER: Duration = Duration::from_secs(1);

/// See the [module](self). Polled by its task, or by a test.
#[derive(Debug)]
pub(crate) struct Connection<L> {
    link: L,
    pub(crate) session: Session,
    commands: Commands,
    /// Since when the client is gone, or nobody can send commands any more.
    abandoned: Option<Instant>,
    /// Something was written since the link was flushed.
    unflushed: bool,
    counter: Arc<Counter>,
    counted: Traffic,
}

impl<L: Link> Connection<L> {
    pub(crate) fn new(link: L, session: Session, commands: Commands, counter: Arc<Counter>) -> Self {
        let counted = Traffic::default();
        Self { link, session, commands, abandoned: None, unflushed: false, counter, counted }
    }

    /// Reads and writes as much as goes. Ready when the connection has ended: in order, or by a failure, which the
    /// channels have then been told of.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Result<(), Failure>> {
        let end = self.poll_inner(context, now);
        self.counter.add(&mut self.counted, self.session.inlet.traffic);
        let end = ready!(end);
        if let Err(failure) = &end {
            self.fail(failure);
        }
        Poll::Ready(end)
    }

    fn fail(&mut self, failure: &Failure) {
        self.session.fail(failure);
        self.commands.fail(failure);
    }

    /// Writes the credit that was put off until there is nothing else to do.
    ///
    /// # Errors
    /// [`Failure`], which the channels have been told of: the connection has ended.
    pub(crate) fn tell_when_idle(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        self.session.tell_when_idle();
        self.poll_write(context).inspect_err(|failure| self.fail(failure))
    }

    fn poll_inner(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Result<(), Failure>> {
        self.session.tick(now);
        loop {
            self.take_commands(context, now);
            if self.abandoned.is_some() && self.session.out().is_empty() {
                let _ = ready!(self.link.poll_flush(context));
                let _ = ready!(self.link.poll_close(context)); // it is over either way
                return Poll::Ready(Ok(()));
            }
            let read = self.poll_read(context, now)?;
            self.session.grant(context);
            self.poll_write(context)?;
            if read.is_pending() && !(self.abandoned.is_some() && self.session.out().is_empty()) {
                return Poll::Pending;
            }
        }
    }

    fn take_commands(&mut self, context: &mut Context<'_>, now: Instant) {
        if self.abandoned.is_none() && self.session.poll_commands(&mut self.commands, context).is_ready() {
            self.abandoned = Some(now);
            self.session.close();
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>, now: Instant) -> Result<Poll<()>, Failure> {
        let link = &mut self.link;
        match self.session.inlet.with_parts(|parts| link.poll_read(context, parts)) {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(error)) => Err(lost(error)),
            Poll::Ready(Ok(0)) if self.session.inlet.looks_like_tls() => Err(Failure::NeedsTls),
            Poll::Ready(Ok(0)) => Err(Failure::Closed),
            Poll::Ready(Ok(bytes)) => {
                if self.link.copies() {
                    self.session.inlet.traffic.copied += bytes as u64;
                }
                self.session.arrived(bytes, now).map(Poll::Ready)
            }
        }
    }

    fn poll_write(&mut self, context: &mut Context<'_>) -> Result<(), Failure> {
        while !self.session.out().is_empty() {
            match self.link.poll_write(context, &[IoSlice::new(self.session.out())]) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Ok(0)) => return Err(lost(io::ErrorKind::WriteZero.into())),
                Poll::Ready(written) => self.session.advance(written.map_err(lost)?),
            }
            self.unflushed = true;
        }
        if self.unflushed
            && let Poll::Ready(flushed) = self.link.poll_flush(context)
        {
            flushed.map_err(lost)?;
            self.unflushed = false;
        }
        Ok(())
    }
}

impl<L> Connection<L> {
    /// When [`expire`](Self::expire) is to be called next.
    fn deadline(&self) -> Option<Instant> {
        self.abandoned.map_or(self.session.deadline(), |since| Some(since + LINGER))
    }

    /// Does what is due; `true` if that is to end.
    fn expire(&mut self, now: Instant) -> bool {
        self.session.expire(now);
        self.abandoned.is_some_and(|since| now.saturating_duration_since(since) >= LINGER)
    }
}

/// An alert of TLS says what is the matter; any other error, that the connection is lost.
fn lost(error: io::Error) -> Failure {
    let is_tls = error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>);
    let error = Arc::new(error);
    if is_tls { Failure::Tls(error) } else { Failure::Lost(error) }
}

/// Polls `connection` until it has ended, and minds the time.
pub(crate) async fn run<L: Link>(connection: &mut Connection<L>) -> Result<(), Failure> {
    let mut sleep = pin!(tokio::time::sleep_until(Instant::now().into()));
    let mut idle = pin!(tokio::task::yield_now());
    let mut waits_for_idle = false;
    std::future::poll_fn(|context| {
        loop {
            if let Poll::Ready(end) = connection.poll(context, Instant::now()) {
                return Poll::Ready(end);
            }
            if connection.session.tells_when_idle() {
                if !std::mem::replace(&mut waits_for_idle, true) {
                    idle.set(tokio::task::yield_now()); // behind what runs on this thread, and what has come for it
                }
                if idle.as_mut().poll(context).is_ready() {
                    waits_for_idle = false;
                    if let Err(failure) = connection.tell_when_idle(context) {
                        return Poll::Ready(Err(failure));
                    }
                }
            } else {
                waits_for_idle = false;
            }
            let Some(deadline) = connection.deadline() else { return Poll::Pending };
            sleep.as_mut().reset(deadline.into());
            ready!(sleep.as_mut().poll(context));
            if connection.expire(Instant::now()) {
                return Poll::Ready(Ok(())); // the channels were told when it was abandoned
            }
        }
    })
    .await
}
