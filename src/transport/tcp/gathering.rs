//! The time for which what is flushed in quick succession is gathered.
//!
//! The timers of tokio are for waits of milliseconds. This one is of the system (`timerfd_create(2)`), with a call to
//! it for each wait, and is asked for when a connection gathers for the first time. Other systems than Linux have none,
//! and there nothing is gathered.

#[cfg(target_os = "linux")]
pub(super) use linux::Gathering;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Gathering;

#[cfg(target_os = "linux")]
mod linux {
    use std::{
        io,
        os::fd::OwnedFd,
        task::{Context, Poll, ready},
        time::Duration,
    };

    use rustix::time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
    };
    use tokio::io::{Interest, unix::AsyncFd};

    /// Of one connection.
    #[derive(Debug)]
    pub(in super::super) struct Gathering {
        wait: Duration,
        timer: Option<AsyncFd<OwnedFd>>,
        /// It is on.
        waits: bool,
    }

    impl Gathering {
        /// For `wait` each time.
        pub(in super::super) fn new(wait: Duration) -> Self {
            Self { wait, timer: None, waits: false }
        }

        /// Whether there is such a time.
        pub(in super::super) fn is_possible(&self) -> bool {
            self.wait > Duration::ZERO
        }

        /// Begins a wait, or goes on with the one that was begun; ready when it is over, and pending leaves the waker.
        ///
        /// # Errors
        /// The system refuses a timer.
        pub(in super::super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.timer.is_none() {
                let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
                let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
                #[allow(
                    deprecated,
                    reason = "unsound for what has another descriptor later: an `OwnedFd` keeps its own"
                )]
                let timer = AsyncFd::with_interest(timer, Interest::READABLE)?;
                self.timer = Some(timer);
            }
            let Some(timer) = &self.timer else { return Poll::Pending };
            if !self.waits {
                let once = Itimerspec {
                    it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
                    it_value: self.wait.try_into().map_err(|_| io::ErrorKind::InvalidInput)?,
                };
                timerfd_settime(timer, TimerfdTimerFlags::empty(), &once)?;
                self.waits = true;
            }
            // What it counts is not read: the next setting forgets it.
            ready!(timer.poll_read_ready(context))?.clear_ready();
            self.waits = false;
            Poll::Ready(Ok(()))
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::{
        io,
        task::{Context, Poll},
        time::Duration,
    };

    /// See the [module](super).
    #[derive(Debug)]
    pub(in super::super) struct Gathering;

    impl Gathering {
        pub(in super::super) fn new(_: Duration) -> Self {
            Self
        }

        pub(in super::super) fn is_possible(&self) -> bool {
            false
        }

        pub(in super::super) fn poll(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, Instant},
    };

    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::{
        channel::channel_for_later,
        partition::{Forward, RecordWriter, ResultPartition, RoundRobin},
        pool::NetworkBufferPool,
        transport::{
            readers::{MOST_PARTS, Readers},
            tcp::{
                limits::ServerLimits,
                server::{
                    registry::{PartitionState, Registry, Waiter},
                    session::Session,
                },
            },
        },
        wire::{InputChannelId, Message, PartitionRequest, ResultPartitionId, ResultSubpartitionIndexSet},
    };

    const RECEIVER: InputChannelId = InputChannelId([1; 16]);

    /// A session that gathers, with one channel that it was asked for.
    struct Served {
        session: Session,
        now: Instant,
        writer: Option<RecordWriter<Forward>>,
        pool: NetworkBufferPool,
        _state: Arc<PartitionState>,
    }

    impl Served {
        fn new() -> Self {
            let size = crate::memory::page_size();
            let pool = NetworkBufferPool::builder().segments(8).segment_size(size).build().unwrap();
            let local = pool.local_pool("writer").required(1).build().unwrap();
            let (sender, receiver) = channel_for_later();
            let writer = RecordWriter::new(ResultPartition::new(local, vec![sender]), Forward);
            let (registry, partition) = (Arc::new(Registry::default()), ResultPartitionId::from_bytes([3; 60]));
            let state = registry.register(partition, vec![receiver]).unwrap();
            let waiter = Waiter { connection: 0, deliveries: unbounded_channel().0 };
            let mut session = Session::new(registry, waiter, ServerLimits::default());
            let now = Instant::now();
            session.gather(Some(now));
            let subpartitions = ResultSubpartitionIndexSet::one(0);
            let request = PartitionRequest { partition, subpartitions, receiver: RECEIVER, credit: 100 };
            let mut served = Self { session, now, writer: Some(writer), pool, _state: state };
            served.hear(&Message::PartitionRequest(request));
            assert_eq!(served.turn(), [0; 0]);
            served
        }

        fn hear(&mut self, message: &Message) {
            let mut bytes = Vec::new();
            message.encode(&mut bytes).unwrap();
            self.session.receive(&bytes, Instant::now()).unwrap();
        }

        /// Writes a record of so many bytes, with 4 before them, and flushes it.
        fn flush(&mut self, len: usize) {
            let writer = self.writer.as_mut().unwrap();
            writer.emit(&vec![0_u8; len][..]).unwrap();
            writer.flush();
        }

        /// Begins a turn, so long after the last one that an answer may have come; the sizes of the buffers that are
        /// sent.
        fn turn(&mut self) -> Vec<usize> {
            self.turn_after(std::time::Duration::from_micros(10))
        }

        fn turn_after(&mut self, wait: std::time::Duration) -> Vec<usize> {
            self.now += wait;
            self.session.turn(self.now);
            self.go_on()
        }

        /// Goes on with the turn.
        fn go_on(&mut self) -> Vec<usize> {
            self.session.fill();
            // Header and content of each.
            let sent: Vec<_> = self.session.out.with_parts(|parts| parts.iter().map(|part| part.len()).collect());
            self.session.out.advance(sent.iter().sum());
            sent.chunks(2).map(|frame| frame[1]).collect()
        }
    }

    #[test]
    fn what_is_flushed_again_while_it_is_sent_goes_out_in_one() {
        let mut served = Served::new();
        served.flush(6);
        assert_eq!(served.turn(), [10], "the first one at once");
        for _ in 0..3 {
            served.flush(6);
            assert_eq!(served.go_on(), [0; 0], "those behind it are gathered");
            assert!(served.session.is_gathering());
        }
        served.flush(6);
        assert_eq!(served.turn(), [0; 0], "whatever else the connection has to do");
        served.session.gathered();
        assert!(!served.session.is_gathering());
        assert_eq!(served.turn(), [40]);
        served.flush(6);
        assert_eq!(served.go_on(), [0; 0], "and so on");
        served.session.gathered();
        assert_eq!(served.turn(), [10]);
        assert!(!served.session.is_gathering(), "until there is a pause");
    }

    #[test]
    fn who_waits_for_an_answer_before_it_flushes_again_does_not_wait_longer() {
        let mut served = Served::new();
        for _ in 0..10 {
            served.flush(6);
            assert_eq!(served.turn(), [10]);
            assert_eq!(served.go_on(), [0; 0]);
            assert!(!served.session.is_gathering());
        }
    }

    #[test]
    fn a_connection_that_is_woken_by_each_flush_gathers_all_the_same() {
        let mut served = Served::new();
        let soon = std::time::Duration::from_micros(9);
        served.flush(6);
        assert_eq!(served.turn(), [10]);
        served.flush(6);
        assert_eq!(served.turn_after(soon), [0; 0], "sooner than any answer");
        served.session.gathered();
        assert_eq!(served.turn_after(soon), [10]);
        served.flush(6);
        assert_eq!(served.turn_after(soon), [0; 0]);
        served.session.gathered();
        assert_eq!(served.turn(), [10]);
    }

    #[test]
    fn full_segments_and_events_are_not_gathered() {
        let mut served = Served::new();
        let size = crate::memory::page_size();
        served.flush(6);
        assert_eq!(served.turn(), [10]);
        served.flush(size);
        assert_eq!(served.go_on(), [size - 10], "the segment that this one has filled, and what is over is gathered");
        served.session.gathered();
        assert_eq!(served.turn(), [14]);
        served.flush(6);
        served.writer.take().unwrap().close();
        assert_eq!(served.go_on().len(), 2, "the rest, and the end");
    }

    #[test]
    fn what_is_gathered_waits_for_credit_as_everything_does() {
        let mut served = Served::new();
        for left in (1..100).rev() {
            served.flush(6);
            assert_eq!(served.turn(), [10], "{left} left");
        }
        served.flush(6);
        assert_eq!(served.turn(), [10], "the last");
        served.flush(6);
        assert_eq!(served.go_on(), [0; 0]);
        assert!(!served.session.is_gathering(), "it rests");
        served.hear(&Message::AddCredit { credit: 1, receiver: RECEIVER });
        assert_eq!(served.turn(), [10]);
    }

    #[test]
    fn what_is_gathered_for_a_peer_that_cancels_comes_home() {
        let mut served = Served::new();
        served.flush(6);
        assert_eq!(served.turn(), [10]);
        served.flush(6);
        assert_eq!(served.go_on(), [0; 0]);
        assert!(served.session.is_gathering());
        served.hear(&Message::CancelPartitionRequest { receiver: RECEIVER });
        served.session.gathered();
        assert_eq!(served.turn(), [0; 0]);
        let Served { session, writer, pool, .. } = served;
        drop(writer);
        assert_eq!(pool.in_use(), 0);
        drop(session);
    }

    #[test]
    fn a_session_that_gathers_no_more_sends_what_it_has_gathered() {
        let mut served = Served::new();
        served.flush(6);
        assert_eq!(served.turn(), [10]);
        served.flush(6);
        assert_eq!(served.go_on(), [0; 0]);
        served.session.gather(None);
        assert_eq!(served.go_on(), [10]);
        served.flush(6);
        assert_eq!(served.go_on(), [10]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a thousand channels are many for Miri")]
    fn what_is_noted_of_readers_is_bounded_and_the_others_are_sent_as_they_come() {
        let channels = MOST_PARTS + 1;
        let pool = NetworkBufferPool::builder().segments(channels as u32).segment_size(4096).build().unwrap();
        let local = pool.local_pool("writer").required(channels as u32).build().unwrap();
        let (senders, receivers): (Vec<_>, Vec<_>) = (0..channels).map(|_| channel_for_later()).unzip();
        let mut writer = RecordWriter::new(ResultPartition::new(local, senders), RoundRobin::default());
        let (mut readers, now) = (Readers::new(channels as u32), Instant::now());
        readers.gather(Some(now));
        for receiver in receivers {
            readers.open(receiver, 100, ()).unwrap();
        }
        let mut round = |readers: &mut Readers<()>| {
            (0..channels).for_each(|_| writer.emit(&[0_u8; 6][..]).unwrap());
            writer.flush();
            std::iter::from_fn(|| readers.next()).count()
        };
        assert_eq!(round(&mut readers), channels);
        assert_eq!(round(&mut readers), 1, "of all others it is noted that they have just been sent");
        readers.gathered();
        readers.turn(now + Duration::from_secs(1));
        assert_eq!(std::iter::from_fn(|| readers.next()).count(), MOST_PARTS);
    }

    #[cfg(target_os = "linux")]
    #[test]
    #[cfg_attr(miri, ignore = "Miri has no such timer")]
    fn a_wait_ends_and_the_next_one_too() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        runtime.block_on(async {
            assert!(!Gathering::new(std::time::Duration::ZERO).is_possible());
            let mut gathering = Gathering::new(std::time::Duration::from_micros(50));
            for _ in 0..3 {
                let mut polls = 0;
                std::future::poll_fn(|context| {
                    polls += 1;
                    gathering.poll(context)
                })
                .await
                .unwrap();
                assert!(polls > 1, "it is not over as it begins");
            }
        });
    }
}
