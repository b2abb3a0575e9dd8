//! Messages out of the bytes of one direction of a connection.

#[cfg(all(test, not(forebay_loom)))]
mod tests;

use super::{
    BUFFER_HEADER_BYTES, BufferResponse, DecodeError, ErrorResponse, FRAME_HEADER_BYTES, InputChannelId, MAGIC,
    Message, PartitionRequest, ResultPartitionId, ResultSubpartitionIndexSet, TaskEventRequest, fields::Fields,
};
use crate::buffer::DataType;

/// Who sends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Has the partition: accepts connections, sends buffers.
    Producer,
    /// Reads it: connects, and grants credit.
    Consumer,
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        })
    }
}

/// What a peer can make this side hold; anything larger is refused before a byte of it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Most bytes of data in one message: the segment size. 32 KiB unless set, as Flink's.
    pub content: u32,
    /// Most bytes of an event, in a buffer or in a [`TaskEventRequest`]. 1 MiB unless set.
    pub event: u32,
    /// Most partial buffers in one message. 8192 unless set.
    pub partials: u32,
    /// Most bytes of an exception in an [`ErrorResponse`]. 1 MiB unless set.
    pub error: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { content: 32 * 1024, event: 1 << 20, partials: 8192, error: 1 << 20 }
    }
}

/// What of `held` is kept from one message to the next.
const KEEP: usize = 4096;

/// Decodes what one side of a connection sends, however it is cut.
///
/// Sans-io. It holds no more than the message at hand, as far as it has come, without content: it grows as bytes
/// arrive, never ahead of them, within [`Limits`]. All operations are wait-free but for the allocator, which is not
/// asked for the messages of the data path.
///
/// # Examples
/// A consumer's loop, over bytes that are here already:
/// ```
/// use forebay::wire::{Decoder, Limits, Message, Role};
/// # let header = forebay::wire::BufferResponse {
/// #     receiver: forebay::wire::InputChannelId([7; 16]), subpartition: Some(0), partials: 0, sequence_number: 0,
/// #     backlog: 0, data_type: forebay::buffer::DataType::DATA_BUFFER, compressed: false, size: 2,
/// # }.encode()?;
/// # let received = [&header[..], b"hi"].concat();
/// let mut decoder = Decoder::new(Role::Producer, Limits::default());
/// let mut at = 0;
/// while let Some(message) = decoder.next(&received, &mut at)? {
///     if let Message::BufferResponse(buffer) = message {
///         let content = &received[at..at + buffer.size as usize]; // or straight from the socket into the segment
///         assert_eq!(content, b"hi");
///         at += content.len();
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `NettyMessageClientDecoderDelegate` (which also reads contents apart) and
/// `NettyMessage.NettyMessageDecoder`.
#[derive(Debug)]
pub struct Decoder {
    from: Role,
    limits: Limits,
    /// A message that has not come as a whole yet.
    held: Vec<u8>,
    partial_sizes: Vec<u32>,
    /// Where the frame at hand begins in the stream; for errors.
    position: u64,
    failed: Option<DecodeError>,
}

/// How far a frame goes.
enum Step {
    /// That many bytes of it must be there to go on.
    Needs(usize),
    /// A message, of that many bytes.
    Found(Message, usize),
}

impl Decoder {
    /// A decoder at the start of what `from` sends.
    #[must_use]
    pub const fn new(from: Role, limits: Limits) -> Self {
        Self { from, limits, held: Vec::new(), partial_sizes: Vec::new(), position: 0, failed: None }
    }

    /// Decodes the next message from `input`, from `*at` on, and moves `*at` behind it. `None` says that the input is
    /// used up.
    ///
    /// Behind a [`BufferResponse`], `*at` is at its content: the next call is with what follows the content.
    ///
    /// # Errors
    /// [`DecodeError`]: see there. The stream can not be read on, so the error repeats.
    ///
    /// # Panics
    /// If `*at` lies beyond the input.
    pub fn next(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Message>, DecodeError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let found = self.step(input, at);
        self.failed = found.as_ref().err().copied();
        found
    }

