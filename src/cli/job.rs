//! One shuffle: producer tasks, the exchange, consumer tasks.
//!
//! ```text
//!  FILE ─▶ Scanner ─▶ RecordWriter ═╗               ╔═▶ RecordReader ─▶ PartWriter ─▶ part-00000.csv
//!  FILE ─▶ Scanner ─▶ RecordWriter ═╬═ the exchange ╬═▶ RecordReader ─▶ PartWriter ─▶ part-00001.csv
//!      one thread per producer              one thread per consumer
//! ```
//!
//! Every task reports once to the main thread, before it lets go of its writer or reader. So what others meet because
//! a task failed comes behind the failure itself, and the first failure reported is the cause of all others. The main
//! thread does not wait for those others: a producer may sit in `read` for as long as its pipe is silent. It takes the
//! unfinished parts away and the process ends.

use std::num::NonZero;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};

use super::args::{Shuffle, Strategy};
use super::inputs::{BytesRead, Input, Shape, deal, inspect, total_size};
use super::parts::{PartFacts, PartWriter, buffer_size};
use super::progress::Progress;
use super::rows::Format;
use super::signals;
use super::staging::{self, Staging};
use super::standin::{self, RecordReader, RecordWriter};
use super::summary::{Summary, counted};

/// What a task has done.
enum Done {
    Producer { rows: u64, bytes: u64, blank_lines: u64, back_pressured: Duration },
    Consumer { index: usize, facts: PartFacts, idle: Duration },
}

/// What a task tells the main thread.
type Report = Result<Done>;

pub(crate) fn run(args: &Shuffle) -> Result<Summary> {
    let parts = args.partitions as usize;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let producers = args.producers.map_or(cores, |producers| producers as usize).min(args.files.len());
    let segments = segments(args, producers)?;
    staging::check(&args.out, parts, args.force)?;

    let read = BytesRead::default();
    let format = Format { delimiter: args.delimiter, max_record: args.max_record };
    let key = args.key.as_deref().filter(|_| args.strategy == Strategy::Hash);
    let (shape, inputs) = inspect(&args.files, format, !args.no_header, key, &read)?;
    let progress = Progress::new(!args.json, total_size(&inputs), Arc::clone(&read));

    let (writers, readers) = standin::in_process(producers, parts, || match args.strategy {
        Strategy::Hash => standin::Sel::Hash,
        Strategy::RoundRobin => standin::Sel::RoundRobin,
        Strategy::Broadcast => standin::Sel::Broadcast,
    });

    let staging = Staging::new(args.out.clone(), parts);
    signals::watch(staging.handle()).context("cannot watch for signals")?;
    let files = create_parts(&staging, &shape, parts)?;
    let paths: Vec<_> = files.iter().map(|file| file.path().to_path_buf()).collect();

    let started = Instant::now();
    let (reports, reported) = channel();
    for (index, (reader, file)) in readers.into_iter().zip(files).enumerate() {
        spawn(
            format!("consumer-{index}"),
            256 << 10,
            reports.clone(),
            reader,
            move |reader| consume(index, reader, file),
            |_, _| (),
        )?;
    }
    let shape = Arc::new(shape);
    for (index, (writer, files)) in writers.into_iter().zip(deal(inputs, producers)).enumerate() {
        let (shape, read) = (Arc::clone(&shape), Arc::clone(&read));
        spawn(
            format!("producer-{index}"),
            512 << 10,
            reports.clone(),
            writer,
            move |writer| produce(files, &shape, &read, writer),
            |mut writer: RecordWriter, cause| writer.fail(cause),
        )?;
    }
    drop(reports);

    let mut summary = Summary {
        strategy: args.strategy,
        producers,
        rows: 0,
        bytes: 0,
        blank_lines: 0,
        elapsed: Duration::ZERO,
        parts: paths.into_iter().map(|path| (path, PartFacts::default())).collect(),
        segments,
        segment_size: args.segment_size,
        most_in_use: 0,
        back_pressured: Duration::ZERO,
        idle: Duration::ZERO,
    };
    for _ in 0..producers + parts {
        match next(&reported, &progress)? {
            Done::Producer { rows, bytes, blank_lines, back_pressured } => {
                summary.rows += rows;
                summary.bytes += bytes;
                summary.blank_lines += blank_lines;
                summary.back_pressured += back_pressured;
            }
            Done::Consumer { index, facts, idle } => {
                summary.parts[index].1 = facts;
                summary.idle += idle;
            }
        }
    }
    staging.commit()?;
    summary.elapsed = started.elapsed();
    Ok(summary)
}

