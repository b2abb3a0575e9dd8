//! forebay beside Flink, which runs in a process of its own, by turns.

use std::process::Command;

use super::quartiles;

const ROUNDS: usize = 3;

/// Prints how many times the rate of Flink forebay has. `variable` has the shell command that runs Flink (see
/// `benches/ratios.rs`); `ours` gives forebay's records a second, of a payload over so many channels, and `limit` those
/// of a bare program over one.
pub fn beside(
    title: &str,
    variable: &str,
    rows: &[(usize, usize)],
    mut ours: impl FnMut(usize, usize) -> f64,
    mut limit: impl FnMut(usize, usize) -> f64,
) {
    let Ok(flink) = std::env::var(variable) else {
        println!("\n{title}: set {variable}, see benches/ratios.rs");
        return;
    };
    println!("\n{title}: `{flink}`, {ROUNDS} rounds in turn; more is faster");
    println!(
        "  {:<28} {:>11} {:>11} {:>9}  {:>13} {:>12}",
        "", "M records/s", "Flink", "ratio", "quartiles", "limit, ratio"
    );
    for &(payload, channels) in rows {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            match rate_of(&flink, payload, channels) {
                Ok(rate) => {
                    ours(payload, channels); // to warm up, as Flink does in its own process
                    rounds.push([ours(payload, channels), rate, limit(payload, channels)]);
                }
                Err(why) => return println!("  {flink} payload={payload} channels={channels}: {why}"),
            }
        }
        let median = |nth: usize| quartiles(rounds.iter().map(|round| round[nth]).collect())[1] / 1e6;
        let ratios = |nth: usize| quartiles(rounds.iter().map(|round| round[nth] / round[1]).collect());
        let ([low, middle, high], [_, bare, _]) = (ratios(0), ratios(2));
        let name = format!("{payload} B, {channels} channel{}", if channels == 1 { "" } else { "s" });
        let (own, flink) = (median(0), median(1));
        println!("  {name:<28} {own:>11.2} {flink:>11.2} {middle:>9.2}  {low:>6.2}–{high:<6.2} {bare:>12.2}");
    }
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
