//! Writers, and gates that read them, against a plain model.

use std::{
    collections::VecDeque,
    task::{Context, Waker},
};

use crate::{
    channel::{CheckpointBarrier, Event},
    gate::{BufferOrEvent, CheckpointEvent, CheckpointedInputGate, GateError, Input, UnionInputGate},
    partition::{Forward, RecordWriter, TryEmitError},
    pool::NetworkBufferPool,
    transport::in_process,
};

const CHANNELS: usize = 3;
const SEGMENTS: u32 = 4;

/// The first byte chooses the gate, each pair after it is something that a writer or the reader does.
///
/// # Panics
/// If the gate delivers anything but what each writer wrote, in order and once; if an event stands elsewhere than it
/// was sent, or a priority event has overtaken anything but what was there; if something that was shown is not found,
/// or a channel is left waiting while another has turn after turn; if a checkpoint is cut elsewhere than its barriers;
/// or if a segment is lost.
pub fn gates(input: &[u8]) {
    let Some((&kind, steps)) = input.split_first() else { return };
    let mut pools = Vec::new();
    let (mut writers, mut parts) = (Vec::new(), Vec::new());
    let sizes: &[usize] = if kind % 2 == 0 { &[CHANNELS] } else { &[1, CHANNELS - 1] };
    for &size in sizes {
        let pool = NetworkBufferPool::builder().segments(SEGMENTS * size as u32).segment_size(4096);
        let pool = pool.build().expect("a small pool");
        let local = |_| pool.local_pool("writer").required(SEGMENTS).build().expect("its part");
        let (partitions, gate) = in_process((0..size).map(local).collect(), 1);
        writers.extend(partitions.into_iter().map(|partition| Some(RecordWriter::new(partition, Forward))));
        parts.extend(gate);
        pools.push(pool);
    }
    let channels = [(); CHANNELS].map(|()| Channel::default());
    let most_turns = if sizes.len() == 1 { 2 } else { 2 * CHANNELS as u32 - 2 };
    let model = Model { writers, channels, checkpoints: kind & 2 != 0, most_turns };
    match (sizes.len(), kind & 2) {
        (1, 0) => model.run(parts.remove(0), steps),
        (_, 0) => model.run(UnionInputGate::new(parts), steps),
        (1, _) => model.run(CheckpointedInputGate::exactly_once(parts.remove(0)), steps),
        _ => model.run(CheckpointedInputGate::exactly_once(UnionInputGate::new(parts)), steps),
    }
    assert!(pools.iter().all(|pool| pool.in_use() == 0), "every segment is home");
}

struct Model {
    writers: Vec<Option<RecordWriter<Forward>>>,
    channels: [Channel; CHANNELS],
    /// The gate puts barriers together.
    checkpoints: bool,
    /// What one channel may have while another waits. In a union, gates take turns, and the channels within each.
    most_turns: u32,
}

/// What a channel must deliver.
#[derive(Default)]
struct Channel {
    /// The stream from the first byte on that was not read.
    unread: VecDeque<u8>,
    /// Bytes written and read, ever.
    written: u64,
    read: u64,
    /// As much of `written` as the reader has been told of.
    told: u64,
    /// Events in order, each with the place in the stream where it stands.
    events: VecDeque<(u64, Expected)>,
    /// Priority events, each with the end of what it overtakes.
    priority: VecDeque<u64>,
    /// Blocked by the reader, and by a barrier.
    blocked: bool,
    aligned: bool,
    ended: bool,
    barriers: i64,
    /// Buffers that each other channel had while this one had something.
    passed_over: [u32; CHANNELS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Marker,
    Barrier(i64),
    End,
    Failure,
}

impl Channel {
    /// Whether the gate must find something here.
    fn is_ready(&self) -> bool {
        let event = self.events.front().is_some_and(|&(at, _)| at == self.read);
        !self.ended
            && (!self.priority.is_empty() || (!self.blocked && !self.aligned && (event || self.told > self.read)))
    }
}

impl Model {
    fn run(mut self, mut gate: impl Input, steps: &[u8]) {
        for step in steps.chunks_exact(2) {
            let channel = usize::from(step[0]) % CHANNELS;
            self.step(&mut gate, channel, step[0] / CHANNELS as u8 % 12, step[1]);
        }
        for channel in (0..CHANNELS).filter(|_| !self.checkpoints) {
            gate.resume_consumption(channel);
            self.channels[channel].blocked = false;
        }
        while self.writers.iter().any(Option::is_some) {
            let open = self.writers.iter().flatten().count();
            for channel in 0..CHANNELS {
                let mut context = Context::from_waker(Waker::noop());
                if self.writers[channel].as_mut().is_some_and(|writer| writer.poll_close(&mut context).is_ready()) {
                    self.writers[channel] = None;
                    self.sent(channel, Expected::End);
                }
            }
            let found = self.read(&mut gate);
            assert!(found || self.writers.iter().flatten().count() < open, "who reads makes room");
        }
        while self.read(&mut gate) {}
        assert!(gate.is_ended(), "all writers have ended");
        assert!(self.channels.iter().all(|channel| channel.unread.is_empty() && channel.events.is_empty()));
    }

