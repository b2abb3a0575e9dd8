//! All channels of one reading task.

use std::{
    collections::VecDeque,
    mem,
    task::{Context, Poll},
    time::Duration,
};

use super::{
    input::{BufferOrEvent, GateError, Input, Next},
    input_channel::{Consumption, InputChannel, Polled},
};
use crate::{
    buffer::Buffer,
    channel::{Announced, Event, Item, Receiver, Said, SharedEvent, Signal},
    lockfree::wait::{WaitStrategy, Waited},
    sync::Arc,
};

/// Channels that are watched at most.
const WATCHED: usize = 4;

/// The channels of one reading task, as one sequence of buffers and events.
///
/// Fair: channels that have something take turns, one buffer each. The cost of a buffer does not depend on the number
/// of channels, only on how many have something (O(1) for each).
///
/// Comes from a transport, such as [`in_process`](crate::transport::in_process()). For records, hand it to a
/// [`RecordReader`](super::RecordReader); read from it directly to pass on whole buffers. Dropping it tells the writers
/// that nobody reads, and gives back what it holds.
///
/// # Examples
/// ```
/// use forebay::{
///     gate::BufferOrEvent,
///     partition::{Forward, RecordWriter},
///     pool::NetworkBufferPool,
///     transport::in_process,
///     Event,
/// };
/// let pool = NetworkBufferPool::builder().segments(2).build()?;
/// let (mut partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(1).build()?], 1);
/// let mut writer = RecordWriter::new(partitions.remove(0), Forward);
/// let mut gate = gates.remove(0);
/// assert!(gate.try_next()?.is_none(), "nothing now");
///
/// writer.emit("hi")?;
/// writer.close();
/// let Some((0, BufferOrEvent::Buffer(buffer))) = gate.next()? else { panic!() };
/// assert_eq!(&*buffer, b"\0\0\0\x02hi"); // framed: see `forebay::record`
/// assert!(matches!(gate.next()?, Some((0, BufferOrEvent::Event(Event::EndOfPartition)))));
/// assert!(gate.next()?.is_none() && gate.is_ended(), "nothing ever");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `SingleInputGate`.
#[derive(Debug)]
pub struct InputGate {
    signal: Arc<Signal>,
    channels: Vec<InputChannel>,
    /// Channels whose token we have, in turn.
    ready: VecDeque<u32>,
    /// Channels whose token we have, though they have nothing: their writers flush often, so whoever looks for more
    /// looks there too, rather than at the inbox alone. At most [`WATCHED`], and none while the gate sleeps.
    watched: Vec<u32>,
    /// Channels with a priority event, in turn, one for each.
    priority: VecDeque<u32>,
    /// Channels that have not ended.
    open: usize,
    /// Channels that have not said that no more records follow.
    producing: usize,
    strategy: WaitStrategy,
    idle: Waited,
    /// What is said to a writer behind a network once whoever reads has come back for more, and so has handled what the
    /// event stood behind.
    owed: Option<(u32, Said)>,
    /// Looks at channels, for the test that says that there are few.
    #[cfg(test)]
    pub(super) looks: u64,
}

impl InputGate {
    /// A gate over `receivers`, which announce themselves to `signal` by their place.
    pub(crate) fn new(signal: Arc<Signal>, receivers: Vec<Receiver>) -> Self {
        assert_eq!(signal.channels(), receivers.len());
        let open = receivers.len();
        Self {
            signal,
            channels: receivers.into_iter().map(InputChannel::new).collect(),
            ready: VecDeque::with_capacity(open),
            watched: Vec::with_capacity(WATCHED),
            priority: VecDeque::new(),
            open,
            producing: open,
            strategy: WaitStrategy::default(),
            idle: Waited::default(),
            owed: None,
            #[cfg(test)]
            looks: 0,
        }
    }

