//! The messages, and their bytes.

use super::{
    BUFFER_HEADER_BYTES, EncodeError, ErrorResponse, FRAME_HEADER_BYTES, InputChannelId, MAGIC, ResultPartitionId,
    ResultSubpartitionIndexSet,
};
use crate::buffer::DataType;

/// One message; of a [`BufferResponse`], all but the content.
///
/// Ids from 0 to 11 in this order. Flink's `NettyMessage`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Message {
    /// Producer to consumer: a buffer, whose content follows.
    BufferResponse(BufferResponse),
    /// Producer to consumer: a channel, or all of the connection, has failed.
    ErrorResponse(ErrorResponse),
    /// Consumer to producer: open a channel.
    PartitionRequest(PartitionRequest),
    /// Consumer to producer: an event for the producing task.
    TaskEventRequest(TaskEventRequest),
    /// Consumer to producer: the channel is done with, or no longer wanted. No more messages for it may follow.
    CancelPartitionRequest {
        /// The channel.
        receiver: InputChannelId,
    },
    /// Consumer to producer: the connection is done with.
    CloseRequest,
    /// Consumer to producer: that many data messages more may be sent.
    AddCredit {
        /// How many, at least 1.
        credit: u32,
        /// The channel.
        receiver: InputChannelId,
    },
    /// Consumer to producer: go on behind a data type that blocks.
    ResumeConsumption {
        /// The channel.
        receiver: InputChannelId,
    },
    /// Consumer to producer: all in front of the end of data has been handled.
    AckAllUserRecordsProcessed {
        /// The channel.
        receiver: InputChannelId,
    },
    /// Producer to consumer: that many data buffers wait, and there is no credit. Only where the initial credit was 0.
    BacklogAnnouncement {
        /// How many, at least 1.
        backlog: u32,
        /// The channel.
        receiver: InputChannelId,
    },
    /// Consumer to producer, a hint: buffers begun from now on should hold no more than that.
    NewBufferSize {
        /// Bytes, at least 1.
        size: u32,
        /// The channel.
        receiver: InputChannelId,
    },
    /// Consumer to producer: which segment of a tiered store is needed next. Other partitions ignore it.
    SegmentId {
        /// The subpartition it belongs to.
        subpartition: u32,
        /// Which one, at least 1.
        segment: u32,
        /// The channel.
        receiver: InputChannelId,
    },
}

/// What stands in front of a buffer's content.
///
/// With partial buffers (blocking partitions, always), the content is `partials` pieces end to end, all of this type
/// and flag; [`Decoder::partial_sizes`](super::Decoder::partial_sizes) has their sizes. Each piece takes a sequence
/// number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BufferResponse {
    /// The channel.
    pub receiver: InputChannelId,
    /// Which subpartition the content belongs to; `None` (-1 on the wire) if a blocking partition sends several.
    pub subpartition: Option<u32>,
    /// The number of pieces, or 0 if the content is one and no sizes are sent.
    pub partials: u32,
    /// Of the first piece: counts all pieces of the channel from 0, data and events, modulo 2^32.
    pub sequence_number: u32,
    /// Data buffers that wait behind this one.
    pub backlog: u32,
    /// What the content is.
    pub data_type: DataType,
    /// Each piece is a compressed block.
    pub compressed: bool,
    /// Bytes of content.
    pub size: u32,
}

/// Opens a channel to read subpartitions of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRequest {
    /// Which partition.
    pub partition: ResultPartitionId,
    /// Which of its subpartitions; several of a blocking partition only.
    pub subpartitions: ResultSubpartitionIndexSet,
    /// Names the channel from now on.
    pub receiver: InputChannelId,
    /// The number of data messages that may be sent at once.
    pub credit: u32,
}

/// An event that a consumer has for the task that produces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskEventRequest {
    /// The event, serialized: [`Event::decode`](super::Event::decode) reads it.
    pub event: Vec<u8>,
    /// The partition whose producer is meant.
    pub partition: ResultPartitionId,
    /// The channel.
    pub receiver: InputChannelId,
}

