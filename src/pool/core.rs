//! What all local pools of a network pool share.
#![allow(
    clippy::disallowed_types,
    reason = "of numbers that are only looked at, and a hint; models need not explore them"
)]

use std::sync::atomic::{AtomicU32 as Shown, Ordering::Relaxed};

use super::{
    depot::Depot, failure::Failures, late::Late, pressure::Pressure, quota::Quota, registry::Registry,
    state::PoolState, usage::Overcommitment, waiters::Waiters,
};
use crate::{
    buffer::{
        home::BufferRecycler,
        table::{FreeSegment, SegmentTable},
        terms::Terms,
    },
    sync::{Arc, AtomicU32, Ordering},
};

/// What the settings of a network pool ask of all its local pools.
pub(crate) struct Rules {
    /// On which segments are lent.
    pub(crate) terms: Terms,
    pub(crate) on_overcommit: Option<OnOvercommit>,
}

/// See [`NetworkBufferPoolBuilder::on_overcommit`](super::NetworkBufferPoolBuilder::on_overcommit).
pub(crate) type OnOvercommit = std::sync::Arc<dyn Fn(&Overcommitment) + Send + Sync>;

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rules").field("terms", &self.terms).finish_non_exhaustive()
    }
}

/// Depot, quota, waiters, and the list of pools.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) table: Arc<SegmentTable>,
    pub(crate) depot: Depot,
    pub(crate) quota: Quota,
    pub(crate) waiters: Waiters,
    pub(crate) pressure: Pressure,
    pub(crate) registry: Registry,
    /// Of the network pool as a whole: for requests without a local pool, and for pools that are yet to be made.
    pub(crate) failures: Failures,
    pub(crate) rules: Rules,
    /// Exclusive segments promised, and not yet back.
    exclusive: AtomicU32,
    /// Segments lent without a local pool, exclusive ones apart.
    direct: Shown,
    /// The most segments that were away from the depot at once.
    most_in_use: Shown,
}

impl Core {
    pub(crate) fn new(table: Arc<SegmentTable>, rules: Rules) -> Self {
        Self {
            depot: Depot::full(&table),
            quota: Quota::new(table.segments()),
            waiters: Waiters::new(),
            pressure: Pressure::new(),
            registry: Registry::new(),
            failures: Failures::new(),
            rules,
            exclusive: AtomicU32::new(0),
            direct: Shown::new(0),
            most_in_use: Shown::new(0),
            table,
        }
    }

    /// Takes a segment out of the depot and counts it.
    pub(crate) fn take(&self) -> Option<FreeSegment> {
        let segment = self.depot.take(&self.table)?;
        let in_use = self.in_use();
        if in_use > self.most_in_use.load(Relaxed) {
            self.most_in_use.fetch_max(in_use, Relaxed);
        }
        Some(segment)
    }

    /// Puts a segment into the depot as surplus, and wakes who waits for one.
    pub(crate) fn put(&self, segment: FreeSegment) {
        self.depot.put(segment);
        self.quota.give_back(1);
        self.waiters.wake();
    }

    /// Segments away from the depot. A snapshot.
    pub(crate) fn in_use(&self) -> u32 {
        self.table.segments() - self.depot.len() as u32
    }

    pub(crate) fn most_in_use(&self) -> u32 {
        self.most_in_use.load(Relaxed)
    }

    /// Exclusive segments promised, and not yet back. Grows under the registry's lock only.
    pub(crate) fn exclusive(&self) -> u32 {
        self.exclusive.load(Ordering::Relaxed) // a number by itself: the segments are set aside in the quota
    }

    /// The caller has the registry's lock.
    pub(crate) fn promise_exclusive(&self, segments: u32) {
        self.exclusive.fetch_add(segments, Ordering::Relaxed); // as above; returns subtract meanwhile
    }

    /// So many exclusive segments are, or are about to be, surplus again.
    pub(crate) fn end_exclusive(&self, segments: u32) {
        self.exclusive.fetch_sub(segments, Ordering::Relaxed); // as above
        self.registry.set_stale();
    }

    pub(crate) fn direct(&self) -> u32 {
        self.direct.load(Relaxed)
    }

    pub(crate) fn count_direct(&self, segments: u32) {
        self.direct.fetch_add(segments, Relaxed);
    }

    /// A local pool waits less, or not at all, so others need hold back no longer.
    pub(crate) fn relieve(&self) {
        if self.pressure.lower() {
            self.waiters.wake();
        }
    }

    /// Tells whoever wants to know, if a guarantee was given that is not covered. Under no lock.
    pub(crate) fn check_overcommit(&self, pool: Option<&str>) {
        if let Some(tell) = &self.rules.on_overcommit {
            let surplus = self.quota.surplus();
            if surplus < 0 {
                tell(&Overcommitment { pool: pool.map(str::to_owned), owed: surplus.unsigned_abs() });
            }
        }
    }
}

/// The depot as the place where the borrowed and late segments of one local pool go; keeps the core alive for as long
/// as one is out.
#[derive(Debug)]
pub(crate) struct ToDepot {
    pub(crate) core: Arc<Core>,
    pub(crate) pool: Arc<PoolState>,
    pub(crate) late: Arc<Late>,
}

impl BufferRecycler for ToDepot {
    fn recycle(&self, segment: FreeSegment) {
        self.pool.count_back();
        self.core.put(segment);
    }

    fn recycle_late(&self, segment: FreeSegment) {
        self.pool.count_back();
        self.core.depot.put(segment);
        if self.late.count() {
            self.core.quota.give_back(1);
        }
        self.core.waiters.wake();
    }

    fn back_from(&self, channel: u32) {
        self.pool.count_back_from(channel);
    }
}

/// The same for segments lent without a local pool.
#[derive(Debug)]
pub(crate) struct DirectToDepot {
    pub(crate) core: Arc<Core>,
    pub(crate) exclusive: bool,
}

impl BufferRecycler for DirectToDepot {
    fn recycle(&self, segment: FreeSegment) {
        if self.exclusive {
            self.core.end_exclusive(1);
        } else {
            self.core.direct.fetch_sub(1, Relaxed);
        }
        self.core.put(segment);
    }

    fn recycle_late(&self, segment: FreeSegment) {
        self.recycle(segment); // all of them are borrowed
    }

    fn back_from(&self, _channel: u32) {}
}
