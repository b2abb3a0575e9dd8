//! What is sent, from a seed, so that whoever reads it can tell whether all of it came.
//!
//! All arithmetic is on 64 bits and wraps; S is the seed, s the subpartition and r the record, from 0.
//!
//! ```text
//!   G = 0x9E3779B97F4A7C15          hash(s, r)      = mix(S + D (s+1) + G (r+1))
//!   D = 0xD1B54A32D192ED03          timestamp(s, r) = 1000000 (S mod 65536) + 10 r + s
//!   mix(z): z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9
//!           z = (z ^ z >> 27) * 0x94D049BB133111EB,  then  z ^ z >> 31
//! ```
//!
//! *Sizes* are one stream for each subpartition, of a state that begins as S + D (s+1), has G added in front of each
//! record, and gives u = mix(state): `fixed:n` is n; `uniform:a-b` is a + u mod (b-a+1); `mix`, of k = u mod 16 and
//! v = u >> 8, is v mod 64 for k < 8, 64 + v mod 1984 for k < 13, 2048 + v mod 30720 for k < 15, else 32768 + v mod
//! 167232.
//!
//! *Values*: `long` is the hash; byte i of `bytes` is the low byte of (hash >> 8 (i mod 8)) + i; `string` has for each
//! such byte c the character 0x20 + c mod 95 for c < 0x80, c for c < 0xC0, 0x4E00 + c for c < 0xF0, else 0x7F0 + c, and
//! at the end U+1F600 if r mod 16 = 5.
//!
//! With `--constant`, each record of a subpartition has the value of its first.
//!
//! *Order*: for each r, for each s, the record, and if (r+1) mod K = 0 the watermark timestamp(s, r), and likewise the
//! extras: idle, active, latency marker (marked time timestamp(s, r), operator mix(s) and mix(r), subtask s), record
//! attributes (backlog if r is odd), internal watermark (s, timestamp(s, r)). Then, if it is its turn, a barrier to
//! all, of number (r+1)/K and timestamp(0, r).

use std::{borrow::Cow, str::FromStr};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use forebay::record::{
    InternalWatermark, LatencyMarker, RecordAttributes, StreamElement, StreamRecord, StringValue, Watermark,
    WatermarkStatus,
};

/// What is sent.
#[derive(Debug, Clone, Args)]
pub(crate) struct Content {
    /// Records for each subpartition
    #[arg(long, default_value_t = 1000)]
    pub(crate) records: u64,
    /// Type of the values
    #[arg(long, value_enum, default_value_t = Type::Bytes)]
    pub(crate) r#type: Type,
    /// Sizes of the values: fixed:N, uniform:A-B or mix; no meaning for long
    #[arg(long, default_value = "fixed:64")]
    pub(crate) sizes: Sizes,
    /// Content and ids are derived from it
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Each value of a subpartition is its first: to measure what is not the making of values
    #[arg(long)]
    pub(crate) constant: bool,
    /// Records have timestamps
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// A watermark behind every Nth record; 0 for none
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) watermarks_every: u64,
    /// Idle, active, latency marker, record attributes and internal watermark behind every Nth record; 0 for none
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) extras_every: u64,
    /// A barrier to all subpartitions behind every Nth record; 0 for none
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) barriers_every: u64,
    /// A cancel marker for checkpoint 77 behind the last record
    #[arg(long)]
    pub(crate) cancel_marker: bool,
}

/// The type of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Type {
    Bytes,
    Long,
    String,
}

impl Type {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Long => "long",
            Self::String => "string",
        }
    }
}

/// The rule of sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sizes {
    Uniform(u64, u64),
    Mix,
}

impl FromStr for Sizes {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.parse::<u64>().with_context(|| format!("{text:?} is no number of bytes"));
        match text.split_once(':') {
            None if text == "mix" => Ok(Self::Mix),
            Some(("fixed", size)) => number(size).map(|size| Self::Uniform(size, size)),
            Some(("uniform", range)) => {
                let (low, high) = range.split_once('-').context("uniform:A-B has two numbers")?;
                let (low, high) = (number(low)?, number(high)?);
                ensure!(low <= high, "{low} is over {high}");
                Ok(Self::Uniform(low, high))
            }
            _ => bail!("sizes are fixed:N, uniform:A-B or mix"),
        }
    }
}

const G: u64 = 0x9E37_79B9_7F4A_7C15;
const D: u64 = 0xD1B5_4A32_D192_ED03;

pub(crate) fn mix(z: u64) -> u64 {
    let z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ z >> 31
}

fn start(seed: u64, s: u32) -> u64 {
    seed.wrapping_add(D.wrapping_mul(u64::from(s) + 1))
}

/// A value, in a form that both sides count alike.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    Bytes(&'a [u8]),
    Long(i64),
    String(StringValue<'a>),
}

