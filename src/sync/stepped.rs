//! std's atomics and locks, with a step before each access, at which a chosen thread can be stopped: for
//! `tests/stall.rs`, under `--cfg forebay_stall` alone.
//!
//! A *victim* runs until its nth step and is held there. Meanwhile a *witness* does what must not wait for it: each of
//! its steps is counted, and waiting for a lock that is held, or parking, is a panic. No clock is involved.
//!
//! What is not taken from `crate::sync` has no steps: crossbeam's queue, and the system.
#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::disallowed_types,
    reason = "of a test, and std's"
)]

use std::{
    cell::RefCell,
    ops::{Deref, DerefMut},
    sync::{
        Arc, Condvar, LockResult, Mutex as StdMutex, MutexGuard as StdGuard, PoisonError, TryLockError,
        atomic as std_atomic,
    },
    thread::JoinHandle,
};

pub use std_atomic::Ordering;

thread_local! {
    static ROLE: RefCell<Role> = const { RefCell::new(Role::None) };
}

enum Role {
    None,
    /// Steps left until it is to stop.
    Victim(u64, Arc<Held>),
    /// Steps left.
    Witness(u64),
}

#[derive(Default)]
struct Held {
    state: StdMutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    released: bool,
    done: bool,
}

/// Before each access.
fn step() {
    let stop = ROLE.with_borrow_mut(|role| match role {
        Role::None => None,
        Role::Victim(0, held) => {
            let held = held.clone();
            *role = Role::None; // it is stopped once
            Some(held)
        }
        Role::Victim(left, _) => {
            *left -= 1;
            None
        }
        Role::Witness(left) => {
            *left = left.checked_sub(1).expect("more steps than a bounded number");
            None
        }
    });
    if let Some(held) = stop {
        let mut state = held.state.lock().unwrap();
        state.stopped = true;
        held.changed.notify_all();
        drop(held.changed.wait_while(state, |state| !state.released).unwrap());
    }
}

fn is_witness() -> bool {
    ROLE.with_borrow(|role| matches!(role, Role::Witness(_)))
}

/// A thread that is held at one of its steps, or has got by.
#[must_use]
pub struct Victim<T> {
    held: Arc<Held>,
    thread: JoinHandle<T>,
    /// Whether it has as many steps, and is held.
    pub stopped: bool,
}

/// Runs `action` on another thread up to its `nth` step, and returns when it is held there, or done.
pub fn stop_at<T: Send + 'static>(nth: u64, action: impl FnOnce() -> T + Send + 'static) -> Victim<T> {
    struct Done(Arc<Held>);
    impl Drop for Done {
        fn drop(&mut self) {
            self.0.state.lock().unwrap().done = true;
            self.0.changed.notify_all();
        }
    }
    let held = Arc::<Held>::default();
    let there = held.clone();
    let thread = std::thread::spawn(move || {
        let done = Done(there.clone());
        ROLE.set(Role::Victim(nth, there));
        let result = action();
        ROLE.set(Role::None);
        drop(done);
        result
    });
    let stopped = {
        let state = held.state.lock().unwrap();
        held.changed.wait_while(state, |state| !state.stopped && !state.done).unwrap().stopped
    };
    Victim { held, thread, stopped }
}

impl<T> Victim<T> {
    /// Lets it go on to its end.
    pub fn release(self) -> T {
        self.held.state.lock().unwrap().released = true;
        self.held.changed.notify_all();
        self.thread.join().unwrap()
    }
}

/// Runs `action` on the calling thread, which may take `steps` at most, and may wait for nobody; returns how many it
/// took.
pub fn within<T>(steps: u64, action: impl FnOnce() -> T) -> (T, u64) {
    struct End;
    impl Drop for End {
        fn drop(&mut self) {
            ROLE.set(Role::None); // also if it panics
        }
    }
    ROLE.set(Role::Witness(steps));
    let _end = End;
    let result = action();
    let left = ROLE.with_borrow(|role| if let Role::Witness(left) = role { *left } else { 0 });
    (result, steps - left)
}

pub fn fence(order: Ordering) {
    step();
    std_atomic::fence(order);
}

pub fn yield_now() {
    step();
    std::thread::yield_now();
}

pub fn before_park() {
    step();
    assert!(!is_witness(), "it would park");
}

#[derive(Debug, Default)]
pub struct Mutex<T>(StdMutex<T>);

impl<T> Mutex<T> {
    pub const fn new(value: T) -> Self {
        Self(StdMutex::new(value))
    }

    pub fn lock(&self) -> LockResult<MutexGuard<'_, T>> {
        step();
        let locked = if is_witness() {
            match self.0.try_lock() {
                Ok(guard) => Ok(guard),
                Err(TryLockError::Poisoned(poisoned)) => Err(poisoned),
                Err(TryLockError::WouldBlock) => panic!("it would wait for a lock that a stopped thread has"),
            }
        } else {
            self.0.lock()
        };
        locked.map(MutexGuard).map_err(|poisoned| PoisonError::new(MutexGuard(poisoned.into_inner())))
    }
}

#[derive(Debug)]
pub struct MutexGuard<'a, T>(StdGuard<'a, T>);

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> Drop for MutexGuard<'_, T> {
    fn drop(&mut self) {
        step(); // with the lock, which is given up afterwards
    }
}

macro_rules! atomic {
    ($name:ident, $type:ty) => {
        #[derive(Debug, Default)]
        pub struct $name(std_atomic::$name);

        impl $name {
            pub const fn new(value: $type) -> Self {
                Self(std_atomic::$name::new(value))
            }

            atomic!(methods $type);
        }
    };
    (methods $type:ty) => {
        pub fn load(&self, order: Ordering) -> $type {
            step();
            self.0.load(order)
        }

        pub fn store(&self, value: $type, order: Ordering) {
            step();
            self.0.store(value, order);
        }

        pub fn swap(&self, value: $type, order: Ordering) -> $type {
            step();
            self.0.swap(value, order)
        }

        pub fn compare_exchange(
            &self,
            current: $type,
            new: $type,
            success: Ordering,
            failure: Ordering,
        ) -> Result<$type, $type> {
            step();
            self.0.compare_exchange(current, new, success, failure)
        }

        pub fn compare_exchange_weak(
            &self,
            current: $type,
            new: $type,
            success: Ordering,
            failure: Ordering,
        ) -> Result<$type, $type> {
            step();
            self.0.compare_exchange_weak(current, new, success, failure)
        }
    };
}

macro_rules! fetch {
    ($name:ident, $type:ty, $($method:ident)*) => {
        impl $name {
            $(pub fn $method(&self, value: $type, order: Ordering) -> $type {
                step();
                self.0.$method(value, order)
            })*
        }
    };
}

atomic!(AtomicBool, bool);
atomic!(AtomicI64, i64);
atomic!(AtomicU8, u8);
atomic!(AtomicU16, u16);
atomic!(AtomicU32, u32);
atomic!(AtomicU64, u64);
fetch!(AtomicI64, i64, fetch_add fetch_sub);
fetch!(AtomicU8, u8, fetch_or fetch_and);
fetch!(AtomicU32, u32, fetch_add fetch_sub fetch_or fetch_and fetch_max);
fetch!(AtomicU64, u64, fetch_add fetch_sub fetch_or fetch_and fetch_max);

#[derive(Debug, Default)]
pub struct AtomicPtr<T>(std_atomic::AtomicPtr<T>);

impl<T> AtomicPtr<T> {
    pub const fn new(value: *mut T) -> Self {
        Self(std_atomic::AtomicPtr::new(value))
    }

    atomic!(methods *mut T);
}
