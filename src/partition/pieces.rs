//! Records that do not fit the segment at hand: new segments, and how to wait for them.

use std::task::{Context, Poll, ready};

use super::{
    result_partition::{ResultPartition, write_framed},
    subpartition::ResultSubpartition,
    write_error::WriteError,
};
use crate::{
    buffer::{BufferMut, StagedBuilder},
    pool::RequestError,
    record::{LENGTH_BYTES, MAX_RECORD_BYTES, SerializeRecord},
};

/// The part of a segment that is left empty rather than begin a record there that fits into the next: one n-th.
const SPARED: usize = 16;

/// Bytes of a record that is better not serialized aside first, to be copied twice.
const LONG: usize = 4096;

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
    /// Writes `record`, which has `len` bytes, to subpartition `to`, or to all. Pending says that nothing of it was
    /// written. Ready says that all of it was accepted: with [`Wait::Try`] and [`Wait::Poll`] a part may be held back
    /// until [`write_rest`](Self::write_rest) finds a segment for it.
    pub(super) fn emit_with<R: SerializeRecord + ?Sized>(
        &mut self,
        record: &R,
        len: usize,
        to: Option<usize>,
        wait: &mut Wait<'_, '_>,
    ) -> Poll<Result<(), WriteError>> {
        if let Some(chosen) = to {
            let subpartitions = self.subpartitions.len();
            let Some(subpartition) = self.subpartitions.get_mut(chosen) else {
                return Poll::Ready(Err(WriteError::NoSuchSubpartition { chosen, subpartitions }));
            };
            subpartition.stage_if_enough();
        }
        if self.write_whole(record, len, to) {
            self.count(len);
        } else {
            ready!(self.emit_in_pieces(record, len, to, wait))?;
        }
        match self.gone.filter(|_| to.is_none()) {
            // Only now: who is there has got all of it.
            Some(subpartition) => Poll::Ready(Err(WriteError::Released { subpartition })),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Writes length and record into the open segment, if there is one, and they fit with at least a byte to spare; a
    /// segment that is exactly full is finished, so it goes the long way.
    ///
    /// A record that fills lines by itself, and goes past the cache, is copied there from where it lies in one piece;
    /// where it lies in none, it is serialized aside first, unless it is so long that it is better not copied twice.
    #[inline]
    fn write_whole<R: SerializeRecord + ?Sized>(&mut self, record: &R, len: usize, to: Option<usize>) -> bool {
        let open = match to {
            Some(to) => self.subpartitions[to].builder(),
            None => &mut self.broadcast,
        };
        let Some(framed) = len.checked_add(LENGTH_BYTES) else { return false };
        if !open.takes_directly(framed) {
            return open.write(framed, |dst| write_framed(record, len, dst));
        }
        if framed >= open.remaining() {
            return false;
        }
        if let Some(bytes) = record.as_bytes() {
            let length = length_of(bytes, len);
            if !open.append_framed(length, bytes) {
                open.append(&length);
                open.append(bytes);
            }
            return true;
        }
        if framed <= StagedBuilder::STAGED || len >= LONG || self.rest.is_some() {
            // Not worth it, or the place is taken by what was accepted for another subpartition.
            return open.write(framed, |dst| write_framed(record, len, dst));
        }
        self.scratch.resize(framed, 0);
        write_framed(record, len, &mut self.scratch);
        open.append(&self.scratch);
        true
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
        ready!(self.open(to, wait))?;
        if !(fits && self.write_whole(record, len, to)) {
            // From here on it is accepted.
            if let Some(bytes) = record.as_bytes() {
                self.append_or_keep(&[&length_of(bytes, len), bytes], to, wait)?;
            } else {
                let mut scratch = std::mem::take(&mut self.scratch);
                scratch.resize(LENGTH_BYTES + len, 0);
                write_framed(record, len, &mut scratch);
                let mut at = 0;
                let outcome = self.append(&scratch, &mut at, to, wait);
                self.scratch = scratch;
                match outcome {
                    Poll::Ready(outcome) => outcome?,
                    Poll::Pending => self.rest = Some(Rest { to, at }),
                }
            }
        }
        self.count(len);
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
            *at += ready!(self.open(to, wait))?.append(&bytes[*at..]);
            if self.remaining(to) == Some(0) {
                self.finish(to);
                self.check_reader(to)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Bytes that the open segment has left.
    fn remaining(&mut self, to: Option<usize>) -> Option<usize> {
        let open = match to {
            Some(to) => self.subpartitions[to].builder(),
            None => &mut self.broadcast,
        };
        open.is_open().then(|| open.remaining())
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
    fn open(&mut self, to: Option<usize>, wait: &mut Wait<'_, '_>) -> Poll<Result<&mut StagedBuilder, WriteError>> {
        if let Some(to) = to {
            self.finish_broadcast(); // what was broadcast comes first
            if !self.subpartitions[to].builder().is_open() {
                self.check_pool()?;
                let buffer = ready!(self.request(wait))?;
                self.subpartitions[to].open(buffer);
            }
            return Poll::Ready(Ok(self.subpartitions[to].builder()));
        }
        if !self.broadcast.is_open() {
            self.subpartitions.iter_mut().for_each(ResultSubpartition::finish); // what was written to one comes first
            self.gone = self.subpartitions.iter().position(ResultSubpartition::is_released);
            let mut builder = ready!(self.request(wait))?.into_builder();
            for subpartition in &mut self.subpartitions {
                subpartition.add(builder.create_consumer());
            }
            self.broadcast.open(builder, false);
            self.broadcast_shown = 0;
        }
        Poll::Ready(Ok(&mut self.broadcast))
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

/// The length before a record of `len` bytes, which are `bytes`.
///
/// # Panics
/// If there are others: a serializer contradicts itself.
fn length_of(bytes: &[u8], len: usize) -> [u8; LENGTH_BYTES] {
    assert_eq!(bytes.len(), len, "`as_bytes` and `serialized_len` of a record contradict each other");
    (len as u32).to_be_bytes()
}
