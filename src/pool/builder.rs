//! How a local pool is to be made.

use super::{core::Core, error::PoolError, local::LocalBufferPool, state::PoolState};
use crate::{buffer::terms::Terms, lockfree::wait::WaitStrategy, sync::Arc};

/// Settings of a [`LocalBufferPool`], from [`NetworkBufferPool::local_pool`](super::NetworkBufferPool::local_pool). Set
/// [`required`](Self::required), [`maximum`](Self::maximum) or both.
#[derive(Debug)]
#[must_use = "call `build`"]
pub struct LocalBufferPoolBuilder {
    core: Arc<Core>,
    name: String,
    label: Option<String>,
    channels: Option<u32>,
    maximum_per_channel: Option<u32>,
    settings: Settings,
}

/// What the pool needs to know of them.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) required: u32,
    pub(super) maximum: u32,
    pub(super) overdraft: u32,
    /// `(channels, maximum)`.
    pub(super) per_channel: Option<(u32, u32)>,
    pub(super) strategy: WaitStrategy,
}

impl LocalBufferPoolBuilder {
    pub(super) fn new(core: Arc<Core>, name: String) -> Self {
        let settings = Settings {
            required: 0,
            maximum: u32::MAX,
            overdraft: 0,
            per_channel: None,
            strategy: WaitStrategy::default(),
        };
        Self { core, name, label: None, channels: None, maximum_per_channel: None, settings }
    }

    /// Segments that nobody else can take (M3). 0 unless told otherwise.
    ///
    /// Once used, a segment of this part stays with the pool, lent or free, until the pool is dropped or
    /// [resized](LocalBufferPool::resize). Those that others have borrowed by the time the pool is made come to it
    /// before anybody else, as they are returned.
    ///
    /// What a task needs to get on at all must be in it: anything above may be refused for as long as others want it.
    ///
    /// A pool that a [`ResultPartition`](crate::partition::ResultPartition) writes from needs as many as that has
    /// subpartitions.
    pub fn required(mut self, segments: u32) -> Self {
        self.settings.required = segments;
        self
    }

    /// Segments that may be lent out at once, those above `required` as long as there is a surplus. Unlimited unless
    /// told otherwise.
    ///
    /// Set it where segments may lie for long: a writer whose reader stands still fills all that it may borrow, and
    /// none of it comes back before the reader goes on.
    pub fn maximum(mut self, segments: u32) -> Self {
        self.settings.maximum = segments;
        self
    }

    /// Segments that may be lent beyond `maximum` by
    /// [`try_request_overdraft`](LocalBufferPool::try_request_overdraft). 0 unless told otherwise.
    pub fn overdraft(mut self, segments: u32) -> Self {
        self.settings.overdraft = segments;
        self
    }

    /// The number of channels that segments can be requested for, with
    /// [`try_request_for`](LocalBufferPool::try_request_for). Takes 13 bytes for each.
    pub fn channels(mut self, channels: u32) -> Self {
        self.channels = Some(channels);
        self
    }

    /// Segments that each of the [`channels`](Self::channels) may have at once. 10 unless told otherwise, as in Flink.
    pub fn maximum_per_channel(mut self, segments: u32) -> Self {
        self.maximum_per_channel = Some(segments);
        self
    }

    /// How its blocking requests wait. [`WaitStrategy::SpinThenPark`] unless told otherwise.
    ///
    /// # Examples
    /// ```
    /// use forebay::{WaitStrategy, pool::NetworkBufferPool};
    /// let pool = NetworkBufferPool::builder().segments(4).build()?;
    /// let local = pool.local_pool("has a core of its own").required(2).waiting(WaitStrategy::Spin).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn waiting(mut self, strategy: WaitStrategy) -> Self {
        self.settings.strategy = strategy;
        self
    }

    /// What the pool belongs to, for errors and [`usage`](super::NetworkBufferPool::usage): the job, the tenant.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// Makes the pool. Blocking, on creating, resizing and dropping of other pools only. What it costs does not depend
    /// on how many segments or pools there are, but for the look-up in a tree.
    ///
    /// # Errors
    /// * [`PoolError::Insufficient`]: more is required than is not promised yet; the error says to whom, and what fits.
    /// * [`PoolError::MaximumBelowRequired`], [`PoolError::Nothing`], [`PoolError::Channels`]: the settings contradict
    ///   each other: correct them.
    /// * [`PoolError::Failed`]: the network pool has failed. Make another one.
    ///
    /// # Examples
    /// ```
    /// use forebay::pool::{NetworkBufferPool, PoolError};
    /// let network = NetworkBufferPool::builder().segments(8).build()?;
    /// let sorter = network.local_pool("sorter").required(6).build()?;
    /// let error = network.local_pool("parser").required(3).build().unwrap_err();
    /// assert!(matches!(error, PoolError::Insufficient { available: 2, .. }));
    /// assert!(error.to_string().contains(r#""sorter" requires 6, holds 0"#));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// Never: the mutex it takes is not held across anything that panics.
    pub fn build(self) -> Result<LocalBufferPool, PoolError> {
        let Self { core, name, label, channels, maximum_per_channel, mut settings } = self;
        let Settings { required, maximum, .. } = settings;
        if maximum < required {
            return Err(PoolError::MaximumBelowRequired { name, required, maximum });
        }
        if maximum == 0 {
            return Err(PoolError::Nothing { name });
        }
        if channels.is_some() || maximum_per_channel.is_some() {
            let (channels, maximum, limit) =
                (channels.unwrap_or(0), maximum_per_channel.unwrap_or(10), Terms::MAX_CHANNEL);
            if channels == 0 || maximum == 0 || channels > limit {
                return Err(PoolError::Channels { name, channels, maximum, limit });
            }
            settings.per_channel = Some((channels, maximum));
        }
        let channels = channels.unwrap_or(0);
        let names = (name.as_str().into(), label.map(Into::into));
        let state = core.register(&name, required, |id| PoolState::new(id, names, (required, maximum), channels))?;
        Ok(LocalBufferPool::new(core, state, &settings))
    }
}
