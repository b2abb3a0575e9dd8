//! What is refused, and how it is said.

use super::*;

/// A message, where to change it to what, and the error.
type Case<'a> = (Role, &'a [u8], usize, &'a [u8], DecodeError);

const RECEIVER: InputChannelId = InputChannelId([0xC1; 16]);

fn decoder(from: Role) -> Decoder {
    let mut limits = Limits::default();
    (limits.content, limits.event, limits.partials, limits.error) = (4096, 512, 4, 1024);
    Decoder::new(from, limits)
}

/// The bytes with `value` at `at`, and what decoding them from the start of a stream gives.
#[track_caller]
fn patched(from: Role, bytes: &[u8], at: usize, value: &[u8]) -> DecodeError {
    let mut bytes = bytes.to_vec();
    bytes[at..at + value.len()].copy_from_slice(value);
    let whole = decoder(from).next(&bytes, &mut 0).expect_err("refused");
    let mut one_by_one = decoder(from);
    let pieces = bytes.chunks(1).find_map(|piece| one_by_one.next(piece, &mut 0).err());
    assert_eq!(pieces, Some(whole), "however it is cut");
    whole
}

fn buffer(data_type: DataType, sizes: &[u32]) -> Vec<u8> {
    let size = sizes.iter().sum();
    let (partials, compressed) = (sizes.len() as u32, false);
    let header = BufferResponse {
        receiver: RECEIVER,
        subpartition: Some(0),
        partials,
        sequence_number: 0,
        backlog: 0,
        data_type,
        compressed,
        size,
    };
    let mut bytes = Vec::new();
    header.encode_partials(sizes, &mut bytes).unwrap();
    bytes
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes).unwrap();
    bytes
}

#[test]
fn each_field_of_a_buffer_that_can_not_be_is_named_with_its_place() {
    let data = buffer(DataType::DATA_BUFFER, &[60, 40]);
    let event = buffer(DataType::EVENT_BUFFER, &[4]);
    let value = |field, value, expected, offset| DecodeError::Value { field, value, expected, offset };
    let large = |field, value, limit, offset| DecodeError::TooLarge { field, value, limit, offset };
    let length = "that of the header, the partial sizes and the content";
    let cases: [(&[u8], usize, &[u8], DecodeError); 17] = [
        (&data, 0, &[0, 0, 0, 154], value("frame length", 154, length, 0)),
        (&data, 0, &[0, 0, 0, 46], value("frame length", 46, "at least what the fields of the message take", 0)),
        (&data, 0, &[255; 4], value("frame length", -1, "at least what the fields of the message take", 0)),
        (&data, 4, b"HTTP", DecodeError::Magic { found: 0x4854_5450, offset: 4 }),
        (&data, 8, &[12], DecodeError::MessageId { id: 12, from: Role::Producer, offset: 8 }),
        (&data, 25, &[255, 255, 255, 254], value("subpartition", -2, "at least -1", 25)),
        (&data, 29, &[0, 0, 0, 5], large("partials", 5, 4, 29)),
        (&data, 29, &[128, 0, 0, 0], value("partials", i64::from(i32::MIN), "at least 0", 29)),
        (&data, 37, &[255; 4], value("backlog", -1, "at least 0", 37)),
        (&data, 41, &[0], value("data type", 0, "1 to 13", 41)),
        (&data, 41, &[14], value("data type", 14, "1 to 13", 41)),
        (&data, 42, &[2], value("compressed", 2, "0 or 1", 42)),
        (&data, 43, &[0, 0, 16, 1], large("size", 4097, 4096, 43)),
        (&data, 51, &[0, 0, 0, 41], value("sum of partial sizes", 101, "the size of the content", 51)),
        (&event, 42, &[1], value("compressed", 1, "0 for an event", 42)),
        (&event, 43, &[0, 0, 2, 1], large("size", 513, 512, 43)),
        (&event, 43, &[0; 4], value("size", 0, "at least 1 for an event", 43)),
    ];
    for (bytes, at, change, expected) in cases {
        assert_eq!(patched(Role::Producer, bytes, at, change), expected);
    }
}

