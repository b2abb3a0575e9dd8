//! Rows of Flink's: fields that may be null, and what the row does to a table.

use super::super::{DecodeError, DeserializeRecord, Fields, SerializeRecord};

/// A row in the format of Flink's `RowSerializer`, for talking to Flink: `fields` is a tuple of up to 12 options.
///
/// ```text
///   │ mask: 2 bits of kind, low one first; a bit for each field that is null; filled up to bytes │ the other fields │
/// ```
///
/// # Examples
/// ```
/// use forebay::record::{DecodeError, DeserializeRecord, Row, RowKind, SerializeRecord, StringValue};
/// let row = Row { kind: RowKind::Delete, fields: (None::<i64>, Some(StringValue::from("b"))) };
/// let mut bytes = [0; 3];
/// row.serialize_into(&mut bytes);
/// assert_eq!(bytes, [0b1110_0000, 2, b'b']);
/// assert_eq!(Row::deserialize(&bytes)?, row);
/// # Ok::<(), DecodeError>(())
/// ```
///
/// # Source
/// Flink's `RowSerializer`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Row<F> {
    /// What it does to a table.
    pub kind: RowKind,
    /// Its fields; `None` is a null.
    pub fields: F,
}

/// What a [`Row`] does to a table.
///
/// # Source
/// Flink's `RowKind`, by the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum RowKind {
    /// It is there from now on.
    #[default]
    Insert,
    /// It was there, and the row that follows comes in its place.
    UpdateBefore,
    /// It comes in the place of an earlier one.
    UpdateAfter,
    /// It is there no longer.
    Delete,
}

const KINDS: [RowKind; 4] = [RowKind::Insert, RowKind::UpdateBefore, RowKind::UpdateAfter, RowKind::Delete];

/// The bits of the mask, the first one on top.
fn mask_of(kind: RowKind, nulls: &[bool]) -> u16 {
    let kind = (kind as u16 & 1) << 15 | (kind as u16 & 2) << 13;
    nulls.iter().enumerate().fold(kind, |mask, (at, &null)| mask | u16::from(null) << (13 - at))
}

/// Bytes of the mask.
const fn mask_len(fields: usize) -> usize {
    (2 + fields).div_ceil(8)
}

fn read_mask(record: &mut Fields<'_>, fields: usize) -> Result<(RowKind, u16), DecodeError> {
    let start = record.position();
    let bytes = record.take(mask_len(fields), "row")?;
    let mask = u16::from_be_bytes([bytes[0], bytes.get(1).copied().unwrap_or_default()]);
    if mask & (0x3FFF >> fields) != 0 {
        let last = bytes.len() - 1;
        return Err(DecodeError::Value { kind: "row", offset: start + last, value: bytes[last] });
    }
    Ok((KINDS[usize::from(mask >> 15 | mask >> 13 & 2)], mask))
}

macro_rules! rows {
    ($count:literal $($ty:ident $index:tt)*) => {
        impl<$($ty: SerializeRecord),*> SerializeRecord for Row<($(Option<$ty>,)*)> {
            fn serialized_len(&self) -> usize {
                mask_len($count) $(+ self.fields.$index.as_ref().map_or(0, $ty::field_len))*
            }

            fn serialize_into(&self, dst: &mut [u8]) {
                self.serialize_field(dst);
            }

            fn field_len(&self) -> usize {
                self.serialized_len()
            }

            fn serialize_field(&self, dst: &mut [u8]) -> usize {
                let mut at = mask_len($count);
                let mask = mask_of(self.kind, &[$(self.fields.$index.is_none()),*]);
                dst[..at].copy_from_slice(&mask.to_be_bytes()[..at]);
                $(if let Some(field) = &self.fields.$index {
                    at += field.serialize_field(&mut dst[at..]);
                })*
                at
            }
        }

        impl<'a, $($ty: DeserializeRecord<'a>),*> DeserializeRecord<'a> for Row<($(Option<$ty>,)*)> {
            fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
                let mut fields = Fields::new(bytes);
                let row = fields.read()?;
                fields.finish("row")?;
                Ok(row)
            }

            fn deserialize_field(record: &mut Fields<'a>) -> Result<Self, DecodeError> {
                let (kind, mask) = read_mask(record, $count)?;
                let is_null = |field: u32| mask & 1 << (13 - field) != 0;
                let fields = ($(if is_null($index) { None } else { Some(record.read::<$ty>()?) },)*);
                Ok(Self { kind, fields })
            }
        }
    };
}

rows! { 1 A 0 }
rows! { 2 A 0 B 1 }
rows! { 3 A 0 B 1 C 2 }
rows! { 4 A 0 B 1 C 2 D 3 }
rows! { 5 A 0 B 1 C 2 D 3 E 4 }
rows! { 6 A 0 B 1 C 2 D 3 E 4 F 5 }
rows! { 7 A 0 B 1 C 2 D 3 E 4 F 5 G 6 }
rows! { 8 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 }
rows! { 9 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 }
rows! { 10 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 }
rows! { 11 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 }
rows! { 12 A 0 B 1 C 2 D 3 E 4 F 5 G 6 H 7 I 8 J 9 K 10 L 11 }
