//! Requests for several segments: all of them or none.
//!
//! A batch never waits with a part of what it wants in hand, so two of them can not wait for each other. What it must
//! borrow it borrows by one subtraction; if the depot turns out to have less, because a guarantee came in between, it
//! puts back what it took, and wakes who may have missed it.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use super::{error::RequestError, local::LocalBufferPool, quota::Retracted};
use crate::{buffer::BufferMut, lockfree::wait::deadline_after};

impl LocalBufferPool {
    /// Takes `count` free segments and adds them to `into`, or says at once that they are not to be had; then nothing
    /// is taken. Waits for no segment. Allocates nothing if `into` has room, and this pool has made a batch as large
    /// before.
    ///
    /// Wait-free while the pool has them at hand, else lock-free, as [`try_request`](Self::try_request). One step for
    /// each segment.
    ///
    /// # Errors
    /// * [`RequestError::Exhausted`]: not as many are free at this moment. Ask for fewer, or wait.
    /// * [`RequestError::TooMany`]: more than `maximum`, or than there are: it could never be served. Ask for fewer.
    /// * [`RequestError::Failed`]: the pool has failed. Stop requesting.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, RequestError};
    /// # let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// let mut local = pool.local_pool("task").required(2).maximum(3).build()?;
    /// let mut buffers = Vec::with_capacity(4);
    /// local.try_request_many(2, &mut buffers)?;
    /// assert_eq!(local.try_request_many(2, &mut buffers), Err(RequestError::Exhausted));
    /// assert_eq!((buffers.len(), local.lent()), (2, 2), "nothing was taken");
    /// assert_eq!(local.try_request_many(4, &mut buffers), Err(RequestError::TooMany));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's `NetworkBufferPool.requestUnpooledMemorySegments`, which is all or nothing by a timeout; DPDK's
    /// `rte_mempool_get_bulk`.
    #[inline]
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn try_request_many(&mut self, count: u32, into: &mut Vec<BufferMut>) -> Result<(), RequestError> {
        let before = into.len();
        self.attempt_many(count, into)?;
        self.noted_many(&into[before..]);
        Ok(())
    }

    /// Gives all `buffers` back on the owner's side, and leaves the `Vec` empty: for own segments no atomic
    /// read-modify-write, and for each one comparison and one store. Wait-free, or as drop.
    ///
    /// The last one is the next to be taken.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::NetworkBufferPool;
    /// # let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// let mut local = pool.local_pool("task").required(4).build()?;
    /// let mut buffers = Vec::with_capacity(4);
    /// local.try_request_many(4, &mut buffers)?;
    /// local.recycle_many(&mut buffers);
    /// assert_eq!((buffers.len(), local.lent()), (0, 0));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// DPDK's `rte_mempool_put_bulk`.
    #[inline]
    pub fn recycle_many(&mut self, buffers: &mut Vec<BufferMut>) {
        self.lender.take_back_many(buffers);
    }

    /// As [`try_request_many`](Self::try_request_many), and waits until they are there together. Blocking, as
    /// [`request`](Self::request).
    ///
    /// Others who ask for single segments may be served meanwhile: those who have their fair share only if this pool
    /// would have more than its own.
    ///
    /// # Errors
    /// [`RequestError::TooMany`], [`RequestError::Failed`]: as above.
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn request_many(&mut self, count: u32, into: &mut Vec<BufferMut>) -> Result<(), RequestError> {
        let before = into.len();
        self.wait_for(None, count, |pool| pool.attempt_many(count, into))?;
        self.noted_many(&into[before..]);
        Ok(())
    }

    /// As [`request_many`](Self::request_many), for `timeout` at most. When it fails, nothing is taken.
    ///
    /// # Errors
    /// As above, and [`RequestError::TimedOut`]: they were not free together in time. Ask for fewer, or see who holds
    /// them: [`NetworkBufferPool::usage`](super::NetworkBufferPool::usage).
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn request_many_timeout(
        &mut self,
        count: u32,
        into: &mut Vec<BufferMut>,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        let before = into.len();
        self.wait_for(deadline_after(timeout), count, |pool| pool.attempt_many(count, into))?;
        self.noted_many(&into[before..]);
        Ok(())
    }

