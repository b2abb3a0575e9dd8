//! What other threads than the owner's may do with a local pool.

use std::fmt;

use super::{failure::Failure, state::PoolState, usage::Holder};
use crate::sync::Arc;

/// A handle to a [`LocalBufferPool`](super::LocalBufferPool) for other threads than its owner's: from
/// [`LocalBufferPool::control`](super::LocalBufferPool::control). Cheap to clone; may outlive the pool.
///
/// # Examples
/// ```
/// use forebay::pool::{NetworkBufferPool, RequestError};
/// let network = NetworkBufferPool::builder().segments(2).build()?;
/// let mut local = network.local_pool("task").required(1).maximum(1).build()?;
/// let held = local.try_request()?;
/// let control = local.control();
/// let other = std::thread::spawn(move || control.fail("the task was cancelled"));
/// assert_eq!(local.request().unwrap_err(), RequestError::Failed); // woken, if it waited
/// # other.join().unwrap();
/// assert_eq!(local.failure().unwrap().to_string(), "the task was cancelled");
/// drop(held); // buffers stay valid
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PoolControl {
    state: Arc<PoolState>,
}

impl PoolControl {
    pub(super) fn new(state: Arc<PoolState>) -> Self {
        Self { state }
    }

    /// Ends every request of the pool that waits, and every later one that needs more than what the pool has at hand,
    /// with [`RequestError::Failed`](super::RequestError::Failed). The first cause counts. Buffers that are out stay
    /// valid, and go home when they are dropped.
    ///
    /// Takes a lock that is held for setting or copying the cause; wakes the owner.
    pub fn fail(&self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        self.state.fail(Failure::new(cause));
    }

    /// Why it has failed, if it has. Takes a lock that is held for the copying of it.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        self.state.failures.cause()
    }

    /// What the pool was promised, and what it has: a snapshot, of numbers that are read one after the other while
    /// requests go on. Wait-free, and allocates its names.
    #[must_use]
    pub fn usage(&self) -> Holder {
        self.state.holder()
    }
}

impl fmt::Debug for PoolControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolControl").field("name", &self.state.name).finish_non_exhaustive()
    }
}
