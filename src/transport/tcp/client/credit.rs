//! The segments of one gate on one connection, as credit.
//!
//! ```text
//!  LocalBufferPool ── request ──▶ spare: segments set aside ── a buffer arrives ──▶ read into it ──▶ gate ──┐
//!        ▲                         one for each credit granted                                              │ dropped
//!        └──────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! # Invariants
//! * **X1** There are at least as many segments in `spare` as credits that the channels have been granted and have not
//!   used: so a buffer that arrives for a credit finds a segment, at once (C1).
//! * **V2** A channel stands in `wanting` once, and only while it wants more.
//!
//! Each channel has `exclusive` credits whenever segments allow, and wants one more for each buffer that waits at the
//! sender. Segments are alike; what is taken beyond the exclusive ones is the floating part, shared by who wants it, in
//! turn. A pool that requires the exclusive ones guarantees that each channel goes on as long as the gate is read.
//!
//! # Source
//! Flink's `BufferManager` and `RemoteInputChannel`, where each segment is a channel's or floating. There the floating ones
//! of a gate go to whichever peer's channels ask; here each connection has a part of them, for it may be on a thread of its
//! own, and what it asks for is asked of no other thread.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use super::error::Failure;
use crate::{buffer::BufferMut, pool::LocalBufferPool};

/// Of one channel.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Credit {
    /// Granted and not used; the sender may not have been told of all of it.
    outstanding: u32,
    /// The part that the sender was not told of.
    untold: u32,
    /// Buffers that wait at the sender.
    backlog: u32,
    /// In `wanting`.
    wanting: bool,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Segments {
    pool: LocalBufferPool,
    spare: Vec<BufferMut>,
    /// Credits outstanding, of all channels.
    granted: u32,
    exclusive: u32,
    wanting: VecDeque<u32>,
    /// Channels that are open.
    channels: usize,
}

/// Where the credit of each channel is kept.
pub(crate) trait Credits {
    /// That of `channel`, if it is open.
    fn credit(&mut self, channel: u32) -> Option<&mut Credit>;
}

impl Credit {
    /// Credit that the sender knows of and has not used.
    pub(super) fn told(&self) -> u32 {
        self.outstanding - self.untold
    }

    /// Whether it is time to tell: the sender would soon be without.
    pub(super) fn is_worth_telling(&self) -> bool {
        self.untold > 0 && self.untold >= self.told()
    }

    pub(super) fn has_untold(&self) -> bool {
        self.untold > 0
    }

    /// What to tell now.
    pub(super) fn tell(&mut self) -> u32 {
        std::mem::take(&mut self.untold)
    }

    fn wants_more(&self, exclusive: u32) -> bool {
        self.outstanding < self.backlog.saturating_add(exclusive)
    }
}

impl Segments {
    pub(super) fn new(pool: LocalBufferPool, exclusive: u32, channels: usize) -> Self {
        Self { pool, spare: Vec::new(), granted: 0, exclusive, wanting: VecDeque::new(), channels }
    }

    /// Credits that each channel has at least.
    pub(super) fn exclusive(&self) -> u32 {
        self.exclusive
    }

    /// Sets the exclusive segments of a new channel aside: the credit of its request. Pending leaves the waker; what was
    /// set aside so far stays.
    ///
    /// # Errors
    /// [`Failure::Pool`]: the pool has failed.
    pub(super) fn poll_exclusive(&mut self, context: &mut Context<'_>) -> Poll<Result<Credit, Failure>> {
        while self.spare.len() < self.granted as usize + self.exclusive as usize {
            match ready!(self.pool.poll_request(context)) {
                Ok(segment) => self.spare.push(segment),
                Err(error) => return Poll::Ready(Err(Failure::of_pool(&self.pool, error))),
            }
        }
        self.granted += self.exclusive;
        Poll::Ready(Ok(Credit { outstanding: self.exclusive, ..Credit::default() }))
    }

    /// The segment for a data message; `None` if the channel has no credit.
    pub(super) fn use_credit(&mut self, credit: &mut Credit) -> Option<BufferMut> {
        if credit.told() == 0 {
            return None;
        }
        credit.outstanding -= 1;
        self.granted -= 1;
        self.spare.pop() // X1: one for each credit
    }

    /// `channel` has so many buffers waiting at its sender.
    pub(super) fn backlog(&mut self, channel: u32, credit: &mut Credit, backlog: u32) {
        credit.backlog = backlog;
        if !credit.wanting && credit.wants_more(self.exclusive) {
            credit.wanting = true; // V2
            self.wanting.push_back(channel);
        }
    }

    /// Takes back all credit of a channel that has none at the sender any more.
    pub(super) fn forget(&mut self, credit: &mut Credit) {
        self.granted -= credit.outstanding;
        credit.outstanding = 0;
        credit.untold = 0;
        credit.backlog = 0;
        self.shrink();
    }

    /// A channel is closed. `true` if it was the last.
    pub(super) fn close(&mut self, channel: u32, credit: &mut Credit) -> bool {
        self.forget(credit);
        if credit.wanting {
            self.wanting.retain(|&other| other != channel);
        }
        self.channels -= 1;
        self.channels == 0
    }

    /// Gives back what no credit stands for.
    fn shrink(&mut self) {
        for segment in self.spare.drain(self.granted as usize..) {
            self.pool.recycle(segment);
        }
    }

    /// Grants credit to the channels that want it, in turn, one each, as long as there are segments. `granted` takes up
    /// each that got one.
    ///
    /// # Errors
    /// [`Failure::Pool`]: the pool has failed, and a sender is short of credit.
    pub(super) fn grant(
        &mut self,
        context: &mut Context<'_>,
        channels: &mut impl Credits,
        granted: &mut Vec<u32>,
    ) -> Result<(), Failure> {
        while let Some(&channel) = self.wanting.front() {
            let Some(credit) = channels.credit(channel) else {
                self.wanting.pop_front();
                continue;
            };
            let mut more = credit.wants_more(self.exclusive);
            if more {
                if !self.set_one_aside(context, channels)? {
                    return Ok(());
                }
                let Some(credit) = channels.credit(channel) else { continue };
                self.granted += 1;
                credit.outstanding += 1;
                credit.untold += 1;
                granted.push(channel);
                more = credit.wants_more(self.exclusive);
            }
            self.wanting.pop_front();
            if let Some(credit) = channels.credit(channel) {
                credit.wanting = more;
            }
            if more {
                self.wanting.push_back(channel);
            }
        }
        if self.spare.len() > self.granted as usize {
            self.shrink();
        }
        Ok(())
    }

    /// One segment more than credits, if there is one. If none of the senders is short of credit the waker is not left for
    /// it: the next buffer that arrives is soon enough to look again, and a segment that comes home wakes nobody.
    fn set_one_aside(&mut self, context: &mut Context<'_>, channels: &mut impl Credits) -> Result<bool, Failure> {
        if self.spare.len() > self.granted as usize {
            return Ok(true);
        }
        let mut segment = self.pool.try_request().ok();
        if segment.is_none() && self.wanting.iter().any(|&c| channels.credit(c).is_some_and(|c| c.told() <= 1)) {
            segment = match self.pool.poll_request(context) {
                Poll::Ready(Ok(segment)) => Some(segment),
                Poll::Ready(Err(error)) => return Err(Failure::of_pool(&self.pool, error)),
                Poll::Pending => None,
            };
        }
        let found = segment.is_some();
        self.spare.extend(segment);
        Ok(found)
    }
}
