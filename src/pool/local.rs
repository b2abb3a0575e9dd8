//! The pool of one task.

use std::{
    fmt,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use super::{
    core::{Core, ToDepot},
    error::{Holder, PoolError, RequestError},
    quota::Retracted,
};
use crate::{
    buffer::{Buffer, BufferMut, lend::Lender, table::FreeSegment},
    lockfree::wait::{block_on, deadline_after},
    sync::Arc,
};

/// The segments of one task: a guaranteed number of its own, and more while there is a surplus.
///
/// One owner requests (`&mut self`); the buffers may go to any thread and be dropped there. Dropping the pool while
/// buffers are out is fine: they stay valid, and each goes to the network pool when it comes back.
///
/// See the [module](super) for where a request looks, and for the progress of each operation.
pub struct LocalBufferPool {
    core: Arc<Core>,
    lender: Lender,
    /// Own segments that are free, the one returned last on top. Never more than `required`.
    stash: Vec<FreeSegment>,
    id: u64,
    name: String,
    required: u32,
    maximum: u32,
    /// Own segments ever taken from the depot: in the stash, in the inbox, or lent.
    taken: u32,
    blocked: Duration,
}

impl LocalBufferPool {
    /// Takes one free segment, or says at once that there is none. Never blocks, never allocates.
    ///
    /// # Errors
    /// [`RequestError::Exhausted`]: every segment this pool may use is lent out; one may come back at any moment.
    #[inline]
    pub fn try_request(&mut self) -> Result<BufferMut, RequestError> {
        match self.stash.pop() {
            Some(segment) => Ok(self.lender.lend(segment)),
            None => self.request_elsewhere(),
        }
    }

    /// The stash is empty.
    fn request_elsewhere(&mut self) -> Result<BufferMut, RequestError> {
        let stash = &mut self.stash;
        self.lender.collect(|segment| stash.push(segment)); // never over `required`, the stash's capacity
        self.stash.reverse(); // the most recent came first, and goes on top
        if let Some(segment) = self.stash.pop() {
            return Ok(self.lender.lend(segment));
        }
        if self.taken < self.required {
            // Ours by M3. The depot may still be empty if others have borrowed it: it is the next to come back.
            let segment = self.core.take().ok_or(RequestError::Exhausted)?;
            self.taken += 1;
            return Ok(self.lender.lend(segment));
        }
        if self.lender.borrowed_out() < u64::from(self.maximum - self.required) {
            let (borrowed, Retracted(mut retracted)) = self.core.quota.borrow_one();
            if borrowed {
                if let Some(segment) = self.core.take() {
                    return Ok(self.lender.lend_borrowed(segment));
                }
                // A pool made after we got the credit has set its part aside and taken the segment: that goes first (M3).
                self.core.quota.give_back(1);
                retracted = true;
            }
            if retracted {
                self.core.waiters.wake();
            }
        }
        Err(RequestError::Exhausted)
    }

    /// Takes one free segment, waiting for one if need be. Blocking, on the return of a segment.
    ///
    /// # Errors
    /// None today; the type leaves room for pools that fail.
    pub fn request(&mut self) -> Result<BufferMut, RequestError> {
        self.request_until(None)
    }

    /// Takes one free segment, waiting at most `timeout` for one. Blocking.
    ///
    /// # Errors
    /// [`RequestError::TimedOut`]: none came back in time.
    pub fn request_timeout(&mut self, timeout: Duration) -> Result<BufferMut, RequestError> {
        self.request_until(deadline_after(timeout))
    }

    fn request_until(&mut self, deadline: Option<Instant>) -> Result<BufferMut, RequestError> {
        if let Ok(buffer) = self.try_request() {
            return Ok(buffer);
        }
        let since = Instant::now();
        let result = block_on(deadline, |context| self.poll_request(context));
        self.blocked += since.elapsed();
        result.unwrap_or(Err(RequestError::TimedOut))
    }

    /// Takes one free segment, or arranges for the waker to be woken when there may be one.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Result<BufferMut, RequestError>> {
        loop {
            if let Ok(buffer) = self.try_request() {
                return Poll::Ready(Ok(buffer));
            }
            // Register everywhere first, then look everywhere again (M4). An own segment announces itself in the inbox,
            // in the same word that says we sleep; a borrowed one, or one of somebody else, in the depot.
            self.lender.register(context.waker());
            if self.taken < self.required || self.maximum > self.required {
                self.core.waiters.register(context.waker());
            }
            if let Ok(buffer) = self.try_request() {
                return Poll::Ready(Ok(buffer));
            }
            if self.lender.park() {
                return Poll::Pending;
            }
        }
    }

    /// Gives a buffer back on the owner's side: for an own segment with no other handle no atomic read-modify-write at
    /// all, else like dropping it. Wait-free, or as drop.
    #[inline]
    pub fn recycle(&mut self, buffer: impl Into<Buffer>) {
        match self.lender.take_back(buffer.into()) {
            Ok(segment) => self.stash.push(segment), // never over `required`, the stash's capacity
            Err(buffer) => drop(buffer),
        }
    }

    /// Segments lent out at this moment. May shrink at any moment.
    #[must_use]
    pub fn lent(&mut self) -> u32 {
        let stash = &mut self.stash;
        self.lender.collect(|segment| stash.push(segment));
        (self.lender.own_out() + self.lender.borrowed_out()) as u32
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Segments that are its own.
    #[must_use]
    pub fn required(&self) -> u32 {
        self.required
    }

    /// Segments it may have lent out at most.
    #[must_use]
    pub fn maximum(&self) -> u32 {
        self.maximum
    }

    /// Bytes in each segment.
    #[must_use]
    pub fn segment_size(&self) -> usize {
        self.lender.table().segment_size()
    }

    /// The time that [`request`](Self::request) and [`request_timeout`](Self::request_timeout) have waited, in all.
    #[must_use]
    pub fn blocked(&self) -> Duration {
        self.blocked
    }
}

impl Drop for LocalBufferPool {
    fn drop(&mut self) {
        {
            let mut registry = self.core.registry.lock().expect("no panic while it is held");
            registry.pools.remove(&self.id);
        }
        // What was never taken is in the depot already; each of the others becomes surplus as it gets there.
        self.core.quota.give_back(self.required - self.taken);
        for segment in self.stash.drain(..) {
            self.core.put(segment);
        }
        self.core.waiters.wake();
    }
}

impl fmt::Debug for LocalBufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBufferPool")
            .field("name", &self.name)
            .field("required", &self.required)
            .field("maximum", &self.maximum)
            .field("stash", &self.stash.len())
            .field("lender", &self.lender)
            .finish_non_exhaustive()
    }
}

