//! The road between a subpartition and its reader: a queue of buffers and events, and the flag that says the reader has
//! been told.
//!
//! ```text
//!  writer's thread                    shared                               reader's thread
//!  Sender ── push ──▶ queue (spsc) of BufferConsumers and events ──▶ Receiver ── poll ─▶ buffers, events
//!         ── notify ─▶ state: QUEUED? ─ if it was not ─▶ Signal.inbox: this channel's index ─▶ the gate
//! ```
//!
//! The lower half of floor 4: `partition/` owns senders, `gate/` owns receivers, neither knows the other, and a
//! transport may stand at either end.
//!
//! # Telling the reader
//!
//! A channel is in its gate's inbox at most once: who turns `QUEUED` on puts it there. The reader keeps the token while
//! it finds something, and turns `QUEUED` off when it finds nothing, and then looks once more. Both sides go through
//! read-modify-writes of `state`: if the writer's comes first, the reader's second look sees what was added; if the
//! reader's comes first, the writer finds `QUEUED` off and tells it anew (M4).
//!
//! Of a segment that is still being filled the reader takes what is committed only if it was told of that: a flush turns
//! `FLUSHED` on in the same step, and the reader takes note of it, and turns it off, in the step in which it turns
//! `QUEUED` off. Else a reader that is faster than its writer would take each record as it is committed, and the length
//! of the segment would go from core to core for each of them.
//!
//! # Going away
//!
//! A receiver that is dropped leaves its end of the queue in `orphan` and turns `RELEASED` on. A writer that notifies
//! afterwards finds the bit and empties the queue itself; if it notified before, the receiver finds `QUEUED` on and
//! empties it. Either way no segment stays behind.
#![forbid(unsafe_code)]

mod event;
mod receiver;
mod sender;
mod signal;

pub use event::{Cause, Event};
pub(crate) use receiver::{Item, Receiver};
pub(crate) use sender::{Released, Sender};
pub(crate) use signal::Signal;

use crate::{
    buffer::BufferConsumer,
    lockfree::spsc::{Consumer, queue},
    sync::{Arc, AtomicBool, AtomicU32, Mutex, Ordering},
};

/// The channel is in its gate's inbox, or the gate is at it.
const QUEUED: u32 = 1;
/// The receiver is gone.
const RELEASED: u32 = 2;
/// The writer, or the timer, has flushed: what is committed in the open segment is to be taken too.
const FLUSHED: u32 = 4;

/// What the reader is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// A segment is full, or an event stands behind it.
    Whole,
    /// What is committed in the open segment, too.
    Flushed,
}

/// What stands in the queue.
#[derive(Debug)]
enum Entry {
    /// A segment, perhaps still being filled.
    Data(BufferConsumer),
    Event(Event),
}

/// What both ends, and the flush timer, share.
#[derive(Debug)]
pub(crate) struct Shared {
    state: AtomicU32,
    /// The writer has a segment open, so there may be something to flush. Written by the writer; a hint for the timer.
    open: AtomicBool,
    signal: Arc<Signal>,
    index: u32,
    orphan: Mutex<Option<Consumer<Entry>>>,
}

impl Shared {
    /// Tells the reader that there is something to read; `false` if it is gone. Lock-free. From any thread.
    fn notify(&self, told: Told) -> bool {
        let bits = match told {
            Told::Whole => QUEUED,
            Told::Flushed => QUEUED | FLUSHED,
        };
        // ORDERING C1 AcqRel: Release pairs with C2 and C3, what was added before is seen by the reader's second look, or
        // when it empties the queue. Acquire pairs with C2: the reader has read the channel's link in the inbox before we
        // write it again. (Not modelled: loom lets no load see a store that comes later.) What RELEASED stands for is
        // ordered by the lock of `orphan`.
        let before = self.state.fetch_or(bits, Ordering::AcqRel);
        if before & RELEASED != 0 {
            return false;
        }
        if before & QUEUED == 0 {
            self.signal.announce(self.index);
        }
        true
    }

    /// Flushes on behalf of the writer, if it has a segment open. From any thread.
    pub(crate) fn flush_if_open(&self) {
        // Relaxed: a hint. If it is stale the next tick sees it; what was committed is seen at the latest then.
        if self.open.load(Ordering::Relaxed) {
            self.notify(Told::Flushed);
        }
    }

    /// Empties the queue that the receiver left. Control plane.
    fn drain_orphan(&self) {
        if let Some(queue) = &mut *self.orphan.lock().expect("no panic while it is held") {
            while queue.pop().is_some() {}
        }
    }
}

/// A channel that announces itself to `signal` as number `index`.
pub(crate) fn channel(signal: Arc<Signal>, index: u32) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        state: AtomicU32::new(0),
        open: AtomicBool::new(false),
        signal,
        index,
        orphan: Mutex::new(None),
    });
    let (producer, consumer) = queue();
    (Sender::new(shared.clone(), producer), Receiver::new(shared, consumer))
}
