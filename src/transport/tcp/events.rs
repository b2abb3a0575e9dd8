//! The exchange's events as they stand on the wire, and back.

use crate::{
    buffer::DataType,
    channel::Event,
    wire::{self, DecodeError},
};

/// What an event is on the wire: its data type and its bytes. Never of [`Event::Failed`], which is a message of its own.
pub(super) fn encode(event: &Event) -> (DataType, Box<[u8]>) {
    match event {
        Event::EndOfPartition => (DataType::END_OF_PARTITION, Box::from([0; 4])),
        Event::Failed(_) => (DataType::EVENT_BUFFER, Box::from([])),
    }
}

/// The event that stands there, if the exchange knows it.
///
/// # Errors
/// [`DecodeError`]: there is none.
pub(super) fn decode(bytes: &[u8]) -> Result<Option<Event>, DecodeError> {
    Ok(match wire::Event::decode(bytes)? {
        wire::Event::EndOfPartition => Some(Event::EndOfPartition),
        _ => None,
    })
}

/// Whether a channel rests behind that until its consumer resumes it.
pub(super) fn blocks(data_type: DataType) -> bool {
    matches!(
        data_type,
        DataType::ALIGNED_CHECKPOINT_BARRIER
            | DataType::TIMEOUTABLE_ALIGNED_CHECKPOINT_BARRIER
            | DataType::RECOVERY_COMPLETION
            | DataType::ALIGNED_WATERMARK_EVENT
    )
}
