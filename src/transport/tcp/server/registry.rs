//! The partitions that are served, and the requests that came before theirs.
#![allow(clippy::disallowed_types, reason = "the control plane: one lock, held for a look into a map")]

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::mpsc::UnboundedSender;

use super::{changed::Changed, error::Refusal};
use crate::{
    channel::Receiver,
    wire::{InputChannelId, PartitionRequest, ResultPartitionId},
};

/// What reaches a connection from the side.
#[derive(Debug)]
pub(crate) enum Delivery {
    /// The partition that a request waited for.
    Partition(PartitionRequest, Receiver, Arc<PartitionState>),
    /// Such a partition, which does not have what was asked for, or no longer.
    Refusal(PartitionRequest, Refusal),
    /// Send what there is, and close.
    Shutdown,
}

/// Where a connection is to be found.
#[derive(Debug, Clone)]
pub(crate) struct Waiter {
    pub(crate) connection: u64,
    pub(crate) deliveries: UnboundedSender<Delivery>,
}

/// How a request was taken.
#[derive(Debug)]
pub(crate) enum Request {
    Here(Receiver, Arc<PartitionState>),
    /// The partition is not there yet; it will be delivered.
    Later,
    Refused(Refusal),
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Registry {
    partitions: Mutex<Partitions>,
}

#[derive(Debug, Default)]
struct Partitions {
    known: HashMap<ResultPartitionId, Known>,
    /// Nobody will ask any more.
    closed: bool,
}

#[derive(Debug)]
enum Known {
    Here {
        /// Each is taken by the first request for it.
        receivers: Vec<Option<Receiver>>,
        state: Arc<PartitionState>,
    },
    Awaited(Awaiting),
}

/// Requests for a partition that is not there yet: the first for a subpartition gets it.
#[derive(Debug, Default)]
struct Awaiting {
    /// By when they came.
    requests: BTreeMap<u64, (PartitionRequest, Waiter)>,
    /// Which of them a connection's receiver made.
    places: HashMap<(u64, InputChannelId), u64>,
    next: u64,
}

impl Awaiting {
    fn add(&mut self, request: PartitionRequest, waiter: Waiter) {
        self.places.insert((waiter.connection, request.receiver), self.next);
        self.requests.insert(self.next, (request, waiter));
        self.next += 1;
    }

    fn forget(&mut self, request: &PartitionRequest, waiter: &Waiter) {
        if let Some(place) = self.places.remove(&(waiter.connection, request.receiver)) {
            self.requests.remove(&place);
        }
    }
}

/// A partition with this id is served already, or was and has not been removed: choose another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("partition {id} is served already")]
pub struct AlreadyServed {
    /// The id.
    pub id: ResultPartitionId,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, Partitions> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner) // nothing that can panic leaves it half done
    }

    /// Serves a partition from now on; whoever waits for it gets it.
    pub(crate) fn register(
        &self,
        id: ResultPartitionId,
        receivers: Vec<Receiver>,
    ) -> Result<Arc<PartitionState>, AlreadyServed> {
        let mut partitions = self.lock();
        if matches!(partitions.known.get(&id), Some(Known::Here { .. })) {
            return Err(AlreadyServed { id });
        }
        let state = Arc::new(PartitionState::new(id, receivers.len()));
        if partitions.closed {
            drop(partitions); // receivers wake writers: not under the lock
            state.all_released();
            return Ok(state);
        }
        let mut receivers: Vec<_> = receivers.into_iter().map(Some).collect();
        if let Some(Known::Awaited(awaiting)) = partitions.known.remove(&id) {
            for (request, waiter) in awaiting.requests.into_values() {
                let delivery = match take(&mut receivers, &request, &state) {
                    Ok(receiver) => Delivery::Partition(request, receiver, state.clone()),
                    Err(refusal) => Delivery::Refusal(request, refusal),
                };
                if let Err(lost) = waiter.deliveries.send(delivery)
                    && let Delivery::Partition(request, receiver, _) = lost.0
                {
                    let index = request.subpartitions.first as usize;
                    if receivers.is_empty() {
                        receivers = (0..state.subpartitions).map(|_| None).collect();
                    }
                    receivers[index] = Some(receiver);
                }
            }
        }
        partitions.known.insert(id, Known::Here { receivers, state: state.clone() });
        Ok(state)
    }

    /// Takes the subpartition that is asked for, or leaves word where it is awaited.
    pub(crate) fn request(&self, request: &PartitionRequest, waiter: &Waiter) -> Request {
        let mut partitions = self.lock();
        let known = partitions.known.entry(request.partition).or_insert_with(|| Known::Awaited(Awaiting::default()));
        match known {
            Known::Here { receivers, state } => match take(receivers, request, state) {
                Ok(receiver) => Request::Here(receiver, state.clone()),
                Err(refusal) => Request::Refused(refusal),
            },
            Known::Awaited(awaiting) => {
                awaiting.add(*request, waiter.clone());
                Request::Later
            }
        }
    }

    /// A request need not be delivered any more.
    pub(crate) fn forget(&self, request: &PartitionRequest, waiter: &Waiter) {
        let mut partitions = self.lock();
        if let Some(Known::Awaited(awaiting)) = partitions.known.get_mut(&request.partition) {
            awaiting.forget(request, waiter);
            if awaiting.requests.is_empty() {
                partitions.known.remove(&request.partition);
            }
        }
    }

    /// Serves that partition no more: what was not asked for goes, and later requests wait for another of its id.
    /// Another that is served under its id by now is left alone.
    pub(crate) fn remove(&self, state: &Arc<PartitionState>) {
        let mut partitions = self.lock();
        if let Some(Known::Here { state: served, .. }) = partitions.known.get(&state.id)
            && Arc::ptr_eq(served, state)
        {
            let removed = partitions.known.remove(&state.id);
            drop(partitions); // receivers wake writers: not under the lock
            removed.into_iter().for_each(Known::released);
        }
    }

    /// Nobody will ask any more: whoever writes what was not asked for is told that its readers are gone, now and
    /// later.
    pub(crate) fn close(&self) {
        let mut partitions = self.lock();
        partitions.closed = true;
        let known = std::mem::take(&mut partitions.known);
        drop(partitions); // as in `remove`
        known.into_values().for_each(Known::released);
    }
}

