//! Word that something behind a lock is different now, for threads and for tasks.
#![allow(clippy::disallowed_types, reason = "the control plane, as the locks it goes with")]

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Notify;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Changed {
    threads: Condvar,
    tasks: Notify,
}

impl Changed {
    /// Has everybody look again who waits. After the change, and not under its lock for long.
    pub(super) fn tell(&self) {
        self.threads.notify_all();
        self.tasks.notify_waiters();
    }

    /// Waits until `done`; `false` if `deadline` came first. Blocking.
    pub(super) fn wait<T>(&self, of: &Mutex<T>, deadline: Option<Instant>, done: impl Fn(&T) -> bool) -> bool {
        let mut guard = of.lock().unwrap_or_else(PoisonError::into_inner);
        while !done(&guard) {
            let Some(deadline) = deadline else {
                guard = self.threads.wait(guard).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            guard = self.threads.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Waits until `done`, as a task.
    pub(super) async fn wait_async<T>(&self, of: &Mutex<T>, done: impl Fn(&T) -> bool) {
        loop {
            let told = self.tasks.notified(); // counts from here on, so what changes behind the look is not missed (M4)
            if done(&of.lock().unwrap_or_else(PoisonError::into_inner)) {
                return;
            }
            told.await;
        }
    }
}
