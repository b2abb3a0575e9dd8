//! How fast each end reads from each.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value as Json;

use super::end::{End, Files};

#[derive(Debug, Args)]
pub(crate) struct Race {
    /// Only workloads whose name has this in it
    #[arg(default_value = "")]
    filter: String,
    /// Flink's ends: a program with the commands `serve` and `consume`
    #[arg(long, value_name = "PROGRAM", default_value = super::PEER)]
    peer: PathBuf,
    /// Times that each pair runs, in turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

/// Values are made once and only counted, so that what is measured is the exchange.
const WORKLOADS: [(&str, &str); 5] = [
    ("64 B", "--constant --count-only --sizes fixed:64 --records 20000000"),
    ("64 B x 256 channels", "--constant --count-only --sizes fixed:64 --records 60000 --subpartitions 256"),
    ("1 KiB", "--constant --count-only --sizes fixed:1024 --records 4000000"),
    ("32 KiB", "--constant --count-only --sizes fixed:32000 --records 150000"),
    ("1 MiB", "--constant --count-only --sizes fixed:1048576 --records 4000"),
];

/// Who sends and who reads: whether that is forebay.
const PAIRS: [(&str, bool, bool); 4] = [
    ("flink -> flink", false, false),
    ("flink -> forebay", false, true),
    ("forebay -> flink", true, false),
    ("forebay -> forebay", true, true),
];

impl Race {
    /// Prints a table: the median of the records in a second that the consumer has counted, from its request to the
    /// end.
    pub(crate) fn run(&self) -> Result<()> {
        let files = Files::new(&self.peer)?;
        println!("{:20} {:20} {:>14} {:>10} {:>18}", "value", "pair", "records/s", "MB/s", "to flink -> flink");
        for (name, options) in WORKLOADS.iter().filter(|(name, _)| name.contains(&self.filter)) {
            let mut rates = [const { Vec::new() }; PAIRS.len()];
            for _ in 0..self.rounds.max(1) {
                for (rates, (_, producer, consumer)) in rates.iter_mut().zip(PAIRS) {
                    rates.push(exchange(&files, options, producer, consumer)?);
                }
            }
            let medians = rates.map(|mut rates| {
                rates.sort_by(|a, b| a.0.total_cmp(&b.0));
                rates[rates.len() / 2]
            });
            for ((pair, ..), (records, megabytes)) in PAIRS.iter().zip(medians) {
                println!("{name:20} {pair:20} {records:14.0} {megabytes:10.1} {:18.2}", records / medians[0].0);
            }
        }
        Ok(())
    }
}

fn exchange(files: &Files, options: &str, producer: bool, consumer: bool) -> Result<(f64, f64)> {
    let mut producer = End::produce(files, producer, &[options], false)?;
    let ids = producer.line()?.to_string();
    let mut consumer = End::consume(files, consumer, &ids, &["--count-only --rate"], false)?;
    let done: Json = consumer.line()?;
    ensure!(done["event"] == "done", "the consumer said: {done}");
    let rate = consumer.error_line().context("the consumer has said no rate")?;
    let mut numbers = rate.split_whitespace().filter_map(|word| word.parse().ok());
    let (records, megabytes) = (numbers.next(), numbers.next());
    records.zip(megabytes).with_context(|| format!("no rate: {rate}"))
}
