//! Pools that have failed, and why.
#![allow(clippy::disallowed_types, reason = "of std's `Arc`: loom's can not hold a `dyn Error`")]

use std::{error::Error, fmt, sync::Arc};

use crate::sync::{AtomicBool, Mutex, Ordering};

/// Why a pool has failed: the cause it was given, shared.
///
/// # Examples
/// ```
/// use forebay::pool::Failure;
/// let failure = Failure::new("the task was cancelled");
/// assert_eq!(failure.to_string(), "the task was cancelled");
/// ```
#[derive(Clone)]
pub struct Failure(Arc<dyn Error + Send + Sync>);

impl Failure {
    /// From an error, or a text.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(cause.into().into())
    }

    /// The error itself.
    #[must_use]
    pub fn cause(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source() // the text above is the cause's own
    }
}

/// Whether, and why: set once.
#[derive(Debug)]
pub(crate) struct Failures {
    failed: AtomicBool,
    cause: Mutex<Option<Failure>>,
}

impl Failures {
    pub(crate) fn new() -> Self {
        Self { failed: AtomicBool::new(false), cause: Mutex::new(None) }
    }

    /// Whether this is the first cause; a later one is dropped. Who waits is to be woken afterwards.
    pub(crate) fn set(&self, cause: Failure) -> bool {
        let mut slot = self.cause.lock().expect("no panic while it is held");
        if slot.is_some() {
            return false;
        }
        *slot = Some(cause);
        // Relaxed: under the lock that protects the cause; for who waits, waking it orders the flag (K4 and K2).
        self.failed.store(true, Ordering::Relaxed);
        true
    }

    pub(crate) fn any(&self) -> bool {
        self.failed.load(Ordering::Relaxed) // see `set`: the cause is read under the lock
    }

    pub(crate) fn cause(&self) -> Option<Failure> {
        self.cause.lock().expect("no panic while it is held").clone()
    }
}
