//! Records out of buffers.

use super::cut;
use crate::record::{FoundPiece, RecordError, SpanningReader};

/// The largest record that the oracle accepts.
const MAX_RECORD: usize = 4096;

/// The first bytes say how to cut the rest into buffers; the rest is a stream of records, good or garbage.
///
/// # Panics
/// If cutting the stream changes what is read from it: each cut must give the same records and the same end, whole or
/// in pieces, be some of them left out half-way.
pub fn spanning(input: &[u8]) {
    let Some((stream, pieces)) = cut(input) else { return };
    let whole = read([stream]);
    assert_eq!(read(pieces.iter().copied()), whole, "cut");
    assert_eq!(read(stream.chunks(1)), whole, "byte by byte");
    for way in 0..3 {
        read_in_pieces(&pieces, way, &whole);
    }
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

/// Reads the same stream in pieces: all of it (`way` 0), or now and then whole, or leaving out the rest, as `way` and
/// the place in the stream have it.
fn read_in_pieces(pieces: &[&[u8]], way: usize, (records, end): &(Vec<Vec<u8>>, Result<(), RecordError>)) {
    let mut reader = SpanningReader::new(MAX_RECORD);
    let (mut nth, mut have, mut calls) = (0, 0, 0_usize); // the record, what has come of it, how often was asked
    for piece in pieces {
        let mut at = 0;
        loop {
            calls += 1;
            let choice = if way == 0 { 0 } else { (calls * 7 / (way + 1) + at) % 4 };
            if choice >= 2 && have > 0 {
                (nth, have) = (nth + 1, 0); // the rest is left out
            }
            let found = match choice {
                2 => reader.next(piece, &mut at).map(|found| found.map(|found| reader.bytes(piece, &found).to_vec())),
                3 => {
                    reader.skip_rest();
                    Ok(None)
                }
                _ => reader.next_piece(piece, &mut at).map(|found| {
                    found.map(|FoundPiece { place, offset, record_len }| {
                        let bytes = reader.bytes(piece, &place);
                        assert_eq!(offset, have, "one behind the other");
                        assert!(!bytes.is_empty() || record_len == 0, "no piece for nothing");
                        if let Some(record) = records.get(nth) {
                            assert_eq!((record_len, bytes), (record.len(), &record[offset..offset + bytes.len()]));
                        }
                        have += bytes.len();
                        if have == record_len {
                            (nth, have) = (nth + 1, 0);
                        }
                        Vec::new()
                    })
                }),
            };
            match found {
                Ok(Some(record)) if choice == 2 => {
                    assert_eq!(record, records[nth], "whole among pieces");
                    nth += 1;
                }
                Ok(None) if choice != 3 => break,
                Ok(_) => {}
                Err(error) => return assert_eq!((nth, Err(error)), (records.len(), *end)),
            }
        }
        assert_eq!(at, piece.len(), "a buffer is used up before the next");
    }
    assert_eq!(reader.finish(), *end);
    assert!(nth == records.len() || end.is_err() && nth == records.len() + 1, "{nth} of {}", records.len());
}
