//! Records that do not fit the segment at hand: new segments, and how to wait for them.

use std::task::{Context, Poll, ready};

use super::{
    result_partition::{ResultPartition, write_whole},
    subpartition::ResultSubpartition,
    write_error::WriteError,
};
use crate::{
    buffer::{BufferBuilder, BufferMut, StagedBuilder},
    pool::RequestError,
    record::{LENGTH_BYTES, MAX_RECORD_BYTES, SerializeRecord},
};

/// The part of a segment that is left empty rather than begin a record there that fits into the next: one n-th.
const SPARED: usize = 16;

/// What to do when there is no segment.
pub(super) enum Wait<'a, 'b> {
    /// Block the thread. So nothing is ever pending.
    Block,
    /// Say that it is pending.
    Try,
    /// Leave the waker to be woken, and say that it is pending.
    Poll(&'a mut Context<'b>),
}

/// Bytes that were accepted, for a subpartition or for all, and have found no segment yet.
#[derive(Debug)]
pub(super) struct Rest {
    to: Option<usize>,
    /// Where they begin in the partition's scratch; they go to its end.
    at: usize,
}

/// The outcome of what was done with [`Wait::Block`].
pub(super) fn never_pending<T>(outcome: Poll<Result<T, WriteError>>) -> Result<T, WriteError> {
    match outcome {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => unreachable!("it blocks"),
    }
}

