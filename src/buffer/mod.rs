//! Who may touch which byte of a segment, and when: [`BufferMut`], [`BufferBuilder`]/[`BufferConsumer`], [`Buffer`].
//!
//! ```text
//!         request              append, commit*             last handle dropped
//!  FREE ───────────▶ FILLING ────────────────────▶ SHARED ────────────────────▶ FREE
//!  index in a pool   one BufferMut, or one         n ≥ 1 Buffers,               index back
//!                    BufferBuilder and its         bytes frozen                 in its pool
//!                    BufferConsumers
//! ```
//!
//! A handle is two pointers and a few numbers; it is created, cloned and dropped without allocating. The reference
//! count and the committed length of a segment stand in a header of their own cache line, in a table beside the arena
//! (`table`), so the data pages hold data alone.
//!
//! # Invariants
//!
//! * **H1** Every handle counts one in its header's `refs` (which stands at 1 while there is none, so that lending and
//!   dropping the only one write nothing), and its header, its bytes and its home exist while it does:
//!   the home keeps the table alive, and outlives the last handle that was lent from it (`lend`).
//! * **H2** A segment is named by one `FreeSegment` while nobody holds it, and by handles while somebody does; never by
//!   both. That is M1, and it is a matter of types: `FreeSegment` is neither `Copy` nor `Clone`.
//! * **H3** Only a `BufferMut`, or the one `BufferBuilder`, writes bytes: a `BufferMut` is the only handle; a builder
//!   writes only at or above `committed`.
//! * **H4** Bytes below `committed` of a builder, and all bytes of a `Buffer`, stay as they are until FREE (B1).
//!
//! # Source
//! Flink's `Buffer`, `NetworkBuffer`, `BufferBuilder`, `BufferConsumer`, `BufferRecycler`.

mod builder;
mod data_type;
mod exclusive;
mod handle;
pub(crate) mod home;
#[cfg(feature = "leaks")]
mod leaks;
pub(crate) mod lend;
mod shared;
mod staged;
mod stash;
pub(crate) mod table;
pub(crate) mod terms;

pub use builder::{BufferBuilder, BufferConsumer};
pub use data_type::DataType;
pub use exclusive::BufferMut;
pub use handle::Handle;
#[cfg(feature = "leaks")]
pub use leaks::{LeakReport, TakenAt};
pub use shared::Buffer;
pub(crate) use staged::StagedBuilder;
