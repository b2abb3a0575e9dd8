//! Barriers of several channels, exactly once: who waits for whom, and what comes of it. Pure logic: no channel, no
//! clock.
//!
//! ```text
//!                 first barrier                        last one
//!   NONE ───────────────────────────▶ ALIGNING ───────────────────────────▶ NONE   Trigger, Resume*, Complete
//!     │ the first overtakes,              │ one overtakes, or the time is up
//!     │ or is the only one                ▼
//!     └──────────────────────────▶ OVERTAKING ────────────────────────────▶ NONE   Complete
//!       Trigger                     Trigger, Resume*          last one
//! ```
//!
//! While a checkpoint aligns, a channel whose barrier has come is blocked: what is behind the barrier does not belong
//! to the checkpoint. Nothing is copied for that, and nothing is kept: the blocked channel's writer waits in its turn,
//! once its pool is empty. While one overtakes, no channel is blocked; what comes on channels without a barrier yet is
//! captured.
//!
//! A later barrier makes an unfinished checkpoint obsolete, a marker cancels one, and a channel that ends counts as one
//! that has no more to wait for. Barriers and markers of the past are ignored.
//!
//! # Source
//! Flink's `SingleCheckpointBarrierHandler` with its states; a channel that ends as in FLIP-147.

use super::input::AbortReason;
use crate::channel::CheckpointBarrier;

/// What is to be done, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Leave the channel unread.
    Block(usize),
    /// Read the channel again.
    Resume(usize),
    /// Take the snapshot.
    Trigger(CheckpointBarrier),
    /// The last barrier has come.
    Complete(i64),
    /// Forget the checkpoint.
    Abort(i64, AbortReason),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Alignment {
    channels: Vec<Channel>,
    /// The last checkpoint that was begun or cancelled.
    current: Option<i64>,
    pending: Option<Pending>,
}

/// What is known of a channel.
#[derive(Debug, Clone, Copy, Default)]
struct Channel {
    ended: bool,
    /// The barrier of the pending checkpoint has come.
    received: bool,
    blocked: bool,
}

#[derive(Debug)]
struct Pending {
    barrier: CheckpointBarrier,
    /// It has been triggered, and no channel waits.
    overtaking: bool,
    /// Channels whose barrier is still to come.
    missing: usize,
}

impl Alignment {
    pub(super) fn new(channels: usize) -> Self {
        Self { channels: vec![Channel::default(); channels], current: None, pending: None }
    }

    /// A barrier has come, in order or ahead of the data.
    pub(super) fn barrier(&mut self, channel: usize, barrier: &CheckpointBarrier, steps: &mut Vec<Step>) {
        let id = barrier.id;
        if self.current.is_none_or(|current| current < id) {
            self.abort(AbortReason::Subsumed, steps);
            self.begin(barrier.clone());
        }
        let state = &mut self.channels[channel];
        let pending = match &mut self.pending {
            Some(pending) if pending.barrier.id == id && !state.received && !state.ended => pending,
            _ => {
                // Of the past, or for the second time. A writer that rests behind it goes on.
                if barrier.needs_alignment() && !state.blocked {
                    steps.push(Step::Resume(channel));
                }
                return;
            }
        };
        state.received = true;
        pending.missing -= 1;
        if barrier.is_unaligned() && !pending.overtaking {
            self.overtake(steps);
        } else if !pending.overtaking && barrier.needs_alignment() {
            state.blocked = true;
            steps.push(Step::Block(channel));
        } else if barrier.needs_alignment() {
            steps.push(Step::Resume(channel));
        }
        self.complete(steps);
    }

    /// A marker has come that cancels `checkpoint`.
    pub(super) fn cancel(&mut self, checkpoint: i64, steps: &mut Vec<Step>) {
        if self.current.is_none_or(|current| current < checkpoint) {
            self.abort(AbortReason::Subsumed, steps);
            self.current = Some(checkpoint);
            steps.push(Step::Abort(checkpoint, AbortReason::Cancelled));
        } else if self.pending.as_ref().is_some_and(|pending| pending.barrier.id == checkpoint) {
            self.abort(AbortReason::Cancelled, steps);
        }
    }

    /// A channel has ended: it has no barrier any more.
    pub(super) fn end(&mut self, channel: usize, steps: &mut Vec<Step>) {
        let state = &mut self.channels[channel];
        if std::mem::replace(&mut state.ended, true) {
            return;
        }
        if let Some(pending) = &mut self.pending
            && !state.received
        {
            pending.missing -= 1;
            self.complete(steps);
        }
    }