    /// As [`try_request_many`](Self::try_request_many), or arranges for the waker to be woken when they may be there
    /// together, as [`poll_request`](Self::poll_request).
    ///
    /// # Errors
    /// As [`request_many`](Self::request_many).
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn poll_request_many(
        &mut self,
        context: &mut Context<'_>,
        count: u32,
        into: &mut Vec<BufferMut>,
    ) -> Poll<Result<(), RequestError>> {
        let before = into.len();
        let polled = self.poll_with(context, count, &mut |pool: &mut Self| pool.attempt_many(count, into));
        self.noted_many(&into[before..]);
        polled
    }

    /// All at hand, or wherever they may be.
    #[inline]
    fn attempt_many(&mut self, count: u32, into: &mut Vec<BufferMut>) -> Result<(), RequestError> {
        if self.lender.take_many(count as usize, into) { Ok(()) } else { self.attempt_elsewhere(count, into) }
    }

    #[inline(never)]
    fn attempt_elsewhere(&mut self, count: u32, into: &mut Vec<BufferMut>) -> Result<(), RequestError> {
        if count > self.maximum.min(self.core.table.segments()) {
            return Err(RequestError::TooMany);
        }
        self.lender.collect();
        let here = self.lender.free().min(count);
        let (own, on_loan) = if here < count { self.gather(count - here, count)? } else { (0, 0) };
        into.reserve(count as usize);
        let enough = self.lender.take_many(here as usize, into);
        debug_assert!(enough && self.hand.len() as u32 == own + on_loan);
        for segment in self.hand.drain(..own as usize) {
            into.push(self.lender.adopt(segment, None));
        }
        for segment in self.hand.drain(..) {
            into.push(self.lender.lend_borrowed(segment, None));
        }
        if here < count {
            self.show();
            self.relax();
        }
        Ok(())
    }

    /// Takes `count` segments from the depot, for a batch of `all`: first own ones into the hand, then borrowed ones;
    /// returns how many of each.
    fn gather(&mut self, count: u32, all: u32) -> Result<(u32, u32), RequestError> {
        if self.state.failures.any() {
            return Err(RequestError::Failed);
        }
        let own = (self.required - self.claimed()).min(count);
        let at_hand = u32::from(self.reserved.is_some()).min(count - own);
        let borrowed = count - own - at_hand;
        if borrowed > 0 {
            if all - at_hand > self.room(false) {
                return Err(RequestError::Exhausted);
            }
            let (enough, Retracted(retracted)) = self.core.quota.borrow(borrowed);
            if retracted {
                self.core.waiters.wake();
            }
            if !enough {
                return Err(RequestError::Exhausted);
            }
        }
        while self.hand.len() < (own + borrowed) as usize {
            let Some(segment) = self.core.take() else {
                // A guarantee was made or met in between, or is owed to us still: none is kept while we wait for more.
                self.hand.drain(..).for_each(|segment| self.core.depot.put(segment));
                self.core.quota.give_back(borrowed);
                self.core.waiters.wake();
                return Err(RequestError::Exhausted);
            };
            self.hand.push(segment);
        }
        if at_hand > 0 {
            self.hand.extend(self.reserved.take());
        }
        self.through += u64::from(borrowed);
        Ok((own, borrowed + at_hand))
    }

    /// As [`noted`](Self::noted).
    #[inline]
    #[cfg_attr(feature = "leaks", track_caller)]
    #[cfg_attr(not(feature = "leaks"), allow(clippy::unused_self, reason = "the feature's part"))]
    fn noted_many(&self, taken: &[BufferMut]) {
        #[cfg(feature = "leaks")]
        for buffer in taken {
            self.core.table.takers.note(buffer, Some(&self.state.name));
        }
        #[cfg(not(feature = "leaks"))]
        let _ = taken;
    }
}
