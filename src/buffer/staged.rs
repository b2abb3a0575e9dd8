//! Records on their way into a segment whose lines another core may still have.
//!
//! ```text
//!  record ─▶ [ stage ] ── lines that are whole, past the cache ──▶ segment ─▶ committed when it is full, or shown
//!             stays in the writer's own cache                         ▲
//!  long record ── its whole lines, past the cache ────────────────────┘
//!             └─▶ [ stage ]: what is left of a line at either end
//! ```
//!
//! A segment that went from one core to another and is back is in both caches: each line that the writer stores to has
//! to be taken from the reader's first, one after the other (see `memory/stream.rs`). So records are put together
//! aside, in a small piece of memory that nobody else sees, and go to the segment in whole lines. Of one that has its
//! bytes in one piece, and fills lines by itself, those go there directly, and are copied once.
//!
//! The price is that a record is not committed by itself, but with all before it when the builder is told to
//! [show](StagedBuilder::show) them: who lets another thread say what is to be read, the flush timer, has no stage.
//!
//! # Invariants
//! * **T1** Bytes in the stage come behind those that the builder has, and fit: `staged < remaining` of the builder, or
//!   the segment is full.
//! * **T2** `limit` is 0 if records do not go by the stage; then nothing is in it, and all that was written is
//!   committed. Else it is not below `staged`, and a record that ends at or below it leaves the segment a byte.
//! * **T3** Between what went past the cache and the commit that shows it, or the segment's return, stands a fence.

use super::BufferBuilder;
use crate::memory::{LINE, copy, stream_fence};

/// Bytes that are put together before lines go to the segment, and the rest of a line before them.
const FULL: usize = 9 * LINE;
/// Bytes of a record whose lines go to the segment directly.
const LONG: usize = 4 * LINE;
/// Bytes of a piece that goes past the cache though records do not go by the stage: the fence behind it is worth it.
const LONG_BY_ITSELF: usize = 4096;
/// Where the bytes of a stage begin: less than a line is copied fastest as a line, which may reach as far before the
/// beginning, or behind the end.
const START: usize = LINE;

/// Memory for records on their way. Kept from one segment to the next.
#[repr(align(64))]
struct Stage([u8; START + FULL + 2 * LINE]);