    fn step(&mut self, gate: &mut impl Input, channel: usize, what: u8, how: u8) {
        let Some(writer) = &mut self.writers[channel] else {
            self.read(gate);
            return;
        };
        let state = &mut self.channels[channel];
        match what {
            0..=2 => {
                let record = vec![how; usize::from(how) * 16];
                match writer.try_emit(&record) {
                    Ok(()) => {
                        state.unread.extend((record.len() as u32).to_be_bytes());
                        state.written += 4 + record.len() as u64;
                        state.unread.extend(record);
                    }
                    Err(TryEmitError::Full(_)) => {}
                    Err(TryEmitError::Write(error)) => panic!("{error}"),
                }
            }
            3 => {
                writer.flush();
                if self.settled(channel) {
                    self.told(channel);
                }
            }
            4..=6 if !self.settled(channel) => {} // an event would wait for a segment
            4 => {
                self.writer(channel).broadcast_event(marker()).expect("a reader");
                self.sent(channel, Expected::Marker);
            }
            5 => {
                let barrier = self.channels[channel].barriers + 1;
                self.channels[channel].barriers = barrier;
                let sent = self.writer(channel).broadcast_event(CheckpointBarrier::aligned(barrier).into());
                sent.expect("a reader");
                self.sent(channel, Expected::Barrier(barrier));
            }
            6 => {
                self.writer(channel).broadcast_priority_event(marker()).expect("a reader");
                self.told(channel);
                let state = &mut self.channels[channel];
                state.priority.push_back(state.written);
            }
            7 if how < 32 && self.settled(channel) => {
                self.writers[channel].take().into_iter().for_each(RecordWriter::close);
                self.sent(channel, Expected::End);
            }
            8 if how < 32 && self.settled(channel) => {
                self.writers[channel] = None;
                self.sent(channel, Expected::Failure);
            }
            9 if !self.checkpoints => {
                gate.block_consumption(channel);
                self.channels[channel].blocked = true;
            }
            10 if !self.checkpoints => {
                gate.resume_consumption(channel);
                self.channels[channel].blocked = false;
                self.channels[channel].passed_over = [0; CHANNELS];
            }
            _ => {
                let _ = (0..=how % 8).all(|_| self.read(gate));
            }
        }
    }

    fn writer(&mut self, channel: usize) -> &mut RecordWriter<Forward> {
        self.writers[channel].as_mut().expect("asked before")
    }

    /// Whether all that was accepted is in segments.
    fn settled(&mut self, channel: usize) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        self.writer(channel).poll_ready(&mut context).is_ready()
    }

    fn told(&mut self, channel: usize) {
        self.channels[channel].told = self.channels[channel].written;
    }

    fn sent(&mut self, channel: usize, event: Expected) {
        self.told(channel);
        let state = &mut self.channels[channel];
        state.events.push_back((state.written, event));
    }

