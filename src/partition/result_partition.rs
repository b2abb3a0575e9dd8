//! What one task produces: a subpartition for each reader, and the pool they are filled from.

use std::{fmt, time::Duration};

use super::subpartition::ResultSubpartition;
use crate::{
    buffer::BufferBuilder,
    channel::{Event, Sender, Shared, Told},
    pool::{LocalBufferPool, RequestError},
    record::{LENGTH_BYTES, MAX_RECORD_BYTES, SerializeRecord},
    sync::Arc,
};

/// The part of a segment that is left empty rather than begin a record there that fits into the next: one n-th.
const SPARED: usize = 16;

/// What one task produces, divided into a subpartition for each reader.
///
/// Comes from a transport, such as [`in_process`](crate::transport::in_process()); write to it with a
/// [`RecordWriter`](super::RecordWriter), which see for an example. Dropping a partition that was not closed tells its
/// readers that the producer failed: silence never looks like an end (R1).
///
/// Keeps one segment open for each subpartition that was written to, until it is full or the partition ends, and one in
/// all while records are broadcast. Besides segments it has one piece of heap as large as the largest record that had
/// to be serialized aside (one that spans segments, of a type without
/// [`as_bytes`](crate::record::SerializeRecord::as_bytes)).
///
/// # Source
/// Flink's `BufferWritingResultPartition`.
pub struct ResultPartition {
    pool: LocalBufferPool,
    subpartitions: Vec<ResultSubpartition>,
    /// The segment being filled for all subpartitions at once. While it is there, no subpartition has one of its own.
    broadcast: Option<BufferBuilder>,
    /// Bytes of it that the readers were told of.
    broadcast_told: usize,
    /// A subpartition whose reader was found to be gone when something was broadcast.
    gone: Option<usize>,
    /// A record that does not fit, and has its bytes not in one piece, is serialized here first.
    scratch: Vec<u8>,
    ended: bool,
    records: u64,
    bytes: u64,
}

/// Why a record was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The reader of this subpartition went away. Stop, or go on with the other subpartitions. A record that went to all
    /// has reached the others whole.
    #[error("the reader of subpartition {subpartition} went away")]
    Released {
        /// Which one.
        subpartition: usize,
    },
    /// No segment could be had. Not today: the writer's pool waits until one can.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The record is larger than the framing can carry: cut it up. Nothing of it was written.
    #[error("a record of {len} bytes is over the {MAX_RECORD_BYTES} that a length of 31 bits can say")]
    TooLarge {
        /// Bytes of the record.
        len: usize,
    },
    /// The pool's guaranteed part is too small: the writer keeps a segment open for each subpartition, and could come
    /// to wait for itself. Give the local pool at least as many `required` segments as there are subpartitions.
    /// (Records that go to all subpartitions need one segment in all.) Nothing was written.
    #[error(
        "{subpartitions} subpartitions need a local pool with as many required segments, but {pool:?} has {required}"
    )]
    PoolTooSmall {
        /// The name of the pool.
        pool: String,
        /// Subpartitions of the partition.
        subpartitions: usize,
        /// Required segments of the pool.
        required: u32,
    },
    /// The selector named a subpartition that does not exist: correct it. Nothing was written.
    #[error("the selector chose subpartition {chosen} of {subpartitions}")]
    NoSuchSubpartition {
        /// What it chose.
        chosen: usize,
        /// How many there are.
        subpartitions: usize,
    },
}