impl Stage {
    fn boxed() -> Box<Self> {
        Box::new(Self([0; START + FULL + 2 * LINE]))
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

/// The segment that is being filled, if there is one, with a stage before it, or without.
///
/// What stands in the stage is counted here and not beside it: a writer that goes round many channels would touch one
/// line more for each record.
#[derive(Debug, Default)]
#[repr(C)] // what a record needs comes first, and together
pub(crate) struct StagedBuilder {
    stage: Option<Box<Stage>>,
    /// Bytes in the stage (T1). Each record waits for what the one before stored here: 32 bits are there sooner than
    /// 16.
    staged: u32,
    /// Bytes that the stage may have before it is looked at closer (T2).
    limit: u32,
    builder: Option<BufferBuilder>,
}

impl StagedBuilder {
    /// Bytes that find a place in the stage, once lines that are whole have left it.
    pub(crate) const STAGED: usize = FULL - LINE;

    /// Begins a segment, by the stage if it `stages`. None is open. Of a new one nothing is shown.
    pub(crate) fn open(&mut self, builder: BufferBuilder, stages: bool) {
        debug_assert!(self.builder.is_none() && self.limit == 0);
        self.builder = Some(builder);
        if stages {
            self.begin_stage();
        }
    }

    /// Lets records go by the stage from here on. A segment is open.
    pub(crate) fn begin_stage(&mut self) {
        debug_assert!(self.builder.is_some());
        self.stage.get_or_insert_with(Stage::boxed);
        self.set_limit();
    }

    /// Bytes that were committed one record after the other, if none of them was shown; 0 if records go by the stage.
    #[inline]
    pub(crate) fn committed_unshown(&self, shown: u32) -> usize {
        if self.limit == 0 && shown == 0 { self.written() } else { 0 }
    }

    /// Whether a segment is open.
    pub(crate) fn is_open(&self) -> bool {
        self.builder.is_some()
    }

    /// Writes `len` bytes with `write` to the stage, if records go by it and it has room; `false` if not, and nothing
    /// is written. Wait-free. The hot path of a record.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `BufferBuilder::commit_with`")]
    pub(crate) fn stage(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        // T2: nothing wraps. Said so that the compiler sees that nothing below does, and looks at the end of the stage
        // only.
        let room = self.limit.wrapping_sub(self.staged) as usize;
        if len > room {
            return false;
        }
        let staged = self.staged as usize;
        let Some(stage) = &mut self.stage else { return false };
        let Some(bytes) = stage.0[START..].get_mut(staged..staged + len) else { return false };
        write(bytes);
        self.staged = (staged + len) as u32;
        true
    }

    /// Writes `len` bytes with `write` to the segment and commits them, if records do not go by the stage, and they fit
    /// and leave at least a byte; `false` if not, and nothing is written. Wait-free.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `BufferBuilder::commit_with`")]
    pub(crate) fn commit_with(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        self.limit == 0 && self.builder.as_mut().is_some_and(|builder| builder.commit_with(len, write))
    }

    /// Writes `len` bytes with `write`, if they fit and leave at least a byte; `false` if not. They are committed, or
    /// staged. Wait-free.
    #[inline]
    pub(crate) fn write(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        if len >= self.remaining() {
            return false;
        }
        let Some(mut staged) = self.staged() else { return self.commit_with(len, write) };
        if len <= Self::STAGED {
            staged.move_lines();
            write(staged.next(len));
            self.set_limit();
            return true;
        }
        staged.move_all(); // too long for the stage
        let wrote = staged.builder.commit_with(len, write);
        self.set_limit();
        wrote
    }

    /// Whether `len` bytes that are in one piece are best [appended](Self::append).
    #[inline]
    pub(crate) fn takes_directly(&self, len: usize) -> bool {
        len >= LONG && self.limit > 0
    }

    /// Copies as much of `src` as fits, and returns how many bytes that was. They are committed, or staged. Wait-free.
    pub(crate) fn append(&mut self, src: &[u8]) -> usize {
        let src = &src[..src.len().min(self.remaining())];
        let Some(mut staged) = self.staged() else {
            let long = src.len() >= LONG_BY_ITSELF;
            return if long { self.append_past_cache(src) } else { self.append_into_cache(src) };
        };
        if src.len() < LONG {
            if *staged.count as usize + src.len() > FULL {
                staged.move_lines();
            }
            copy(staged.next(src.len()), src);
        } else {
            staged.append_lines(src);
        }
        self.set_limit();
        src.len()
    }

    /// Copies `length`, and `record` behind it, which fit; `false`, and nothing, if the record does not [fill
    /// lines](Self::takes_directly). Wait-free.
    #[inline]
    pub(crate) fn append_framed(&mut self, length: [u8; 4], record: &[u8]) -> bool {
        debug_assert!(length.len() + record.len() <= self.remaining());
        if record.len() < LONG {
            return false;
        }
        let Some(mut staged) = self.staged() else { return false };
        staged.next(length.len()).copy_from_slice(&length); // beyond FULL by no more than a line
        staged.append_lines(record);
        self.set_limit();
        true
    }

    /// As [`append`](Self::append), and by way of the cache. Committed with all before it.
    pub(crate) fn append_into_cache(&mut self, src: &[u8]) -> usize {
        let stages = self.end_stage();
        let Some(builder) = &mut self.builder else { return 0 };
        let n = builder.append(src);
        builder.commit();
        if stages {
            self.set_limit();
        }
        n
    }

    /// As [`append`](Self::append), and past the cache in any case.
    pub(crate) fn append_past_cache(&mut self, src: &[u8]) -> usize {
        if self.limit > 0 {
            return self.append(src);
        }
        let Some(builder) = &mut self.builder else { return 0 };
        let n = src.len().min(builder.remaining());
        builder.append_past_cache(&src[..n]);
        stream_fence(); // T3
        builder.commit();
        n
    }

    /// Commits all that was written, and of the rest of the segment each record by itself. Wait-free.
    pub(crate) fn commit_each(&mut self) {
        self.end_stage();
        if let Some(builder) = &mut self.builder {
            builder.commit();
        }
    }

    /// As [`commit_each`](Self::commit_each), for the reader is about to be told; `false` if it was told of all of it
    /// before. So many bytes were `shown`, which whoever has this keeps for it.
    pub(crate) fn show(&mut self, shown: &mut u32) -> bool {
        let written = self.written();
        if written == *shown as usize {
            return false;
        }
        if self.limit > 0 {
            self.commit_each();
        }
        *shown = written as u32;
        true
    }

    /// Ends the segment with all that was written; `false` if none is open.
    pub(crate) fn finish(&mut self) -> bool {
        self.end_stage();
        self.builder.take().map(BufferBuilder::finish).is_some()
    }

    /// Drops the segment, which nobody will read.
    pub(crate) fn abandon(&mut self) {
        self.end_stage(); // T3
        self.builder = None;
    }

    /// Gives the memory of the stage back. No segment is open.
    pub(crate) fn release_stage(&mut self) {
        debug_assert!(self.limit == 0);
        self.stage = None;
    }

    /// Bytes written so far, shown or not.
    pub(crate) fn written(&self) -> usize {
        self.builder.as_ref().map_or(0, BufferBuilder::written) + self.staged as usize
    }

    /// Bytes that still fit; none if no segment is open.
    #[inline]
    pub(crate) fn remaining(&self) -> usize {
        self.builder.as_ref().map_or(0, |builder| builder.remaining() - self.staged as usize) // T1
    }

    /// Sets the limit anew, for what the builder or the stage has is another.
    fn set_limit(&mut self) {
        let fits = self.builder.as_ref().map_or(0, |builder| builder.remaining().saturating_sub(1));
        self.limit = (FULL.min(fits) as u32).max(self.staged).max(1); // T2
    }

    /// The stage and the segment, if records go by the stage.
    fn staged(&mut self) -> Option<Staged<'_>> {
        match (&mut self.stage, &mut self.builder) {
            (Some(stage), Some(builder)) if self.limit > 0 => Some(Staged { stage, count: &mut self.staged, builder }),
            _ => None,
        }
    }

    /// Moves everything from the stage to the segment, and lets nothing more go by it; `false` if nothing did.
    fn end_stage(&mut self) -> bool {
        let Some(mut staged) = self.staged() else { return false };
        staged.move_all();
        self.limit = 0;
        true
    }
}

/// A stage that is in use, and the segment behind it.
struct Staged<'a> {
    stage: &'a mut Stage,
    count: &'a mut u32,
    builder: &'a mut BufferBuilder,
}

