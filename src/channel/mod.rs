//! The road between a subpartition and its reader: a queue of buffers and events, a lane beside it for what overtakes,
//! and the flag that says the reader has been told.
//!
//! ```text
//!  writer's thread                    shared                               reader's thread
//!  Sender ── push ──▶ queue (spsc) of buffers and events ─────────▶ Receiver ── poll ──────────▶ buffers, events
//!         ── overtake ─▶ lane: priority events ───────────────────▶          ── poll_priority ─▶ event, overtaken
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
//! Of a segment that is still being filled the reader takes what is committed only if it was told of that: a flush
//! turns `FLUSHED` on in the same step, and the reader takes note of it, and turns it off, in the step in which it
//! turns `QUEUED` off. Else a reader that is faster than its writer would take each record as it is committed, and the
//! length of the segment would go from core to core for each of them.
//!
//! A reader may come later than the channel is made, as over a network. Until then the token is its own, so a writer
//! tells nobody; it says where it is to be found ([`Receiver::attach`]) before it lets go of the token for the first
//! time.
//!
//! # Overtaking
//!
//! A priority event stands in a lane of its own, with the number of buffers that were added before it. Where exactly it
//! cuts the data is settled by the reader, who alone takes buffers out: what is still queued below that number when the
//! event is taken has been overtaken; what was taken earlier has not. So each buffer is on one side of the cut, with no
//! lock between writer and reader on the way of data. The lane itself is a mutex: it is used once a checkpoint.
//!
//! # Going away
//!
//! A receiver that is dropped leaves its end of the queue in `rare` and turns `RELEASED` on. A writer that notifies
//! afterwards finds the bit and empties the queue itself; if it notified before, the receiver finds `QUEUED` on and
//! empties it. Either way no segment stays behind.
#![forbid(unsafe_code)]
#![allow(dead_code, unused_imports, reason = "some of it is for the transport over a network")]

mod barrier;
mod event;
mod overtaken;
mod receiver;
mod sender;
mod signal;

pub use barrier::{AlignmentType, CheckpointBarrier, SavepointFormat, SnapshotType};
pub use event::{Cause, Event, StopMode};
pub use overtaken::Overtaken;
pub(crate) use overtaken::Ticket;
pub(crate) use receiver::{Item, Next, Receiver};
pub(crate) use sender::{Released, Sender};
pub(crate) use signal::{Announced, Prompt, Said, Signal, Upstream};

use std::collections::VecDeque;

use crate::{
    buffer::{Buffer, BufferConsumer},
    lockfree::spsc::{Consumer, queue},
    sync::{Arc, AtomicBool, AtomicU8, AtomicU16, AtomicU32, Mutex, MutexGuard, Ordering},
};

// Not from the door: set before the first C2 and read after a C1 that found QUEUED off, or under the lock of `rare`, so
// loom has nothing to see in it.
#[allow(clippy::disallowed_types, reason = "see above")]
use std::sync::{OnceLock, atomic::AtomicU32 as Index};

/// The channel is in its gate's inbox, or the gate is at it.
const QUEUED: u8 = 1;
/// The receiver is gone.
const RELEASED: u8 = 2;
/// The writer, or the timer, has flushed: what is committed in the open segment is to be taken too.
const FLUSHED: u8 = 4;

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
    /// A buffer that came whole, from elsewhere.
    Whole(Buffer),
    Event(SharedEvent),
}

/// An event, one for all channels it was sent to.
#[allow(clippy::disallowed_types, reason = "immutable: loom has nothing to see in it")]
pub(crate) type SharedEvent = std::sync::Arc<Event>;

/// What both ends, and the flush timer, share.
#[derive(Debug)]
#[allow(clippy::disallowed_types, reason = "see above")]
pub(crate) struct Shared {
    /// Small, as the index stands beside the signal: thousands of these may be idle.
    state: AtomicU8,
    /// Buffers ever added to the queue, wrapping. Written by the writer.
    added: AtomicU32,
    /// Buffers ever taken out of it, wrapping. Written by the reader.
    taken: AtomicU32,
    /// The weight of all events ever taken, of the queue and of the lane, wrapping: small, for the same reason. Written
    /// by the reader.
    events_taken: AtomicU16,
    /// The writer has a segment open, so there may be something to flush. Written by the writer; a hint for the timer.
    open: AtomicBool,
    /// Whom to tell, and as whom: the index is set before the signal.
    signal: OnceLock<Arc<Signal>>,
    index: Index,
    /// On the heap, for most channels never have any.
    rare: Mutex<Option<Box<Rare>>>,
}

/// What is not on the way of data.
#[derive(Debug, Default)]
struct Rare {
    /// The end of the queue that a receiver left.
    orphan: Option<Consumer<Entry>>,
    /// Priority events, each with the number of buffers added before it, and whoever wants to know what it overtakes.
    lane: VecDeque<(SharedEvent, u32, Option<Ticket>)>,
}

