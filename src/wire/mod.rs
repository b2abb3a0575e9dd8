//! Flink's shuffle protocol as bytes: sans-io, both roles, in and out.
//!
//! ```text
//!  consumer                                                     producer
//!  PartitionRequest, AddCredit, ResumeConsumption,  ──────────▶
//!  AckAllUserRecordsProcessed, CancelPartitionRequest, …
//!                                                   ◀──────────  BufferResponse, BacklogAnnouncement, ErrorResponse
//!
//!  a frame:  │ i32 length of the frame │ u32 0xBADC0FFE │ u8 id │ message                                 │
//!  id 0:     │                  9 bytes                         │ 38 bytes │ partial sizes │ content …    │
//!            └──────────────── decoded, encoded here ───────────────────────────────────────┘ never touched
//! ```
//!
//! Bytes in, messages out, and back: no sockets, no pools. A [`Decoder`] takes the bytes of one direction of a
//! connection, cut anywhere, and hands out one [`Message`] after the other. The content of a [`BufferResponse`] is the
//! one thing it does not look at: it stops in front of it, so that the caller can read those bytes from the socket
//! straight into the segment that waits for them; in the same way [`BufferResponse::encode`] makes the bytes in front
//! of a content that goes out from its segment by a vectored write.
//!
//! * [`Decoder`], [`Message`]: frames. Each length, count and id is checked before it is used; [`Limits`] bound what a
//!   peer can make this side hold.
//! * [`Event`]: what a buffer holds that holds no data.
//! * [`ErrorResponse`]: a Java exception, as far as one can tell without a JVM.
//! * [`Decompressor`]: blocks that a blocking partition has compressed (feature `compression`).
//!
//! # Version
//! The protocol has no version exchange: it is that of [`FLINK_VERSION`], and another Flink may differ.
//!
//! # Source
//! Flink's `NettyMessage`, `EventSerializer` and the `writeTo`/`fromByteBuf` of its ids.
#![forbid(unsafe_code)]

mod compression;
mod decoder;
mod error;
mod error_response;
mod event;
mod fields;
mod ids;
mod java;
mod message;
mod utf8;

pub use compression::{Codec, DecompressError, Decompressor, UnknownCodec};
pub use decoder::{Decoder, Limits, Role};
pub use error::{DecodeError, EncodeError};
pub use error_response::{ErrorResponse, JavaException};
pub use event::{
    Alignment, CheckpointBarrier, Event, SavepointFormat, SnapshotType, StopMode, WatermarkEvent, WatermarkValue,
};
pub use ids::{
    ExecutionAttemptId, ExecutionGraphId, ExecutionVertexId, InputChannelId, IntermediateDataSetId,
    IntermediateResultPartitionId, JobVertexId, OperatorId, ParseIdError, ResultPartitionId,
    ResultSubpartitionIndexSet,
};
pub use message::{BufferResponse, Message, PartitionRequest, TaskEventRequest};

/// The Flink whose protocol this is, byte for byte.
pub const FLINK_VERSION: &str = "2.3.0";

/// What follows the length in each frame.
pub const MAGIC: u32 = 0xBADC_0FFE;

/// Bytes in front of each message: length, magic, id.
pub const FRAME_HEADER_BYTES: usize = 9;

/// Bytes in front of the content of a [`BufferResponse`] without partial buffers.
pub const BUFFER_HEADER_BYTES: usize = FRAME_HEADER_BYTES + 38;
