//! What one task produces: a subpartition for each reader, and the pool they are filled from.

use std::{fmt, time::Duration};

use super::{
    pieces::{Rest, Wait, never_pending},
    selector::Channels,
    subpartition::ResultSubpartition,
    write_error::WriteError,
};
use crate::{
    buffer::StagedBuilder,
    channel::{CheckpointBarrier, Event, Sender, Shared, SharedEvent, Ticket, Told},
    lockfree::wait::Waited,
    pool::LocalBufferPool,
    record::{LENGTH_BYTES, SerializeRecord},
    sync::Arc,
};

/// What one task produces, divided into a subpartition for each reader.
///
/// Comes from a transport, such as [`in_process`](crate::transport::in_process()); write to it with a
/// [`RecordWriter`](super::RecordWriter), which see for an example. Dropping a partition that was not closed tells its
/// readers that the producer failed: silence never looks like an end (R1).
///
/// Keeps one segment open for each subpartition that was written to, until it is full or the partition ends, and one in
/// all while records are broadcast. Besides segments it has one piece of heap as large as the largest record that had
/// to be serialized aside (one that spans segments, or takes half a kilobyte to four, of a type without
/// [`as_bytes`](crate::record::SerializeRecord::as_bytes)); and less than 1 KiB for each subpartition that has got 2
/// KiB without a flush between: there records are put together before they go to the segment, for a line that the
/// reader's core has is best stored to once, and whole.
///
/// # Source
/// Flink's `BufferWritingResultPartition`.
#[repr(C)] // what counts records stands where it is declared
pub struct ResultPartition {
    pub(super) pool: LocalBufferPool,
    pub(super) records: u64,
    /// Between the two that each record is counted by: beside each other they are added to as one of 16 bytes, which
    /// takes three times the instructions.
    pub(super) subpartitions: Vec<ResultSubpartition>,
    pub(super) bytes: u64,
    /// The segment being filled for all subpartitions at once. While it is there, no subpartition has one of its own.
    pub(super) broadcast: StagedBuilder,
    /// Bytes of it that were shown.
    pub(super) broadcast_shown: u32,
    /// A subpartition whose reader was found to be gone when something was broadcast.
    pub(super) gone: Option<usize>,
    /// A record that does not fit, and has its bytes not in one piece, is serialized here first.
    pub(super) scratch: Vec<u8>,
    /// The part of the scratch that was accepted, and waits for a segment.
    pub(super) rest: Option<Rest>,
    /// A barrier that may become unaligned, and where it stands in each subpartition.
    aligning: Option<(CheckpointBarrier, Vec<u32>)>,
    ended: bool,
    /// Waiting for segments without blocking; the pool counts the other.
    pub(super) waited: Waited,
}

impl ResultPartition {
    /// A partition whose subpartitions are read through `senders`.
    pub(crate) fn new(pool: LocalBufferPool, senders: Vec<Sender>) -> Self {
        Self {
            pool,
            subpartitions: senders.into_iter().map(ResultSubpartition::new).collect(),
            broadcast: StagedBuilder::default(),
            broadcast_shown: 0,
            gone: None,
            scratch: Vec::new(),
            rest: None,
            aligning: None,
            ended: false,
            records: 0,
            bytes: 0,
            waited: Waited::default(),
        }
    }

    /// Number of subpartitions. Never changes.
    #[must_use]
    pub fn subpartitions(&self) -> usize {
        self.subpartitions.len()
    }

    /// The pool the segments come from, for its name and numbers.
    #[must_use]
    pub fn pool(&self) -> &LocalBufferPool {
        &self.pool
    }

    /// Records written so far; a broadcast one counts once.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Bytes of those records, lengths not counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The time that writing has waited for segments, in all: how long readers held it up.
    #[must_use]
    pub fn back_pressured(&self) -> Duration {
        self.pool.blocked() + self.waited.total()
    }

    /// Buffers that wait for the reader of a subpartition, the one that is being filled not counted. A snapshot: the
    /// reader takes them. Wait-free.
    ///
    /// # Panics
    /// If there is no such subpartition.
    ///
    /// # Source
    /// Flink's `ResultSubpartition.getBuffersInBacklog`.
    #[must_use]
    pub fn backlog(&self, subpartition: usize) -> usize {
        self.subpartitions[subpartition].sender().backlog() as usize
    }

