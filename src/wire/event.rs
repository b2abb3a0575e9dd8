//! What a buffer holds that holds no data.

use super::{DecodeError, EncodeError, fields::Fields, utf8};
use crate::buffer::DataType;

/// One event, as the buffer of an event holds it.
///
/// # Source
/// Flink's `EventSerializer`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// Nothing follows.
    EndOfPartition,
    /// The place of a checkpoint in the stream.
    CheckpointBarrier(CheckpointBarrier),
    /// The end of a round of an iteration.
    EndOfSuperstep,
    /// An event of a class that the protocol does not know, as it is; the padding that Flink sends behind it too.
    Other {
        /// The name of its class.
        class: String,
        /// Its fields, and what follows them.
        content: Vec<u8>,
    },
    /// A checkpoint was given up: no more barriers of it.
    CancelCheckpointMarker {
        /// Which one.
        checkpoint: i64,
    },
    /// The end of the restored state of an output channel.
    EndOfOutputChannelState,
    /// An event is on its way, and this runs ahead of it. Made by the receiving side; crosses no wire.
    EventAnnouncement {
        /// The sequence number of the event.
        sequence_number: i32,
        /// The event; no announcement itself.
        announced: Box<Event>,
    },
    /// Which virtual channel the restored data that follow belong to. Crosses no wire.
    SubtaskConnectionDescriptor {
        /// The input side's.
        input_subtask: i32,
        /// The output side's.
        output_subtask: i32,
    },
    /// No more records from the user's code.
    EndOfData(StopMode),
    /// The end of a segment of a tiered store.
    EndOfSegment,
    /// Where the restored data that follow belong.
    RecoveryMetadata {
        /// The subpartition of the last buffer.
        last_subpartition: i32,
    },
    /// A watermark of its own kind, beside those of event time.
    Watermark(WatermarkEvent),
    /// The end of the restored state of an input channel. Crosses no wire.
    EndOfInputChannelState,
    /// An event of a type that Flink 2.3 does not have, as it is.
    Unknown {
        /// Its type.
        kind: i32,
        /// All behind the type.
        content: Vec<u8>,
    },
}

/// Whether a job that ends drains its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// All windows and timers have been fired.
    Drain,
    /// The job is to go on later.
    NoDrain,
}

/// The place of a checkpoint in the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointBarrier {
    /// The checkpoint's number.
    pub id: i64,
    /// When it was triggered, in milliseconds since 1970.
    pub timestamp: i64,
    /// What it is for.
    pub snapshot: SnapshotType,
    /// Where it goes, in the store's own terms; `None` for the default place.
    pub location: Option<Vec<u8>>,
    /// Whether it waits for its like on the other channels.
    pub alignment: Alignment,
    /// After how many milliseconds an aligned barrier turns into an unaligned one, if it does.
    pub alignment_timeout: Option<i64>,
}

/// What a checkpoint is for. Flink's `SnapshotType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotType {
    /// To recover from a failure.
    Checkpoint,
    /// To keep.
    Savepoint(SavepointFormat),
    /// To keep, and the job is suspended.
    Suspend(SavepointFormat),
    /// To keep, and the job is ended.
    Terminate(SavepointFormat),
    /// To recover, and on its own, without earlier ones.
    FullCheckpoint,
}

/// In which form a savepoint is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavepointFormat {
    /// The same for all state backends.
    Canonical,
    /// The state backend's own.
    Native,
}

/// How a barrier relates to those of the other channels. Flink's `AlignmentType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// No channel waits.
    AtLeastOnce,
    /// A channel waits for the others.
    Aligned,
    /// The barrier overtakes the data.
    Unaligned,
    /// A channel waits, though the checkpoint is an unaligned one.
    ForcedAligned,
}

/// A watermark of its own kind. Flink's `WatermarkEvent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatermarkEvent {
    /// Which kind.
    pub identifier: String,
    /// Whether the channel waits for its like on the others.
    pub aligned: bool,
    /// What it says.
    pub value: WatermarkValue,
}

/// What a [`WatermarkEvent`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatermarkValue {
    /// A number.
    Long(i64),
    /// Yes or no.
    Bool(bool),
}

impl CheckpointBarrier {
    /// A channel that sent it is blocked until the consumer resumes it. Flink's `CheckpointOptions.needsAlignment`.
    #[must_use]
    pub const fn needs_alignment(&self) -> bool {
        match self.alignment {
            Alignment::AtLeastOnce => false,
            Alignment::Aligned | Alignment::ForcedAligned => true,
            Alignment::Unaligned => !matches!(self.snapshot, SnapshotType::Checkpoint | SnapshotType::FullCheckpoint),
        }
    }

