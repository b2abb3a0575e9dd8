//! The bytes of real Flinks, decoded and encoded again: `tests/data/flink/`.

use std::{fs, path::PathBuf};

use forebay::{
    buffer::DataType,
    wire::{DecodeError, Decoder, ErrorResponse, Event, InputChannelId, Limits, Message, ResultPartitionId, Role},
};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/flink")
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.trim().as_bytes().chunks(2).map(digits).collect()
}

/// The frames of a capture, with who has sent each.
fn frames(text: &str) -> Vec<(Role, Vec<u8>)> {
    let frame = |line: &str| match line.split_at_checked(2)? {
        ("> ", hex) => Some((Role::Consumer, unhex(hex))),
        ("< ", hex) => Some((Role::Producer, unhex(hex))),
        _ => None,
    };
    text.lines().filter_map(frame).collect()
}

/// A capture's name and its frames.
type Capture = (String, Vec<(Role, Vec<u8>)>);

fn captures() -> Vec<Capture> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "hex") {
            found.push((path.display().to_string(), frames(&fs::read_to_string(path).unwrap())));
        }
    }
    assert!(found.len() >= 14, "captures are missing");
    found
}

/// The rows of `vectors.txt`: group, what, bytes.
fn vectors(group: &str) -> Vec<(String, Vec<u8>)> {
    let text = fs::read_to_string(folder().join("vectors.txt")).unwrap();
    let row = |line: &str| {
        let (line, hex) = line.rsplit_once(" | ")?;
        let what = line.strip_prefix(group)?.strip_prefix(" | ")?;
        Some((what.to_owned(), unhex(hex)))
    };
    text.lines().filter(|line| !line.starts_with('#')).filter_map(row).collect()
}

/// All messages of a stream that comes in pieces, encoded again, contents in between.
fn decode_and_encode(from: Role, pieces: &mut dyn Iterator<Item = &[u8]>) -> Result<Vec<u8>, DecodeError> {
    let mut decoder = Decoder::new(from, Limits::default());
    let (mut out, mut content) = (Vec::new(), 0);
    for piece in pieces {
        let mut at = 0;
        loop {
            let taken = content.min(piece.len() - at);
            out.extend_from_slice(&piece[at..at + taken]);
            (at, content) = (at + taken, content - taken);
            match decoder.next(piece, &mut at)? {
                Some(Message::BufferResponse(buffer)) => {
                    buffer.encode_partials(decoder.partial_sizes(), &mut out).unwrap();
                    content = buffer.size as usize;
                }
                Some(message) => message.encode(&mut out).unwrap(),
                None if at == piece.len() => break,
                None => {}
            }
        }
    }
    assert!(decoder.is_between_messages() && content == 0);
    Ok(out)
}

#[test]
fn every_captured_frame_is_encoded_to_the_same_bytes_however_it_was_cut() {
    for (name, frames) in captures() {
        for side in [Role::Producer, Role::Consumer] {
            let stream: Vec<u8> = frames.iter().filter(|f| f.0 == side).flat_map(|f| f.1.clone()).collect();
            for cut in [1, 2, 3, 7, 46, 97, 4096, stream.len().max(1)] {
                let again = decode_and_encode(side, &mut stream.chunks(cut)).unwrap();
                assert!(again == stream, "{name}: {side}, cut every {cut} bytes");
            }
        }
    }
}

#[test]
fn every_kind_of_message_is_encoded_to_flinks_bytes() {
    let vectors = vectors("message");
    let mut ids = Vec::new();
    for (what, bytes) in &vectors {
        let from = if matches!(bytes[8], 0 | 1 | 9) { Role::Producer } else { Role::Consumer };
        assert_eq!(decode_and_encode(from, &mut [&bytes[..]].into_iter()).as_ref(), Ok(bytes), "{what}");
        let other = if from == Role::Producer { Role::Consumer } else { Role::Producer };
        let refused = DecodeError::MessageId { id: bytes[8], from: other, offset: 8 };
        assert_eq!(decode_and_encode(other, &mut [&bytes[..]].into_iter()), Err(refused), "{what}");
        ids.push(bytes[8]);
    }
    ids.dedup();
    assert_eq!(ids, (0..12).collect::<Vec<_>>(), "all messages");
}

