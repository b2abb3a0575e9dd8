//! Records on their way into a segment whose lines another core may still have.
//!
//! ```text
//!  record ─▶ [ stage ] ── lines that are whole, past the cache ──▶ segment ─▶ committed when it is full, or shown
//!             stays in the writer's own cache
//! ```
//!
//! A segment that went from one core to another and is back is in both caches: each line that the writer stores to has to be
//! taken from the reader's first, one after the other (see `memory/stream.rs`). So records are put together aside, in
//! a small piece of memory that nobody else sees, and go to the segment in whole lines.
//!
//! The price is that a record is not committed by itself, but with all before it when the builder is told to
//! [show](StagedBuilder::show) them: who lets another thread say what is to be read, the flush timer, has no stage.

use super::BufferBuilder;
use crate::memory::{LINE, stream_fence};

/// Bytes after which whole lines go to the segment.
const FULL: usize = 8 * LINE;
/// Bytes in the stage; the rest of a line, and records that together have as many, must have room.
const BYTES: usize = FULL + 1088;

/// Memory for records on their way. Kept from one segment to the next.
#[repr(align(64))]
pub(crate) struct Stage([u8; BYTES + LINE]);

/// Bytes in a [`Stage`], which come behind those that the builder has. Always less than [`FULL`] between calls. Not beside
/// them, but where the builder is: a writer that goes round many channels would touch one line more for each record.
#[derive(Debug, Default)]
pub(crate) struct Count(u16);

const _: () = assert!(BYTES <= u16::MAX as usize);

impl Stage {
    pub(crate) fn new() -> Box<Self> {
        Box::new(Self([0; BYTES + LINE]))
    }
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").finish_non_exhaustive()
    }
}

/// A [`BufferBuilder`] with a stage before it, or without.
#[derive(Debug)]
pub(crate) struct StagedBuilder<'a> {
    builder: &'a mut BufferBuilder,
    stage: Option<Staged<'a>>,
}

/// A stage and what is in it.
#[derive(Debug)]
struct Staged<'a> {
    bytes: &'a mut Stage,
    staged: &'a mut u16,
}

impl<'a> StagedBuilder<'a> {
    /// What is in `stage`, as much as the count beside it says, was written with this builder and it.
    #[inline]
    pub(crate) fn new(builder: &'a mut BufferBuilder, stage: Option<(&'a mut Stage, &'a mut Count)>) -> Self {
        Self { builder, stage: stage.map(|(bytes, Count(staged))| Staged { bytes, staged }) }
    }

    /// Writes `len` bytes with `write`, if they fit and leave at least a byte; `false` if not. They are committed, or
    /// staged. Wait-free. The hot path of a record.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "as `BufferBuilder::commit_with`")]
    pub(crate) fn write(&mut self, len: usize, write: impl FnOnce(&mut [u8])) -> bool {
        if let Some(stage) = &mut self.stage {
            let staged = usize::from(*stage.staged);
            if len >= self.builder.remaining() - staged {
                return false;
            }
            let end = staged + len;
            if let Some(bytes) = stage.bytes.0[..BYTES].get_mut(staged..end) {
                write(bytes);
                *stage.staged = end as u16;
                if end >= FULL {
                    stage.move_lines(self.builder);
                }
                return true;
            }
            stage.move_all(self.builder); // too long for the stage
        }
        self.builder.commit_with(len, write)
    }

    /// Copies as much of `src` as fits, commits it with all before it, and returns how many bytes that was. Wait-free.
    pub(crate) fn append(&mut self, src: &[u8]) -> usize {
        self.move_all();
        let n = self.builder.append(src);
        self.builder.commit();
        n
    }

    /// As [`append`](Self::append), past the cache.
    pub(crate) fn append_past_cache(&mut self, src: &[u8]) -> usize {
        self.move_all();
        let n = src.len().min(self.builder.remaining());
        self.builder.append_past_cache(&src[..n]);
        stream_fence();
        self.builder.commit();
        n
    }

    /// Commits all that was written. Nothing is in the stage then. Wait-free.
    pub(crate) fn show(&mut self) {
        self.move_all();
        self.builder.commit();
    }

    /// Moves everything from the stage to the segment. Wait-free.
    pub(crate) fn move_all(&mut self) {
        if let Some(stage) = &mut self.stage {
            stage.move_all(self.builder);
        }
    }

    fn staged(&self) -> usize {
        self.stage.as_ref().map_or(0, |stage| usize::from(*stage.staged))
    }

    /// Bytes written so far, shown or not.
    pub(crate) fn written(&self) -> usize {
        self.builder.written() + self.staged()
    }

    /// Bytes that still fit.
    pub(crate) fn remaining(&self) -> usize {
        self.builder.remaining() - self.staged()
    }
}

impl Staged<'_> {
    /// Moves the lines that are whole to the segment.
    #[inline(never)]
    fn move_lines(&mut self, builder: &mut BufferBuilder) {
        let written = builder.written();
        let whole = (written + usize::from(*self.staged)) / LINE * LINE - written;
        builder.append_past_cache(&self.bytes.0[..whole]);
        self.bytes.0.copy_within(whole..whole + LINE, 0); // less than a line, but a line is copied faster
        *self.staged -= whole as u16;
    }

    /// Moves everything to the segment; what follows may be committed.
    fn move_all(&mut self, builder: &mut BufferBuilder) {
        builder.append_past_cache(&self.bytes.0[..usize::from(*self.staged)]);
        *self.staged = 0;
        stream_fence();
    }
}
