//! What was sent to, or read from, one subpartition, as counts and checksums.

use std::collections::BTreeMap;

use crc32fast::Hasher;
use forebay::record::StreamElement;
use serde_json::{Map, Value as Json, json};

use crate::content::Value;

/// From so many bytes on, putting two CRCs together takes less time than going through the bytes again.
const COMBINE: usize = 16 * 1024;

/// See the [module](self). Printed as one JSON object, by Flink's side too.
#[derive(Debug, Default, Clone)]
pub(crate) struct Summary {
    /// No checksums, which take longer than the exchange: to measure that.
    count_only: bool,
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    /// CRC-32 of the bytes of all values, one behind the other.
    crc32: Hasher,
    /// Sum of the CRC-32 of each value.
    crc_sum: u64,
    with_ts: u64,
    ts_sum: i64,
    watermarks: u64,
    last_watermark: Option<i64>,
    pub(crate) barriers: u64,
    pub(crate) last_barrier: Option<i64>,
    statuses: u64,
    latency_markers: u64,
    record_attributes: u64,
    internal_watermarks: u64,
    pub(crate) end_of_data: u64,
    pub(crate) end_of_partition: u64,
    /// By the name of Flink's class.
    pub(crate) other_events: BTreeMap<String, u64>,
}

impl Summary {
    pub(crate) fn new(count_only: bool) -> Self {
        Self { count_only, ..Self::default() }
    }

    /// Takes an element into account. The bytes of a value are its own, 8 big-endian for a long, UTF-8 for a string.
    pub(crate) fn element(&mut self, element: &StreamElement<Value<'_>>) {
        match element {
            StreamElement::Record(record) => {
                let number;
                let bytes = match &record.value {
                    Value::Bytes(bytes) => bytes,
                    Value::String(text) => text.0.as_bytes(),
                    Value::Long(value) => {
                        number = value.to_be_bytes();
                        &number
                    }
                };
                if !self.count_only {
                    let crc = crc32fast::hash(bytes);
                    if bytes.len() < COMBINE {
                        self.crc32.update(bytes);
                    } else {
                        self.crc32.combine(&Hasher::new_with_initial_len(crc, bytes.len() as u64));
                    }
                    self.crc_sum = self.crc_sum.wrapping_add(u64::from(crc));
                }
                self.records += 1;
                self.bytes += bytes.len() as u64;
                if let Some(timestamp) = record.timestamp {
                    self.with_ts += 1;
                    self.ts_sum = self.ts_sum.wrapping_add(timestamp);
                }
            }
            StreamElement::Watermark(watermark) => {
                self.watermarks += 1;
                self.last_watermark = Some(watermark.timestamp);
            }
            StreamElement::LatencyMarker(_) => self.latency_markers += 1,
            StreamElement::WatermarkStatus(_) => self.statuses += 1,
            StreamElement::RecordAttributes(_) => self.record_attributes += 1,
            StreamElement::InternalWatermark(_) => self.internal_watermarks += 1,
        }
    }

    pub(crate) fn barrier(&mut self, number: i64) {
        self.barriers += 1;
        self.last_barrier = Some(number);
    }

    pub(crate) fn other(&mut self, event: &str) {
        *self.other_events.entry(event.into()).or_default() += 1;
    }

    /// As an object; `label` is the number of the subpartition, or "a-b" of several.
    pub(crate) fn to_json(&self, label: &Json) -> Json {
        let mut object = json!({
            "s": label,
            "records": self.records,
            "bytes": self.bytes,
            "crc32": format!("{:08x}", self.crc32.clone().finalize()),
            "crc_sum": format!("{:016x}", self.crc_sum),
            "with_ts": self.with_ts,
            "ts_sum": self.ts_sum,
            "watermarks": self.watermarks,
            "last_watermark": self.last_watermark,
            "barriers": self.barriers,
            "last_barrier": self.last_barrier,
            "statuses": self.statuses,
            "latency_markers": self.latency_markers,
            "record_attributes": self.record_attributes,
            "internal_watermarks": self.internal_watermarks,
            "end_of_data": self.end_of_data,
            "end_of_partition": self.end_of_partition,
        });
        if !self.other_events.is_empty() {
            object["other_events"] = json!(self.other_events);
        }
        object
    }
}

/// The last line.
pub(crate) fn done(role: &str, subpartitions: Vec<Json>) -> Json {
    let mut line = Map::new();
    line.insert("event".into(), "done".into());
    line.insert("role".into(), role.into());
    line.insert("subpartitions".into(), subpartitions.into());
    line.into()
}
