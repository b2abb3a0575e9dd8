//! Floor 0: memory with an address and bounds, and nothing that knows what is in it.
//!
//! ```text
//!   MemorySegment<'a>                                Arena
//!   one type, one access path                        one mapping for a whole pool
//!  ┌──────────┬──────────┬─────────────┐            ┌───────┬───────┬───────┬───┐
//!  │ mapped   │ heap     │ borrowed    │            │ seg 0 │ seg 1 │ seg 2 │ … │  named by u32
//!  └──────────┴──────────┴─────────────┘            └───────┴───────┴───────┴───┘
//!    get/put, compare, swap, copy, slice              page-aligned, 32 KiB by default
//! ```
//!
//! [`MemorySegment`] is for whoever has bytes of their own: typed, bounds-checked access with the byte order in the
//! name. [`Arena`] is what the pools lend buffers from; who may touch which of its bytes when is decided one floor up.
//! This room holds the crate's only `mmap`.
//!
//! Under Miri and under the loom cfg the mapping is a zeroed heap block with the alignment of a page, since neither
//! can see into a system call. Advice to the system (huge pages, core dumps, locking, prefaulting) is then ignored.
//!
//! # Invariants
//!
//! `SAFETY` comments in this room refer to these by number.
//!
//! * **S1** The memory of a segment or an arena stays mapped, at one address, while the value that owns it lives.
//!   Moving the owner does not move the bytes. For borrowed memory the borrow `'a` takes the owner's place.
//! * **S2** All of that memory is initialised: zeroed by the system or the allocator, or a slice to begin with.
//! * **S3** A length is at most `isize::MAX` bytes and its pointer is not null.
//! * **S4** Nobody else reaches the bytes of a `MemorySegment`: it owns them or borrows them exclusively for `'a`, and
//!   it reads by `&self` and writes by `&mut self` only. The one exception, the segment inside a [`SegmentView`],
//!   borrows its bytes shared for `'a` and is lent out by shared reference only, so it is never written.
//! * **S5** The segments of an arena are disjoint: segment `i` is the bytes `[i * size, (i + 1) * size)` of its
//!   mapping. An arena never reads or writes them once built.

mod access;
mod arena;
mod arena_error;
mod bounds;
mod compare;
mod copy;
mod heap;
mod mapping;
mod prefetch;
mod segment;
mod stream;
#[cfg(test)]
mod testing;
mod total;
mod view;

pub use self::{
    arena::{Arena, ArenaOptions, DEFAULT_SEGMENT_SIZE, MAX_SEGMENT_SIZE},
    arena_error::ArenaError,
    bounds::OutOfBounds,
    mapping::{MapError, page_size},
    segment::MemorySegment,
    total::total_memory,
    view::SegmentView,
};
pub(crate) use self::{
    copy::{append as append_copy, copy},
    prefetch::prefetch,
    stream::{LINE, fence as stream_fence, stream},
};
