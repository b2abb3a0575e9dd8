//! Streams of elements from writers to readers: records to one, watermarks to all, merged over channels.

use std::num::NonZeroUsize;

use forebay::{
    gate::{InputGate, ReadError, RecordReader, StreamError, StreamItem, StreamReader},
    partition::{
        Broadcast, FlushPolicy, Forward, LeastLoaded, RecordWriter, ResultPartition, RoundRobin, StreamWriter,
        WriteError,
    },
    pool::NetworkBufferPool,
    record::{
        DecodeError, InternalWatermark, LatencyMarker, RecordAttributes, StreamElement, StreamRecord, Watermark,
        WatermarkStatus,
    },
    transport::in_process,
};

const SEGMENT: usize = 4096;

fn join(producers: usize, consumers: usize, segments: u32) -> (Vec<ResultPartition>, Vec<InputGate>) {
    let pool =
        NetworkBufferPool::builder().segments(segments * producers as u32).segment_size(SEGMENT).build().unwrap();
    let locals = (0..producers).map(|p| pool.local_pool(format!("p{p}")).required(segments).build().unwrap()).collect();
    in_process(locals, consumers)
}

fn reader(gate: InputGate) -> StreamReader {
    StreamReader::new(RecordReader::new(gate, 1 << 20))
}

/// What there is to be read now, as text; records by their value.
fn read(reader: &mut StreamReader) -> Vec<String> {
    let mut items = Vec::new();
    while let Some(item) = reader.try_next().unwrap() {
        items.push(match item {
            StreamItem::Record { record, .. } => record.deserialize::<&str>().unwrap().to_owned(),
            StreamItem::Watermark(watermark) => format!("watermark {}", watermark.timestamp),
            StreamItem::WatermarkStatus(status) => format!("{status:?}"),
            StreamItem::LatencyMarker { channel, marker } => format!("marker {} of {channel}", marker.marked_time),
            StreamItem::RecordAttributes(attributes) => format!("backlog {}", attributes.is_backlog),
            StreamItem::Event { channel, event } => format!("{event:?} of {channel}"),
            other => panic!("{other:?}"),
        });
    }
    items
}

fn writers(partitions: Vec<ResultPartition>) -> Vec<StreamWriter<RoundRobin>> {
    let writer = |partition| StreamWriter::new(partition, RoundRobin::default()).with_flush(FlushPolicy::EveryRecord);
    partitions.into_iter().map(writer).collect()
}

#[test]
fn records_go_to_one_and_watermarks_to_all() {
    let (partitions, gates) = join(1, 2, 4);
    let mut writers = writers(partitions);
    writers[0].emit_at(1, "a").unwrap();
    writers[0].emit("b").unwrap();
    writers[0].emit_watermark(Watermark::new(1)).unwrap();
    writers[0].emit_at(2, "c").unwrap();
    writers.remove(0).close();
    let read: Vec<_> = gates.into_iter().map(|gate| read(&mut reader(gate))).collect();
    assert_eq!(read[0], ["a", "watermark 1", "c", "EndOfPartition of 0", "Idle"]);
    assert_eq!(read[1], ["b", "watermark 1", "EndOfPartition of 0", "Idle"]);
}

#[test]
fn a_watermark_ends_no_segment_of_its_neighbours() {
    let (mut partitions, _gates) = join(1, 3, 3);
    let mut writer = StreamWriter::new(partitions.remove(0), RoundRobin::default());
    for timestamp in 0..100 {
        writer.emit_at(timestamp, "record").unwrap();
        writer.emit_watermark(Watermark::new(timestamp)).unwrap();
    }
    let backlog = [0, 1, 2].map(|reader| writer.record_writer().partition().backlog(reader));
    assert_eq!(backlog, [0; 3], "the segment of each is still open");
}

#[test]
fn with_one_segment_for_all_everything_is_broadcast() {
    let (mut partitions, gates) = join(1, 3, 2);
    let mut writer = StreamWriter::new(partitions.remove(0), Broadcast);
    writer.emit_watermark(Watermark::new(1)).unwrap(); // there is no segment for each
    writer.emit_at(2, "to all").unwrap();
    writer.emit_watermark(Watermark::new(2)).unwrap();
    writer.close();
    for gate in gates {
        assert_eq!(read(&mut reader(gate))[..3], ["watermark 1", "to all", "watermark 2"]);
    }
}

