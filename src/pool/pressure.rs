//! Whether somebody waits who has less than a fair share.
//!
//! While that is so, a pool that has its own fair share or more borrows nothing, and what it gives back goes to those
//! who wait. So a lone busy pool may use everything, and a greedy one starves nobody: under pressure all come down to
//! their shares as their buffers return, which is what Flink's pools have all the time.

use crate::sync::{AtomicU32, Ordering};

/// The number of waiting pools that have less than their share. Raised by who is about to wait, lowered when it has got
/// what it waited for, or given up.
#[derive(Debug)]
pub(crate) struct Pressure(AtomicU32);

impl Pressure {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// Wait-free.
    pub(crate) fn is_on(&self) -> bool {
        // Relaxed: waiters write. Who is refused for it and waits has left a waker before it looks for the last time,
        // and who ends it wakes afterwards: F1 and F2.
        self.0.load(Ordering::Relaxed) > 0
    }

    /// Wait-free.
    pub(crate) fn raise(&self) {
        self.0.fetch_add(1, Ordering::Relaxed); // others raise and lower too; nothing is found through it
    }

    /// Whether the pressure is over, so that those it has kept from borrowing are to be woken. Wait-free.
    pub(crate) fn lower(&self) -> bool {
        self.0.fetch_sub(1, Ordering::Relaxed) == 1 // as in `raise`; F2 in the waking orders it
    }
}
