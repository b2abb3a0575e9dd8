//! The exchange's events as they stand on the wire, and back.
//!
//! What the exchange has no name for is carried as it is, byte for byte, as [`Event::Custom`].
#![allow(clippy::disallowed_types, reason = "events are immutable: loom has nothing to see in their `Arc`s")]

use std::{sync::Arc, time::Duration};

use crate::{
    buffer::DataType,
    channel::{AlignmentType, CheckpointBarrier, Event, SavepointFormat, SnapshotType, StopMode},
    wire::{self, Alignment, DecodeError, EncodeError, Limits},
};

/// What an event is on the wire: its data type and its bytes.
///
/// # Errors
/// [`EncodeError`]: it has something that the wire can not say, or the other side would not read: that would be the end of
/// the connection, and so of all its channels. A failure is no event there, but a message of its own.
pub(super) fn encode(event: &Event) -> Result<(DataType, Box<[u8]>), EncodeError> {
    let bytes: Box<[u8]> = if let Event::Custom { data_type, bytes } = event {
        readable(*data_type, bytes)?;
        Box::from(&**bytes)
    } else {
        let mut bytes = Vec::new();
        to_wire(event)?.encode(&mut bytes)?;
        bytes.into()
    };
    match u32::try_from(bytes.len()) {
        Ok(len) if len <= Limits::default().event => Ok((event.data_type(), bytes)),
        _ => Err(EncodeError { field: "event", value: bytes.len() as u64, expected: "at most 1 MiB" }),
    }
}

/// Whether an event that is carried as it is can be read, and does not speak for the exchange itself.
fn readable(data_type: DataType, bytes: &[u8]) -> Result<(), EncodeError> {
    if data_type.is_data() || data_type.name().is_none() {
        let expected = "a number of Flink's that is not one of data";
        return Err(EncodeError { field: "data type", value: u64::from(data_type.0), expected });
    }
    match wire::Event::decode(bytes) {
        Ok(wire::Event::EndOfPartition) => {
            Err(EncodeError { field: "event", value: 0, expected: "another than the end of the partition" })
        }
        Ok(_) => Ok(()),
        Err(_) => {
            let expected = "so many bytes as an event has, the four of its kind first";
            Err(EncodeError { field: "event", value: bytes.len() as u64, expected })
        }
    }
}

fn to_wire(event: &Event) -> Result<wire::Event, EncodeError> {
    Ok(match event {
        Event::EndOfPartition => wire::Event::EndOfPartition,
        Event::EndOfData(StopMode::Drain) => wire::Event::EndOfData(wire::StopMode::Drain),
        Event::EndOfData(StopMode::NoDrain) => wire::Event::EndOfData(wire::StopMode::NoDrain),
        Event::CancelCheckpointMarker { checkpoint } => wire::Event::CancelCheckpointMarker { checkpoint: *checkpoint },
        Event::CheckpointBarrier(barrier) => wire::Event::CheckpointBarrier(barrier_to_wire(barrier)),
        Event::EventAnnouncement { event, sequence } => {
            wire::Event::EventAnnouncement { sequence_number: *sequence as i32, announced: Box::new(to_wire(event)?) }
        }
        Event::Custom { .. } | Event::Failed(_) => {
            return Err(EncodeError { field: "event", value: 0, expected: "one of Flink's" });
        }
    })
}

/// The event that stands in a buffer of type `data_type`.
///
/// # Errors
/// [`DecodeError`]: there is none.
pub(super) fn decode(data_type: DataType, bytes: &[u8]) -> Result<Event, DecodeError> {
    Ok(match wire::Event::decode(bytes)? {
        wire::Event::EndOfPartition => Event::EndOfPartition,
        wire::Event::EndOfData(wire::StopMode::Drain) => Event::EndOfData(StopMode::Drain),
        wire::Event::EndOfData(wire::StopMode::NoDrain) => Event::EndOfData(StopMode::NoDrain),
        wire::Event::CancelCheckpointMarker { checkpoint } => Event::CancelCheckpointMarker { checkpoint },
        wire::Event::CheckpointBarrier(barrier) => Event::CheckpointBarrier(barrier_from_wire(barrier)),
        _ => Event::Custom { data_type, bytes: Arc::from(bytes) },
    })
}

