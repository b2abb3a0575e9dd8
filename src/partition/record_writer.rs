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
/// Blocking, on the pool: when the readers are behind, writing waits for a segment. A reader that stalls so stops the
/// writer for its other readers too, once it has all segments of the pool. A record that fits the segment at hand is
/// written there without waiting for anybody: wait-free, one copy.
///
/// # Examples
/// ```
/// use forebay::{
///     gate::RecordReader,
///     partition::{HashByKey, RecordWriter},
///     pool::NetworkBufferPool,
///     transport::in_process,
/// };
/// let pool = NetworkBufferPool::builder().segments(8).build()?;
/// let producer = pool.local_pool("producer").required(2).build()?; // one for each subpartition, at least
/// let (mut partitions, gates) = in_process(vec![producer], 2);
///
/// let by_first_field = HashByKey::new(|row: &str| row.split(',').next().unwrap_or("").as_bytes());
/// let mut writer = RecordWriter::new(partitions.remove(0), by_first_field);
/// for row in ["UA,1545", "AA,1141", "UA,1714"] {
///     writer.emit(row)?;
/// }
/// writer.broadcast("end of day")?; // behind what was written to each
/// assert_eq!((writer.records(), writer.bytes()), (4, 31));
/// writer.close();
///
/// let rows = gates.into_iter().map(|gate| {
///     let mut reader = RecordReader::new(gate, 1024);
///     let mut rows = Vec::new();
///     while let Some(record) = reader.next()? {
///         rows.push(record.deserialize::<&str>()?.to_owned());
///     }
///     Ok(rows)
/// });
/// let rows: Vec<_> = rows.collect::<Result<_, Box<dyn std::error::Error>>>()?;
/// assert_eq!(rows, [vec!["UA,1545", "UA,1714", "end of day"], vec!["AA,1141", "end of day"]]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

    /// Sets when readers are told of a segment that is not full. Call it once: a timer that knows the writer goes on
    /// telling its readers. Blocking for a moment, on the timer's list of writers, if there is a timer.
    #[must_use]
    pub fn with_flush(mut self, policy: FlushPolicy<'_>) -> Self {
        self.flush_each = matches!(policy, FlushPolicy::EveryRecord);
        if let FlushPolicy::Every(interval, timer) = policy {
            timer.register(&self.partition, interval);
        }
        self
    }

    /// Writes one record to where the selector says. Blocking, on the pool; wait-free while the segment at hand has
    /// room.
    ///
    /// A record that fits a segment, but not what is left of the one at hand, begins a new one if that leaves no more
    /// than a sixteenth of a segment empty; else it spans both, as does every record larger than a segment.
    ///
    /// # Errors
    /// [`WriteError`]; after [`WriteError::Released`] the other subpartitions can still be written to.
    ///
    /// # Panics
    /// If the selector or the record's serializer does.
    #[inline]
    pub fn emit<R: SerializeRecord + ?Sized>(&mut self, record: &R) -> Result<(), WriteError>
    where
        S: ChannelSelector<R>,
    {
        let written = match self.selector.select(record, self.partition.subpartitions()) {
            Target::One(subpartition) => self.partition.emit(record, subpartition),
            Target::All => self.partition.broadcast(record),
        };
        if let Err(error) = written {
            return Err(self.flushed(error));
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
        if let Err(error) = self.partition.broadcast(record) {
            return Err(self.flushed(error));
        }
        if self.flush_each {
            self.flush();
        }
        Ok(())
    }

    /// Flushes after an error, too, if each record is to be: what went to all has reached those who are there.
    #[cold]
    fn flushed(&mut self, error: WriteError) -> WriteError {
        if self.flush_each {
            self.flush();
        }
        error
    }

    /// Tells all readers of everything that was written. Lock-free; O(subpartitions).
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

    /// Flushes, and ends every subpartition: the readers get everything, and then the end. Does not wait for them.
    ///
    /// A reader that is gone goes unnoticed: what it left unread is dropped.
    pub fn close(mut self) {
        self.partition.end(&Event::EndOfPartition);
    }

    /// Ends every subpartition with a failure: the readers get what was written, and then `cause` as an error,
    /// [`GateError::ProducerFailed`](crate::gate::GateError::ProducerFailed). Does not wait for them.
    ///
    /// # Examples
    /// ```
    /// # use forebay::{gate::{GateError, ReadError, RecordReader}, partition::{Forward, RecordWriter}};
    /// # use forebay::{pool::NetworkBufferPool, transport::in_process};
    /// # let pool = NetworkBufferPool::builder().segments(2).build()?;
    /// # let (mut partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(1).build()?], 1);
    /// let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    /// let mut reader = RecordReader::new(gates.remove(0), 1024);
    /// writer.emit("before")?;
    /// writer.fail("the file ended inside a row");
    /// assert_eq!(reader.next()?.unwrap().bytes(), b"before");
    /// let Err(ReadError::Gate(GateError::ProducerFailed { channel: 0, cause })) = reader.next() else { panic!() };
    /// assert_eq!(cause.to_string(), "the file ended inside a row");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
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
