//! Round trips, layouts, and what is refused.

use proptest::prelude::*;

use super::super::{DecodeError, DeserializeRecord, NullableStringValue, Row, RowKind, SerializeRecord, StringValue};

fn bytes_of<T: SerializeRecord + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0xAA; value.serialized_len()];
    value.serialize_into(&mut bytes);
    bytes
}

/// The value comes back from a record of its own, from among fields, and from no part of either.
fn round_trip<T>(value: &T)
where
    T: SerializeRecord + for<'a> DeserializeRecord<'a> + Clone + PartialEq + std::fmt::Debug,
{
    assert_eq!(T::deserialize(&bytes_of(value)).as_ref(), Ok(value));
    let fields = (1_u8, value.clone(), value.clone(), true);
    let bytes = bytes_of(&fields);
    assert_eq!(bytes.len(), 2 + 2 * value.field_len(), "of {value:?}");
    assert_eq!(<(u8, T, T, bool)>::deserialize(&bytes).as_ref(), Ok(&fields));
    for end in 0..bytes.len() {
        let error = <(u8, T, T, bool)>::deserialize(&bytes[..end]).unwrap_err();
        assert!(error.offset() <= end, "{error} of {end} bytes of {bytes:?}");
    }
    let longer = [&bytes[..], &[0]].concat();
    let trailing = DecodeError::Trailing { kind: "tuple", offset: bytes.len(), extra: 1 };
    assert_eq!(<(u8, T, T, bool)>::deserialize(&longer), Err(trailing));
}

#[test]
fn numbers_come_back_and_a_wrong_length_is_refused() {
    #[allow(clippy::needless_pass_by_value, reason = "called with literals")]
    fn number<T>(value: T)
    where
        T: SerializeRecord + for<'a> DeserializeRecord<'a> + Clone + PartialEq + std::fmt::Debug,
    {
        let mut bytes = bytes_of(&value);
        bytes.push(0);
        assert!(matches!(T::deserialize(&bytes), Err(DecodeError::Length { .. })), "{value:?} with a byte too many");
        round_trip(&value);
    }
    number(0xA5_u8);
    number(-2_i8);
    number(0x0102_u16);
    number(-2_i16);
    number(0x0102_0304_u32);
    number(i32::MIN);
    number(u64::MAX / 3);
    number(i64::MIN);
    number(u128::MAX / 3);
    number(i128::MIN);
    number(1.5_f32);
    number(1.5e300_f64);
    number(usize::MAX);
    number(isize::MIN);
    number(true);
    number('😀');
}

#[test]
fn text_options_lists_and_tuples_come_back() {
    round_trip(&"zwölf".to_owned());
    round_trip(&vec![1_u8, 2, 3]);
    round_trip(&vec![1_u32, 2, 3]);
    round_trip(&vec![vec!["a".to_owned()], vec![], vec![String::new(), "b".to_owned()]]);
    round_trip(&Some(7_i64));
    round_trip(&None::<i64>);
    round_trip(&Some("text".to_owned()));
    round_trip(&[1_u16, 2, 3]);
    round_trip(&[0xFF_u8; 3]);
    round_trip(&["a".to_owned(), "bc".to_owned()]);
    round_trip(&(1_u8, (2_u16, Some(vec![3_u32])), "four".to_owned()));
    round_trip(&(1_u8, 2_i8, 3_u16, 4_i16, 5_u32, 6_i32, 7_u64, 8_i64, 9_u128, 10_i128, 1.5_f32, 2.5_f64));
}