#[test]
fn each_field_of_the_other_messages_that_can_not_be_is_named_with_its_place() {
    let value = |field, value, expected, offset| DecodeError::Value { field, value, expected, offset };
    let positive = |field| value(field, 0, "at least 1", 9);
    let partition = ResultPartitionId::from_bytes([7; 60]);
    let subpartitions = ResultSubpartitionIndexSet { first: 2, last: 4 };
    let request = PartitionRequest { partition, subpartitions, receiver: RECEIVER, credit: 2 };
    let request = encoded(&Message::PartitionRequest(request));
    let event = TaskEventRequest { event: vec![0; 4], partition, receiver: RECEIVER };
    let event = encoded(&Message::TaskEventRequest(event));
    let credit = encoded(&Message::AddCredit { credit: 1, receiver: RECEIVER });
    let backlog = encoded(&Message::BacklogAnnouncement { backlog: 1, receiver: RECEIVER });
    let size = encoded(&Message::NewBufferSize { size: 1, receiver: RECEIVER });
    let segment = encoded(&Message::SegmentId { subpartition: 0, segment: 1, receiver: RECEIVER });
    let close = encoded(&Message::CloseRequest);
    let error = encoded(&Message::ErrorResponse(ErrorResponse::io_exception("x", None)));
    let large = |field, value, limit, offset| DecodeError::TooLarge { field, value, limit, offset };
    let (here, last) = ("what the frame leaves for it", error.len() - 1);
    let cases: [Case<'_>; 14] = [
        (Role::Consumer, &request, 0, &[0, 0, 0, 98], value("frame length", 98, "97", 0)),
        (Role::Consumer, &request, 69, &[255; 4], value("first subpartition", -1, "at least 0", 69)),
        (Role::Consumer, &request, 73, &[0, 0, 0, 1], value("last subpartition", 1, "at least the first", 73)),
        (Role::Consumer, &request, 93, &[255; 4], value("initial credit", -1, "at least 0", 93)),
        (Role::Consumer, &event, 9, &[0, 0, 0, 5], value("task event length", 5, here, 9)),
        (Role::Consumer, &event, 9, &[0, 0, 2, 1], large("task event length", 513, 512, 9)),
        (Role::Consumer, &event, 0, &[0, 0, 2, 90], large("frame length", 602, 601, 0)),
        (Role::Consumer, &credit, 9, &[0; 4], positive("credit")),
        (Role::Producer, &backlog, 9, &[0; 4], positive("backlog")),
        (Role::Consumer, &size, 9, &[0; 4], positive("buffer size")),
        (Role::Consumer, &segment, 13, &[0; 4], value("segment id", 0, "at least 1", 13)),
        (Role::Consumer, &close, 0, &[0, 0, 0, 8], value("frame length", 8, "9", 0)),
        (Role::Producer, &error, 0, &[0, 0, 4, 27], large("frame length", 1051, 1050, 0)),
        (
            Role::Producer,
            &error,
            last,
            &[2],
            value("end of the error", 2, "0, or a 1 in front of a receiver", last as u64),
        ),
    ];
    for (from, bytes, at, change, expected) in cases {
        assert_eq!(patched(from, bytes, at, change), expected);
    }
}

#[test]
fn offsets_count_from_the_start_of_the_stream_contents_too() {
    let mut stream = buffer(DataType::DATA_BUFFER, &[10]);
    let mut decoder = decoder(Role::Producer);
    let mut at = 0;
    assert!(decoder.next(&stream, &mut at).unwrap().is_some());
    assert_eq!((at, decoder.partial_sizes()), (stream.len(), &[10][..]));
    let next = at as u64 + 10; // the content is the caller's
    stream = encoded(&Message::BacklogAnnouncement { backlog: 1, receiver: RECEIVER });
    stream[9..13].fill(0);
    let error = DecodeError::Value { field: "backlog", value: 0, expected: "at least 1", offset: next + 9 };
    assert_eq!(decoder.next(&stream, &mut 0), Err(error));
    assert_eq!(decoder.next(&[], &mut 0), Err(error), "it repeats");
}

#[test]
fn what_is_held_grows_with_what_came_and_is_given_back() {
    let error = ErrorResponse { cause: vec![0x77; 900], receiver: Some(RECEIVER) };
    let mut bytes = encoded(&Message::ErrorResponse(error.clone()));
    let mut decoder = Decoder::new(Role::Producer, Limits::default());
    bytes[..4].copy_from_slice(&(1_000_000_u32).to_be_bytes()); // announced, and never sent
    assert_eq!(decoder.next(&bytes, &mut 0), Ok(None));
    assert!(decoder.held.capacity() < 2 * bytes.len() && !decoder.is_between_messages());

    let error = ErrorResponse { cause: vec![0x77; 100_000], ..error };
    let bytes = encoded(&Message::ErrorResponse(error.clone()));
    let mut decoder = Decoder::new(Role::Producer, Limits::default());
    let found = bytes.chunks(1000).find_map(|piece| decoder.next(piece, &mut 0).unwrap());
    assert_eq!(found, Some(Message::ErrorResponse(error)));
    assert!(decoder.held.capacity() <= KEEP && decoder.is_between_messages());
}

#[test]
fn what_a_field_can_not_hold_is_not_encoded() {
    let refused = |message: Message, field: &str| {
        let mut out = Vec::new();
        assert_eq!(message.encode(&mut out).map_err(|e| e.field), Err(field));
        assert!(out.is_empty(), "{message:?}");
    };
    let receiver = RECEIVER;
    refused(Message::AddCredit { credit: 0, receiver }, "credit");
    refused(Message::AddCredit { credit: 1 << 31, receiver }, "credit");
    refused(Message::NewBufferSize { size: u32::MAX, receiver }, "buffer size");
    refused(Message::SegmentId { subpartition: 1 << 31, segment: 1, receiver }, "subpartition");
    let subpartitions = ResultSubpartitionIndexSet { first: 4, last: 2 };
    let partition = ResultPartitionId::from_bytes([7; 60]);
    let request = PartitionRequest { partition, subpartitions, receiver, credit: 2 };
    refused(Message::PartitionRequest(request), "first subpartition");
    let Ok(Some(Message::BufferResponse(header))) =
        decoder(Role::Producer).next(&buffer(DataType::DATA_BUFFER, &[1, 2]), &mut 0)
    else {
        panic!()
    };
    assert_eq!(header.encode().map_err(|e| e.field), Err("partials"), "without their sizes");
    let mut out = Vec::new();
    for (sizes, field) in [(&[3][..], "partials"), (&[1, 1], "sum of partial sizes")] {
        assert_eq!(header.encode_partials(sizes, &mut out).map_err(|e| e.field), Err(field));
    }
    let large = BufferResponse { partials: 0, size: i32::MAX as u32, ..header };
    assert_eq!(large.encode().map_err(|e| e.field), Err("frame length"));
    assert!(out.is_empty());
}
