//! Stream elements and values are Flink's, byte for byte, both ways: `data/flink/vectors.txt` was printed by Flink.

use std::collections::BTreeMap;

use forebay::record::{
    DecodeError, DeserializeRecord, InternalWatermark, LatencyMarker, NullableStringValue, RecordAttributes, Row,
    RowKind, SerializeRecord, StreamElement, StreamRecord, StringValue, Watermark, WatermarkStatus,
};

/// What Flink said, by group and description.
struct Vectors(BTreeMap<(&'static str, &'static str), Vec<u8>>);

impl Vectors {
    fn new() -> Self {
        let lines = include_str!("data/flink/vectors.txt").lines();
        let ours = lines.filter(|line| line.starts_with("element | ") || line.starts_with("value | "));
        Self(ours.map(parse).collect())
    }

    /// Each vector is taken once, so that none is left out.
    fn take(&mut self, group: &'static str, what: &'static str) -> Vec<u8> {
        self.0.remove(&(group, what)).unwrap_or_else(|| panic!("no {group} {what:?}"))
    }
}

fn parse(line: &'static str) -> ((&'static str, &'static str), Vec<u8>) {
    let [group, what, hex] = line.split(" | ").collect::<Vec<_>>()[..] else { panic!("{line}") };
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect(line)).collect();
    ((group, what), bytes)
}

fn bytes_of<T: SerializeRecord>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0xAA; value.serialized_len()];
    value.serialize_into(&mut bytes);
    bytes
}

/// `value` is written as `bytes`, and read from them; and from no part of them.
#[track_caller]
fn both_ways<'a, T>(value: &T, bytes: &'a [u8])
where
    T: SerializeRecord + DeserializeRecord<'a> + PartialEq + std::fmt::Debug,
{
    assert_eq!(bytes_of(value), bytes, "{value:?}");
    assert_eq!(T::deserialize(bytes).as_ref(), Ok(value));
}

/// As [`both_ways`], with Flink's length before it; and each cut of it is an error that lies within.
#[track_caller]
fn element<'a, T>(value: &StreamElement<T>, framed: &'a [u8])
where
    T: SerializeRecord + DeserializeRecord<'a> + PartialEq + std::fmt::Debug,
{
    let (length, bytes) = framed.split_at(4);
    assert_eq!(length, (bytes.len() as u32).to_be_bytes());
    both_ways(value, bytes);
    for end in 0..bytes.len() {
        let error = StreamElement::<T>::deserialize(&bytes[..end]).expect_err("cut");
        assert!(error.offset() <= end, "{error} of {end} bytes of {value:?}");
    }
}

#[test]
fn every_stream_element_is_flinks() {
    let mut vectors = Vectors::new();
    let mut take = |what| vectors.take("element", what);

    let bytes = take("record, long 0x0102030405060708, timestamp 0x1112");
    element(&StreamElement::Record(StreamRecord::at(0x1112, 0x0102_0304_0506_0708_i64)), &bytes);
    let bytes = take("record, long -2, no timestamp");
    element(&StreamElement::Record(StreamRecord::new(-2_i64)), &bytes);
    let bytes = take("record, bytes aabbcc, timestamp -1");
    element(&StreamElement::Record(StreamRecord::at(-1, (&[0xAA_u8, 0xBB, 0xCC][..],))), &bytes);
    let bytes = take("record, empty bytes, no timestamp");
    element(&StreamElement::Record(StreamRecord::new((Vec::<u8>::new(),))), &bytes);
    let bytes = take("record, string \"Az\", no timestamp");
    element(&StreamElement::Record(StreamRecord::new(StringValue::from("Az"))), &bytes);

    type Any = StreamElement<i64>;
    element(&Any::Watermark(Watermark::new(1000)), &take("watermark 1000"));
    element(&Any::Watermark(Watermark::MAX), &take("watermark Long.MAX_VALUE"));
    let operator_id = std::array::from_fn(|at| at as u8 + 1);
    let marker = LatencyMarker { marked_time: 5, operator_id, subtask_index: 7 };
    element(&Any::LatencyMarker(marker), &take("latency marker (marked time 5, operator id 0102..10, subtask 7)"));
    element(&Any::WatermarkStatus(WatermarkStatus::Idle), &take("watermark status IDLE"));
    element(&Any::WatermarkStatus(WatermarkStatus::Active), &take("watermark status ACTIVE"));
    for (is_backlog, what) in [(true, "record attributes (backlog true)"), (false, "record attributes (backlog false)")]
    {
        element(&Any::RecordAttributes(RecordAttributes { is_backlog }), &take(what));
    }
    let internal = InternalWatermark { subpartition: 3, timestamp: 1000 };
    element(&Any::InternalWatermark(internal), &take("internal watermark (timestamp 1000, subpartition 3)"));

    let left: Vec<_> = vectors.0.keys().filter(|(group, _)| *group == "element").collect();
    assert!(left.is_empty(), "not tested: {left:?}");
}

