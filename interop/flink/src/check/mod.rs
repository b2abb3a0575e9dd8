//! Starts real Flinks, exchanges with them in both directions, and compares.
//!
//! ```text
//!   for each case:   flink serve ──▶ forebay fetch        forebay serve ──▶ flink consume
//!                    forebay serve ──▶ forebay fetch      (the content, counted without sending it)
//! ```
//!
//! What was generated, what the producer says it has sent, and what the consumer says it has read must be the same in
//! each field. Each end is a process of its own, so that this sees what a user would.

mod cases;
mod end;
mod race;

use std::{
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser};
use serde_json::Value as Json;

pub(crate) use self::race::Race;
use self::{
    cases::{Case, Outcome, cases},
    end::{End, Files},
};
use crate::serve::Expect;

/// Flink's ends, unless told otherwise.
const PEER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/peer/run.sh");

#[derive(Debug, Args)]
pub(crate) struct Check {
    /// Only cases whose name has this in it
    #[arg(default_value = "")]
    filter: String,
    /// Flink's ends: a program with the commands `serve` and `consume`
    #[arg(long, value_name = "PROGRAM", default_value = PEER)]
    peer: PathBuf,
    /// Cases at a time
    #[arg(long, default_value_t = 2)]
    jobs: usize,
}

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pair {
    FlinkToForebay,
    ForebayToFlink,
    ForebayToForebay,
}

impl Pair {
    const ALL: [Self; 3] = [Self::FlinkToForebay, Self::ForebayToFlink, Self::ForebayToForebay];

    fn name(self) -> &'static str {
        match self {
            Self::FlinkToForebay => "flink -> forebay",
            Self::ForebayToFlink => "forebay -> flink",
            Self::ForebayToForebay => "forebay -> forebay",
        }
    }
}

impl Check {
    /// Success if each case came out as it should.
    pub(crate) fn run(&self) -> ExitCode {
        match self.run_all() {
            Ok((passed, failed)) => {
                println!("{passed} passed, {failed} failed");
                if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    fn run_all(&self) -> Result<(usize, usize)> {
        let cases: Vec<(Case, Pair)> = cases()
            .into_iter()
            .flat_map(|case| Pair::ALL.map(|pair| (case, pair)))
            .filter(|(case, pair)| case.pairs.contains(pair) && case.name.contains(&self.filter))
            .collect();
        ensure!(!cases.is_empty(), "no case has {:?} in its name", self.filter);
        if self.peer.as_os_str() == PEER {
            let installed = Command::new(PEER).arg("install").stdin(Stdio::null()).status();
            let installed = installed.with_context(|| format!("cannot run {PEER}"))?;
            ensure!(installed.success(), "{PEER} install: {installed}");
        }
        let files = Files::new(&self.peer)?;
        let (next, failed) = (AtomicUsize::new(0), Mutex::new(0));
        thread::scope(|scope| {
            for _ in 0..self.jobs.clamp(1, cases.len()) {
                scope.spawn(|| {
                    while let Some((case, pair)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let began = Instant::now();
                        let done = run(case, *pair, &files);
                        let seconds = began.elapsed().as_secs_f32();
                        let mut failed = failed.lock().expect("no panic under it");
                        let name = format!("{:18}  {}", pair.name(), case.name);
                        match done {
                            Ok(()) => println!("ok      {name}  ({seconds:.1} s)"),
                            Err(error) => {
                                *failed += 1;
                                println!("FAILED  {name}  ({seconds:.1} s)\n{error:#}");
                            }
                        }
                    }
                });
            }
        });
        let failed = failed.into_inner().expect("no panic under it");
        Ok((cases.len() - failed, failed))
    }
}

/// What `expect` with a case's options says.
#[derive(Parser)]
struct Expected {
    #[command(flatten)]
    expect: Expect,
}

fn run(case: &Case, pair: Pair, files: &Files) -> Result<()> {
    let (forebay_serves, forebay_fetches) = (pair != Pair::FlinkToForebay, pair != Pair::ForebayToFlink);
    let more = if forebay_serves { case.forebay_serve } else { case.flink_serve };
    let mut producer = End::produce(files, forebay_serves, &[case.content, case.serve, more], case.tls)?;
    let ready = producer.line().context("the producer is not ready")?;
    ensure!(ready["event"] == "ready", "the producer said: {ready}");

    let more = if forebay_fetches { case.forebay_fetch } else { case.flink_consume };
    let ids = ready.to_string();
    let consume = |tls| End::consume(files, forebay_fetches, &ids, &[case.consume, more], tls);
    if case.plain_is_refused {
        let refused = consume(false)?.line().context("the consumer without a certificate has said nothing")?;
        expect_error(&refused, "")?; // and the producer goes on
    }
    let mut consumer = consume(case.tls)?;
    if let Outcome::ProducerIsKilled | Outcome::ConsumerIsKilled = case.outcome {
        wait_for_connection(&ready)?;
        thread::sleep(Duration::from_millis(500)); // most likely in the middle; an error is to come in any case
        let (killed, left) = match case.outcome {
            Outcome::ProducerIsKilled => (&mut producer, &mut consumer),
            _ => (&mut consumer, &mut producer),
        };
        killed.kill();
        if case.outcome == Outcome::ProducerIsKilled || forebay_serves {
            return expect_error(&left.line().context("the end that is left has said nothing")?, "");
        }
        return Ok(()); // Flink's writer waits for its task to be cancelled
    }
    let read = consumer.line().context("the consumer has said nothing")?;
    match case.outcome {
        Outcome::Equal => {
            producer.close_input();
            let sent = producer.line().context("the producer has said nothing more")?;
            let words = ["expect"].into_iter().chain(case.content.split_whitespace()).chain(case.shape());
            let expected = Expected::parse_from(words).expect.run()?;
            compare(&expected, &sent).context("what was generated, and what the producer says it has sent")?;
            let expected = if case.forebay_fetch.contains("--as-range") { as_range(&expected)? } else { expected };
            compare(&expected, &read).context("what was generated, and what the consumer says it has read")?;
        }
        Outcome::ProducerFails => expect_error(&read, "failed as told to")?,
        Outcome::ProducerIsKilled | Outcome::ConsumerIsKilled => {} // above
        Outcome::ConsumerCancels => {
            ensure!(read["event"] == "done", "the consumer said: {read}");
            let part = read["subpartitions"][0]["records"].as_u64().unwrap_or_default();
            ensure!(part > 0 && read["subpartitions"][0]["end_of_partition"] == 0, "not the middle: {read}");
            if forebay_serves {
                let sent = producer.line().context("the producer does not notice that its consumer is gone")?;
                ensure!(sent["event"] == "error", "the producer said: {sent}");
            } // Flink's writer waits for its task to be cancelled
        }
    }
    for (what, is_forebay, end) in [("producer", forebay_serves, producer), ("consumer", forebay_fetches, consumer)] {
        let within = !is_forebay || case.most_memory.is_none_or(|most| end.memory() <= most);
        ensure!(within, "the {what} took {} bytes of memory", end.memory());
    }
    Ok(())
}

/// Waits until somebody is connected to the port, as the system says.
fn wait_for_connection(ready: &Json) -> Result<()> {
    let port = format!(":{:04X}", ready["port"].as_u64().unwrap_or_default());
    let deadline = Instant::now() + PATIENCE;
    let is_connected = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|local| local.ends_with(&port)) && words.nth(1) == Some("01")
    };
    loop {
        for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
            if std::fs::read_to_string(table).unwrap_or_default().lines().any(is_connected) {
                return Ok(());
            }
        }
        ensure!(Instant::now() < deadline, "nobody has connected to the producer");
        thread::sleep(Duration::from_millis(20));
    }
}

