//! The partitions that are served, and the requests that came before theirs.
#![allow(clippy::disallowed_types, reason = "the control plane: one lock, held for a look into a map")]

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::mpsc::UnboundedSender;

use super::error::Refusal;
use crate::{
    channel::Receiver,
    wire::{PartitionRequest, ResultPartitionId},
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
    partitions: Mutex<HashMap<ResultPartitionId, Known>>,
}

#[derive(Debug)]
enum Known {
    Here {
        /// Each is taken by the first request for it.
        receivers: Vec<Option<Receiver>>,
        state: Arc<PartitionState>,
    },
    Awaited(Vec<(PartitionRequest, Waiter)>),
}

/// A partition with this id is served already, or was and has not been removed: choose another id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("partition {id} is served already")]
pub struct AlreadyServed {
    /// The id.
    pub id: ResultPartitionId,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<ResultPartitionId, Known>> {
        self.partitions.lock().unwrap_or_else(PoisonError::into_inner) // nothing that can panic leaves it half done
    }

    /// Serves a partition from now on; whoever waits for it gets it.
    pub(crate) fn register(
        &self,
        id: ResultPartitionId,
        receivers: Vec<Receiver>,
    ) -> Result<Arc<PartitionState>, AlreadyServed> {
        let mut partitions = self.lock();
        if matches!(partitions.get(&id), Some(Known::Here { .. })) {
            return Err(AlreadyServed { id });
        }
        let state = Arc::new(PartitionState::new(id, receivers.len()));
        let mut receivers: Vec<_> = receivers.into_iter().map(Some).collect();
        if let Some(Known::Awaited(waiters)) = partitions.remove(&id) {
            for (request, waiter) in waiters {
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
        partitions.insert(id, Known::Here { receivers, state: state.clone() });
        Ok(state)
    }

    /// Takes the subpartition that is asked for, or leaves word where it is awaited.
    pub(crate) fn request(&self, request: &PartitionRequest, waiter: &Waiter) -> Request {
        let mut partitions = self.lock();
        let known = partitions.entry(request.partition).or_insert_with(|| Known::Awaited(Vec::new()));
        match known {
            Known::Here { receivers, state } => match take(receivers, request, state) {
                Ok(receiver) => Request::Here(receiver, state.clone()),
                Err(refusal) => Request::Refused(refusal),
            },
            Known::Awaited(waiters) => {
                waiters.push((*request, waiter.clone()));
                Request::Later
            }
        }
    }

    /// A request need not be delivered any more.
    pub(crate) fn forget(&self, request: &PartitionRequest, waiter: &Waiter) {
        let mut partitions = self.lock();
        if let Some(Known::Awaited(waiters)) = partitions.get_mut(&request.partition) {
            waiters.retain(|(other, at)| other.receiver != request.receiver || at.connection != waiter.connection);
            if waiters.is_empty() {
                partitions.remove(&request.partition);
            }
        }
    }

    /// Serves a partition no more: what was not asked for goes, and later requests wait for another of that id.
    pub(crate) fn remove(&self, id: ResultPartitionId) {
        let mut partitions = self.lock();
        if matches!(partitions.get(&id), Some(Known::Here { .. })) {
            let removed = partitions.remove(&id);
            drop(partitions); // receivers wake writers: not under the lock
            drop(removed);
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
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    released: usize,
    acknowledged: Vec<bool>,
    events: VecDeque<(u32, Vec<u8>)>,
}

/// Task events that may wait for their producer.
const MOST_EVENTS: usize = 1024;

impl PartitionState {
    fn new(id: ResultPartitionId, subpartitions: usize) -> Self {
        let said = Said { acknowledged: vec![false; subpartitions], ..Said::default() };
        Self { id, subpartitions, said: Mutex::new(said), changed: Condvar::new() }
    }

    pub(crate) fn id(&self) -> ResultPartitionId {
        self.id
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner) // as the registry's
    }

    /// The consumer of a subpartition is done with it, or gone.
    pub(crate) fn released(&self, _subpartition: u32) {
        self.lock().released += 1;
        self.changed.notify_all();
    }

    /// The consumer of a subpartition has handled all its records.
    pub(crate) fn acknowledge(&self, subpartition: u32) {
        if let Some(acknowledged) = self.lock().acknowledged.get_mut(subpartition as usize) {
            *acknowledged = true;
        }
        self.changed.notify_all();
    }

    pub(crate) fn task_event(&self, subpartition: u32, event: Vec<u8>) -> Result<(), Refusal> {
        let mut said = self.lock();
        if said.events.len() >= MOST_EVENTS {
            return Err(Refusal::TooManyEvents { limit: MOST_EVENTS });
        }
        said.events.push_back((subpartition, event));
        drop(said);
        self.changed.notify_all();
        Ok(())
    }

    /// The oldest task event that was not taken yet.
    pub(crate) fn take_event(&self) -> Option<(u32, Vec<u8>)> {
        self.lock().events.pop_front()
    }

    /// Waits until every consumer is done or gone; `false` if `deadline` came first.
    pub(crate) fn wait_released(&self, deadline: Option<Instant>) -> bool {
        self.wait(deadline, |said| said.released >= self.subpartitions)
    }

    /// Waits until every consumer has handled all records, or is gone; `false` if `deadline` came first.
    pub(crate) fn wait_acknowledged(&self, deadline: Option<Instant>) -> bool {
        self.wait(deadline, |said| {
            said.acknowledged.iter().filter(|&&acknowledged| acknowledged).count() + said.released >= self.subpartitions
                || said.acknowledged.iter().all(|&acknowledged| acknowledged)
        })
    }

    fn wait(&self, deadline: Option<Instant>, done: impl Fn(&Said) -> bool) -> bool {
        let mut said = self.lock();
        while !done(&said) {
            let Some(deadline) = deadline else {
                said = self.changed.wait(said).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left == Duration::ZERO {
                return false;
            }
            said = self.changed.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
