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
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail};
use forebay::gate::{InputGate, RecordReader};
use forebay::partition::{
    Broadcast, ChannelSelector, FlushPolicy, FlushTimer, HashByKey, RecordWriter, ResultPartition, RoundRobin,
};
use forebay::pool::NetworkBufferPool;
use forebay::transport::in_process;

use super::args::{BufferTimeout, Shuffle, Strategy};
use super::inputs::{BytesRead, Input, Shape, deal, inspect, total_size};
use super::parts::{PartFacts, PartWriter, buffer_size};
use super::progress::Progress;
use super::rows::{Format, Row};
use super::signals;
use super::staging::{self, Staging};
use super::summary::{Summary, counted};

/// What a task has done.
enum Done {
    Producer { rows: u64, bytes: u64, blank_lines: u64, back_pressured: Duration },
    Consumer { index: usize, facts: PartFacts, idle: Duration },
}

/// What a task tells the main thread.
type Report = Result<Done>;

/// Shuffles as `args` say, and tells what was done.
///
/// # Errors
/// The first failure of all tasks; there is no part of this run then. Or, if only parts of an earlier run could not be
/// removed in the end, that.
pub(crate) fn run(args: &Shuffle) -> Result<Summary> {
    let parts = args.partitions as usize;
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let producers = args.producers.map_or(cores, |producers| producers as usize).min(args.files.len());
    let segments = segments(args, producers)?;
    let pool = NetworkBufferPool::builder().segments(segments).segment_size(args.segment_size).build()?;
    staging::check(&args.out, parts, args.force)?;
    staging::check_inputs(&args.out, &args.files)?;

    let read = BytesRead::default();
    let format = Format { delimiter: args.delimiter, max_record: args.max_record };
    let key = args.key.as_deref().filter(|_| args.strategy == Strategy::Hash);
    let (shape, inputs) = inspect(&args.files, format, !args.no_header, key, &read)?;
    let progress = Progress::new(!args.json, total_size(&inputs), Arc::clone(&read));

    let staging = Staging::new(args.out.clone(), parts);
    signals::watch(staging.handle()).context("cannot watch for signals")?;
    let (files, paths) = create_parts(&staging, &shape, parts)?;

    let started = Instant::now();
    let (partitions, gates) = exchange(args, &pool, producers)?;
    let (reports, reported) = channel();
    for (index, (gate, file)) in gates.into_iter().zip(files).enumerate() {
        start_consumer(index, gate, args.max_record, file, reports.clone())?;
    }
    let source = Arc::new((shape, read));
    let _timer = start_producers(args, partitions, deal(inputs, producers), &source, &reports)?;
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
    summary.most_in_use = pool.most_in_use();
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
        None => u32::try_from((2 * smallest).max(64)).map_err(|_| anyhow!("{why} are too many")),
        Some(segments) if u64::from(segments) >= smallest => Ok(segments),
        Some(segments) => bail!(
            "--segments {segments} is too small: {why} take{} at least {smallest}, one being filled for each",
            if smallest == 1 { "s" } else { "" },
        ),
    }
}

/// The parts' files, with the header in each, and their names to be.
fn create_parts(staging: &Staging, shape: &Shape, parts: usize) -> Result<(Vec<PartWriter>, Vec<PathBuf>)> {
    staging.create_folder()?;
    let (mut files, mut paths) = (Vec::with_capacity(parts), Vec::with_capacity(parts));
    for _ in 0..parts {
        let (file, path) = staging.create_part()?;
        paths.push(path.clone());
        let mut part = PartWriter::new(file, path, buffer_size(parts));
        part.header(shape.header())?;
        files.push(part);
    }
    Ok((files, paths))
}

/// Joins `producers` producers to a consumer for each part.
fn exchange(
    args: &Shuffle,
    pool: &NetworkBufferPool,
    producers: usize,
) -> Result<(Vec<ResultPartition>, Vec<InputGate>)> {
    let required = if args.strategy == Strategy::Broadcast { 1 } else { args.partitions };
    let local_pools = (0..producers)
        .map(|index| pool.local_pool(format!("producer {index}")).required(required).build())
        .collect::<Result<_, _>>()?;
    Ok(in_process(local_pools, args.partitions as usize))
}