#[test]
fn a_reader_that_goes_away_keeps_no_watermark_from_the_others() {
    let (partitions, mut gates) = join(1, 3, 4);
    let mut writers = writers(partitions);
    drop(gates.remove(0));
    drop(gates.remove(0));
    writers[0].emit_watermark(Watermark::new(1)).unwrap(); // not yet noticed
    writers[0].flush();
    let released = writers[0].emit_watermark(Watermark::new(2));
    assert!(matches!(released, Err(WriteError::Released { subpartition: 0 })), "{released:?}");
    assert_eq!(read(&mut reader(gates.remove(0))), ["watermark 1", "watermark 2"]);
}

#[test]
fn watermarks_statuses_and_attributes_are_merged_over_channels() {
    let (partitions, mut gates) = join(3, 1, 2);
    let mut writers = writers(partitions);
    let mut reader = reader(gates.remove(0));
    writers[0].emit_watermark(Watermark::new(10)).unwrap();
    writers[1].emit_watermark(Watermark::new(20)).unwrap();
    assert_eq!(read(&mut reader), [""; 0], "nothing is known of the third");
    writers[2].emit_watermark_status(WatermarkStatus::Idle).unwrap();
    assert_eq!(read(&mut reader), ["watermark 10"]);
    writers[2].emit_watermark(Watermark::new(99)).unwrap();
    writers[2].emit_watermark_status(WatermarkStatus::Idle).unwrap();
    assert_eq!(read(&mut reader), [""; 0], "said already, and idle");
    writers[1].emit_record_attributes(RecordAttributes { is_backlog: true }).unwrap();
    assert_eq!(read(&mut reader), ["backlog true"]);
    writers[0].emit_watermark_status(WatermarkStatus::Idle).unwrap();
    assert_eq!(read(&mut reader), ["watermark 20"]);
    writers[1].emit_watermark(Watermark::new(25)).unwrap();
    writers[1].emit_watermark_status(WatermarkStatus::Idle).unwrap();
    assert_eq!(read(&mut reader), ["watermark 25", "Idle"]);
    writers[0].emit_watermark_status(WatermarkStatus::Active).unwrap();
    assert_eq!(read(&mut reader), ["Active"]);
    assert_eq!(reader.valve().watermark(), Some(Watermark::new(25)));
}

#[test]
fn a_channel_that_has_ended_is_not_waited_for_and_one_that_failed_is() {
    let (partitions, mut gates) = join(3, 1, 2);
    let mut writers = writers(partitions);
    let mut reader = reader(gates.remove(0));
    for (writer, timestamp) in writers.iter_mut().zip([10, 20, 30]) {
        writer.emit_watermark(Watermark::new(timestamp)).unwrap();
    }
    assert_eq!(read(&mut reader), ["watermark 10"]);
    writers.remove(0).close();
    assert_eq!(read(&mut reader), ["EndOfPartition of 0", "watermark 20"]);
    writers.remove(0).fail("disk on fire");
    assert!(matches!(reader.try_next(), Err(StreamError::Read(ReadError::Gate(_)))));
    writers[0].emit_watermark(Watermark::new(40)).unwrap();
    assert_eq!(read(&mut reader), [""; 0], "what the failed one would have said is missing");
    writers.remove(0).close();
    assert_eq!(read(&mut reader), ["EndOfPartition of 2"]);
    assert!(reader.is_ended());
}

#[test]
fn a_latency_marker_goes_to_one_reader() {
    let (partitions, gates) = join(1, 4, 4);
    let mut writers = writers(partitions);
    let marker = LatencyMarker { marked_time: 5, operator_id: [7; 16], subtask_index: 1 };
    for _ in 0..8 {
        writers[0].emit_latency_marker(&marker).unwrap();
    }
    let read: Vec<_> = gates.into_iter().flat_map(|gate| read(&mut reader(gate))).collect();
    assert_eq!(read, ["marker 5 of 0"; 8]);
}

#[test]
fn what_is_no_element_is_an_error_and_the_next_one_is_read() {
    let (mut partitions, mut gates) = join(1, 1, 2);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    writer.emit(&[9_u8, 9][..]).unwrap();
    writer.emit(&StreamElement::Record(StreamRecord::new("fine"))).unwrap();
    writer.emit(&[4_u8, 0, 0][..]).unwrap();
    writer.close();
    let mut reader = reader(gates.remove(0));
    let error = reader.try_next().unwrap_err();
    assert_eq!(error.to_string(), "a record of channel 0 is no stream element");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert_eq!(source, "byte 0 of the record has the value 9, which no stream element has there");
    assert!(matches!(reader.try_next(), Ok(Some(StreamItem::Record { .. }))));
    let Err(StreamError::Element { source, .. }) = reader.try_next() else { panic!() };
    assert_eq!(source, DecodeError::CutShort { kind: "watermark status", offset: 1, missing: 2 });
    assert_eq!(read(&mut reader)[0], "EndOfPartition of 0");
}