#[test]
fn every_value_is_flinks() {
    let mut vectors = Vectors::new();
    let mut take = |what| vectors.take("value", what);
    both_ways(&-2_i64, &take("LongSerializer -2"));
    both_ways(&0x0102_0304_i32, &take("IntSerializer 0x01020304"));
    both_ways(&0x0102_i16, &take("ShortSerializer 0x0102"));
    both_ways(&-1_i8, &take("ByteSerializer -1"));
    both_ways(&true, &take("BooleanSerializer true"));
    both_ways(&1.5_f32, &take("FloatSerializer 1.5"));
    both_ways(&1.5_f64, &take("DoubleSerializer 1.5"));
    both_ways(&(&[1_u8, 2, 3][..],), &take("BytePrimitiveArraySerializer [01 02 03]"));
    both_ways(&NullableStringValue(None), &take("StringSerializer null"));
    both_ways(&StringValue::from(""), &take("StringSerializer empty"));
    both_ways(&StringValue::from("A"), &take("StringSerializer \"A\""));
    both_ways(&StringValue::from("\u{7F}\u{80}\u{FF}"), &take("StringSerializer U+007F U+0080 U+00FF"));
    both_ways(
        &StringValue::from("\u{7FF}\u{3FFF}\u{4000}\u{FFFF}"),
        &take("StringSerializer U+07FF U+3FFF U+4000 U+FFFF"),
    );
    both_ways(&StringValue::from("\u{1F600}"), &take("StringSerializer U+1F600 (a surrogate pair)"));
    for (length, what) in [
        (126, "StringSerializer 126 times a"),
        (127, "StringSerializer 127 times a"),
        (130, "StringSerializer 130 times a"),
    ] {
        both_ways(&StringValue::from("a".repeat(length)), &take(what));
    }
    both_ways(&(7_i64, StringValue::from("b")), &take("TupleSerializer (7, \"b\")"));
    let row = |kind, number| Row { kind, fields: (number, Some(StringValue::from("b"))) };
    both_ways(&row(RowKind::Insert, Some(7_i64)), &take("RowSerializer INSERT (7, \"b\")"));
    both_ways(&row(RowKind::Insert, None::<i64>), &take("RowSerializer INSERT (null, \"b\")"));
    both_ways(&row(RowKind::Delete, Some(7_i64)), &take("RowSerializer DELETE (7, \"b\")"));
    let left: Vec<_> = vectors.0.keys().filter(|(group, _)| *group == "value").collect();
    assert!(left.is_empty(), "not tested: {left:?}");
}

#[test]
fn corrupt_elements_say_where() {
    let value = |kind, offset, value| Err(DecodeError::Value { kind, offset, value });
    let read = StreamElement::<i64>::deserialize;
    assert_eq!(read(&[7]), value("stream element", 0, 7));
    assert_eq!(read(&[255, 1, 2]), value("stream element", 0, 255));
    assert_eq!(read(&[4, 0xFF, 0xFF, 0xFF, 0xFE]), value("watermark status", 4, 0xFE));
    assert_eq!(read(&[4, 0, 0, 0, 1]), value("watermark status", 4, 1));
    assert_eq!(read(&[4, 1, 0, 0, 0]), value("watermark status", 1, 1));
    assert_eq!(read(&[5, 2]), value("bool", 1, 2));
    assert_eq!(read(&[]), Err(DecodeError::CutShort { kind: "stream element", offset: 0, missing: 1 }));
    assert_eq!(read(&[0, 1, 2]), Err(DecodeError::CutShort { kind: "i64", offset: 1, missing: 6 }));
    assert_eq!(
        read(&[0, 0, 0, 0, 0, 0, 0, 0, 5, 1]),
        Err(DecodeError::Length { kind: "i64", offset: 9, expected: 8, len: 1 })
    );
    assert_eq!(read(&[5, 1, 0]), Err(DecodeError::Trailing { kind: "stream element", offset: 2, extra: 1 }));
    let text = StreamElement::<&str>::deserialize(b"\x01ab\xFF").unwrap_err();
    assert_eq!(text.to_string(), "byte 3 of the record has the value 255, which no UTF-8 text has there");
}

#[test]
fn the_value_of_an_element_may_be_read_later() {
    let bytes = bytes_of(&StreamRecord::at(5, ("name", 7_u32)));
    let StreamElement::Record(record) = StreamElement::<&[u8]>::deserialize(&bytes).unwrap() else { panic!() };
    assert_eq!(<(&str, u32)>::deserialize(record.value), Ok(("name", 7)));
}