fn expect_error(line: &Json, text: &str) -> Result<()> {
    let error = line["error"].as_str().with_context(|| format!("an error was to come, and it said: {line}"))?;
    ensure!(error.contains(text), "the error does not say {text:?}: {error}");
    Ok(())
}

/// What all subpartitions of a line are together, read as one channel. Without the checksum that depends on the order,
/// which is the producer's choice: records of a subpartition stay in order, and those of others may come between.
fn as_range(line: &Json) -> Result<Json> {
    let all = line["subpartitions"].as_array().context("no subpartitions are expected")?;
    let mut fields = serde_json::Map::new();
    for (name, first) in all.first().and_then(Json::as_object).into_iter().flatten() {
        let number = |each: &Json| each[name].as_i64().unwrap_or_default();
        let value = match name.as_str() {
            "crc32" => continue,
            "s" => format!("0-{}", all.len() - 1).into(),
            "crc_sum" => {
                let sum = |each: &Json| u64::from_str_radix(each[name].as_str().unwrap_or_default(), 16);
                let sums = all.iter().map(sum).collect::<Result<Vec<_>, _>>().context("crc_sum")?;
                format!("{:016x}", sums.into_iter().fold(0, u64::wrapping_add)).into()
            }
            // The same of each; and the ends are said once for all.
            "last_watermark" | "last_barrier" | "end_of_data" | "end_of_partition" => first.clone(),
            _ => all.iter().map(number).fold(0, i64::wrapping_add).into(),
        };
        fields.insert(name.clone(), value);
    }
    Ok(serde_json::json!({ "subpartitions": [fields] }))
}

/// Both lines, subpartition by subpartition and field by field.
fn compare(expected: &Json, line: &Json) -> Result<()> {
    let all = |line: &Json| line["subpartitions"].as_array().cloned();
    let expected = all(expected).context("no subpartitions are expected")?;
    let found = all(line).with_context(|| format!("it said: {line}"))?;
    ensure!(expected.len() == found.len(), "{} subpartitions, not {}", found.len(), expected.len());
    for (expected, found) in expected.iter().zip(&found) {
        let Some(fields) = expected.as_object() else { bail!("no object: {expected}") };
        for (name, value) in fields {
            ensure!(found[name] == *value, "subpartition {}: {name} is {}, not {value}", expected["s"], found[name]);
        }
        for (name, value) in found.as_object().into_iter().flatten() {
            let may_be = fields.contains_key(name) || name == "crc32"; // see `as_range`
            ensure!(may_be, "subpartition {}: there is {name}: {value}", expected["s"]);
        }
    }
    Ok(())
}

/// How long one line of an end may take.
const PATIENCE: Duration = Duration::from_secs(60);