    /// It is aligned, and may turn into an unaligned one. Flink's `CheckpointOptions.isTimeoutable`.
    #[must_use]
    pub const fn is_timeoutable(&self) -> bool {
        matches!((self.alignment, self.alignment_timeout), (Alignment::Aligned, Some(ms)) if ms > 0 && ms < i64::MAX)
    }
}

impl Event {
    /// The type of the buffer that carries the event in a pipelined or blocking partition. (A tiered store has types of
    /// its own for the end of a segment and for recovery metadata.)
    #[must_use]
    pub const fn data_type(&self) -> DataType {
        match self {
            Self::EndOfPartition => DataType::END_OF_PARTITION,
            Self::EndOfData(_) => DataType::END_OF_DATA,
            Self::EndOfOutputChannelState => DataType::RECOVERY_COMPLETION,
            Self::Watermark(WatermarkEvent { aligned: true, .. }) => DataType::ALIGNED_WATERMARK_EVENT,
            Self::Watermark(_) => DataType::UNALIGNED_WATERMARK_EVENT,
            Self::CheckpointBarrier(barrier) => match barrier.alignment {
                _ if barrier.needs_alignment() && barrier.is_timeoutable() => {
                    DataType::TIMEOUTABLE_ALIGNED_CHECKPOINT_BARRIER
                }
                _ if barrier.needs_alignment() => DataType::ALIGNED_CHECKPOINT_BARRIER,
                Alignment::Unaligned => DataType::PRIORITIZED_EVENT_BUFFER,
                _ => DataType::EVENT_BUFFER,
            },
            _ => DataType::EVENT_BUFFER,
        }
    }

    /// Reads an event from the content of its buffer. What follows its fields is padding, and ignored. Wait-free but
    /// for the allocator, which is asked for texts and locations, up to their length here.
    ///
    /// # Errors
    /// [`DecodeError`], with the offset in `content`. The buffer holds no event: fail the channel.
    ///
    /// # Examples
    /// ```
    /// use forebay::wire::{Event, StopMode};
    /// let event = Event::EndOfData(StopMode::Drain);
    /// let mut bytes = Vec::new();
    /// event.encode(&mut bytes)?;
    /// assert_eq!(bytes, [0, 0, 0, 8, 0]);
    /// assert_eq!(Event::decode(&bytes)?, event);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn decode(content: &[u8]) -> Result<Self, DecodeError> {
        decode(&mut Fields::new(content, 0), false)
    }

    /// Appends the event to `out`, without padding. Wait-free but for the allocator.
    ///
    /// # Errors
    /// [`EncodeError`]: a text or location is too long for its length field. `out` may hold part of the event.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let kind = |out: &mut Vec<u8>, kind: i32| out.extend_from_slice(&kind.to_be_bytes());
        match self {
            Self::EndOfPartition => kind(out, 0),
            Self::CheckpointBarrier(barrier) => {
                kind(out, 1);
                barrier.encode(out)?;
            }
            Self::EndOfSuperstep => kind(out, 2),
            Self::Other { class, content } => {
                kind(out, 3);
                utf8::encode(class, "class name", out)?;
                out.extend_from_slice(content);
            }
            Self::CancelCheckpointMarker { checkpoint } => {
                kind(out, 4);
                out.extend_from_slice(&checkpoint.to_be_bytes());
            }
            Self::EndOfOutputChannelState => kind(out, 5),
            Self::EventAnnouncement { sequence_number, announced } => {
                kind(out, 6);
                out.extend_from_slice(&sequence_number.to_be_bytes());
                if matches!(**announced, Self::EventAnnouncement { .. }) {
                    return Err(EncodeError { field: "announced event", value: 6, expected: "no announcement" });
                }
                announced.encode(out)?;
            }
            Self::SubtaskConnectionDescriptor { input_subtask, output_subtask } => {
                kind(out, 7);
                out.extend_from_slice(&input_subtask.to_be_bytes());
                out.extend_from_slice(&output_subtask.to_be_bytes());
            }
            Self::EndOfData(mode) => {
                kind(out, 8);
                out.push(u8::from(*mode == StopMode::NoDrain));
            }
            Self::EndOfSegment => kind(out, 9),
            Self::RecoveryMetadata { last_subpartition } => {
                kind(out, 10);
                out.extend_from_slice(&last_subpartition.to_be_bytes());
            }
            Self::Watermark(watermark) => {
                kind(out, 11);
                utf8::encode(&watermark.identifier, "watermark identifier", out)?;
                out.push(u8::from(watermark.aligned));
                match watermark.value {
                    WatermarkValue::Long(value) => {
                        kind(out, 0);
                        out.extend_from_slice(&value.to_be_bytes());
                    }
                    WatermarkValue::Bool(value) => {
                        kind(out, 1);
                        out.push(u8::from(value));
                    }
                }
            }
            Self::EndOfInputChannelState => kind(out, 12),
            Self::Unknown { kind: unknown, content } => {
                if (0..=12).contains(unknown) {
                    return Err(EncodeError {
                        field: "event type",
                        value: *unknown as u64,
                        expected: "an unknown one",
                    });
                }
                kind(out, *unknown);
                out.extend_from_slice(content);
            }
        }
        Ok(())
    }
}

