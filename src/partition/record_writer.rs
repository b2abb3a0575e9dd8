//! Records in, subpartitions out.

use std::{
    iter,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    emit::{Emit, Refused},
    flush::FlushPolicy,
    pieces::{Wait, never_pending},
    result_partition::ResultPartition,
    selector::{ChannelSelector, Target},
    write_error::{TryEmitError, WriteError},
};
use crate::{
    channel::{Cause, Event, Overtaken},
    record::SerializeRecord,
};

/// Writes records to the subpartitions that a [`ChannelSelector`] chooses.
///
/// End it with [`close`](Self::close), or with [`fail`](Self::fail): a writer that is just dropped counts as failed.
///
/// When the readers are behind, writing waits for a segment: [`emit`](Self::emit) blocks the thread,
/// [`emit_async`](Self::emit_async) leaves a waker, [`try_emit`](Self::try_emit) says so. A reader that stalls so stops
/// the writer for its other readers too, once it has all segments of the pool. A record that fits the segment at hand
/// is written there without waiting for anybody: wait-free, one copy.
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
        if !matches!(policy, FlushPolicy::WhenFull) {
            self.partition.commit_each();
        }
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
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `ResultPartition::emit`")]
    pub fn emit<R: SerializeRecord + ?Sized>(&mut self, record: &R) -> Result<(), WriteError>
    where
        S: ChannelSelector<R>,
    {
        let target = self.selector.select_among(record, &self.partition);
        let len = record.serialized_len();
        if let Target::One(subpartition) = target
            && self.partition.stage(record, len, subpartition)
        {
            return Ok(());
        }
        self.commit(record, len, target)
    }

    /// Writes a record of `len` bytes that has no place in a stage.
    #[inline(never)]
    fn commit<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        len: usize,
        target: Target,
    ) -> Result<(), WriteError> {
        if let Target::One(subpartition) = target
            && !self.flush_each
            && self.partition.commit(record, len, subpartition)
        {
            return Ok(());
        }
        self.emit_elsewhere(record, len, target)
    }

    /// Writes a record of `len` bytes that has no place in an open segment, or needs a closer look.
    #[inline(never)]
    fn emit_elsewhere<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        len: usize,
        target: Target,
    ) -> Result<(), WriteError> {
        let written = self.partition.emit_with(record, len, target.one(), &mut Wait::Block);
        let written = never_pending(written);
        if self.flush_each {
            self.flush(); // after an error, too: what went to all has reached those who are there
        }
        written
    }

    /// Writes one record to where the selector says, if there is a segment for it now. Lock-free.
    ///
    /// A record that spans segments is accepted as soon as it has the first; for what has found no segment yet see
    /// [`poll_ready`](Self::poll_ready).
    ///
    /// # Errors
    /// * [`TryEmitError::Full`]: nothing was written. Offer it again when readers have given segments back.
    /// * [`TryEmitError::Write`]: as [`emit`](Self::emit).
    ///
    /// # Examples
    /// ```
    /// # use forebay::{gate::RecordReader, pool::NetworkBufferPool, transport::in_process};
    /// use forebay::partition::{RecordWriter, RoundRobin, TryEmitError};
    /// # let pool = NetworkBufferPool::builder().segments(2).segment_size(4096).build()?;
    /// # let local = pool.local_pool("producer").required(2).build()?;
    /// # let (mut partitions, mut gates) = in_process(vec![local], 2);
    /// let mut writer = RecordWriter::new(partitions.remove(0), RoundRobin::default());
    /// let page = [7; 4092]; // with its length, a whole segment
    /// assert_eq!((writer.try_emit(&page[..]), writer.try_emit(&page[..])), (Ok(()), Ok(())));
    /// let Err(TryEmitError::Full(refused)) = writer.try_emit(&page[..]) else { panic!("both segments are out") };
    ///
    /// let mut reader = RecordReader::new(gates.remove(0), 4096);
    /// assert_eq!(reader.next()?.unwrap().bytes(), page);
    /// assert!(reader.try_next()?.is_none(), "and so gives the segment back");
    /// assert_eq!(writer.try_emit_again(&page[..], refused), Ok(()), "where it was to go before");
    /// assert_eq!(reader.next()?.unwrap().bytes(), page);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn try_emit<R: SerializeRecord + ?Sized>(&mut self, record: &R) -> Result<(), TryEmitError>
    where
        S: ChannelSelector<R>,
    {
        let target = self.select(record);
        self.try_emit_again(record, Refused(target))
    }

    /// Offers a record again that [`try_emit`](Self::try_emit) refused; the selector is not asked. Lock-free.
    ///
    /// # Errors
    /// As [`try_emit`](Self::try_emit).
    pub fn try_emit_again<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        refused: Refused,
    ) -> Result<(), TryEmitError> {
        match self.emit_to(record, refused.0, &mut Wait::Try) {
            Poll::Ready(outcome) => Ok(outcome?),
            Poll::Pending => Err(TryEmitError::Full(refused)),
        }
    }

    /// Writes one record to where the selector says; the future waits for a segment if need be, without blocking the
    /// thread. For any executor: it needs a [`Waker`](std::task::Waker) and nothing else. Allocates nothing.
    ///
    /// Its output is as of [`emit`](Self::emit). A record that spans segments is accepted as soon as it has the first:
    /// what has found no segment yet is copied, goes first when the next record is written, and is waited for by
    /// [`poll_ready`](Self::poll_ready) and [`poll_close`](Self::poll_close).
    ///
    /// # Examples
    /// ```
    /// # use forebay::partition::{ChannelSelector, RecordWriter, WriteError};
    /// async fn count<S: ChannelSelector<u64>>(mut writer: RecordWriter<S>, to: u64) -> Result<(), WriteError> {
    ///     for number in 0..to {
    ///         writer.emit_async(&number).await?;
    ///     }
    ///     std::future::poll_fn(|context| writer.poll_close(context)).await
    /// }
    /// ```
    pub fn emit_async<'a, R: SerializeRecord + ?Sized>(&'a mut self, record: &'a R) -> Emit<'a, S, R>
    where
        S: ChannelSelector<R>,
    {
        Emit { writer: self, record, target: None }
    }

    /// Asks the selector.
    #[inline]
    pub(super) fn select<R: ?Sized>(&mut self, record: &R) -> Target
    where
        S: ChannelSelector<R>,
    {
        self.selector.select_among(record, &self.partition)
    }

    /// Writes `record` to `target`; pending says that nothing of it was written.
    pub(super) fn emit_to<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        target: Target,
        wait: &mut Wait<'_, '_>,
    ) -> Poll<Result<(), WriteError>> {
        let outcome = ready!(self.partition.emit_with(record, record.serialized_len(), target.one(), wait));
        if self.flush_each {
            self.flush();
        }
        Poll::Ready(outcome)
    }

    /// Ready once everything that was accepted is in segments, so that what follows blocks no thread: a record that
    /// spans and was accepted by [`emit_async`](Self::emit_async) or [`try_emit`](Self::try_emit) may lack some. Leaves
    /// the waker until then. Lock-free, and may take the lock of the pool's waiting list.
    ///
    /// # Errors
    /// [`WriteError`]: what was left of the record is dropped.
    pub fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        self.partition.write_rest(&mut Wait::Poll(context))
    }

    /// As [`close`](Self::close), without blocking: ready once everything is in segments and the readers have been told
    /// of the end. Drop the writer then.
    ///
    /// # Errors
    /// As [`poll_ready`](Self::poll_ready); the partition is ended all the same.
    pub fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Result<(), WriteError>> {
        let written = ready!(self.poll_ready(context));
        Poll::Ready(self.end(written))
    }

    /// Ends the partition: as it should, unless the last record could not be `written` for another reason than that its
    /// reader is gone.
    fn end(&mut self, written: Result<(), WriteError>) -> Result<(), WriteError> {
        self.partition.end(match &written {
            Ok(()) | Err(WriteError::Released { .. }) => Event::EndOfPartition,
            Err(error) => Event::Failed(Cause::from(Box::<dyn std::error::Error + Send + Sync>::from(error.clone()))),
        });
        written
    }

    /// Sends `event` to all readers, in order with the records: each gets it behind what was written before. One event,
    /// shared by count. Lock-free, once everything that was accepted is in segments ([`poll_ready`](Self::poll_ready));
    /// O(subpartitions). Finishes the open segments.
    ///
    /// # Errors
    /// * [`WriteError::Released`]: that reader is gone; the others get it.
    /// * [`WriteError::Ends`]: the event would end the partition.
    ///
    /// # Source
    /// Flink's `RecordWriter.broadcastEvent`.
    pub fn broadcast_event(&mut self, event: Event) -> Result<(), WriteError> {
        self.partition.broadcast_event(event)
    }

    /// Sends `event` to all readers, ahead of everything they have not read: each gets it next. What it overtakes, a
    /// gate hands out with it, by reference count, and delivers afterwards. Takes a lock of each channel, which its
    /// reader takes for such an event only; O(subpartitions). Finishes the open segments.
    ///
    /// # Errors
    /// As [`broadcast_event`](Self::broadcast_event).
    ///
    /// # Examples
    /// ```
    /// # use forebay::{pool::NetworkBufferPool, transport::in_process};
    /// # use forebay::partition::{Forward, RecordWriter};
    /// use forebay::{CheckpointBarrier, gate::BufferOrEvent};
    /// # let pool = NetworkBufferPool::builder().segments(2).build()?;
    /// # let (mut partitions, mut gates) = in_process(vec![pool.local_pool("producer").required(1).build()?], 1);
    /// # let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    /// # let mut gate = gates.remove(0);
    /// writer.emit("early")?;
    /// writer.broadcast_priority_event(CheckpointBarrier::unaligned(1).into())?;
    /// let Some((0, BufferOrEvent::Priority { overtaken, .. })) = gate.try_next()? else { panic!("comes first") };
    /// assert_eq!(&*overtaken[0], b"\0\0\0\x05early");
    /// let Some((0, BufferOrEvent::Buffer(buffer))) = gate.try_next()? else { panic!("comes then") };
    /// assert_eq!(buffer.as_ptr(), overtaken[0].as_ptr(), "the same bytes");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Source
    /// Flink's `broadcastEvent(event, isPriorityEvent)` and `PipelinedSubpartition.addPriorityEvent`.
    pub fn broadcast_priority_event(&mut self, event: Event) -> Result<(), WriteError> {
        self.partition.broadcast_priority_event(event, iter::empty())
    }

    /// As [`broadcast_priority_event`](Self::broadcast_priority_event), but what the event overtakes is handed to the
    /// writer, and not to its readers. So it must be where they are on other hosts: what was queued here comes to them
    /// behind the event.
    ///
    /// # Errors
    /// [`WriteError`], but [`WriteError::Released`]: a reader that is gone has nothing in flight.
    pub fn broadcast_priority_event_and_capture(&mut self, event: Event) -> Result<Overtaken, WriteError> {
        let (overtaken, tickets) = Overtaken::new(self.partition.subpartitions());
        match self.partition.broadcast_priority_event(event, tickets) {
            Ok(()) | Err(WriteError::Released { .. }) => Ok(overtaken),
            Err(error) => Err(error),
        }
    }

    /// Turns the barrier of `checkpoint` into an unaligned one where it has not been read yet, if it was the last sent
    /// that [may](crate::CheckpointBarrier::is_timeoutable) become so: it is sent again and overtakes what was before
    /// it. `false` if it was not, or was turned already. Progress as
    /// [`broadcast_priority_event`](Self::broadcast_priority_event).
    ///
    /// The time is the caller's to keep. Readers know the first barrier of a checkpoint from the second by its number.
    ///
    /// # Errors
    /// [`WriteError::Released`]: that reader is gone; the others get it.
    ///
    /// # Source
    /// Flink's `ResultPartition.alignedBarrierTimeout`.
    pub fn alignment_timed_out(&mut self, checkpoint: i64) -> Result<bool, WriteError> {
        self.partition.alignment_timed_out(checkpoint, iter::empty())
    }

    /// As [`alignment_timed_out`](Self::alignment_timed_out), but what the barrier overtakes is handed to the writer,
    /// as by [`broadcast_priority_event_and_capture`](Self::broadcast_priority_event_and_capture). `None` if there is
    /// no such barrier. A reader that is gone has nothing in flight.
    pub fn alignment_timed_out_and_capture(&mut self, checkpoint: i64) -> Option<Overtaken> {
        let (overtaken, tickets) = Overtaken::new(self.partition.subpartitions());
        match self.partition.alignment_timed_out(checkpoint, tickets) {
            Ok(false) => None,
            Ok(true) | Err(_) => Some(overtaken),
        }
    }

    /// Writes one record to all subpartitions, whatever the selector says; serialized once. Blocking, on the pool.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub fn broadcast<R: SerializeRecord + ?Sized>(&mut self, record: &R) -> Result<(), WriteError> {
        self.emit_elsewhere(record, record.serialized_len(), Target::All)
    }

    /// Writes one record to one subpartition, whatever the selector says. Blocking, on the pool.
    ///
    /// # Errors
    /// As [`emit`](Self::emit).
    pub fn emit_to_one<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        subpartition: usize,
    ) -> Result<(), WriteError> {
        self.emit_elsewhere(record, record.serialized_len(), Target::One(subpartition))
    }

    /// Writes one record to every subpartition by itself, whatever the selector says: for small ones among records to
    /// single subpartitions, such as watermarks. Serialized for each, but unlike [`broadcast`](Self::broadcast) it goes
    /// into the segments that are open, and ends none before it is full. If a segment for all is open, or the pool has
    /// not enough for each to have its own, it is broadcast. Counts once, or once for each. Blocking, on the pool.
    ///
    /// # Errors
    /// As [`emit`](Self::emit). After [`WriteError::Released`] the other readers have got it.
    ///
    /// # Source
    /// Flink's `ChannelSelectorRecordWriter.broadcastEmit`.
    pub fn emit_to_each<R: SerializeRecord + ?Sized>(&mut self, record: &R) -> Result<(), WriteError> {
        let written = self.partition.emit_to_each(record);
        if self.flush_each {
            self.flush();
        }
        written
    }

    /// Number of subpartitions. Never changes.
    #[must_use]
    pub fn subpartitions(&self) -> usize {
        self.partition.subpartitions()
    }

    /// Tells all readers of everything that was written. Lock-free; O(subpartitions). For a reader across hosts whose
    /// connection sleeps it writes to the socket, once, as far as that takes it at once; so may the timer that flushes.
    pub fn flush(&mut self) {
        self.partition.flush();
    }

    /// Flushes, and gives up the segments at hand, however little is in them: once the readers have taken them, the
    /// writer holds none until its next record. For one that will be idle. Lock-free; O(subpartitions), as
    /// [`flush`](Self::flush).
    pub fn flush_and_release(&mut self) {
        self.partition.flush_and_release();
    }

    /// Tells the reader of one subpartition of everything that was written to it. Lock-free, as [`flush`](Self::flush).
    ///
    /// # Panics
    /// If there is no such subpartition.
    pub fn flush_one(&mut self, subpartition: usize) {
        self.partition.flush_one(subpartition);
    }

    /// Flushes, and ends every subpartition: the readers get everything, and then the end. Does not wait for them; only
    /// for segments, blocking, if a record that was accepted still lacks some ([`poll_close`](Self::poll_close) does
    /// not).
    ///
    /// A reader that is gone goes unnoticed: what it left unread is dropped.
    pub fn close(mut self) {
        let written = never_pending(self.partition.write_rest(&mut Wait::Block));
        let _ = self.end(written); // the readers hear of it
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
        self.partition.end(Event::Failed(Cause::from(cause.into())));
    }

    /// The partition it writes to, for its numbers.
    #[must_use]
    pub fn partition(&self) -> &ResultPartition {
        &self.partition
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
