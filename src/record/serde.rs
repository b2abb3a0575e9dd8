//! Records of any type that serde knows.

use std::{any::type_name, fmt, ops::Deref};

use postcard::{ser_flavors::Size, serialize_with_flavor};
use serde::{Deserialize, Serialize};

use super::{DecodeError, DeserializeRecord, SerializeRecord};

/// A value as serde sees it, in the format of [postcard](https://postcard.jamesmunns.com): compact, without names of
/// fields, so both sides must have the same type. With feature `serde`.
///
/// It is serialized twice: once to learn how long it is, and whether it can be at all, when it is wrapped; and then
/// into the segment. Reading may borrow from the record, as serde's `&str` and `&[u8]` do. Between types that have a
/// [layout](SerializeRecord#layouts) of their own, that is faster.
///
/// # Examples
/// ```
/// use forebay::record::{DeserializeRecord, Serde, SerializeRecord};
/// #[derive(serde::Serialize, serde::Deserialize, PartialEq, Debug)]
/// struct Flight<'a> { carrier: &'a str, number: u16, delays: Vec<i32> }
///
/// let flight = Serde::new(Flight { carrier: "UA", number: 1545, delays: vec![2, -4] })?;
/// let mut bytes = vec![0; flight.serialized_len()]; // `RecordWriter::emit(&flight)` does so in the segment
/// flight.serialize_into(&mut bytes);
/// assert_eq!(bytes, [2, b'U', b'A', 0x89, 0x0C, 2, 4, 7]);
/// let read = Serde::<Flight>::deserialize(&bytes)?;
/// assert_eq!(read, flight);
/// assert_eq!(read.carrier, "UA");
/// assert!(Serde::<Flight>::deserialize(&bytes[..7]).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy)]
pub struct Serde<T> {
    value: T,
    /// Bytes it takes; unknown for one that was read, as several forms of a number are accepted.
    len: Option<usize>,
}

/// Why a value cannot be serialized: its own `Serialize` says no, or the format has no way to write it, such as a
/// sequence that does not know how long it is. Nothing was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a {kind} can not be serialized")]
pub struct SerdeError {
    kind: &'static str,
    source: postcard::Error,
}

impl<T: Serialize> Serde<T> {
    /// Wraps a value, or a reference to one, to be written.
    ///
    /// # Errors
    /// [`SerdeError`].
    pub fn new(value: T) -> Result<Self, SerdeError> {
        let len = Some(size(&value)?);
        Ok(Self { value, len })
    }
}

fn size<T: Serialize>(value: &T) -> Result<usize, SerdeError> {
    serialize_with_flavor(value, Size::default()).map_err(|source| SerdeError { kind: type_name::<T>(), source })
}

impl<T> Serde<T> {
    /// The value.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Serde<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: PartialEq> PartialEq for Serde<T> {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl<T: Eq> Eq for Serde<T> {}

impl<T: fmt::Debug> fmt::Debug for Serde<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T: Serialize> SerializeRecord for Serde<T> {
    /// # Panics
    /// If a value that was read can not be serialized.
    fn serialized_len(&self) -> usize {
        self.len.unwrap_or_else(|| size(&self.value).expect("what was read can be written"))
    }

    /// # Panics
    /// If the type's `Serialize` gives other bytes than when it was asked for their number.
    fn serialize_into(&self, dst: &mut [u8]) {
        let len = dst.len();
        let written = postcard::to_slice(&self.value, dst).map(|written| written.len());
        assert_eq!(written, Ok(len), "{} is serialized in two ways", type_name::<T>());
    }
}

impl<'a, T: Deserialize<'a>> DeserializeRecord<'a> for Serde<T> {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut deserializer = postcard::Deserializer::from_bytes(bytes);
        let read = T::deserialize(&mut deserializer);
        let rest = deserializer.finalize().unwrap_or_default().len();
        let (kind, offset) = (type_name::<T>(), bytes.len() - rest);
        match read {
            Ok(value) if rest == 0 => Ok(Self { value, len: None }),
            Ok(_) => Err(DecodeError::Trailing { kind, offset, extra: rest }),
            Err(error) => Err(DecodeError::Serde { kind, offset, reason: error.to_string().into() }),
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn bytes_of(value: &impl SerializeRecord) -> Vec<u8> {
        let mut bytes = vec![0xAA; value.serialized_len()];
        value.serialize_into(&mut bytes);
        bytes
    }

    #[test]
    fn maps_and_enums_come_back_and_can_be_passed_on() {
        #[derive(Serialize, Deserialize, PartialEq, Debug)]
        enum Shape {
            Point,
            Named { corners: BTreeMap<String, (f64, f64)> },
        }
        let corners = BTreeMap::from([("a".to_owned(), (1.0, 2.0)), ("b".to_owned(), (-1.0, 0.5))]);
        for shape in [Shape::Point, Shape::Named { corners }] {
            let bytes = bytes_of(&Serde::new(&shape).unwrap());
            let read = Serde::<Shape>::deserialize(&bytes).unwrap();
            assert_eq!(*read, shape);
            assert_eq!(bytes_of(&read), bytes, "what was read is written again");
            assert_eq!(read.into_inner(), shape);
        }
    }

    #[test]
    fn what_can_not_be_serialized_is_an_error_before_anything_is_written() {
        struct Unhappy;
        impl Serialize for Unhappy {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not today"))
            }
        }
        let error = Serde::new(Unhappy).err().unwrap();
        assert!(error.to_string().contains("Unhappy can not be serialized"), "{error}");
    }

    #[test]
    fn garbage_says_how_far_it_was_read() {
        let bytes = bytes_of(&Serde::new(("text", 300_u16)).unwrap());
        type Pair<'a> = Serde<(&'a str, u16)>;
        for end in 0..bytes.len() {
            let error = Pair::deserialize(&bytes[..end]).unwrap_err();
            assert!(matches!(error, DecodeError::Serde { offset, .. } if offset <= end), "{error}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(Pair::deserialize(&longer), Err(DecodeError::Trailing { offset: 7, extra: 1, .. })));
        let error = Serde::<(u8, bool)>::deserialize(&[1, 2]).unwrap_err();
        assert!(matches!(error, DecodeError::Serde { offset: 2, .. }), "{error:?}");
        let announced = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 1];
        assert!(Serde::<Vec<u64>>::deserialize(&announced).is_err(), "and allocates for what is there");
    }
}
