//! The receiving side: [`InputGate`] over many channels → [`RecordReader`].
//!
//! ```text
//!  channel 0 ─┐  told once      ready        one buffer each, in turn
//!  channel 1 ─┼─▶ inbox ──────▶ [2, 0, …] ──▶ InputGate ─▶ RecordReader ─▶ records, borrowed from the segment
//!  channel 2 ─┘
//! ```
//!
//! An idle channel costs nothing: the gate looks only at channels that announced themselves. Ready channels take turns,
//! one buffer each. A [`StreamReader`] on top takes records for stream elements, and merges the watermarks of all
//! channels in a [`StatusWatermarkValve`].
//!
//! Gates can be put together: several in a [`UnionInputGate`], and any of them behind a [`CheckpointedInputGate`],
//! which knows what the barriers of all channels amount to.
//!
//! # Source
//! Flink's `SingleInputGate`, `UnionInputGate`, `CheckpointedInputGate`, `InputChannel`, `RecordReader`,
//! `StatusWatermarkValve`.
#![forbid(unsafe_code)]

mod alignment;
mod attributes;
mod checkpointed;
mod in_flight;
mod input;
mod input_channel;
mod input_gate;
mod pieces;
mod record_reader;
mod stream_reader;
mod tracker;
mod union;
mod valve;

pub use checkpointed::CheckpointedInputGate;
pub use in_flight::InFlight;
pub use input::{AbortReason, BufferOrEvent, CheckpointEvent, GateError, Input, Next};
pub use input_gate::InputGate;
pub use pieces::{PieceOrEvent, RecordPiece};
pub use record_reader::{ReadError, Record, RecordOrEvent, RecordReader};
pub use stream_reader::{StreamError, StreamItem, StreamReader};
pub use union::UnionInputGate;
pub use valve::{Merged, StatusWatermarkValve};
