//! A priority event that overtakes data: a slow reader, a full channel, and a message that does not wait in the queue.
//!
//! The reader also gets what the event has overtaken, as handles to the very segments: an unaligned checkpoint stores
//! that, and the records are delivered afterwards all the same.
//!
//! ```sh
//! cargo run --example priority_event
//! ```

use std::error::Error;

use forebay::{
    Event,
    buffer::DataType,
    gate::{RecordOrEvent, RecordReader},
    partition::{Forward, RecordWriter, TryEmitError},
    pool::NetworkBufferPool,
    transport::in_process,
};

fn main() -> Result<(), Box<dyn Error>> {
    let pool = NetworkBufferPool::builder().segments(4).segment_size(4096).build()?;
    let (mut partitions, mut gates) = in_process(vec![pool.local_pool("writer").required(4).build()?], 1);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0), 1024);

    // The reader does not read, so the writer fills all segments it can have.
    let mut written = 0;
    loop {
        match writer.try_emit(&format!("record {written}")) {
            Ok(()) => written += 1,
            Err(TryEmitError::Full(_)) => break, // nothing of it was written
            Err(error) => return Err(error.into()),
        }
    }
    println!("{written} records wait in {} full segments", writer.partition().backlog(0));

    // No segment is free, and none is needed.
    let stop = Event::Custom { data_type: DataType::EVENT_BUFFER, bytes: b"slow down"[..].into() };
    writer.broadcast_priority_event(stop)?;
    writer.close();

    let mut read = 0;
    while let Some(found) = reader.next_or_event()? {
        match found {
            RecordOrEvent::Priority { event: Event::Custom { bytes, .. }, overtaken, .. } => {
                let len: usize = overtaken.iter().map(|buffer| buffer.len()).sum();
                println!("after {read} records: {:?}, ahead of {len} bytes", bytes.escape_ascii().to_string());
            }
            RecordOrEvent::Record(_) => read += 1,
            RecordOrEvent::Event { event, .. } => println!("after {read} records: {event:?}"),
            other => println!("{other:?}"),
        }
    }
    assert_eq!(read, written);
    Ok(())
}