    /// Reads once, and compares; `false` if there was nothing.
    fn read(&mut self, gate: &mut impl Input) -> bool {
        self.skip_barriers();
        let ready = self.channels.each_ref().map(Channel::is_ready);
        let (channel, item) = match gate.try_next() {
            Ok(Some(found)) => found,
            Ok(None) => {
                assert_eq!(ready, [false; CHANNELS], "what was shown is not found");
                return false;
            }
            Err(GateError::ProducerFailed { channel, .. }) => {
                self.event(channel, Expected::Failure);
                return true;
            }
        };
        match item {
            BufferOrEvent::Buffer(buffer) => {
                let state = &mut self.channels[channel];
                assert!(!state.blocked && !state.aligned, "the channel is blocked");
                assert!(!buffer.is_empty() && state.unread.iter().take(buffer.len()).eq(buffer.iter()), "the bytes");
                state.unread.drain(..buffer.len());
                state.read += buffer.len() as u64;
                state.passed_over = [0; CHANNELS];
                assert!(state.events.front().is_none_or(|&(at, _)| at >= state.read), "an event was overtaken");
                for (other, state) in self.channels.iter_mut().enumerate() {
                    if !ready[other] {
                        state.passed_over = [0; CHANNELS];
                    } else if other != channel {
                        state.passed_over[channel] += 1;
                        let turns = state.passed_over[channel];
                        assert!(turns <= self.most_turns, "{other} has waited while {channel} had {turns} turns");
                    }
                }
            }
            BufferOrEvent::Priority { event: Event::CancelCheckpointMarker { .. }, .. } => panic!("never sent"),
            BufferOrEvent::Priority { overtaken, .. } => {
                // It takes its gate's turn, whoever's that was: turns are counted anew.
                self.channels.iter_mut().for_each(|state| state.passed_over = [0; CHANNELS]);
                let state = &mut self.channels[channel];
                let end = state.priority.pop_front().expect("sent");
                let len = overtaken.iter().map(|buffer| buffer.len() as u64).sum::<u64>();
                assert_eq!(len, end.saturating_sub(state.read), "all that was written before and not read");
                assert!(overtaken.iter().flat_map(|buffer| buffer.iter()).eq(state.unread.iter().take(len as usize)));
            }
            BufferOrEvent::Checkpoint(event) => self.checkpoint(&event),
            BufferOrEvent::Event(Event::CheckpointBarrier(barrier)) => {
                self.event(channel, Expected::Barrier(barrier.id));
            }
            BufferOrEvent::Event(Event::EndOfPartition) => self.event(channel, Expected::End),
            BufferOrEvent::Event(_) => self.event(channel, Expected::Marker),
        }
        self.skip_barriers();
        true
    }

    fn event(&mut self, channel: usize, event: Expected) {
        let state = &mut self.channels[channel];
        assert_eq!(state.events.pop_front(), Some((state.read, event)), "in its place");
        assert!(!state.blocked && !state.aligned, "the channel is blocked");
        state.passed_over = [0; CHANNELS];
        state.ended |= matches!(event, Expected::End | Expected::Failure);
        self.skip_barriers();
    }

    /// A gate that puts barriers together takes each as soon as it comes to it, which is when it looks for something
    /// else: so a channel at its barrier may be blocked already, or not yet. The model only says that it delivers
    /// nothing more.
    fn skip_barriers(&mut self) {
        if self.checkpoints {
            for state in &mut self.channels {
                let at_barrier = matches!(state.events.front(), Some(&(at, Expected::Barrier(_))) if at == state.read);
                state.aligned |= at_barrier;
            }
        }
    }

    /// Barriers of checkpoint n are n-th on each channel, so every channel must be at the same one, or have ended.
    fn checkpoint(&mut self, event: &CheckpointEvent) {
        match event {
            CheckpointEvent::Triggered(barrier) => {
                for state in self.channels.iter_mut().filter(|state| !state.ended) {
                    let expected = Some((state.read, Expected::Barrier(barrier.id)));
                    assert_eq!(state.events.pop_front(), expected, "a channel is cut at its barrier");
                    state.aligned = false;
                }
            }
            CheckpointEvent::Completed(in_flight) => assert!(in_flight.buffers().is_empty(), "none has overtaken"),
            CheckpointEvent::Aborted { .. } => panic!("no checkpoint is left out"),
        }
    }
}

fn marker() -> Event {
    Event::Custom { data_type: crate::buffer::DataType::EVENT_BUFFER, bytes: [][..].into() }
}
