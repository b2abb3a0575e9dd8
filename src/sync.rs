//! The only door to atomics, cells, locks and thread parking: std's in a normal build, loom's under
//! `--cfg forebay_loom`.
//!
//! Everything above takes its atomics from here, so the loom models in `loom-tests/` run the very code that ships.
//! Under `--cfg forebay_stall` they are std's with a step before each access, at which `tests/stall.rs` stops a thread.
//! The cfg is our own: a global `--cfg loom` would also switch dependencies into their loom modes.
#![forbid(unsafe_code)]

#[cfg(forebay_loom)]
pub(crate) use loom::{
    cell::UnsafeCell,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
    },
    thread::yield_now,
};

#[cfg(forebay_loom)]
pub(crate) use self::parking::{Thread, current};
#[cfg(not(forebay_loom))]
pub(crate) use self::real::*;

/// Under `--cfg forebay_stall`: see there.
#[cfg(all(forebay_stall, not(forebay_loom)))]
pub mod stepped;

#[cfg(not(forebay_loom))]
mod real {
    pub(crate) use std::{
        sync::Arc,
        thread::{Thread, current},
    };
    #[cfg(not(forebay_stall))]
    pub(crate) use std::{
        sync::{
            Mutex, MutexGuard,
            atomic::{AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence},
        },
        thread::yield_now,
    };

    #[cfg(forebay_stall)]
    pub(crate) use super::stepped::{
        AtomicBool, AtomicI64, AtomicPtr, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Mutex, MutexGuard, Ordering,
        fence, yield_now,
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
        parking::park();
    }
    #[cfg(all(forebay_stall, not(forebay_loom)))]
    stepped::before_park();
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

/// Parking with a token that is kept. loom's own is lost when the thread waits for a lock in between, and a wake that
/// comes late ends a join, which loom takes for a park.
#[cfg(forebay_loom)]
#[allow(clippy::disallowed_types, reason = "of the model's own bookkeeping, which is not to be explored")]
mod parking {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    loom::thread_local! {
        static TOKEN: Arc<Token> = Arc::default();
    }

    /// std's atomics: no step to explore lies between two accesses, so the two are always in keeping with each other.
    #[derive(Debug, Default)]
    struct Token {
        woken: AtomicBool,
        parked: AtomicBool,
    }

    /// A thread that may be woken.
    #[derive(Debug)]
    pub(crate) struct Thread {
        thread: loom::thread::Thread,
        token: Arc<Token>,
    }

    pub(crate) fn current() -> Thread {
        Thread { thread: loom::thread::current(), token: TOKEN.with(Arc::clone) }
    }

    impl Thread {
        pub(crate) fn unpark(&self) {
            self.token.woken.store(true, SeqCst);
            if self.token.parked.load(SeqCst) {
                self.thread.unpark();
            }
        }
    }

    pub(super) fn park() {
        let token = TOKEN.with(Arc::clone);
        token.parked.store(true, SeqCst);
        while !token.woken.swap(false, SeqCst) {
            loom::thread::park();
        }
        token.parked.store(false, SeqCst);
    }
}
