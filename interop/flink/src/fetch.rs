//! forebay as the consumer.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use clap::{Args, ValueEnum};
use forebay::{
    Event,
    gate::{RecordOrEvent, RecordReader},
    pool::NetworkBufferPool,
    record::{DeserializeRecord, StreamElement, StreamRecord, StringValue},
    transport::tcp::{Client, GateOptions, RemotePartition},
    wire::Codec,
};
use serde_json::Value as Json;

use crate::{
    args::{Common, print_rate},
    content::{Type, Value},
    ready::Ready,
    summary::{Summary, done},
};

/// The largest record that is taken.
const MAX_RECORD: usize = 256 << 20;

#[derive(Debug, Args)]
pub(crate) struct Fetch {
    /// The line that `serve` has printed, or @FILE with it
    #[arg(long, value_name = "JSON")]
    ids: String,
    /// Instead of that in the line
    #[arg(long)]
    host: Option<String>,
    /// Instead of that in the line
    #[arg(long)]
    port: Option<u16>,
    /// Which to read, A or A-B, each through a channel of its own; all unless set
    #[arg(long, value_name = "A-B")]
    subpartitions: Option<String>,
    /// Reads them all through one channel, by one request: of a blocking partition
    #[arg(long)]
    as_range: bool,
    /// Type of the values, instead of that in the line
    #[arg(long, value_enum)]
    r#type: Option<Type>,
    /// Codec of a blocking partition, LZ4, LZO, ZSTD or none, instead of that in the line
    #[arg(long)]
    compression: Option<String>,
    /// A pause behind each segment's worth of data
    #[arg(long, default_value_t = 0, value_name = "MICROSECONDS")]
    slow_us: u64,
    /// A pause in front of each resumption behind an aligned barrier
    #[arg(long, default_value_t = 0, value_name = "MS")]
    align_ms: u64,
    /// How long a partition that is not there is asked for again
    #[arg(long, default_value_t = 10_000, value_name = "MS")]
    request_timeout_ms: u64,
    /// Whether the end of data is acknowledged: a gate of forebay does so by itself, so no is refused
    #[arg(long, default_value = "yes", value_enum)]
    ack: Ack,
    /// Refused: a client of forebay asks for no other size, for a buffer of any fits its segment
    #[arg(long, value_name = "BYTES")]
    announce_buffer_size: Option<u32>,
    /// Makes no difference: the connection is of this run alone, and ends with it
    #[arg(long)]
    no_connection_reuse: bool,
    /// Segments each channel has for itself: its credit at the start
    #[arg(long, default_value_t = 2)]
    exclusive: u32,
    /// Segments that all channels may have for themselves, and one to share; 1 leaves none: as Flink's
    /// `taskmanager.network.memory.read-buffer.required-per-gate.max`
    #[arg(long, value_name = "N")]
    max_required_buffers: Option<u32>,
    /// Segments that all channels share beyond those, for each
    #[arg(long, default_value_t = 8)]
    floating: u32,
    /// Stops in the middle, after so many records
    #[arg(long, value_name = "N")]
    cancel_after: Option<u64>,
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Ack {
    Yes,
    No,
}

impl Fetch {
    pub(crate) fn run(&self) -> Result<Json> {
        ensure!(
            self.ack == Ack::Yes,
            "--ack no: a gate of forebay acknowledges the end of data as soon as its reader comes back for more. Read \
             by peer/run.sh consume, or have the producer not wait: serve --end-of-data nowait"
        );
        ensure!(
            self.announce_buffer_size.is_none(),
            "--announce-buffer-size: a client of forebay never asks for smaller buffers, it bounds their number. Read by \
             peer/run.sh consume"
        );
        let ready = Ready::parse(&self.ids)?;
        let (first, last) = self.range(ready.subpartitions)?;
        ensure!(
            !self.as_range || first == last || ready.is_blocking,
            "--as-range reads blocking partitions: of a pipelined one each subpartition has a request of its own"
        );
        let channels = if self.as_range { 1 } else { last - first + 1 };
        let segment_size = self.common.segment_size.unwrap_or(ready.segment_size);
        let most = self.max_required_buffers.unwrap_or(u32::MAX);
        let exclusive = self.exclusive.min(most.saturating_sub(1) / channels); // one is for floating, as Flink has it
        let floating = self.floating * channels;
        let segments = exclusive * channels + floating;
        let pool = NetworkBufferPool::builder().segment_size(segment_size).segments(segments).build()?;
        let mut client = Client::builder().partition_wait(Duration::from_millis(self.request_timeout_ms));
        if let Some(tls) = self.common.tls.config()? {
            client = client.tls(tls.any_server_name()); // an authority for one cluster: names say nothing, as in Flink
        }
        let client = client.start()?;
        let address = format!("{}:{}", self.host.as_ref().unwrap_or(&ready.host), self.port.unwrap_or(ready.port));
        let remote = |s| RemotePartition::new(address.as_str(), ready.id, s);
        let remotes: Vec<_> = if self.as_range {
            vec![RemotePartition::range(address.as_str(), ready.id, first..=last)]
        } else {
            (first..=last).map(remote).collect()
        };
        let mut options = GateOptions::default().exclusive(exclusive).floating(floating);
        if let Some(codec) = self.codec(&ready)? {
            options = options.compression(codec);
        }
        let began = Instant::now();
        let mut reading = Reading {
            reader: RecordReader::new(client.gate(&pool, &options, &remotes)?, MAX_RECORD),
            summaries: vec![Summary::new(self.common.count_only); channels as usize],
            r#type: self.r#type.unwrap_or(ready.r#type),
        };
        let (mut records, mut bytes, mut paused) = (0, 0, 0);
        let most = self.cancel_after.unwrap_or(u64::MAX);
        while records < most
            && let Some(record) = reading.next(self.align_ms)?
        {
            if record > 0 {
                records += 1;
                bytes += record as u64;
            }
            if self.slow_us > 0 && bytes / segment_size as u64 > paused {
                paused = bytes / segment_size as u64;
                thread::sleep(Duration::from_micros(self.slow_us));
            }
        }
        if self.common.rate {
            let values = reading.summaries.iter().map(|summary| summary.bytes).sum();
            print_rate(records, values, began.elapsed());
        }
        let label = |s| if self.as_range { Json::from(format!("{first}-{last}")) } else { Json::from(s) };
        let summaries = (first..).zip(&reading.summaries).map(|(s, summary)| summary.to_json(&label(s))).collect();
        Ok(done("consume", summaries))
    }

