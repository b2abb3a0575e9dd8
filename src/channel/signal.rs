//! How channels tell their gate that they have something: each by its index, once.

use std::{collections::VecDeque, mem, task::Waker};

use super::Told;
use crate::{
    lockfree::{
        inbox::{Inbox, Links, MAX_INDEX},
        waker::WakerCell,
    },
    sync::{AtomicU32, Mutex},
};

/// What a gate tells the writer of a channel, over whatever is between them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Go on behind an event that blocks the channel.
    Resume,
    /// All in front of the end of data has been handled.
    AllRecordsProcessed,
    /// An event for the task that writes, in Flink's form.
    TaskEvent(Box<[u8]>),
}

/// The way against the stream, where a network is between: in one process a writer needs none of it.
pub(crate) trait Upstream: std::fmt::Debug + Send + Sync {
    /// The gate says `said` to the writer of `channel`.
    fn say(&self, channel: u32, said: Said);

    /// The gate is gone.
    fn gone(&self);
}

/// Who reads the channels that announce themselves, and can be made to on the thread that they do it on.
pub(crate) trait Prompt: std::fmt::Debug + Send + Sync {
    /// Something was flushed, and whoever reads sleeps. `false` if it is to be woken after all. On the thread that
    /// flushes, so it shall neither wait for anybody nor panic.
    #[allow(clippy::disallowed_types, reason = "the handle that a weak one gives, which loom's has not")]
    fn flushed(self: std::sync::Arc<Self>) -> bool;
}

/// One for each gate, shared with the writing ends of its channels.
///
/// Priority events have one more index in the inbox, for all channels together: the gate so learns of them before
/// anything that it found earlier, of a channel that it holds the token of too, and is woken by the same word (M4).
/// Which channels have one stands in `priority`.
#[derive(Debug)]
pub(crate) struct Signal {
    inbox: Inbox,
    links: ChannelLinks,
    waker: WakerCell,
    priority: Mutex<Priority>,
    upstream: Option<Box<dyn Upstream>>,
    /// Set before the gate parks for the first time, if ever.
    prompt: Prompted,
}

#[allow(clippy::disallowed_types, reason = "written once, before anybody reads: loom has nothing to see in it")]
type Prompted = std::sync::OnceLock<std::sync::Weak<dyn Prompt>>;

/// Links of the channels, and one behind them for priority events.
#[derive(Debug)]
struct ChannelLinks(Box<[AtomicU32]>);

impl Links for ChannelLinks {
    fn link(&self, index: u32) -> &AtomicU32 {
        &self.0[index as usize]
    }
}

#[derive(Debug, Default)]
struct Priority {
    /// A channel for each priority event, in the order they were sent.
    channels: VecDeque<u32>,
    /// The index for priority events is in the inbox.
    announced: bool,
}

/// What [`Signal::collect`] brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announced {
    /// This channel has something.
    Channel(u32),
    /// There are priority events: [`Signal::collect_priority`].
    Priority,
}

impl Signal {
    /// For a gate of `channels` channels.
    ///
    /// # Panics
    /// If that is more than an inbox can tell apart.
    pub(crate) fn new(channels: u32) -> Self {
        assert!(channels <= MAX_INDEX, "{channels} channels of one gate");
        let links = (0..=channels).map(|_| AtomicU32::new(0)).collect();
        Self {
            inbox: Inbox::new(),
            links: ChannelLinks(links),
            waker: WakerCell::new(),
            priority: Mutex::new(Priority::default()),
            upstream: None,
            prompt: Prompted::new(),
        }
    }

    /// The same, for channels whose writers are behind `upstream`.
    pub(crate) fn with_upstream(mut self, upstream: Box<dyn Upstream>) -> Self {
        self.upstream = Some(upstream);
        self
    }

    /// Whether there is anybody that [`say`](Self::say) says something to.
    pub(crate) fn has_upstream(&self) -> bool {
        self.upstream.is_some()
    }

    /// Says something to the writer of a channel, if it is behind a network. The gate only.
    pub(crate) fn say(&self, channel: u32, said: Said) {
        if let Some(upstream) = &self.upstream {
            upstream.say(channel, said);
        }
    }

    /// Says that the gate is gone. The gate only.
    pub(crate) fn gone(&self) {
        if let Some(upstream) = &self.upstream {
            upstream.gone();
        }
    }

    /// Number of channels.
    pub(crate) fn channels(&self) -> usize {
        self.links.0.len() - 1
    }

    /// Has `prompt` read what is flushed while the gate sleeps. The gate only, before it parks for the first time.
    pub(crate) fn prompt(&self, prompt: std::sync::Weak<dyn Prompt>) {
        let _ = self.prompt.set(prompt); // once
    }

    /// Puts channel `index` into the gate's inbox, and wakes the gate if it sleeps. The caller has just turned the
    /// channel's `QUEUED` on, so it is not there yet.
    pub(super) fn announce(&self, index: u32, told: Told) {
        if self.inbox.push(self.links.link(index), index) != Ok(true) {
            return;
        }
        let read =
            told == Told::Flushed && self.prompt.get().and_then(std::sync::Weak::upgrade).is_some_and(Prompt::flushed);
        if !read {
            self.waker.wake();
        }
    }

    /// Says that channel `index` has one more priority event, and wakes the gate if it sleeps. Blocking for a moment,
    /// on others that do the same.
    pub(super) fn announce_priority(&self, index: u32) {
        let announced = {
            let mut priority = self.priority.lock().expect("no panic while it is held");
            priority.channels.push_back(index);
            mem::replace(&mut priority.announced, true)
        };
        if !announced {
            self.announce(self.channels() as u32, Told::Whole);
        }
    }

    /// The channels that announced themselves since the last call, the most recent first. The gate only.
    pub(crate) fn collect(&self, mut each: impl FnMut(Announced)) {
        let mut chain = self.inbox.take_all();
        while let Some(index) = chain.next(&self.links) {
            each(if index as usize == self.channels() { Announced::Priority } else { Announced::Channel(index) });
        }
    }

    /// Whether nothing has announced itself. The gate only.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.inbox.is_empty()
    }

    /// Moves the channels with a priority event into `to`, once for each event. The gate only, when
    /// [`collect`](Self::collect) says so. Blocking for a moment, as [`announce_priority`](Self::announce_priority).
    pub(crate) fn collect_priority(&self, to: &mut VecDeque<u32>) {
        let mut priority = self.priority.lock().expect("no panic while it is held");
        priority.announced = false;
        to.append(&mut priority.channels);
    }

    /// Leaves `waker` to be woken by the next announcement; `false` if there is one already. The gate only.
    pub(crate) fn park(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.inbox.park()
    }
}
