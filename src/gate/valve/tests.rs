//! The valve against a model that looks at every channel each time, and Flink's cases.

use proptest::prelude::*;

use super::*;
use WatermarkStatus::{Active, Idle};

/// What Flink's valve is told to do, in as few words as possible; O(channels) for each input.
struct Naive {
    /// Watermark, status, waited for.
    channels: Vec<(i64, WatermarkStatus, bool)>,
    watermark: i64,
}

impl Naive {
    fn new(channels: usize) -> Self {
        Self { channels: vec![(i64::MIN, Active, true); channels], watermark: i64::MIN }
    }

    fn idle(&self) -> bool {
        self.channels.iter().all(|channel| channel.1 == Idle)
    }

    fn watermark(&mut self, channel: usize, timestamp: i64) -> Vec<Output> {
        let (watermark, status, waited_for) = &mut self.channels[channel];
        if *status == Active && timestamp > *watermark {
            *watermark = timestamp;
            *waited_for |= timestamp >= self.watermark;
            return self.advance().into_iter().collect();
        }
        vec![]
    }

    fn status(&mut self, channel: usize, status: WatermarkStatus) -> Vec<Output> {
        let was_idle = self.idle();
        let (watermark, before, waited_for) = &mut self.channels[channel];
        if *before == status {
            return vec![];
        }
        *before = status;
        *waited_for = status == Active && *watermark >= self.watermark;
        let held_back = *watermark == self.watermark;
        let mut output = Vec::new();
        if status == Idle && (held_back || self.idle()) {
            output.extend(self.advance());
        }
        if was_idle != self.idle() {
            output.push(Output::Status(status));
        }
        output
    }

    fn advance(&mut self) -> Option<Output> {
        let all = self.channels.iter();
        let new = if self.idle() {
            all.map(|channel| channel.0).max()
        } else {
            all.filter(|channel| channel.2).map(|channel| channel.0).min()
        };
        let new = new.filter(|&new| new > self.watermark)?;
        self.watermark = new;
        Some(Output::Watermark(new))
    }
}

#[derive(Debug, PartialEq)]
enum Output {
    Watermark(i64),
    Status(WatermarkStatus),
}

#[derive(Debug, Clone, Copy)]
enum Input {
    Watermark(i64),
    Status(WatermarkStatus),
}

fn feed(valve: &mut StatusWatermarkValve, channel: usize, input: Input) -> Vec<Output> {
    let merged = match input {
        Input::Watermark(timestamp) => {
            Merged { watermark: valve.input_watermark(channel, Watermark { timestamp }), status: None }
        }
        Input::Status(status) => valve.input_status(channel, status),
    };
    let watermark = merged.watermark.map(|watermark| Output::Watermark(watermark.timestamp));
    watermark.into_iter().chain(merged.status.map(Output::Status)).collect()
}

fn inputs() -> impl Strategy<Value = Input> {
    prop_oneof![
        4 => (-3_i64..20).prop_map(Input::Watermark),
        1 => Just(Input::Watermark(i64::MAX)),
        2 => Just(Input::Status(Idle)),
        2 => Just(Input::Status(Active)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 8 } else { 2048 }))]

    #[test]
    fn the_valve_does_what_a_naive_model_does(
        channels in 1_usize..6,
        steps in prop::collection::vec((0_usize..6, inputs()), 0..80),
    ) {
        let (mut valve, mut model) = (StatusWatermarkValve::new(channels), Naive::new(channels));
        let mut last = i64::MIN;
        for (channel, input) in steps {
            let channel = channel % channels;
            let expected = match input {
                Input::Watermark(timestamp) => model.watermark(channel, timestamp),
                Input::Status(status) => model.status(channel, status),
            };
            let merged = feed(&mut valve, channel, input);
            prop_assert_eq!(&merged, &expected, "{:?} on channel {}", input, channel);
            for output in merged {
                if let Output::Watermark(watermark) = output {
                    prop_assert!(watermark > last, "a merged watermark only grows");
                    last = watermark;
                }
            }
            prop_assert_eq!(valve.watermark().map_or(i64::MIN, |watermark| watermark.timestamp), model.watermark);
            prop_assert_eq!(valve.status() == Idle, model.idle());
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "compared with what the valve says")]
fn watermark(timestamp: i64) -> Option<Watermark> {
    Some(Watermark { timestamp })
}

#[test]
fn one_channel_passes_its_watermarks_through_as_long_as_they_grow() {
    let mut valve = StatusWatermarkValve::new(1);
    assert_eq!(valve.watermark(), None);
    assert_eq!(valve.input_watermark(0, Watermark::new(0)), watermark(0));
    assert_eq!(valve.input_watermark(0, Watermark::new(0)), None);
    assert_eq!(valve.input_watermark(0, Watermark::new(-1)), None);
    assert_eq!(valve.input_watermark(0, Watermark::MAX), watermark(i64::MAX));
}

#[test]
fn an_idle_channel_is_not_waited_for_and_its_watermarks_are_ignored() {
    let mut valve = StatusWatermarkValve::new(3);
    assert_eq!(valve.input_watermark(0, Watermark::new(10)), None);
    assert_eq!(valve.input_watermark(1, Watermark::new(12)), None);
    assert_eq!(valve.input_status(2, Idle), Merged { watermark: watermark(10), status: None });
    assert_eq!(valve.input_watermark(2, Watermark::new(100)), None);
    assert_eq!(valve.input_watermark(0, Watermark::new(15)), watermark(12));
}

#[test]
fn a_channel_that_is_active_again_is_waited_for_once_it_has_caught_up() {
    let mut valve = StatusWatermarkValve::new(2);
    valve.input_watermark(0, Watermark::new(5));
    valve.input_watermark(1, Watermark::new(5));
    valve.input_status(1, Idle);
    assert_eq!(valve.input_watermark(0, Watermark::new(20)), watermark(20));
    assert_eq!(valve.input_status(1, Active), Merged::default());
    assert_eq!(valve.input_watermark(1, Watermark::new(10)), None, "late");
    assert_eq!(valve.input_watermark(0, Watermark::new(25)), watermark(25), "not waited for");
    assert_eq!(valve.input_watermark(1, Watermark::new(25)), None, "caught up");
    assert_eq!(valve.input_watermark(0, Watermark::new(30)), None, "waited for");
    assert_eq!(valve.input_watermark(1, Watermark::new(27)), watermark(27));
}

#[test]
fn when_all_are_idle_the_greatest_counts_in_whatever_order_they_became_so() {
    for order in [[0, 1], [1, 0]] {
        let mut valve = StatusWatermarkValve::new(2);
        valve.input_watermark(0, Watermark::new(10));
        valve.input_watermark(1, Watermark::new(20));
        let merged = order.map(|channel| valve.input_status(channel, Idle));
        let greatest = merged.iter().filter_map(|merged| merged.watermark).next_back();
        assert_eq!((greatest, merged[1].status), (watermark(20), Some(Idle)));
        assert_eq!(valve.input_status(0, Active), Merged { watermark: None, status: Some(Active) });
    }
}

#[test]
fn a_valve_of_no_channels_says_nothing() {
    let valve = StatusWatermarkValve::new(0);
    assert_eq!((valve.channels(), valve.watermark(), valve.status()), (0, None, Active));
}
