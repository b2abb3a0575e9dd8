//! Stream elements in, subpartitions out.

use super::{
    flush::FlushPolicy,
    record_writer::RecordWriter,
    result_partition::ResultPartition,
    selector::{ChannelSelector, Channels, Random, Target},
    write_error::WriteError,
};
use crate::record::{LatencyMarker, RecordAttributes, SerializeRecord, StreamRecord, Watermark, WatermarkStatus};

/// Writes the elements of a stream: records with timestamps to where a selector says, watermarks and the like to all.
/// For a [`StreamReader`](crate::gate::StreamReader) on the other side, or a task of Flink's.
///
/// As a [`RecordWriter`], which it is made of, it waits for segments when readers are behind, and must be
/// [closed](Self::close).
///
/// What is said to all is written to each by itself, into the segment it has open, so that a watermark does not end
/// half-empty segments; only while records are broadcast anyway, it is broadcast with them.
///
/// # Examples
/// ```
/// use forebay::{
///     gate::{StreamItem, StreamReader, RecordReader},
///     partition::{HashByKey, StreamWriter},
///     pool::NetworkBufferPool,
///     record::Watermark,
///     transport::in_process,
/// };
/// let pool = NetworkBufferPool::builder().segments(4).build()?;
/// let (mut partitions, gates) = in_process(vec![pool.local_pool("source").required(2).build()?], 2);
/// let mut writer = StreamWriter::new(partitions.remove(0), HashByKey::new(|word: &str| word.as_bytes()));
/// writer.emit_at(1000, "flow")?; // goes to one
/// writer.emit_watermark(Watermark::new(1000))?; // goes to both
/// writer.close();
///
/// let mut records = 0;
/// for gate in gates {
///     let mut reader = StreamReader::new(RecordReader::new(gate, 1024));
///     let mut last = None;
///     while let Some(item) = reader.next()? {
///         match item {
///             StreamItem::Record { record, .. } => {
///                 assert_eq!((record.timestamp, record.deserialize::<&str>()?), (Some(1000), "flow"));
///                 records += 1;
///             }
///             StreamItem::Watermark(watermark) => last = Some(watermark),
///             _ => {}
///         }
///     }
///     assert_eq!(last, Some(Watermark::new(1000)));
/// }
/// assert_eq!(records, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `RecordWriterOutput`.
#[derive(Debug)]
pub struct StreamWriter<S> {
    writer: RecordWriter<ByValue<S>>,
    /// What the readers were last told.
    status: WatermarkStatus,
    random: Random,
}

/// Chooses for a [`StreamRecord`] as a selector does for its value.
///
/// # Examples
/// ```
/// use forebay::{partition::{ByValue, ChannelSelector, HashByKey, Target}, record::StreamRecord};
/// let mut selector = ByValue(HashByKey::new(|key: &str| key.as_bytes()));
/// assert_eq!(selector.select(&StreamRecord::at(5, "UA"), 4), Target::One(1));
/// ```
///
/// # Source
/// Flink's `StreamPartitioner`.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByValue<S>(pub S);

impl<'a, T: ?Sized, S: ChannelSelector<T>> ChannelSelector<StreamRecord<&'a T>> for ByValue<S> {
    #[inline]
    fn select(&mut self, record: &StreamRecord<&'a T>, channels: usize) -> Target {
        self.0.select(record.value, channels)
    }

    #[inline]
    fn select_among(&mut self, record: &StreamRecord<&'a T>, channels: &(impl Channels + ?Sized)) -> Target {
        self.0.select_among(record.value, channels)
    }
}

impl<S> StreamWriter<S> {
    /// Writes to `partition`, records to where `selector` says.
    #[must_use]
    pub fn new(partition: ResultPartition, selector: S) -> Self {
        Self {
            writer: RecordWriter::new(partition, ByValue(selector)),
            status: WatermarkStatus::Active,
            random: Random::new(),
        }
    }

    /// As [`RecordWriter::with_flush`].
    #[must_use]
    pub fn with_flush(mut self, policy: FlushPolicy<'_>) -> Self {
        self.writer = self.writer.with_flush(policy);
        self
    }

    /// Writes a record without a timestamp. Blocking, as [`RecordWriter::emit`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn emit<T: SerializeRecord + ?Sized>(&mut self, value: &T) -> Result<(), WriteError>
    where
        S: ChannelSelector<T>,
    {
        self.writer.emit(&StreamRecord::new(value))
    }

    /// Writes a record with its timestamp, in milliseconds since 1970. Blocking, as [`RecordWriter::emit`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn emit_at<T: SerializeRecord + ?Sized>(&mut self, timestamp: i64, value: &T) -> Result<(), WriteError>
    where
        S: ChannelSelector<T>,
    {
        self.writer.emit(&StreamRecord::at(timestamp, value))
    }

    /// Tells all readers that no record at or before this time is to follow. Does nothing while the status is idle.
    /// Blocking, as [`RecordWriter::emit_to_each`]; O(subpartitions).
    ///
    /// # Errors
    /// As there.
    pub fn emit_watermark(&mut self, watermark: Watermark) -> Result<(), WriteError> {
        match self.status {
            WatermarkStatus::Idle => Ok(()),
            WatermarkStatus::Active => self.writer.emit_to_each(&watermark),
        }
    }

    /// Tells all readers whether to wait for watermarks, if they were not told so already. Blocking, as
    /// [`RecordWriter::emit_to_each`]; O(subpartitions).
    ///
    /// # Errors
    /// As there.
    pub fn emit_watermark_status(&mut self, status: WatermarkStatus) -> Result<(), WriteError> {
        if std::mem::replace(&mut self.status, status) == status {
            return Ok(());
        }
        self.writer.emit_to_each(&status)
    }

    /// Sends a latency marker to one reader, at random. Blocking, as [`RecordWriter::emit`].
    ///
    /// # Errors
    /// As there.
    pub fn emit_latency_marker(&mut self, marker: &LatencyMarker) -> Result<(), WriteError> {
        let to = self.random.below(self.writer.subpartitions());
        self.writer.emit_to_one(marker, to)
    }

    /// Tells all readers what holds for the records from here on. Blocking, as [`RecordWriter::emit_to_each`];
    /// O(subpartitions).
    ///
    /// # Errors
    /// As there.
    pub fn emit_record_attributes(&mut self, attributes: RecordAttributes) -> Result<(), WriteError> {
        self.writer.emit_to_each(&attributes)
    }

    /// As [`RecordWriter::flush`].
    pub fn flush(&mut self) {
        self.writer.flush();
    }

    /// As [`RecordWriter::close`].
    pub fn close(self) {
        self.writer.close();
    }

    /// As [`RecordWriter::fail`].
    pub fn fail(self, cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) {
        self.writer.fail(cause);
    }

    /// The writer it is made of, for its numbers.
    #[must_use]
    pub fn record_writer(&self) -> &RecordWriter<ByValue<S>> {
        &self.writer
    }

    /// The writer it is made of, for what there is no call here: events, for one. What is written as a record should be
    /// a stream element: readers take it for one.
    #[must_use]
    pub fn record_writer_mut(&mut self) -> &mut RecordWriter<ByValue<S>> {
        &mut self.writer
    }
}
