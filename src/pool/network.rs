//! The one pool of a process.

use std::fmt;

use super::{
    core::Core,
    error::{Holder, PoolError},
    local::LocalBufferPoolBuilder,
};
use crate::{
    buffer::table::SegmentTable,
    lockfree::inbox::MAX_INDEX,
    memory::{Arena, ArenaOptions},
    sync::Arc,
};

/// All buffer memory of a process: one mapping, divided into segments, from which [local pools](super::LocalBufferPool)
/// are made.
///
/// A cheap handle: clones are the same pool. The memory is unmapped when the last handle, local pool and buffer is
/// gone, in whatever order.
///
/// It lends nothing itself: what is requested and returned all day goes through local pools, one for each task.
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
    core: Arc<Core>,
}

impl NetworkBufferPool {
    /// The settings to start from: 2,048 segments of 32 KiB (64 MiB), and no special requests to the system.
    pub fn builder() -> NetworkBufferPoolBuilder {
        NetworkBufferPoolBuilder { arena: ArenaOptions::new(2048) }
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

    /// Who was promised how much, and what is left: one snapshot for people and metrics. Blocking, on creating and
    /// dropping of pools only. The numbers are read one after the other, while requests go on.
    ///
    /// # Panics
    /// Never: the mutex it takes is not held across anything that panics.
    ///
    /// # Examples
    /// ```
    /// use forebay::pool::NetworkBufferPool;
    /// let pool = NetworkBufferPool::builder().segments(8).build()?;
    /// let _sorter = pool.local_pool("sorter").required(6).build()?;
    /// let usage = pool.usage();
    /// assert_eq!((usage.segments, usage.in_use, usage.surplus), (8, 0, 2));
    /// assert_eq!(usage.pools[0].to_string(), r#""sorter" requires 6"#);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn usage(&self) -> Usage {
        let registry = self.core.registry.lock().expect("no panic while it is held");
        Usage {
            segments: self.segments(),
            in_use: self.in_use(),
            most_in_use: self.most_in_use(),
            surplus: self.core.quota.surplus(),
            pools: registry.pools.values().cloned().collect(),
        }
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

/// What [`NetworkBufferPool::usage`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// All segments.
    pub segments: u32,
    /// Segments away from the depot: [`NetworkBufferPool::in_use`].
    pub in_use: u32,
    /// The most there were: [`NetworkBufferPool::most_in_use`].
    pub most_in_use: u32,
    /// Segments that may be borrowed by any pool; below zero while pools that have borrowed owe them to others.
    pub surplus: i64,
    /// The local pools, oldest first.
    pub pools: Vec<Holder>,
}

/// Settings of a [`NetworkBufferPool`], from [`NetworkBufferPool::builder`]. What the requests to the system mean, and
/// where they are to be had, is told at [`ArenaOptions`].
#[derive(Debug, Clone)]
#[must_use = "call `build`"]
pub struct NetworkBufferPoolBuilder {
    arena: ArenaOptions,
}

impl NetworkBufferPoolBuilder {
    /// Number of segments, at least 1. Together with the segment size this bounds the buffer memory (M2); besides, each
    /// takes 64 bytes of heap for its header, and a few for its place in the depot.
    pub fn segments(mut self, segments: u32) -> Self {
        self.arena.segments = segments;
        self
    }

    /// Bytes in each segment: a multiple of the page size, at most 1 GiB. 32 KiB unless told otherwise.
    pub fn segment_size(mut self, bytes: usize) -> Self {
        self.arena.segment_size = bytes;
        self
    }

    /// Maps every page now, rather than when it is first touched.
    pub fn prefault(mut self, yes: bool) -> Self {
        self.arena.prefault = yes;
        self
    }

    /// Asks for huge pages (`MADV_HUGEPAGE`): faster to fault in, fewer TLB misses.
    pub fn huge_pages(mut self, yes: bool) -> Self {
        self.arena.huge_pages = yes;
        self
    }

    /// Keeps the memory out of core dumps (`MADV_DONTDUMP`).
    pub fn exclude_from_core_dumps(mut self, yes: bool) -> Self {
        self.arena.exclude_from_core_dumps = yes;
        self
    }

    /// Keeps the memory from being swapped out (`mlock`).
    pub fn lock_in_ram(mut self, yes: bool) -> Self {
        self.arena.lock_in_ram = yes;
        self
    }

    /// Maps the memory. Blocking, on the system.
    ///
    /// # Errors
    /// * [`PoolError::Arena`]: a setting is out of range, or the system refused the mapping or one of the options. The
    ///   error says which and what to do. Nothing stays mapped.
    /// * [`PoolError::TooManySegments`]: more than 2³² − 4 of them.
    pub fn build(self) -> Result<NetworkBufferPool, PoolError> {
        let segments = self.arena.segments;
        if segments > MAX_INDEX {
            return Err(PoolError::TooManySegments { segments, limit: MAX_INDEX });
        }
        let table = SegmentTable::new(Arena::new(&self.arena)?);
        Ok(NetworkBufferPool { core: Arc::new(Core::new(table)) })
    }
}