    /// Sets how [`next`](Self::next) and [`next_timeout`](Self::next_timeout) wait. Unless told so, they spin a little
    /// and then park the thread.
    ///
    /// # Examples
    /// ```
    /// # use forebay::{pool::NetworkBufferPool, transport::in_process, WaitStrategy};
    /// # let pool = NetworkBufferPool::builder().segments(2).build()?;
    /// # let (_partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(1).build()?], 1);
    /// let mut gate = gates.remove(0).with_wait_strategy(WaitStrategy::Park); // another thread needs the core more
    /// assert!(gate.next_timeout(std::time::Duration::from_millis(1)).is_none());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_wait_strategy(mut self, strategy: WaitStrategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Number of channels, ended or not. Never changes.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// Whether every channel has ended, or failed, and all was delivered. Stays true.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.open == 0
    }

    /// Whether every channel has said that no more records follow, by [`Event::EndOfData`] or its end. Stays true.
    #[must_use]
    pub fn has_received_end_of_data(&self) -> bool {
        self.producing == 0
    }

    /// Buffers that wait in a channel, the one being filled counted. A snapshot: writers add to it. Wait-free.
    ///
    /// # Panics
    /// If there is no such channel.
    #[must_use]
    pub fn backlog(&self, channel: usize) -> usize {
        self.channels[channel].backlog() as usize
    }

    /// The next buffer or event and its channel, if there is one now; `None` if there is nothing now, or nothing ever
    /// ([`is_ended`](Self::is_ended)). Lock-free, and allocates nothing; for a priority event, takes two locks that its
    /// writer takes.
    ///
    /// # Errors
    /// [`GateError`], once for each channel that failed.
    pub fn try_next(&mut self) -> Next {
        if self.owed.is_some() {
            self.pay();
        }
        self.collect();
        if !self.ready.is_empty() {
            self.ready.extend(self.watched.drain(..)); // others have something: in turn
        }
        let mut collected = true;
        loop {
            if !mem::take(&mut collected) {
                self.collect();
            }
            if let Some(found) = self.next_priority() {
                self.idle.end();
                return Ok(Some(found));
            }
            let Some(index) = self.ready.pop_front() else { return self.look_at_watched() };
            let channel = &mut self.channels[index as usize];
            if channel.ended {
                continue;
            }
            if channel.consumption != Consumption::On {
                channel.consumption = Consumption::Held;
                continue;
            }
            #[cfg(test)]
            {
                self.looks += 1;
            }
            let item = match channel.poll() {
                Polled::Idle => continue,
                Polled::Announced(item) => item,
                Polled::Ready(item) => {
                    self.ready.push_back(index);
                    item
                }
                Polled::Watch(item) => {
                    self.watch(index);
                    let Some(item) = item else { continue };
                    item
                }
            };
            return self.found(index, item);
        }
    }

    /// Looks where the next flush will be, without a word from its writer.
    fn look_at_watched(&mut self) -> Next {
        let mut nth = 0;
        while let Some(&index) = self.watched.get(nth) {
            let channel = &mut self.channels[index as usize];
            if channel.ended || channel.consumption != Consumption::On {
                if !channel.ended {
                    channel.consumption = Consumption::Held;
                }
                self.watched.remove(nth);
                continue;
            }
            nth += 1;
            let Some((item, stays)) = channel.poll_watched() else { continue };
            if self.watched.len() > 1 {
                self.watched.rotate_left(nth); // those behind it are the next to be looked at
            }
            if !stays {
                // It has had its turn: the others, which may have something by now, come before its next.
                self.ready.extend(self.watched.drain(..));
            }
            return self.found(index, item);
        }
        Ok(None)
    }

    /// Watches a channel whose token we have, in place of the one that is watched longest if they are too many.
    fn watch(&mut self, index: u32) {
        if self.watched.len() == WATCHED {
            let oldest = self.watched.remove(0);
            self.let_go(oldest);
        }
        self.watched.push(index);
    }

    /// Gives up the token of a channel that is watched no more.
    fn let_go(&mut self, index: u32) {
        if !self.channels[index as usize].let_go() {
            self.ready.push_back(index);
        }
    }

    /// Delivers what channel `index` had.
    #[inline]
    fn found(&mut self, index: u32, item: Item) -> Next {
        self.idle.end();
        let channel = index as usize;
        match item {
            Item::Buffer(buffer) => Ok(Some((channel, BufferOrEvent::Buffer(buffer)))),
            Item::Event(event) => self.deliver(channel, event),
        }
    }

    /// Says what is owed; of a channel that was blocked meanwhile, when it is resumed.
    #[cold]
    fn pay(&mut self) {
        let Some((channel, said)) = self.owed.take() else { return };
        let state = &mut self.channels[channel as usize];
        if said == Said::Resume && state.consumption != Consumption::On {
            state.owes_resumption = true;
        } else {
            self.signal.say(channel, said);
        }
    }

    /// Sends `event`, in Flink's form, to the task that writes to a channel from another host. One that writes in this
    /// process is reached in other ways, and gets nothing. A server of ours takes 64 KiB unless told otherwise
    /// (`ServerLimits::task_event`), and closes the connection over more. Lock-free; allocates.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn send_task_event(&self, channel: usize, event: &[u8]) {
        assert!(channel < self.channels.len(), "channel {channel} of {}", self.channels.len());
        self.signal.say(channel as u32, Said::TaskEvent(event.into()));
    }

    /// Takes in what channels have announced.
    fn collect(&mut self) {
        let (arrived, ready, mut priority) = (self.ready.len(), &mut self.ready, false);
        self.signal.collect(|announced| match announced {
            Announced::Channel(channel) => ready.push_back(channel),
            Announced::Priority => priority = true,
        });
        if ready.len() - arrived > 1 {
            ready.make_contiguous()[arrived..].reverse(); // first come, first served
        }
        if priority {
            self.signal.collect_priority(&mut self.priority);
        }
    }

    /// The next priority event. Of a channel that has ended meanwhile none is left.
    fn next_priority(&mut self) -> Option<(usize, BufferOrEvent)> {
        while let Some(index) = self.priority.pop_front() {
            let channel = &mut self.channels[index as usize];
            if let Some((event, overtaken)) = channel.poll_priority()
                && !channel.ended
            {
                let event = SharedEvent::unwrap_or_clone(event);
                return Some((index as usize, BufferOrEvent::Priority { event, overtaken }));
            }
        }
        None
    }

    #[cold]
    fn deliver(&mut self, channel: usize, event: SharedEvent) -> Next {
        let event = SharedEvent::unwrap_or_clone(event);
        if self.signal.has_upstream() {
            self.owed = match &event {
                Event::EndOfData(_) => Some((channel as u32, Said::AllRecordsProcessed)),
                event if event.data_type().blocks() => Some((channel as u32, Said::Resume)),
                _ => None,
            };
        }
        let state = &mut self.channels[channel];
        if !state.end_of_data && (event.is_end() || matches!(event, Event::EndOfData(_))) {
            state.end_of_data = true;
            self.producing -= 1;
        }
        if event.is_end() {
            self.open -= 1;
        }
        match event {
            Event::Failed(cause) => Err(GateError::ProducerFailed { channel, cause }),
            event => Ok(Some((channel, BufferOrEvent::Event(event)))),
        }
    }

    /// As [`try_next`](Self::try_next), but arranges for the waker to be woken when there may be something. Ready with
    /// `None` when every channel has ended. Lock-free. Only the waker of the last call counts.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        loop {
            match self.try_next() {
                Ok(None) if self.is_ended() => return Poll::Ready(Ok(None)),
                Ok(None) => {}
                found => return Poll::Ready(found),
            }
            while let Some(index) = self.watched.pop() {
                self.let_go(index);
            }
            if !self.ready.is_empty() {
                continue;
            }
            // No channel is ready, so the inbox is the only place where something can arrive (M4).
            if self.signal.park(context.waker()) {
                self.idle.begin();
                return Poll::Pending;
            }
        }
    }

    /// As [`try_next`](Self::try_next), but waits until there is something; `None` when every channel has ended.
    /// Blocking, on the producers: waits as its [`WaitStrategy`] says.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    #[allow(clippy::should_implement_trait, reason = "as the record reader's `next`, which lends")]
    pub fn next(&mut self) -> Next {
        Input::next(self)
    }

    /// As [`next`](Self::next), but waits at most `timeout`; the outer `None` says that it passed.
    ///
    /// # Errors
    /// As [`try_next`](Self::try_next).
    pub fn next_timeout(&mut self, timeout: Duration) -> Option<Next> {
        Input::next_timeout(self, timeout)
    }

    /// The time that was waited for producers, in all: in [`next`](Self::next) and
    /// [`next_timeout`](Self::next_timeout), and from a [`poll_next`](Self::poll_next) that was pending to the call
    /// that found something.
    #[must_use]
    pub fn idle(&self) -> Duration {
        self.idle.total()
    }
}

