//! The event that divides one checkpoint from the next.
#![allow(clippy::disallowed_types, reason = "a location is immutable: loom has nothing to see in its `Arc`")]

use std::{sync::Arc, time::Duration};

use crate::buffer::DataType;

/// Divides what belongs to a checkpoint from what does not: the data before it does.
///
/// # Examples
/// ```
/// use forebay::{CheckpointBarrier, SnapshotType};
/// use std::time::Duration;
/// let barrier = CheckpointBarrier::aligned(7).timestamp(1_700_000_000_000).timeout(Duration::from_secs(30));
/// assert!(barrier.is_timeoutable() && !barrier.is_unaligned());
/// assert!(barrier.as_unaligned().is_unaligned());
/// assert_eq!((barrier.id, barrier.kind), (7, SnapshotType::Checkpoint));
/// ```
///
/// # Source
/// Flink's `CheckpointBarrier` with its `CheckpointOptions`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointBarrier {
    /// Numbers grow; a larger one makes a smaller one obsolete.
    pub id: i64,
    /// When it was started, in milliseconds since 1970.
    pub timestamp: i64,
    /// What is made of it.
    pub kind: SnapshotType,
    /// Whether channels wait for each other.
    pub alignment: AlignmentType,
    /// How long alignment may last before the barrier becomes unaligned; `None` for ever. In whole milliseconds on the
    /// wire.
    pub aligned_timeout: Option<Duration>,
    /// Where it is to be stored; `None` for the default location.
    pub location: Option<Arc<[u8]>>,
}

/// What a checkpoint is for.
///
/// # Source
/// Flink's `SnapshotType`, by the same numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SnapshotType {
    /// To recover from.
    Checkpoint,
    /// To keep; the job goes on.
    Savepoint(SavepointFormat),
    /// To keep; the job is suspended behind it.
    SavepointSuspend(SavepointFormat),
    /// To keep; the job ends behind it.
    SavepointTerminate(SavepointFormat),
    /// To recover from, and sharing nothing with earlier ones.
    FullCheckpoint,
}

impl SnapshotType {
    /// Whether it is kept beyond the job.
    #[must_use]
    pub fn is_savepoint(self) -> bool {
        !matches!(self, Self::Checkpoint | Self::FullCheckpoint)
    }
}

/// How a savepoint is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SavepointFormat {
    /// The same for all state backends.
    Canonical,
    /// The state backend's own.
    Native,
}

/// Whether channels wait for each other.
///
/// # Source
/// Flink's `CheckpointOptions.AlignmentType`, by the same numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AlignmentType {
    /// No channel waits: records may be part of two checkpoints.
    AtLeastOnce,
    /// A channel whose barrier came waits for those of the others.
    Aligned,
    /// No channel waits; what the barrier overtakes becomes part of the checkpoint.
    Unaligned,
    /// Aligned although unaligned was asked for: some channel cannot have it.
    ForcedAligned,
}

impl CheckpointBarrier {
    fn new(id: i64, alignment: AlignmentType) -> Self {
        Self { id, timestamp: 0, kind: SnapshotType::Checkpoint, alignment, aligned_timeout: None, location: None }
    }

    /// A barrier for which channels wait for each other.
    #[must_use]
    pub fn aligned(id: i64) -> Self {
        Self::new(id, AlignmentType::Aligned)
    }

    /// A barrier that overtakes: send it as a priority event.
    #[must_use]
    pub fn unaligned(id: i64) -> Self {
        Self::new(id, AlignmentType::Unaligned)
    }

    /// A barrier for which no channel waits.
    #[must_use]
    pub fn at_least_once(id: i64) -> Self {
        Self::new(id, AlignmentType::AtLeastOnce)
    }

    /// The same, started at this time, in milliseconds since 1970.
    #[must_use]
    pub fn timestamp(mut self, millis: i64) -> Self {
        self.timestamp = millis;
        self
    }

    /// The same, for this purpose.
    #[must_use]
    pub fn kind(mut self, kind: SnapshotType) -> Self {
        self.kind = kind;
        self
    }

    /// The same, that may become unaligned when it has been aligning for that long.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.aligned_timeout = Some(timeout);
        self
    }

    /// The same checkpoint's barrier as it is once it has become unaligned.
    #[must_use]
    pub fn as_unaligned(&self) -> Self {
        Self { alignment: AlignmentType::Unaligned, aligned_timeout: None, ..self.clone() }
    }

    /// Whether it overtakes. A savepoint never does.
    #[must_use]
    pub fn is_unaligned(&self) -> bool {
        self.alignment == AlignmentType::Unaligned && !self.kind.is_savepoint()
    }

    /// Whether channels wait for each other.
    #[must_use]
    pub fn needs_alignment(&self) -> bool {
        !self.is_unaligned() && self.alignment != AlignmentType::AtLeastOnce
    }

    /// Whether it may become unaligned.
    #[must_use]
    pub fn is_timeoutable(&self) -> bool {
        self.alignment == AlignmentType::Aligned && self.aligned_timeout.is_some_and(|timeout| !timeout.is_zero())
    }

    pub(super) fn data_type(&self) -> DataType {
        if self.is_unaligned() {
            DataType::PRIORITIZED_EVENT_BUFFER
        } else if self.is_timeoutable() {
            DataType::TIMEOUTABLE_ALIGNED_CHECKPOINT_BARRIER
        } else if self.needs_alignment() {
            DataType::ALIGNED_CHECKPOINT_BARRIER
        } else {
            DataType::EVENT_BUFFER
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    /// The table in Flink's `EventSerializer` and `CheckpointOptions`.
    #[test]
    fn data_types_are_those_that_flink_gives() {
        let second = Duration::from_secs(1);
        let forced = CheckpointBarrier { alignment: AlignmentType::ForcedAligned, ..CheckpointBarrier::aligned(1) };
        let savepoint = SnapshotType::Savepoint(SavepointFormat::Canonical);
        for (barrier, data_type) in [
            (CheckpointBarrier::aligned(1), DataType::ALIGNED_CHECKPOINT_BARRIER),
            (CheckpointBarrier::aligned(1).timeout(second), DataType::TIMEOUTABLE_ALIGNED_CHECKPOINT_BARRIER),
            (CheckpointBarrier::aligned(1).timeout(Duration::ZERO), DataType::ALIGNED_CHECKPOINT_BARRIER),
            (forced.timeout(second), DataType::ALIGNED_CHECKPOINT_BARRIER),
            (CheckpointBarrier::unaligned(1), DataType::PRIORITIZED_EVENT_BUFFER),
            (CheckpointBarrier::unaligned(1).kind(savepoint), DataType::ALIGNED_CHECKPOINT_BARRIER),
            (CheckpointBarrier::at_least_once(1), DataType::EVENT_BUFFER),
        ] {
            assert_eq!(barrier.data_type(), data_type, "{barrier:?}");
        }
    }
}
