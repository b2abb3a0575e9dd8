//! Changing what a local pool is promised while it is in use, and ending it.
//!
//! What a pool no longer needs goes back in this order: what it never took is in the depot already; what is free in the
//! pool is put there; what is lent follows as it comes back. For the last kind the pool gives its home up and makes
//! another: a home that is closed sends what comes back to the depot, as it does when the pool is dropped. The first of
//! those to come back are surplus, as many as the pool is over; the rest is still its own ([`late`](super::late)). So a
//! return costs what it did, and no segment waits in an inbox for an owner that has no use for it.

use super::{
    error::PoolError,
    late::{Late, Left},
    local::LocalBufferPool,
};
use crate::sync::Arc;

impl LocalBufferPool {
    /// Changes the required number and the maximum. Nothing is taken from whoever holds a buffer.
    ///
    /// * More required: set aside at once, even if others have borrowed it; it comes as they return it, before anybody
    ///   else is served (M3).
    /// * Less required: what is free is surplus at once, what is lent as it comes back.
    /// * A lower maximum: what is lent stays lent, and nothing more is borrowed until enough is back.
    ///
    /// Blocking, on the control plane. A step for each segment that becomes surplus, and none for the others, however
    /// many there are.
    ///
    /// # Errors
    /// The pool stays as it is, and works on.
    /// * [`PoolError::Insufficient`]: more is required than is not promised yet; the error says to whom, and what fits.
    /// * [`PoolError::MaximumBelowRequired`], [`PoolError::Nothing`]: the numbers contradict each other: correct them.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, RequestError};
    /// let network = NetworkBufferPool::builder().segments(4).build()?;
    /// let mut local = network.local_pool("task").required(3).maximum(3).build()?;
    /// let mut held = vec![local.try_request()?, local.try_request()?, local.try_request()?];
    /// local.resize(1, 2)?;
    /// assert_eq!((local.lent(), network.usage().surplus), (3, 1), "nothing is taken away");
    /// held.pop();
    /// assert_eq!(local.try_request().unwrap_err(), RequestError::Exhausted, "still two lent");
    /// held.clear();
    /// assert_eq!(network.usage().surplus, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's `LocalBufferPool.setNumBuffers`, `returnExcessMemorySegments`.
    pub fn resize(&mut self, required: u32, maximum: u32) -> Result<(), PoolError> {
        if maximum < required {
            let name = self.state.name.to_string();
            return Err(PoolError::MaximumBelowRequired { name, required, maximum });
        }
        if maximum == 0 {
            return Err(PoolError::Nothing { name: self.state.name.to_string() });
        }
        self.core.promise(&self.state, required, maximum)?; // sets aside what there is more
        self.maximum = maximum;
        if required < self.required {
            self.shrink_to(required);
        } else {
            self.required = required;
            self.lender.reserve(required); // so that it never allocates later
        }
        self.show();
        self.core.after_change(Some(&self.state.name));
        self.core.waiters.wake(); // shares have changed, and so has what others may have
        self.state.waker.wake(); // if we are polled: the home may be another one now
        Ok(())
    }

    /// Gives back what is above `required`, which is less than before.
    fn shrink_to(&mut self, required: u32) {
        self.lender.collect();
        while self.required > required {
            let over = self.required - required;
            // Never taken, or late and back: in the depot, and set aside.
            let unused = (self.required - self.claimed()).min(over);
            if unused > 0 {
                self.core.quota.give_back(unused);
                self.required -= unused;
                continue;
            }
            // Free, and here.
            if let Some(segment) = self.lender.give_up() {
                self.required -= 1;
                self.core.put(segment);
                continue;
            }
            // Lent by an earlier home. What comes back in this moment is not given up, and unused the next time round.
            if let Some(left) = self.earlier.last_mut() {
                self.required -= left.give_up(over);
                if left.kept() == 0 {
                    self.earlier.pop();
                }
                continue;
            }
            // Lent by this one.
            self.leave_home(required);
        }
        self.earlier.retain(|left| left.kept() > 0);
    }

    /// Lends from another home from now on. All own segments are lent; the last `keep` to come back are still our own.
    fn leave_home(&mut self, keep: u32) {
        debug_assert_eq!(self.lender.free(), 0);
        let late = Arc::new(Late::new());
        let lender = Self::lender(&self.core, &self.state, &late, keep);
        let out = self.lender.own();
        self.through += u64::from(out);
        self.required = keep;
        let (left, early) = Left::new(std::mem::replace(&mut self.late, late), out, keep);
        self.earlier.push(left);
        drop(std::mem::replace(&mut self.lender, lender)); // closes it: what comes back from here on is late
        if early > 0 {
            self.core.quota.set_aside(early);
        }
    }
}

impl Drop for LocalBufferPool {
    fn drop(&mut self) {
        self.relax();
        self.core.unregister(&self.state);
        // What was never taken is in the depot already; each of the others becomes surplus as it gets there: late ones
        // from here on. Those that are back by now are not given up any more, and count as never taken.
        let mut unused = self.required - self.lender.own();
        for mut left in std::mem::take(&mut self.earlier) {
            unused -= left.give_up(u32::MAX);
        }
        self.core.quota.give_back(unused);
        // What is lent is all late from here on.
        self.state.show(0, self.through + self.lender.own_out());
        while let Some(segment) = self.lender.give_up() {
            self.core.put(segment);
        }
        if let Some(segment) = self.reserved.take() {
            self.state.count_back();
            self.core.put(segment);
        }
        self.core.waiters.wake();
    }
}