fn barrier_to_wire(barrier: &CheckpointBarrier) -> wire::CheckpointBarrier {
    let format = |format| match format {
        SavepointFormat::Canonical => wire::SavepointFormat::Canonical,
        SavepointFormat::Native => wire::SavepointFormat::Native,
    };
    wire::CheckpointBarrier {
        id: barrier.id,
        timestamp: barrier.timestamp,
        snapshot: match barrier.kind {
            SnapshotType::Checkpoint => wire::SnapshotType::Checkpoint,
            SnapshotType::Savepoint(of) => wire::SnapshotType::Savepoint(format(of)),
            SnapshotType::SavepointSuspend(of) => wire::SnapshotType::Suspend(format(of)),
            SnapshotType::SavepointTerminate(of) => wire::SnapshotType::Terminate(format(of)),
            SnapshotType::FullCheckpoint => wire::SnapshotType::FullCheckpoint,
        },
        location: barrier.location.as_ref().map(|location| location.to_vec()),
        alignment: match barrier.alignment {
            AlignmentType::AtLeastOnce => Alignment::AtLeastOnce,
            AlignmentType::Aligned => Alignment::Aligned,
            AlignmentType::Unaligned => Alignment::Unaligned,
            AlignmentType::ForcedAligned => Alignment::ForcedAligned,
        },
        alignment_timeout: barrier.aligned_timeout.and_then(|timeout| i64::try_from(timeout.as_millis()).ok()),
    }
}

fn barrier_from_wire(barrier: wire::CheckpointBarrier) -> CheckpointBarrier {
    let format = |format| match format {
        wire::SavepointFormat::Canonical => SavepointFormat::Canonical,
        wire::SavepointFormat::Native => SavepointFormat::Native,
    };
    CheckpointBarrier {
        id: barrier.id,
        timestamp: barrier.timestamp,
        kind: match barrier.snapshot {
            wire::SnapshotType::Checkpoint => SnapshotType::Checkpoint,
            wire::SnapshotType::Savepoint(of) => SnapshotType::Savepoint(format(of)),
            wire::SnapshotType::Suspend(of) => SnapshotType::SavepointSuspend(format(of)),
            wire::SnapshotType::Terminate(of) => SnapshotType::SavepointTerminate(format(of)),
            wire::SnapshotType::FullCheckpoint => SnapshotType::FullCheckpoint,
        },
        location: barrier.location.map(Arc::from),
        alignment: match barrier.alignment {
            Alignment::AtLeastOnce => AlignmentType::AtLeastOnce,
            Alignment::Aligned => AlignmentType::Aligned,
            Alignment::Unaligned => AlignmentType::Unaligned,
            Alignment::ForcedAligned => AlignmentType::ForcedAligned,
        },
        // One below zero never comes to anything, as none.
        aligned_timeout: barrier.alignment_timeout.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_as_they_went() {
        let barrier = CheckpointBarrier::aligned(7).timestamp(9).timeout(Duration::from_secs(30));
        let savepoint = CheckpointBarrier::unaligned(8).kind(SnapshotType::SavepointTerminate(SavepointFormat::Native));
        let stored =
            CheckpointBarrier { location: Some(Arc::from(&b"there"[..])), ..CheckpointBarrier::at_least_once(9) };
        let custom = |bytes: &[u8]| Event::Custom { data_type: DataType::EVENT_BUFFER, bytes: Arc::from(bytes) };
        for event in [
            Event::EndOfPartition,
            Event::EndOfData(StopMode::NoDrain),
            Event::CancelCheckpointMarker { checkpoint: 77 },
            barrier.into(),
            savepoint.into(),
            stored.into(),
            custom(b"\0\0\0\x02"),
            custom(b"\0\0\0\x63 of a kind to come"),
        ] {
            let (data_type, bytes) = encode(&event).unwrap();
            assert_eq!(data_type, event.data_type());
            assert_eq!(format!("{:?}", decode(data_type, &bytes).unwrap()), format!("{event:?}"));
        }
    }

    #[test]
    fn what_is_no_event_is_an_error() {
        assert!(decode(DataType::EVENT_BUFFER, b"\0\0\0").is_err());
        assert!(encode(&Event::Failed(Arc::new(std::fmt::Error))).is_err());
    }
}