impl ResultPartition {
    /// A partition whose subpartitions are read through `senders`.
    pub(crate) fn new(pool: LocalBufferPool, senders: Vec<Sender>) -> Self {
        Self {
            pool,
            subpartitions: senders.into_iter().map(ResultSubpartition::new).collect(),
            broadcast: None,
            broadcast_told: 0,
            gone: None,
            scratch: Vec::new(),
            ended: false,
            records: 0,
            bytes: 0,
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
        self.pool.blocked()
    }

    /// Writes `record` to subpartition `to`.
    #[inline]
    pub(super) fn emit<R: SerializeRecord + ?Sized>(&mut self, record: &R, to: usize) -> Result<(), WriteError> {
        let subpartitions = self.subpartitions.len();
        let Some(subpartition) = self.subpartitions.get_mut(to) else {
            return Err(WriteError::NoSuchSubpartition { chosen: to, subpartitions });
        };
        let len = record.serialized_len();
        if let Some(builder) = &mut subpartition.open
            && write_whole(builder, record, len)
        {
            self.records += 1;
            self.bytes += len as u64;
            return Ok(());
        }
        self.emit_in_pieces(record, len, Some(to))
    }

    /// Writes `record` to all subpartitions, serialized once. If a reader is gone, the others get the record all the same.
    pub(super) fn broadcast<R: SerializeRecord + ?Sized>(&mut self, record: &R) -> Result<(), WriteError> {
        let len = record.serialized_len();
        if let Some(builder) = &mut self.broadcast
            && write_whole(builder, record, len)
        {
            self.records += 1;
            self.bytes += len as u64;
        } else {
            self.emit_in_pieces(record, len, None)?;
        }
        // Only now: who is there has got all of it.
        self.gone.map_or(Ok(()), |subpartition| Err(WriteError::Released { subpartition }))
    }

    /// Writes a record that does not fit into the open segment, if there is one. `None` means to all.
    ///
    /// A record that spans segments is copied once more by the reader. So one that fits into a new segment gets it, if
    /// that spares no more than a sixteenth of the old one.
    #[cold]
    fn emit_in_pieces<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        len: usize,
        to: Option<usize>,
    ) -> Result<(), WriteError> {
        if len > MAX_RECORD_BYTES {
            return Err(WriteError::TooLarge { len });
        }
        self.check_reader(to)?;
        let segment = self.pool.segment_size();
        if LENGTH_BYTES + len <= segment {
            if self.remaining(to).is_some_and(|rest| rest <= segment / SPARED) {
                self.finish(to);
                self.check_reader(to)?;
            }
            if write_whole(self.open(to)?, record, len) {
                self.records += 1;
                self.bytes += len as u64;
                return Ok(());
            }
        }
        let length = (len as u32).to_be_bytes();
        if let Some(bytes) = record.as_bytes() {
            assert_eq!(bytes.len(), len, "`as_bytes` and `serialized_len` of a record contradict each other");
            self.append(&length, to)?;
            self.append(bytes, to)?;
        } else {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.resize(len, 0);
            record.serialize_into(&mut scratch);
            let result = self.append(&length, to).and_then(|()| self.append(&scratch, to));
            self.scratch = scratch;
            result?;
        }
        self.records += 1;
        self.bytes += len as u64;
        Ok(())
    }

    /// Copies `bytes` into as many segments as they take.
    fn append(&mut self, mut bytes: &[u8], to: Option<usize>) -> Result<(), WriteError> {
        while !bytes.is_empty() {
            let builder = self.open(to)?;
            let n = builder.append(bytes);
            bytes = &bytes[n..];
            builder.commit();
            if builder.is_full() {
                self.finish(to);
                self.check_reader(to)?;
            }
        }
        Ok(())
    }

    /// Bytes that the open segment has left.
    fn remaining(&self, to: Option<usize>) -> Option<usize> {
        let open = to.map_or(&self.broadcast, |to| &self.subpartitions[to].open);
        open.as_ref().map(BufferBuilder::remaining)
    }

    fn finish(&mut self, to: Option<usize>) {
        match to {
            Some(to) => self.subpartitions[to].finish(),
            None => self.finish_broadcast(),
        }
    }

    /// Whether there is any point in writing to one subpartition. (What goes to all goes to whoever is there.)
    fn check_reader(&self, to: Option<usize>) -> Result<(), WriteError> {
        match to.filter(|&to| self.subpartitions[to].is_released()) {
            Some(subpartition) => Err(WriteError::Released { subpartition }),
            None => Ok(()),
        }
    }