    /// Writes `record`, which has `len` bytes, to the stage of subpartition `to`, if it has one with room; `false` if
    /// not.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "the hot path of a record, of which a call would be a third")]
    pub(super) fn stage<R: SerializeRecord + ?Sized>(&mut self, record: &R, len: usize, to: usize) -> bool {
        let Some(subpartition) = self.subpartitions.get_mut(to) else { return false };
        let Some(framed) = len.checked_add(LENGTH_BYTES) else { return false };
        if !subpartition.builder().stage(framed, |dst| write_framed(record, len, dst)) {
            return false;
        }
        self.count(len);
        true
    }

    /// As [`stage`](Self::stage), where records do not go by a stage: commits it in the open segment.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `stage`")]
    pub(super) fn commit<R: SerializeRecord + ?Sized>(&mut self, record: &R, len: usize, to: usize) -> bool {
        let Some(subpartition) = self.subpartitions.get_mut(to) else { return false };
        let Some(framed) = len.checked_add(LENGTH_BYTES) else { return false };
        subpartition.stage_if_enough(); // and if so, there is nothing to commit
        if !subpartition.builder().commit_with(framed, |dst| write_framed(record, len, dst)) {
            return false;
        }
        self.count(len);
        true
    }

    /// Counts a record that was written.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `stage`")]
    pub(super) fn count(&mut self, len: usize) {
        self.records += 1;
        self.bytes += len as u64;
    }

    /// Writes `record` to every subpartition by itself, or as [`broadcast`](Self::broadcast) does if a segment for all
    /// is open, or there can be none for each. If a reader is gone, the others get the record all the same.
    pub(super) fn emit_to_each<R: SerializeRecord + ?Sized>(&mut self, record: &R) -> Result<(), WriteError> {
        let subpartitions = self.subpartitions.len();
        let at_once = self.broadcast.is_open() || (self.pool.required() as usize) < subpartitions;
        let len = record.serialized_len();
        let mut emit = |to| never_pending(self.emit_with(record, len, to, &mut Wait::Block));
        if at_once {
            return emit(None);
        }
        let mut outcome = Ok(());
        for to in 0..subpartitions {
            match emit(Some(to)) {
                Err(WriteError::Released { .. }) if outcome.is_err() => {}
                Err(error @ WriteError::Released { .. }) => outcome = Err(error),
                written => written?,
            }
        }
        outcome
    }

    pub(super) fn finish_broadcast(&mut self) {
        if self.broadcast.finish() {
            for subpartition in &self.subpartitions {
                subpartition.sender().set_open(false);
            }
            self.tell_all(Told::Whole);
        }
    }

    /// Tells the readers of everything that was written. Lock-free.
    pub(super) fn flush(&mut self) {
        if self.rest.is_some() {
            // What has no segment yet can not be shown. If a reader is gone, the next record says so.
            let _ = self.write_rest(&mut Wait::Try);
        }
        if self.broadcast.is_open() {
            if self.broadcast.show(&mut self.broadcast_shown) {
                self.tell_all(Told::Flushed);
            }
        } else {
            self.subpartitions.iter_mut().for_each(ResultSubpartition::flush);
        }
    }

    /// As [`flush`](Self::flush), and leaves no segment open.
    pub(super) fn flush_and_release(&mut self) {
        self.flush();
        self.finish_broadcast();
        for subpartition in &mut self.subpartitions {
            subpartition.finish();
            subpartition.release_stage();
        }
    }

    /// Commits each record from now on, for somebody else may tell the readers.
    pub(super) fn commit_each(&mut self) {
        self.subpartitions.iter_mut().for_each(ResultSubpartition::commit_each);
    }

    /// Tells the reader of subpartition `of`. Lock-free.
    pub(super) fn flush_one(&mut self, of: usize) {
        if self.broadcast.is_open() {
            self.flush(); // one segment is open for all
        } else {
            self.subpartitions[of].flush();
        }
    }

    /// Tells all readers that there is something, and notes who is gone.
    pub(super) fn tell_all(&mut self, told: Told) {
        for (index, subpartition) in self.subpartitions.iter_mut().enumerate() {
            subpartition.tell(told);
            if subpartition.is_released() {
                self.gone.get_or_insert(index);
            }
        }
    }