/// What is done with the elements as they come.
pub(crate) trait Sink {
    /// For subpartition `s`.
    fn element(&mut self, s: u32, element: &StreamElement<Value<'_>>) -> Result<()>;
    /// For all.
    fn barrier(&mut self, number: i64, timestamp: i64) -> Result<()>;
    /// For all.
    fn cancel_marker(&mut self, checkpoint: i64) -> Result<()>;
}

impl Content {
    pub(crate) fn timestamp(&self, s: u32, r: u64) -> i64 {
        ((self.seed & 0xFFFF) * 1_000_000 + 10 * r + u64::from(s)) as i64
    }

    /// Hands all elements for `subpartitions` to `sink`, in order.
    pub(crate) fn generate(&self, subpartitions: u32, sink: &mut impl Sink) -> Result<()> {
        let begin = |s| Maker { state: start(self.seed, s), bytes: Vec::new(), text: String::new() };
        let mut makers: Vec<Maker> = (0..subpartitions).map(begin).collect();
        let is_due = |r: u64, every: u64| every > 0 && (r + 1).is_multiple_of(every);
        for r in 0..self.records {
            for (s, maker) in (0..).zip(&mut makers) {
                let timestamp = self.timestamp(s, r);
                let value = maker.value(self, s, r);
                let timestamped = self.timestamps.then_some(timestamp);
                sink.element(s, &StreamElement::Record(StreamRecord { value, timestamp: timestamped }))?;
                if is_due(r, self.watermarks_every) {
                    sink.element(s, &StreamElement::Watermark(Watermark { timestamp }))?;
                }
                if is_due(r, self.extras_every) {
                    for element in extras(s, r, timestamp) {
                        sink.element(s, &element)?;
                    }
                }
            }
            if is_due(r, self.barriers_every) {
                sink.barrier(((r + 1) / self.barriers_every) as i64, self.timestamp(0, r))?;
            }
        }
        if self.cancel_marker {
            sink.cancel_marker(77)?;
        }
        Ok(())
    }
}

/// Makes the values of a subpartition.
struct Maker {
    /// Of the sizes.
    state: u64,
    bytes: Vec<u8>,
    text: String,
}

impl Maker {
    fn value(&mut self, content: &Content, s: u32, r: u64) -> Value<'_> {
        let of = if content.constant { 0 } else { r };
        let hash = mix(start(content.seed, s).wrapping_add(G.wrapping_mul(of + 1)));
        if content.r#type != Type::Long && of == r {
            self.state = self.state.wrapping_add(G);
            payload(hash, content.sizes.size(mix(self.state)), &mut self.bytes);
            if content.r#type == Type::String {
                characters(&self.bytes, r, &mut self.text);
            }
        }
        match content.r#type {
            Type::Long => Value::Long(hash as i64),
            Type::Bytes => Value::Bytes(&self.bytes),
            Type::String => Value::String(StringValue(Cow::Borrowed(&self.text))),
        }
    }
}

impl Sizes {
    fn size(self, u: u64) -> usize {
        let (k, v) = (u & 15, u >> 8);
        let size = match self {
            Self::Uniform(low, high) => (high - low).checked_add(1).map_or(u, |width| low + u % width),
            Self::Mix if k < 8 => v % 64,
            Self::Mix if k < 13 => 64 + v % 1984,
            Self::Mix if k < 15 => 2048 + v % 30720,
            Self::Mix => 32768 + v % 167_232,
        };
        size as usize
    }
}

fn payload(hash: u64, size: usize, bytes: &mut Vec<u8>) {
    let hash = hash.to_le_bytes();
    bytes.clear();
    bytes.resize(size, 0);
    for (i, chunk) in (0_usize..).step_by(8).zip(bytes.chunks_mut(8)) {
        for ((byte, of_hash), j) in chunk.iter_mut().zip(hash).zip(0..) {
            *byte = of_hash.wrapping_add((i as u8).wrapping_add(j));
        }
    }
}

fn characters(bytes: &[u8], r: u64, text: &mut String) {
    text.clear();
    let character = |&c: &u8| {
        let c = u32::from(c);
        let code = match c {
            0..0x80 => 0x20 + c % 95,
            0x80..0xC0 => c,
            0xC0..0xF0 => 0x4E00 + c,
            _ => 0x7F0 + c,
        };
        char::from_u32(code).unwrap_or_default() // none is a surrogate
    };
    text.extend(bytes.iter().map(character));
    text.extend((r % 16 == 5).then_some('\u{1F600}'));
}

fn extras(s: u32, r: u64, timestamp: i64) -> [StreamElement<Value<'static>>; 5] {
    let mut operator_id = [0; 16];
    operator_id[..8].copy_from_slice(&mix(u64::from(s)).to_be_bytes());
    operator_id[8..].copy_from_slice(&mix(r).to_be_bytes());
    let marker = LatencyMarker { marked_time: timestamp, operator_id, subtask_index: s as i32 };
    [
        StreamElement::WatermarkStatus(WatermarkStatus::Idle),
        StreamElement::WatermarkStatus(WatermarkStatus::Active),
        StreamElement::LatencyMarker(marker),
        StreamElement::RecordAttributes(RecordAttributes { is_backlog: r % 2 == 1 }),
        StreamElement::InternalWatermark(InternalWatermark { subpartition: s as i32, timestamp }),
    ]
}
