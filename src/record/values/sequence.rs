//! Slices, vectors and arrays.

use super::super::{DecodeError, DeserializeRecord, Fields, LENGTH_BYTES, MAX_RECORD_BYTES, SerializeRecord};
use crate::memory::copy;

impl<T: SerializeRecord> SerializeRecord for [T] {
    #[inline]
    fn serialized_len(&self) -> usize {
        T::slice_as_bytes(self).map_or_else(|| self.field_len(), <[u8]>::len)
    }

    #[inline]
    fn serialize_into(&self, dst: &mut [u8]) {
        match T::slice_as_bytes(self) {
            Some(bytes) => copy(dst, bytes),
            None => _ = self.serialize_field(dst),
        }
    }

    #[inline]
    fn as_bytes(&self) -> Option<&[u8]> {
        T::slice_as_bytes(self)
    }

    #[inline]
    fn field_len(&self) -> usize {
        LENGTH_BYTES + items_len(self)
    }

    /// # Panics
    /// If there are more items than a count can say.
    #[inline]
    fn serialize_field(&self, dst: &mut [u8]) -> usize {
        assert!(self.len() <= MAX_RECORD_BYTES, "{} items", self.len());
        let (count, items) = dst.split_at_mut(LENGTH_BYTES);
        count.copy_from_slice(&(self.len() as u32).to_be_bytes());
        LENGTH_BYTES + serialize_items(self, items)
    }
}

/// Bytes of the items alone.
#[inline]
fn items_len<T: SerializeRecord>(items: &[T]) -> usize {
    T::slice_as_bytes(items).map_or_else(|| items.iter().map(T::field_len).sum(), <[u8]>::len)
}

#[inline]
fn serialize_items<T: SerializeRecord>(items: &[T], dst: &mut [u8]) -> usize {
    if let Some(bytes) = T::slice_as_bytes(items) {
        copy(&mut dst[..bytes.len()], bytes);
        return bytes.len();
    }
    items.iter().fold(0, |at, item| at + item.serialize_field(&mut dst[at..]))
}

impl<T: SerializeRecord> SerializeRecord for Vec<T> {
    #[inline]
    fn serialized_len(&self) -> usize {
        self[..].serialized_len()
    }

    #[inline]
    fn serialize_into(&self, dst: &mut [u8]) {
        self[..].serialize_into(dst);
    }

    #[inline]
    fn as_bytes(&self) -> Option<&[u8]> {
        self[..].as_bytes()
    }

    #[inline]
    fn field_len(&self) -> usize {
        self[..].field_len()
    }

    #[inline]
    fn serialize_field(&self, dst: &mut [u8]) -> usize {
        self[..].serialize_field(dst)
    }
}

/// Items that take no bytes at all are refused, for their number could not be checked.
impl<'a, T: DeserializeRecord<'a>> DeserializeRecord<'a> for Vec<T> {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if let Some(items) = T::from_bytes(bytes) {
            return Ok(items);
        }
        let mut fields = Fields::new(bytes);
        let items = fields.read()?;
        fields.finish("list")?;
        Ok(items)
    }

    fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        /// Memory that is reserved on the word of a count, before the items are there.
        const RESERVED_BYTES: usize = 1 << 16;
        let offset = fields.position();
        let count = fields.read::<u32>()?;
        if count as usize > fields.remaining() {
            return Err(DecodeError::Count { offset, count, bytes: fields.remaining() });
        }
        let mut ahead = fields.clone();
        if let Some(items) = T::from_bytes(ahead.take(count as usize, "list")?) {
            *fields = ahead;
            return Ok(items);
        }
        let mut items = Vec::with_capacity((count as usize).min(RESERVED_BYTES / size_of::<T>().max(1)));
        for _ in 0..count {
            items.push(fields.read()?);
        }
        Ok(items)
    }
}

/// No count: all arrays of the type have as many items.
impl<T: SerializeRecord, const N: usize> SerializeRecord for [T; N] {
    #[inline]
    fn serialized_len(&self) -> usize {
        items_len(self)
    }

    #[inline]
    fn serialize_into(&self, dst: &mut [u8]) {
        serialize_items(self, dst);
    }

    #[inline]
    fn as_bytes(&self) -> Option<&[u8]> {
        T::slice_as_bytes(self)
    }

    #[inline]
    fn field_len(&self) -> usize {
        items_len(self)
    }

    #[inline]
    fn serialize_field(&self, dst: &mut [u8]) -> usize {
        serialize_items(self, dst)
    }
}

impl<'a, T: DeserializeRecord<'a>, const N: usize> DeserializeRecord<'a> for [T; N] {
    #[inline]
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let items = fields.read()?;
        fields.finish("array")?;
        Ok(items)
    }

    fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        // Without `array::try_from_fn`, which is not stable: read all, and say the first error.
        let mut failed = None;
        let items = [(); N].map(|()| match &failed {
            None => fields.read::<T>().map_err(|error| failed = Some(error)).ok(),
            Some(_) => None,
        });
        match failed {
            Some(error) => Err(error),
            None => Ok(items.map(|item| item.expect("read without an error"))),
        }
    }
}
