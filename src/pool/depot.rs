//! The depot: all free segments that no local pool keeps.
//!
//! crossbeam's `ArrayQueue` is lock-free only in the loose sense: a popper can wait for a pusher that was suspended
//! between claiming and stamping a slot. So no hot path goes here; local pools come for a segment once, and keep it.
//!
//! loom does not see the atomics inside crossbeam, so under its cfg a stand-in takes its place that gives no more than
//! the contract: a pop finds what was put before it (in the sense of happens-before), and sees what was done before
//! that was put.

use crate::buffer::table::{FreeSegment, SegmentTable};

#[cfg(not(forebay_loom))]
type Queue = crossbeam_queue::ArrayQueue<u32>;
#[cfg(forebay_loom)]
type Queue = model::Queue;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Depot {
    queue: Queue,
}

impl Depot {
    /// A depot that holds every segment of `table`.
    pub(crate) fn full(table: &SegmentTable) -> Self {
        let queue = Queue::new(table.segments() as usize);
        for segment in table.all() {
            queue.push(segment.into_index()).expect("as many places as segments");
        }
        Self { queue }
    }

    /// Takes a free segment. Lock-free (see the module).
    pub(crate) fn take(&self, table: &SegmentTable) -> Option<FreeSegment> {
        self.queue.pop().map(|index| table.regain(index))
    }

    /// Puts a free segment back. Lock-free (see the module).
    pub(crate) fn put(&self, segment: FreeSegment) {
        self.queue.push(segment.into_index()).expect("broken invariant M1: more segments than there are");
    }

    /// Segments in the depot; a snapshot.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }
}

#[cfg(forebay_loom)]
mod model {
    #![allow(clippy::disallowed_types, reason = "of `len`, which is a snapshot")]

    use std::sync::atomic::{AtomicUsize as Counter, Ordering::Relaxed};

    use crate::sync::{AtomicBool, Ordering};

    #[derive(Debug)]
    pub(super) struct Queue {
        /// For each index, whether it is here.
        here: Box<[AtomicBool]>,
        /// For `len` alone: std's, so that models do not spend their steps on it.
        len: Counter,
    }

    impl Queue {
        pub(super) fn new(capacity: usize) -> Self {
            Self { here: (0..capacity).map(|_| AtomicBool::new(false)).collect(), len: Counter::new(0) }
        }

        /// The index itself if it is here already.
        pub(super) fn push(&self, index: u32) -> Result<(), u32> {
            self.len.fetch_add(1, Relaxed);
            // Release for the Acquire in `pop`: the contract's second half.
            if self.here[index as usize].swap(true, Ordering::Release) { Err(index) } else { Ok(()) }
        }

        pub(super) fn pop(&self) -> Option<u32> {
            let index = self.here.iter().position(|here| {
                // Relaxed: may miss what is put meanwhile, and nothing else.
                here.load(Ordering::Relaxed)
                    && here.compare_exchange(true, false, Ordering::Acquire, Ordering::Relaxed).is_ok()
            })?;
            self.len.fetch_sub(1, Relaxed);
            Some(index as u32)
        }

        pub(super) fn len(&self) -> usize {
            self.len.load(Relaxed)
        }
    }
}