fn start_consumer(
    index: usize,
    gate: InputGate,
    max_record: usize,
    mut file: PartWriter,
    reports: Sender<Report>,
) -> Result<()> {
    // There may be hundreds of consumers: none keeps the room that one large row took.
    let reader = RecordReader::new(gate, max_record).keep_at_most(64 << 10);
    let work = move |reader: &mut RecordReader| {
        while let Some(record) = reader.next()? {
            file.row(record.bytes())?;
        }
        Ok(Done::Consumer { index, facts: file.finish()?, idle: reader.idle() })
    };
    // A reader that is dropped says by that that it is gone.
    start(format!("consumer {index}"), 256 << 10, reports, reader, work, |_, _| ())
}

/// Starts a producer for each partition, and what flushes them as long as it is kept.
fn start_producers(
    args: &Shuffle,
    partitions: Vec<ResultPartition>,
    files: Vec<Vec<Input>>,
    source: &Arc<(Shape, BytesRead)>,
    reports: &Sender<Report>,
) -> Result<Option<FlushTimer>> {
    let timer = match args.buffer_timeout {
        BufferTimeout::After(_) => Some(FlushTimer::new().context("cannot start the flush timer")?),
        BufferTimeout::EveryRow | BufferTimeout::WhenFull => None,
    };
    let flush = match (args.buffer_timeout, &timer) {
        (BufferTimeout::EveryRow, _) => FlushPolicy::EveryRecord,
        (BufferTimeout::After(interval), Some(timer)) => FlushPolicy::Every(interval, timer),
        _ => FlushPolicy::WhenFull,
    };
    for (index, (partition, files)) in partitions.into_iter().zip(files).enumerate() {
        let source = Arc::clone(source);
        let start = Producer { index, partition, flush, files, source, reports: reports.clone() };
        match args.strategy {
            Strategy::Hash => start.with(HashByKey::new::<Row<'_>>(key))?,
            Strategy::RoundRobin => start.with(RoundRobin::default())?,
            Strategy::Broadcast => start.with(Broadcast)?,
        }
    }
    Ok(timer)
}

fn key<'r>(row: &'r Row<'_>) -> &'r [u8] {
    row.key
}

/// A producer about to start, but for its selector.
struct Producer<'t> {
    index: usize,
    partition: ResultPartition,
    flush: FlushPolicy<'t>,
    files: Vec<Input>,
    source: Arc<(Shape, BytesRead)>,
    reports: Sender<Report>,
}

impl Producer<'_> {
    fn with<S>(self, selector: S) -> Result<()>
    where
        S: for<'r> ChannelSelector<Row<'r>> + Send + 'static,
    {
        let Self { index, partition, flush, files, source, reports } = self;
        let writer = RecordWriter::new(partition, selector).with_flush(flush);
        let work = move |writer: &mut RecordWriter<S>| {
            let (shape, read) = &*source;
            let mut blank_lines = 0;
            for file in files {
                let mut rows = file.rows(shape, read)?;
                while let Some(row) = rows.next_row()? {
                    writer.emit(&row)?;
                }
                blank_lines += rows.blank_lines();
            }
            let (rows, bytes) = (writer.records(), writer.bytes());
            Ok(Done::Producer { rows, bytes, blank_lines, back_pressured: writer.back_pressured() })
        };
        start(format!("producer {index}"), 512 << 10, reports, writer, work, |writer, failure| match failure {
            None => writer.close(),
            Some(failure) => writer.fail(failure),
        })
    }
}

/// Starts a task that works with `end`, its end of the exchange, reports, and only then lets go of it: by `leave`, which
/// is told if the task has failed.
fn start<E: Send + 'static>(
    name: String,
    stack: usize,
    reports: Sender<Report>,
    mut end: E,
    work: impl FnOnce(&mut E) -> Report + Send + 'static,
    leave: impl FnOnce(E, Option<String>) + Send + 'static,
) -> Result<()> {
    let failed = format!("cannot start the thread of {name}");
    let task = name.clone();
    let body = move || {
        let report = catch_unwind(AssertUnwindSafe(|| work(&mut end)))
            .unwrap_or_else(|_| Err(anyhow!("internal error: {task} panicked")));
        let failure = report.as_ref().err().map(|error| format!("{error:#}"));
        // Nobody listens any more once another task has failed.
        let _ = reports.send(report);
        leave(end, failure);
    };
    thread::Builder::new().name(name).stack_size(stack).spawn(body).context(failed)?;
    Ok(())
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