#[test]
fn errors_are_written_as_flink_writes_them() {
    let receiver = InputChannelId(std::array::from_fn(|i| 0xC0 + i as u8));
    let partition = "dbd238973a2b148a1e535eede31428f000000001\
                     b7a4712c74562914b6bf613dbebb45dcd17707977078336c12ae30237b17df140000000100000001";
    let partition: ResultPartitionId = partition.parse().unwrap();
    for (error, what) in [
        (ErrorResponse::io_exception("x", Some(receiver)), r#"ErrorResponse(java.io.IOException "x", receiver)"#),
        (ErrorResponse::io_exception("x", None), r#"ErrorResponse(java.io.IOException "x", no receiver: fatal)"#),
        (
            ErrorResponse::partition_not_found(&partition, receiver),
            "ErrorResponse(PartitionNotFoundException, receiver)",
        ),
    ] {
        let expected = vectors("message").into_iter().find(|row| row.0 == what).expect(what).1;
        let mut bytes = Vec::new();
        Message::ErrorResponse(error).encode(&mut bytes).unwrap();
        assert!(bytes == expected, "{what}");
    }
}

#[test]
fn captured_errors_are_read_with_their_stack_traces() {
    let mut seen = Vec::new();
    for (name, frames) in captures() {
        for (role, bytes) in frames {
            if let Ok(Some(Message::ErrorResponse(error))) = Decoder::new(role, Limits::default()).next(&bytes, &mut 0)
            {
                let exception = error.exception().unwrap_or_else(|| panic!("{name}: an exception"));
                assert_eq!(error.is_partition_not_found(), name.contains("not-found"), "{name}");
                seen.push(exception.to_string());
            }
        }
    }
    assert!(seen.iter().any(|text| text.contains("PartitionNotFoundException: Partition ")), "{seen:?}");
    assert!(seen.iter().any(|text| text.contains("IndexOutOfBoundsException: ")), "{seen:?}");
}

#[test]
fn every_event_is_encoded_to_flinks_bytes() {
    let vectors = vectors("event");
    assert!(vectors.len() >= 20);
    for (what, bytes) in vectors {
        let event = Event::decode(&bytes).unwrap_or_else(|e| panic!("{what}: {e}"));
        let mut again = Vec::new();
        event.encode(&mut again).unwrap();
        assert_eq!(again, bytes, "{what}");
        let data_type = event.data_type();
        assert!(what.contains(&format!("; data type {} {data_type};", data_type.0)), "{what}: {data_type}");
        let padded = [&bytes[..], &[0; 100]].concat();
        match Event::decode(&padded).unwrap() {
            Event::Other { class, content } => assert!(class.ends_with("TerminationEvent") && content == [0; 100]),
            read => assert_eq!(read, event, "{what}, padded"),
        }
    }
}

#[test]
fn captured_events_have_the_data_type_of_their_buffer() {
    let mut seen = 0;
    for (name, frames) in captures() {
        for (_, bytes) in frames.iter().filter(|f| f.0 == Role::Producer) {
            let (mut decoder, mut at) = (Decoder::new(Role::Producer, Limits::default()), 0);
            let Ok(Some(Message::BufferResponse(buffer))) = decoder.next(bytes, &mut at) else { continue };
            if buffer.data_type.is_data() {
                continue;
            }
            let whole = [buffer.size];
            let sizes = if buffer.partials == 0 { &whole[..] } else { decoder.partial_sizes() };
            for &size in sizes {
                let event = Event::decode(&bytes[at..at + size as usize]).unwrap();
                assert_eq!(event.data_type(), buffer.data_type, "{name}: {event:?}");
                assert!(buffer.data_type != DataType::END_OF_PARTITION || event == Event::EndOfPartition);
                at += size as usize;
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen} events");
}

/// All pieces of a blocking partition, decompressed, are the stream that the writer began with.
#[cfg(feature = "compression")]
#[test]
fn each_codecs_pieces_decompress_to_the_same_records() {
    use forebay::wire::{Codec, Decompressor};
    let mut streams = Vec::new();
    for codec in Codec::ALL {
        let path = folder().join(format!("compressed-{codec}.hex").to_lowercase());
        let (mut stream, mut segment) = (Vec::new(), vec![0; 32 * 1024]);
        let mut decompressor = Decompressor::new(codec).unwrap();
        for (_, bytes) in frames(&fs::read_to_string(path).unwrap()).iter().filter(|f| f.0 == Role::Producer) {
            let (mut decoder, mut at) = (Decoder::new(Role::Producer, Limits::default()), 0);
            let Ok(Some(Message::BufferResponse(buffer))) = decoder.next(bytes, &mut at) else { continue };
            if !buffer.data_type.is_data() {
                continue;
            }
            assert!(buffer.compressed, "{codec}");
            for &size in decoder.partial_sizes() {
                let len = decompressor.decompress(&bytes[at..at + size as usize], &mut segment).unwrap();
                stream.extend_from_slice(&segment[..len]);
                at += size as usize;
            }
        }
        streams.push(stream);
    }
    // Four records of 1500 bytes: length, tag, length of the array, bytes that count up in steps of a hash.
    assert_eq!(streams[0].len(), 4 * (4 + 1 + 4 + 1500));
    assert_eq!(streams[0][..9], [0, 0, 5, 0xE1, 1, 0, 0, 5, 0xDC]);
    assert!(streams[0][9..1509].windows(9).all(|w| w[8] == w[0].wrapping_add(8)));
    assert!(streams.iter().all(|stream| *stream == streams[0]));
}
