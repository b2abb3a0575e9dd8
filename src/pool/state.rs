//! What a local pool shares with whoever brings its segments back, and with whoever looks at it.
#![allow(
    clippy::disallowed_types,
    reason = "of names and numbers that are only looked at; models need not explore them"
)]

use std::sync::{
    Arc,
    atomic::{AtomicU32 as Shown, AtomicU64 as ShownLong, Ordering::Relaxed},
};

use super::{
    failure::{Failure, Failures},
    usage::Holder,
};
use crate::{
    lockfree::waker::WakerCell,
    sync::{AtomicU32, AtomicU64, Ordering},
};

/// See the [module](self). The owner has the numbers that decide; those here that nobody but the owner writes are for
/// others to look at.
#[derive(Debug)]
pub(crate) struct PoolState {
    pub(crate) id: u64,
    pub(crate) name: Arc<str>,
    pub(crate) label: Option<Arc<str>>,
    /// Written under the registry's lock.
    required: Shown,
    /// Written under the registry's lock.
    maximum: Shown,
    /// The fair share, written under the registry's lock, read by the owner while others wait.
    share: AtomicU32,
    /// Own segments, lent or free. Written by the owner.
    own: Shown,
    /// Segments lent that come back to the depot, ever. Written by the owner.
    through: ShownLong,
    /// How many of those came back, ever. Written by whoever brings one back.
    back: AtomicU64,
    /// For each channel, the segments that came back from it, ever; the count goes round.
    channels: Box<[AtomicU32]>,
    pub(crate) failures: Failures,
    /// Of the owner while it waits: for a failure, which comes neither through the inbox nor through the depot.
    pub(crate) waker: WakerCell,
}

impl PoolState {
    pub(crate) fn new(
        id: u64,
        (name, label): (Arc<str>, Option<Arc<str>>),
        (required, maximum): (u32, u32),
        channels: u32,
    ) -> Self {
        Self {
            id,
            name,
            label,
            required: Shown::new(required),
            maximum: Shown::new(maximum),
            share: AtomicU32::new(required),
            own: Shown::new(0),
            through: ShownLong::new(0),
            back: AtomicU64::new(0),
            channels: (0..channels).map(|_| AtomicU32::new(0)).collect(),
            failures: Failures::new(),
            waker: WakerCell::new(),
        }
    }

    /// `(required, maximum)`.
    pub(crate) fn limits(&self) -> (u32, u32) {
        (self.required.load(Relaxed), self.maximum.load(Relaxed))
    }

    /// The caller has the registry's lock.
    pub(crate) fn set_limits(&self, required: u32, maximum: u32) {
        self.required.store(required, Relaxed);
        self.maximum.store(maximum, Relaxed);
    }

    pub(crate) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed) // a number by itself; whoever redistributes writes
    }

    /// The caller has the registry's lock.
    pub(crate) fn set_share(&self, share: u32) {
        self.share.store(share, Ordering::Relaxed); // a number by itself
    }

    /// Shows what the owner has. Owner only.
    pub(crate) fn show(&self, own: u32, through: u64) {
        self.own.store(own, Relaxed);
        self.through.store(through, Relaxed);
    }

    /// Counts a segment that comes back to the depot; the caller puts it there afterwards, and wakes who waits.
    pub(crate) fn count_back(&self) {
        // Relaxed: other threads add too, and nothing is found through the number. Before the segment is put and its
        // waiters are woken: F1 and F2 there order the number too.
        self.back.fetch_add(1, Ordering::Relaxed);
    }

    /// Segments that came back to the depot, ever.
    pub(crate) fn back(&self) -> u64 {
        self.back.load(Ordering::Relaxed) // see `count_back`
    }

    /// Counts a segment that comes back from `channel`.
    pub(crate) fn count_back_from(&self, channel: u32) {
        // Relaxed: other threads add too. Before the segment is pushed or put: as in `count_back`, and I1 in the inbox.
        self.channels[channel as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Segments that came back from `channel`, ever; the count goes round.
    pub(crate) fn back_from(&self, channel: u32) -> u32 {
        self.channels[channel as usize].load(Ordering::Relaxed) // see `count_back_from`
    }

    /// What the pool was promised, and has. A snapshot.
    pub(crate) fn holder(&self) -> Holder {
        let (required, maximum) = self.limits();
        let back = self.back(); // first: more may be lent, but not less, when the others are read
        let out = self.through.load(Relaxed).saturating_sub(back);
        Holder {
            name: self.name.to_string(),
            label: self.label.as_deref().map(str::to_owned),
            required,
            maximum,
            fair_share: self.share(),
            held: (u64::from(self.own.load(Relaxed)) + out).try_into().unwrap_or(u32::MAX),
        }
    }

    /// Lets every wait of the pool end with an error.
    pub(crate) fn fail(&self, cause: Failure) {
        if self.failures.set(cause) {
            self.waker.wake();
        }
    }
}