    fn range(&self, subpartitions: u32) -> Result<(u32, u32)> {
        let Some(text) = &self.subpartitions else { return Ok((0, subpartitions.saturating_sub(1))) };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| text.parse::<u32>().with_context(|| format!("--subpartitions {text} is no number"));
        let (first, last) = (number(first)?, number(last)?);
        ensure!(first <= last, "--subpartitions {first}-{last} is empty");
        Ok((first, last))
    }

    fn codec(&self, ready: &Ready) -> Result<Option<Codec>> {
        match self.compression.as_deref().or(ready.compression.as_deref()) {
            None | Some("none" | "NONE") => Ok(None),
            Some(name) => Ok(Some(name.parse().with_context(|| format!("--compression {name}"))?)),
        }
    }
}

struct Reading {
    reader: RecordReader,
    summaries: Vec<Summary>,
    r#type: Type,
}

impl Reading {
    /// Counts one record or event. The bytes of a record, which are never none, for there is a tag; 0 for an event;
    /// `None` at the end of all channels.
    fn next(&mut self, align_ms: u64) -> Result<Option<usize>> {
        let (channel, event) = match self.reader.next_or_event()? {
            None => return Ok(None),
            Some(RecordOrEvent::Record(record)) => {
                let (bytes, summary) = (record.bytes(), &mut self.summaries[record.channel()]);
                summary.element(&element(bytes, self.r#type)?);
                return Ok(Some(bytes.len()));
            }
            Some(RecordOrEvent::Event { channel, event } | RecordOrEvent::Priority { channel, event, .. }) => {
                (channel, event)
            }
            Some(_) => return Ok(Some(0)),
        };
        let summary = &mut self.summaries[channel];
        match event {
            Event::EndOfData(_) => summary.end_of_data += 1,
            Event::EndOfPartition => summary.end_of_partition += 1,
            Event::CancelCheckpointMarker { .. } => summary.other("CancelCheckpointMarker"),
            Event::CheckpointBarrier(barrier) => {
                summary.barrier(barrier.id);
                if barrier.needs_alignment() {
                    thread::sleep(Duration::from_millis(align_ms)); // the gate resumes it when it is asked for more
                }
            }
            other => summary.other(&format!("{:?}", other.data_type())),
        }
        Ok(Some(0))
    }
}

/// The element of a record, its value read as that type.
fn element(bytes: &[u8], r#type: Type) -> Result<StreamElement<Value<'_>>> {
    Ok(match StreamElement::<&[u8]>::deserialize(bytes)? {
        StreamElement::Record(StreamRecord { value, timestamp }) => {
            let value = match r#type {
                Type::Bytes => Value::Bytes(<(&[u8],)>::deserialize(value)?.0),
                Type::Long => Value::Long(i64::deserialize(value)?),
                Type::String => Value::String(StringValue::deserialize(value)?),
            };
            StreamElement::Record(StreamRecord { value, timestamp })
        }
        StreamElement::Watermark(element) => StreamElement::Watermark(element),
        StreamElement::LatencyMarker(element) => StreamElement::LatencyMarker(element),
        StreamElement::WatermarkStatus(element) => StreamElement::WatermarkStatus(element),
        StreamElement::RecordAttributes(element) => StreamElement::RecordAttributes(element),
        StreamElement::InternalWatermark(element) => StreamElement::InternalWatermark(element),
    })
}
