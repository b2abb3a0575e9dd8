//! Types of one's own as records, without a macro: like a tuple in ten lines, and with a layout that is all its own.
//!
//! ```sh
//! cargo run --release --example records
//! ```

use std::error::Error;

use forebay::{
    gate::RecordReader,
    partition::{Forward, RecordWriter},
    pool::NetworkBufferPool,
    record::{DecodeError, DeserializeRecord, Fields, SerializeRecord},
    transport::in_process,
};

/// Made of types that have a layout, so it is written and read as a tuple of them.
#[derive(Debug, PartialEq)]
struct Trip<'a> {
    from: &'a str,
    to: &'a str,
    minutes: Option<u16>,
    stops: Vec<&'a str>,
}

impl SerializeRecord for Trip<'_> {
    fn serialized_len(&self) -> usize {
        (self.from, self.to, self.minutes, &self.stops).serialized_len()
    }
    fn serialize_into(&self, dst: &mut [u8]) {
        (self.from, self.to, self.minutes, &self.stops).serialize_into(dst);
    }
}

impl<'a> DeserializeRecord<'a> for Trip<'a> {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (from, to, minutes, stops) = DeserializeRecord::deserialize(bytes)?;
        Ok(Self { from, to, minutes, stops })
    }
}

/// A sample of 12 bits with its channel in 4, packed into two bytes: a layout of its own.
#[derive(Debug, PartialEq)]
struct Sample {
    channel: u8,
    value: u16,
}

impl SerializeRecord for Sample {
    fn serialized_len(&self) -> usize {
        2
    }
    fn serialize_into(&self, dst: &mut [u8]) {
        (u16::from(self.channel) << 12 | self.value).serialize_into(dst);
    }
    // The next two, and `deserialize_field`: in a list it needs no length before it, for all are as long.
    fn field_len(&self) -> usize {
        2
    }
    fn serialize_field(&self, dst: &mut [u8]) -> usize {
        self.serialize_into(&mut dst[..2]);
        2
    }
}

impl<'a> DeserializeRecord<'a> for Sample {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        u16::deserialize(bytes).map(|packed| Self { channel: (packed >> 12) as u8, value: packed & 0xFFF })
    }
    fn deserialize_field(fields: &mut Fields<'a>) -> Result<Self, DecodeError> {
        Self::deserialize(fields.take(2, "sample")?)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let pool = NetworkBufferPool::builder().segments(4).build()?;
    let (mut partitions, mut gates) = in_process(vec![pool.local_pool("writer").required(4).build()?], 1);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let trip = Trip { from: "Basel", to: "Brig", minutes: Some(128), stops: vec!["Olten", "Bern", "Visp"] };
    let samples = vec![Sample { channel: 3, value: 0xABC }, Sample { channel: 15, value: 1 }];
    writer.emit(&trip)?;
    writer.emit(&samples)?;
    writer.emit(&b"\0\0\0\x05Basel\0\0\0\x99Brig"[..])?; // no trip: the second name is longer than what is left
    writer.close();

    let mut reader = RecordReader::new(gates.remove(0), 1024);
    while let Some(record) = reader.next()? {
        let bytes = record.bytes().len();
        match record.deserialize::<Trip<'_>>() {
            Ok(trip) => println!("{bytes} bytes: {trip:?}, borrowed from the segment"),
            Err(error) => match record.deserialize::<Vec<Sample>>() {
                Ok(samples) => println!("{bytes} bytes: {samples:?}"),
                Err(_) => println!("{bytes} bytes: no trip: {error}"),
            },
        }
    }
    Ok(())
}
