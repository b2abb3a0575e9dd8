//! How channels tell their gate that they have something: each by its index, once.

use std::task::Waker;

use crate::{
    lockfree::{
        inbox::{Inbox, Links},
        waker::WakerCell,
    },
    sync::AtomicU32,
};

/// One for each gate, shared with the writing ends of its channels.
#[derive(Debug)]
pub(crate) struct Signal {
    inbox: Inbox,
    links: ChannelLinks,
    waker: WakerCell,
}

#[derive(Debug)]
struct ChannelLinks(Box<[AtomicU32]>);

impl Links for ChannelLinks {
    fn link(&self, index: u32) -> &AtomicU32 {
        &self.0[index as usize]
    }
}

impl Signal {
    /// For a gate of `channels` channels.
    pub(crate) fn new(channels: u32) -> Self {
        let links = (0..channels).map(|_| AtomicU32::new(0)).collect();
        Self { inbox: Inbox::new(), links: ChannelLinks(links), waker: WakerCell::new() }
    }

    /// Number of channels.
    pub(crate) fn channels(&self) -> usize {
        self.links.0.len()
    }

    /// Puts channel `index` into the gate's inbox, and wakes the gate if it sleeps. The caller has just turned the
    /// channel's `QUEUED` on, so it is not there yet.
    pub(super) fn announce(&self, index: u32) {
        if self.inbox.push(self.links.link(index), index) == Ok(true) {
            self.waker.wake();
        }
    }

    /// The channels that announced themselves since the last call, the most recent first. The gate only.
    pub(crate) fn collect(&self, mut each: impl FnMut(u32)) {
        let mut chain = self.inbox.take_all();
        while let Some(index) = chain.next(&self.links) {
            each(index);
        }
    }

    /// Leaves `waker` to be woken by the next announcement; `false` if there is one already. The gate only.
    pub(crate) fn park(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.inbox.park()
    }
}
