//! The tasks at both ends of the exchange: a thread each, that reports once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail};
use forebay::gate::{InputGate, RecordReader};
use forebay::partition::{
    Broadcast, ChannelSelector, FlushPolicy, FlushTimer, HashByKey, RecordWriter, ResultPartition, RoundRobin,
};

use super::args::{BufferTimeout, Rows, Strategy, Transport};
use super::inputs::{BytesRead, Input, Shape};
use super::parts::{PartFacts, PartWriter};
use super::progress::Progress;
use super::remote::framing::Framing;
use super::rows::Row;
use super::summary::counted;

/// What a task has done.
pub(crate) enum Done {
    Producer { rows: u64, bytes: u64, blank_lines: u64, back_pressured: Duration },
    Consumer { index: usize, facts: PartFacts, idle: Duration },
}

/// What a task tells the main thread.
pub(crate) type Report = Result<Done>;

/// How many segments the pool shall have.
pub(crate) fn segments(rows: &Rows, producers: usize, transport: Transport) -> Result<u32> {
    let by_producers = counted(producers as u64, "producer");
    let pairs = producers as u64 * u64::from(rows.partitions);
    let (mut smallest, mut why) = match rows.strategy {
        Strategy::Hash | Strategy::RoundRobin => {
            (pairs, format!("{by_producers} x {}", counted(rows.partitions.into(), "partition")))
        }
        Strategy::Broadcast => (producers as u64, by_producers),
    };
    if transport == Transport::Tcp {
        smallest += pairs * u64::from(EXCLUSIVE);
        why += " over TCP, with segments at both ends,";
    }
    match rows.segments {
        None => u32::try_from((2 * smallest).max(64)).map_err(|_| anyhow!("{why} are too many")),
        Some(segments) if u64::from(segments) >= smallest => Ok(segments),
        Some(segments) => bail!(
            "--segments {segments} is too small: {why} take{} at least {smallest}, one being filled for each",
            if smallest == 1 { "s" } else { "" },
        ),
    }
}

/// Segments that each channel over TCP has for itself.
pub(crate) const EXCLUSIVE: u32 = 1;

pub(crate) fn start_consumer(
    index: usize,
    gate: InputGate,
    max_record: usize,
    mut file: PartWriter,
    framing: Framing,
    reports: Sender<Report>,
) -> Result<()> {
    // There may be hundreds of consumers: none keeps the room that one large row took.
    let reader = RecordReader::new(gate, max_record).keep_at_most(64 << 10);
    let work = move |reader: &mut RecordReader| {
        while let Some(record) = reader.next()? {
            framing.row(record.bytes(), |row| file.row(row))?;
        }
        Ok(Done::Consumer { index, facts: file.finish()?, idle: reader.idle() })
    };
    // A reader that is dropped says by that that it is gone.
    start(format!("consumer {index}"), 256 << 10, reports, reader, work, |_, _| ())
}

/// Starts a producer for each partition, and what flushes them as long as it is kept.
pub(crate) fn start_producers(
    rows: &Rows,
    partitions: Vec<ResultPartition>,
    files: Vec<Vec<Input>>,
    source: &Arc<(Shape, BytesRead)>,
    reports: &Sender<Report>,
) -> Result<Option<FlushTimer>> {
    let timer = match rows.buffer_timeout {
        BufferTimeout::After(_) => Some(FlushTimer::new().context("cannot start the flush timer")?),
        BufferTimeout::EveryRow | BufferTimeout::WhenFull => None,
    };
    let flush = match (rows.buffer_timeout, &timer) {
        (BufferTimeout::EveryRow, _) => FlushPolicy::EveryRecord,
        (BufferTimeout::After(interval), Some(timer)) => FlushPolicy::Every(interval, timer),
        _ => FlushPolicy::WhenFull,
    };
    for (index, (partition, files)) in partitions.into_iter().zip(files).enumerate() {
        let source = Arc::clone(source);
        let start = Producer { index, partition, flush, files, source, reports: reports.clone() };
        match rows.strategy {
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

/// Starts a task that works with `end`, its end of the exchange, reports, and only then lets go of it: by `leave`,
/// which is told if the task has failed.
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
pub(crate) fn next(reported: &Receiver<Report>, progress: &Progress) -> Report {
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