impl Known {
    /// Nobody will ask for it any more: its producer is told that what was not asked for has no consumer.
    fn released(self) {
        if let Self::Here { receivers, state } = self {
            for (subpartition, _receiver) in (0..).zip(receivers).filter(|(_, receiver)| receiver.is_some()) {
                state.released(subpartition);
            }
        }
    }
}

/// Takes the receiver that is asked for; with the last one goes the list of them.
fn take(
    receivers: &mut Vec<Option<Receiver>>,
    request: &PartitionRequest,
    state: &PartitionState,
) -> Result<Receiver, Refusal> {
    let range = request.subpartitions;
    let subpartitions = state.subpartitions;
    if range.first != range.last {
        return Err(Refusal::SeveralSubpartitions);
    }
    if range.first as usize >= subpartitions {
        return Err(Refusal::NoSuchSubpartition { index: range.first, subpartitions });
    }
    let taken = receivers.get_mut(range.first as usize).and_then(Option::take);
    if receivers.last().is_some_and(Option::is_none) && receivers.iter().all(Option::is_none) {
        *receivers = Vec::new();
    }
    taken.ok_or(Refusal::SubpartitionTaken { index: range.first })
}

/// What consumers have said of a partition, for its producer.
#[derive(Debug)]
pub(crate) struct PartitionState {
    id: ResultPartitionId,
    subpartitions: usize,
    said: Mutex<Said>,
    changed: Changed,
}

#[derive(Debug, Default)]
struct Said {
    /// Of each subpartition, what is true of it: `ACKNOWLEDGED`, `RELEASED`, `LOST`.
    subpartitions: Vec<u8>,
    /// Subpartitions that are released.
    released: usize,
    /// Those of them that are lost.
    lost: usize,
    /// Subpartitions that are acknowledged or released, or both.
    settled: usize,
    /// Task events, each with its subpartition.
    events: VecDeque<(u32, Vec<u8>)>,
    /// What they hold, each in kibibytes begun.
    weight: usize,
}

/// The consumer has handled all records.
const ACKNOWLEDGED: u8 = 1;
/// The consumer is done, or gone.
const RELEASED: u8 = 2;
/// The consumer is gone, and did not have all of it.
const LOST: u8 = 4;

impl Said {
    /// Notes something about a subpartition, once.
    fn note(&mut self, subpartition: u32, what: u8) {
        let Some(said) = self.subpartitions.get_mut(subpartition as usize) else { return };
        let before = std::mem::replace(said, *said | what);
        self.settled += usize::from(before == 0);
        self.released += usize::from((before ^ *said) & RELEASED != 0);
        self.lost += usize::from((before ^ *said) & LOST != 0);
    }
}

/// What task events may hold that wait for their producer, in kibibytes begun.
const MOST_EVENTS: usize = 1024;

fn weight(event: &[u8]) -> usize {
    event.len().div_ceil(1024).max(1)
}

impl PartitionState {
    fn new(id: ResultPartitionId, subpartitions: usize) -> Self {
        let said = Said { subpartitions: vec![0; subpartitions], ..Said::default() };
        Self { id, subpartitions, said: Mutex::new(said), changed: Changed::default() }
    }

