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
//! beside it, and its flushes are gathered. So is whatever the socket does not take at once.
//! [`TcpOptions::inline_flush`] says whether any of it happens.
//!
//! # What who flushes may rely on
//! * It waits for nobody: not for who holds the connection, nor for the socket.
//! * It writes once at most: what it has flushed, and what others have announced in that moment.
//! * It may flush again from within, as a waker of its own may that is woken for a segment: that finds the connection
//!   held, and wakes the task.
//! * A panic in it, or an error, is the connection's: the task is woken to end with that, and so the writers hear that
//!   their readers are gone. It is the same for a panic in a turn of the task.
//! * A task that has asked for the connection has it next, however many flush.
//! * Once the task has ended nothing is written. Who holds the connection just then drops it, and with it its place in
//!   the server's list, so nobody takes it for gone before.
//!
//! In exchange a thread that is not run while it writes holds up the connection, with all channels of it.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Weak},
    task::{Context, Poll, Waker, ready},
    time::Instant,
};

use super::{connection::Connection, error::ConnectionError};
use crate::{
    channel::Prompt,
    lockfree::baton::Baton,
    transport::tcp::{gathering::Gathering, link::Link, options::TcpOptions},
};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Driven<L>(Baton<Held<L>>);

#[derive(Debug)]
struct Held<L> {
    connection: Connection<L>,
    /// That of the task, while it sleeps: none before its first turn, nor after the last.
    waker: Option<Waker>,
    /// Dropped behind the connection.
    _place: Place,
}

/// What is kept until the connection is gone.
pub(super) type Place = Arc<dyn Any + Send + Sync>;

impl<L: Link + Send + fmt::Debug + 'static> Driven<L> {
    /// `inline` says whether who flushes may drive it.
    fn new(connection: Connection<L>, inline: bool, place: Place) -> Arc<Self> {
        Arc::new_cyclic(|driven: &Weak<Self>| {
            if inline {
                connection.session.prompt(driven.clone()); // it sleeps until this is whole
            }
            Self(Baton::new(Held { connection, waker: None, _place: place }))
        })
    }

    /// A turn of the task. Pending if somebody else has the connection at this moment, too.
    fn poll_with(
        &self,
        context: &mut Context<'_>,
        turn: impl FnOnce(&mut Context<'_>, &mut Connection<L>) -> Poll<Result<(), ConnectionError>>,
    ) -> Poll<Result<(), ConnectionError>> {
        let waker = context.waker().clone();
        ready!(self.0.poll_with(context, |held| {
            let turn = || turn(&mut Context::from_waker(&waker), &mut held.connection);
            let turned = catch_unwind(AssertUnwindSafe(turn)) // it ends with a panic, and is looked at no more
                .unwrap_or_else(|panic| Poll::Ready(Err(ConnectionError::panicked(&*panic))));
            held.waker = turned.is_pending().then_some(waker);
            turned
        }))
    }
}

impl<L: Link> Held<L> {
    /// `false` if the task is to be woken.
    fn flush(&mut self) -> bool {
        let Self { connection, waker: Some(waker), .. } = self else { return false };
        let flush = || connection.flush(&mut Context::from_waker(waker), Instant::now());
        catch_unwind(AssertUnwindSafe(flush)).unwrap_or_else(|panic| {
            connection.fail(ConnectionError::panicked(&*panic)); // and is not looked at before
            false
        })
    }
}

impl<L: Link + Send + fmt::Debug> Prompt for Driven<L> {
    fn flushed(self: Arc<Self>) -> bool {
        let flushed = self.0.try_with(Held::flush).unwrap_or(false);
        // If the task is gone meanwhile this is the end of the connection, at which others are woken.
        let dropped = catch_unwind(AssertUnwindSafe(move || drop(self)));
        flushed && dropped.is_ok()
    }
}

