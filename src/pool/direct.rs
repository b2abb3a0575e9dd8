//! Requests without a local pool, from any thread: of the surplus, or exclusive segments that are guaranteed.

use std::{
    fmt,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    core::{Core, DirectToDepot},
    error::{PoolError, RequestError},
    network::NetworkBufferPool,
    quota::Retracted,
    waiters::Slot,
    waiting::settled,
};
use crate::{
    buffer::{BufferMut, lend::SharedLender},
    lockfree::wait::{WaitStrategy, deadline_after, wait},
    sync::Arc,
};

/// What lends without a local pool.
pub(super) struct Direct {
    surplus: SharedLender,
    exclusive: SharedLender,
    strategy: WaitStrategy,
}

impl Direct {
    pub(super) fn new(core: &Arc<Core>, strategy: WaitStrategy) -> Self {
        let lender = |exclusive| {
            let recycler = DirectToDepot { core: core.clone(), exclusive };
            SharedLender::new(core.table.clone(), Box::new(recycler), core.rules.terms)
        };
        Self { surplus: lender(false), exclusive: lender(true), strategy }
    }
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("strategy", &self.strategy).finish_non_exhaustive()
    }
}

/// A call that may wait at the depot. What it has left there goes with it.
struct Waiting<'a> {
    core: &'a Core,
    slot: Slot,
    pressing: bool,
}

impl<'a> Waiting<'a> {
    fn new(core: &'a Core) -> Self {
        Self { core, slot: Slot::default(), pressing: false }
    }

    /// Looks again afterwards.
    fn register(&mut self, context: &Context<'_>) {
        self.core.waiters.register(&mut self.slot, context.waker());
    }

    /// Keeps pools from borrowing beyond their fair shares until this is dropped.
    fn press(&mut self) {
        if !std::mem::replace(&mut self.pressing, true) {
            self.core.refresh_shares();
            self.core.pressure.raise();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.core.waiters.forget(&mut self.slot);
        if self.pressing {
            self.core.relieve();
        }
    }
}

/// Without a local pool.
impl NetworkBufferPool {
    /// Takes one segment of the surplus, or says at once that there is none. From any thread.
    ///
    /// For those who need a segment now and then. Each request and each return goes to the common depot, and is
    /// lock-free in crossbeam's loose sense; a task that requests all the time should have a [local
    /// pool](Self::local_pool), which costs a small part of that and is guaranteed something.
    ///
    /// # Errors
    /// * [`RequestError::Exhausted`]: there is no surplus at this moment. Wait, or make a local pool with a guarantee.
    /// * [`RequestError::Failed`]: the pool has failed.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, RequestError};
    /// let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// let sorter = pool.local_pool("sorter").required(3).build()?;
    /// let buffer = pool.try_request()?;
    /// assert_eq!(pool.try_request().unwrap_err(), RequestError::Exhausted, "the others are the sorter's");
    /// # drop((buffer, sorter));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's `NetworkBufferPool.requestPooledMemorySegment`.
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn try_request(&self) -> Result<BufferMut, RequestError> {
        let found = self.borrow_one();
        self.noted(found.as_ref().map_or(&[], std::slice::from_ref));
        found
    }

    /// Takes one segment of the surplus, waiting at most `timeout` for it. Blocking, on the return of a segment. Pools
    /// that have their fair share do not borrow meanwhile.
    ///
    /// # Errors
    /// As [`try_request`](Self::try_request), and [`RequestError::TimedOut`]: wait longer, or see in
    /// [`usage`](Self::usage) who holds them.
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn request_timeout(&self, timeout: Duration) -> Result<BufferMut, RequestError> {
        let found = self.wait(timeout, || self.borrow_one());
        self.noted(found.as_ref().map_or(&[], std::slice::from_ref));
        found
    }

    /// Takes `count` segments of the surplus and adds them to `into`, or says at once that they are not to be had; then
    /// nothing is taken. From any thread; as [`try_request`](Self::try_request), a step for each segment.
    ///
    /// # Errors
    /// As [`try_request`](Self::try_request), and [`RequestError::TooMany`]: more than there are. Ask for fewer.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, RequestError};
    /// let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// let mut buffers = Vec::new();
    /// pool.try_request_many(3, &mut buffers)?;
    /// assert_eq!(pool.try_request_many(2, &mut buffers), Err(RequestError::Exhausted));
    /// assert_eq!((buffers.len(), pool.in_use()), (3, 3));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn try_request_many(&self, count: u32, into: &mut Vec<BufferMut>) -> Result<(), RequestError> {
        let before = into.len();
        self.borrow_many(count, into)?;
        self.noted(&into[before..]);
        Ok(())
    }

    /// As [`try_request_many`](Self::try_request_many), waiting at most `timeout` until they are there together.
    /// Blocking; nothing is held while it waits.
    ///
    /// # Errors
    /// As above, and [`RequestError::TimedOut`]: they were not free together in time, and nothing is taken. Ask for
    /// fewer, or for [exclusive](Self::request_exclusive) ones, which others can not take away.
    ///
    /// # Source
    /// Flink's `NetworkBufferPool.requestUnpooledMemorySegments`, which holds what it got while it waits for the rest.
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn request_many_timeout(
        &self,
        count: u32,
        into: &mut Vec<BufferMut>,
        timeout: Duration,
    ) -> Result<(), RequestError> {
        let before = into.len();
        self.wait(timeout, || self.borrow_many(count, into))?;
        self.noted(&into[before..]);
        Ok(())
    }