    /// Sends `event` behind everything that was written, to all readers: one, shared by count.
    pub(super) fn broadcast_event(&mut self, event: Event) -> Result<(), WriteError> {
        if event.is_end() {
            return Err(WriteError::Ends);
        }
        never_pending(self.write_rest(&mut Wait::Block))?;
        self.finish_broadcast();
        if let Event::CheckpointBarrier(barrier) = &event
            && barrier.is_timeoutable()
        {
            self.subpartitions.iter_mut().for_each(ResultSubpartition::finish);
            let places = self.subpartitions.iter().map(|subpartition| subpartition.sender().added()).collect();
            self.aligning = Some((barrier.clone(), places));
        }
        let event = SharedEvent::new(event);
        self.subpartitions.iter_mut().for_each(|subpartition| subpartition.send(event.clone()));
        self.all_there()
    }

    /// Sends `event` to all readers, ahead of everything that they have not read. What that is goes to `tickets`, if
    /// there are any, one for each subpartition.
    pub(super) fn broadcast_priority_event(
        &mut self,
        event: Event,
        mut tickets: impl Iterator<Item = Ticket>,
    ) -> Result<(), WriteError> {
        if event.is_end() {
            return Err(WriteError::Ends);
        }
        never_pending(self.write_rest(&mut Wait::Block))?;
        self.finish_broadcast();
        let event = SharedEvent::new(event);
        for subpartition in &mut self.subpartitions {
            subpartition.finish(); // what is overtaken ends with a segment
            let before = subpartition.sender().added();
            subpartition.overtake(event.clone(), before, tickets.next());
        }
        self.all_there()
    }

    /// Sends the barrier of `checkpoint` anew, as one that overtakes; `false` if there is none that could.
    pub(super) fn alignment_timed_out(
        &mut self,
        checkpoint: i64,
        mut tickets: impl Iterator<Item = Ticket>,
    ) -> Result<bool, WriteError> {
        let Some((barrier, places)) = self.aligning.take_if(|(barrier, _)| barrier.id == checkpoint) else {
            return Ok(false);
        };
        let event = SharedEvent::new(barrier.as_unaligned().into());
        for (subpartition, before) in self.subpartitions.iter_mut().zip(places) {
            subpartition.overtake(event.clone(), before, tickets.next());
        }
        self.all_there().map(|()| true)
    }

    /// Whether every reader is there, as far as was found.
    fn all_there(&self) -> Result<(), WriteError> {
        match self.subpartitions.iter().position(ResultSubpartition::is_released) {
            Some(subpartition) => Err(WriteError::Released { subpartition }),
            None => Ok(()),
        }
    }

    /// Sends the end, or the failure, behind everything that was written. Once.
    pub(super) fn end(&mut self, event: Event) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.finish_broadcast();
        let event = SharedEvent::new(event);
        for subpartition in &mut self.subpartitions {
            subpartition.send(event.clone());
        }
    }

    /// What the flush timer needs of each subpartition.
    pub(crate) fn shared(&self) -> Vec<Arc<Shared>> {
        self.subpartitions.iter().map(|subpartition| subpartition.sender().shared()).collect()
    }
}

/// Writes the length of `record`, `len` bytes, and the record itself to `dst`, which is just as long.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as `ResultPartition::stage`")]
pub(super) fn write_framed<R: SerializeRecord + ?Sized>(record: &R, len: usize, dst: &mut [u8]) {
    let (length, body) = dst.split_at_mut(LENGTH_BYTES);
    length.copy_from_slice(&(len as u32).to_be_bytes());
    record.serialize_into(body);
}

/// For selectors that go by who has how much to read.
impl Channels for ResultPartition {
    #[inline]
    fn count(&self) -> usize {
        self.subpartitions()
    }

    #[inline]
    fn backlog(&self, channel: usize) -> usize {
        self.backlog(channel)
    }
}

impl Drop for ResultPartition {
    fn drop(&mut self) {
        self.end(Event::abandoned());
    }
}

impl fmt::Debug for ResultPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResultPartition")
            .field("subpartitions", &self.subpartitions.len())
            .field("records", &self.records)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}
