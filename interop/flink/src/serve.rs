//! forebay as the producer.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use clap::{Args, ValueEnum};
use forebay::{
    CheckpointBarrier, Event, StopMode,
    partition::{ChannelSelector, FlushPolicy, FlushTimer, RecordWriter, Target},
    pool::NetworkBufferPool,
    record::{SerializeRecord, StreamElement},
    transport::tcp::{Server, ServerLimits},
};
use serde_json::Value as Json;

use crate::{
    args::{Common, print_rate},
    content::{Content, Sink, Value},
    ready::{Ready, ids},
    summary::{Summary, done},
};

/// Segments that a subpartition may have filled and not sent, as many as Flink's.
const SEGMENTS: u32 = 10;

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    shape: Shape,
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port to listen on; 0 for any
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// When records are sent that don't fill a buffer: after so many milliseconds; 0 at once, -1 never
    #[arg(long, default_value_t = 100, allow_negative_numbers = true, value_name = "MS")]
    buffer_timeout: i64,
    /// The partition is registered so much later than the port is open
    #[arg(long, default_value_t = 0, value_name = "MS")]
    register_delay_ms: u64,
    /// How long a request waits for a partition that is not there
    #[arg(long, default_value_t = 3000, value_name = "MS")]
    request_timeout_ms: u64,
    /// The producer fails in front of its Nth record of each subpartition
    #[arg(long, value_name = "N")]
    fail_after: Option<u64>,
    /// How it is read: as it is written. Blocking partitions, read once they are whole, are Flink's alone
    #[arg(long, default_value = "pipelined")]
    partition: String,
    /// What it is compressed with: nothing, for Flink's readers decompress blocking partitions alone
    #[arg(long, default_value = "none")]
    compression: String,
    #[command(flatten)]
    pub(crate) common: Common,
}

