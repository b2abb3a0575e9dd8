//! The one pool of a process.

use std::fmt;

use super::{
    builder::LocalBufferPoolBuilder, core::Core, direct::Direct, failure::Failure,
    network_builder::NetworkBufferPoolBuilder, usage::Usage,
};
use crate::{lockfree::wait::WaitStrategy, sync::Arc};

/// All buffer memory of a process: one mapping, divided into segments, from which [local pools](super::LocalBufferPool)
/// are made.
///
/// A cheap handle: clones are the same pool. The memory is unmapped when the last handle, local pool and buffer is
/// gone, in whatever order.
///
/// What is requested and returned all day goes through local pools, one for each task. Who needs a segment now and
/// then, from whatever thread, may [request](Self::try_request) it here.
///
/// # Examples
/// ```
/// use forebay::pool::NetworkBufferPool;
/// let pool = NetworkBufferPool::builder().segments(64).build()?; // 2 MiB, mapped once
/// let mut local = pool.local_pool("parser").required(4).maximum(16).build()?;
/// let buffer = local.try_request()?;
/// assert_eq!(buffer.len(), 32 * 1024);
/// assert_eq!(pool.usage().in_use, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `NetworkBufferPool`.
#[derive(Clone)]
pub struct NetworkBufferPool {
    pub(super) core: Arc<Core>,
    pub(super) direct: Arc<Direct>,
}

impl NetworkBufferPool {
    /// The settings to start from: 2,048 segments of 32 KiB (64 MiB), and no special requests to the system.
    pub fn builder() -> NetworkBufferPoolBuilder {
        NetworkBufferPoolBuilder::new()
    }

    pub(super) fn new(core: Arc<Core>, strategy: WaitStrategy) -> Self {
        Self { direct: Arc::new(Direct::new(&core, strategy)), core }
    }

    /// The settings of a local pool for one task. `name` appears in errors and in [`usage`](Self::usage); it need not
    /// be unique.
    pub fn local_pool(&self, name: impl Into<String>) -> LocalBufferPoolBuilder {
        LocalBufferPoolBuilder::new(self.core.clone(), name.into())
    }

    /// Number of segments, lent or not. Never changes. Wait-free.
    #[must_use]
    pub fn segments(&self) -> u32 {
        self.core.table.segments()
    }

    /// Bytes in each segment. Never changes. Wait-free.
    #[must_use]
    pub fn segment_size(&self) -> usize {
        self.core.table.segment_size()
    }

    /// Segments away from the common depot at this moment: lent out, or kept by local pools for their next request. May
    /// change at any moment. Lock-free.
    #[must_use]
    pub fn in_use(&self) -> u32 {
        self.core.in_use()
    }

    /// The highest [`in_use`](Self::in_use) there was. A local pool keeps what it has used of its required part, so of
    /// pools that do not borrow this is the sum of what each needed at its own busiest moment. Wait-free.
    #[must_use]
    pub fn most_in_use(&self) -> u32 {
        self.core.most_in_use()
    }

    /// Who was promised how much, who has how much, and what is left: one snapshot for people and metrics. One step for
    /// each local pool, none for the segments. Blocking, on creating, resizing and dropping of pools only. The numbers
    /// are read one after the other, while requests go on.
    ///
    /// # Panics
    /// Never: the mutex it takes is not held across anything that panics.
    ///
    /// # Examples
    /// ```
    /// use forebay::pool::NetworkBufferPool;
    /// let pool = NetworkBufferPool::builder().segments(8).build()?;
    /// let mut sorter = pool.local_pool("sorter").label("job 7").required(6).build()?;
    /// let buffer = sorter.try_request()?;
    /// let usage = pool.usage();
    /// assert_eq!((usage.segments, usage.in_use, usage.surplus), (8, 1, 2));
    /// assert_eq!(usage.pools[0].to_string(), r#""sorter" [job 7] requires 6, holds 1"#);
    /// assert_eq!(usage.pools[0].fair_share, 8, "nobody else wants the rest");
    /// println!("{usage}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.core.refresh_shares();
        Usage {
            segments: self.segments(),
            segment_size: self.segment_size(),
            in_use: self.in_use(),
            most_in_use: self.most_in_use(),
            surplus: self.core.quota.surplus(),
            exclusive: self.core.exclusive(),
            direct: self.core.direct(),
            pools: self.core.holders(),
        }
    }

    /// Which lines of the source took the segments that are out now. With the feature `leaks` alone, which costs two
    /// locks for each segment lent; without it nothing is noted. A step for each segment, under a lock that its lending
    /// and its return take too.
    ///
    /// # Examples
    /// ```
    /// use forebay::pool::NetworkBufferPool;
    /// let pool = NetworkBufferPool::builder().segments(8).build()?;
    /// let mut local = pool.local_pool("parser").required(2).build()?;
    /// std::mem::forget(local.try_request()?); // never comes back
    /// let report = pool.leaks();
    /// assert_eq!((report.lines[0].segments, report.lines[0].pool.as_str()), (1, "parser"));
    /// println!("{report}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "leaks")]
    #[must_use]
    pub fn leaks(&self) -> crate::buffer::LeakReport {
        self.core.table.takers.report()
    }

    /// Ends every request that waits, of all local pools and of those without, and every later one that needs more than
    /// its pool has at hand, with [`RequestError::Failed`](super::RequestError::Failed); no local pool can be made any
    /// more. The first cause counts. Buffers that are out stay valid. Blocking, on the control plane, a step for each
    /// pool.
    ///
    /// # Examples
    /// ```
    /// use forebay::pool::{NetworkBufferPool, PoolError, RequestError};
    /// let pool = NetworkBufferPool::builder().segments(8).build()?;
    /// let mut local = pool.local_pool("task").required(1).build()?;
    /// pool.fail("shutting down");
    /// assert_eq!(local.request().unwrap_err(), RequestError::Failed);
    /// assert!(matches!(pool.local_pool("late").required(1).build(), Err(PoolError::Failed { .. })));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's `NetworkBufferPool.destroyAllBufferPools`.
    pub fn fail(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        self.core.fail_all(&Failure::new(cause));
    }

    /// Why it has failed, if it has; then takes a lock that is held for the copying of it.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        if self.core.failures.any() { self.core.failures.cause() } else { None }
    }
}

impl fmt::Debug for NetworkBufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkBufferPool")
            .field("segments", &self.segments())
            .field("segment_size", &self.segment_size())
            .field("in_use", &self.in_use())
            .finish_non_exhaustive()
    }
}
