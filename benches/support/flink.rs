//! The exchange beside Flink's, which runs in a process of its own, by turns.

use std::process::Command;

use forebay::WaitStrategy;

use super::{
    SEGMENT,
    exchange::{forebay_waiting, round_robin},
    quartiles,
};

/// The shell command that runs Flink; see `benches/ratios.rs`.
const COMMAND: &str = "FOREBAY_FLINK";
const ROUNDS: usize = 3;

/// Prints how many times Flink's rate forebay has; what of it is `wanted`.
pub fn beside(wanted: impl Fn(&str) -> bool) {
    let title = "beside Flink";
    if !wanted(title) {
        return;
    }
    let Ok(flink) = std::env::var(COMMAND) else {
        println!("\n{title}: set {COMMAND}, see benches/ratios.rs");
        return;
    };
    println!("\n{title}: `{flink}`, {ROUNDS} rounds in turn; more is faster");
    println!("  {:<28} {:>13} {:>13} {:>9}  {:>15}", "", "M records/s", "Flink", "ratio", "quartiles");
    for (payload, channels) in [(8, 1), (64, 1), (1024, 1), (SEGMENT - 8, 1), (64, 1_000)] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            match rate_of(&flink, payload, channels) {
                Ok(rate) => {
                    ours(payload, channels); // to warm up, as Flink does in its own process
                    rounds.push((ours(payload, channels), rate));
                }
                Err(why) => return println!("  {flink} payload={payload} channels={channels}: {why}"),
            }
        }
        let [_, own, _] = quartiles(rounds.iter().map(|round| round.0).collect());
        let [_, other, _] = quartiles(rounds.iter().map(|round| round.1).collect());
        let [low, middle, high] = quartiles(rounds.iter().map(|(own, other)| own / other).collect());
        let name = format!("{payload} B, {channels} channel{}", if channels == 1 { "" } else { "s" });
        println!("  {name:<28} {:>13.2} {:>13.2} {middle:>9.2}  {low:>7.2}–{high:<7.2}", own / 1e6, other / 1e6);
    }
}

/// Records a second.
fn ours(payload: usize, channels: usize) -> f64 {
    let records = (3_000_000_000 / (payload as u64 + 100)).min(10_000_000);
    let took = match channels {
        1 => forebay_waiting(records, payload, WaitStrategy::default()),
        _ => round_robin(records, payload, channels),
    };
    records as f64 / took.as_secs_f64()
}

/// Records a second, by the last `"value":` that the command prints.
fn rate_of(flink: &str, payload: usize, channels: usize) -> Result<f64, String> {
    let command = format!("{flink} payload={payload} channels={channels}");
    let output = Command::new("sh").args(["-c", &command]).output().map_err(|error| error.to_string())?;
    let printed = String::from_utf8_lossy(&output.stdout);
    let value = printed.rsplit_once("\"value\":").and_then(|(_, rest)| {
        rest.split(|c: char| !(c.is_ascii_digit() || c == '.')).next().and_then(|digits| digits.parse().ok())
    });
    value.filter(|rate| output.status.success() && *rate > 0.0).ok_or_else(|| {
        let said = String::from_utf8_lossy(&output.stderr);
        format!("{}, no \"value\": printed; it said: {}", output.status, said.lines().last().unwrap_or("nothing"))
    })
}
