//! The pool of one task.

use std::{fmt, time::Duration};

use super::{
    builder::Settings,
    channels::Channels,
    control::PoolControl,
    core::{Core, ToDepot},
    error::RequestError,
    failure::Failure,
    late::{Late, Left},
    quota::Retracted,
    state::PoolState,
    waiters::Slot,
};
use crate::{
    buffer::{BufferMut, Handle, lend::Lender, table::FreeSegment},
    lockfree::wait::WaitStrategy,
    sync::Arc,
};

/// The segments of one task: a guaranteed number of its own, and more while there is a surplus.
///
/// One owner requests (`&mut self`); the buffers may go to any thread and be dropped there. Dropping the pool while
/// buffers are out is fine: they stay valid, and each goes to the network pool when it comes back.
///
/// See the [module](super) for where a request looks, and for the progress of each operation.
///
/// # Examples
/// ```
/// use forebay::pool::{NetworkBufferPool, RequestError};
/// let network = NetworkBufferPool::builder().segments(8).build()?;
/// let mut parser = network.local_pool("parser").required(2).maximum(3).build()?;
///
/// let own = [parser.try_request()?, parser.try_request()?]; // the guaranteed part
/// let borrowed = parser.try_request()?; // of the surplus of 6
/// assert_eq!(parser.try_request().unwrap_err(), RequestError::Exhausted, "the maximum");
///
/// std::thread::spawn(move || drop(own)).join().unwrap(); // they come home from there
/// drop(borrowed); // and this one goes back to the network pool
/// assert_eq!(parser.lent(), 0);
/// assert_eq!((network.usage().surplus, network.in_use()), (6, 2), "the guaranteed part is kept");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `LocalBufferPool`; the stash is DPDK's per-lcore mempool cache.
pub struct LocalBufferPool {
    /// Lends, and keeps the own segments that are free.
    pub(super) lender: Lender,
    pub(super) core: Arc<Core>,
    pub(super) state: Arc<PoolState>,
    pub(super) required: u32,
    pub(super) maximum: u32,
    overdraft: u32,
    /// Segments ever lent that go to the depot when they come back; how many have is in `state`.
    pub(super) through: u64,
    /// A borrowed segment that `poll_available` has found and no request has taken yet. Counted in `through`.
    pub(super) reserved: Option<FreeSegment>,
    /// Of `lender`'s home.
    pub(super) late: Arc<Late>,
    /// Of homes that were given up, while some of their segments are still this pool's own.
    pub(super) earlier: Vec<Left>,
    pub(super) channels: Option<Channels>,
    /// Segments that a batch has taken and not yet lent: empty between calls, kept for its memory.
    pub(super) hand: Vec<FreeSegment>,
    pub(super) slot: Slot,
    /// Counted in the core's pressure.
    pub(super) pressing: bool,
    pub(super) strategy: WaitStrategy,
    pub(super) blocked: Duration,
}

/// What a request asks for, but for the number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ask {
    pub(super) channel: Option<u32>,
    pub(super) overdraft: bool,
}

/// A segment from the depot, and whether it is to go back there.
pub(super) enum Fetched {
    Own(FreeSegment),
    Borrowed(FreeSegment),
}