    /// The pending checkpoint shall wait no more, if it is `checkpoint`, still aligns, and may be turned.
    pub(super) fn time_out(&mut self, checkpoint: i64, steps: &mut Vec<Step>) {
        if let Some(pending) = &self.pending
            && pending.barrier.id == checkpoint
            && pending.barrier.is_timeoutable()
            && !pending.overtaking
        {
            self.overtake(steps);
        }
    }

    /// Whether what comes on `channel` belongs to the pending checkpoint, and was not there when it was triggered.
    pub(super) fn captures(&self, channel: usize) -> bool {
        let state = self.channels[channel];
        !state.received && !state.ended && self.pending.as_ref().is_some_and(|pending| pending.overtaking)
    }

    /// Whether a barrier of `checkpoint` on `channel` would be the one that is missing there.
    pub(super) fn awaits(&self, channel: usize, checkpoint: i64) -> bool {
        let state = self.channels[channel];
        !state.ended
            && match &self.pending {
                Some(pending) if pending.barrier.id == checkpoint => !state.received,
                _ => self.current.is_none_or(|current| current < checkpoint),
            }
    }

    /// Whether channels wait for each other now.
    pub(super) fn aligns(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| !pending.overtaking)
    }

    /// The checkpoint for which channels wait, or that overtakes them.
    pub(super) fn pending(&self) -> Option<&CheckpointBarrier> {
        self.pending.as_ref().map(|pending| &pending.barrier)
    }

    fn begin(&mut self, barrier: CheckpointBarrier) {
        self.channels.iter_mut().for_each(|channel| channel.received = false);
        let missing = self.channels.iter().filter(|channel| !channel.ended).count();
        self.current = Some(barrier.id);
        self.pending = Some(Pending { barrier, overtaking: false, missing });
    }

    fn abort(&mut self, reason: AbortReason, steps: &mut Vec<Step>) {
        if let Some(pending) = self.pending.take() {
            steps.push(Step::Abort(pending.barrier.id, reason));
            self.resume_all(steps);
        }
    }

    /// Triggers now, and lets nobody wait.
    fn overtake(&mut self, steps: &mut Vec<Step>) {
        if let Some(pending) = &mut self.pending {
            pending.overtaking = true;
            steps.push(Step::Trigger(pending.barrier.as_unaligned()));
            self.resume_all(steps);
        }
    }

    fn complete(&mut self, steps: &mut Vec<Step>) {
        if let Some(pending) = self.pending.take_if(|pending| pending.missing == 0) {
            let id = pending.barrier.id;
            if !pending.overtaking {
                steps.push(Step::Trigger(pending.barrier));
            }
            self.resume_all(steps);
            steps.push(Step::Complete(id));
        }
    }

    fn resume_all(&mut self, steps: &mut Vec<Step>) {
        for (index, channel) in self.channels.iter_mut().enumerate() {
            if std::mem::take(&mut channel.blocked) {
                steps.push(Step::Resume(index));
            }
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn run(channels: usize, input: impl FnOnce(&mut Alignment, &mut Vec<Step>)) -> Vec<Step> {
        let (mut alignment, mut steps) = (Alignment::new(channels), Vec::new());
        input(&mut alignment, &mut steps);
        steps
    }

    #[test]
    fn a_checkpoint_is_triggered_by_the_last_barrier() {
        let barrier = CheckpointBarrier::aligned(1);
        let steps =
            run(3, |alignment, steps| [2, 0, 1].into_iter().for_each(|c| alignment.barrier(c, &barrier, steps)));
        let (blocks, rest) = steps.split_at(3);
        assert_eq!(blocks, [Step::Block(2), Step::Block(0), Step::Block(1)]);
        assert_eq!(rest[0], Step::Trigger(barrier));
        assert_eq!(rest[1..], [Step::Resume(0), Step::Resume(1), Step::Resume(2), Step::Complete(1)]);
    }

    #[test]
    fn a_later_barrier_makes_the_earlier_one_obsolete() {
        let steps = run(2, |alignment, steps| {
            alignment.barrier(0, &CheckpointBarrier::aligned(1), steps);
            alignment.barrier(1, &CheckpointBarrier::aligned(2), steps);
            alignment.barrier(1, &CheckpointBarrier::aligned(1), steps); // never behind a later one, but harmless
        });
        let aborted = Step::Abort(1, AbortReason::Subsumed);
        assert_eq!(steps, [Step::Block(0), aborted, Step::Resume(0), Step::Block(1)]);
    }

    #[test]
    fn the_end_of_the_last_missing_channel_completes() {
        let barrier = CheckpointBarrier::aligned(1);
        let steps = run(2, |alignment, steps| {
            alignment.barrier(0, &barrier, steps);
            alignment.end(1, steps);
            alignment.end(1, steps);
        });
        assert_eq!(steps, [Step::Block(0), Step::Trigger(barrier), Step::Resume(0), Step::Complete(1)]);
    }

    #[test]
    fn one_that_overtakes_triggers_at_once_and_frees_who_waits() {
        let barrier = CheckpointBarrier::aligned(1).timeout(Duration::from_secs(1));
        let steps = run(3, |alignment, steps| {
            alignment.barrier(0, &barrier, steps);
            alignment.barrier(1, &barrier.as_unaligned(), steps);
            assert_eq!([0, 1, 2].map(|channel| alignment.captures(channel)), [false, false, true]);
            alignment.barrier(1, &barrier, steps); // the one that was overtaken by its own
            alignment.barrier(2, &barrier, steps);
            assert!(![0, 1, 2].into_iter().any(|channel| alignment.captures(channel)));
        });
        let triggered = Step::Trigger(barrier.as_unaligned());
        let rest = [Step::Resume(1), Step::Resume(2), Step::Complete(1)];
        assert_eq!(steps[..3], [Step::Block(0), triggered, Step::Resume(0)]);
        assert_eq!(steps[3..], rest, "writers that rest behind their barrier go on");
    }

    #[test]
    fn the_time_is_up_for_one_that_may_be_turned_only() {
        let turned = |barrier: CheckpointBarrier| {
            run(2, |alignment, steps| {
                alignment.barrier(0, &barrier, steps);
                alignment.time_out(barrier.id, steps);
                alignment.time_out(barrier.id, steps);
            })
            .len()
                == 3
        };
        assert!(turned(CheckpointBarrier::aligned(1).timeout(Duration::from_secs(1))));
        assert!(!turned(CheckpointBarrier::aligned(1)));
    }

    /// What happens to a gate: on a channel, a barrier (aligned or not), a marker or the end; and the time is up.
    #[derive(Debug, Clone, Copy)]
    enum Input {
        Barrier { channel: usize, id: i64, unaligned: bool },
        Cancel { id: i64 },
        End { channel: usize },
        TimeOut { id: i64 },
    }

    fn barrier(id: i64, unaligned: bool) -> CheckpointBarrier {
        let barrier = CheckpointBarrier::aligned(id).timeout(Duration::from_secs(1));
        if unaligned { barrier.as_unaligned() } else { barrier }
    }

    /// The plain model: keeps all that has happened, and works out from scratch what holds now.
    struct Model<'a> {
        channels: usize,
        past: &'a [Input],
    }

    impl Model<'_> {
        /// The last checkpoint that began, and when; and the last that was named at all.
        fn current(&self) -> Option<(i64, usize)> {
            let mut current: Option<(i64, usize)> = None;
            for (when, input) in self.past.iter().enumerate() {
                let (Input::Barrier { id, .. } | Input::Cancel { id }) = *input else { continue };
                if current.is_none_or(|(last, _)| last < id) {
                    current = Some((id, when));
                }
            }
            current
        }

        fn ended(&self, channel: usize) -> bool {
            self.past.iter().any(|input| matches!(input, Input::End { channel: c } if *c == channel))
        }

        /// Whether the barrier of the current checkpoint has come on `channel`, while that had not ended.
        fn received(&self, channel: usize) -> bool {
            let Some((current, _)) = self.current() else { return false };
            self.past.iter().enumerate().any(|(when, input)| {
                let open = !Model { channels: self.channels, past: &self.past[..when] }.ended(channel);
                matches!(input, Input::Barrier { channel: c, id, .. } if *c == channel && *id == current && open)
            })
        }

        /// Whether the current checkpoint began by a barrier, and is neither complete nor cancelled, now nor earlier.
        fn pending(&self) -> Option<i64> {
            let (id, began) = self.current()?;
            let by_barrier = matches!(self.past[began], Input::Barrier { .. });
            let cancelled = self.past[began..].iter().any(|input| matches!(input, Input::Cancel { id: c } if *c == id));
            let complete = (began + 1..=self.past.len()).any(|end| {
                let then = Model { channels: self.channels, past: &self.past[..end] };
                (0..self.channels).all(|channel| then.received(channel) || then.ended(channel))
            });
            (by_barrier && !cancelled && !complete).then_some(id)
        }

        /// Whether it has been turned since it began.
        fn overtaking(&self) -> bool {
            let Some((id, began)) = self.current() else { return false };
            (began..self.past.len()).any(|when| {
                let before = Model { channels: self.channels, past: &self.past[..when] };
                match self.past[when] {
                    Input::Barrier { channel, id: i, unaligned: true } => {
                        i == id && !before.ended(channel) && !(before.pending() == Some(id) && before.received(channel))
                    }
                    // The barrier with which it began says whether it can be; those here can unless they overtake
                    // anyway.
                    Input::TimeOut { id: i } => i == id && before.pending() == Some(id),
                    _ => false,
                }
            })
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 512 }))]

        #[test]
        fn whatever_comes_the_state_is_what_the_past_says(
            channels in 1_usize..4,
            inputs in prop::collection::vec(prop_oneof![
                8 => (0_usize..3, 0_i64..4, prop::bool::weighted(0.3))
                    .prop_map(|(channel, id, unaligned)| Input::Barrier { channel, id, unaligned }),
                1 => (0_i64..4).prop_map(|id| Input::Cancel { id }),
                1 => (0_usize..3).prop_map(|channel| Input::End { channel }),
                1 => (0_i64..4).prop_map(|id| Input::TimeOut { id }),
            ], 0..24),
        ) {
            let inputs: Vec<_> = inputs.into_iter().map(|input| match input {
                Input::Barrier { channel, id, unaligned } => Input::Barrier { channel: channel % channels, id, unaligned },
                Input::End { channel } => Input::End { channel: channel % channels },
                other => other,
            }).collect();
            let mut alignment = Alignment::new(channels);
            let mut blocked = vec![false; channels];
            let (mut triggered, mut completed, mut aborted) = (Vec::new(), Vec::new(), Vec::new());
            let mut past = Vec::new();
            for input in inputs {
                let before = Model { channels, past: &past };
                // A blocked channel is not read, so it says nothing in order; nor does one that has ended, at all.
                let silent = match input {
                    Input::Barrier { channel, unaligned: false, .. } | Input::End { channel } => blocked[channel],
                    _ => false,
                };
                if silent || matches!(input, Input::Barrier { channel, .. } if before.ended(channel)) {
                    continue;
                }
                past.push(input);
                let mut steps = Vec::new();
                match input {
                    Input::Barrier { channel, id, unaligned } => alignment.barrier(channel, &barrier(id, unaligned), &mut steps),
                    Input::Cancel { id } => alignment.cancel(id, &mut steps),
                    Input::End { channel } => alignment.end(channel, &mut steps),
                    Input::TimeOut { id } => alignment.time_out(id, &mut steps),
                }
                for step in steps {
                    match step {
                        Step::Block(channel) => prop_assert!(!std::mem::replace(&mut blocked[channel], true)),
                        Step::Resume(channel) => blocked[channel] = false,
                        Step::Trigger(barrier) => triggered.push(barrier.id),
                        Step::Complete(id) => completed.push(id),
                        Step::Abort(id, _) => aborted.push(id),
                    }
                }
                let now = Model { channels, past: &past };
                let (pending, overtaking) = (now.pending(), now.overtaking());
                prop_assert_eq!(alignment.pending().map(|barrier| barrier.id), pending);
                for (channel, &blocked) in blocked.iter().enumerate() {
                    let waits = pending.is_some() && !overtaking && now.received(channel);
                    prop_assert_eq!(blocked, waits, "channel {} after {:?}", channel, &past);
                    let captures = pending.is_some() && overtaking && !now.received(channel) && !now.ended(channel);
                    prop_assert_eq!(alignment.captures(channel), captures, "channel {}", channel);
                }
            }
            for list in [&triggered, &completed, &aborted] {
                prop_assert!(list.is_sorted_by(|a, b| a < b), "once each, in order: {:?}", list);
            }
            for id in &completed {
                prop_assert!(triggered.contains(id) && !aborted.contains(id));
            }
            prop_assert_eq!(
                completed.len() + aborted.len() + usize::from(alignment.pending().is_some()),
                (0..4).filter(|&id| {
                    (0..past.len()).any(|end| {
                        Model { channels, past: &past[..=end] }.current().is_some_and(|(current, _)| current == id)
                    })
                }).count(),
                "each checkpoint comes to one end"
            );
        }
    }
}