    fn step(&mut self, input: &[u8], at: &mut usize) -> Result<Option<Message>, DecodeError> {
        if self.held.is_empty() {
            let frame = Frame { bytes: &input[*at..], from: self.from, limits: &self.limits, position: self.position };
            if let Step::Found(message, used) = frame.step(&mut self.partial_sizes)? {
                *at += used;
                self.move_on(&message, used);
                return Ok(Some(message));
            }
        }
        loop {
            let frame = Frame { bytes: &self.held, from: self.from, limits: &self.limits, position: self.position };
            match frame.step(&mut self.partial_sizes)? {
                Step::Found(message, used) => {
                    debug_assert_eq!(used, self.held.len());
                    self.held.clear();
                    if self.held.capacity() > KEEP {
                        self.held = Vec::new();
                    }
                    self.move_on(&message, used);
                    return Ok(Some(message));
                }
                Step::Needs(len) => {
                    let rest = &input[*at..];
                    let taken = rest.len().min(len - self.held.len());
                    if taken == 0 {
                        return Ok(None);
                    }
                    self.held.extend_from_slice(&rest[..taken]);
                    *at += taken;
                }
            }
        }
    }

    /// Behind the message, and behind its content.
    fn move_on(&mut self, message: &Message, used: usize) {
        let content = if let Message::BufferResponse(buffer) = message { buffer.size } else { 0 };
        self.position += used as u64 + u64::from(content);
    }

    /// The sizes of the pieces of the [`BufferResponse`] that was decoded last: empty if its `partials` is 0.
    #[must_use]
    pub fn partial_sizes(&self) -> &[u32] {
        &self.partial_sizes
    }

    /// Whether the stream may end here: it is not inside a message. Contents are the caller's to count.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.held.is_empty()
    }
}

/// A frame, as far as it is here.
struct Frame<'a> {
    bytes: &'a [u8],
    from: Role,
    limits: &'a Limits,
    position: u64,
}

