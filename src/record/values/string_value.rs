//! Text as Flink writes a Java string.

use std::{borrow::Cow, fmt, ops::Deref};

use super::super::{DecodeError, DeserializeRecord, Fields, MAX_RECORD_BYTES, SerializeRecord};

/// Text in the format of Flink's `StringSerializer`, for talking to Flink. Shows itself where it ends, so it is the
/// same as a record and as a field.
///
/// ```text
///   │ varint: UTF-16 units + 1 │ varint: a unit │ …        varint: 7 bits a byte, low ones first, top bit: more follow
/// ```
///
/// ASCII of up to 126 characters is its length + 1 and the text itself, so ASCII is read in place and borrowed; other
/// text is read into a `String`. Where both sides are forebay, `str` is shorter and always borrowed.
///
/// # Errors
/// When read: a null ([`NullableStringValue`] has those), a unit over 16 bits, a varint longer than it needs to be,
/// half a surrogate pair (Java's strings can hold one, Rust's cannot).
///
/// # Examples
/// ```
/// use forebay::record::{DecodeError, DeserializeRecord, SerializeRecord, StringValue};
/// let mut bytes = [0; 3];
/// StringValue::from("Az").serialize_into(&mut bytes);
/// assert_eq!(bytes, [3, b'A', b'z']);
/// assert_eq!(&*StringValue::deserialize(&bytes)?, "Az");
/// # Ok::<(), DecodeError>(())
/// ```
///
/// # Source
/// Flink's `StringValue.writeString` and `readString`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StringValue<'a>(pub Cow<'a, str>);

/// As [`StringValue`], or a null, which is the one byte 0.
///
/// # Examples
/// ```
/// use forebay::record::{DecodeError, DeserializeRecord, NullableStringValue};
/// assert_eq!(NullableStringValue::deserialize(&[0])?.0, None);
/// assert_eq!(NullableStringValue::deserialize(&[1])?.0.as_deref(), Some(""));
/// # Ok::<(), DecodeError>(())
/// ```
///
/// # Source
/// Flink's `StringValue.writeString` and `readString`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NullableStringValue<'a>(pub Option<Cow<'a, str>>);

impl<'a> From<&'a str> for StringValue<'a> {
    fn from(text: &'a str) -> Self {
        Self(Cow::Borrowed(text))
    }
}

impl From<String> for StringValue<'_> {
    fn from(text: String) -> Self {
        Self(Cow::Owned(text))
    }
}

impl Deref for StringValue<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StringValue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl SerializeRecord for StringValue<'_> {
    fn serialized_len(&self) -> usize {
        text_len(&self.0)
    }

    fn serialize_into(&self, dst: &mut [u8]) {
        write_text(&self.0, dst);
    }

    fn field_len(&self) -> usize {
        text_len(&self.0)
    }

    fn serialize_field(&self, dst: &mut [u8]) -> usize {
        write_text(&self.0, dst)
    }
}

impl SerializeRecord for NullableStringValue<'_> {
    fn serialized_len(&self) -> usize {
        self.0.as_deref().map_or(1, text_len)
    }

    fn serialize_into(&self, dst: &mut [u8]) {
        self.serialize_field(dst);
    }

    fn field_len(&self) -> usize {
        self.serialized_len()
    }

    fn serialize_field(&self, dst: &mut [u8]) -> usize {
        match &self.0 {
            None => write_varint(0, dst),
            Some(text) => write_text(text, dst),
        }
    }
}

impl<'a> DeserializeRecord<'a> for StringValue<'a> {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let value = fields.read()?;
        fields.finish(KIND)?;
        Ok(value)
    }

    fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        let offset = fields.position();
        read_text(fields)?.map(Self).ok_or(DecodeError::Null { kind: KIND, offset })
    }
}

impl<'a> DeserializeRecord<'a> for NullableStringValue<'a> {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut fields = Fields::new(bytes);
        let value = fields.read()?;
        fields.finish(KIND)?;
        Ok(value)
    }

    fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        read_text(fields).map(Self)
    }
}

