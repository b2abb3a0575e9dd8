//! What all local pools of a network pool share.
#![allow(clippy::disallowed_types, reason = "of a statistic, which decides nothing; models need not explore it")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32 as Counter, Ordering::Relaxed},
};

use super::{depot::Depot, error::Holder, quota::Quota, waiters::Waiters};
use crate::{
    buffer::{
        lend::BufferRecycler,
        table::{FreeSegment, SegmentTable},
    },
    sync::{Arc, Mutex},
};

/// Depot, quota, waiters, and the list of pools.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) table: Arc<SegmentTable>,
    pub(crate) depot: Depot,
    pub(crate) quota: Quota,
    pub(crate) waiters: Waiters,
    pub(crate) registry: Mutex<Registry>,
    /// The most segments that were away from the depot at once.
    most_in_use: Counter,
}

/// Who was promised how much. Control plane only.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    pub(crate) pools: BTreeMap<u64, Holder>,
    pub(crate) next_id: u64,
}

impl Core {
    pub(crate) fn new(table: Arc<SegmentTable>) -> Self {
        Self {
            depot: Depot::full(&table),
            quota: Quota::new(table.segments()),
            waiters: Waiters::new(),
            registry: Mutex::new(Registry::default()),
            most_in_use: Counter::new(0),
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
}

/// The depot as the place where borrowed and orphaned segments go; keeps the core alive for as long as one is out.
#[derive(Debug)]
pub(crate) struct ToDepot(pub(crate) Arc<Core>);

impl BufferRecycler for ToDepot {
    fn recycle(&self, segment: FreeSegment) {
        self.0.put(segment);
    }
}
