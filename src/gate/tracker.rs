//! Barriers of several channels, at least once: no channel waits for another, so a checkpoint is triggered when its
//! last barrier has come, whatever records came in between. Pure logic.
//!
//! Several checkpoints may be on their way at a time. One that is triggered makes the earlier ones obsolete. The number
//! of those that are remembered is bounded, and so is what a channel that never sends a barrier can cost.
//!
//! # Source
//! Flink's `CheckpointBarrierTracker`.

use std::collections::VecDeque;

use super::{alignment::Step, input::AbortReason};
use crate::channel::CheckpointBarrier;

/// Checkpoints that are remembered. As many as in Flink.
const MOST_PENDING: usize = 50;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Tracker {
    ended: Vec<bool>,
    /// The last checkpoint that was begun, cancelled or forgotten.
    latest: Option<i64>,
    /// In the order of their numbers.
    pending: VecDeque<Pending>,
}

#[derive(Debug)]
struct Pending {
    barrier: CheckpointBarrier,
    received: Vec<bool>,
}

impl Tracker {
    pub(super) fn new(channels: usize) -> Self {
        Self { ended: vec![false; channels], latest: None, pending: VecDeque::new() }
    }

    /// A barrier has come.
    pub(super) fn barrier(&mut self, channel: usize, barrier: &CheckpointBarrier, steps: &mut Vec<Step>) {
        if barrier.needs_alignment() {
            steps.push(Step::Resume(channel)); // a writer that rests behind it goes on
        }
        if self.latest.is_none_or(|latest| latest < barrier.id) {
            self.latest = Some(barrier.id);
            if self.pending.len() == MOST_PENDING
                && let Some(forgotten) = self.pending.pop_front()
            {
                steps.push(Step::Abort(forgotten.barrier.id, AbortReason::Subsumed));
            }
            let received = vec![false; self.ended.len()];
            self.pending.push_back(Pending { barrier: barrier.clone(), received });
        }
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.barrier.id == barrier.id) {
            pending.received[channel] = true;
            self.complete(steps);
        }
    }

    /// A marker has come that cancels `checkpoint`, and so those before it.
    pub(super) fn cancel(&mut self, checkpoint: i64, steps: &mut Vec<Step>) {
        self.forget_before(checkpoint, steps);
        let pending = self.pending.front().is_some_and(|pending| pending.barrier.id == checkpoint);
        if pending {
            self.pending.pop_front();
        }
        if pending || self.latest.is_none_or(|latest| latest < checkpoint) {
            self.latest = self.latest.max(Some(checkpoint));
            steps.push(Step::Abort(checkpoint, AbortReason::Cancelled));
        }
    }

    /// A channel has ended: it has no barrier any more.
    pub(super) fn end(&mut self, channel: usize, steps: &mut Vec<Step>) {
        self.ended[channel] = true;
        self.complete(steps);
    }

    /// Triggers the last checkpoint that is complete.
    fn complete(&mut self, steps: &mut Vec<Step>) {
        let is_complete =
            |pending: &Pending| pending.received.iter().zip(&self.ended).all(|(&came, &ended)| came || ended);
        if let Some(at) = self.pending.iter().rposition(is_complete) {
            let id = self.pending[at].barrier.id;
            self.forget_before(id, steps);
            if let Some(pending) = self.pending.pop_front() {
                steps.push(Step::Trigger(pending.barrier));
                steps.push(Step::Complete(id));
            }
        }
    }

    fn forget_before(&mut self, checkpoint: i64, steps: &mut Vec<Step>) {
        while let Some(id) = self.pending.front().map(|pending| pending.barrier.id).filter(|&id| id < checkpoint) {
            self.pending.pop_front();
            steps.push(Step::Abort(id, AbortReason::Subsumed));
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut tracker, mut steps) = (Tracker::new(2), Vec::new());
        for id in 0..1000 {
            tracker.barrier(0, &CheckpointBarrier::at_least_once(id), &mut steps);
        }
        assert_eq!(tracker.pending.len(), MOST_PENDING);
        assert_eq!(steps.len(), 1000 - MOST_PENDING);
        steps.clear();
        tracker.barrier(1, &CheckpointBarrier::at_least_once(999), &mut steps);
        assert_eq!(steps.len(), MOST_PENDING + 1, "all but the last are obsolete; it is triggered and complete");
        assert!(tracker.pending.is_empty());
    }

    #[derive(Debug, Clone, Copy)]
    enum Input {
        Barrier { channel: usize, id: i64 },
        Cancel { id: i64 },
        End { channel: usize },
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 512 }))]

        /// The plain model: for each checkpoint who has sent its barrier; what has come to an end, and how.
        #[test]
        fn each_checkpoint_comes_to_the_end_that_the_model_says(
            inputs in prop::collection::vec(prop_oneof![
                8 => (0_usize..3, 0_i64..6).prop_map(|(channel, id)| Input::Barrier { channel, id }),
                1 => (0_i64..6).prop_map(|id| Input::Cancel { id }),
                1 => (0_usize..3).prop_map(|channel| Input::End { channel }),
            ], 0..30),
        ) {
            let mut tracker = Tracker::new(3);
            let mut open: BTreeMap<i64, [bool; 3]> = BTreeMap::new();
            let (mut seen, mut ended) = (-1, [false; 3]);
            for input in inputs {
                let (mut steps, mut expected) = (Vec::new(), Vec::new());
                let cancelled = match input {
                    Input::Barrier { channel, id } => {
                        tracker.barrier(channel, &CheckpointBarrier::at_least_once(id), &mut steps);
                        if id > seen {
                            open.insert(id, [false; 3]);
                        }
                        seen = seen.max(id);
                        if let Some(came) = open.get_mut(&id) {
                            came[channel] = true;
                        }
                        None
                    }
                    Input::Cancel { id } => {
                        tracker.cancel(id, &mut steps);
                        (id > seen || open.contains_key(&id)).then_some(id).or_else(|| {
                            open.keys().take_while(|&&other| other < id).for_each(|&other| expected.push((other, "subsumed")));
                            open.retain(|&other, _| other > id);
                            None
                        })
                    }
                    Input::End { channel } => {
                        tracker.end(channel, &mut steps);
                        ended[channel] = true;
                        None
                    }
                };
                let complete = open.iter().rfind(|(_, came)| (0..3).all(|c| came[c] || ended[c])).map(|(&id, _)| id);
                if let Some(last) = complete.or(cancelled) {
                    expected.extend(open.keys().take_while(|&&id| id < last).map(|&id| (id, "subsumed")));
                    expected.push((last, if complete.is_some() { "triggered" } else { "cancelled" }));
                    open.retain(|&id, _| id > last);
                    seen = seen.max(last);
                }
                let found: Vec<_> = steps.into_iter().filter_map(|step| match step {
                    Step::Trigger(barrier) => Some((barrier.id, "triggered")),
                    Step::Abort(id, AbortReason::Subsumed) => Some((id, "subsumed")),
                    Step::Abort(id, AbortReason::Cancelled) => Some((id, "cancelled")),
                    _ => None,
                }).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