impl Staged<'_> {
    /// The next `len` bytes: they are not beyond [`FULL`], or there was a [`move_lines`](Self::move_lines).
    fn next(&mut self, len: usize) -> &mut [u8] {
        let start = START + *self.count as usize;
        *self.count += len as u32;
        &mut self.stage.0[start..start + len]
    }

    /// Copies all of `src`, which is [`LONG`] and fits, to the segment, but for what is left of a line at its end.
    ///
    /// What was just put into the stage is on its way to the cache behind all that went past it before, and is not read
    /// back before it is there: so the lines that are not in the stage go first.
    fn append_lines(&mut self, src: &[u8]) {
        let (Some(first), Some(last)) = (src.first_chunk::<LINE>(), src.last_chunk::<LINE>()) else { return };
        let staged = *self.count as usize;
        let head = (self.builder.written() + staged).wrapping_neg() % LINE; // ends the line
        copy_line(self.line_at(START + staged), first);
        let (lines, tail) = src[head..].split_at((src.len() - head) / LINE * LINE);
        self.builder.append_both_past_cache(&self.stage.0[START..START + staged + head], lines);
        copy_line(self.line_at(START + tail.len() - LINE), last);
        *self.count = tail.len() as u32;
    }

    /// A line's worth of the stage.
    fn line_at(&mut self, at: usize) -> &mut [u8] {
        &mut self.stage.0[at..at + LINE]
    }

    /// Moves the lines that are whole to the segment; less than one is left.
    #[inline(never)]
    fn move_lines(&mut self) {
        let (written, staged) = (self.builder.written(), *self.count as usize);
        let whole = ((written + staged) / LINE * LINE).saturating_sub(written);
        self.builder.append_past_cache(&self.stage.0[START..START + whole]);
        self.stage.0.copy_within(START + whole..START + whole + LINE, START); // less, but a line is copied faster
        *self.count -= whole as u32;
    }

    /// Moves everything to the segment; what follows may be committed.
    fn move_all(&mut self) {
        self.builder.append_past_cache(&self.stage.0[START..START + *self.count as usize]);
        *self.count = 0;
        stream_fence(); // T3
    }
}

/// Copies a line's worth, of which the beginning may have been written just now (see `memory/copy.rs`).
fn copy_line(dst: &mut [u8], src: &[u8; LINE]) {
    const HEAD: usize = 8;
    dst[..HEAD].copy_from_slice(&src[..HEAD]);
    dst[HEAD..LINE].copy_from_slice(&src[HEAD..]);
}
