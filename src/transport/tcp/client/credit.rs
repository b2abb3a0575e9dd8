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
//! * **V2** A channel stands in `wanting` once, and only while it wants more. Where it stands it knows, so nobody looks
//!   for it: one that is closed leaves its place empty, and channels are closed once each.
//!
//! Each channel has `exclusive` credits whenever segments allow, and wants one more for each buffer that waits at the
//! sender. Segments are alike; what is taken beyond the exclusive ones is the floating part, shared by who wants it, in
//! turn. A pool that requires the exclusive ones guarantees that each channel goes on as long as the gate is read.
//!
//! A sender that sends all it has at once would be told of one credit for each buffer: a message against the stream, a
//! call to the system to send it and two to receive it, as much as the buffer itself takes. So channels with exclusive
//! credits have some ahead of what waits, up to half of the floating part in all, and are told of it together, when the
//! sender has no more left than it would have without that. A sender with less than waits there is told as soon as it
//! is as much as it has left.
//!
//! Where there are too many channels for that, each would be told of one credit still. There many senders are told in
//! one write: once one of them has none left, or less than waits, or when there is a lot to tell. Until then each of
//! the others has some, and what it sends with that has it looked at again; so nobody waits for what is held back.
//!
//! # Source
//! Flink's `BufferManager` and `RemoteInputChannel`, where each segment is a channel's or floating. There the floating
//! ones of a gate go to whichever peer's channels ask; here each connection has a part of them, for it may be on a
//! thread of its own, and what it asks for is asked of no other thread.

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
    /// Which of all that ever stood there, wrapping.
    place: u32,
}

/// When a sender is to be told of its credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tell {
    /// It knows of all.
    Nothing,
    /// Not yet: it has enough.
    Later,
    /// Once this side has nothing else to do: it has some left.
    WhenIdle,
    Now,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Segments {
    pool: LocalBufferPool,
    spare: Vec<BufferMut>,
    /// Credits outstanding, of all channels.
    granted: u32,
    exclusive: u32,
    /// Credits beyond those of a channel whose sender has nothing waiting.
    ahead: u32,
    wanting: Wanting,
    /// Channels that are open.
    channels: usize,
}

/// Channels in the order in which they get credit. Those that have left it are [`NOBODY`].
#[derive(Debug, Default)]
struct Wanting {
    channels: VecDeque<u32>,
    /// Which of all that ever stood here is the first now, wrapping.
    first: u32,
}

/// No channel.
const NOBODY: u32 = u32::MAX;

impl Wanting {
    /// Behind all others.
    fn push(&mut self, channel: u32, credit: &mut Credit) {
        credit.wanting = true; // V2
        credit.place = self.first.wrapping_add(self.channels.len() as u32);
        self.channels.push_back(channel);
    }

    fn front(&mut self) -> Option<u32> {
        while let Some(&channel) = self.channels.front() {
            #[cfg(test)]
            LOOKED_AT.set(LOOKED_AT.get() + 1);
            if channel != NOBODY {
                return Some(channel);
            }
            self.pop();
        }
        None
    }

    /// The first is in it no more.
    fn pop(&mut self) {
        self.channels.pop_front();
        self.first = self.first.wrapping_add(1);
    }

    /// Nor is that one, if it was.
    fn leave(&mut self, credit: &mut Credit) {
        if std::mem::take(&mut credit.wanting) {
            self.channels[credit.place.wrapping_sub(self.first) as usize] = NOBODY;
        }
    }

    fn iter(&self) -> impl Iterator<Item = u32> {
        let channels = self.channels.iter().copied();
        #[cfg(test)]
        let channels = channels.inspect(|_| LOOKED_AT.set(LOOKED_AT.get() + 1));
        channels.filter(|&channel| channel != NOBODY)
    }
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

    /// When to tell. Of a sender with buffers that wait: once it is as much as it has left. Of one that has sent all it
    /// had, or if nothing is granted `ahead` has enough for what waits: once it has at most `few` left, and then what
    /// this side has to send to others comes first.
    pub(super) fn when_to_tell(&self, few: u32, ahead: bool) -> Tell {
        let enough = if ahead { 0 } else { self.told() };
        match self.untold {
            0 => Tell::Nothing,
            untold if untold < self.told() => Tell::Later,
            _ if self.backlog > enough || self.told() == 0 => Tell::Now,
            _ if self.told() <= few => Tell::WhenIdle,
            _ => Tell::Later,
        }
    }

    /// What to tell now.
    pub(super) fn tell(&mut self) -> u32 {
        std::mem::take(&mut self.untold)
    }

    /// Whether buffers wait for more, or would have to if they came.
    fn needs_more(&self, exclusive: u32) -> bool {
        self.outstanding < self.backlog.saturating_add(exclusive)
    }

    fn wants_more(&self, exclusive: u32, ahead: u32) -> bool {
        self.outstanding < self.backlog.max(ahead).saturating_add(exclusive)
    }
}

impl Segments {
    /// For so many channels, with that many segments each and `floating` for all of them.
    pub(super) fn new(pool: LocalBufferPool, exclusive: u32, floating: u32, channels: usize) -> Self {
        let ahead = if exclusive == 0 { 0 } else { floating / 2 / channels.max(1) as u32 };
        Self { pool, spare: Vec::new(), granted: 0, exclusive, ahead, wanting: Wanting::default(), channels }
    }

    /// Credits that each channel has at least.
    pub(super) fn exclusive(&self) -> u32 {
        self.exclusive
    }

