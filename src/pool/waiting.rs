//! Requests that wait: blocking, with a timeout, or with a waker.

use std::{
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    error::RequestError,
    local::{Ask, Fetched, LocalBufferPool},
};
use crate::{
    buffer::{BufferMut, lend::Park},
    lockfree::wait::{WaitStrategy, deadline_after, wait},
};

/// What ends a wait, if this does.
pub(super) fn settled<T>(result: Result<T, RequestError>) -> Option<Result<T, RequestError>> {
    match result {
        Err(error) if error.may_pass() => None,
        settled => Some(settled),
    }
}

impl LocalBufferPool {
    /// Takes one free segment, waiting for one if need be. Blocking, on the return of a segment: waits as its
    /// [`WaitStrategy`] says.
    ///
    /// Waits for ever if the segments are held by whoever calls. [`request_timeout`](Self::request_timeout) does not.
    ///
    /// # Errors
    /// [`RequestError::Failed`]: the pool has failed, maybe while the call waited. Stop requesting.
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn request(&mut self) -> Result<BufferMut, RequestError> {
        let found = self.wait_for(None, 1, |pool| pool.attempt(Ask::default()));
        self.noted(found)
    }

    /// Takes one free segment, waiting at most `timeout` for one. Blocking, as [`request`](Self::request).
    ///
    /// # Errors
    /// * [`RequestError::TimedOut`]: none came back in time. Try again, or look who holds them:
    ///   [`NetworkBufferPool::usage`](super::NetworkBufferPool::usage).
    /// * [`RequestError::Failed`]: the pool has failed. Stop requesting.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, RequestError};
    /// # use std::time::Duration;
    /// # let pool = NetworkBufferPool::builder().segments(1).build()?;
    /// let mut local = pool.local_pool("task").required(1).build()?;
    /// let held = local.request()?;
    /// assert_eq!(local.request_timeout(Duration::from_millis(1)).unwrap_err(), RequestError::TimedOut);
    /// let returning = std::thread::spawn(move || drop(held));
    /// assert!(local.request_timeout(Duration::from_secs(10)).is_ok());
    /// # returning.join().unwrap();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn request_timeout(&mut self, timeout: Duration) -> Result<BufferMut, RequestError> {
        let found = self.wait_for(deadline_after(timeout), 1, |pool| pool.attempt(Ask::default()));
        self.noted(found)
    }

    /// Takes one free segment, or arranges for the waker to be woken when there may be one: poll again then.
    ///
    /// Does not wait for a segment; to leave the waker it may take the lock of the waiting list. Only the waker of the
    /// last call counts. The time until the next call is not part of [`blocked`](Self::blocked).
    ///
    /// A pool that was left pending counts as waiting until its next request that goes beyond what it has at hand, or
    /// until it is dropped: others do not borrow beyond their fair share meanwhile.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    ///
    /// # Examples
    /// ```
    /// # use forebay::{buffer::BufferMut, pool::{LocalBufferPool, RequestError}};
    /// async fn request(local: &mut LocalBufferPool) -> Result<BufferMut, RequestError> {
    ///     std::future::poll_fn(|context| local.poll_request(context)).await
    /// }
    /// ```
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Result<BufferMut, RequestError>> {
        match self.poll_with(context, 1, &mut |pool: &mut Self| pool.attempt(Ask::default())) {
            Poll::Ready(found) => Poll::Ready(self.noted(found)),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Ready once a request would be served, for any channel and without overdraft, and until then arranges for the
    /// waker to be woken, as [`poll_request`](Self::poll_request). The segment found is kept for the next request, so
    /// that one does not fail.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    ///
    /// # Source
    /// Flink's `LocalBufferPool.getAvailableFuture`, which keeps one segment at hand in the same way.
    pub fn poll_available(&mut self, context: &mut Context<'_>) -> Poll<Result<(), RequestError>> {
        self.poll_with(context, 1, &mut |pool: &mut Self| {
            if pool.any_channel_full() {
                let failed = pool.state.failures.any();
                return Err(if failed { RequestError::Failed } else { RequestError::ChannelFull });
            }
            if pool.lender.free() == 0 && pool.reserved.is_none() {
                match pool.fetch(false)? {
                    Fetched::Own(segment) => pool.lender.add(segment),
                    Fetched::Borrowed(segment) => pool.reserved = Some(segment),
                }
                pool.show();
            }
            Ok(())
        })
    }

    /// Attempts, and waits in between, until something comes of it.
    pub(super) fn wait_for<T>(
        &mut self,
        deadline: Option<Instant>,
        wanted: u32,
        mut attempt: impl FnMut(&mut Self) -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        if let Some(result) = settled(attempt(self)) {
            return result;
        }
        let since = Instant::now();
        let strategy = self.strategy;
        if matches!(strategy, WaitStrategy::Spin | WaitStrategy::Yield) {
            self.press(wanted); // the others do when they poll
        }
        let attempt = std::cell::RefCell::new(attempt); // for either of the two closures, which are not called at once
        let result = wait(
            strategy,
            deadline,
            self,
            |pool| settled((*attempt.borrow_mut())(pool)),
            |pool, context| pool.poll_with(context, wanted, &mut *attempt.borrow_mut()),
        );
        self.relax();
        self.blocked += since.elapsed();
        result.unwrap_or_else(|| {
            self.core.waiters.forget(&mut self.slot);
            Err(RequestError::TimedOut)
        })
    }

    /// Attempts, and leaves the waker if nothing comes of it. `wanted` is the number of segments that are waited for.
    pub(super) fn poll_with<T>(
        &mut self,
        context: &mut Context<'_>,
        wanted: u32,
        attempt: &mut impl FnMut(&mut Self) -> Result<T, RequestError>,
    ) -> Poll<Result<T, RequestError>> {
        loop {
            if let Some(result) = settled(attempt(self)) {
                self.relax();
                return Poll::Ready(result);
            }
            // Register everywhere first, then look everywhere again (M4). An own segment announces itself in the inbox,
            // in the same word that says we sleep; a borrowed one, or one of somebody else, in the depot; a failure in
            // the pool's state.
            self.lender.register(context.waker());
            self.state.waker.register(context.waker());
            if self.depot_may_help() {
                self.core.waiters.register(&mut self.slot, context.waker());
                self.press(wanted);
            }
            if let Some(result) = settled(attempt(self)) {
                self.relax();
                return Poll::Ready(result);
            }
            match self.lender.park() {
                Park::Asleep => return Poll::Pending,
                Park::Look => {}
                Park::Again => {
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Whether a change in the depot may be what is waited for: all but a pool whose segments are its own, and here or
    /// lent.
    fn depot_may_help(&self) -> bool {
        self.maximum > self.required || self.claimed() < self.required || self.through > self.state.back()
    }

    /// Says that `wanted` segments are waited for, if that is no more than a fair share.
    fn press(&mut self, wanted: u32) {
        self.core.refresh_shares(); // also for our own next attempt
        let most = u64::from(self.maximum.min(self.state.share()));
        if !self.pressing && self.claimed() >= self.required && self.lent_or_reserved() + u64::from(wanted) <= most {
            self.pressing = true;
            self.core.pressure.raise();
        }
    }

    /// Says that nothing is waited for.
    pub(super) fn relax(&mut self) {
        if std::mem::take(&mut self.pressing) {
            self.core.relieve();
        }
    }
}