/// What `expect` needs to know too.
#[derive(Debug, Clone, Args)]
pub(crate) struct Shape {
    /// Subpartitions; all are written at the same time, so all must be read
    #[arg(long, default_value_t = 1)]
    subpartitions: u32,
    /// Kind of the barriers
    #[arg(long, value_enum, default_value_t = BarrierKind::Aligned)]
    barrier_kind: BarrierKind,
    /// Says that no more records follow, and waits until all consumers have acknowledged that, or does not; or does not
    /// say
    #[arg(long, value_enum, default_value_t = EndOfData::Wait)]
    end_of_data: EndOfData,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BarrierKind {
    Aligned,
    AlignedTimeout,
    Unaligned,
    AtLeastOnce,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum EndOfData {
    Wait,
    Nowait,
    None,
}

/// What is sent, without sending it.
#[derive(Debug, Args)]
pub(crate) struct Expect {
    #[command(flatten)]
    content: Content,
    #[command(flatten)]
    shape: Shape,
}

impl Expect {
    pub(crate) fn run(&self) -> Result<Json> {
        let mut counting = Counting::new(self.shape.subpartitions, false);
        self.content.generate(self.shape.subpartitions, &mut counting)?;
        Ok(counting.done("expect", self.shape.end_of_data))
    }
}

impl Serve {
    pub(crate) fn run(&self) -> Result<Json> {
        let subpartitions = self.shape.subpartitions;
        ensure!(subpartitions > 0, "--subpartitions 0 is no partition");
        ensure!(
            self.partition == "pipelined" && self.compression.eq_ignore_ascii_case("none"),
            "forebay serves pipelined partitions, which Flink's readers do not decompress; blocking ones it reads: \
             serve them by peer/run.sh"
        );
        let deadline = Instant::now() + Duration::from_secs(self.common.timeout_s);
        let segment_size = self.common.segment_size.unwrap_or(32768);
        let segments = SEGMENTS * subpartitions;
        let pool = NetworkBufferPool::builder().segment_size(segment_size).segments(segments).build()?;
        let mut limits = ServerLimits::default();
        limits.partition_wait = Duration::from_millis(self.request_timeout_ms);
        let mut server = Server::builder().limits(limits);
        if let Some(tls) = self.common.tls.config()? {
            server = server.tls(tls);
        }
        let server = server.start(format!("{}:{}", self.host, self.port))?;
        let id = ids(self.content.seed);
        let ready = Ready {
            host: self.host.clone(),
            port: server.local_addr().port(),
            id,
            is_blocking: false,
            subpartitions,
            r#type: self.content.r#type,
            compression: None,
            segment_size,
        };
        let producer = pool.local_pool("producer").required(subpartitions).maximum(segments).build()?;
        if self.register_delay_ms > 0 {
            println!("{}", ready.to_json());
            thread::sleep(Duration::from_millis(self.register_delay_ms));
        }
        let (partition, served) = server.serve(id, producer, subpartitions as usize)?;
        if self.register_delay_ms == 0 {
            println!("{}", ready.to_json());
        }

        let timer = FlushTimer::new()?;
        let policy = match self.buffer_timeout {
            0 => FlushPolicy::EveryRecord,
            ms @ 1.. => FlushPolicy::Every(Duration::from_millis(ms as u64), &timer),
            _ => FlushPolicy::WhenFull,
        };
        let mut sending = Sending {
            writer: RecordWriter::new(partition, ByIndex).with_flush(policy),
            counting: Counting::new(subpartitions, self.common.count_only),
            kind: self.shape.barrier_kind,
        };
        let began = Instant::now();
        if let Some(records) = self.fail_after {
            Content { records, ..self.content.clone() }.generate(subpartitions, &mut sending)?;
            sending.writer.fail("failed as told to");
            let _ = served.wait_released(deadline.saturating_duration_since(Instant::now()));
            bail!("failed as told to");
        }
        self.content.generate(subpartitions, &mut sending)?;
        let Sending { mut writer, counting, .. } = sending;
        if self.shape.end_of_data != EndOfData::None {
            writer.broadcast_event(Event::EndOfData(StopMode::Drain))?;
            if self.shape.end_of_data == EndOfData::Wait {
                let left = deadline.saturating_duration_since(Instant::now());
                ensure!(served.wait_acknowledged(left), "the end of data was not acknowledged in time");
            }
        }
        writer.close();
        let left = deadline.saturating_duration_since(Instant::now());
        ensure!(served.wait_released(left), "not all subpartitions were read and released in time");
        if self.common.rate {
            print_rate(counting.records(), server.sent().bytes, began.elapsed());
        }
        ensure!(server.shutdown(Duration::from_secs(5)), "the connections did not end in time");
        Ok(counting.done("serve", self.shape.end_of_data))
    }
}

/// Counts what goes to each subpartition.
struct Counting(Vec<Summary>);

impl Counting {
    fn new(subpartitions: u32, count_only: bool) -> Self {
        Self(vec![Summary::new(count_only); subpartitions as usize])
    }

    fn records(&self) -> u64 {
        self.0.iter().map(|summary| summary.records).sum()
    }

    fn done(mut self, role: &str, end_of_data: EndOfData) -> Json {
        for summary in &mut self.0 {
            summary.end_of_data += u64::from(end_of_data != EndOfData::None);
            summary.end_of_partition += 1;
        }
        done(role, (0..).zip(&self.0).map(|(s, summary)| summary.to_json(&Json::from(s))).collect())
    }
}

impl Sink for Counting {
    fn element(&mut self, s: u32, element: &StreamElement<Value<'_>>) -> Result<()> {
        self.0[s as usize].element(element);
        Ok(())
    }

    fn barrier(&mut self, number: i64, _: i64) -> Result<()> {
        self.0.iter_mut().for_each(|summary| summary.barrier(number));
        Ok(())
    }

    fn cancel_marker(&mut self, _: i64) -> Result<()> {
        self.0.iter_mut().for_each(|summary| summary.other("CancelCheckpointMarker"));
        Ok(())
    }
}

/// Counts, and sends.
struct Sending {
    writer: RecordWriter<ByIndex>,
    counting: Counting,
    kind: BarrierKind,
}

impl Sink for Sending {
    fn element(&mut self, s: u32, element: &StreamElement<Value<'_>>) -> Result<()> {
        self.counting.element(s, element)?;
        Ok(self.writer.emit(&Routed { s, element })?)
    }

    fn barrier(&mut self, number: i64, timestamp: i64) -> Result<()> {
        self.counting.barrier(number, timestamp)?;
        let barrier = match self.kind {
            BarrierKind::Aligned => CheckpointBarrier::aligned(number),
            BarrierKind::AlignedTimeout => CheckpointBarrier::aligned(number).timeout(Duration::from_secs(60)),
            BarrierKind::Unaligned => CheckpointBarrier::unaligned(number),
            BarrierKind::AtLeastOnce => CheckpointBarrier::at_least_once(number),
        };
        let event = Event::from(barrier.timestamp(timestamp));
        let sent = match self.kind {
            BarrierKind::Unaligned => self.writer.broadcast_priority_event(event),
            _ => self.writer.broadcast_event(event),
        };
        Ok(sent?)
    }

    fn cancel_marker(&mut self, checkpoint: i64) -> Result<()> {
        self.counting.cancel_marker(checkpoint)?;
        Ok(self.writer.broadcast_event(Event::CancelCheckpointMarker { checkpoint })?)
    }
}

/// An element, and where it goes.
struct Routed<'a> {
    s: u32,
    element: &'a StreamElement<Value<'a>>,
}

struct ByIndex;

impl ChannelSelector<Routed<'_>> for ByIndex {
    fn select(&mut self, routed: &Routed<'_>, _: usize) -> Target {
        Target::One(routed.s as usize)
    }
}

impl SerializeRecord for Routed<'_> {
    fn serialized_len(&self) -> usize {
        self.element.serialized_len()
    }

    fn serialize_into(&self, dst: &mut [u8]) {
        self.element.serialize_into(dst);
    }
}

/// As Flink's serializers for `byte[]`, `long` and `String`.
impl SerializeRecord for Value<'_> {
    fn serialized_len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.field_len(),
            Self::Long(value) => value.serialized_len(),
            Self::String(text) => text.serialized_len(),
        }
    }

    fn serialize_into(&self, dst: &mut [u8]) {
        match self {
            Self::Bytes(bytes) => {
                bytes.serialize_field(dst);
            }
            Self::Long(value) => value.serialize_into(dst),
            Self::String(text) => text.serialize_into(dst),
        }
    }
}
