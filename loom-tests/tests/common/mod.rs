//! What the models share.

use loom::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

/// Lets loom try one thread's part whole before another's.
///
/// loom tries another order only against the last access to an atomic; where each thread looks before it changes, that
/// access is its own look, and "one is done, then the other begins" is never tried. So one thread says at its end that
/// it is done, and the other looks at its beginning. Relaxed both: it orders nothing.
#[derive(Clone)]
pub(crate) struct Done(Arc<AtomicBool>);

impl Done {
    pub(crate) fn new() -> Self {
        Self(Arc::new(AtomicBool::new(false)))
    }

    /// At the end of one thread.
    pub(crate) fn set(&self) {
        self.0.store(true, Relaxed);
    }

    /// At the beginning of the other.
    pub(crate) fn look(&self) {
        self.0.load(Relaxed);
    }
}
