//! Tuples and options: fields one behind the other.

use super::super::{DecodeError, DeserializeRecord, Fields, SerializeRecord};

macro_rules! tuples {
    ($($ty:ident $index:tt)*) => {
        impl<$($ty: SerializeRecord),*> SerializeRecord for ($($ty,)*) {
            #[inline]
            fn serialized_len(&self) -> usize {
                0 $(+ self.$index.field_len())*
            }

            #[inline]
            fn serialize_into(&self, dst: &mut [u8]) {
                self.serialize_field(dst);
            }

            #[inline]
            fn field_len(&self) -> usize {
                self.serialized_len()
            }

            #[inline]
            fn serialize_field(&self, dst: &mut [u8]) -> usize {
                let mut at = 0;
                $(at += self.$index.serialize_field(&mut dst[at..]);)*
                at
            }
        }

        impl<'a, $($ty: DeserializeRecord<'a>),*> DeserializeRecord<'a> for ($($ty,)*) {
            #[inline]
            fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                let mut fields = Fields::new(bytes);
                let tuple = fields.read()?;
                fields.finish("tuple")?;
                Ok(tuple)
            }

            #[inline]
            fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
                Ok(($(fields.read::<$ty>()?,)*))
            }
        }
    };
}

tuples! { A 0 }
tuples! { A 0 B 1 }
tuples! { A 0 B 1 C 2 }
tuples! { A 0 B 1 C 2 D 3 }
tuples! { A 0 B 1 C 2 D 3 E 4 }
tuples! { A 0 B 1 C 2 D 3 E 4 F 5 }
tuples! { A 0 B 1 C 2 D 3 E 4 F 5 G 6 }
tuples! { A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 }
tuples! { A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 }
tuples! { A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 }
tuples! { A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 }
tuples! { A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 }

impl<T: SerializeRecord> SerializeRecord for Option<T> {
    #[inline]
    fn serialized_len(&self) -> usize {
        1 + self.as_ref().map_or(0, T::serialized_len)
    }

    #[inline]
    fn serialize_into(&self, dst: &mut [u8]) {
        let (is_some, value) = dst.split_at_mut(1);
        is_some.copy_from_slice(&[u8::from(self.is_some())]);
        if let Some(some) = self {
            some.serialize_into(value);
        }
    }

    #[inline]
    fn field_len(&self) -> usize {
        1 + self.as_ref().map_or(0, T::field_len)
    }

    #[inline]
    fn serialize_field(&self, dst: &mut [u8]) -> usize {
        dst[0] = u8::from(self.is_some());
        1 + self.as_ref().map_or(0, |some| some.serialize_field(&mut dst[1..]))
    }
}

impl<'a, T: DeserializeRecord<'a>> DeserializeRecord<'a> for Option<T> {
    #[inline]
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        if is_some(&mut fields)? {
            return T::deserialize(fields.take_rest()).map(Some).map_err(|error| error.within(1));
        }
        fields.finish("none")?;
        Ok(None)
    }

    #[inline]
    fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        if is_some(fields)? { fields.read().map(Some) } else { Ok(None) }
    }
}

#[inline]
fn is_some(fields: &mut Fields<'_>) -> Result<bool, DecodeError> {
    match *fields.take_array("option")? {
        [0] => Ok(false),
        [1] => Ok(true),
        [value] => Err(DecodeError::Value { kind: "option", offset: fields.position() - 1, value }),
    }
}
