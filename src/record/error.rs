//! What a record's bytes may be refused for.

/// Why a [`DeserializeRecord`](super::DeserializeRecord) refused its bytes. The stream is sound: the next record can be
/// read. See that writer and reader mean the same type.
///
/// Every `offset` counts bytes from the start of the record, however deep in a value the trouble is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// What is left of the record has another length than the type.
    #[error("{len} bytes at byte {offset} of the record are no {kind}, which takes {expected}")]
    Length {
        /// The type that was asked for.
        kind: &'static str,
        /// Where it begins in the record.
        offset: usize,
        /// Bytes it takes.
        expected: usize,
        /// Bytes there are.
        len: usize,
    },
    /// A byte has a value that the type has not.
    #[error("byte {offset} of the record has the value {value}, which no {kind} has there")]
    Value {
        /// The type that was asked for.
        kind: &'static str,
        /// Offset in the record.
        offset: usize,
        /// The byte there.
        value: u8,
    },
    /// The record ends inside a value, or announces one that is longer than what is left of the record.
    #[error("the record ends inside a {kind} that begins at byte {offset}: {missing} bytes are missing")]
    CutShort {
        /// What was to be read.
        kind: &'static str,
        /// Where it begins in the record.
        offset: usize,
        /// Bytes that should have followed, at least.
        missing: usize,
    },
    /// The record goes on behind the value.
    #[error("{extra} bytes follow the {kind} that ends at byte {offset} of the record")]
    Trailing {
        /// The type that was asked for.
        kind: &'static str,
        /// Where the value ends in the record.
        offset: usize,
        /// Bytes behind it.
        extra: usize,
    },
    /// A number of items is announced that so few bytes cannot hold. Nothing was allocated for them.
    #[error("{count} items are announced at byte {offset} of the record, and {bytes} bytes follow")]
    Count {
        /// Where the number stands in the record.
        offset: usize,
        /// Items announced.
        count: u32,
        /// Bytes behind it.
        bytes: usize,
    },
    /// A null, where there is a value in the type that was asked for.
    #[error("a null stands at byte {offset} of the record, which no {kind} is")]
    Null {
        /// The type that was asked for.
        kind: &'static str,
        /// Where it stands in the record.
        offset: usize,
    },
    /// What [`Serde`](super::Serde) read is no such value.
    #[cfg(feature = "serde")]
    #[error("the record is no {kind}, as found at byte {offset}: {reason}")]
    Serde {
        /// The type that was asked for.
        kind: &'static str,
        /// How far it was read.
        offset: usize,
        /// What the format, or the type, had against it.
        reason: Box<str>,
    },
}

impl DecodeError {
    /// The same error of a value that begins at byte `start` of a larger one. For
    /// [`deserialize_field`](super::DeserializeRecord::deserialize_field) of your own.
    #[must_use]
    pub fn within(mut self, start: usize) -> Self {
        match &mut self {
            Self::Length { offset, .. }
            | Self::Value { offset, .. }
            | Self::CutShort { offset, .. }
            | Self::Trailing { offset, .. }
            | Self::Count { offset, .. }
            | Self::Null { offset, .. } => *offset += start,
            #[cfg(feature = "serde")]
            Self::Serde { offset, .. } => *offset += start,
        }
        self
    }

    /// Where in the record the trouble is, in bytes from its start.
    #[must_use]
    pub fn offset(&self) -> usize {
        match self {
            Self::Length { offset, .. }
            | Self::Value { offset, .. }
            | Self::CutShort { offset, .. }
            | Self::Trailing { offset, .. }
            | Self::Count { offset, .. }
            | Self::Null { offset, .. } => *offset,
            #[cfg(feature = "serde")]
            Self::Serde { offset, .. } => *offset,
        }
    }
}
