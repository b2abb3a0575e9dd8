//! How a network pool is to be made.
#![allow(clippy::disallowed_types, reason = "of std's `Arc`: loom's can not hold a `dyn Fn`")]

use std::{fmt, sync::Arc as StdArc};

use super::{
    core::{Core, OnOvercommit, Rules},
    error::PoolError,
    network::NetworkBufferPool,
    usage::Overcommitment,
};
use crate::{
    buffer::{table::SegmentTable, terms::Terms},
    lockfree::{inbox::MAX_INDEX, wait::WaitStrategy},
    memory::{Arena, ArenaOptions, total_memory},
    sync::Arc,
};

/// Settings of a [`NetworkBufferPool`], from [`NetworkBufferPool::builder`]. What the requests to the system mean, and
/// where they are to be had, is told at [`ArenaOptions`].
///
/// How large it is is said by one of [`segments`](Self::segments), [`bytes`](Self::bytes) and
/// [`fraction_of_memory`](Self::fraction_of_memory): the last one called counts.
#[derive(Clone)]
#[must_use = "call `build`"]
pub struct NetworkBufferPoolBuilder {
    arena: ArenaOptions,
    size: Size,
    strategy: WaitStrategy,
    zeroed: bool,
    poisoned: bool,
    on_overcommit: Option<OnOvercommit>,
}

#[derive(Debug, Clone, Copy)]
enum Size {
    Segments(u32),
    Bytes(u64),
    Fraction(f64),
}

impl NetworkBufferPoolBuilder {
    pub(super) fn new() -> Self {
        Self {
            arena: ArenaOptions::new(0), // as `size` says
            size: Size::Segments(2048),
            strategy: WaitStrategy::default(),
            zeroed: false,
            poisoned: false,
            on_overcommit: None,
        }
    }

    /// Number of segments, at least 1. Together with the segment size this bounds the buffer memory (M2); besides, each
    /// takes 64 bytes of heap for its header, and a few for its place in the depot.
    pub fn segments(mut self, segments: u32) -> Self {
        self.size = Size::Segments(segments);
        self
    }

    /// As many segments as fit into so many bytes.
    ///
    /// # Examples
    /// ```
    /// use forebay::pool::NetworkBufferPool;
    /// let pool = NetworkBufferPool::builder().bytes(1_000_000).build()?;
    /// assert_eq!(pool.segments(), 30, "of 32,768 bytes, and a rest that is left alone");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn bytes(mut self, bytes: u64) -> Self {
        self.size = Size::Bytes(bytes);
        self
    }

    /// As many segments as fit into this part of the memory that the process may use: [`total_memory`], which heeds the
    /// limit of a container. Above 0, at most 1.
    ///
    /// # Source
    /// Flink's `taskmanager.memory.network.fraction`.
    pub fn fraction_of_memory(mut self, fraction: f64) -> Self {
        self.size = Size::Fraction(fraction);
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

    /// Fills each segment with zeros when its last handle is dropped, so that no bytes of one user are seen by the
    /// next: for processes that serve several tenants. Costs whoever drops it the filling, and the owner the short way
    /// home: [`recycle`](super::LocalBufferPool::recycle) becomes a drop. Off unless told otherwise, and costs nothing
    /// then.
    pub fn zero_recycled(mut self, yes: bool) -> Self {
        self.zeroed = yes;
        self
    }

    /// Fills each segment with the byte `0xDB` when its last handle is dropped, so that who reads what it has not
    /// written sees it: for debugging. Goes before [`zero_recycled`](Self::zero_recycled), and costs the same.
    pub fn poison_recycled(mut self, yes: bool) -> Self {
        self.poisoned = yes;
        self
    }

    /// How requests without a local pool wait. Local pools have a setting of their own.
    pub fn waiting(mut self, strategy: WaitStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Calls `tell` whenever a guarantee is given that is not covered: a pool is made or grows, or exclusive segments
    /// are asked for, while others have borrowed what it is to have. Nothing is wrong yet: it comes as they return it,
    /// and nobody borrows until then. But who is told often has borrowers that hold on, and should raise what they
    /// require, or the number of segments.
    ///
    /// Called by the thread that gives the guarantee, under no lock.
    ///
    /// # Examples
    /// ```
    /// use forebay::pool::NetworkBufferPool;
    /// let pool = NetworkBufferPool::builder().segments(4).on_overcommit(|what| eprintln!("{what}")).build()?;
    /// let mut greedy = pool.local_pool("greedy").build()?;
    /// let mut all = Vec::new();
    /// greedy.try_request_many(4, &mut all)?;
    /// let late = pool.local_pool("late").required(3).build()?; // tells that 3 segments are owed
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn on_overcommit(mut self, tell: impl Fn(&Overcommitment) + Send + Sync + 'static) -> Self {
        self.on_overcommit = Some(StdArc::new(tell));
        self
    }

    /// Maps the memory. Blocking, on the system.
    ///
    /// # Errors
    /// * [`PoolError::Arena`]: a setting is out of range, or the system refused the mapping or one of the options. The
    ///   error says which and what to do. Nothing stays mapped.
    /// * [`PoolError::TooManySegments`]: more than 2³¹ − 1 of them.
    /// * [`PoolError::LessThanASegment`], [`PoolError::Fraction`]: the size is out of range: correct it.
    /// * [`PoolError::MemoryUnknown`]: a fraction was asked for, and the system does not say of what. Give a number.
    pub fn build(self) -> Result<NetworkBufferPool, PoolError> {
        let mut arena = self.arena;
        arena.segments = segments(self.size, arena.segment_size)?;
        let table = SegmentTable::new(Arena::new(&arena)?);
        let mut terms = Terms::OWN;
        if self.zeroed {
            terms = terms.zeroed();
        }
        if self.poisoned {
            terms = terms.poisoned();
        }
        let core = Core::new(table, Rules { terms, on_overcommit: self.on_overcommit });
        Ok(NetworkBufferPool::new(Arc::new(core), self.strategy))
    }
}

/// How many segments that is, if they can be named.
fn segments(size: Size, segment_size: usize) -> Result<u32, PoolError> {
    let bytes = match size {
        Size::Segments(segments) => return named(segments.into()),
        Size::Bytes(bytes) => bytes,
        Size::Fraction(fraction) if fraction > 0.0 && fraction <= 1.0 => {
            (total_memory().ok_or(PoolError::MemoryUnknown)? as f64 * fraction) as u64
        }
        Size::Fraction(fraction) => return Err(PoolError::Fraction { fraction }),
    };
    match bytes.checked_div(segment_size as u64) {
        None => Ok(1), // the arena says what is wrong with segments of 0 bytes
        Some(0) => Err(PoolError::LessThanASegment { bytes, segment_size }),
        Some(segments) => named(segments),
    }
}

fn named(segments: u64) -> Result<u32, PoolError> {
    match u32::try_from(segments) {
        Ok(few) if few <= MAX_INDEX => Ok(few),
        _ => Err(PoolError::TooManySegments { segments, limit: MAX_INDEX }),
    }
}

impl fmt::Debug for NetworkBufferPoolBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NetworkBufferPoolBuilder")
            .field("size", &self.size)
            .field("arena", &self.arena)
            .field("zeroed", &self.zeroed)
            .field("poisoned", &self.poisoned)
            .finish_non_exhaustive()
    }
}
