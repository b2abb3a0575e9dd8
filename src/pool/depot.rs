//! The depot: all free segments that no local pool keeps.
//!
//! crossbeam's `ArrayQueue` is lock-free only in the loose sense: a popper can wait for a pusher that was suspended
//! between claiming and stamping a slot. So no hot path goes here; local pools come for a segment once, and keep it.
//!
//! loom does not see the atomics inside crossbeam, so under its cfg a queue behind a loom mutex stands in, with the same
//! contract.

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
    use std::collections::VecDeque;

    use crate::sync::Mutex;

    #[derive(Debug)]
    pub(super) struct Queue(Mutex<VecDeque<u32>>);

    impl Queue {
        pub(super) fn new(capacity: usize) -> Self {
            Self(Mutex::new(VecDeque::with_capacity(capacity)))
        }

        #[allow(clippy::unnecessary_wraps, reason = "the interface of `ArrayQueue`")]
        pub(super) fn push(&self, index: u32) -> Result<(), u32> {
            self.0.lock().unwrap().push_back(index);
            Ok(())
        }

        pub(super) fn pop(&self) -> Option<u32> {
            self.0.lock().unwrap().pop_front()
        }

        pub(super) fn len(&self) -> usize {
            self.0.lock().unwrap().len()
        }
    }
}
