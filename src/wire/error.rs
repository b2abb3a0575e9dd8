//! Why bytes are no message, and why a message can not be made bytes.

use super::Role;

/// Why bytes from a peer were refused: the field, and where it stands.
///
/// None of these can be read on from: close the connection, after an [`ErrorResponse`](super::ErrorResponse) if this
/// side is the producer. Offsets count from the start of what was decoded: of the stream for a
/// [`Decoder`](super::Decoder), of the input for everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Not Flink's protocol, or the stream is out of step. See what connects to this port; TLS is the likeliest cause
    /// if the first byte is 0x16.
    #[error("byte {offset}: magic number {found:#010x} is not {:#010x}", super::MAGIC)]
    Magic {
        /// What stands there.
        found: u32,
        /// Where it stands.
        offset: u64,
    },
    /// No message of this side has that id.
    #[error("byte {offset}: a {from} sends no message with id {id}")]
    MessageId {
        /// What stands there.
        id: u8,
        /// Who has sent it.
        from: Role,
        /// Where it stands.
        offset: u64,
    },
    /// A length or count over what this side agreed to hold: raise the limit if the peer is right.
    #[error("byte {offset}: {field} of {value}, over the limit of {limit}")]
    TooLarge {
        /// Of which field.
        field: &'static str,
        /// Announced.
        value: u64,
        /// Allowed.
        limit: u64,
        /// Where it stands.
        offset: u64,
    },
    /// A value that the field can not have.
    #[error("byte {offset}: {field} is {value}, and must be {expected}")]
    Value {
        /// Of which field.
        field: &'static str,
        /// What stands there.
        value: i64,
        /// What may stand there.
        expected: &'static str,
        /// Where it stands.
        offset: u64,
    },
    /// The input ends inside a field.
    #[error("byte {offset}: {field} is cut short, {missing} bytes are missing")]
    CutShort {
        /// Which field.
        field: &'static str,
        /// At least 1.
        missing: usize,
        /// Where the field begins.
        offset: u64,
    },
    /// Bytes that are no text in Java's modified UTF-8.
    #[error("byte {offset}: {field} is no text in modified UTF-8")]
    Text {
        /// Of which field.
        field: &'static str,
        /// Where the first bad byte stands.
        offset: u64,
    },
}

/// Why a message has no bytes: a value that its field can not hold. Nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, and must be {expected}")]
pub struct EncodeError {
    /// Of which field.
    pub field: &'static str,
    /// What was given.
    pub value: u64,
    /// What it may be.
    pub expected: &'static str,
}
