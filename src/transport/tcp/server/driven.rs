//! Who drives a connection: its task, and between whose turns the thread that flushes.
//!
//! ```text
//!  flush ─▶ the task sleeps? ─▶ nobody holds the connection? ─▶ one write, from the thread that flushes
//!                    │ no                │ no, or there is more to do than that
//!                    ▼                   ▼
//!          it will see it             wake the task
//! ```
//!
//! To wake a network thread takes a call to the system here, and there the time until it runs and one more to find out
//! why. Where that is all it is woken for, to write at once is less work for both. What is flushed sooner after the
//! last turn than an answer could come is left to the task all the same: a writer that streams is to have a thread
//! beside it, and its flushes are gathered. So is whatever the socket does not take at once. Never waits for who holds
//! the connection.

use std::{
    fmt,
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker, ready},
    time::{Duration, Instant},
};

use super::{connection::Connection, error::ConnectionError};
use crate::{
    channel::Prompt,
    lockfree::baton::Baton,
    transport::tcp::{gathering::Gathering, link::Link},
};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Driven<L>(Baton<Held<L>>);

#[derive(Debug)]
struct Held<L> {
    connection: Connection<L>,
    /// That of the task.
    waker: Option<Waker>,
}

impl<L: Link + Send + fmt::Debug + 'static> Driven<L> {
    fn new(connection: Connection<L>) -> Arc<Self> {
        Arc::new_cyclic(|driven: &Weak<Self>| {
            connection.session.prompt(driven.clone()); // it sleeps until this is whole
            Self(Baton::new(Held { connection, waker: None }))
        })
    }

    /// A turn of the task. Pending if somebody else has the connection at this moment, too.
    fn poll_with<R>(
        &self,
        context: &mut Context<'_>,
        turn: impl FnOnce(&mut Context<'_>, &mut Connection<L>) -> Poll<R>,
    ) -> Poll<R> {
        let waker = context.waker().clone();
        ready!(self.0.poll_with(context, |held| {
            let turned = turn(&mut Context::from_waker(&waker), &mut held.connection);
            held.waker = Some(waker);
            turned
        }))
    }
}

impl<L: Link + Send + fmt::Debug> Prompt for Driven<L> {
    fn flushed(&self) -> bool {
        let flush = |held: &mut Held<L>| {
            let Held { connection, waker: Some(waker) } = held else { return false };
            connection.flush(&mut Context::from_waker(waker), Instant::now())
        };
        self.0.try_with(flush).unwrap_or(false)
    }
}

