//! What travels between records.
#![allow(clippy::disallowed_types, reason = "a cause is immutable: loom has nothing to see in its `Arc`")]

use std::{error::Error, sync::Arc};

/// Why a producer failed, shared by all who read from it: the error given to
/// [`RecordWriter::fail`](crate::partition::RecordWriter::fail), found again in
/// [`GateError::ProducerFailed`](crate::gate::GateError::ProducerFailed).
pub type Cause = Arc<dyn Error + Send + Sync>;

/// Something that a writer tells its readers in order with the data, and that is no data.
///
/// # Source
/// Flink's `RuntimeEvent`, of which `EndOfPartitionEvent` is here so far.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// The writer has ended as it should: nothing follows.
    EndOfPartition,
    /// The writer has failed: nothing follows, and what came before is not all there was to be. An
    /// [`InputGate`](crate::gate::InputGate) makes an error of it.
    Failed(Cause),
}

impl Event {
    /// The writer was dropped before it ended its partition.
    pub(crate) fn abandoned() -> Self {
        Self::Failed(Arc::new(Abandoned))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the producer went away before it ended its partition")]
struct Abandoned;