#[test]
fn the_offset_of_a_bad_value_counts_tag_and_timestamp() {
    let (mut partitions, mut gates) = join(1, 1, 2);
    let mut writer = StreamWriter::new(partitions.remove(0), Forward);
    writer.emit_at(7, &2_u8).unwrap();
    writer.emit(&2_u8).unwrap();
    writer.close();
    let mut reader = reader(gates.remove(0));
    for offset in [9, 1] {
        let Ok(Some(StreamItem::Record { record, .. })) = reader.try_next() else { panic!() };
        assert_eq!(record.deserialize::<bool>(), Err(DecodeError::Value { kind: "bool", offset, value: 2 }));
    }
}

#[test]
fn watermarks_of_several_subpartitions_in_a_channel_are_merged() {
    let (mut partitions, mut gates) = join(2, 1, 2);
    let mut reader = reader(gates.remove(0)).with_subpartitions(&[3..=4, 0..=0]);
    let mut first = RecordWriter::new(partitions.remove(0), Forward).with_flush(FlushPolicy::EveryRecord);
    let mut second = StreamWriter::new(partitions.remove(0), Forward).with_flush(FlushPolicy::EveryRecord);
    first.emit(&InternalWatermark { subpartition: 3, timestamp: 10 }).unwrap();
    second.emit_watermark(Watermark::new(20)).unwrap();
    assert_eq!(read(&mut reader), [""; 0]);
    first.emit(&InternalWatermark { subpartition: 4, timestamp: 15 }).unwrap();
    assert_eq!(read(&mut reader), ["watermark 10"]);
    for (subpartition, bad) in [(2, true), (5, true), (i32::MIN, true), (3, false)] {
        first.emit(&InternalWatermark { subpartition, timestamp: 18 }).unwrap();
        assert_eq!(reader.try_next().is_err(), bad, "of {subpartition}");
    }
    first.emit(&Watermark::new(50)).unwrap();
    assert!(matches!(reader.try_next(), Err(StreamError::Subpartition { channel: 0, subpartition: None })));
    first.emit(&WatermarkStatus::Idle).unwrap();
    assert_eq!(read(&mut reader), ["watermark 20"], "both of them");
}

#[test]
fn no_record_comes_behind_the_merged_watermark() {
    const WRITERS: usize = 3;
    let count = 2_000;
    let (partitions, mut gates) = join(WRITERS, 1, 2);
    let writers: Vec<_> = partitions
        .into_iter()
        .enumerate()
        .map(|(number, partition)| {
            std::thread::spawn(move || {
                let mut writer = StreamWriter::new(partition, Forward);
                for n in 0..count {
                    let timestamp = n * (number as i64 + 1); // each at a pace of its own
                    writer.emit_at(timestamp, &timestamp).unwrap();
                    if n % 7 == 0 {
                        writer.emit_watermark(Watermark::new(timestamp)).unwrap();
                    }
                }
                writer.emit_watermark(Watermark::MAX).unwrap();
                writer.close();
            })
        })
        .collect();
    let mut reader = reader(gates.remove(0));
    let (mut watermark, mut records) = (i64::MIN, 0);
    while let Some(item) = reader.next().unwrap() {
        match item {
            StreamItem::Record { record, .. } => {
                assert_eq!(record.timestamp, Some(record.deserialize::<i64>().unwrap()));
                assert!(record.timestamp > Some(watermark), "{record:?} behind {watermark}");
                records += 1;
            }
            StreamItem::Watermark(merged) => {
                assert!(merged.timestamp > watermark, "it only grows");
                watermark = merged.timestamp;
            }
            _ => {}
        }
    }
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!((records, watermark), (WRITERS as i64 * count, i64::MAX));
}

#[test]
fn a_reader_that_is_behind_gets_less() {
    let (mut partitions, mut gates) = join(1, 2, 16);
    let mut writer = RecordWriter::new(partitions.remove(0), LeastLoaded::new(NonZeroUsize::new(2).unwrap()));
    let mut fast = RecordReader::new(gates.remove(1), SEGMENT);
    let page = vec![7_u8; SEGMENT - 4]; // fills a segment
    let mut read = 0;
    for _ in 0..12 {
        writer.emit(&page).unwrap();
        while fast.try_next().unwrap().is_some() {
            read += 1;
        }
    }
    let slow = writer.partition().backlog(0);
    assert_eq!((read, slow), (11, 1), "once it has one to read it gets no more");
}
