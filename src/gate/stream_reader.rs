//! Buffers in, stream elements out: records as they are, watermarks merged.

use std::{
    ops::{Range, RangeInclusive},
    task::{Context, Poll, ready},
};

use super::{
    attributes::RecordAttributesCombiner,
    input::{CheckpointEvent, Input, Next},
    input_gate::InputGate,
    record_reader::{Arrived, ReadError, Record, RecordOrEvent, RecordReader},
    valve::{Merged, StatusWatermarkValve},
};
use crate::{
    buffer::Buffer,
    channel::Event,
    record::{
        DecodeError, DeserializeRecord, Found, LatencyMarker, RecordAttributes, StreamElement, StreamRecord, Watermark,
        WatermarkStatus,
    },
};

/// Reads the stream elements of all channels of a gate as one stream: records as they come; watermarks, their statuses
/// and record attributes merged, as one channel would have them.
///
/// A record is borrowed as by the [`RecordReader`] below, and its value read when asked for. A watermark costs
/// O(log channels); nothing allocates.
///
/// A channel that has ended is not waited for: it counts as idle. (In Flink it holds the watermark back for good,
/// unless its last was the end of time.) One that has failed is waited for: what it would have sent is missing.
///
/// # Examples
/// ```
/// use forebay::{
///     gate::{RecordReader, StreamItem, StreamReader},
///     partition::{Forward, StreamWriter},
///     pool::NetworkBufferPool,
///     record::Watermark,
///     transport::in_process,
/// };
/// let pool = NetworkBufferPool::builder().segments(2).build()?;
/// let producers = vec![pool.local_pool("a").required(1).build()?, pool.local_pool("b").required(1).build()?];
/// let (partitions, mut gates) = in_process(producers, 1);
/// for (partition, timestamps) in partitions.into_iter().zip([[10, 30], [15, 20]]) {
///     let mut writer = StreamWriter::new(partition, Forward);
///     for timestamp in timestamps {
///         writer.emit_at(timestamp, "something")?;
///         writer.emit_watermark(Watermark::new(timestamp))?;
///     }
///     writer.close();
/// }
/// let mut reader = StreamReader::new(RecordReader::new(gates.remove(0), 1024));
/// let (mut records, mut watermarks) = (0, Vec::new());
/// while let Some(item) = reader.next()? {
///     match item {
///         StreamItem::Record { record, .. } => {
///             assert_eq!(record.deserialize::<&str>()?, "something");
///             records += 1;
///         }
///         StreamItem::Watermark(watermark) => watermarks.push(watermark.timestamp),
///         _ => {}
///     }
/// }
/// assert_eq!(records, 4);
/// assert!(watermarks.is_sorted() && watermarks.ends_with(&[30]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `AbstractStreamTaskNetworkInput`.
#[derive(Debug)]
pub struct StreamReader<G = InputGate> {
    records: RecordReader<G>,
    valve: StatusWatermarkValve,
    attributes: RecordAttributesCombiner,
    /// Where each channel is in the valve.
    lanes: Box<[Lanes]>,
    /// What is to be given out before anything else is read.
    pending: Merged,
}

/// The subpartitions of one channel, as they stand in the valve.
#[derive(Debug, Clone)]
struct Lanes {
    first: usize,
    count: usize,
    /// The index of the first of them; `None` if the channel has one, whatever its index.
    subpartition: Option<i32>,
}

/// What a [`StreamReader`] delivers.
#[derive(Debug)]
#[non_exhaustive]
pub enum StreamItem<'a> {
    /// A record.
    Record {
        /// The channel it came from.
        channel: usize,
        /// Its timestamp, and the bytes of its value: see [`StreamRecord::deserialize`].
        record: StreamRecord<&'a [u8]>,
    },
    /// The watermark of all channels has grown to this.
    Watermark(Watermark),
    /// Whether watermarks are to be waited for at all has changed.
    WatermarkStatus(WatermarkStatus),
    /// A latency marker: to be measured, or passed on.
    LatencyMarker {
        /// The channel it came from.
        channel: usize,
        /// The marker.
        marker: LatencyMarker,
    },
    /// What holds for the records from here on has changed.
    RecordAttributes(RecordAttributes),
    /// An event behind all the elements before it; the end of its channel, too.
    Event {
        /// The channel it came from.
        channel: usize,
        /// The event.
        event: Event,
    },
    /// An event that has overtaken elements: see [`RecordOrEvent::Priority`].
    Priority {
        /// The channel it came from.
        channel: usize,
        /// The event.
        event: Event,
        /// What it has overtaken.
        overtaken: Vec<Buffer>,
    },
    /// What barriers amount to: see [`RecordOrEvent::Checkpoint`].
    Checkpoint(CheckpointEvent),
}

