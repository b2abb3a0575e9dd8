//! What a priority event overtakes, on its way back to who sent it.

use std::{
    mem,
    task::{Context, Poll, Waker},
};

use crate::{
    buffer::Buffer,
    lockfree::wait::block_on,
    sync::{Arc, Mutex, MutexGuard},
};

/// What a priority event has overtaken, for the writer that asked for it: handles to the very segments that waited for
/// the readers. They are there once every reader has come to the event, for only then it is settled which they are.
///
/// Keeps the segments from the writer's pool: store them, and drop them.
///
/// # Examples
/// ```
/// # use forebay::{CheckpointBarrier, gate::RecordReader, pool::NetworkBufferPool, transport::in_process};
/// # use forebay::partition::{Forward, RecordWriter};
/// # let pool = NetworkBufferPool::builder().segments(2).build()?;
/// # let (mut partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(2).build()?], 1);
/// # let mut writer = RecordWriter::new(partitions.remove(0), Forward);
/// # let mut reader = RecordReader::new(gates.remove(0), 16);
/// writer.emit("early")?;
/// let mut overtaken = writer.broadcast_priority_event_and_capture(CheckpointBarrier::unaligned(1).into())?;
/// assert!(overtaken.try_buffers().is_none(), "the reader has not come to it");
/// assert!(reader.next_or_event()?.is_some());
/// let buffers = overtaken.buffers();
/// assert_eq!((buffers.len(), buffers[0].0, &buffers[0].1[4..]), (1, 0, &b"early"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `ChannelStateWriter.addOutputData`.
#[derive(Debug)]
pub struct Overtaken(Arc<Mutex<State>>);

impl Overtaken {
    /// Control plane: no panic while it is held.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no panic while it is held")
    }
}

#[derive(Debug)]
struct State {
    /// Each with its subpartition.
    buffers: Vec<(usize, Buffer)>,
    /// Readers that have not come to the event, and are there.
    missing: usize,
    waker: Option<Waker>,
}

/// One channel's part in it: given back when the reader takes the event, or when it is dropped with the channel.
#[derive(Debug)]
pub(crate) struct Ticket {
    state: Arc<Mutex<State>>,
    subpartition: usize,
    buffers: Vec<Buffer>,
}

impl Overtaken {
    /// A capture of `subpartitions` channels, each of which gets a ticket.
    pub(crate) fn new(subpartitions: usize) -> (Self, impl Iterator<Item = Ticket>) {
        let state = State { buffers: Vec::new(), missing: subpartitions, waker: None };
        let state = Arc::new(Mutex::new(state));
        let shared = state.clone();
        let ticket = move |subpartition| Ticket { state: shared.clone(), subpartition, buffers: Vec::new() };
        (Self(state), (0..subpartitions).map(ticket))
    }

    /// Each buffer with its subpartition, those of one in the order of its stream, once all are known; empty
    /// afterwards. Leaves the waker until then. Takes a lock that the readers take at the event.
    ///
    /// A reader that goes away has nothing in flight.
    ///
    /// # Panics
    /// Never: the mutex it takes is not held across anything that panics.
    pub fn poll_buffers(&mut self, context: &mut Context<'_>) -> Poll<Vec<(usize, Buffer)>> {
        let mut waker = Some(context.waker().clone()); // somebody else's code: not under the lock
        let found = {
            let mut state = self.lock();
            if state.missing == 0 {
                Poll::Ready(mem::take(&mut state.buffers))
            } else {
                mem::swap(&mut state.waker, &mut waker);
                Poll::Pending
            }
        };
        drop(waker);
        found
    }

    /// As [`poll_buffers`](Self::poll_buffers), if they are known now.
    pub fn try_buffers(&mut self) -> Option<Vec<(usize, Buffer)>> {
        match self.poll_buffers(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(buffers) => Some(buffers),
            Poll::Pending => None,
        }
    }

    /// As [`poll_buffers`](Self::poll_buffers). Blocking, on the readers: parks the thread.
    #[must_use]
    pub fn buffers(mut self) -> Vec<(usize, Buffer)> {
        loop {
            if let Some(buffers) = block_on(None, |context| self.poll_buffers(context)) {
                return buffers;
            }
        }
    }
}

impl Ticket {
    /// The reader has come to the event, and this is what it overtakes.
    pub(super) fn deliver(mut self, buffers: Vec<Buffer>) {
        self.buffers = buffers; // and `drop` hands them over
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let buffers = mem::take(&mut self.buffers).into_iter().map(|buffer| (self.subpartition, buffer));
        let waker = {
            let mut state = self.state.lock().expect("no panic while it is held");
            state.buffers.extend(buffers);
            state.missing -= 1;
            if state.missing == 0 { state.waker.take() } else { None }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}