impl Frame<'_> {
    /// The step does not depend on how much more than needed is here.
    fn step(&self, partial_sizes: &mut Vec<u32>) -> Result<Step, DecodeError> {
        let Some(header) = self.bytes.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(Step::Needs(FRAME_HEADER_BYTES));
        };
        let mut fields = Fields::new(header, self.position);
        let len = fields.i32("frame length")?;
        let magic = fields.i32("magic number")? as u32;
        if magic != MAGIC {
            return Err(DecodeError::Magic { found: magic, offset: self.position + 4 });
        }
        let id = fields.u8("message id")?;
        let sender = if matches!(id, 0 | 1 | 9) { Role::Producer } else { Role::Consumer };
        if id > 11 || sender != self.from {
            return Err(DecodeError::MessageId { id, from: self.from, offset: self.position + 8 });
        }
        let len = self.check_length(id, len)?;
        if id == 0 {
            return self.buffer(len, partial_sizes);
        }
        match self.bytes.get(FRAME_HEADER_BYTES..len) {
            Some(body) => {
                let fields = Fields::new(body, self.position + FRAME_HEADER_BYTES as u64);
                Ok(Step::Found(self.message(id, fields)?, len))
            }
            None => Ok(Step::Needs(len)),
        }
    }

    /// The length of a frame must be the one that its message has, and what varies within the limits.
    fn check_length(&self, id: u8, len: i32) -> Result<usize, DecodeError> {
        let value = |expected| DecodeError::Value {
            field: "frame length",
            value: i64::from(len),
            expected,
            offset: self.position,
        };
        let most = |least: u64, more: u32| {
            let limit = least + u64::from(more);
            match u64::try_from(len) {
                Ok(len) if len > limit => {
                    Err(DecodeError::TooLarge { field: "frame length", value: len, limit, offset: self.position })
                }
                Ok(len) if len >= least => Ok(len as usize),
                _ => Err(value("at least what the fields of the message take")),
            }
        };
        let exactly = |expected: i32, text| if len == expected { Ok(len as usize) } else { Err(value(text)) };
        match id {
            0 => most(BUFFER_HEADER_BYTES as u64, i32::MAX as u32), // what varies is checked by its own fields
            1 => most(FRAME_HEADER_BYTES as u64 + 1, self.limits.error.saturating_add(16)),
            2 => exactly(97, "97"),
            3 => most(89, self.limits.event),
            5 => exactly(9, "9"),
            6 | 9 | 10 => exactly(29, "29"),
            11 => exactly(33, "33"),
            _ => exactly(25, "25"),
        }
    }

    fn buffer(&self, len: usize, partial_sizes: &mut Vec<u32>) -> Result<Step, DecodeError> {
        let Some(header) = self.bytes.first_chunk::<BUFFER_HEADER_BYTES>() else {
            return Ok(Step::Needs(BUFFER_HEADER_BYTES));
        };
        let mut fields = Fields::new(&header[FRAME_HEADER_BYTES..], self.position + FRAME_HEADER_BYTES as u64);
        let receiver = InputChannelId(fields.array("receiver")?);
        let subpartition = match fields.i32("subpartition")? {
            -1 => None,
            index @ 0.. => Some(index as u32),
            index => return Err(fields.refuse(4, "subpartition", i64::from(index), "at least -1")),
        };
        let partials = fields.count("partials")?;
        fields.within("partials", partials, self.limits.partials)?;
        let sequence_number = fields.i32("sequence number")? as u32;
        let backlog = fields.count("backlog")?;
        let data_type = DataType(fields.u8("data type")?);
        if data_type.name().is_none() {
            return Err(fields.refuse(1, "data type", i64::from(data_type.0), "1 to 13"));
        }
        let compressed = fields.bool("compressed")?;
        if compressed && !data_type.is_data() {
            return Err(fields.refuse(1, "compressed", 1, "0 for an event"));
        }
        let size = fields.count("size")?;
        let most = if data_type.is_data() { self.limits.content } else { self.limits.event };
        fields.within("size", size, most)?;
        if size == 0 && !data_type.is_data() {
            return Err(fields.refuse(4, "size", 0, "at least 1 for an event"));
        }
        let end = BUFFER_HEADER_BYTES + 4 * partials as usize;
        if len != end + size as usize {
            let (value, offset) = (len as i64, self.position);
            let expected = "that of the header, the partial sizes and the content";
            return Err(DecodeError::Value { field: "frame length", value, expected, offset });
        }
        let Some(sizes) = self.bytes.get(BUFFER_HEADER_BYTES..end) else { return Ok(Step::Needs(end)) };
        let mut fields = Fields::new(sizes, self.position + BUFFER_HEADER_BYTES as u64);
        partial_sizes.clear();
        let mut sum = 0;
        for _ in 0..partials {
            let piece = fields.count("partial size")?;
            sum += u64::from(piece);
            partial_sizes.push(piece);
        }
        if partials > 0 && sum != u64::from(size) {
            return Err(fields.refuse(4, "sum of partial sizes", sum as i64, "the size of the content"));
        }
        let found =
            BufferResponse { receiver, subpartition, partials, sequence_number, backlog, data_type, compressed, size };
        Ok(Step::Found(Message::BufferResponse(found), end))
    }

    /// A message that is here as a whole.
    fn message(&self, id: u8, mut fields: Fields<'_>) -> Result<Message, DecodeError> {
        Ok(match id {
            1 => Message::ErrorResponse(ErrorResponse::split(fields.rest(), fields.offset())?),
            2 => {
                let partition = ResultPartitionId::from_bytes(fields.array("partition id")?);
                let first = fields.count("first subpartition")?;
                let last = fields.count("last subpartition")?;
                if last < first {
                    return Err(fields.refuse(4, "last subpartition", i64::from(last), "at least the first"));
                }
                Message::PartitionRequest(PartitionRequest {
                    partition,
                    subpartitions: ResultSubpartitionIndexSet { first, last },
                    receiver: receiver(&mut fields)?,
                    credit: fields.count("initial credit")?,
                })
            }
            3 => {
                let len = fields.count("task event length")?;
                fields.within("task event length", len, self.limits.event)?;
                let here = fields.rest().len().saturating_sub(ResultPartitionId::BYTES + InputChannelId::BYTES);
                if len as usize != here {
                    return Err(fields.refuse(4, "task event length", i64::from(len), "what the frame leaves for it"));
                }
                Message::TaskEventRequest(TaskEventRequest {
                    event: fields.slice("task event", len as usize)?.to_vec(),
                    partition: ResultPartitionId::from_bytes(fields.array("partition id")?),
                    receiver: receiver(&mut fields)?,
                })
            }
            4 => Message::CancelPartitionRequest { receiver: receiver(&mut fields)? },
            5 => Message::CloseRequest,
            6 => Message::AddCredit { credit: fields.positive("credit")?, receiver: receiver(&mut fields)? },
            7 => Message::ResumeConsumption { receiver: receiver(&mut fields)? },
            8 => Message::AckAllUserRecordsProcessed { receiver: receiver(&mut fields)? },
            9 => {
                Message::BacklogAnnouncement { backlog: fields.positive("backlog")?, receiver: receiver(&mut fields)? }
            }
            10 => Message::NewBufferSize { size: fields.positive("buffer size")?, receiver: receiver(&mut fields)? },
            _ => Message::SegmentId {
                subpartition: fields.count("subpartition")?,
                segment: fields.positive("segment id")?,
                receiver: receiver(&mut fields)?,
            },
        })
    }
}

fn receiver(fields: &mut Fields<'_>) -> Result<InputChannelId, DecodeError> {
    fields.array("receiver").map(InputChannelId)
}
