//! Java's modified UTF-8: a zero is two bytes, and a character beyond U+FFFF two surrogates of three bytes each.

use super::{DecodeError, EncodeError};

/// Bytes that a UTF-16 unit takes.
const fn width(unit: u16) -> usize {
    match unit {
        1..0x80 => 1,
        0 | 0x80..0x800 => 2,
        _ => 3,
    }
}

/// The text of these bytes, which begin at `base`.
pub(super) fn decode(bytes: &[u8], field: &'static str, base: u64) -> Result<String, DecodeError> {
    let mut units = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let next = |i: usize| bytes.get(at + i).filter(|b| **b & 0xC0 == 0x80).map(|b| u16::from(b & 0x3F));
        let first = u16::from(bytes[at]);
        let (unit, used) = match (first, next(1), next(2)) {
            (1..=0x7F, _, _) => (first, 1),
            (0xC0..=0xDF, Some(b), _) => ((first & 0x1F) << 6 | b, 2),
            (0xE0..=0xEF, Some(b), Some(c)) => ((first & 0xF) << 12 | b << 6 | c, 3),
            _ => (0, 0),
        };
        if used != width(unit) {
            return Err(DecodeError::Text { field, offset: base + at as u64 });
        }
        units.push(unit);
        at += used;
    }
    String::from_utf16(&units).map_err(|_| DecodeError::Text { field, offset: base })
}

/// Appends `text` behind its length in two bytes.
pub(super) fn encode(text: &str, field: &'static str, out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let len: usize = text.encode_utf16().map(width).sum();
    let Ok(short) = u16::try_from(len) else {
        return Err(EncodeError { field, value: len as u64, expected: "at most 65535 bytes" });
    };
    out.extend_from_slice(&short.to_be_bytes());
    for unit in text.encode_utf16() {
        let low = |shift: u32| 0x80 | (unit >> shift & 0x3F) as u8;
        match width(unit) {
            1 => out.push(unit as u8),
            2 => out.extend_from_slice(&[0xC0 | (unit >> 6) as u8, low(0)]),
            _ => out.extend_from_slice(&[0xE0 | (unit >> 12) as u8, low(6), low(0)]),
        }
    }
    Ok(())
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn text_comes_back_and_has_javas_bytes() {
        for (text, bytes) in [
            ("a\0", &b"a\xC0\x80"[..]),
            ("é", "é".as_bytes()),
            ("水", "水".as_bytes()),
            ("😀", b"\xED\xA0\xBD\xED\xB8\x80"),
        ] {
            let mut out = Vec::new();
            encode(text, "text", &mut out).unwrap();
            assert_eq!(out[2..], *bytes);
            assert_eq!(out[..2], (bytes.len() as u16).to_be_bytes());
            assert_eq!(decode(bytes, "text", 0).as_deref(), Ok(text));
        }
    }

    #[test]
    fn bytes_that_are_no_text_say_where() {
        for (bytes, offset) in [
            (&b"ab\x80"[..], 12),
            (b"\xE0\x80", 10),
            ("😀".as_bytes(), 10),
            (b"\xED\xA0\xBD", 10),
            (b"a\0", 11),
            (b"\xC1\x81", 10),
            (b"\xE0\x9F\xBF", 10),
        ] {
            assert_eq!(decode(bytes, "name", 10), Err(DecodeError::Text { field: "name", offset }));
        }
    }

    #[test]
    fn a_text_over_its_length_field_is_refused() {
        let mut out = Vec::new();
        let error = encode(&"é".repeat(32768), "name", &mut out).unwrap_err();
        assert_eq!((error.value, out.len()), (65536, 0));
    }
}