    /// The open segment of a subpartition, or of all; takes a new one if there is none. Blocking, on the pool.
    fn open(&mut self, to: Option<usize>) -> Result<&mut BufferBuilder, WriteError> {
        if let Some(to) = to {
            self.finish_broadcast(); // what was broadcast comes first
            if self.subpartitions[to].open.is_none() {
                self.check_pool()?;
                let buffer = self.pool.request()?;
                return Ok(self.subpartitions[to].open(buffer));
            }
            return Ok(self.subpartitions[to].open.as_mut().expect("looked at above"));
        }
        if self.broadcast.is_none() {
            self.subpartitions.iter_mut().for_each(ResultSubpartition::finish); // what was written to one comes first
            self.gone = self.subpartitions.iter().position(ResultSubpartition::is_released);
            let mut builder = self.pool.request()?.into_builder();
            for subpartition in &mut self.subpartitions {
                subpartition.add(builder.create_consumer());
            }
            self.broadcast = Some(builder);
            self.broadcast_told = 0;
        }
        Ok(self.broadcast.as_mut().expect("set above"))
    }

    /// One segment stays open for each subpartition, so with fewer the writer could wait for itself.
    fn check_pool(&self) -> Result<(), WriteError> {
        let (subpartitions, required) = (self.subpartitions.len(), self.pool.required());
        if (required as usize) < subpartitions {
            return Err(WriteError::PoolTooSmall { pool: self.pool.name().to_owned(), subpartitions, required });
        }
        Ok(())
    }

    fn finish_broadcast(&mut self) {
        if let Some(builder) = self.broadcast.take() {
            builder.finish();
            for subpartition in &self.subpartitions {
                subpartition.sender().set_open(false);
            }
            self.tell_all(Told::Whole);
        }
    }

    /// Tells the readers of everything that was written. Lock-free.
    pub(super) fn flush(&mut self) {
        if let Some(builder) = &self.broadcast {
            if builder.written() != self.broadcast_told {
                self.broadcast_told = builder.written();
                self.tell_all(Told::Flushed);
            }
        } else {
            self.subpartitions.iter_mut().for_each(ResultSubpartition::flush);
        }
    }

    /// Tells the reader of subpartition `of`. Lock-free.
    pub(super) fn flush_one(&mut self, of: usize) {
        if self.broadcast.is_some() {
            self.flush(); // one segment is open for all
        } else {
            self.subpartitions[of].flush();
        }
    }

    /// Tells all readers that there is something, and notes who is gone.
    fn tell_all(&mut self, told: Told) {
        for (index, subpartition) in self.subpartitions.iter_mut().enumerate() {
            subpartition.tell(told);
            if subpartition.is_released() {
                self.gone.get_or_insert(index);
            }
        }
    }

    /// Sends the end, or the failure, behind everything that was written. Once.
    pub(super) fn end(&mut self, event: &Event) {
        if self.ended {
            return;
        }
        self.ended = true;
        self.finish_broadcast();
        for subpartition in &mut self.subpartitions {
            subpartition.send(event.clone());
        }
    }

    /// What the flush timer needs of each subpartition.
    pub(crate) fn shared(&self) -> Vec<Arc<Shared>> {
        self.subpartitions.iter().map(|subpartition| subpartition.sender().shared()).collect()
    }
}

/// Writes length and record into `builder` if they fit with at least a byte to spare; a segment that is exactly full
/// is finished, so it goes the long way.
#[inline(always)]
#[allow(clippy::inline_always, reason = "as `commit_with`")]
fn write_whole<R: SerializeRecord + ?Sized>(builder: &mut BufferBuilder, record: &R, len: usize) -> bool {
    let Some(framed) = len.checked_add(LENGTH_BYTES) else { return false };
    builder.commit_with(framed, |dst| {
        let (length, body) = dst.split_at_mut(LENGTH_BYTES);
        length.copy_from_slice(&(len as u32).to_be_bytes());
        record.serialize_into(body);
    })
}

impl Drop for ResultPartition {
    fn drop(&mut self) {
        self.end(&Event::abandoned());
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
