//! Who was promised how much. Control plane only: creating, resizing, dropping and looking at pools.
#![allow(clippy::disallowed_types, reason = "of a hint that the shares are old; models need not explore it")]

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool as Hint, Ordering::Relaxed},
};

use super::{core::Core, error::PoolError, share::redistribute, state::PoolState, usage::Holder};
use crate::sync::{Arc, Mutex};

/// The local pools of a network pool.
///
/// Nothing here costs more the more segments there are. Making, resizing and dropping a pool is a look-up; fair shares
/// depend on all pools, so they are worked out when somebody needs them, not each time one of a thousand pools is made.
#[derive(Debug)]
pub(crate) struct Registry {
    list: Mutex<List>,
    /// The shares are to be worked out anew.
    stale: Hint,
}

#[derive(Debug)]
struct List {
    pools: BTreeMap<u64, Arc<PoolState>>,
    next_id: u64,
    /// The sum of what they require.
    promised: u32,
}

impl Registry {
    pub(crate) fn new() -> Self {
        let list = List { pools: BTreeMap::new(), next_id: 0, promised: 0 };
        Self { list: Mutex::new(list), stale: Hint::new(false) }
    }

    pub(crate) fn set_stale(&self) {
        self.stale.store(true, Relaxed);
    }
}

impl List {
    /// Whether `more` can be guaranteed beside what is; else the error of `name`, which asks for `required` in all.
    fn admit(&self, core: &Core, name: &str, more: u32, required: u32) -> Result<(), PoolError> {
        let total = core.table.segments();
        // Exclusive segments that come back meanwhile make it more, nothing makes it less.
        let available = total - self.promised - core.exclusive();
        if more <= available {
            return Ok(());
        }
        let mut holders: Vec<_> = self.pools.values().map(|pool| pool.holder()).collect();
        holders.extend(without_pool(core));
        holders.sort_by_key(|holder| std::cmp::Reverse((holder.required, holder.held)));
        let fits = available + (required - more);
        Err(PoolError::Insufficient { name: name.to_owned(), required, available: fits, total, holders })
    }
}

/// Those who hold segments without a local pool.
fn without_pool(core: &Core) -> impl Iterator<Item = Holder> {
    let (exclusive, direct) = (core.exclusive(), core.direct());
    let exclusive = (exclusive > 0).then(|| Holder::direct("(exclusive segments)", exclusive, exclusive));
    exclusive.into_iter().chain((direct > 0).then(|| Holder::direct("(without a local pool)", 0, direct)))
}

/// What touches the registry and the quota together.
impl Core {
    /// Promises a new pool its required part and lists what `make` makes of its number.
    pub(crate) fn register(
        &self,
        name: &str,
        required: u32,
        make: impl FnOnce(u64) -> PoolState,
    ) -> Result<Arc<PoolState>, PoolError> {
        let state = {
            let mut list = self.registry.list.lock().expect("no panic while it is held");
            // Under the lock, so that no pool is missed by `fail_all`.
            if let Some(cause) = self.failures.cause() {
                return Err(PoolError::Failed { cause });
            }
            list.admit(self, name, required, required)?;
            let state = Arc::new(make(list.next_id));
            list.next_id += 1;
            list.promised += required;
            list.pools.insert(state.id, state.clone());
            self.registry.set_stale();
            self.quota.set_aside(required);
            state
        };
        self.after_change(Some(name));
        Ok(state)
    }

    /// Promises `pool` another required part and maximum. What it needs more is set aside; what it needs less is for
    /// the caller to give back.
    pub(crate) fn promise(&self, pool: &PoolState, required: u32, maximum: u32) -> Result<(), PoolError> {
        let mut list = self.registry.list.lock().expect("no panic while it is held");
        let before = pool.limits().0;
        let more = required.saturating_sub(before);
        list.admit(self, &pool.name, more, required)?;
        list.promised = list.promised - before + required;
        pool.set_limits(required, maximum);
        self.registry.set_stale();
        self.quota.set_aside(more);
        Ok(())
    }

    /// Takes `pool` off the list. Its segments are for the caller to give back.
    pub(crate) fn unregister(&self, pool: &PoolState) {
        let removed = {
            let mut list = self.registry.list.lock().expect("no panic while it is held");
            let removed = list.pools.remove(&pool.id);
            list.promised -= removed.as_ref().map_or(0, |pool| pool.limits().0);
            self.registry.set_stale();
            removed
        };
        drop(removed); // not under the lock
    }

    /// Promises exclusive segments, and sets them aside.
    pub(crate) fn register_exclusive(&self, name: &str, segments: u32) -> Result<(), PoolError> {
        {
            let list = self.registry.list.lock().expect("no panic while it is held");
            list.admit(self, name, segments, segments)?;
            self.promise_exclusive(segments);
            self.registry.set_stale();
            self.quota.set_aside(segments);
        }
        self.after_change(None);
        Ok(())
    }

    /// To be called after each change of what is promised, under no lock.
    pub(crate) fn after_change(&self, pool: Option<&str>) {
        // While somebody is held to a share, it is to be the right one. Otherwise the first who waits works it out.
        if self.pressure.is_on() {
            self.refresh_shares();
        }
        self.check_overcommit(pool);
    }

    /// Works out the fair shares, if something has changed since. One step for each pool.
    pub(crate) fn refresh_shares(&self) {
        if !self.registry.stale.load(Relaxed) {
            return;
        }
        let list = self.registry.list.lock().expect("no panic while it is held");
        if self.registry.stale.swap(false, Relaxed) {
            let rest = self.table.segments() - list.promised - self.exclusive();
            let pools: Vec<_> = list.pools.values().collect();
            redistribute(rest, pools.iter().map(|pool| pool.limits()), |nth, share| pools[nth].set_share(share));
        }
    }

    /// All pools, oldest first.
    pub(crate) fn holders(&self) -> Vec<Holder> {
        let list = self.registry.list.lock().expect("no panic while it is held");
        list.pools.values().map(|pool| pool.holder()).collect()
    }

    /// Lets everything that waits, and whatever is yet to ask, end with an error.
    pub(crate) fn fail_all(&self, cause: &super::Failure) {
        let pools: Vec<_> = {
            let list = self.registry.list.lock().expect("no panic while it is held");
            self.failures.set(cause.clone());
            list.pools.values().cloned().collect()
        };
        pools.iter().for_each(|pool| pool.fail(cause.clone()));
        self.waiters.wake(); // who has no local pool
    }
}
