//! Requests for one of several channels, each of which may have so many segments at most.
//!
//! One channel whose reader is slow would otherwise take all the segments of its writer's pool, and so stop the others.
//! A segment is counted for its channel when it is lent (by the owner, in plain memory) and when its last handle is
//! dropped (by whoever that is, one addition); the difference is what is out.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    error::RequestError,
    local::{Ask, LocalBufferPool},
    state::PoolState,
};
use crate::{buffer::BufferMut, lockfree::wait::deadline_after};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Channels {
    maximum: u32,
    /// For each channel the segments lent for it, ever; the count goes round.
    lent: Box<[u32]>,
    /// Channels that had their maximum when they were last looked at, and a flag for each that is on the list.
    full: Vec<u32>,
    listed: Box<[bool]>,
}

impl Channels {
    pub(super) fn new(channels: u32, maximum: u32) -> Self {
        let n = channels as usize;
        Self { maximum, lent: vec![0; n].into(), full: Vec::new(), listed: vec![false; n].into() }
    }

    fn out(&self, channel: u32, state: &PoolState) -> u32 {
        self.lent[channel as usize].wrapping_sub(state.back_from(channel))
    }

    fn is_full(&self, channel: u32, state: &PoolState) -> bool {
        self.out(channel, state) >= self.maximum
    }

    fn count(&mut self, channel: u32, state: &PoolState) {
        let nth = channel as usize;
        self.lent[nth] = self.lent[nth].wrapping_add(1);
        if !self.listed[nth] && self.is_full(channel, state) {
            self.listed[nth] = true;
            self.full.push(channel);
        }
    }

    fn any_full(&mut self, state: &PoolState) -> bool {
        while let Some(&channel) = self.full.last() {
            if self.is_full(channel, state) {
                return true;
            }
            self.listed[channel as usize] = false;
            self.full.pop();
        }
        false
    }
}

impl LocalBufferPool {
    /// Takes one free segment for `channel`, as [`try_request`](Self::try_request). It counts for the channel until its
    /// last handle is dropped. The owner's [`recycle`](Self::recycle) is no cheaper than dropping it.
    ///
    /// # Errors
    /// * [`RequestError::ChannelFull`]: the channel has as many as
    ///   [`maximum_per_channel`](super::LocalBufferPoolBuilder::maximum_per_channel) says. Serve others, or wait.
    /// * As [`try_request`](Self::try_request).
    ///
    /// # Panics
    /// If the pool was made without channels, or has none of that number.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, RequestError};
    /// # let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// let mut local = pool.local_pool("task").required(4).channels(2).maximum_per_channel(2).build()?;
    /// let slow = [local.try_request_for(0)?, local.try_request_for(0)?];
    /// assert_eq!(local.try_request_for(0).unwrap_err(), RequestError::ChannelFull);
    /// assert!(!local.is_available(), "a task that serves all channels should wait");
    /// assert!(local.try_request_for(1).is_ok(), "one that can serve others need not");
    /// drop(slow);
    /// assert!(local.is_available());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's `LocalBufferPool.requestMemorySegment(targetChannel)` and `maxBuffersPerChannel`. There a full channel
    /// is still served, and the pool is unavailable; here that takes
    /// [`try_request_overdraft_for`](Self::try_request_overdraft_for).
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn try_request_for(&mut self, channel: u32) -> Result<BufferMut, RequestError> {
        let found = self.attempt_for(channel, false);
        self.noted(found)
    }

    /// The same, beyond the channel's maximum, and by [overdraft](Self::try_request_overdraft) beyond the pool's.
    ///
    /// # Errors
    /// As [`try_request_overdraft`](Self::try_request_overdraft).
    ///
    /// # Panics
    /// As [`try_request_for`](Self::try_request_for).
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn try_request_overdraft_for(&mut self, channel: u32) -> Result<BufferMut, RequestError> {
        let found = self.attempt_for(channel, true);
        self.noted(found)
    }

    /// The same as [`try_request_for`](Self::try_request_for), waiting if need be, as [`request`](Self::request).
    ///
    /// # Errors
    /// As [`request`](Self::request).
    ///
    /// # Panics
    /// As [`try_request_for`](Self::try_request_for).
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn request_for(&mut self, channel: u32) -> Result<BufferMut, RequestError> {
        let found = self.wait_for_channel(channel, None);
        self.noted(found)
    }

    /// The same, for `timeout` at most.
    ///
    /// # Errors
    /// As [`request_timeout`](Self::request_timeout).
    ///
    /// # Panics
    /// As [`try_request_for`](Self::try_request_for).
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn request_for_timeout(&mut self, channel: u32, timeout: Duration) -> Result<BufferMut, RequestError> {
        let found = self.wait_for_channel(channel, deadline_after(timeout));
        self.noted(found)
    }

    /// The same, or arranges for the waker to be woken, as [`poll_request`](Self::poll_request).
    ///
    /// # Errors
    /// As [`request`](Self::request).
    ///
    /// # Panics
    /// As [`try_request_for`](Self::try_request_for).
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn poll_request_for(
        &mut self,
        channel: u32,
        context: &mut Context<'_>,
    ) -> Poll<Result<BufferMut, RequestError>> {
        match self.poll_with(context, 1, &mut |pool: &mut Self| pool.attempt_for(channel, false)) {
            Poll::Ready(found) => Poll::Ready(self.noted(found)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Segments that `channel` has at this moment. May shrink at any moment, and grows only by requests. Wait-free.
    ///
    /// # Panics
    /// As [`try_request_for`](Self::try_request_for).
    #[must_use]
    pub fn lent_for(&self, channel: u32) -> u32 {
        self.channels.as_ref().expect("the pool was made without channels").out(channel, &self.state)
    }

    fn wait_for_channel(&mut self, channel: u32, deadline: Option<Instant>) -> Result<BufferMut, RequestError> {
        self.wait_for(deadline, 1, |pool| pool.attempt_for(channel, false))
    }

    fn attempt_for(&mut self, channel: u32, overdraft: bool) -> Result<BufferMut, RequestError> {
        if self.is_full(channel) && !overdraft {
            self.lender.collect(); // or what came back from other channels would keep us from sleeping
            // What was collected just now may have been the channel's, and wakes nobody any more (M4).
            if self.is_full(channel) {
                // It may be full for good: of a pool that has failed.
                let failed = self.state.failures.any();
                return Err(if failed { RequestError::Failed } else { RequestError::ChannelFull });
            }
        }
        let buffer = self.attempt(Ask { channel: Some(channel), overdraft })?;
        self.channels.as_mut().expect("it was made with them").count(channel, &self.state);
        Ok(buffer)
    }

    fn is_full(&self, channel: u32) -> bool {
        self.channels.as_ref().expect("the pool was made without channels").is_full(channel, &self.state)
    }

    /// Takes in what came back.
    pub(super) fn any_channel_full(&mut self) -> bool {
        self.lender.collect();
        self.channels.as_mut().is_some_and(|channels| channels.any_full(&self.state))
    }
}