impl Shared {
    /// Tells the reader that there is something to read; `false` if it is gone. Lock-free. From any thread.
    fn notify(&self, told: Told) -> bool {
        let bits = match told {
            Told::Whole => QUEUED,
            Told::Flushed => QUEUED | FLUSHED,
        };
        // ORDERING C1 AcqRel: Release pairs with C2 and C3, what was added before is seen by the reader's second look,
        // or when it empties the queue. Acquire pairs with C2: the reader has read the channel's link in the inbox
        // before we write it again. (Not modelled: loom lets no load see a store that comes later.) What RELEASED
        // stands for is ordered by the lock of `rare`.
        let before = self.state.fetch_or(bits, Ordering::AcqRel);
        if before & RELEASED != 0 {
            return false;
        }
        if before & QUEUED == 0 {
            // The token was with the reader from the start, so it has let go of it, and has said before who it is.
            let (signal, index) = self.reader().expect("attached before the first C2");
            signal.announce(index, told);
        }
        true
    }

    /// Buffers ever taken out, wrapping. The reader only: for others it is a snapshot.
    fn taken(&self) -> u32 {
        self.taken.load(Ordering::Relaxed) // the reader alone writes; a number by itself
    }

    /// Counts a buffer as taken. The reader only.
    fn count_taken(&self) {
        self.taken.store(self.taken().wrapping_add(1), Ordering::Relaxed); // nobody else writes; a number by itself
    }

    /// Counts an event as taken. The reader only.
    fn count_event(&self, event: &Event) {
        // Relaxed, both: nobody else writes; a number by itself.
        let taken = self.events_taken.load(Ordering::Relaxed).wrapping_add(event.weight());
        self.events_taken.store(taken, Ordering::Relaxed);
    }

    /// Whom to tell, and as whom. Wait-free.
    fn reader(&self) -> Option<(&Signal, u32)> {
        // Relaxed: written once, before the signal was set.
        self.signal.get().map(|signal| (&**signal, self.index.load(Ordering::Relaxed)))
    }

    /// Flushes on behalf of the writer, if it has a segment open. From any thread.
    pub(crate) fn flush_if_open(&self) {
        // Relaxed: a hint. If it is stale the next tick sees it; what was committed is seen at the latest then.
        if self.open.load(Ordering::Relaxed) {
            self.notify(Told::Flushed);
        }
    }

    /// Buffers that were added and not yet taken, the one that is being filled counted. A snapshot. Wait-free. From any
    /// thread.
    pub(crate) fn queued(&self) -> u32 {
        // Relaxed, both: the writer writes one, the reader the other; a number by itself, for which no byte is read.
        // They may be of different moments, so it may come out below zero: that is none.
        let (added, taken) = (self.added.load(Ordering::Relaxed), self.taken.load(Ordering::Relaxed));
        (added.wrapping_sub(taken) as i32).max(0) as u32
    }

    /// As [`queued`](Self::queued), the one that is being filled not counted.
    pub(crate) fn backlog(&self) -> u32 {
        // Relaxed: the writer writes it; as above.
        self.queued().saturating_sub(u32::from(self.open.load(Ordering::Relaxed)))
    }

    /// Control plane: no panic while it is held.
    fn rare(&self) -> MutexGuard<'_, Option<Box<Rare>>> {
        self.rare.lock().expect("no panic while it is held")
    }

    /// Empties the queue that the receiver left. Control plane.
    fn drain_orphan(&self) {
        // One by one, each dropped under no lock: a segment that goes home may wake somebody.
        while let Some(entry) = self.pop_orphan() {
            drop(entry);
        }
    }

    fn pop_orphan(&self) -> Option<Entry> {
        self.rare().as_mut()?.orphan.as_mut()?.pop()
    }
}

/// A channel that announces itself to `signal` as number `index`.
pub(crate) fn channel(signal: Arc<Signal>, index: u32) -> (Sender, Receiver) {
    let (sender, receiver) = with_state(0);
    receiver.attach(signal, index);
    (sender, receiver)
}

/// A channel whose reader is not known yet, but has the token already: nobody is told anything before the receiver is
/// [attached](Receiver::attach) and has looked for itself.
pub(crate) fn channel_for_later() -> (Sender, Receiver) {
    with_state(QUEUED)
}

#[allow(clippy::disallowed_types, reason = "see above")]
fn with_state(state: u8) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        state: AtomicU8::new(state),
        added: AtomicU32::new(0),
        taken: AtomicU32::new(0),
        events_taken: AtomicU16::new(0),
        open: AtomicBool::new(false),
        signal: OnceLock::new(),
        index: Index::new(0),
        rare: Mutex::new(None),
    });
    let (producer, consumer) = queue();
    (Sender::new(shared.clone(), producer), Receiver::new(shared, consumer))
}
