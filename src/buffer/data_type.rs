//! What a buffer holds.
#![forbid(unsafe_code)]

/// What a buffer holds: data of the record stream, or one event.
///
/// An open set: any value from 0 to 255 can be carried, and unknown ones are passed on as they are. The named ones are
/// those of Flink 2.3's wire format (`Buffer.DataType`), by the same numbers. The exchange carries the type along and
/// looks at it nowhere.
///
/// # Examples
/// ```
/// use forebay::buffer::DataType;
/// assert!(DataType::DATA_BUFFER.is_data());
/// assert!(!DataType::END_OF_PARTITION.is_data());
/// assert_eq!(DataType(200).to_string(), "type 200");
/// ```
///
/// # Source
/// Flink's `Buffer.DataType`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataType(pub u8);

macro_rules! data_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl DataType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// The name in Flink's enumeration, if there is one.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

data_types! {
    /// Part of the record stream; may end inside a record.
    DATA_BUFFER = 1;
    /// An event that nothing else distinguishes.
    EVENT_BUFFER = 2;
    /// An event that overtakes what is queued.
    PRIORITIZED_EVENT_BUFFER = 3;
    /// A checkpoint barrier that waits for its like on the other channels.
    ALIGNED_CHECKPOINT_BARRIER = 4;
    /// The same, and it may turn into an unaligned one after a while.
    TIMEOUTABLE_ALIGNED_CHECKPOINT_BARRIER = 5;
    /// The end of restored in-flight data.
    RECOVERY_COMPLETION = 6;
    /// The end of a segment of a tiered store.
    END_OF_SEGMENT = 7;
    /// Part of the record stream that ends with a whole record.
    DATA_BUFFER_WITH_CLEAR_END = 8;
    /// No more records from the user's code.
    END_OF_DATA = 9;
    /// Nothing more at all.
    END_OF_PARTITION = 10;
    /// Where restored in-flight data belong.
    RECOVERY_METADATA = 11;
    /// A watermark event that blocks the channel until its like arrived on the others.
    ALIGNED_WATERMARK_EVENT = 12;
    /// A watermark event that does not.
    UNALIGNED_WATERMARK_EVENT = 13;
}

impl DataType {
    /// Whether the bytes belong to the record stream (and cost a credit, and may be compressed); everything else is one
    /// event.
    #[must_use]
    pub const fn is_data(self) -> bool {
        matches!(self, Self::DATA_BUFFER | Self::DATA_BUFFER_WITH_CLEAR_END)
    }

    /// Whether a channel rests behind it until its reader says to go on.
    #[must_use]
    pub const fn blocks(self) -> bool {
        matches!(
            self,
            Self::ALIGNED_CHECKPOINT_BARRIER
                | Self::TIMEOUTABLE_ALIGNED_CHECKPOINT_BARRIER
                | Self::RECOVERY_COMPLETION
                | Self::ALIGNED_WATERMARK_EVENT
        )
    }
}

impl std::fmt::Display for DataType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "type {}", self.0),
        }
    }
}
