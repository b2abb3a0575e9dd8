//! A failure on the producer's side.

use super::{DecodeError, InputChannelId, ResultPartitionId, fields::Fields, java};

pub use java::JavaException;

/// A failure on the producer's side, of a channel or of all of the connection: a Java exception, as it was serialized.
///
/// # Examples
/// ```
/// use forebay::wire::{ErrorResponse, InputChannelId};
/// let error = ErrorResponse::io_exception("disk full", Some(InputChannelId([7; 16])));
/// assert_eq!(error.exception().unwrap().to_string(), "java.io.IOException: disk full");
/// assert!(!error.is_partition_not_found());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The exception, in Java's serialization.
    pub cause: Vec<u8>,
    /// The channel that has failed, or all of the connection.
    pub receiver: Option<InputChannelId>,
}

impl ErrorResponse {
    /// A failure with this text: a `java.io.IOException`, which each Flink knows. Texts of more than 20,000 bytes are
    /// cut.
    #[must_use]
    pub fn io_exception(message: &str, receiver: Option<InputChannelId>) -> Self {
        Self { cause: java::io_exception(message), receiver }
    }

    /// The partition is not there yet: Flink's consumer asks again, up to a limit of its own.
    #[must_use]
    pub fn partition_not_found(partition: &ResultPartitionId, receiver: InputChannelId) -> Self {
        Self { cause: java::partition_not_found(partition), receiver: Some(receiver) }
    }

    /// Whether a consumer is to ask again: the partition is not there yet.
    #[must_use]
    pub fn is_partition_not_found(&self) -> bool {
        self.receiver.is_some() && self.exception().is_some_and(|e| e.class == java::PARTITION_NOT_FOUND)
    }

    /// What the exception says. `None` if the bytes are no exception, or one whose class writes itself in a way that
    /// only it knows.
    #[must_use]
    pub fn exception(&self) -> Option<JavaException> {
        java::read(&self.cause).map(|(exception, _)| exception)
    }

    /// The exception and the receiver behind it: 1 and a receiver, or 0. How long the exception is stands nowhere, so
    /// it must be read; one that can not be is taken to end with the frame.
    pub(super) fn split(bytes: &[u8], base: u64) -> Result<Self, DecodeError> {
        let tail = bytes.len().checked_sub(1 + InputChannelId::BYTES).filter(|&tail| bytes[tail] == 1);
        let end = match java::read(bytes) {
            Some((_, end)) => Some(end),
            None => tail,
        };
        if let Some(end) = end
            && tail == Some(end)
        {
            let receiver = Fields::new(&bytes[end + 1..], base).array("receiver").map(InputChannelId)?;
            return Ok(Self { cause: bytes[..end].to_vec(), receiver: Some(receiver) });
        }
        match bytes.split_last() {
            Some((0, cause)) if end.is_none_or(|end| end == cause.len()) => {
                Ok(Self { cause: cause.to_vec(), receiver: None })
            }
            last => {
                let (value, at) = last.map_or((0, 0), |(last, cause)| (i64::from(*last), cause.len()));
                let (field, expected) = ("end of the error", "0, or a 1 in front of a receiver");
                Err(DecodeError::Value { field, value, expected, offset: base + at as u64 })
            }
        }
    }
}
