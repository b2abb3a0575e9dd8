//! Values of every layout.

use super::{bytes_of, stream_element::lies_within};
use crate::record::{
    DeserializeRecord, NullableStringValue, Row, SerializeRecord, StreamElement, StreamRecord, StringValue,
};

/// The type a record is read as.
type Check = fn(&[u8]);

/// The types, chosen by the first byte of the input. Seeds name them by their place: add new ones at the end.
const CHECKS: [Check; 18] = [
    |bytes| check::<u8>(bytes),
    |bytes| check::<i64>(bytes),
    |bytes| check::<f64>(bytes),
    |bytes| check::<bool>(bytes),
    |bytes| check::<char>(bytes),
    |bytes| check::<&str>(bytes),
    |bytes| check::<&[u8]>(bytes),
    |bytes| check::<StringValue>(bytes),
    |bytes| check::<NullableStringValue>(bytes),
    |bytes| check::<(i64, StringValue)>(bytes),
    |bytes| check::<Option<u32>>(bytes),
    |bytes| check::<Vec<i64>>(bytes),
    |bytes| check::<Vec<Vec<Option<&str>>>>(bytes),
    |bytes| check::<(&[u8],)>(bytes),
    |bytes| check::<Row<(Option<i64>, Option<StringValue>)>>(bytes),
    |bytes| check::<[u16; 3]>(bytes),
    |bytes| check::<usize>(bytes),
    |bytes| check::<(bool, Nested, u8)>(bytes),
];

/// How many types there are.
pub const VALUE_KINDS: usize = CHECKS.len();

/// The first byte chooses a type, as which the rest is read.
///
/// # Panics
/// If a value is not written as it was read, or an error lies outside of the record.
pub fn values(input: &[u8]) {
    if let Some((&kind, record)) = input.split_first() {
        CHECKS[usize::from(kind) % CHECKS.len()](record);
    }
}

fn check<'a, T: SerializeRecord + DeserializeRecord<'a>>(record: &'a [u8]) {
    match T::deserialize(record) {
        Ok(value) => {
            assert_eq!(bytes_of(&value), record, "as a {}", std::any::type_name::<T>());
            assert_eq!(bytes_of(&(0_u8, &value, 0_u8)).len(), 2 + value.field_len());
        }
        Err(error) => lies_within(&error, record),
    }
}

/// A type with the field layout that it has unless it says otherwise.
struct Nested(StreamRecord<String>);

impl SerializeRecord for Nested {
    fn serialized_len(&self) -> usize {
        self.0.serialized_len()
    }

    fn serialize_into(&self, dst: &mut [u8]) {
        self.0.serialize_into(dst);
    }
}

impl<'a> DeserializeRecord<'a> for Nested {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, crate::record::DecodeError> {
        match StreamElement::deserialize(bytes)? {
            StreamElement::Record(record) => Ok(Self(record)),
            _ => Err(crate::record::DecodeError::Value { kind: "record", offset: 0, value: bytes[0] }),
        }
    }
}
