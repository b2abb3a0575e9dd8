//! Oracles of the codec of Flink's protocol.

use crate::wire::{Codec, DecodeError, Decoder, Decompressor, Event, Limits, Message, Role};

/// The first byte says whose stream it is, the next ones how to cut the rest; the rest is a stream of frames, good or
/// garbage.
///
/// # Panics
/// If cutting the stream changes what is read from it, or encoding what was read does not give the stream again.
pub fn frames(input: &[u8]) {
    let Some((&from, input)) = input.split_first() else { return };
    let Some((stream, pieces)) = super::cut(input) else { return };
    let from = if from & 1 == 0 { Role::Producer } else { Role::Consumer };
    let (messages, again, error) = read(from, [stream]);
    assert!(stream.starts_with(&again), "the messages make up the stream");
    let whole = (messages, again, error);
    assert_eq!(read(from, pieces.iter().copied()), whole, "cut as {pieces:?}");
    assert_eq!(read(from, stream.chunks(1)), whole, "byte by byte");
}

/// The messages, the bytes that they and their contents have, and why the stream could not be read on.
fn read<'a>(from: Role, pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Message>, Vec<u8>, Option<DecodeError>) {
    let mut limits = Limits::default();
    (limits.content, limits.event, limits.partials, limits.error) = (4096, 1024, 64, 8192);
    let mut decoder = Decoder::new(from, limits);
    let (mut messages, mut again, mut content) = (Vec::new(), Vec::new(), 0);
    for piece in pieces {
        let mut at = 0;
        loop {
            let taken = content.min(piece.len() - at);
            again.extend_from_slice(&piece[at..at + taken]);
            (at, content) = (at + taken, content - taken);
            match decoder.next(piece, &mut at) {
                Ok(Some(message)) => {
                    if let Message::BufferResponse(buffer) = &message {
                        let sizes = decoder.partial_sizes();
                        buffer.encode_partials(sizes, &mut again).expect("what was decoded can be encoded");
                        content = buffer.size as usize;
                        assert!(content <= 4096);
                    } else {
                        message.encode(&mut again).expect("what was decoded can be encoded");
                    }
                    messages.push(message);
                }
                Ok(None) if at == piece.len() => break,
                Ok(None) => assert!(content == 0 || at < piece.len(), "no way on"),
                Err(error) => {
                    assert_eq!(decoder.next(b"more", &mut 0), Err(error), "the stream can not be read on");
                    return (messages, again, Some(error));
                }
            }
        }
    }
    (messages, again, None)
}

/// The content of an event's buffer, good or garbage.
///
/// # Panics
/// If encoding the event does not give the bytes it was read from.
pub fn event(input: &[u8]) {
    let Ok(event) = Event::decode(input) else { return };
    let mut again = Vec::new();
    event.encode(&mut again).expect("what was decoded can be encoded");
    assert!(input.starts_with(&again), "{event:?}");
    assert_eq!(Event::decode(&again), Ok(event), "without what followed it");
}

/// The first byte names a codec, the next two the room; the rest is a compressed piece, good or garbage.
///
/// # Panics
/// If a piece holds more than there is room for or than it announced, or what was read before changes what it holds.
pub fn decompression(input: &[u8]) {
    let Some((&[codec, low, high], piece)) = input.split_first_chunk() else { return };
    let room = usize::from(u16::from_le_bytes([low, high]));
    let codec = Codec::ALL[usize::from(codec) % Codec::ALL.len()];
    let Ok(mut decompressor) = Decompressor::new(codec) else { return };
    let mut out = vec![0xA5; room];
    let done = decompressor.decompress(piece, &mut out);
    if let Ok(len) = done {
        let announced = u32::from_le_bytes([piece[4], piece[5], piece[6], piece[7]]);
        assert!(len == announced as usize && (1..=room).contains(&len));
        let mut again = vec![0x5A; room];
        assert_eq!(decompressor.decompress(piece, &mut again), done, "again");
        assert!(again[..len] == out[..len], "the same content");
    }
}
