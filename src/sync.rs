//! The only door to atomics, cells, locks and thread parking: std's in a normal build, loom's under `--cfg forebay_loom`.
//!
//! Everything above takes its atomics from here, so the loom models in `loom-tests/` run the very code that ships.
//! The cfg is our own: a global `--cfg loom` would also switch dependencies into their loom modes.
#![forbid(unsafe_code)]

#[cfg(forebay_loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
    },
    thread::{Thread, current},
};

#[cfg(not(forebay_loom))]
pub(crate) use self::real::*;

#[cfg(not(forebay_loom))]
mod real {
    pub(crate) use std::{
        sync::{
            Arc, Mutex, MutexGuard,
            atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence},
        },
        thread::{Thread, current},
    };

    /// std's cell with loom's closure interface: no pointer outlives the access that loom checks.
    #[derive(Debug)]
    pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(std::cell::UnsafeCell::new(value))
        }

        /// Reads through a shared pointer.
        pub(crate) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        /// Writes through an exclusive pointer.
        pub(crate) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

/// Parks the calling thread until it is unparked, until `deadline`, or spuriously.
///
/// loom has no clock: under the model a deadline never comes, so a test that relies on one hangs, and says so.
pub(crate) fn park_until(deadline: Option<std::time::Instant>) {
    #[cfg(forebay_loom)]
    {
        let _ = deadline;
        loom::thread::park();
    }
    #[cfg(not(forebay_loom))]
    match deadline {
        None => std::thread::park(),
        Some(deadline) => {
            let now = std::time::Instant::now();
            if now < deadline {
                std::thread::park_timeout(deadline - now);
            }
        }
    }
}