impl Drop for InputGate {
    fn drop(&mut self) {
        self.signal.gone();
    }
}

impl Input for InputGate {
    fn channels(&self) -> usize {
        self.channels()
    }

    fn is_ended(&self) -> bool {
        self.is_ended()
    }

    fn try_next(&mut self) -> Next {
        self.try_next()
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        self.poll_next(context)
    }

    #[inline]
    fn next_part(&mut self, looks: u32) -> Option<(usize, Buffer)> {
        let [index] = self.watched[..] else { return None };
        if self.owed.is_some() || !self.ready.is_empty() || !self.priority.is_empty() {
            return None;
        }
        let looks = if self.strategy == WaitStrategy::Park { looks.min(1) } else { looks };
        let channel = &mut self.channels[index as usize];
        for nth in 0..looks {
            if nth > 0 {
                std::hint::spin_loop();
            }
            if !self.signal.is_quiet() {
                return None;
            }
            if let Some(part) = channel.poll_part() {
                self.idle.end();
                return Some((index as usize, part));
            }
        }
        None
    }

    fn block_consumption(&mut self, channel: usize) {
        let state = &mut self.channels[channel];
        if state.consumption == Consumption::On {
            state.consumption = Consumption::Blocked;
        }
    }

    fn resume_consumption(&mut self, channel: usize) {
        let before = mem::replace(&mut self.channels[channel].consumption, Consumption::On);
        if mem::take(&mut self.channels[channel].owes_resumption) {
            self.signal.say(channel as u32, Said::Resume);
        }
        if before == Consumption::Held {
            // Its token is ours, so it will not announce itself: whatever came meanwhile is found when its turn comes
            // (M4).
            self.ready.push_back(channel as u32);
        }
    }

