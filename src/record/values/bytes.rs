//! Text, and borrowed bytes. (Bytes to be written are slices of `u8`: see `sequence`.)

use std::borrow::Cow;

use super::super::{DecodeError, DeserializeRecord, SerializeRecord};
use crate::memory::copy;

macro_rules! text {
    ($($ty:ty)*) => {$(
        impl SerializeRecord for $ty {
            #[inline]
            fn serialized_len(&self) -> usize {
                self.len()
            }

            #[inline]
            fn serialize_into(&self, dst: &mut [u8]) {
                copy(dst, str::as_bytes(self));
            }

            #[inline]
            fn as_bytes(&self) -> Option<&[u8]> {
                Some(str::as_bytes(self))
            }
        }
    )*};
}

text! { str String }

/// What points to a value is written as the value is.
macro_rules! pointers {
    ($($(#[$attribute:meta])* [$($parameters:tt)*] $ty:ty;)*) => {$(
        impl<$($parameters)*> SerializeRecord for $ty {
            #[inline]
            fn serialized_len(&self) -> usize {
                (**self).serialized_len()
            }

            #[inline]
            fn serialize_into(&self, dst: &mut [u8]) {
                (**self).serialize_into(dst);
            }

            #[inline]
            fn as_bytes(&self) -> Option<&[u8]> {
                SerializeRecord::as_bytes(&**self)
            }

            #[inline]
            fn field_len(&self) -> usize {
                (**self).field_len()
            }

            #[inline]
            fn serialize_field(&self, dst: &mut [u8]) -> usize {
                (**self).serialize_field(dst)
            }
        }
    )*};
}

pointers! {
    [T: SerializeRecord + ?Sized] &T;
    [T: SerializeRecord + ?Sized] Box<T>;
    [T: SerializeRecord + ToOwned + ?Sized] Cow<'_, T>;
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

impl<'a> DeserializeRecord<'a> for String {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        <&str>::deserialize(bytes).map(str::to_owned)
    }
}

/// Borrowed.
impl<'a, T: ToOwned + ?Sized> DeserializeRecord<'a> for Cow<'a, T>
where
    &'a T: DeserializeRecord<'a>,
{
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        <&T>::deserialize(bytes).map(Cow::Borrowed)
    }
}
