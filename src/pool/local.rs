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
    lockfree::wait::{WaitStrategy, deadline_after, wait},
    sync::Arc,
};

/// The segments of one task: a guaranteed number of its own, and more while there is a surplus.
///
/// One owner requests (`&mut self`); the buffers may go to any thread and be dropped there. Dropping the pool while
/// buffers are out is fine: they stay valid, and each goes to the network pool when it comes back.
///
/// See the [module](super) for where a request looks, and for the progress of each operation.
///
/// # Examples
/// ```
/// use forebay::pool::{NetworkBufferPool, RequestError};
/// let network = NetworkBufferPool::builder().segments(8).build()?;
/// let mut parser = network.local_pool("parser").required(2).maximum(3).build()?;
///
/// let own = [parser.try_request()?, parser.try_request()?]; // the guaranteed part
/// let borrowed = parser.try_request()?; // of the surplus of 6
/// assert_eq!(parser.try_request().unwrap_err(), RequestError::Exhausted, "the maximum");
///
/// std::thread::spawn(move || drop(own)).join().unwrap(); // they come home from there
/// drop(borrowed); // and this one goes back to the network pool
/// assert_eq!(parser.lent(), 0);
/// assert_eq!((network.usage().surplus, network.in_use()), (6, 2), "the guaranteed part is kept");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `LocalBufferPool`; the stash is DPDK's per-lcore mempool cache.
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
    /// Takes one free segment, or says at once that there is none. Waits for no segment, allocates nothing.
    ///
    /// Wait-free from the stash and from what came back, else lock-free; see the [module](super). O(1), and one step more
    /// for each segment that came back since the last look.
    ///
    /// # Errors
    /// [`RequestError::Exhausted`]: every segment this pool may use is lent out, or on its way back. One may come back
    /// at any moment: do something else, or wait with [`request`](Self::request) or
    /// [`poll_request`](Self::poll_request).
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, RequestError};
    /// # let pool = NetworkBufferPool::builder().segments(1).build()?;
    /// let mut local = pool.local_pool("task").required(1).build()?;
    /// let buffer = local.try_request()?;
    /// assert_eq!(local.try_request().unwrap_err(), RequestError::Exhausted);
    /// drop(buffer); // the segment goes home
    /// assert!(local.try_request().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's `LocalBufferPool.requestMemorySegment`.
    #[inline]
    pub fn try_request(&mut self) -> Result<BufferMut, RequestError> {
        match self.stash.pop() {
            Some(segment) => Ok(self.lender.lend(segment)),
            None => self.request_elsewhere(),
        }
    }

    /// The stash is empty.
    fn request_elsewhere(&mut self) -> Result<BufferMut, RequestError> {
        self.collect();
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

    /// Takes the own segments that came back into the stash.
    fn collect(&mut self) {
        let (before, stash) = (self.stash.len(), &mut self.stash);
        self.lender.collect(|segment| stash.push(segment)); // never over `required`, the stash's capacity
        stash[before..].reverse(); // the most recent came first, and goes on top
    }

    /// Takes one free segment, waiting for one if need be. Blocking, on the return of a segment: tries a few times,
    /// then parks the thread.
    ///
    /// Waits for ever if the segments are held by whoever calls. [`request_timeout`](Self::request_timeout) does not.
    ///
    /// # Errors
    /// None today; the type leaves room for pools that fail.
    pub fn request(&mut self) -> Result<BufferMut, RequestError> {
        self.request_until(None)
    }

    /// Takes one free segment, waiting at most `timeout` for one. Blocking, as [`request`](Self::request).
    ///
    /// # Errors
    /// [`RequestError::TimedOut`]: none came back in time. Try again, or look who holds them:
    /// [`NetworkBufferPool::usage`](super::NetworkBufferPool::usage).
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
    pub fn request_timeout(&mut self, timeout: Duration) -> Result<BufferMut, RequestError> {
        self.request_until(deadline_after(timeout))
    }

    fn request_until(&mut self, deadline: Option<Instant>) -> Result<BufferMut, RequestError> {
        if let Ok(buffer) = self.try_request() {
            return Ok(buffer);
        }
        let since = Instant::now();
        let look = |pool: &mut Self| pool.try_request().ok().map(Ok);
        let result = wait(WaitStrategy::default(), deadline, self, |_| {}, look, Self::poll_request)
            .unwrap_or(Err(RequestError::TimedOut));
        self.blocked += since.elapsed();
        result
    }

    /// Takes one free segment, or arranges for the waker to be woken when there may be one: poll again then.
    ///
    /// Does not wait for a segment; to leave the waker it may take the lock of the waiting list. Only the waker of the
    /// last call counts. The time until the next call is not part of [`blocked`](Self::blocked).
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
    pub fn poll_request(&mut self, context: &mut Context<'_>) -> Poll<Result<BufferMut, RequestError>> {
        loop {
            if let Ok(buffer) = self.try_request() {
                return Poll::Ready(Ok(buffer));
            }
            // Register everywhere first, then look everywhere again (M4). An own segment announces itself in the inbox,
            // in the same word that says we sleep; a borrowed one, or one of somebody else, in the depot.
            self.lender.register(context.waker());
            if self.taken < self.required || self.maximum > self.required {
                self.core.waiters.register(self.id, context.waker());
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
    /// all, else like dropping it (a buffer of another pool too). Wait-free, or as drop.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::NetworkBufferPool;
    /// # let pool = NetworkBufferPool::builder().segments(2).build()?;
    /// let mut local = pool.local_pool("task").required(2).build()?;
    /// let buffer = local.try_request()?;
    /// let address = buffer.as_ptr();
    /// local.recycle(buffer);
    /// assert_eq!(local.try_request()?.as_ptr(), address, "still warm in cache");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// DPDK's `rte_mempool_put` into the core's own cache.
    #[inline]
    pub fn recycle(&mut self, buffer: impl Into<Buffer>) {
        match self.lender.take_back(buffer.into()) {
            Ok(segment) => self.stash.push(segment), // never over `required`, the stash's capacity
            Err(buffer) => drop(buffer),
        }
    }

    /// Segments lent out at this moment, own and borrowed. May shrink at any moment, and grows only by requests.
    /// Wait-free; takes in what came back, hence `&mut`.
    #[must_use]
    pub fn lent(&mut self) -> u32 {
        self.collect();
        (self.lender.own_out() + self.lender.borrowed_out()) as u32
    }

    /// The name it was given. Wait-free.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Segments that are its own. Never changes. Wait-free.
    #[must_use]
    pub fn required(&self) -> u32 {
        self.required
    }

    /// Segments it may have lent out at most. Never changes. Wait-free.
    #[must_use]
    pub fn maximum(&self) -> u32 {
        self.maximum
    }

    /// Bytes in each segment. Never changes. Wait-free.
    #[must_use]
    pub fn segment_size(&self) -> usize {
        self.lender.table().segment_size()
    }

    /// The time that [`request`](Self::request) and [`request_timeout`](Self::request_timeout) have waited, in all.
    /// Wait-free.
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

/// Settings of a [`LocalBufferPool`], from [`NetworkBufferPool::local_pool`](super::NetworkBufferPool::local_pool). Set
/// [`required`](Self::required), [`maximum`](Self::maximum) or both.
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
    ///
    /// Once used, a segment of this part stays with the pool, lent or free, until the pool is dropped. Those that
    /// others have borrowed by the time the pool is made come to it before anybody else, as they are returned.
    ///
    /// A pool that a [`ResultPartition`](crate::partition::ResultPartition) writes from needs as many as that has
    /// subpartitions.
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
    /// * [`PoolError::MaximumBelowRequired`], [`PoolError::Nothing`]: the settings contradict each other: correct them.
    ///
    /// # Examples
    /// ```
    /// use forebay::pool::{NetworkBufferPool, PoolError};
    /// let network = NetworkBufferPool::builder().segments(8).build()?;
    /// let sorter = network.local_pool("sorter").required(6).build()?;
    /// let error = network.local_pool("parser").required(3).build().unwrap_err();
    /// assert!(matches!(error, PoolError::Insufficient { available: 2, .. }));
    /// assert!(error.to_string().contains(r#""sorter" requires 6"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