    /// Whether channels have credit beyond those while nothing waits at their senders.
    pub(super) fn has_ahead(&self) -> bool {
        self.ahead > 0
    }

    /// Sets the exclusive segments of a new channel aside: the credit of its request. Pending leaves the waker; what
    /// was set aside so far stays.
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
        if !credit.wanting && credit.wants_more(self.exclusive, self.ahead) {
            self.wanting.push(channel, credit);
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
    pub(super) fn close(&mut self, credit: &mut Credit) -> bool {
        self.forget(credit);
        self.wanting.leave(credit);
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
        while let Some(channel) = self.wanting.front() {
            let Some(credit) = channels.credit(channel) else {
                self.wanting.pop();
                continue;
            };
            let mut more = credit.wants_more(self.exclusive, self.ahead);
            if more {
                if !self.set_one_aside(context, channels)? {
                    return Ok(());
                }
                let Some(credit) = channels.credit(channel) else { continue };
                self.granted += 1;
                credit.outstanding += 1;
                credit.untold += 1;
                granted.push(channel);
                more = credit.wants_more(self.exclusive, self.ahead);
            }
            self.wanting.pop();
            if let Some(credit) = channels.credit(channel) {
                credit.wanting = false;
                if more {
                    self.wanting.push(channel, credit);
                }
            }
        }
        if self.spare.len() > self.granted as usize {
            self.shrink();
        }
        Ok(())
    }

    /// One segment more than credits, if there is one. If none of the senders is short of credit the waker is not left
    /// for it: the next buffer that arrives is soon enough to look again, and a segment that comes home wakes nobody.
    fn set_one_aside(&mut self, context: &mut Context<'_>, channels: &mut impl Credits) -> Result<bool, Failure> {
        if self.spare.len() > self.granted as usize {
            return Ok(true);
        }
        let mut segment = self.pool.try_request().ok();
        let short = |credit: &mut Credit| credit.told() <= 1 && credit.needs_more(self.exclusive);
        if segment.is_none() && self.wanting.iter().any(|channel| channels.credit(channel).is_some_and(short)) {
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

#[cfg(test)]
thread_local! {
    /// How often an entry of `wanting` was looked at.
    pub(crate) static LOOKED_AT: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;
    use crate::pool::NetworkBufferPool;

    const CHANNELS: u32 = 1000;

    /// A gate all of whose channels want more than there is.
    fn all_want() -> (Segments, Vec<Credit>) {
        let pool = NetworkBufferPool::builder().segments(1).segment_size(crate::memory::page_size()).build().unwrap();
        let pool = pool.local_pool("gate").required(1).build().unwrap();
        let mut segments = Segments::new(pool, 0, 1, CHANNELS as usize);
        let mut credits = vec![Credit::default(); CHANNELS as usize];
        for (channel, credit) in (0..).zip(&mut credits) {
            segments.backlog(channel, credit, 1);
        }
        LOOKED_AT.set(0);
        (segments, credits)
    }

    impl Credits for Vec<Credit> {
        fn credit(&mut self, channel: u32) -> Option<&mut Credit> {
            self.get_mut(channel as usize)
        }
    }

    /// The channel that has got the one segment, which is as good as used.
    fn grant(segments: &mut Segments, credits: &mut Vec<Credit>) -> Option<u32> {
        let mut granted = Vec::new();
        segments.grant(&mut Context::from_waker(Waker::noop()), credits, &mut granted).unwrap();
        let &channel = granted.first()?;
        let credit = &mut credits[channel as usize];
        credit.tell();
        drop(segments.use_credit(credit));
        Some(channel)
    }

    #[test]
    fn channels_that_are_closed_one_by_one_are_not_looked_for_among_each_other() {
        let (mut segments, mut credits) = all_want();
        let last: Vec<bool> = credits.iter_mut().map(|credit| segments.close(credit)).collect();
        assert_eq!(LOOKED_AT.get(), 0);
        assert_eq!(last.iter().position(|&last| last), Some(CHANNELS as usize - 1));
        assert_eq!(grant(&mut segments, &mut credits), None);
        assert_eq!(LOOKED_AT.get(), CHANNELS as usize, "each empty place once");
        assert_eq!(grant(&mut segments, &mut credits), None);
        assert_eq!(LOOKED_AT.get(), CHANNELS as usize);
    }

    #[test]
    fn channels_that_are_closed_leave_the_others_wanting_in_turn() {
        let (mut segments, mut credits) = all_want();
        segments.wanting.channels.truncate(6);
        for closed in [0, 2, 5] {
            assert!(!segments.close(&mut credits[closed]));
        }
        assert_eq!(grant(&mut segments, &mut credits), Some(1));
        segments.backlog(1, &mut credits[1], 1); // behind the others now
        segments.close(&mut credits[3]);
        let rest: Vec<_> = std::iter::from_fn(|| grant(&mut segments, &mut credits)).collect();
        assert_eq!(rest, [4, 1]);
    }

    #[test]
    fn places_are_counted_over_the_end() {
        let (mut segments, mut credits) = all_want();
        segments.wanting = Wanting { channels: VecDeque::new(), first: u32::MAX - 1 };
        for channel in 0..4 {
            let credit = &mut credits[channel as usize];
            credit.wanting = false;
            segments.backlog(channel, credit, 1);
        }
        segments.close(&mut credits[2]);
        let granted: Vec<_> = std::iter::from_fn(|| grant(&mut segments, &mut credits)).collect();
        assert_eq!(granted, [0, 1, 3]);
    }
}