fn decode(fields: &mut Fields<'_>, announced: bool) -> Result<Event, DecodeError> {
    Ok(match fields.i32("event type")? {
        0 => Event::EndOfPartition,
        1 => Event::CheckpointBarrier(CheckpointBarrier::decode(fields)?),
        2 => Event::EndOfSuperstep,
        3 => Event::Other { class: text(fields, "class name")?, content: fields.rest().to_vec() },
        4 => Event::CancelCheckpointMarker { checkpoint: fields.i64("checkpoint id")? },
        5 => Event::EndOfOutputChannelState,
        6 if announced => return Err(fields.refuse(4, "announced event", 6, "no announcement")),
        6 => Event::EventAnnouncement {
            sequence_number: fields.i32("sequence number")?,
            announced: Box::new(decode(fields, true)?),
        },
        7 => Event::SubtaskConnectionDescriptor {
            input_subtask: fields.i32("input subtask")?,
            output_subtask: fields.i32("output subtask")?,
        },
        8 => Event::EndOfData(if fields.bool("stop mode")? { StopMode::NoDrain } else { StopMode::Drain }),
        9 => Event::EndOfSegment,
        10 => Event::RecoveryMetadata { last_subpartition: fields.i32("last subpartition")? },
        11 => Event::Watermark(WatermarkEvent {
            identifier: text(fields, "watermark identifier")?,
            aligned: fields.bool("watermark alignment")?,
            value: match fields.i32("watermark kind")? {
                0 => WatermarkValue::Long(fields.i64("watermark value")?),
                1 => WatermarkValue::Bool(fields.bool("watermark value")?),
                kind => return Err(fields.refuse(4, "watermark kind", i64::from(kind), "0 or 1")),
            },
        }),
        12 => Event::EndOfInputChannelState,
        kind => Event::Unknown { kind, content: fields.rest().to_vec() },
    })
}

fn text(fields: &mut Fields<'_>, field: &'static str) -> Result<String, DecodeError> {
    let len = fields.u16(field)?;
    let offset = fields.offset();
    utf8::decode(fields.slice(field, usize::from(len))?, field, offset)
}

