//! Records in, subpartitions out.

use std::time::Duration;

use super::{
    flush::FlushPolicy,
    result_partition::{ResultPartition, WriteError},
    selector::{ChannelSelector, Target},
};
use crate::{
    channel::{Cause, Event},
    record::SerializeRecord,
};

/// Writes records to the subpartitions that a [`ChannelSelector`] chooses.
///
/// End it with [`close`](Self::close), or with [`fail`](Self::fail): a writer that is just dropped counts as failed.
///
/// Blocking, on the pool: when the readers are behind, writing waits for a segment.
///
/// # Source
/// Flink's `RecordWriter`.
#[derive(Debug)]
pub struct RecordWriter<S> {
    partition: ResultPartition,
    selector: S,
    flush_each: bool,
}

impl<S> RecordWriter<S> {
    /// Writes to `partition`. Readers are told of a segment when it is full, or on [`flush`](Self::flush); see
    /// [`with_flush`](Self::with_flush) for other ways.
    #[must_use]
    pub fn new(partition: ResultPartition, selector: S) -> Self {
        Self { partition, selector, flush_each: false }
    }

    /// Sets when readers are told of a segment that is not full.
    #[must_use]
    pub fn with_flush(mut self, policy: FlushPolicy<'_>) -> Self {
        self.flush_each = matches!(policy, FlushPolicy::EveryRecord);
        if let FlushPolicy::Every(interval, timer) = policy {
            timer.register(&self.partition, interval);
        }
        self
    }

    /// Writes one record. Blocking, on the pool.
    ///
    /// # Errors
    /// [`WriteError`]; after [`WriteError::Released`] the other subpartitions can still be written to.
    #[inline]
    pub fn emit<R: SerializeRecord + ?Sized>(&mut self, record: &R) -> Result<(), WriteError>
    where
        S: ChannelSelector<R>,
    {
        match self.selector.select(record, self.partition.subpartitions()) {
            Target::One(subpartition) => self.partition.emit(record, subpartition)?,
            Target::All => self.partition.broadcast(record)?,
        }
        if self.flush_each {
            self.flush();
        }
        Ok(())
    }

    /// Writes one record to all subpartitions, whatever the selector says; serialized once. Blocking, on the pool.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub fn broadcast<R: SerializeRecord + ?Sized>(&mut self, record: &R) -> Result<(), WriteError> {
        self.partition.broadcast(record)?;
        if self.flush_each {
            self.flush();
        }
        Ok(())
    }

    /// Tells all readers of everything that was written. Lock-free.
    pub fn flush(&mut self) {
        self.partition.flush();
    }

    /// Tells the reader of one subpartition of everything that was written to it. Lock-free.
    ///
    /// # Panics
    /// If there is no such subpartition.
    pub fn flush_one(&mut self, subpartition: usize) {
        self.partition.flush_one(subpartition);
    }

    /// Flushes, and ends every subpartition: the readers get everything, and then the end.
    pub fn close(mut self) {
        self.partition.end(&Event::EndOfPartition);
    }

    /// Ends every subpartition with a failure: the readers get what was written, and then `cause` as an error.
    pub fn fail(mut self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        self.partition.end(&Event::Failed(Cause::from(cause.into())));
    }

    /// Records written so far; a broadcast one counts once.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.partition.records()
    }

    /// Bytes of those records, lengths not counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.partition.bytes()
    }

    /// The time that writing has waited for segments, in all.
    #[must_use]
    pub fn back_pressured(&self) -> Duration {
        self.partition.back_pressured()
    }
}
