//! A stream of stream elements.

use super::{bytes_of, cut, spanning::read};
use crate::record::{DecodeError, DeserializeRecord, RecordError, StreamElement, StringValue};

/// The first bytes say how to cut the rest into buffers; the rest is a stream of stream elements, good or garbage.
///
/// # Panics
/// If cutting the stream changes the elements, the errors in between, or the end; or if elements without an error do
/// not make up the stream again.
pub fn element_stream(input: &[u8]) {
    let Some((stream, pieces)) = cut(input) else { return };
    let whole = elements([stream]);
    assert_eq!(elements(pieces), whole, "cut");
    assert_eq!(elements(stream.chunks(1)), whole, "byte by byte");
    let (elements, Ok(())) = whole else { return };
    let Ok(good) = elements.into_iter().collect::<Result<Vec<_>, _>>() else { return };
    let framed = good.iter().flat_map(|record| [&(record.len() as u32).to_be_bytes()[..], record].concat());
    assert_eq!(framed.collect::<Vec<_>>(), stream, "the elements make up the stream");
}

/// The bytes each element is written as after it was read, or why it was not.
type Elements = Vec<Result<Vec<u8>, DecodeError>>;

fn elements<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Elements, Result<(), RecordError>) {
    let (records, end) = read(pieces);
    let again = |record: &Vec<u8>| StreamElement::<StringValue>::deserialize(record).map(|element| bytes_of(&element));
    (records.iter().map(again).collect(), end)
}