/// Settings of a [`LocalBufferPool`]. See [`NetworkBufferPool::local_pool`](super::NetworkBufferPool::local_pool).
#[derive(Debug)]
#[must_use = "call `build`"]
pub struct LocalBufferPoolBuilder {
    core: Arc<Core>,
    name: String,
    required: u32,
    maximum: u32,
}

impl LocalBufferPoolBuilder {
    pub(super) fn new(core: Arc<Core>, name: String) -> Self {
        Self { core, name, required: 0, maximum: u32::MAX }
    }

    /// Segments that nobody else can take (M3). 0 unless told otherwise.
    pub fn required(mut self, segments: u32) -> Self {
        self.required = segments;
        self
    }

    /// Segments that may be lent out at once, those above `required` as long as there is a surplus. Unlimited unless
    /// told otherwise.
    pub fn maximum(mut self, segments: u32) -> Self {
        self.maximum = segments;
        self
    }

    /// Makes the pool. Blocking, on creating and dropping of other pools only.
    ///
    /// # Errors
    /// * [`PoolError::Insufficient`]: more is required than is not promised yet; the error says to whom, and what fits.
    /// * [`PoolError::MaximumBelowRequired`], [`PoolError::Nothing`]: the settings contradict each other.
    ///
    /// # Panics
    /// Never: the mutex it takes is not held across anything that panics.
    pub fn build(self) -> Result<LocalBufferPool, PoolError> {
        let Self { core, name, required, maximum } = self;
        if maximum < required {
            return Err(PoolError::MaximumBelowRequired { name, required, maximum });
        }
        if maximum == 0 {
            return Err(PoolError::Nothing { name });
        }
        let total = core.table.segments();
        let id = {
            let mut registry = core.registry.lock().expect("no panic while it is held");
            let promised: u32 = registry.pools.values().map(|holder| holder.required).sum();
            let available = total - promised;
            if required > available {
                let mut holders: Vec<_> = registry.pools.values().cloned().collect();
                holders.sort_by_key(|holder| std::cmp::Reverse(holder.required));
                return Err(PoolError::Insufficient { name, required, available, total, holders });
            }
            let id = registry.next_id;
            registry.next_id += 1;
            registry.pools.insert(id, Holder { name: name.clone(), required, maximum });
            id
        };
        core.quota.set_aside(required);
        let lender = Lender::new(core.table.clone(), Box::new(ToDepot(core.clone())));
        Ok(LocalBufferPool {
            lender,
            stash: Vec::with_capacity(required as usize),
            id,
            name,
            required,
            maximum,
            taken: 0,
            blocked: Duration::ZERO,
            core,
        })
    }
}
