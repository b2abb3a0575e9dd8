//! Values as the bytes of one record.

/// A value that can be written as one record.
///
/// There are implementations for bytes, text, numbers (big-endian) and `bool`; a type of your own says how many bytes
/// it takes and puts them where it is told, which is the segment itself if the record fits there.
///
/// # Examples
/// ```
/// use forebay::record::{DecodeError, DeserializeRecord, SerializeRecord};
/// struct Point { x: u32, y: u32 }
/// impl SerializeRecord for Point {
///     fn serialized_len(&self) -> usize { 8 }
///     fn serialize_into(&self, dst: &mut [u8]) {
///         dst[..4].copy_from_slice(&self.x.to_be_bytes());
///         dst[4..].copy_from_slice(&self.y.to_be_bytes());
///     }
/// }
/// impl DeserializeRecord<'_> for Point {
///     fn deserialize(bytes: &[u8]) -> Result<Self, DecodeError> {
///         let both = u64::deserialize(bytes)?; // 8 bytes, or an error that says so
///         Ok(Self { x: (both >> 32) as u32, y: both as u32 })
///     }
/// }
/// let mut bytes = [0; 8];
/// Point { x: 1, y: 2 }.serialize_into(&mut bytes);
/// assert_eq!(Point::deserialize(&bytes)?.y, 2);
/// # Ok::<(), DecodeError>(())
/// ```
///
/// # Source
/// Flink's `TypeSerializer.serialize`, which knows the length only afterwards and so writes to a buffer aside first.
pub trait SerializeRecord {
    /// Bytes the value takes, exactly: [`serialize_into`](Self::serialize_into) gets so many. Asked once for each
    /// record.
    fn serialized_len(&self) -> usize;

    /// Writes the value into `dst`, which is [`serialized_len`](Self::serialized_len) long: part of the segment if the
    /// record fits there. What `dst` held before is unspecified: bytes left unwritten are sent as they are.
    fn serialize_into(&self, dst: &mut [u8]);

    /// The bytes, if the value has them in one piece already: then a record that spans segments is copied from there,
    /// rather than serialized aside first.
    #[inline]
    fn as_bytes(&self) -> Option<&[u8]> {
        None
    }
}

/// A value that can be read from the bytes of one record, and may borrow from them.
///
/// See [`SerializeRecord`] for an example, and [`Record::deserialize`](crate::gate::Record::deserialize) for its use.
///
/// # Source
/// Flink's `TypeSerializer.deserialize`.
pub trait DeserializeRecord<'a>: Sized {
    /// Reads the value from `bytes`, all of them.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no such value. An implementation must not panic on any bytes: they may come from
    /// outside.
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError>;
}

/// Why a [`DeserializeRecord`] refused its bytes. The stream is sound: the next record can be read. See that writer and
/// reader mean the same type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// The record has another length than the type.
    #[error("a record of {len} bytes is no {kind}, which takes {expected}")]
    Length {
        /// The type that was asked for.
        kind: &'static str,
        /// Bytes it takes.
        expected: usize,
        /// Bytes of the record.
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
}

impl<T: SerializeRecord + ?Sized> SerializeRecord for &T {
    fn serialized_len(&self) -> usize {
        (**self).serialized_len()
    }

    fn serialize_into(&self, dst: &mut [u8]) {
        (**self).serialize_into(dst);
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        (**self).as_bytes()
    }
}

macro_rules! bytes_like {
    ($($ty:ty, $value:ident => $bytes:expr;)*) => {$(
        /// The bytes as they are.
        impl SerializeRecord for $ty {
            #[inline]
            fn serialized_len(&self) -> usize {
                self.len()
            }

            #[inline]
            fn serialize_into(&self, dst: &mut [u8]) {
                let $value = self;
                dst.copy_from_slice($bytes);
            }

            #[inline]
            fn as_bytes(&self) -> Option<&[u8]> {
                let $value = self;
                Some($bytes)
            }
        }
    )*};
}

bytes_like! {
    [u8], value => value;
    Vec<u8>, value => value;
    str, value => value.as_bytes();
    String, value => value.as_bytes();
}

impl<const N: usize> SerializeRecord for [u8; N] {
    #[inline]
    fn serialized_len(&self) -> usize {
        N
    }

    #[inline]
    fn serialize_into(&self, dst: &mut [u8]) {
        dst.copy_from_slice(self);
    }

    #[inline]
    fn as_bytes(&self) -> Option<&[u8]> {
        Some(self)
    }
}

impl<'a> DeserializeRecord<'a> for &'a [u8] {
    #[inline]
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(bytes)
    }
}

impl<'a> DeserializeRecord<'a> for &'a str {
    #[inline]
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        std::str::from_utf8(bytes).map_err(|error| DecodeError::Value {
            kind: "UTF-8 text",
            offset: error.valid_up_to(),
            value: bytes[error.valid_up_to()],
        })
    }
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        /// Big-endian, as Flink's serializer for the type.
        impl SerializeRecord for $ty {
            #[inline]
            fn serialized_len(&self) -> usize {
                size_of::<$ty>()
            }

            #[inline]
            fn serialize_into(&self, dst: &mut [u8]) {
                dst.copy_from_slice(&self.to_be_bytes());
            }
        }

        impl<'a> DeserializeRecord<'a> for $ty {
            #[inline]
            fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                bytes.try_into().map(Self::from_be_bytes).map_err(|_| DecodeError::Length {
                    kind: stringify!($ty),
                    expected: size_of::<$ty>(),
                    len: bytes.len(),
                })
            }
        }
    )*};
}

numbers! { u8 i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64 }

impl SerializeRecord for bool {
    fn serialized_len(&self) -> usize {
        1
    }

    fn serialize_into(&self, dst: &mut [u8]) {
        dst.copy_from_slice(&[u8::from(*self)]);
    }
}

impl<'a> DeserializeRecord<'a> for bool {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match *bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            [value] => Err(DecodeError::Value { kind: "bool", offset: 0, value }),
            _ => Err(DecodeError::Length { kind: "bool", expected: 1, len: bytes.len() }),
        }
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    fn round_trip<T>(value: &T)
    where
        T: SerializeRecord + for<'a> DeserializeRecord<'a> + PartialEq + std::fmt::Debug,
    {
        let mut bytes = vec![0xAA; value.serialized_len()];
        value.serialize_into(&mut bytes);
        assert_eq!(T::deserialize(&bytes).as_ref(), Ok(value));
        bytes.push(0);
        assert!(matches!(T::deserialize(&bytes), Err(DecodeError::Length { .. })), "{value:?} with a byte too many");
    }

    #[test]
    fn numbers_come_back_and_a_wrong_length_is_refused() {
        round_trip(&0xA5_u8);
        round_trip(&-2_i16);
        round_trip(&0x0102_0304_u32);
        round_trip(&i64::MIN);
        round_trip(&(u128::MAX / 3));
        round_trip(&1.5e300_f64);
        round_trip(&true);
    }

    #[test]
    fn numbers_are_big_endian() {
        let mut bytes = [0; 4];
        0x0102_0304_i32.serialize_into(&mut bytes);
        assert_eq!(bytes, [1, 2, 3, 4]);
    }

    #[test]
    fn bad_values_say_where() {
        assert_eq!(bool::deserialize(&[2]), Err(DecodeError::Value { kind: "bool", offset: 0, value: 2 }));
        let error = <&str>::deserialize(b"ab\xFF").unwrap_err();
        assert_eq!(error.to_string(), "byte 2 of the record has the value 255, which no UTF-8 text has there");
    }
}