/// Why an element could not be read.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// A channel failed, or cannot be read on: see there. The other channels can be.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A record is no stream element. It is dropped, and the next one can be read; but see that writer and reader mean
    /// the same by a record.
    #[error("a record of channel {channel} is no stream element")]
    Element {
        /// The channel.
        channel: usize,
        /// What is wrong with it, and where in the record.
        source: DecodeError,
    },
    /// A watermark is of a subpartition that the channel has not, or of none where it has several: see
    /// [`StreamReader::with_subpartitions`]. It is dropped.
    #[error("channel {channel} has no subpartition {subpartition:?} for a watermark")]
    Subpartition {
        /// The channel.
        channel: usize,
        /// What the watermark says, if it says anything.
        subpartition: Option<i32>,
    },
}

impl<G: Input> StreamReader<G> {
    /// Takes the records of `records` for stream elements.
    #[must_use]
    pub fn new(records: RecordReader<G>) -> Self {
        let channels = records.gate().channels();
        let lanes = (0..channels).map(|first| Lanes { first, count: 1, subpartition: None }).collect();
        Self {
            records,
            valve: StatusWatermarkValve::new(channels),
            attributes: RecordAttributesCombiner::new(channels),
            lanes,
            pending: Merged::default(),
        }
    }

    /// For channels that carry several subpartitions each, whose watermarks say of which one they are: the indices,
    /// first and last, for each channel. To be called before anything is read.
    ///
    /// # Panics
    /// If there are not as many ranges as channels, or one is empty.
    ///
    /// # Source
    /// Flink's `ResultSubpartitionIndexSet` and `InternalWatermark`.
    #[must_use]
    pub fn with_subpartitions(mut self, of_channels: &[RangeInclusive<i32>]) -> Self {
        assert_eq!(of_channels.len(), self.lanes.len(), "a range for each channel");
        let mut first = 0;
        for (lanes, range) in self.lanes.iter_mut().zip(of_channels) {
            assert!(!range.is_empty(), "a channel carries a subpartition");
            let count = range.end().abs_diff(*range.start()) as usize + 1;
            *lanes = Lanes { first, count, subpartition: Some(*range.start()) };
            first += count;
        }
        self.valve = StatusWatermarkValve::new(first);
        self
    }