/// Polls `connection` until it has ended, and minds the time. What is flushed in quick succession is gathered for
/// `gather`.
pub(super) async fn run<L: Link + Send + fmt::Debug + 'static>(
    mut connection: Connection<L>,
    gather: Duration,
) -> Result<(), ConnectionError> {
    let mut sleep = pin!(None);
    let mut asleep_until: Option<Instant> = None;
    let mut requested = false;
    let mut gathering = Gathering::new(gather);
    connection.session.gather(gathering.is_possible().then(Instant::now));
    let driven = Driven::new(connection);
    let mut poll = |context: &mut Context<'_>, connection: &mut Connection<L>| {
        loop {
            if let Poll::Ready(end) = connection.poll(context, Instant::now()) {
                return Poll::Ready(end);
            }
            if connection.session.is_gathering()
                && let Poll::Ready(over) = gathering.poll(context)
            {
                if over.is_err() {
                    connection.session.gather(None); // the system has no timer for it
                }
                connection.session.gathered();
                continue;
            }
            if connection.session.has_requested() && !std::mem::replace(&mut requested, true) {
                sleep.set(None); // while there is any, the system sets a timer whenever the thread has nothing to do
                asleep_until = None;
            }
            let Some(deadline) = connection.deadline() else { return Poll::Pending };
            // A deadline that moves away is looked at when the nearer one comes: no timer is set for each write.
            if asleep_until.is_none_or(|until| deadline < until) {
                sleep.set(Some(tokio::time::sleep_until(deadline.into())));
                asleep_until = Some(deadline);
            }
            if let Some(sleep) = sleep.as_mut().as_pin_mut() {
                ready!(sleep.poll(context));
            }
            asleep_until = None;
            if let Err(error) = connection.expire(Instant::now()) {
                return Poll::Ready(Err(error));
            }
        }
    };
    std::future::poll_fn(|context| driven.poll_with(context, &mut poll)).await
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, IoSlice, IoSliceMut},
        sync::{
            Mutex,
            atomic::{AtomicU32, Ordering::SeqCst},
        },
        task::Wake,
    };

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::{
        channel::channel_for_later,
        partition::{Forward, RecordWriter, ResultPartition},
        pool::NetworkBufferPool,
        transport::tcp::{
            limits::ServerLimits,
            server::{
                registry::{PartitionState, Registry, Waiter},
                session::Session,
            },
        },
        wire::{
            BUFFER_HEADER_BYTES, InputChannelId, Message, PartitionRequest, ResultPartitionId,
            ResultSubpartitionIndexSet,
        },
    };

    /// What was written, each call by its length; and room for so many bytes.
    #[derive(Debug, Clone, Default)]
    struct Wire(Arc<Mutex<(Vec<usize>, usize)>>);

    impl Link for Wire {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            let (writes, room) = &mut *self.0.lock().unwrap();
            let n = parts.iter().map(|part| part.len()).sum::<usize>().min(*room);
            if n == 0 {
                return Poll::Pending;
            }
            *room -= n;
            writes.push(n);
            Poll::Ready(Ok(n))
        }

        fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    /// A connection that sleeps, with one channel that it was asked for.
    struct Asleep {
        driven: Option<Arc<Driven<Wire>>>,
        writer: RecordWriter<Forward>,
        wire: Wire,
        wakes: Arc<Wakes>,
        now: Instant,
        _state: Arc<PartitionState>,
    }

    impl Asleep {
        /// Its last turn was long ago.
        fn new() -> Self {
            let pool =
                NetworkBufferPool::builder().segments(8).segment_size(crate::memory::page_size()).build().unwrap();
            let local = pool.local_pool("writer").required(1).build().unwrap();
            let (sender, receiver) = channel_for_later();
            let writer = RecordWriter::new(ResultPartition::new(local, vec![sender]), Forward);
            let (registry, partition) = (Arc::new(Registry::default()), ResultPartitionId::from_bytes([3; 60]));
            let state = registry.register(partition, vec![receiver]).unwrap();
            let (deliveries, delivered) = unbounded_channel();
            let (limits, now) = (ServerLimits::default(), Instant::now());
            let mut session = Session::new(registry, Waiter { connection: 0, deliveries }, limits);
            let (subpartitions, receiver) = (ResultSubpartitionIndexSet::one(0), InputChannelId([1; 16]));
            let mut request = Vec::new();
            let message = PartitionRequest { partition, subpartitions, receiver, credit: 100 };
            Message::PartitionRequest(message).encode(&mut request).unwrap();
            session.receive(&request, now).unwrap();
            session.gather(Some(now));
            let wire = Wire::default();
            wire.0.lock().unwrap().1 = usize::MAX;
            let connection = Connection::new(wire.clone(), session, delivered, limits, Arc::default(), now);
            let (driven, wakes) = (Some(Driven::new(connection)), Arc::default());
            let mut asleep = Self { driven, writer, wire, wakes, now, _state: state };
            asleep.turn(now.checked_sub(Duration::from_secs(1)).unwrap());
            asleep
        }

        /// A turn of the task.
        fn turn(&mut self, now: Instant) {
            let waker = self.wakes.clone().into();
            let driven = self.driven.as_ref().unwrap();
            let turned =
                driven.poll_with(&mut Context::from_waker(&waker), |context, connection| connection.poll(context, now));
            assert!(turned.is_pending());
        }

        /// Writes a record of 6 bytes, with 4 before them, and flushes it.
        fn flush(&mut self) {
            self.writer.emit(&[0_u8; 6][..]).unwrap();
            self.writer.flush();
        }

        /// What was written since, and whether the task was woken.
        fn seen(&self) -> (Vec<usize>, u32) {
            (std::mem::take(&mut self.wire.0.lock().unwrap().0), self.wakes.0.swap(0, SeqCst))
        }
    }

    const FRAME: usize = BUFFER_HEADER_BYTES + 10;

    #[test]
    fn what_is_flushed_while_the_task_sleeps_is_written_where_it_is_flushed() {
        let mut asleep = Asleep::new();
        asleep.flush();
        assert_eq!(asleep.seen(), (vec![FRAME], 0));
    }

    #[test]
    fn what_is_flushed_sooner_than_an_answer_could_come_is_left_to_the_task() {
        let mut asleep = Asleep::new();
        asleep.turn(asleep.now + Duration::from_secs(3600));
        asleep.flush();
        assert_eq!(asleep.seen(), (vec![], 1));
        asleep.turn(asleep.now + Duration::from_secs(3601));
        assert_eq!(asleep.seen(), (vec![FRAME], 0));
    }

    #[test]
    fn full_segments_are_left_to_the_task() {
        let mut asleep = Asleep::new();
        asleep.writer.emit(&vec![0_u8; crate::memory::page_size()][..]).unwrap();
        assert_eq!(asleep.seen(), (vec![], 1), "they come many at a time");
    }

    #[test]
    fn what_the_socket_does_not_take_is_left_to_the_task() {
        for room in [0, 20] {
            let mut asleep = Asleep::new();
            asleep.wire.0.lock().unwrap().1 = room;
            asleep.flush();
            assert_eq!(asleep.seen(), (vec![room; usize::from(room > 0)], 1));
            asleep.wire.0.lock().unwrap().1 = usize::MAX;
            asleep.turn(asleep.now);
            assert_eq!(asleep.seen(), (vec![FRAME - room], 0));
        }
    }

    #[test]
    fn who_finds_the_connection_in_other_hands_wakes_the_task() {
        let mut asleep = Asleep::new();
        let driven = asleep.driven.clone().unwrap();
        driven.0.try_with(|_| asleep.flush()).unwrap();
        assert_eq!(asleep.seen(), (vec![], 1));
        let now = asleep.now;
        driven.0.try_with(|_| asleep.turn(now)).unwrap();
        assert_eq!(asleep.seen(), (vec![], 1), "asked for, it is woken once the connection is put back");
        asleep.turn(now);
        assert_eq!(asleep.seen(), (vec![FRAME], 0));
    }

    #[test]
    fn nothing_is_written_for_a_connection_that_has_ended() {
        let mut asleep = Asleep::new();
        asleep.driven = None;
        let _ = asleep.writer.emit(&[0_u8; 6][..]); // the reader is gone
        asleep.writer.flush();
        assert_eq!(asleep.seen().0, [0; 0]);
    }
}
