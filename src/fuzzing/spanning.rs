//! Records out of buffers.

use super::cut;
use crate::record::{RecordError, SpanningReader};

/// The largest record that the oracle accepts.
const MAX_RECORD: usize = 4096;

/// The first bytes say how to cut the rest into buffers; the rest is a stream of records, good or garbage.
///
/// # Panics
/// If cutting the stream changes what is read from it: each cut must give the same records and the same end.
pub fn spanning(input: &[u8]) {
    let Some((stream, pieces)) = cut(input) else { return };
    let whole = read([stream]);
    assert_eq!(read(pieces), whole, "cut");
    assert_eq!(read(stream.chunks(1)), whole, "byte by byte");
    if let (records, Ok(())) = &whole {
        let again: Vec<u8> =
            records.iter().flat_map(|r| (r.len() as u32).to_be_bytes().into_iter().chain(r.iter().copied())).collect();
        assert_eq!(again, stream, "the records make up the stream");
    }
}

/// Every record, and how the stream ended.
pub(super) fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Vec<u8>>, Result<(), RecordError>) {
    let mut reader = SpanningReader::new(MAX_RECORD);
    let mut records = Vec::new();
    for piece in pieces {
        let mut at = 0;
        loop {
            match reader.next(piece, &mut at) {
                Ok(Some(found)) => records.push(reader.bytes(piece, &found).to_vec()),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next(b"more", &mut 0), Err(error), "the stream can not be read on");
                    return (records, Err(error));
                }
            }
            assert!(reader.spanning().len() <= MAX_RECORD);
        }
        assert_eq!(at, piece.len(), "a buffer is used up before the next");
    }
    (records, reader.finish())
}