/// How many segments the pool shall have.
fn segments(args: &Shuffle, producers: usize) -> Result<u32> {
    let by_producers = counted(producers as u64, "producer");
    let (smallest, why) = match args.strategy {
        Strategy::Hash | Strategy::RoundRobin => (
            producers as u64 * u64::from(args.partitions),
            format!("{by_producers} x {}", counted(args.partitions.into(), "partition")),
        ),
        Strategy::Broadcast => (producers as u64, by_producers),
    };
    match args.segments {
        None => u32::try_from((2 * smallest).max(64)).with_context(|| format!("{why} is too many")),
        Some(segments) if u64::from(segments) >= smallest => Ok(segments),
        Some(segments) => bail!(
            "--segments {segments} is too small: {why} take{} at least {smallest}, one being filled for each",
            if smallest == 1 { "s" } else { "" },
        ),
    }
}

fn create_parts(staging: &Staging, shape: &Shape, parts: usize) -> Result<Vec<PartWriter>> {
    staging.create_folder()?;
    let mut files = Vec::with_capacity(parts);
    for _ in 0..parts {
        let (file, path) = staging.create_part()?;
        let mut part = PartWriter::new(file, path, buffer_size(parts));
        part.header(shape.header())?;
        files.push(part);
    }
    Ok(files)
}

/// Starts a task that works with `end`, its end of the exchange, reports, and only then lets go of it: quietly, or by
/// `fail` if the task failed.
fn spawn<E: Send + 'static>(
    name: String,
    stack: usize,
    reports: Sender<Report>,
    mut end: E,
    work: impl FnOnce(&mut E) -> Report + Send + 'static,
    fail: impl FnOnce(E, &str) + Send + 'static,
) -> Result<()> {
    let context = format!("cannot start the thread {name}");
    let task = name.clone();
    let body = move || {
        let report = catch_unwind(AssertUnwindSafe(|| work(&mut end)))
            .unwrap_or_else(|_| Err(anyhow!("internal error: the task {task} panicked")));
        let failure = report.as_ref().err().map(|error| format!("{error:#}"));
        // Nobody listens any more once another task has failed.
        let _ = reports.send(report);
        if let Some(failure) = failure {
            fail(end, &failure);
        }
    };
    thread::Builder::new().name(name).stack_size(stack).spawn(body).context(context)?;
    Ok(())
}

fn produce(files: Vec<Input>, shape: &Shape, read: &BytesRead, writer: &mut RecordWriter) -> Report {
    let (mut rows, mut bytes, mut blank_lines) = (0, 0, 0);
    for file in files {
        let mut scanner = file.rows(shape, read)?;
        while let Some(row) = scanner.next_row()? {
            rows += 1;
            bytes += row.bytes.len() as u64;
            writer.emit(&row)?;
        }
        blank_lines += scanner.blank_lines();
    }
    writer.close()?;
    Ok(Done::Producer { rows, bytes, blank_lines, back_pressured: writer.back_pressured() })
}

fn consume(index: usize, reader: &mut RecordReader, mut part: PartWriter) -> Report {
    while let Some(record) = reader.next()? {
        part.row(record)?;
    }
    Ok(Done::Consumer { index, facts: part.finish()?, idle: reader.idle() })
}

/// Waits for the next report, drawing the progress meanwhile.
fn next(reported: &Receiver<Report>, progress: &Progress) -> Report {
    let all_gone = || Error::msg("internal error: a task ended without a report");
    loop {
        let Some(interval) = progress.interval() else {
            return reported.recv().map_err(|_| all_gone())?;
        };
        match reported.recv_timeout(interval) {
            Ok(report) => return report,
            Err(RecvTimeoutError::Timeout) => progress.draw(),
            Err(RecvTimeoutError::Disconnected) => return Err(all_gone()),
        }
    }
}
