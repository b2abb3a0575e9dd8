//! One watermark out of many: that of the slowest channel, of those that count.
//!
//! ```text
//!  channel 0 ─ 12, 15 ─▶ ┐ active, aligned ┐
//!  channel 1 ─ 10, 11 ─▶ ┼ active, aligned ┼─▶ the least of the aligned, when it grows: 10, 11
//!  channel 2 ─ idle ───▶ ┘ not waited for  ┘
//! ```

mod heap;
#[cfg(all(test, not(forebay_loom)))]
mod tests;

use crate::record::{Watermark, WatermarkStatus};
use heap::Heap;

/// Merges the watermarks and watermark statuses of several channels into one sequence.
///
/// * The merged watermark is the least of the *aligned* channels', and only ever grows.
/// * A channel that is idle is not waited for. When it is active again, it is aligned, and so waited for, once its
///   watermark has caught up with the merged one: until then it is late, and holds up nobody.
/// * When all channels are idle, none will move any more, so the merged watermark becomes the greatest any of them had,
///   and the valve is idle, until one is active again.
/// * A watermark of an idle channel, or one that is not above the channel's last, is ignored.
/// * That a channel becomes active changes no watermark by itself.
///
/// Pure logic: no threads, no channels. A watermark costs O(log channels), and nothing allocates after
/// [`new`](Self::new).
///
/// # Examples
/// ```
/// use forebay::{gate::{Merged, StatusWatermarkValve}, record::{Watermark, WatermarkStatus}};
/// let mut valve = StatusWatermarkValve::new(2);
/// assert_eq!(valve.input_watermark(0, Watermark::new(10)), None); // nothing is known of channel 1
/// assert_eq!(valve.input_watermark(1, Watermark::new(7)), Some(Watermark::new(7)));
/// assert_eq!(valve.input_watermark(1, Watermark::new(12)), Some(Watermark::new(10)));
/// let merged = valve.input_status(0, WatermarkStatus::Idle); // 10 is no longer waited for
/// assert_eq!(merged, Merged { watermark: Some(Watermark::new(12)), status: None });
/// let merged = valve.input_status(1, WatermarkStatus::Idle);
/// assert_eq!(merged, Merged { watermark: None, status: Some(WatermarkStatus::Idle) });
/// ```
///
/// # Source
/// Flink's `StatusWatermarkValve`.
#[derive(Debug, Clone)]
pub struct StatusWatermarkValve {
    channels: Box<[Channel]>,
    /// The watermarks of the channels that are waited for.
    aligned: Heap,
    /// Channels that are not idle.
    active: usize,
    /// The last that was output.
    watermark: i64,
    status: WatermarkStatus,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    watermark: i64,
    status: WatermarkStatus,
    aligned: bool,
}

/// What comes out of the valve: first the watermark, if there is one, then the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Merged {
    /// The merged watermark has grown to this.
    pub watermark: Option<Watermark>,
    /// The merged status has changed to this.
    pub status: Option<WatermarkStatus>,
}

impl StatusWatermarkValve {
    /// A valve for so many channels, all of them active and without a watermark yet.
    #[must_use]
    pub fn new(channels: usize) -> Self {
        let mut aligned = Heap::new(channels);
        (0..channels).for_each(|channel| aligned.set(channel, i64::MIN));
        let channel = Channel { watermark: i64::MIN, status: WatermarkStatus::Active, aligned: true };
        Self {
            channels: vec![channel; channels].into(),
            aligned,
            active: channels,
            watermark: i64::MIN,
            status: WatermarkStatus::Active,
        }
    }

    /// Number of channels. Never changes.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// The merged watermark, if there was one yet.
    #[must_use]
    pub fn watermark(&self) -> Option<Watermark> {
        (self.watermark > i64::MIN).then_some(Watermark { timestamp: self.watermark })
    }

    /// The merged status.
    #[must_use]
    pub fn status(&self) -> WatermarkStatus {
        self.status
    }

    /// Takes a watermark of a channel; gives the merged one, if that has grown.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn input_watermark(&mut self, channel: usize, watermark: Watermark) -> Option<Watermark> {
        let Channel { watermark: before, status, aligned } = self.channels[channel];
        let timestamp = watermark.timestamp;
        if status == WatermarkStatus::Idle || timestamp <= before {
            return None;
        }
        self.channels[channel].watermark = timestamp;
        if aligned || timestamp >= self.watermark {
            self.align(channel);
        }
        self.advance()
    }

    /// Takes a change of a channel's status; gives what that changes in all.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn input_status(&mut self, channel: usize, status: WatermarkStatus) -> Merged {
        if self.channels[channel].status == status {
            return Merged::default();
        }
        self.channels[channel].status = status;
        match status {
            WatermarkStatus::Idle => self.went_idle(channel),
            WatermarkStatus::Active => self.became_active(channel),
        }
    }

    fn went_idle(&mut self, channel: usize) -> Merged {
        self.active -= 1;
        self.channels[channel].aligned = false;
        self.aligned.remove(channel);
        if self.active > 0 {
            // Only if it was the one that held the merged watermark where it is.
            let was_least = self.channels[channel].watermark == self.watermark;
            return Merged { watermark: if was_least { self.advance() } else { None }, status: None };
        }
        // Whichever was the last: the order in which they became idle makes no difference.
        let greatest = self.channels.iter().map(|channel| channel.watermark).max();
        self.status = WatermarkStatus::Idle;
        Merged { watermark: greatest.and_then(|greatest| self.output(greatest)), status: Some(self.status) }
    }

    fn became_active(&mut self, channel: usize) -> Merged {
        self.active += 1;
        if self.channels[channel].watermark >= self.watermark {
            self.align(channel);
        }
        let changed = self.status == WatermarkStatus::Idle;
        self.status = WatermarkStatus::Active;
        Merged { watermark: None, status: changed.then_some(self.status) }
    }

    /// The channel is waited for, with the watermark it has.
    fn align(&mut self, channel: usize) {
        self.channels[channel].aligned = true;
        self.aligned.set(channel, self.channels[channel].watermark);
    }

    fn advance(&mut self) -> Option<Watermark> {
        self.aligned.least().and_then(|least| self.output(least))
    }

    fn output(&mut self, timestamp: i64) -> Option<Watermark> {
        if timestamp <= self.watermark {
            return None;
        }
        self.watermark = timestamp;
        Some(Watermark { timestamp })
    }
}