    /// The next item; `None` when every channel has ended. Blocking, on the producers.
    ///
    /// # Errors
    /// [`StreamError`]; then the next item can be read.
    #[inline]
    #[allow(clippy::should_implement_trait, reason = "records are lent, which an Iterator cannot do")]
    pub fn next(&mut self) -> Result<Option<StreamItem<'_>>, StreamError> {
        match self.find(|gate| Poll::Ready(gate.next())) {
            Poll::Ready(item) => item,
            Poll::Pending => Ok(None), // never: the gate waits
        }
    }

    /// The next item if there is one now; `None` if there is nothing now, or nothing ever
    /// ([`is_ended`](Self::is_ended)). Lock-free.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    #[inline]
    pub fn try_next(&mut self) -> Result<Option<StreamItem<'_>>, StreamError> {
        match self.find(|gate| Poll::Ready(gate.try_next())) {
            Poll::Ready(item) => item,
            Poll::Pending => Ok(None), // never: the gate says `None`
        }
    }

    /// As [`next`](Self::next), but arranges for the waker to be woken when there may be something. Lock-free. Only the
    /// waker of the last call counts.
    ///
    /// # Errors
    /// As [`next`](Self::next).
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Option<StreamItem<'_>>, StreamError>> {
        self.find(|gate| gate.poll_next(context))
    }

    /// Whether every channel has ended and all was read. True only after a call has found that there is no more, and
    /// stays true.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.pending == Merged::default() && self.records.is_ended()
    }

    /// The watermarks as they stand.
    #[must_use]
    pub fn valve(&self) -> &StatusWatermarkValve {
        &self.valve
    }

    /// The reader it is made of, for its numbers.
    #[must_use]
    pub fn record_reader(&self) -> &RecordReader<G> {
        &self.records
    }

    /// The reader it is made of, to block and resume channels. What is read from it is missing here.
    #[must_use]
    pub fn record_reader_mut(&mut self) -> &mut RecordReader<G> {
        &mut self.records
    }

    #[inline]
    fn find(&mut self, arrive: impl FnMut(&mut G) -> Poll<Next>) -> Poll<Result<Option<StreamItem<'_>>, StreamError>> {
        let is_pending = self.pending.watermark.is_some() || self.pending.status.is_some();
        let place = if is_pending { None } else { self.records.at_hand() };
        // Looked at first, and lent then: the compiler does not see that a loan that is not returned has ended.
        let first = place.clone().and_then(|place| self.records.lend_in_place(place));
        if let Some((channel, start, timestamp)) = first.and_then(|first| head(&first)) {
            let record = self.records.lend_in_place(place.unwrap_or_default());
            let value = record.map_or(&[][..], |record| &record.bytes()[start..]);
            return Poll::Ready(Ok(Some(StreamItem::Record { channel, record: StreamRecord { value, timestamp } })));
        }
        self.find_elsewhere(place, arrive)
    }

    /// The next item where [`find`](Self::find) has found no record: that is another element, at `place`, or not at
    /// hand.
    #[cold]
    fn find_elsewhere(
        &mut self,
        place: Option<Range<usize>>,
        mut arrive: impl FnMut(&mut G) -> Poll<Next>,
    ) -> Poll<Result<Option<StreamItem<'_>>, StreamError>> {
        let mut at_hand = place.map(Found::InPlace);
        loop {
            if let Some(item) = self.take_pending() {
                return Poll::Ready(Ok(Some(item)));
            }
            let found = match at_hand.take() {
                Some(found) => found,
                None => match ready!(self.records.find(&mut arrive))? {
                    None => return Poll::Ready(Ok(None)),
                    Some(Arrived::Event(event)) => return Poll::Ready(Ok(Some(self.event(event)))),
                    Some(Arrived::Record(found)) => found,
                },
            };
            let record = self.records.lend(&found).expect("was found just now");
            let (channel, element) = (record.channel(), StreamElement::<Unread>::deserialize(record.bytes()));
            if let Ok(StreamElement::Record(StreamRecord { value: Unread(len), timestamp })) = element {
                let bytes = self.records.lend(&found).expect("as above").bytes();
                let value = &bytes[bytes.len() - len..];
                return Poll::Ready(Ok(Some(StreamItem::Record {
                    channel,
                    record: StreamRecord { value, timestamp },
                })));
            }
            if let Some(item) = self.between_records(channel, element)? {
                return Poll::Ready(Ok(Some(item)));
            }
        }
    }

    fn take_pending(&mut self) -> Option<StreamItem<'static>> {
        if let Some(watermark) = self.pending.watermark.take() {
            return Some(StreamItem::Watermark(watermark));
        }
        self.pending.status.take().map(StreamItem::WatermarkStatus)
    }

    /// Takes an element that is no record; gives what it is to be passed on as, unless that is pending.
    fn between_records(
        &mut self,
        channel: usize,
        element: Result<StreamElement<Unread>, DecodeError>,
    ) -> Result<Option<StreamItem<'static>>, StreamError> {
        match element.map_err(|source| StreamError::Element { channel, source })? {
            StreamElement::Record(_) => {} // never: looked at before
            StreamElement::Watermark(watermark) => {
                let lane = self.lane(channel, None)?;
                self.pending.watermark = self.valve.input_watermark(lane, watermark);
            }
            StreamElement::InternalWatermark(watermark) => {
                let lane = self.lane(channel, Some(watermark.subpartition))?;
                self.pending.watermark = self.valve.input_watermark(lane, Watermark::new(watermark.timestamp));
            }
            StreamElement::WatermarkStatus(status) => self.set_status(channel, status),
            StreamElement::LatencyMarker(marker) => return Ok(Some(StreamItem::LatencyMarker { channel, marker })),
            StreamElement::RecordAttributes(attributes) => {
                return Ok(self.attributes.input(channel, attributes).map(StreamItem::RecordAttributes));
            }
        }
        Ok(None)
    }

    /// The place in the valve of a channel's subpartition, or of its only one.
    fn lane(&self, channel: usize, subpartition: Option<i32>) -> Result<usize, StreamError> {
        let Lanes { first, count, subpartition: start } = self.lanes[channel];
        let place = match (start, subpartition) {
            (None, _) => Some(0),
            (Some(_), None) => (count == 1).then_some(0),
            (Some(start), Some(index)) => index.checked_sub(start).and_then(|place| usize::try_from(place).ok()),
        };
        let place = place.filter(|&place| place < count);
        place.map(|place| first + place).ok_or(StreamError::Subpartition { channel, subpartition })
    }

    /// Gives all subpartitions of a channel a status.
    fn set_status(&mut self, channel: usize, status: WatermarkStatus) {
        let Lanes { first, count, .. } = self.lanes[channel];
        for lane in first..first + count {
            let merged = self.valve.input_status(lane, status);
            self.pending.watermark = merged.watermark.or(self.pending.watermark);
            self.pending.status = merged.status.or(self.pending.status);
        }
    }

    fn event(&mut self, event: RecordOrEvent<'static>) -> StreamItem<'static> {
        match event {
            RecordOrEvent::Event { channel, event } => {
                if matches!(event, Event::EndOfPartition) {
                    self.set_status(channel, WatermarkStatus::Idle);
                }
                StreamItem::Event { channel, event }
            }
            RecordOrEvent::Priority { channel, event, overtaken } => StreamItem::Priority { channel, event, overtaken },
            RecordOrEvent::Checkpoint(event) => StreamItem::Checkpoint(event),
            RecordOrEvent::Record(_) => unreachable!("events only"),
        }
    }
}

/// The channel of a record, where its value begins, and its timestamp; `None` if the element is no record, or none at
/// all.
#[inline]
fn head(first: &Record<'_>) -> Option<(usize, usize, Option<i64>)> {
    match StreamElement::<Unread>::deserialize(first.bytes()) {
        Ok(StreamElement::Record(StreamRecord { value: Unread(len), timestamp })) => {
            Some((first.channel(), first.bytes().len() - len, timestamp))
        }
        _ => None,
    }
}

/// How many bytes a value has, which is read by whoever the record is for.
struct Unread(usize);

impl DeserializeRecord<'_> for Unread {
    #[inline]
    fn deserialize(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self(bytes.len()))
    }
}