impl ResultPartition {
    /// Writes `record` to subpartition `to`, or to all. Pending says that nothing of it was written. Ready says that all of
    /// it was accepted: with [`Wait::Try`] and [`Wait::Poll`] a part may be held back until
    /// [`write_rest`](Self::write_rest) finds a segment for it.
    pub(super) fn emit_with<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        to: Option<usize>,
        wait: &mut Wait<'_, '_>,
    ) -> Poll<Result<(), WriteError>> {
        let Some(to) = to else { return self.broadcast_with(record, wait) };
        let subpartitions = self.subpartitions.len();
        let Some(subpartition) = self.subpartitions.get_mut(to) else {
            return Poll::Ready(Err(WriteError::NoSuchSubpartition { chosen: to, subpartitions }));
        };
        let len = record.serialized_len();
        if let Some(builder) = subpartition.builder()
            && write_whole(builder, record, len)
        {
            self.records += 1;
            self.bytes += len as u64;
            return Poll::Ready(Ok(()));
        }
        self.emit_in_pieces(record, len, Some(to), wait)
    }

    pub(super) fn broadcast_with<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        wait: &mut Wait<'_, '_>,
    ) -> Poll<Result<(), WriteError>> {
        let len = record.serialized_len();
        if let Some(builder) = &mut self.broadcast
            && write_whole(StagedBuilder::new(builder, None), record, len)
        {
            self.records += 1;
            self.bytes += len as u64;
        } else {
            ready!(self.emit_in_pieces(record, len, None, wait))?;
        }
        // Only now: who is there has got all of it.
        Poll::Ready(self.gone.map_or(Ok(()), |subpartition| Err(WriteError::Released { subpartition })))
    }

    /// Writes a record that does not fit into the open segment, if there is one. `None` means to all.
    ///
    /// A record that spans segments is copied once more by the reader. So one that fits into a new segment gets it, if
    /// that spares no more than a sixteenth of the old one.
    #[cold]
    pub(super) fn emit_in_pieces<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        len: usize,
        to: Option<usize>,
        wait: &mut Wait<'_, '_>,
    ) -> Poll<Result<(), WriteError>> {
        if len > MAX_RECORD_BYTES {
            return Poll::Ready(Err(WriteError::TooLarge { len }));
        }
        ready!(self.write_rest(wait))?; // what was accepted earlier comes first
        self.check_reader(to)?;
        let segment = self.pool.segment_size();
        let fits = LENGTH_BYTES + len <= segment;
        if fits && self.remaining(to).is_some_and(|rest| rest <= segment / SPARED) {
            self.finish(to);
            self.check_reader(to)?;
        }
        let builder = ready!(self.open(to, wait))?;
        if !(fits && write_whole(builder, record, len)) {
            // From here on it is accepted.
            let length = (len as u32).to_be_bytes();
            if let Some(bytes) = record.as_bytes() {
                assert_eq!(bytes.len(), len, "`as_bytes` and `serialized_len` of a record contradict each other");
                self.append_or_keep(&[&length, bytes], to, wait)?;
            } else {
                let mut scratch = std::mem::take(&mut self.scratch);
                scratch.resize(LENGTH_BYTES + len, 0);
                let (head, body) = scratch.split_at_mut(LENGTH_BYTES);
                head.copy_from_slice(&length);
                record.serialize_into(body);
                let mut at = 0;
                let outcome = self.append(&scratch, &mut at, to, wait);
                self.scratch = scratch;
                match outcome {
                    Poll::Ready(outcome) => outcome?,
                    Poll::Pending => self.rest = Some(Rest { to, at }),
                }
            }
        }
        self.records += 1;
        self.bytes += len as u64;
        Poll::Ready(Ok(()))
    }

    /// Appends `pieces`; keeps what finds no segment.
    fn append_or_keep(
        &mut self,
        pieces: &[&[u8]],
        to: Option<usize>,
        wait: &mut Wait<'_, '_>,
    ) -> Result<(), WriteError> {
        for (nth, piece) in pieces.iter().enumerate() {
            let mut at = 0;
            match self.append(piece, &mut at, to, wait) {
                Poll::Ready(outcome) => outcome?,
                Poll::Pending => {
                    self.scratch.clear();
                    self.scratch.extend_from_slice(&piece[at..]);
                    pieces[nth + 1..].iter().for_each(|piece| self.scratch.extend_from_slice(piece));
                    self.rest = Some(Rest { to, at: 0 });
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Writes what was accepted earlier and found no segment. After an error it is dropped, for its reader is gone.
    pub(super) fn write_rest(&mut self, wait: &mut Wait<'_, '_>) -> Poll<Result<(), WriteError>> {
        let Some(Rest { to, mut at }) = self.rest.take() else { return Poll::Ready(Ok(())) };
        let scratch = std::mem::take(&mut self.scratch);
        let outcome = self.append(&scratch, &mut at, to, wait);
        self.scratch = scratch;
        if outcome.is_pending() {
            self.rest = Some(Rest { to, at });
        }
        outcome
    }

    /// Copies `bytes` from `at` on into as many segments as they take, and moves `at`.
    fn append(
        &mut self,
        bytes: &[u8],
        at: &mut usize,
        to: Option<usize>,
        wait: &mut Wait<'_, '_>,
    ) -> Poll<Result<(), WriteError>> {
        while *at < bytes.len() {
            let mut long = std::mem::take(&mut self.long);
            let outcome = self.open(to, wait).map_ok(|mut builder| long.append(&mut builder, &bytes[*at..]));
            self.long = long;
            *at += ready!(outcome)?;
            if self.remaining(to) == Some(0) {
                self.finish(to);
                self.check_reader(to)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that the open segment has left.
    fn remaining(&mut self, to: Option<usize>) -> Option<usize> {
        match to {
            Some(to) => self.subpartitions[to].builder().map(|builder| builder.remaining()),
            None => self.broadcast.as_ref().map(BufferBuilder::remaining),
        }
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

    /// The open segment of a subpartition, or of all; takes a new one if there is none.
    fn open(&mut self, to: Option<usize>, wait: &mut Wait<'_, '_>) -> Poll<Result<StagedBuilder<'_>, WriteError>> {
        if let Some(to) = to {
            self.finish_broadcast(); // what was broadcast comes first
            if self.subpartitions[to].builder().is_none() {
                self.check_pool()?;
                let buffer = ready!(self.request(wait))?;
                self.subpartitions[to].open(buffer);
            }
            return Poll::Ready(Ok(self.subpartitions[to].builder().expect("looked at above")));
        }
        if self.broadcast.is_none() {
            self.subpartitions.iter_mut().for_each(ResultSubpartition::finish); // what was written to one comes first
            self.gone = self.subpartitions.iter().position(ResultSubpartition::is_released);
            let mut builder = ready!(self.request(wait))?.into_builder();
            for subpartition in &mut self.subpartitions {
                subpartition.add(builder.create_consumer());
            }
            self.broadcast = Some(builder);
            self.broadcast_told = 0;
        }
        Poll::Ready(Ok(StagedBuilder::new(self.broadcast.as_mut().expect("set above"), None)))
    }

    /// A segment of the pool's.
    fn request(&mut self, wait: &mut Wait<'_, '_>) -> Poll<Result<BufferMut, RequestError>> {
        let outcome = match wait {
            Wait::Block => Poll::Ready(self.pool.request()),
            Wait::Try => match self.pool.try_request() {
                Err(RequestError::Exhausted) => Poll::Pending,
                outcome => Poll::Ready(outcome),
            },
            Wait::Poll(context) => self.pool.poll_request(context),
        };
        if outcome.is_pending() {
            self.waited.begin();
        } else {
            self.waited.end();
        }
        outcome
    }

    /// One segment stays open for each subpartition, so with fewer the writer could wait for itself.
    fn check_pool(&self) -> Result<(), WriteError> {
        let (subpartitions, required) = (self.subpartitions.len(), self.pool.required());
        if (required as usize) < subpartitions {
            return Err(WriteError::PoolTooSmall { pool: self.pool.name().to_owned(), subpartitions, required });
        }
        Ok(())
    }
}
