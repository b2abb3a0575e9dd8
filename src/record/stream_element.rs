//! What the tasks of a stream processor send each other: records, and what is said between them.

use super::{DecodeError, DeserializeRecord, Fields, SerializeRecord};

/// One element of a stream, in the layout of Flink's `StreamElementSerializer`:
///
/// | tag (1 byte) | element | behind the tag |
/// |---|---|---|
/// | 0 | record with timestamp | 8 bytes of timestamp, the value |
/// | 1 | record without timestamp | the value |
/// | 2 | [`Watermark`] | 8 bytes of timestamp |
/// | 3 | [`LatencyMarker`] | 8 bytes of time, 16 of operator id, 4 of subtask |
/// | 4 | [`WatermarkStatus`] | 4 bytes: −1 idle, 0 active |
/// | 5 | [`RecordAttributes`] | 1 byte: is backlog? |
/// | 6 | [`InternalWatermark`] | 4 bytes of subpartition, 8 of timestamp |
///
/// Each of them can be written as a record by itself too, and is the same bytes. Reading borrows: the value of a
/// `StreamElement<&[u8]>` is what the record has behind the tag and timestamp, to be
/// [deserialized](DeserializeRecord::deserialize) when its type is known.
///
/// # Errors
/// When read: a tag or a status that does not exist, an element with fewer or more bytes than it takes, and what the
/// value's type has against its bytes; each with its offset in the record.
///
/// # Examples
/// ```
/// use forebay::record::{DecodeError, DeserializeRecord, SerializeRecord, StreamElement, StreamRecord, Watermark};
/// let mut bytes = [0; 11];
/// StreamRecord::at(1000, "hi").serialize_into(&mut bytes);
/// let StreamElement::Record(record) = StreamElement::<&str>::deserialize(&bytes)? else { panic!() };
/// assert_eq!((record.timestamp, record.value), (Some(1000), "hi"));
///
/// let mut bytes = [0; 9];
/// Watermark::new(1000).serialize_into(&mut bytes);
/// assert_eq!(StreamElement::<&str>::deserialize(&bytes)?, StreamElement::Watermark(Watermark::new(1000)));
/// bytes[0] = 9;
/// let error = StreamElement::<&str>::deserialize(&bytes).unwrap_err();
/// assert_eq!(error, DecodeError::Value { kind: "stream element", offset: 0, value: 9 });
/// # Ok::<(), DecodeError>(())
/// ```
///
/// # Source
/// Flink's `StreamElement` and `StreamElementSerializer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamElement<T> {
    /// A value, with or without a timestamp.
    Record(StreamRecord<T>),
    /// See there.
    Watermark(Watermark),
    /// See there.
    LatencyMarker(LatencyMarker),
    /// See there.
    WatermarkStatus(WatermarkStatus),
    /// See there.
    RecordAttributes(RecordAttributes),
    /// See there.
    InternalWatermark(InternalWatermark),
}

/// A value, with or without a timestamp.
///
/// # Source
/// Flink's `StreamRecord`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamRecord<T> {
    /// The value.
    pub value: T,
    /// When it happened, in milliseconds since 1970, if that is known.
    pub timestamp: Option<i64>,
}

/// No record with a timestamp at or before this one is to follow on the channel.
///
/// # Source
/// Flink's `Watermark`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark {
    /// In milliseconds since 1970.
    pub timestamp: i64,
}

/// Travels with the records to measure how long they take.
///
/// # Source
/// Flink's `LatencyMarker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LatencyMarker {
    /// When it was sent, in milliseconds since 1970.
    pub marked_time: i64,
    /// The operator that sent it: Flink's `OperatorID`, in the order of its hexadecimal text.
    pub operator_id: [u8; 16],
    /// The subtask of that operator.
    pub subtask_index: i32,
}

/// Whether watermarks are to be waited for on a channel.
///
/// # Source
/// Flink's `WatermarkStatus`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatermarkStatus {
    /// None will come until it is active again: who merges watermarks goes on without the channel.
    Idle,
    /// They will come. Every channel begins so.
    Active,
}

/// What holds for the records behind it.
///
/// # Source
/// Flink's `RecordAttributes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RecordAttributes {
    /// They are old: throughput is worth more than latency.
    pub is_backlog: bool,
}

/// A watermark of one of several subpartitions that are read through the same channel.
///
/// # Source
/// Flink's `InternalWatermark`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct InternalWatermark {
    /// The subpartition.
    pub subpartition: i32,
    /// In milliseconds since 1970.
    pub timestamp: i64,
}

impl<T> StreamRecord<T> {
    /// A value without a timestamp.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self { value, timestamp: None }
    }

    /// A value with its timestamp, in milliseconds since 1970.
    #[must_use]
    pub fn at(timestamp: i64, value: T) -> Self {
        Self { value, timestamp: Some(timestamp) }
    }
}

impl<'a> StreamRecord<&'a [u8]> {
    /// The value, read as a `V`; may borrow from the record.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no such value. Its offset counts from the start of the record, tag and timestamp
    /// included. The next record can be read.
    #[inline]
    pub fn deserialize<V: DeserializeRecord<'a>>(&self) -> Result<V, DecodeError> {
        V::deserialize(self.value).map_err(|error| error.within(self.timestamp.map_or(1, |_| 9)))
    }
}

impl Watermark {
    /// Nothing at all is to follow: the end of time.
    pub const MAX: Self = Self { timestamp: i64::MAX };

    /// In milliseconds since 1970.
    #[must_use]
    pub const fn new(timestamp: i64) -> Self {
        Self { timestamp }
    }
}

