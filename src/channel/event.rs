//! What travels between records.
#![allow(clippy::disallowed_types, reason = "events are immutable: loom has nothing to see in their `Arc`s")]

use std::{error::Error, sync::Arc};

use super::barrier::CheckpointBarrier;
use crate::buffer::DataType;

/// Why a producer failed, shared by all who read from it: the error given to
/// [`RecordWriter::fail`](crate::partition::RecordWriter::fail), found again in
/// [`GateError::ProducerFailed`](crate::gate::GateError::ProducerFailed).
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Something that a writer tells its readers beside the data: in order with it, or, as a priority event, before it.
///
/// An open set: what is not named here travels as [`Event::Custom`], byte for byte. Cheap to clone; sent to several
/// readers it is one, shared by count.
///
/// # Examples
/// ```
/// use forebay::{CheckpointBarrier, Event, StopMode, buffer::DataType};
/// assert_eq!(Event::EndOfData(StopMode::Drain).data_type(), DataType::END_OF_DATA);
/// assert_eq!(Event::from(CheckpointBarrier::aligned(7)).data_type(), DataType::ALIGNED_CHECKPOINT_BARRIER);
/// let own = Event::Custom { data_type: DataType::EVENT_BUFFER, bytes: b"anything"[..].into() };
/// assert_eq!(own.data_type(), DataType::EVENT_BUFFER);
/// ```
///
/// # Source
/// Flink's `RuntimeEvent` and `TaskEvent`, and its `EventSerializer` for which data type each has.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// No more records of the user's code follow; other events may.
    EndOfData(StopMode),
    /// The writer has ended as it should: nothing follows.
    EndOfPartition,
    /// Divides what belongs to a checkpoint from what does not.
    CheckpointBarrier(CheckpointBarrier),
    /// A checkpoint is given up: who waits for its barriers need not wait on.
    CancelCheckpointMarker {
        /// Its number.
        checkpoint: i64,
    },
    /// Tells ahead of time that `event` is on its way, behind data. A priority event.
    EventAnnouncement {
        /// What is on its way.
        event: Arc<Event>,
        /// The number, within its channel, of the buffer that carries it.
        sequence: u32,
    },
    /// An event that only its sender and its receiver know: carried as it is. Over a network its bytes are as on
    /// Flink's wire, at most 1 MiB with the four of their kind first (any that Flink has not), and its data type one of
    /// Flink's; a channel that is sent another fails.
    Custom {
        /// What it says it is.
        data_type: DataType,
        /// All of it.
        bytes: Arc<[u8]>,
    },
    /// The writer has failed: nothing follows, and what came before is not all there was to be. An
    /// [`InputGate`](crate::gate::InputGate) makes an error of it.
    Failed(Cause),
}

/// How the user's code came to its end.
///
/// # Source
/// Flink's `StopMode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum StopMode {
    /// For good: what is held back, such as open windows, is emitted first.
    #[default]
    Drain,
    /// To go on later: what is held back stays in the last savepoint.
    NoDrain,
}

impl Event {
    /// The writer was dropped before it ended its partition.
    pub(crate) fn abandoned() -> Self {
        Self::Failed(Arc::new(Abandoned))
    }

    /// About how much memory it holds, in kibibytes begun: 1 at least.
    pub(crate) fn weight(&self) -> u16 {
        let bytes = match self {
            Self::CheckpointBarrier(barrier) => barrier.location.as_ref().map_or(0, |location| location.len()),
            Self::Custom { bytes, .. } => bytes.len(),
            _ => 0, // an announcement shares what it announces
        };
        bytes.div_ceil(1024).clamp(1, u16::MAX.into()) as u16
    }

    /// Whether nothing can follow it in its channel.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::EndOfPartition | Self::Failed(_))
    }

    /// What Flink calls the buffer that carries it. A failure has no buffer, and is [`DataType::EVENT_BUFFER`] here.
    #[must_use]
    pub fn data_type(&self) -> DataType {
        match self {
            Self::EndOfData(_) => DataType::END_OF_DATA,
            Self::EndOfPartition => DataType::END_OF_PARTITION,
            Self::CheckpointBarrier(barrier) => barrier.data_type(),
            Self::EventAnnouncement { .. } => DataType::PRIORITIZED_EVENT_BUFFER,
            Self::Custom { data_type, .. } => *data_type,
            Self::CancelCheckpointMarker { .. } | Self::Failed(_) => DataType::EVENT_BUFFER,
        }
    }
}

impl From<CheckpointBarrier> for Event {
    fn from(barrier: CheckpointBarrier) -> Self {
        Self::CheckpointBarrier(barrier)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the producer went away before it ended its partition")]
struct Abandoned;