/// The largest number of a signed 32-bit field.
const MOST: u64 = i32::MAX as u64;

fn at_most(field: &'static str, value: u64) -> Result<(), EncodeError> {
    if value > MOST {
        return Err(EncodeError { field, value, expected: "at most 2147483647" });
    }
    Ok(())
}

fn positive(field: &'static str, value: u32) -> Result<[u8; 4], EncodeError> {
    if value == 0 {
        return Err(EncodeError { field, value: 0, expected: "at least 1" });
    }
    at_most(field, u64::from(value))?;
    Ok(value.to_be_bytes())
}

/// A frame of these fields.
fn frame(out: &mut Vec<u8>, id: u8, fields: &[&[u8]]) -> Result<(), EncodeError> {
    let len = FRAME_HEADER_BYTES + fields.iter().map(|field| field.len()).sum::<usize>();
    at_most("frame length", len as u64)?;
    out.reserve(len);
    out.extend_from_slice(&header(len, id));
    fields.iter().for_each(|field| out.extend_from_slice(field));
    Ok(())
}

fn header(len: usize, id: u8) -> [u8; FRAME_HEADER_BYTES] {
    let mut header = [id; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&(len as u32).to_be_bytes());
    header[4..8].copy_from_slice(&MAGIC.to_be_bytes());
    header
}

impl Message {
    /// Its id on the wire.
    #[must_use]
    pub const fn id(&self) -> u8 {
        match self {
            Self::BufferResponse(_) => 0,
            Self::ErrorResponse(_) => 1,
            Self::PartitionRequest(_) => 2,
            Self::TaskEventRequest(_) => 3,
            Self::CancelPartitionRequest { .. } => 4,
            Self::CloseRequest => 5,
            Self::AddCredit { .. } => 6,
            Self::ResumeConsumption { .. } => 7,
            Self::AckAllUserRecordsProcessed { .. } => 8,
            Self::BacklogAnnouncement { .. } => 9,
            Self::NewBufferSize { .. } => 10,
            Self::SegmentId { .. } => 11,
        }
    }

    /// Appends the frame to `out`; of a [`BufferResponse`], the part in front of the content. Wait-free but for the
    /// allocator.
    ///
    /// # Errors
    /// [`EncodeError`]: a number over `i32::MAX`, or a 0 where there must be none. For a buffer with partial buffers,
    /// use [`BufferResponse::encode_partials`]: their sizes are not part of the message.
    ///
    /// # Examples
    /// ```
    /// use forebay::wire::{Decoder, InputChannelId, Limits, Message, Role};
    /// let message = Message::AddCredit { credit: 3, receiver: InputChannelId([7; 16]) };
    /// let mut bytes = Vec::new();
    /// message.encode(&mut bytes)?;
    /// let mut decoder = Decoder::new(Role::Consumer, Limits::default());
    /// assert_eq!(decoder.next(&bytes, &mut 0)?, Some(message));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let id = self.id();
        match self {
            Self::BufferResponse(buffer) => {
                out.extend_from_slice(&buffer.encode()?);
                Ok(())
            }
            Self::ErrorResponse(error) => match &error.receiver {
                Some(receiver) => frame(out, id, &[&error.cause, &[1], &receiver.0]),
                None => frame(out, id, &[&error.cause, &[0]]),
            },
            Self::PartitionRequest(request) => {
                at_most("initial credit", u64::from(request.credit))?;
                let range = request.subpartitions;
                at_most("last subpartition", u64::from(range.last))?;
                if range.first > range.last {
                    let expected = "not over the last";
                    return Err(EncodeError { field: "first subpartition", value: u64::from(range.first), expected });
                }
                let (first, last) = (range.first.to_be_bytes(), range.last.to_be_bytes());
                let fields: [&[u8]; 5] =
                    [&request.partition.to_bytes(), &first, &last, &request.receiver.0, &request.credit.to_be_bytes()];
                frame(out, id, &fields)
            }
            Self::TaskEventRequest(request) => {
                at_most("task event length", request.event.len() as u64)?;
                let len = (request.event.len() as u32).to_be_bytes();
                frame(out, id, &[&len, &request.event, &request.partition.to_bytes(), &request.receiver.0])
            }
            Self::CloseRequest => frame(out, id, &[]),
            Self::CancelPartitionRequest { receiver }
            | Self::ResumeConsumption { receiver }
            | Self::AckAllUserRecordsProcessed { receiver } => frame(out, id, &[&receiver.0]),
            Self::AddCredit { credit, receiver } => frame(out, id, &[&positive("credit", *credit)?, &receiver.0]),
            Self::BacklogAnnouncement { backlog, receiver } => {
                frame(out, id, &[&positive("backlog", *backlog)?, &receiver.0])
            }
            Self::NewBufferSize { size, receiver } => frame(out, id, &[&positive("buffer size", *size)?, &receiver.0]),
            Self::SegmentId { subpartition, segment, receiver } => {
                at_most("subpartition", u64::from(*subpartition))?;
                let segment = positive("segment id", *segment)?;
                frame(out, id, &[&subpartition.to_be_bytes(), &segment, &receiver.0])
            }
        }
    }
}