const TIMESTAMPED: u8 = 0;
const PLAIN: u8 = 1;
const WATERMARK: u8 = 2;
const LATENCY_MARKER: u8 = 3;
const WATERMARK_STATUS: u8 = 4;
const RECORD_ATTRIBUTES: u8 = 5;
const INTERNAL_WATERMARK: u8 = 6;

impl<T: SerializeRecord> SerializeRecord for StreamRecord<T> {
    #[inline]
    fn serialized_len(&self) -> usize {
        self.timestamp.map_or(1, |_| 9) + self.value.serialized_len()
    }

    #[inline]
    fn serialize_into(&self, dst: &mut [u8]) {
        if let Some(timestamp) = self.timestamp {
            let (head, value) = dst.split_at_mut(9);
            (TIMESTAMPED, timestamp).serialize_into(head);
            self.value.serialize_into(value);
        } else {
            let (tag, value) = dst.split_at_mut(1);
            tag[0] = PLAIN;
            self.value.serialize_into(value);
        }
    }
}

/// Elements that are a tag and a tuple of constant size.
macro_rules! elements {
    ($($ty:ty, $len:literal, $this:ident => $fields:expr;)*) => {$(
        /// As the element of a stream, tag and all.
        impl SerializeRecord for $ty {
            #[inline]
            fn serialized_len(&self) -> usize {
                $len
            }

            #[inline]
            fn serialize_into(&self, dst: &mut [u8]) {
                let $this = self;
                $fields.serialize_into(dst);
            }
        }
    )*};
}

elements! {
    Watermark, 9, this => (WATERMARK, this.timestamp);
    LatencyMarker, 29, this => (LATENCY_MARKER, this.marked_time, this.operator_id, this.subtask_index);
    WatermarkStatus, 5, this => (WATERMARK_STATUS, if *this == WatermarkStatus::Idle { -1_i32 } else { 0 });
    RecordAttributes, 2, this => (RECORD_ATTRIBUTES, this.is_backlog);
    InternalWatermark, 13, this => (INTERNAL_WATERMARK, this.subpartition, this.timestamp);
}

impl<T: SerializeRecord> SerializeRecord for StreamElement<T> {
    #[inline]
    fn serialized_len(&self) -> usize {
        match self {
            Self::Record(element) => element.serialized_len(),
            Self::Watermark(element) => element.serialized_len(),
            Self::LatencyMarker(element) => element.serialized_len(),
            Self::WatermarkStatus(element) => element.serialized_len(),
            Self::RecordAttributes(element) => element.serialized_len(),
            Self::InternalWatermark(element) => element.serialized_len(),
        }
    }

    #[inline]
    fn serialize_into(&self, dst: &mut [u8]) {
        match self {
            Self::Record(element) => element.serialize_into(dst),
            Self::Watermark(element) => element.serialize_into(dst),
            Self::LatencyMarker(element) => element.serialize_into(dst),
            Self::WatermarkStatus(element) => element.serialize_into(dst),
            Self::RecordAttributes(element) => element.serialize_into(dst),
            Self::InternalWatermark(element) => element.serialize_into(dst),
        }
    }
}

impl<'a, T: DeserializeRecord<'a>> DeserializeRecord<'a> for StreamElement<T> {
    #[inline]
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let timestamp = match *fields.take_array("stream element")? {
            [TIMESTAMPED] => Some(fields.read()?),
            [PLAIN] => None,
            [tag] => return between_records(tag, fields),
        };
        let start = fields.position();
        match T::deserialize(fields.take_rest()) {
            Ok(value) => Ok(Self::Record(StreamRecord { value, timestamp })),
            Err(error) => Err(error.within(start)),
        }
    }
}

/// The elements that are no records.
#[cold]
fn between_records<T>(tag: u8, mut fields: Fields<'_>) -> Result<StreamElement<T>, DecodeError> {
    let element = match tag {
        WATERMARK => StreamElement::Watermark(Watermark { timestamp: fields.read()? }),
        LATENCY_MARKER => {
            let (marked_time, operator_id, subtask_index) = fields.read()?;
            StreamElement::LatencyMarker(LatencyMarker { marked_time, operator_id, subtask_index })
        }
        WATERMARK_STATUS => StreamElement::WatermarkStatus(status(&mut fields)?),
        RECORD_ATTRIBUTES => StreamElement::RecordAttributes(RecordAttributes { is_backlog: fields.read()? }),
        INTERNAL_WATERMARK => {
            let (subpartition, timestamp) = fields.read()?;
            StreamElement::InternalWatermark(InternalWatermark { subpartition, timestamp })
        }
        value => return Err(DecodeError::Value { kind: "stream element", offset: 0, value }),
    };
    fields.finish("stream element")?;
    Ok(element)
}

fn status(fields: &mut Fields<'_>) -> Result<WatermarkStatus, DecodeError> {
    const KIND: &str = "watermark status";
    let start = fields.position();
    let bytes: &[u8; 4] = fields.take_array(KIND)?;
    match i32::from_be_bytes(*bytes) {
        -1 => Ok(WatermarkStatus::Idle),
        0 => Ok(WatermarkStatus::Active),
        _ => {
            // Four equal bytes, of 0 or 255: the first that is neither, or is not as the one before it.
            let fits = |at: usize| if at == 0 { matches!(bytes[0], 0 | 0xFF) } else { bytes[at] == bytes[0] };
            let at = (0..4).find(|&at| !fits(at)).unwrap_or_default();
            Err(DecodeError::Value { kind: KIND, offset: start + at, value: bytes[at] })
        }
    }
}