#[test]
fn rows_come_back_with_every_kind_and_null() {
    use RowKind::{Delete, Insert, UpdateAfter, UpdateBefore};
    for (kind, bits) in [(Insert, 0), (UpdateBefore, 0b10), (UpdateAfter, 0b01), (Delete, 0b11)] {
        round_trip(&Row { kind, fields: (Some(7_u8), None::<u16>, Some("text".to_owned())) });
        assert_eq!(bytes_of(&Row { kind, fields: (Some(0xFF_u8),) }), [bits << 6, 0xFF]);
        let null = None::<bool>;
        let twelve =
            Row { kind, fields: (null, Some(7_u8), null, null, null, null, null, null, null, null, null, null) };
        assert_eq!(bytes_of(&twelve), [bits << 6 | 0b10_1111, 0b1111_1100, 7]);
        round_trip(&twelve);
    }
    let error = Row::<(Option<u8>, Option<u8>)>::deserialize(&[0b0000_1000, 1, 2]).unwrap_err();
    assert_eq!(error, DecodeError::Value { kind: "row", offset: 0, value: 8 }, "a bit for no field");
}

#[test]
fn layouts_are_as_the_table_says() {
    assert_eq!(bytes_of(&0x0102_0304_i32), [1, 2, 3, 4]);
    assert_eq!(bytes_of(&'A'), [0, 0, 0, 0x41]);
    assert_eq!(bytes_of(&7_usize), [0, 0, 0, 0, 0, 0, 0, 7]);
    assert_eq!(bytes_of("ab"), b"ab");
    assert_eq!(bytes_of(&b"ab"[..]), b"ab");
    assert_eq!(bytes_of(&("ab", 1_u8)), b"\0\0\0\x02ab\x01");
    assert_eq!(bytes_of(&(&b"ab"[..],)), b"\0\0\0\x02ab");
    assert_eq!(bytes_of(&[1_u16, 2]), [0, 1, 0, 2]);
    assert_eq!(bytes_of(&[1_u16, 2][..]), [0, 0, 0, 2, 0, 1, 0, 2]);
    assert_eq!(bytes_of(&Some("ab")), b"\x01ab");
    assert_eq!(bytes_of(&(Some("ab"), None::<u8>)), b"\x01\0\0\0\x02ab\0");
    assert_eq!(bytes_of(&Box::new(std::borrow::Cow::Borrowed("ab"))), b"ab");
}

#[test]
fn a_dynamic_record_is_written_as_the_value_is() {
    let records: [&dyn SerializeRecord; 3] = [&1_u8, &"two", &(3_u16,)];
    assert_eq!(records.map(bytes_of), [vec![1], b"two".to_vec(), vec![0, 3]]);
}

#[test]
fn borrowed_values_lie_in_the_record() {
    let bytes = bytes_of(&("name", &[1_u8, 2, 3][..], StringValue::from("ascii")));
    let (name, blob, text) = <(&str, &[u8], StringValue)>::deserialize(&bytes).unwrap();
    let within = bytes.as_ptr_range();
    for place in [name.as_ptr(), blob.as_ptr(), text.0.as_ptr()] {
        assert!(within.contains(&place));
    }
    assert!(matches!(text.0, std::borrow::Cow::Borrowed("ascii")));
}

#[test]
fn bad_values_say_where() {
    let value = |kind, offset, value| DecodeError::Value { kind, offset, value };
    assert_eq!(bool::deserialize(&[2]), Err(value("bool", 0, 2)));
    assert_eq!(<(u32, bool)>::deserialize(&[0, 0, 0, 0, 2]), Err(value("bool", 4, 2)));
    assert_eq!(Option::<u8>::deserialize(&[3, 0]), Err(value("option", 0, 3)));
    assert_eq!(char::deserialize(&[0, 0, 0xD8, 0]), Err(value("char", 2, 0xD8)));
    assert_eq!(char::deserialize(&[0, 0x11, 0, 0]), Err(value("char", 1, 0x11)));
    assert_eq!(<(u8, Vec<&str>)>::deserialize(b"\0\0\0\0\x01\0\0\0\x02a\xFF"), Err(value("UTF-8 text", 10, 0xFF)));
    let error = <&str>::deserialize(b"ab\xFF").unwrap_err();
    assert_eq!(error.to_string(), "byte 2 of the record has the value 255, which no UTF-8 text has there");
    let error = u64::deserialize(b"abcd").unwrap_err();
    assert_eq!(error.to_string(), "4 bytes at byte 0 of the record are no u64, which takes 8");
    assert_eq!(Option::<u8>::deserialize(&[0, 0]), Err(DecodeError::Trailing { kind: "none", offset: 1, extra: 1 }));
}