impl LocalBufferPool {
    /// Takes one free segment, or says at once that there is none. Waits for no segment, allocates nothing.
    ///
    /// Wait-free from the stash and from what came back, else lock-free; see the [module](super). O(1), and one step
    /// more for each segment that came back since the last look.
    ///
    /// # Errors
    /// [`RequestError::Exhausted`]: every segment this pool may use is lent out, or on its way back. One may come back
    /// at any moment: do something else, or wait with [`request`](Self::request) or
    /// [`poll_request`](Self::poll_request).
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, RequestError};
    /// # let pool = NetworkBufferPool::builder().segments(1).build()?;
    /// let mut local = pool.local_pool("task").required(1).build()?;
    /// let buffer = local.try_request()?;
    /// assert_eq!(local.try_request().unwrap_err(), RequestError::Exhausted);
    /// drop(buffer); // the segment goes home
    /// assert!(local.try_request().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's `LocalBufferPool.requestMemorySegment`.
    #[inline]
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn try_request(&mut self) -> Result<BufferMut, RequestError> {
        let found = match self.lender.take() {
            Some(buffer) => Ok(buffer),
            None => match self.lender.take_returned() {
                Some(buffer) => Ok(buffer),
                None => self.request_from_depot(Ask::default()),
            },
        };
        self.noted(found)
    }

    /// As [`try_request`](Self::try_request), and beyond the maximum if need be: up to
    /// [`overdraft`](super::LocalBufferPoolBuilder::overdraft) segments more, while there is a surplus. Beyond the fair
    /// share, too, while another pool waits.
    ///
    /// For a task that is in the middle of something and can not stop for want of one more segment. It should stop
    /// soon: [`is_available`](Self::is_available) says so, and counts no overdraft. How many are overdrawn follows from
    /// how many are lent, so it is never counted twice, whatever is returned in what order.
    ///
    /// # Errors
    /// As [`try_request`](Self::try_request).
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::{NetworkBufferPool, RequestError};
    /// # let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// let mut local = pool.local_pool("task").required(1).maximum(1).overdraft(1).build()?;
    /// let first = local.try_request()?;
    /// assert_eq!(local.try_request().unwrap_err(), RequestError::Exhausted);
    /// let second = local.try_request_overdraft()?;
    /// assert_eq!((local.lent(), local.overdrawn()), (2, 1));
    /// assert_eq!(local.try_request_overdraft().unwrap_err(), RequestError::Exhausted, "one, not more");
    /// drop(first);
    /// assert_eq!(local.overdrawn(), 0, "any return will do");
    /// # drop(second);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's overdraft buffers (`maxOverdraftBuffersPerGate`, FLINK-26762).
    #[cfg_attr(feature = "leaks", track_caller)]
    pub fn try_request_overdraft(&mut self) -> Result<BufferMut, RequestError> {
        let found = self.attempt(Ask { channel: None, overdraft: true });
        self.noted(found)
    }

    /// One attempt, wherever a segment may be.
    pub(super) fn attempt(&mut self, ask: Ask) -> Result<BufferMut, RequestError> {
        self.lender.collect_if_empty();
        match self.lender.take_for(ask.channel) {
            Some(buffer) => Ok(buffer),
            None => self.request_from_depot(ask),
        }
    }

    /// Nothing of ours is free.
    #[inline(never)]
    fn request_from_depot(&mut self, ask: Ask) -> Result<BufferMut, RequestError> {
        let fetched = self.fetch(ask.overdraft)?;
        self.relax();
        let buffer = match fetched {
            Fetched::Own(segment) => self.lender.adopt(segment, ask.channel),
            Fetched::Borrowed(segment) => self.lender.lend_borrowed(segment, ask.channel),
        };
        self.show();
        Ok(buffer)
    }

    /// Takes a segment from the depot, to be counted by what becomes of it, and shown. Nothing free is left in the pool
    /// itself.
    pub(super) fn fetch(&mut self, overdraft: bool) -> Result<Fetched, RequestError> {
        if self.state.failures.any() {
            return Err(RequestError::Failed);
        }
        if let Some(segment) = self.reserved.take() {
            return Ok(Fetched::Borrowed(segment));
        }
        if self.claimed() < self.required {
            // Ours by M3. The depot may still be empty if others have borrowed it: it is the next to come back.
            let segment = self.core.take().ok_or(RequestError::Exhausted)?;
            return Ok(Fetched::Own(segment));
        }
        if self.room(overdraft) > 0 {
            let (borrowed, Retracted(mut retracted)) = self.core.quota.borrow(1);
            if borrowed {
                if let Some(segment) = self.core.take() {
                    self.through += 1;
                    return Ok(Fetched::Borrowed(segment));
                }
                // A pool made after we got the credit has set its part aside and taken the segment: that goes first
                // (M3).
                self.core.quota.give_back(1);
                retracted = true;
            }
            if retracted {
                self.core.waiters.wake();
            }
        }
        Err(RequestError::Exhausted)
    }

    /// How much of the required part is not to be taken from the depot: it is here, lent, or on its way.
    pub(crate) fn claimed(&self) -> u32 {
        self.lender.own() + self.earlier.iter().map(Left::kept).sum::<u32>()
    }

    /// How many segments may be borrowed now. While another pool waits that has less than its fair share, none beyond
    /// our own share.
    pub(super) fn room(&self, overdraft: bool) -> u32 {
        let more = if overdraft { u64::from(self.overdraft) } else { 0 };
        let lent = self.lent_or_reserved();
        let room = (u64::from(self.maximum) + more).saturating_sub(lent);
        if room > 0 && self.core.pressure.is_on() {
            return (u64::from(self.maximum.min(self.state.share())) + more).saturating_sub(lent) as u32;
        }
        room.min(u64::from(u32::MAX)) as u32
    }

    pub(super) fn lent_or_reserved(&self) -> u64 {
        self.lender.own_out() + self.through - self.state.back()
    }

    /// Shows others what is held.
    pub(super) fn show(&self) {
        self.state.show(self.lender.own(), self.through);
    }

    /// With the feature `leaks`, notes who took the buffer: the line that called the public function that calls this.
    #[inline]
    #[cfg_attr(feature = "leaks", track_caller)]
    #[cfg_attr(not(feature = "leaks"), allow(clippy::unused_self, reason = "the feature's part"))]
    pub(super) fn noted(&self, found: Result<BufferMut, RequestError>) -> Result<BufferMut, RequestError> {
        #[cfg(feature = "leaks")]
        if let Ok(buffer) = &found {
            self.core.table.takers.note(buffer, Some(&self.state.name));
        }
        found
    }

    /// Gives a buffer back on the owner's side: for an own segment with no other handle no atomic read-modify-write at
    /// all, else like dropping it (a buffer of another pool too). Wait-free, or as drop.
    ///
    /// # Examples
    /// ```
    /// # use forebay::pool::NetworkBufferPool;
    /// # let pool = NetworkBufferPool::builder().segments(2).build()?;
    /// let mut local = pool.local_pool("task").required(2).build()?;
    /// let buffer = local.try_request()?;
    /// let address = buffer.as_ptr();
    /// local.recycle(buffer);
    /// assert_eq!(local.try_request()?.as_ptr(), address, "still warm in cache");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// DPDK's `rte_mempool_put` into the core's own cache.
    #[inline]
    pub fn recycle(&mut self, buffer: impl Handle) {
        self.lender.take_back(buffer);
    }

    /// Whether a request would be served now, without overdraft and for any channel: a segment is at hand, or the depot
    /// has one that the pool may take, and no channel has its maximum. Others may be faster; to hold on to one, use
    /// [`poll_available`](Self::poll_available). As [`try_request`](Self::try_request), and borrows nothing.
    ///
    /// # Source
    /// Flink's `AvailabilityProvider.isAvailable`, `LocalBufferPool.shouldBeAvailable`.
    #[must_use]
    pub fn is_available(&mut self) -> bool {
        if self.any_channel_full() || self.overdrawn() > 0 || self.state.failures.any() {
            return false;
        }
        let reserved = self.reserved.is_some() || self.lender.free() > 0;
        let in_depot = if self.claimed() < self.required {
            self.core.depot.len() > 0
        } else {
            self.room(false) > 0 && self.core.quota.surplus() > 0
        };
        reserved || in_depot
    }

    /// Segments lent beyond the maximum at this moment. As [`lent`](Self::lent).
    #[must_use]
    pub fn overdrawn(&mut self) -> u32 {
        self.lent().saturating_sub(self.maximum)
    }

    /// Segments lent out at this moment, own and borrowed. May shrink at any moment, and grows only by requests.
    /// Wait-free; takes in what came back, hence `&mut`.
    #[must_use]
    pub fn lent(&mut self) -> u32 {
        self.lender.collect();
        (self.lent_or_reserved() - u64::from(self.reserved.is_some())) as u32
    }

    /// The name it was given. Wait-free.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.state.name
    }

    /// The label it was given, if any. Wait-free.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.state.label.as_deref()
    }

    /// Segments that are its own. Changes by [`resize`](Self::resize) only. Wait-free.
    #[must_use]
    pub fn required(&self) -> u32 {
        self.required
    }

    /// Segments it may have lent out at most, but for overdraft. Changes by [`resize`](Self::resize) only. Wait-free.
    #[must_use]
    pub fn maximum(&self) -> u32 {
        self.maximum
    }

    /// What it is held to while a pool waits that has less than its own fair share: `required`, and a part of what
    /// nobody is guaranteed in proportion to `maximum - required`. Changes as pools come, go and are resized. Blocking,
    /// on the control plane, and takes a step for each local pool if one of them has changed.
    ///
    /// # Source
    /// Flink's `LocalBufferPool.getNumBuffers`, there the size of the pool.
    #[must_use]
    pub fn fair_share(&self) -> u32 {
        self.core.refresh_shares();
        self.state.share()
    }

    /// Why it has failed, if it has: by [`PoolControl::fail`], or with the whole network pool. Takes a lock that is
    /// held for the copying of it.
    #[must_use]
    pub fn failure(&self) -> Option<Failure> {
        if self.state.failures.any() { self.state.failures.cause() } else { None }
    }

    /// What other threads may do with the pool: look at it, and let it fail. Wait-free.
    #[must_use]
    pub fn control(&self) -> PoolControl {
        PoolControl::new(self.state.clone())
    }

    /// Bytes in each segment. Never changes. Wait-free.
    #[must_use]
    pub fn segment_size(&self) -> usize {
        self.lender.table().segment_size()
    }

    /// The time that blocking requests have waited, in all.
    /// Wait-free.
    #[must_use]
    pub fn blocked(&self) -> Duration {
        self.blocked
    }

    /// A pool that has its required part promised, and nothing yet.
    pub(super) fn new(core: Arc<Core>, state: Arc<PoolState>, settings: &Settings) -> Self {
        let late = Arc::new(Late::new());
        Self {
            lender: Self::lender(&core, &state, &late, settings.required),
            required: settings.required,
            maximum: settings.maximum,
            overdraft: settings.overdraft,
            through: 0,
            reserved: None,
            late,
            earlier: Vec::new(),
            channels: settings.per_channel.map(|(channels, maximum)| Channels::new(channels, maximum)),
            hand: Vec::new(),
            slot: Slot::default(),
            pressing: false,
            strategy: settings.strategy,
            blocked: Duration::ZERO,
            core,
            state,
        }
    }

    pub(super) fn lender(core: &Arc<Core>, state: &Arc<PoolState>, late: &Arc<Late>, own: u32) -> Lender {
        let recycler = ToDepot { core: core.clone(), pool: state.clone(), late: late.clone() };
        Lender::new(core.table.clone(), own, Box::new(recycler), core.rules.terms)
    }
}

impl fmt::Debug for LocalBufferPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBufferPool")
            .field("name", &self.state.name)
            .field("required", &self.required)
            .field("maximum", &self.maximum)
            .field("lender", &self.lender)
            .finish_non_exhaustive()
    }
}