impl BufferResponse {
    /// The bytes in front of the content, of a buffer without partial buffers: to be sent together with the content by
    /// a vectored write. Wait-free, allocates nothing.
    ///
    /// # Errors
    /// [`EncodeError`]: a number over `i32::MAX`; or `partials` is not 0, see
    /// [`encode_partials`](Self::encode_partials).
    pub fn encode(&self) -> Result<[u8; BUFFER_HEADER_BYTES], EncodeError> {
        if self.partials != 0 {
            return Err(EncodeError {
                field: "partials",
                value: u64::from(self.partials),
                expected: "0 without sizes",
            });
        }
        self.encode_header()
    }

    /// Appends the bytes in front of the content, the sizes of the pieces too.
    ///
    /// # Errors
    /// [`EncodeError`]: a number over `i32::MAX`, or the sizes are not `partials` many or don't add up to `size`.
    pub fn encode_partials(&self, sizes: &[u32], out: &mut Vec<u8>) -> Result<(), EncodeError> {
        if sizes.len() as u64 != u64::from(self.partials) {
            let value = u64::from(self.partials);
            return Err(EncodeError { field: "partials", value, expected: "the number of sizes" });
        }
        let sum: u64 = sizes.iter().copied().map(u64::from).sum();
        if sum != u64::from(self.size) && !sizes.is_empty() {
            return Err(EncodeError { field: "sum of partial sizes", value: sum, expected: "the size of the content" });
        }
        out.extend_from_slice(&self.encode_header()?);
        sizes.iter().for_each(|size| out.extend_from_slice(&size.to_be_bytes()));
        Ok(())
    }

    fn encode_header(&self) -> Result<[u8; BUFFER_HEADER_BYTES], EncodeError> {
        let len = BUFFER_HEADER_BYTES as u64 + 4 * u64::from(self.partials) + u64::from(self.size);
        at_most("frame length", len)?;
        at_most("backlog", u64::from(self.backlog))?;
        let subpartition = self.subpartition.unwrap_or_default();
        at_most("subpartition", u64::from(subpartition))?;
        let subpartition = if self.subpartition.is_some() { subpartition as i32 } else { -1 };
        let mut bytes = [0; BUFFER_HEADER_BYTES];
        bytes[..9].copy_from_slice(&header(len as usize, 0));
        bytes[9..25].copy_from_slice(&self.receiver.0);
        bytes[25..29].copy_from_slice(&subpartition.to_be_bytes());
        bytes[29..33].copy_from_slice(&self.partials.to_be_bytes());
        bytes[33..37].copy_from_slice(&self.sequence_number.to_be_bytes());
        bytes[37..41].copy_from_slice(&self.backlog.to_be_bytes());
        bytes[41] = self.data_type.0;
        bytes[42] = u8::from(self.compressed);
        bytes[43..].copy_from_slice(&self.size.to_be_bytes());
        Ok(bytes)
    }
}
