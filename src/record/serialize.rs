//! Values as the bytes of one record.

use super::{DecodeError, Fields, LENGTH_BYTES, MAX_RECORD_BYTES};

/// A value that can be written as one record.
///
/// There are implementations for what is listed below; a type of your own says how many bytes it takes and puts them
/// where it is told, which is the segment itself if the record fits there. Where the number of bytes is a constant, the
/// compiler sees it, and a record costs its stores and one comparison.
///
/// # Layouts
///
/// A value is a *record* of its own, whose length is known from outside; or it is a *field*, with others behind it.
///
/// | type | as a record | as a field | Flink's serializer |
/// |---|---|---|---|
/// | integers, floats | big-endian; `usize` as `u64` | the same | Byte, Short, Int, Long, Float, Double |
/// | `bool` | a byte, 0 or 1 | the same | Boolean |
/// | `char` | its scalar value, as `u32` | the same | |
/// | `[u8]`, `Vec<u8>` | the bytes | 4 bytes of length, the bytes | as a field: `BytePrimitiveArray` |
/// | `str`, `String` | UTF-8 | 4 bytes of length, UTF-8 | |
/// | [`StringValue`](super::StringValue) | see there | the same | String |
/// | [`Row`](super::Row) | see there | the same | Row |
/// | tuples of up to 12, `[T; N]` | their fields | the same | Tuple |
/// | `[T]`, `Vec<T>` | 4 bytes of count, the fields | the same | List; primitive arrays |
/// | `Option<T>` | a byte, 0 or 1, and `T` as a record | the byte, and `T` as a field | |
/// | [`StreamElement`](super::StreamElement) | see there | 4 bytes of length, the record | `StreamElement` |
/// | a type of yours | what it writes | 4 bytes of length, the record | |
/// | `&T`, `Box<T>`, `Cow<T>` | as `T` | as `T` | |
///
/// (Bytes are the exception among slices; as a field they are laid out as any other slice. As a record of its own,
/// what is needed for Flink's `BytePrimitiveArray` is a tuple of one: `(bytes,)`.)
///
/// # Examples
/// A type that is like a tuple, in ten lines:
/// ```
/// use forebay::record::{DecodeError, DeserializeRecord, SerializeRecord};
/// struct Order<'a> { customer: &'a str, cents: u64 }
///
/// impl SerializeRecord for Order<'_> {
///     fn serialized_len(&self) -> usize { (self.customer, self.cents).serialized_len() }
///     fn serialize_into(&self, dst: &mut [u8]) { (self.customer, self.cents).serialize_into(dst); }
/// }
/// impl<'a> DeserializeRecord<'a> for Order<'a> {
///     fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
///         let (customer, cents) = DeserializeRecord::deserialize(bytes)?;
///         Ok(Self { customer, cents })
///     }
/// }
///
/// let mut bytes = vec![0; 15];
/// Order { customer: "Ada", cents: 1250 }.serialize_into(&mut bytes);
/// let order = Order::deserialize(&bytes)?;
/// assert_eq!((order.customer, order.cents), ("Ada", 1250)); // the name is borrowed from the bytes
/// assert_eq!(Order::deserialize(&bytes[..14]).err().unwrap().offset(), 7); // the number is cut short
/// # Ok::<(), DecodeError>(())
/// ```
/// With a layout of its own:
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

    /// The bytes, if the value has them in one piece already: then a record that spans segments, or is long, is copied
    /// from there, rather than serialized aside first.
    #[inline]
    fn as_bytes(&self) -> Option<&[u8]> {
        None
    }

    /// Bytes the value takes as a field, with others behind it. Unless told otherwise, a length of 4 bytes and the
    /// record.
    ///
    /// Override it together with [`serialize_field`](Self::serialize_field) and
    /// [`deserialize_field`](DeserializeRecord::deserialize_field) if the value itself shows where it ends.
    #[inline]
    fn field_len(&self) -> usize {
        LENGTH_BYTES + self.serialized_len()
    }

    /// Writes the value as a field to the beginning of `dst`, which has at least [`field_len`](Self::field_len) bytes,
    /// and returns how many it took.
    ///
    /// # Panics
    /// If `dst` is too short, or the value larger than a length can say ([`MAX_RECORD_BYTES`]).
    #[inline]
    fn serialize_field(&self, dst: &mut [u8]) -> usize {
        let len = self.serialized_len();
        assert!(len <= MAX_RECORD_BYTES, "a field of {len} bytes");
        let (length, body) = dst.split_at_mut(LENGTH_BYTES);
        length.copy_from_slice(&(len as u32).to_be_bytes());
        self.serialize_into(&mut body[..len]);
        LENGTH_BYTES + len
    }

    /// Values that are bytes, as bytes. For `u8` alone.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    fn slice_as_bytes(_: &[Self]) -> Option<&[u8]>
    where
        Self: Sized,
    {
        None
    }
}

/// A value that can be read from the bytes of one record, and may borrow from them.
///
/// See [`SerializeRecord`] for the layouts and an example, and
/// [`Record::deserialize`](crate::gate::Record::deserialize) for its use.
///
/// # Source
/// Flink's `TypeSerializer.deserialize`.
pub trait DeserializeRecord<'a>: Sized {
    /// Reads the value from `bytes`, all of them.
    ///
    /// # Errors
    /// [`DecodeError`]: the bytes are no such value. An implementation must not panic on any bytes: they may come from
    /// outside. Nor may it allocate for a length or count that it has only been told of.
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError>;

    /// Reads the value from the beginning of what is left in `fields`, as
    /// [`serialize_field`](SerializeRecord::serialize_field) wrote it.
    ///
    /// # Errors
    /// As [`deserialize`](Self::deserialize), with offsets from the start of the whole record.
    #[inline]
    fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        let bytes = fields.take_prefixed()?;
        let start = fields.position() - bytes.len();
        Self::deserialize(bytes).map_err(|error| error.within(start))
    }

    /// Values that are bytes, out of bytes. For `u8` alone.
    #[doc(hidden)]
    #[must_use]
    #[inline]
    fn from_bytes(_: &'a [u8]) -> Option<Vec<Self>> {
        None
    }
}
