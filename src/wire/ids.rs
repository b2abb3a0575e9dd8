//! The ids that messages name things by.

use std::{fmt, str::FromStr};

/// Hex digits that are no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseIdError {
    /// Too few or too many: check that the whole id was copied.
    #[error("an id of {expected} hex digits, not {found}")]
    Length {
        /// Given, in bytes of text.
        found: usize,
        /// Hex digits an id of this kind has.
        expected: usize,
    },
    /// Something else than 0 to 9 and a to f.
    #[error("no hex digit at {at}")]
    Digit {
        /// Which one, from 0.
        at: usize,
    },
}

fn parse<const N: usize>(text: &str) -> Result<[u8; N], ParseIdError> {
    if text.len() != 2 * N {
        return Err(ParseIdError::Length { found: text.len(), expected: 2 * N });
    }
    let digit = |at: usize| match text.as_bytes()[at] {
        c @ b'0'..=b'9' => Ok(c - b'0'),
        c @ b'a'..=b'f' => Ok(c - b'a' + 10),
        c @ b'A'..=b'F' => Ok(c - b'A' + 10),
        _ => Err(ParseIdError::Digit { at }),
    };
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = digit(2 * at)? << 4 | digit(2 * at + 1)?;
    }
    Ok(bytes)
}

fn hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// `N` bytes from `at` on; the callers' offsets are constants inside `bytes`.
fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    *bytes[at..].first_chunk().expect("offsets of an id lie inside of it")
}

macro_rules! hex_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                hex(f, &self.to_bytes())
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            /// From the hex digits of its bytes on the wire.
            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                parse(text).map(Self::from_bytes)
            }
        }
    };
}

macro_rules! plain_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// Its 16 bytes as on the wire, which are also those of the hex text in Flink's logs.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; Self::BYTES]);

        impl $name {
            /// Bytes on the wire.
            pub const BYTES: usize = 16;

            /// The id with these bytes.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
                Self(bytes)
            }

            /// Its bytes on the wire.
            #[must_use]
            pub const fn to_bytes(self) -> [u8; Self::BYTES] {
                self.0
            }
        }

        hex_text!($name);
    )*};
}

plain_ids! {
    /// Names a channel on its connection: chosen at random by the consumer, the *receiver*. Flink's `InputChannelID`.
    InputChannelId;
    /// Names the output of an operation, all partitions of it. Flink's `IntermediateDataSetID`.
    IntermediateDataSetId;
    /// Names a run of a job. Flink's `ExecutionGraphID`.
    ExecutionGraphId;
    /// Names an operation of a job. Flink's `JobVertexID`.
    JobVertexId;
    /// Names an operator; in latency markers. Flink's `OperatorID`.
    OperatorId;
}

/// A partition of an output, whoever produces it. Flink's `IntermediateResultPartitionID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IntermediateResultPartitionId {
    /// The output.
    pub data_set: IntermediateDataSetId,
    /// Which of its partitions.
    pub partition: i32,
}

impl IntermediateResultPartitionId {
    /// Bytes on the wire.
    pub const BYTES: usize = 20;

    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self { data_set: IntermediateDataSetId(part(&bytes, 0)), partition: i32::from_be_bytes(part(&bytes, 16)) }
    }

    /// Its bytes on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.data_set.0);
        bytes[16..].copy_from_slice(&self.partition.to_be_bytes());
        bytes
    }
}

hex_text!(IntermediateResultPartitionId);

/// A subtask of an operation. Flink's `ExecutionVertexID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionVertexId {
    /// The operation.
    pub job_vertex: JobVertexId,
    /// Which of its subtasks.
    pub subtask: i32,
}

impl ExecutionVertexId {
    /// Bytes on the wire.
    pub const BYTES: usize = 20;

    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self { job_vertex: JobVertexId(part(&bytes, 0)), subtask: i32::from_be_bytes(part(&bytes, 16)) }
    }

    /// Its bytes on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.job_vertex.0);
        bytes[16..].copy_from_slice(&self.subtask.to_be_bytes());
        bytes
    }
}

