//! One connection: the session, and the link it goes over.

use std::{
    io::{self, IoSliceMut},
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use tokio::sync::mpsc::UnboundedReceiver;

use super::{error::ConnectionError, registry::Delivery, session::Session};
use crate::transport::{
    readers::NO_ANSWER,
    tcp::{
        drain::close_and_drain,
        limits::{ServerLimits, after},
        link::Link,
        traffic::{Counter, Traffic},
    },
};

/// Requests are small: many of them fit.
const STAGE: usize = 8 * 1024;
/// Reads, in one turn, of what a peer says that was told the end.
const LAST_READS: usize = 16;

/// See the [module](self). Polled by its task, or by a test.
#[derive(Debug)]
pub(crate) struct Connection<L> {
    link: L,
    pub(crate) session: Session,
    stage: Box<[u8]>,
    deliveries: UnboundedReceiver<Delivery>,
    limits: ServerLimits,
    /// Since when there has been no request.
    started: Instant,
    /// Since when there has been a part of a message, and no more.
    partial: Option<Instant>,
    /// Since when something has waited to be written, and nothing was.
    stalled: Option<Instant>,
    /// End with this at once: what a flush came to.
    broken: Option<ConnectionError>,
    /// Write what there is, then end with this.
    last: Option<Result<(), ConnectionError>>,
    /// Send all there is, then end.
    shutdown: bool,
    /// Since when the peer, which was told the end, has had time to take all.
    closing: Option<Instant>,
    written_to_link: bool,
    /// When it was driven last.
    turned: Instant,
    counter: Arc<Counter>,
    counted: Traffic,
}

impl<L: Link> Connection<L> {
    pub(crate) fn new(
        link: L,
        session: Session,
        deliveries: UnboundedReceiver<Delivery>,
        limits: ServerLimits,
        counter: Arc<Counter>,
        started: Instant,
    ) -> Self {
        Self {
            link,
            session,
            stage: vec![0; STAGE].into_boxed_slice(),
            deliveries,
            limits,
            started,
            partial: None,
            stalled: None,
            broken: None,
            last: None,
            shutdown: false,
            closing: None,
            written_to_link: false,
            turned: started,
            counter,
            counted: Traffic::default(),
        }
    }

    /// Reads and writes as much as goes. Ready when the connection has ended.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Result<(), ConnectionError>> {
        let end = self.poll_inner(context, now);
        self.counter.add(&mut self.counted, self.session.traffic);
        end
    }

    fn poll_inner(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Result<(), ConnectionError>> {
        self.turned = now;
        if self.closing.is_some() {
            return self.poll_taken(context);
        }
        self.session.turn(now);
        if let Some(error) = self.broken.take() {
            return Poll::Ready(Err(error));
        }
        loop {
            self.take_deliveries(context);
            let read = self.poll_read(context, now)?;
            if self.session.is_closed() {
                return Poll::Ready(Ok(()));
            }
            if self.last.is_none() {
                self.session.fill();
            }
            let written = self.poll_write(context, now)?;
            if self.session.out.is_empty() {
                ready!(self.poll_flush(context))?;
                if self.last.is_none() && self.shutdown && self.session.has_sent_all() {
                    self.last = Some(Ok(()));
                }
                if self.last.is_some() {
                    let _ = ready!(self.link.poll_close(context)); // it is over either way
                    if self.shutdown && matches!(self.last, Some(Ok(()))) {
                        self.closing = Some(now);
                        return self.poll_taken(context);
                    }
                    return Poll::Ready(self.last.take().unwrap_or(Ok(())));
                }
                // Nothing to write, so an announcement is what there may be next (M4).
                if read.is_pending() && self.session.park(context.waker()) {
                    return Poll::Pending;
                }
            } else if written.is_pending() && (read.is_pending() || self.session.out.owes_enough()) {
                return Poll::Pending;
            }
        }
    }

    /// Reads, and drops, what still comes until the peer has closed its side too, and so has taken all: a socket that
    /// is closed while something is unread, or before something comes, takes back what is on its way.
    fn poll_taken(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        for _ in 0..LAST_READS {
            match ready!(self.link.poll_read(context, &mut [IoSliceMut::new(&mut self.stage)])) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(Ok(())),
            }
        }
        context.waker().wake_by_ref(); // the others have their turn
        Poll::Pending
    }

    /// Sends what a channel's writer has just flushed, in one write. `false` if there is more to do, for which to
    /// [poll](Self::poll); which an error is left to, too.
    ///
    /// Takes up nothing that the peer or the registry says. What waits to be looked at has left a waker, or the last
    /// poll would not have slept.
    pub(crate) fn flush(&mut self, context: &mut Context<'_>, now: Instant) -> bool {
        let soon = now.saturating_duration_since(self.turned) < NO_ANSWER;
        let ends = self.broken.is_some() || self.last.is_some() || self.shutdown;
        if soon || ends || !self.session.out.is_empty() {
            return false;
        }
        self.turned = now;
        self.session.turn(now);
        self.session.fill();
        let sent = self.send_once(context, now);
        self.counter.add(&mut self.counted, self.session.traffic);
        match sent {
            Poll::Ready(Ok(())) => !self.session.is_gathering() && self.session.park(context.waker()),
            Poll::Ready(Err(error)) => {
                self.fail(error);
                false
            }
            Poll::Pending => false,
        }
    }

    /// Has the next poll end the connection.
    pub(crate) fn fail(&mut self, error: ConnectionError) {
        self.broken.get_or_insert(error);
    }

    fn take_deliveries(&mut self, context: &mut Context<'_>) {
        while let Poll::Ready(Some(delivery)) = self.deliveries.poll_recv(context) {
            self.shutdown |= self.session.take_delivery(delivery);
        }
    }

    fn poll_read(&mut self, context: &mut Context<'_>, now: Instant) -> Result<Poll<()>, ConnectionError> {
        if self.last.is_some() {
            return Ok(Poll::Pending); // only to write what is left
        }
        if self.session.out.owes_enough() {
            return Ok(Poll::Ready(())); // no waker is left: it is to be looked at again once some of it is written
        }
        let read = match self.link.poll_read(context, &mut [IoSliceMut::new(&mut self.stage)]) {
            Poll::Pending => return Ok(Poll::Pending),
            Poll::Ready(read) => read.map_err(ConnectionError::Read)?,
        };
        if read == 0 {
            if self.session.channels() == 0 && self.session.is_between_messages() {
                self.last = Some(Ok(()));
                return Ok(Poll::Pending);
            }
            return Err(ConnectionError::ClosedByPeer { channels: self.session.channels() });
        }
        let messages = self.session.messages();
        if let Err(error) = self.session.receive(&self.stage[..read], now) {
            self.last = Some(Err(ConnectionError::Decode(error)));
        }
        // One that was begun before, or began behind others that came with it.
        let since = self.partial.filter(|_| self.session.messages() == messages);
        self.partial = (!self.session.is_between_messages()).then(|| since.unwrap_or(now));
        Ok(Poll::Ready(()))
    }

    fn poll_write(&mut self, context: &mut Context<'_>, now: Instant) -> Result<Poll<()>, ConnectionError> {
        while !self.session.out.is_empty() {
            if self.write_once(context, now)?.is_pending() {
                return Ok(Poll::Pending);
            }
            if self.last.is_none() {
                self.session.fill();
            }
        }
        Ok(Poll::Ready(()))
    }

    /// One write of what there is, if anything is.
    fn write_once(&mut self, context: &mut Context<'_>, now: Instant) -> Result<Poll<()>, ConnectionError> {
        if self.session.out.is_empty() {
            return Ok(Poll::Ready(()));
        }
        let link = &mut self.link;
        match self.session.out.with_parts(|parts| link.poll_write(context, parts)) {
            Poll::Pending => {
                self.stalled.get_or_insert(now);
                return Ok(Poll::Pending);
            }
            Poll::Ready(Ok(0)) => return Err(ConnectionError::Write(io::ErrorKind::WriteZero.into())),
            Poll::Ready(written) => {
                let written = written.map_err(ConnectionError::Write)?;
                self.session.out.advance(written);
                if self.link.copies() {
                    self.session.traffic.copied += written as u64;
                }
            }
        }
        self.session.traffic.calls += 1;
        self.stalled = None;
        self.written_to_link = true;
        Ok(Poll::Ready(()))
    }

    /// All there is, if that goes in one write.
    fn send_once(&mut self, context: &mut Context<'_>, now: Instant) -> Poll<Result<(), ConnectionError>> {
        ready!(self.write_once(context, now)?);
        if self.session.out.is_empty() { self.poll_flush(context) } else { Poll::Pending }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if self.written_to_link {
            ready!(self.link.poll_flush(context)).map_err(ConnectionError::Write)?;
            self.written_to_link = false;
        }
        Poll::Ready(Ok(()))
    }

    /// When [`expire`](Self::expire) is to be called next.
    pub(crate) fn deadline(&mut self) -> Option<Instant> {
        if let Some(since) = self.closing {
            return Some(after(since, self.limits.stalled_write));
        }
        let first = (!self.session.has_requested()).then(|| after(self.started, self.limits.first_request));
        let message = self.partial.map(|since| after(since, self.limits.message));
        let write = self.stalled.map(|since| after(since, self.limits.stalled_write));
        [first, message, write, self.session.deadline()].into_iter().flatten().min()
    }

    /// Does what is due.
    ///
    /// # Errors
    /// The peer has overdrawn its time.
    pub(crate) fn expire(&mut self, now: Instant) -> Result<(), ConnectionError> {
        let limits = &self.limits;
        let over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
        if let Some(since) = self.closing {
            let limit = limits.stalled_write;
            return if over(since, limit) { Err(ConnectionError::StalledWrite { limit }) } else { Ok(()) };
        }
        self.session.expire(now);
        if !self.session.has_requested() && over(self.started, limits.first_request) {
            return Err(ConnectionError::NoRequest { limit: limits.first_request });
        }
        if self.partial.is_some_and(|since| over(since, limits.message)) {
            return Err(ConnectionError::SlowMessage { limit: limits.message });
        }
        if self.stalled.is_some_and(|since| over(since, limits.stalled_write)) {
            return Err(ConnectionError::StalledWrite { limit: limits.stalled_write });
        }
        Ok(())
    }
}

impl<L> Drop for Connection<L> {
    /// What was delivered and not taken has lost its consumer.
    fn drop(&mut self) {
        close_and_drain(&mut self.deliveries, |delivery| {
            if let Delivery::Partition(request, _receiver, partition) = delivery {
                partition.lost(request.subpartitions.first);
            }
        });
    }
}
