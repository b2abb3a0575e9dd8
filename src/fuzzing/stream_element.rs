//! One stream element.

use super::bytes_of;
use crate::record::{DecodeError, DeserializeRecord, StreamElement, StringValue};

/// A record: a stream element with a value of any bytes, of a number, of text, or garbage.
///
/// # Panics
/// If an element is not written as it was read, or an error lies outside of the record.
pub fn stream_element(input: &[u8]) {
    let element = StreamElement::<&[u8]>::deserialize(input);
    match &element {
        Ok(element) => assert_eq!(bytes_of(element), input, "{element:?}"),
        Err(error) => lies_within(error, input),
    }
    let number = StreamElement::<i64>::deserialize(input);
    let text = StreamElement::<StringValue>::deserialize(input);
    match &element {
        // The type of the value makes no difference to what is no record.
        Ok(StreamElement::Record(record)) => {
            assert_eq!(number.is_ok(), i64::deserialize(record.value).is_ok());
            assert_eq!(text.is_ok(), StringValue::deserialize(record.value).is_ok());
        }
        Ok(_) => assert!(number.is_ok() && text.is_ok()),
        Err(error) => assert_eq!((number.as_ref().err(), text.as_ref().err()), (Some(error), Some(error))),
    }
    match &text {
        Ok(element) => assert_eq!(bytes_of(element), input, "{element:?}"),
        Err(error) => lies_within(error, input),
    }
    match &number {
        Ok(element) => assert_eq!(bytes_of(element), input, "{element:?}"),
        Err(error) => lies_within(error, input),
    }
}

pub(super) fn lies_within(error: &DecodeError, record: &[u8]) {
    assert!(error.offset() <= record.len(), "{error}, of {} bytes", record.len());
}
