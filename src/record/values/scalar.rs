//! Numbers, `bool` and `char`: of constant size, so nothing has to say where one ends.

use super::super::{DecodeError, DeserializeRecord, Fields, SerializeRecord};

/// A type whose values all take `$size` bytes, by way of an array of so many.
macro_rules! constant_size {
    ($ty:ty, $kind:expr, $size:expr, $value:ident => $to:expr, $bytes:ident => $from:expr $(, $($more:tt)*)?) => {
        impl SerializeRecord for $ty {
            #[inline]
            fn serialized_len(&self) -> usize {
                $size
            }

            #[inline]
            fn serialize_into(&self, dst: &mut [u8]) {
                let $value = *self;
                dst.copy_from_slice(&$to);
            }

            #[inline]
            fn field_len(&self) -> usize {
                $size
            }

            #[inline]
            fn serialize_field(&self, dst: &mut [u8]) -> usize {
                self.serialize_into(&mut dst[..$size]);
                $size
            }

            $($($more)*)?
        }

        impl<'a> DeserializeRecord<'a> for $ty {
            #[inline]
            fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                match <&[u8; $size]>::try_from(bytes) {
                    Ok($bytes) => $from,
                    Err(_) => {
                        Err(DecodeError::Length { kind: $kind, offset: 0, expected: $size, len: bytes.len() })
                    }
                }
            }

            #[inline]
            fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
                let start = fields.position();
                Self::deserialize(fields.take_array::<$size>($kind)?).map_err(|error| error.within(start))
            }
        }
    };
}

macro_rules! numbers {
    ($($ty:ty)*) => {$(
        constant_size! {
            $ty, stringify!($ty), { size_of::<$ty>() },
            value => value.to_be_bytes(),
            bytes => Ok(Self::from_be_bytes(*bytes))
        }
    )*};
}

numbers! { i8 u16 i16 u32 i32 u64 i64 u128 i128 f32 f64 }

impl SerializeRecord for u8 {
    #[inline]
    fn serialized_len(&self) -> usize {
        1
    }

    #[inline]
    fn serialize_into(&self, dst: &mut [u8]) {
        dst.copy_from_slice(&[*self]);
    }

    #[inline]
    fn field_len(&self) -> usize {
        1
    }

    #[inline]
    fn serialize_field(&self, dst: &mut [u8]) -> usize {
        dst[0] = *self;
        1
    }

    #[inline]
    fn slice_as_bytes(items: &[Self]) -> Option<&[u8]> {
        Some(items)
    }
}

impl<'a> DeserializeRecord<'a> for u8 {
    #[inline]
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        match *bytes {
            [byte] => Ok(byte),
            _ => Err(DecodeError::Length { kind: "u8", offset: 0, expected: 1, len: bytes.len() }),
        }
    }

    #[inline]
    fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        fields.take_array("u8").map(|&[byte]| byte)
    }

    #[inline]
    fn from_bytes(bytes: &'a [u8]) -> Option<Vec<Self>> {
        Some(bytes.to_vec())
    }
}

constant_size! {
    bool, "bool", 1,
    value => [u8::from(value)],
    bytes => match bytes {
        [0] => Ok(false),
        [1] => Ok(true),
        &[value] => Err(DecodeError::Value { kind: "bool", offset: 0, value }),
    }
}

constant_size! {
    char, "char", 4,
    value => u32::from(value).to_be_bytes(),
    // What is wrong with a number that is no scalar value is in its upper half: it is a surrogate, or over 0x10FFFF.
    bytes => char::from_u32(u32::from_be_bytes(*bytes)).ok_or(match *bytes {
        [0, 0, value, _] => DecodeError::Value { kind: "char", offset: 2, value },
        [0, value, ..] => DecodeError::Value { kind: "char", offset: 1, value },
        [value, ..] => DecodeError::Value { kind: "char", offset: 0, value },
    })
}

/// The first byte in which a number of 8 bytes is too large for this machine.
fn too_large(kind: &'static str, bytes: [u8; 8], fill: u8) -> DecodeError {
    let offset = bytes.iter().position(|&byte| byte != fill).unwrap_or_default();
    DecodeError::Value { kind, offset, value: bytes[offset] }
}

constant_size! {
    usize, "usize", 8,
    value => (value as u64).to_be_bytes(),
    bytes => Self::try_from(u64::from_be_bytes(*bytes)).map_err(|_| too_large("usize", *bytes, 0))
}

constant_size! {
    isize, "isize", 8,
    value => (value as i64).to_be_bytes(),
    bytes => {
        let number = i64::from_be_bytes(*bytes);
        Self::try_from(number).map_err(|_| too_large("isize", *bytes, if number < 0 { 0xFF } else { 0 }))
    }
}