const KIND: &str = "Flink string";

/// Bytes of a varint.
fn varint_len(value: u32) -> usize {
    // 1 for 0, else one for each 7 bits begun.
    (38 - (value | 1).leading_zeros() as usize) / 7
}

fn text_len(text: &str) -> usize {
    if text.is_ascii() {
        return varint_len(text.len() as u32 + 1) + text.len();
    }
    let (units, bytes) =
        text.encode_utf16().fold((0, 0), |(units, bytes), unit| (units + 1, bytes + varint_len(u32::from(unit))));
    varint_len(units + 1) + bytes
}

fn write_varint(mut value: u32, dst: &mut [u8]) -> usize {
    let mut at = 0;
    while value >= 0x80 {
        dst[at] = value as u8 | 0x80;
        value >>= 7;
        at += 1;
    }
    dst[at] = value as u8;
    at + 1
}

/// # Panics
/// If the text is larger than any record can be.
fn write_text(text: &str, dst: &mut [u8]) -> usize {
    assert!(text.len() < MAX_RECORD_BYTES, "a text of {} bytes", text.len());
    if text.is_ascii() {
        let at = write_varint(text.len() as u32 + 1, dst);
        dst[at..at + text.len()].copy_from_slice(text.as_bytes());
        return at + text.len();
    }
    let at = write_varint(text.encode_utf16().count() as u32 + 1, dst);
    text.encode_utf16().fold(at, |at, unit| at + write_varint(u32::from(unit), &mut dst[at..]))
}

/// A varint of at most `bits` bits, in as few bytes as it takes.
fn read_varint(fields: &mut Fields<'_>, bits: u32) -> Result<u32, DecodeError> {
    let (mut value, mut shift) = (0_u32, 0);
    loop {
        let offset = fields.position();
        let [byte] = *fields.take_array(KIND)?;
        let low = u32::from(byte & 0x7F);
        let (needless, too_large) = (byte == 0 && shift > 0, shift >= bits || low >> (bits - shift).min(7) != 0);
        if needless || too_large {
            return Err(DecodeError::Value { kind: KIND, offset, value: byte });
        }
        value |= low << shift;
        if byte < 0x80 {
            return Ok(value);
        }
        shift += 7;
    }
}

/// `None` for a null.
fn read_text<'a>(fields: &mut Fields<'a>) -> Result<Option<Cow<'a, str>>, DecodeError> {
    let offset = fields.position();
    let Some(units) = read_varint(fields, 31)?.checked_sub(1) else { return Ok(None) };
    let units = units as usize;
    let ascii = fields.peek().iter().take(units).take_while(|byte| byte.is_ascii()).count();
    if ascii == units {
        let text = fields.take(units, KIND)?;
        return Ok(Some(Cow::Borrowed(std::str::from_utf8(text).expect("ASCII is UTF-8"))));
    }
    if units > fields.remaining() {
        return Err(DecodeError::CutShort { kind: KIND, offset, missing: units - fields.remaining() });
    }
    let mut text = String::with_capacity(units);
    let mut high: Option<(u16, usize, u8)> = None; // half a pair, and where it stands
    for _ in 0..units {
        let offset = fields.position();
        let first = fields.peek().first().copied().unwrap_or_default();
        let unit = read_varint(fields, 16)? as u16;
        let pair = high.take().map_or([unit, 0], |(high, ..)| [high, unit]);
        let half = usize::from(pair[1] != 0 || pair[0] != unit);
        match char::decode_utf16(pair[..=half].iter().copied()).next() {
            Some(Ok(character)) => text.push(character),
            Some(Err(_)) if half == 0 && unit < 0xDC00 => high = Some((unit, offset, first)),
            _ => return Err(DecodeError::Value { kind: KIND, offset, value: first }),
        }
    }
    match high {
        None => Ok(Some(Cow::Owned(text))),
        Some((_, offset, value)) => Err(DecodeError::Value { kind: KIND, offset, value }),
    }
}
