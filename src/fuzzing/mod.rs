//! The oracles of the fuzz targets in `fuzz/`, one a file. Not part of the interface.
//!
//! They live here so that they run on stable too: from property tests, and over the seeds that are checked in
//! (`tests/oracles.rs`).
#![forbid(unsafe_code)]

mod element_stream;
mod gates;
mod pools;
mod spanning;
mod stream_element;
mod values;
mod wire;

pub use element_stream::element_stream;
pub use gates::gates;
pub use pools::pools;
pub use spanning::spanning;
pub use stream_element::stream_element;
pub use values::{VALUE_KINDS, values};
pub use wire::{decompression, event, frames};

/// A producer's session keeps to the protocol whatever a consumer sends it. The input is a program of both.
///
/// # Panics
/// If it does not.
#[cfg(feature = "net")]
pub fn server_conversation(input: &[u8]) {
    crate::transport::tcp::oracle::server_conversation(input);
}

/// A consumer's session keeps to the protocol whatever a producer sends it. The input is a program of both.
///
/// # Panics
/// If it does not.
#[cfg(feature = "net")]
pub fn client_conversation(input: &[u8]) {
    crate::transport::tcp::oracle::client_conversation(input);
}

use crate::record::SerializeRecord;

/// Divides an input into buffers: the first byte says how many bytes say how long each is. `None` if there are too few.
/// Gives the stream, and its pieces.
fn cut(input: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let (&cuts, input) = input.split_first()?;
    let (cuts, stream) = input.split_at_checked(usize::from(cuts))?;
    let mut pieces = Vec::new();
    let mut rest = stream;
    for &cut in cuts {
        let (piece, behind) = rest.split_at(usize::from(cut).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    Some((stream, pieces))
}

fn bytes_of<T: SerializeRecord + ?Sized>(value: &T) -> Vec<u8> {
    let mut bytes = vec![0xAA; value.serialized_len()];
    value.serialize_into(&mut bytes);
    bytes
}