/// Polls `connection` until it has ended, and minds the time. What is flushed is gathered, and written by who flushes,
/// as `options` say. `place` is kept until the connection is gone.
pub(super) async fn run<L: Link + Send + fmt::Debug + 'static>(
    mut connection: Connection<L>,
    options: TcpOptions,
    place: Place,
) -> Result<(), ConnectionError> {
    let mut sleep = pin!(None);
    let mut asleep_until: Option<Instant> = None;
    let mut requested = false;
    let mut gathering = Gathering::new(options.gather);
    connection.session.gather(gathering.is_possible().then(Instant::now));
    let driven = Driven::new(connection, options.inline_flush, place);
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
        time::Duration,
    };

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::{
        channel::channel_for_later,
        partition::{Forward, RecordWriter, ResultPartition, WriteError},
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

    #[derive(Default)]
    struct Written {
        /// Each call by its length.
        calls: Vec<usize>,
        room: usize,
        /// Happens in the middle of the next call.
        during: Option<Box<dyn FnOnce() -> io::Result<()> + Send>>,
    }

    #[derive(Clone, Default)]
    struct Wire(Arc<Mutex<Written>>);

    impl fmt::Debug for Wire {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Wire")
        }
    }

    impl Link for Wire {
        fn poll_read(&mut self, _: &mut Context<'_>, _: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
            Poll::Pending
        }

        fn poll_write(&mut self, _: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
            let during = self.0.lock().unwrap().during.take();
            if let Some(during) = during {
                during()?;
            }
            let mut written = self.0.lock().unwrap();
            let n = parts.iter().map(|part| part.len()).sum::<usize>().min(written.room);
            if n == 0 {
                return Poll::Pending;
            }
            written.room -= n;
            written.calls.push(n);
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

    /// A connection that sleeps, with two channels that it was asked for.
    struct Asleep {
        driven: Option<Arc<Driven<Wire>>>,
        writer: RecordWriter<Forward>,
        other: Option<RecordWriter<Forward>>,
        wire: Wire,
        wakes: Arc<Wakes>,
        now: Instant,
        /// There as long as the connection is.
        place: Weak<()>,
        pool: NetworkBufferPool,
        _states: [Arc<PartitionState>; 2],
    }

    impl Asleep {
        fn new() -> Self {
            Self::with(true)
        }

        /// Its last turn was long ago.
        fn with(inline: bool) -> Self {
            let size = crate::memory::page_size();
            let pool = NetworkBufferPool::builder().segments(8).segment_size(size).build().unwrap();
            let registry = Arc::new(Registry::default());
            let (deliveries, delivered) = unbounded_channel();
            let (limits, now) = (ServerLimits::default(), Instant::now());
            let mut session = Session::new(registry.clone(), Waiter { connection: 0, deliveries }, limits);
            let mut serve = |nth: u8| {
                let local = pool.local_pool("writer").required(1).build().unwrap();
                let (sender, receiver) = channel_for_later();
                let writer = RecordWriter::new(ResultPartition::new(local, vec![sender]), Forward);
                let partition = ResultPartitionId::from_bytes([nth; 60]);
                let state = registry.register(partition, vec![receiver]).unwrap();
                let (subpartitions, receiver) = (ResultSubpartitionIndexSet::one(0), InputChannelId([nth; 16]));
                let request = PartitionRequest { partition, subpartitions, receiver, credit: 100 };
                let mut bytes = Vec::new();
                Message::PartitionRequest(request).encode(&mut bytes).unwrap();
                session.receive(&bytes, now).unwrap();
                (writer, state)
            };
            let ((writer, state), (other, its)) = (serve(3), serve(4));
            session.gather(Some(now));
            let wire = Wire::default();
            wire.room(usize::MAX);
            let connection = Connection::new(wire.clone(), session, delivered, limits, Arc::default(), now);
            let place = Arc::new(());
            let (weak, wakes) = (Arc::downgrade(&place), Arc::default());
            let driven = Some(Driven::new(connection, inline, place));
            let (other, states) = (Some(other), [state, its]);
            let mut asleep = Self { driven, writer, other, wire, wakes, now, place: weak, pool, _states: states };
            asleep.turn(now.checked_sub(Duration::from_secs(1)).unwrap());
            asleep
        }

        /// A turn of the task.
        fn turn(&mut self, now: Instant) {
            assert!(self.poll(now).is_pending());
        }

        fn poll(&mut self, now: Instant) -> Poll<Result<(), ConnectionError>> {
            let waker = self.wakes.clone().into();
            let driven = self.driven.as_ref().unwrap();
            driven.poll_with(&mut Context::from_waker(&waker), |context, connection| connection.poll(context, now))
        }

        /// The last turn of the task, which leaves the connection to who has it besides.
        fn end(&mut self) -> Result<(), ConnectionError> {
            let Poll::Ready(end) = self.poll(self.now) else { panic!("it goes on") };
            self.driven = None;
            end
        }

        fn flush(&mut self) {
            flush(&mut self.writer);
        }

        /// What was written since, and whether the task was woken.
        fn seen(&self) -> (Vec<usize>, u32) {
            (std::mem::take(&mut self.wire.0.lock().unwrap().calls), self.wakes.0.swap(0, SeqCst))
        }

        /// Nobody reads any more, and the writer hears of it.
        fn hears_of_it(mut self) {
            assert_eq!(self.place.strong_count(), 0);
            let _ = self.writer.emit(&[0_u8; 6][..]); // to an open segment, perhaps
            self.writer.flush();
            assert_eq!(self.writer.emit(&[0_u8; 6][..]), Err(WriteError::Released { subpartition: 0 }));
            drop((self.writer, self.other));
            assert_eq!(self.pool.usage().in_use, 0, "all segments are home");
        }
    }

    impl Wire {
        fn room(&self, bytes: usize) {
            self.0.lock().unwrap().room = bytes;
        }

        fn during(&self, during: impl FnOnce() -> io::Result<()> + Send + 'static) {
            self.0.lock().unwrap().during = Some(Box::new(during));
        }
    }

    /// Writes a record of 6 bytes, with 4 before them, and flushes it.
    fn flush(writer: &mut RecordWriter<Forward>) {
        writer.emit(&[0_u8; 6][..]).unwrap();
        writer.flush();
    }

    const FRAME: usize = BUFFER_HEADER_BYTES + 10;

    #[test]
    fn what_is_flushed_while_the_task_sleeps_is_written_where_it_is_flushed() {
        let mut asleep = Asleep::new();
        asleep.flush();
        assert_eq!(asleep.seen(), (vec![FRAME], 0));
    }

    #[test]
    fn where_it_is_switched_off_the_task_is_woken_for_each() {
        let mut asleep = Asleep::with(false);
        for _ in 0..2 {
            asleep.flush();
            assert_eq!(asleep.seen(), (vec![], 1));
            asleep.now += Duration::from_secs(1);
            asleep.turn(asleep.now);
            assert_eq!(asleep.seen(), (vec![FRAME], 0));
        }
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
            asleep.wire.room(room);
            asleep.flush();
            assert_eq!(asleep.seen(), (vec![room; usize::from(room > 0)], 1));
            asleep.wire.room(usize::MAX);
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
    fn a_task_that_has_asked_has_its_turn_before_who_flushes() {
        let mut asleep = Asleep::new();
        let (driven, now) = (asleep.driven.clone().unwrap(), asleep.now);
        driven.0.try_with(|_| asleep.turn(now)).unwrap();
        assert_eq!(asleep.seen(), (vec![], 1));
        asleep.flush();
        assert_eq!(asleep.seen().0, [0; 0], "it was owed to the task");
        asleep.turn(now);
        assert_eq!(asleep.seen().0, [FRAME]);
    }

    #[test]
    fn of_two_that_flush_at_once_one_writes_and_the_task_does_for_the_other() {
        let mut asleep = Asleep::new();
        let mut other = asleep.other.take().unwrap();
        let flushes = move || {
            std::thread::spawn(move || {
                flush(&mut other);
                other
            })
        };
        let (flushed, joined) = std::sync::mpsc::channel();
        asleep.wire.during(move || {
            flushed.send(flushes().join().unwrap()).unwrap(); // which waits for nobody, though we hold the connection
            Ok(())
        });
        asleep.flush();
        asleep.other = joined.recv().ok();
        assert_eq!(asleep.seen(), (vec![FRAME], 1));
        asleep.turn(asleep.now);
        assert_eq!(asleep.seen(), (vec![FRAME], 0));
    }

    #[test]
    fn a_panic_while_it_is_flushed_is_the_connections() {
        let mut asleep = Asleep::new();
        asleep.wire.during(|| panic!("in the middle"));
        asleep.flush();
        assert_eq!(asleep.seen(), (vec![], 1));
        asleep.flush();
        assert_eq!(asleep.seen().0, [0; 0], "it is not written to any more");
        let error = asleep.end().unwrap_err();
        assert!(matches!(&error, ConnectionError::Panicked { message } if message == "in the middle"), "{error}");
        asleep.hears_of_it();
    }

    #[test]
    fn a_panic_in_a_turn_of_the_task_is_an_error_too() {
        let mut asleep = Asleep::with(false);
        asleep.flush();
        asleep.wire.during(|| std::panic::panic_any(7));
        let error = asleep.end().unwrap_err();
        assert_eq!(error.to_string(), "a panic ended the connection: it said nothing");
        asleep.hears_of_it();
    }

    #[test]
    fn what_the_system_says_to_who_flushes_is_why_the_connection_ends() {
        let mut asleep = Asleep::new();
        asleep.wire.during(|| Err(io::ErrorKind::ConnectionReset.into()));
        asleep.flush();
        assert_eq!(asleep.seen(), (vec![], 1));
        let error = asleep.end().unwrap_err();
        assert!(
            matches!(&error, ConnectionError::Write(source) if source.kind() == io::ErrorKind::ConnectionReset),
            "{error}"
        );
        asleep.hears_of_it();
    }

    #[test]
    fn nothing_is_written_for_a_connection_whose_task_has_ended() {
        let mut asleep = Asleep::new();
        let in_hand = asleep.driven.clone().unwrap(); // as who has just found it has it
        let mut close = Vec::new();
        Message::CloseRequest.encode(&mut close).unwrap();
        let now = asleep.now;
        in_hand.0.try_with(|held| held.connection.session.receive(&close, now).unwrap()).unwrap();
        asleep.end().unwrap();
        asleep.flush();
        assert!(!in_hand.clone().flushed());
        assert_eq!(asleep.seen().0, [0; 0]);
        assert_eq!(asleep.place.strong_count(), 1, "it is there until the last has let go of it");
        drop(in_hand);
        asleep.hears_of_it();
    }

    #[test]
    fn a_connection_whose_task_is_gone_meanwhile_is_dropped_by_who_flushes() {
        let mut asleep = Asleep::new();
        let (task, place) = (asleep.driven.take(), asleep.place.clone());
        asleep.wire.during(move || {
            drop(task); // as if its runtime had ended
            assert_eq!(place.strong_count(), 1, "it is not gone yet");
            Ok(())
        });
        asleep.flush();
        assert_eq!(asleep.seen().0, [FRAME]);
        asleep.hears_of_it();
    }
}