#[test]
fn a_count_that_lies_is_refused_before_anything_is_allocated() {
    let bytes = [0xFF; 12];
    let count = DecodeError::Count { offset: 0, count: u32::MAX, bytes: 8 };
    assert_eq!(Vec::<u64>::deserialize(&bytes), Err(count.clone()));
    assert_eq!(Vec::<[u8; 0]>::deserialize(&bytes), Err(count.clone()));
    assert_eq!(<(Vec<u8>,)>::deserialize(&bytes), Err(count));
    let cut = DecodeError::CutShort { kind: "length-prefixed value", offset: 0, missing: u32::MAX as usize - 8 };
    assert_eq!(<(&[u8],)>::deserialize(&bytes), Err(cut));
}

#[test]
fn flink_strings_that_no_text_makes_are_refused() {
    fn error(bytes: &[u8]) -> DecodeError {
        StringValue::deserialize(bytes).unwrap_err()
    }
    let value = |offset, value| DecodeError::Value { kind: "Flink string", offset, value };
    let cut = |offset, missing| DecodeError::CutShort { kind: "Flink string", offset, missing };
    assert_eq!(error(&[]), cut(0, 1));
    assert_eq!(error(&[0]), DecodeError::Null { kind: "Flink string", offset: 0 });
    assert_eq!(error(&[3, b'a']), cut(0, 1));
    assert_eq!(error(&[0x80]), cut(1, 1), "the length is cut");
    assert_eq!(error(&[0x80, 0]), value(1, 0), "zero in two bytes");
    assert_eq!(error(&[0xFF, 0xFF, 0xFF, 0xFF, 0x08]), value(4, 8), "a length over 31 bits");
    assert_eq!(error(&[0xFF, 0xFF, 0xFF, 0xFF, 0x07, 0x80, 1]), cut(0, 0x7FFF_FFFE - 2), "nothing is allocated");
    assert_eq!(error(&[2, 0x80, 0x80, 0x04]), value(3, 4), "a unit over 16 bits");
    assert_eq!(error(&[2, 0xBD, 0xB0, 0x03]), value(1, 0xBD), "a high surrogate alone");
    assert_eq!(error(&[3, 0xBD, 0xB0, 0x03, b'a']), value(4, b'a'), "and with no low one behind it");
    assert_eq!(error(&[2, 0x80, 0xBC, 0x03]), value(1, 0x80), "a low surrogate alone");
    assert_eq!(error(&[2, b'a', 0]), DecodeError::Trailing { kind: "Flink string", offset: 2, extra: 1 });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 256 }))]

    #[test]
    fn any_value_comes_back(
        number in any::<i64>(),
        text in any::<String>(),
        list in prop::collection::vec(any::<Option<(u16, String)>>(), 0..8),
        character in any::<char>(),
    ) {
        let value = (number, text, list, character);
        let bytes = bytes_of(&value);
        prop_assert_eq!(bytes.len(), value.serialized_len());
        prop_assert_eq!(Ok(value), DeserializeRecord::deserialize(&bytes));
    }

    #[test]
    fn any_text_comes_back_as_a_flink_string(text in any::<String>()) {
        let value = StringValue::from(&text[..]);
        let bytes = bytes_of(&value);
        prop_assert_eq!(StringValue::deserialize(&bytes), Ok(value.clone()));
        let nullable = NullableStringValue(Some(value.0));
        prop_assert_eq!(&bytes_of(&nullable), &bytes);
        prop_assert_eq!(NullableStringValue::deserialize(&bytes), Ok(nullable));
    }
}