    /// Takes `count` segments that are guaranteed: set aside at once as the required part of a local pool is, and
    /// waited for, at most `timeout`, if others have borrowed them. Each is surplus again when it is dropped. All of
    /// them or none.
    ///
    /// For what must be there and stay: the buffers that a connection receives into. Blocking, on the control plane,
    /// and on those who have borrowed. Two such calls never wait for each other, for what each gets is its own from the
    /// beginning.
    ///
    /// `name` is for the error.
    ///
    /// # Errors
    /// * [`PoolError::Insufficient`]: the segments are promised to others; the error says to whom, and what fits.
    /// * [`PoolError::TimedOut`]: who has borrowed them did not return them in time. Nothing is held.
    /// * [`PoolError::Failed`]: the pool has failed.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, PoolError};
    /// # use std::time::Duration;
    /// let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// let receiving = pool.request_exclusive("connection", 2, Duration::from_secs(1))?;
    /// let error = pool.local_pool("sorter").required(3).build().unwrap_err();
    /// assert!(matches!(error, PoolError::Insufficient { available: 2, .. }));
    /// drop(receiving);
    /// assert!(pool.local_pool("sorter").required(3).build().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's `NetworkBufferPool.requestUnpooledMemorySegments` for the exclusive buffers of a `RemoteInputChannel`.
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn request_exclusive(&self, name: &str, count: u32, timeout: Duration) -> Result<Vec<BufferMut>, PoolError> {
        let core = &*self.core;
        if let Some(cause) = self.failure() {
            return Err(PoolError::Failed { cause });
        }
        core.register_exclusive(name, count)?;
        let mut got = Vec::with_capacity(count as usize); // no more than there are
        let mut waiting = Waiting::new(core);
        let result = wait(
            self.direct.strategy,
            deadline_after(timeout),
            &mut got,
            |got| self.fill_exclusive(got, count),
            |got, context| {
                if let Some(result) = self.fill_exclusive(got, count) {
                    return Poll::Ready(result);
                }
                waiting.register(context);
                self.fill_exclusive(got, count).map_or(Poll::Pending, Poll::Ready)
            },
        );
        drop(waiting);
        if let Some(Ok(())) = result {
            self.noted(&got);
            return Ok(got);
        }
        // What is there is given back as it is dropped, and the rest here.
        let there = got.len() as u32;
        core.end_exclusive(count - there);
        core.quota.give_back(count - there);
        core.waiters.wake();
        drop(got);
        match self.failure() {
            Some(cause) => Err(PoolError::Failed { cause }),
            None => Err(PoolError::TimedOut { wanted: count, got: there }),
        }
    }

    /// Adds what is in the depot, which is ours before anybody borrows. `None` while it is not enough.
    fn fill_exclusive(&self, got: &mut Vec<BufferMut>, count: u32) -> Option<Result<(), RequestError>> {
        while got.len() < count as usize {
            if self.core.failures.any() {
                return Some(Err(RequestError::Failed));
            }
            got.push(self.direct.exclusive.lend(self.core.take()?));
        }
        Some(Ok(()))
    }

    fn borrow_one(&self) -> Result<BufferMut, RequestError> {
        self.borrow_credit(1)?;
        let Some(segment) = self.core.take() else { return Err(self.overtaken(1)) };
        self.core.count_direct(1);
        Ok(self.direct.surplus.lend(segment))
    }

    fn borrow_many(&self, count: u32, into: &mut Vec<BufferMut>) -> Result<(), RequestError> {
        if count > self.segments() {
            return Err(RequestError::TooMany);
        }
        self.borrow_credit(count)?;
        let before = into.len();
        into.reserve(count as usize);
        for nth in 0..count {
            let Some(segment) = self.core.take() else {
                into.truncate(before); // gives back each, and its credit
                return Err(self.overtaken(count - nth));
            };
            self.core.count_direct(1);
            into.push(self.direct.surplus.lend(segment));
        }
        Ok(())
    }

    fn borrow_credit(&self, count: u32) -> Result<(), RequestError> {
        if self.core.failures.any() {
            return Err(RequestError::Failed);
        }
        let (borrowed, Retracted(retracted)) = self.core.quota.borrow(count);
        if retracted {
            self.core.waiters.wake();
        }
        if borrowed { Ok(()) } else { Err(RequestError::Exhausted) }
    }

    /// A guarantee came between the credit and its segments, and goes first (M3): the credit goes back.
    fn overtaken(&self, credit: u32) -> RequestError {
        self.core.quota.give_back(credit);
        self.core.waiters.wake();
        RequestError::Exhausted
    }

    fn wait<T>(
        &self,
        timeout: Duration,
        mut attempt: impl FnMut() -> Result<T, RequestError>,
    ) -> Result<T, RequestError> {
        if let Some(result) = settled(attempt()) {
            return result;
        }
        let deadline = deadline_after(timeout);
        let mut waiting = Waiting::new(&self.core);
        waiting.press();
        let result = wait(
            self.direct.strategy,
            deadline,
            &mut attempt,
            |attempt| settled(attempt()),
            |attempt, context| {
                if let Some(result) = settled(attempt()) {
                    return Poll::Ready(result);
                }
                waiting.register(context);
                settled(attempt()).map_or(Poll::Pending, Poll::Ready)
            },
        );
        result.unwrap_or(Err(RequestError::TimedOut))
    }

    /// With the feature `leaks`, notes who took the buffers: the line that called the public function that calls this.
    #[inline]
    #[cfg_attr(feature = "leaks", track_caller)]
    #[cfg_attr(not(feature = "leaks"), allow(clippy::unused_self, reason = "the feature's part"))]
    fn noted(&self, taken: &[BufferMut]) {
        #[cfg(feature = "leaks")]
        for buffer in taken {
            self.core.table.takers.note(buffer, None);
        }
        #[cfg(not(feature = "leaks"))]
        let _ = taken;
    }
}