hex_text!(ExecutionVertexId);

/// One attempt to run a subtask. Flink's `ExecutionAttemptID`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExecutionAttemptId {
    /// The run of the job.
    pub execution_graph: ExecutionGraphId,
    /// The subtask.
    pub vertex: ExecutionVertexId,
    /// Which attempt.
    pub attempt: i32,
}

impl ExecutionAttemptId {
    /// Bytes on the wire.
    pub const BYTES: usize = 40;

    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self {
            execution_graph: ExecutionGraphId(part(&bytes, 0)),
            vertex: ExecutionVertexId::from_bytes(part(&bytes, 16)),
            attempt: i32::from_be_bytes(part(&bytes, 36)),
        }
    }

    /// Its bytes on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.execution_graph.0);
        bytes[16..36].copy_from_slice(&self.vertex.to_bytes());
        bytes[36..].copy_from_slice(&self.attempt.to_be_bytes());
        bytes
    }
}

hex_text!(ExecutionAttemptId);

/// A partition as one attempt has produced it: what a [`PartitionRequest`](super::PartitionRequest) asks for. A
/// producer compares the whole. Flink's `ResultPartitionID`.
///
/// # Examples
/// ```
/// use forebay::wire::ResultPartitionId;
/// let text = "dbd238973a2b148a1e535eede31428f000000001\
///             b7a4712c74562914b6bf613dbebb45dcd17707977078336c12ae30237b17df140000000100000001";
/// let id: ResultPartitionId = text.parse()?;
/// assert_eq!((id.partition.partition, id.producer.vertex.subtask, id.producer.attempt), (1, 1, 1));
/// assert_eq!(id.to_string(), text);
/// # Ok::<(), forebay::wire::ParseIdError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResultPartitionId {
    /// The partition.
    pub partition: IntermediateResultPartitionId,
    /// Who has produced it.
    pub producer: ExecutionAttemptId,
}

impl ResultPartitionId {
    /// Bytes on the wire.
    pub const BYTES: usize = 60;

    /// The id with these bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        Self {
            partition: IntermediateResultPartitionId::from_bytes(part(&bytes, 0)),
            producer: ExecutionAttemptId::from_bytes(part(&bytes, 20)),
        }
    }

    /// Its bytes on the wire.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..20].copy_from_slice(&self.partition.to_bytes());
        bytes[20..].copy_from_slice(&self.producer.to_bytes());
        bytes
    }
}

hex_text!(ResultPartitionId);

/// The subpartitions `first` to `last`, both of them too. Flink's `ResultSubpartitionIndexSet`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ResultSubpartitionIndexSet {
    /// The first of them.
    pub first: u32,
    /// The last of them, not below the first.
    pub last: u32,
}

impl ResultSubpartitionIndexSet {
    /// Bytes on the wire.
    pub const BYTES: usize = 8;

    /// The set of one.
    #[must_use]
    pub const fn one(subpartition: u32) -> Self {
        Self { first: subpartition, last: subpartition }
    }

    /// How many they are.
    #[must_use]
    pub const fn size(self) -> usize {
        (self.last - self.first) as usize + 1
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_id_that_is_no_hex_says_where() {
        let parse = |text: &str| text.parse::<IntermediateResultPartitionId>();
        assert_eq!(parse("00"), Err(ParseIdError::Length { found: 2, expected: 40 }));
        assert_eq!(parse(&format!("{}x", "0".repeat(39))), Err(ParseIdError::Digit { at: 39 }));
        assert_eq!(parse(&"ä".repeat(20)), Err(ParseIdError::Digit { at: 0 }));
    }

    #[test]
    fn bytes_of_an_id_come_back() {
        let mut bytes = [0; ResultPartitionId::BYTES];
        (0..).zip(&mut bytes).for_each(|(i, byte)| *byte = i * 3 + 1);
        let id = ResultPartitionId::from_bytes(bytes);
        assert_eq!(id.to_bytes(), bytes);
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    }
}