impl CheckpointBarrier {
    fn decode(fields: &mut Fields<'_>) -> Result<Self, DecodeError> {
        let id = fields.i64("checkpoint id")?;
        let timestamp = fields.i64("checkpoint timestamp")?;
        let format = |fields: &mut Fields<'_>| {
            let native = fields.bool("savepoint format")?;
            Ok(if native { SavepointFormat::Native } else { SavepointFormat::Canonical })
        };
        let snapshot = match fields.u8("snapshot type")? {
            0 => SnapshotType::Checkpoint,
            1 => SnapshotType::Savepoint(format(fields)?),
            2 => SnapshotType::Suspend(format(fields)?),
            3 => SnapshotType::Terminate(format(fields)?),
            4 => SnapshotType::FullCheckpoint,
            other => return Err(fields.refuse(1, "snapshot type", i64::from(other), "0 to 4")),
        };
        let location = match fields.i32("location length")? {
            -1 => None,
            len @ 0.. => Some(fields.slice("location", len as usize)?.to_vec()),
            len => return Err(fields.refuse(4, "location length", i64::from(len), "at least -1")),
        };
        let alignment = match fields.u8("alignment")? {
            0 => Alignment::AtLeastOnce,
            1 => Alignment::Aligned,
            2 => Alignment::Unaligned,
            3 => Alignment::ForcedAligned,
            other => return Err(fields.refuse(1, "alignment", i64::from(other), "0 to 3")),
        };
        let timeout = fields.i64("alignment timeout")?;
        let alignment_timeout = (timeout != i64::MAX).then_some(timeout);
        Ok(Self { id, timestamp, snapshot, location, alignment, alignment_timeout })
    }

    fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        out.extend_from_slice(&self.id.to_be_bytes());
        out.extend_from_slice(&self.timestamp.to_be_bytes());
        let (kind, format) = match self.snapshot {
            SnapshotType::Checkpoint => (0, None),
            SnapshotType::Savepoint(format) => (1, Some(format)),
            SnapshotType::Suspend(format) => (2, Some(format)),
            SnapshotType::Terminate(format) => (3, Some(format)),
            SnapshotType::FullCheckpoint => (4, None),
        };
        out.push(kind);
        out.extend(format.map(|format| u8::from(format == SavepointFormat::Native)));
        match &self.location {
            None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
            Some(location) => {
                let value = location.len() as u64;
                let Ok(len) = i32::try_from(value) else {
                    return Err(EncodeError { field: "location length", value, expected: "at most 2147483647" });
                };
                out.extend_from_slice(&len.to_be_bytes());
                out.extend_from_slice(location);
            }
        }
        out.push(match self.alignment {
            Alignment::AtLeastOnce => 0,
            Alignment::Aligned => 1,
            Alignment::Unaligned => 2,
            Alignment::ForcedAligned => 3,
        });
        out.extend_from_slice(&self.alignment_timeout.unwrap_or(i64::MAX).to_be_bytes());
        Ok(())
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    fn barrier(alignment: Alignment, snapshot: SnapshotType, alignment_timeout: Option<i64>) -> Event {
        let (id, timestamp, location) = (7, 9, None);
        Event::CheckpointBarrier(CheckpointBarrier { id, timestamp, snapshot, location, alignment, alignment_timeout })
    }

    #[test]
    fn a_barrier_has_the_data_type_that_flink_gives_it() {
        use Alignment::{Aligned, AtLeastOnce, ForcedAligned, Unaligned};
        let savepoint = SnapshotType::Savepoint(SavepointFormat::Native);
        for (event, expected) in [
            (barrier(Aligned, SnapshotType::Checkpoint, None), DataType::ALIGNED_CHECKPOINT_BARRIER),
            (barrier(Aligned, SnapshotType::Checkpoint, Some(0)), DataType::ALIGNED_CHECKPOINT_BARRIER),
            (barrier(Aligned, SnapshotType::Checkpoint, Some(5)), DataType::TIMEOUTABLE_ALIGNED_CHECKPOINT_BARRIER),
            (barrier(ForcedAligned, SnapshotType::Checkpoint, Some(5)), DataType::ALIGNED_CHECKPOINT_BARRIER),
            (barrier(Unaligned, SnapshotType::FullCheckpoint, None), DataType::PRIORITIZED_EVENT_BUFFER),
            (barrier(Unaligned, savepoint, None), DataType::ALIGNED_CHECKPOINT_BARRIER),
            (barrier(AtLeastOnce, SnapshotType::Checkpoint, None), DataType::EVENT_BUFFER),
        ] {
            assert_eq!(event.data_type(), expected, "{event:?}");
        }
    }

    #[test]
    fn announcements_do_not_nest() {
        let mut bytes = [0, 0, 0, 6, 0, 0, 0, 1].repeat(100_000);
        bytes.extend([0; 4]);
        let refused = DecodeError::Value { field: "announced event", value: 6, expected: "no announcement", offset: 8 };
        assert_eq!(Event::decode(&bytes), Err(refused));
    }

    #[test]
    fn a_location_longer_than_the_event_is_refused_before_it_is_held() {
        let mut bytes = Vec::new();
        barrier(Alignment::Aligned, SnapshotType::Checkpoint, None).encode(&mut bytes).unwrap();
        bytes[21..25].copy_from_slice(&i32::MAX.to_be_bytes());
        let missing = i32::MAX as usize - 9;
        assert_eq!(Event::decode(&bytes), Err(DecodeError::CutShort { field: "location", missing, offset: 25 }));
    }

    #[test]
    fn an_event_cut_anywhere_names_the_field() {
        let mut bytes = Vec::new();
        barrier(Alignment::Aligned, SnapshotType::Checkpoint, None).encode(&mut bytes).unwrap();
        for len in 0..bytes.len() {
            let error = Event::decode(&bytes[..len]).unwrap_err();
            assert!(matches!(error, DecodeError::CutShort { offset, .. } if offset <= len as u64), "{len}: {error}");
        }
        bytes.extend([0; 4]);
        assert!(Event::decode(&bytes).is_ok(), "padding is ignored");
    }
}