    pub(crate) fn id(&self) -> ResultPartitionId {
        self.id
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner) // as the registry's
    }

    /// The consumer of a subpartition is done with it, or gone.
    pub(crate) fn released(&self, subpartition: u32) {
        self.lock().note(subpartition, RELEASED);
        self.changed.tell();
    }

    /// The consumer of a subpartition is gone, and did not have all of it.
    pub(crate) fn lost(&self, subpartition: u32) {
        self.lock().note(subpartition, RELEASED | LOST);
        self.changed.tell();
    }

    /// How many are.
    pub(crate) fn are_lost(&self) -> usize {
        self.lock().lost
    }

    /// No consumer will ever come.
    fn all_released(&self) {
        let mut said = self.lock();
        (0..self.subpartitions as u32).for_each(|subpartition| said.note(subpartition, RELEASED));
        drop(said);
        self.changed.tell();
    }

    /// The consumer of a subpartition has handled all its records.
    pub(crate) fn acknowledge(&self, subpartition: u32) {
        self.lock().note(subpartition, ACKNOWLEDGED);
        self.changed.tell();
    }

    pub(crate) fn task_event(&self, subpartition: u32, event: Vec<u8>) -> Result<(), Refusal> {
        let mut said = self.lock();
        if said.weight + weight(&event) > MOST_EVENTS {
            return Err(Refusal::TooManyEvents { limit: MOST_EVENTS });
        }
        said.weight += weight(&event);
        said.events.push_back((subpartition, event));
        drop(said);
        self.changed.tell();
        Ok(())
    }

    /// The oldest task event that was not taken yet.
    pub(crate) fn take_event(&self) -> Option<(u32, Vec<u8>)> {
        let mut said = self.lock();
        let taken = said.events.pop_front();
        said.weight -= taken.as_ref().map_or(0, |(_, event)| weight(event));
        taken
    }

    /// Waits until every consumer is done or gone; `false` if `deadline` came first.
    pub(crate) fn wait_released(&self, deadline: Option<Instant>) -> bool {
        self.changed.wait(&self.said, deadline, |said| said.released >= self.subpartitions)
    }

    pub(crate) async fn wait_released_async(&self) {
        self.changed.wait_async(&self.said, |said| said.released >= self.subpartitions).await;
    }

    /// Waits until every consumer has handled all records, or is gone; `false` if `deadline` came first.
    pub(crate) fn wait_acknowledged(&self, deadline: Option<Instant>) -> bool {
        self.changed.wait(&self.said, deadline, |said| said.settled >= self.subpartitions)
    }

    pub(crate) async fn wait_acknowledged_async(&self) {
        self.changed.wait_async(&self.said, |said| said.settled >= self.subpartitions).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(subpartitions: usize) -> PartitionState {
        PartitionState::new(ResultPartitionId::from_bytes([1; 60]), subpartitions)
    }

    fn acknowledged(state: &PartitionState) -> bool {
        state.wait_acknowledged(Some(Instant::now()))
    }

    fn released(state: &PartitionState) -> bool {
        state.wait_released(Some(Instant::now()))
    }

    #[test]
    fn one_consumer_that_acknowledges_and_goes_does_not_speak_for_another() {
        let state = state(2);
        state.acknowledge(0);
        state.released(0);
        assert!(!acknowledged(&state), "nobody has heard of the other");
        assert!(!released(&state));
        state.acknowledge(1);
        assert!(acknowledged(&state));
        assert!(!released(&state), "the other has only acknowledged");
        state.released(1);
        assert!(released(&state));
    }

    #[test]
    fn what_is_said_twice_or_of_no_subpartition_counts_once_or_not_at_all() {
        let state = state(2);
        (0..2).for_each(|_| state.lost(0));
        state.lost(2);
        assert_eq!(state.are_lost(), 1);
        (0..2).for_each(|_| state.acknowledge(0));
        (0..2).for_each(|_| state.released(0));
        state.acknowledge(2);
        state.released(u32::MAX);
        assert!(!acknowledged(&state) && !released(&state));
    }

    #[test]
    fn task_events_are_bounded_by_what_they_hold() {
        let state = state(1);
        let large = vec![0; 100 << 10];
        let taken = (0..=MOST_EVENTS).take_while(|_| state.task_event(0, large.clone()).is_ok()).count();
        assert_eq!(taken, MOST_EVENTS / 101);
        assert!(matches!(state.task_event(0, large.clone()), Err(Refusal::TooManyEvents { limit: MOST_EVENTS })));
        assert_eq!(state.take_event(), Some((0, large.clone())));
        assert!(state.task_event(0, large).is_ok(), "what was taken makes room");
    }
}