    fn wait_strategy(&self) -> WaitStrategy {
        self.strategy
    }

    fn idle(&self) -> Duration {
        self.idle()
    }

    fn waits(&mut self, waits: bool) {
        if waits { self.idle.begin() } else { self.idle.end() }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;
    use crate::channel::{Sender, StopMode, channel};

    fn join(channels: u32) -> (InputGate, Vec<Sender>) {
        let signal = Arc::new(Signal::new(channels));
        let (senders, receivers) = (0..channels).map(|index| channel(signal.clone(), index)).unzip();
        (InputGate::new(signal, receivers), senders)
    }

    /// Looks that a gate takes at its channels for 1,000 events of 10 busy ones.
    fn looks(channels: u32) -> u64 {
        let (mut gate, mut senders) = join(channels);
        for round in 0..100 {
            for busy in 0..10 {
                let sender = &mut senders[busy * 7 % 10 * (channels as usize / 10)];
                sender.send(Event::EndOfData(StopMode::Drain)).unwrap();
            }
            for _ in 0..if round % 2 == 0 { 10 } else { 5 } {
                assert!(gate.try_next().unwrap().is_some());
            }
        }
        while gate.try_next().unwrap().is_some() {}
        gate.looks
    }

    #[test]
    fn a_gate_looks_at_busy_channels_only_and_twice_a_buffer_at_most() {
        let few = looks(10);
        assert!(few <= 2_000, "{few} looks for 1,000 events");
        assert_eq!(looks(if cfg!(miri) { 100 } else { 10_000 }), few, "however many are idle");
    }

    #[test]
    fn a_blocked_channel_costs_one_look_at_its_turn_and_none_afterwards() {
        let (mut gate, mut senders) = join(2);
        gate.block_consumption(0);
        for _ in 0..100 {
            senders.iter_mut().for_each(|sender| sender.send(Event::EndOfData(StopMode::Drain)).unwrap());
            assert!(matches!(gate.try_next(), Ok(Some((1, _)))));
            assert!(matches!(gate.try_next(), Ok(None)));
        }
        assert!(gate.looks <= 200, "{} looks", gate.looks);
    }
}
