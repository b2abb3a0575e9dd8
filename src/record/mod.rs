//! Records as bytes: what goes into the segments of a channel, and how it comes out again.
//!
//! The contents of all data buffers of a channel, in order, are one stream (Flink's framing):
//!
//! ```text
//!   │ 4 bytes: length n, big-endian │ n bytes: the record │ length │ record │ …
//!                                     └─ a value, or a StreamElement: │ tag │ timestamp │ value │
//! ```
//!
//! without padding and without a mark between buffers; a record, and the length itself, may be cut anywhere. A record
//! may be empty.
//!
//! * [`SerializeRecord`] writes a value straight into the segment; [`DeserializeRecord`] reads one that borrows from
//!   it. [Their docs](SerializeRecord#layouts) have the layout of every type.
//! * [`StreamElement`] is what Flink's tasks send each other: records with timestamps, watermarks and the like.
//! * [`SpanningReader`] finds the records in a sequence of buffers, and copies only those that span several.
//!
//! # Source
//! Flink's `SpanningRecordSerializer`, `SpillingAdaptiveSpanningRecordDeserializer`, `StreamElementSerializer`.
#![forbid(unsafe_code)]

mod error;
mod fields;
#[cfg(feature = "serde")]
mod serde;
mod serialize;
mod spanning;
mod stream_element;
mod values;

#[cfg(feature = "serde")]
pub use self::serde::{Serde, SerdeError};
pub use error::DecodeError;
pub use fields::Fields;
pub use serialize::{DeserializeRecord, SerializeRecord};
pub(crate) use spanning::whole_record;
pub use spanning::{Found, FoundPiece, RecordError, SpanningReader};
pub use stream_element::{
    InternalWatermark, LatencyMarker, RecordAttributes, StreamElement, StreamRecord, Watermark, WatermarkStatus,
};
pub use values::{NullableStringValue, Row, RowKind, StringValue};

/// Bytes of the length that precedes each record.
pub const LENGTH_BYTES: usize = 4;

/// The largest record that the framing can carry: the length is a signed 32-bit number in Flink.
pub const MAX_RECORD_BYTES: usize = i32::MAX as usize;
