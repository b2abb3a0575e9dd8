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
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use forebay::gate::InputGate;
use forebay::partition::ResultPartition;
use forebay::pool::{LocalBufferPool, NetworkBufferPool};
use forebay::transport::in_process;

use super::args::{Rows, Shuffle, Strategy, Transport};
use super::inputs::{BytesRead, Input, Shape, deal, inspect, total_size};
use super::parts::{PartFacts, PartWriter, buffer_size};
use super::progress::Progress;
use super::remote::framing::Framing;
use super::remote::loopback::Loopback;
use super::rows::Format;
use super::signals;
use super::staging::{self, Staging};
use super::summary::Summary;
use super::tasks::{Done, next, segments, start_consumer, start_producers};

/// Shuffles as `args` say, and tells what was done.
///
/// # Errors
/// The first failure of all tasks; there is no part of this run then. Or, if only parts of an earlier run could not be
/// removed in the end, that.
pub(crate) fn run(args: &Shuffle) -> Result<Summary> {
    let parts = args.rows.partitions as usize;
    let producers = producers(&args.rows);
    let segments = segments(&args.rows, producers, args.transport)?;
    let pool = NetworkBufferPool::builder().segments(segments).segment_size(args.rows.segment_size).build()?;
    staging::check(&args.out, parts, args.force)?;
    staging::check_inputs(&args.out, &args.rows.files)?;

    let read = BytesRead::default();
    let (shape, inputs) = look_at(&args.rows, &read)?;
    let progress = Progress::new(!args.json, total_size(&inputs), Arc::clone(&read));

    let staging = Staging::new(args.out.clone(), parts);
    signals::watch(staging.handle()).context("cannot watch for signals")?;
    let (files, paths) = create_parts(&staging, shape.header(), parts)?;

    let started = Instant::now();
    let local_pools = local_pools(&args.rows, &pool, producers)?;
    let mut loopback = None;
    let (partitions, gates): (Vec<ResultPartition>, Vec<InputGate>) = match args.transport {
        Transport::Memory => in_process(local_pools, parts),
        Transport::Tcp => loopback.insert(Loopback::start(&args.tls)?).join(local_pools, parts, &pool)?,
    };
    let (reports, reported) = channel();
    for (index, (gate, file)) in gates.into_iter().zip(files).enumerate() {
        start_consumer(index, gate, args.rows.max_record, file, Framing::Rows, reports.clone())?;
    }
    let source = Arc::new((shape, read));
    let _timer = start_producers(&args.rows, partitions, deal(inputs, producers), &source, &reports)?;
    drop(reports);

    let mut summary = Summary {
        strategy: args.rows.strategy,
        producers,
        rows: 0,
        bytes: 0,
        blank_lines: 0,
        elapsed: Duration::ZERO,
        parts: paths.into_iter().map(|path| (path, PartFacts::default())).collect(),
        segments,
        segment_size: args.rows.segment_size,
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

/// How many tasks read.
pub(crate) fn producers(rows: &Rows) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    rows.producers.map_or(cores, |producers| producers as usize).min(rows.files.len())
}

/// What the files have in common, and each of them.
pub(crate) fn look_at(rows: &Rows, read: &BytesRead) -> Result<(Shape, Vec<Input>)> {
    let format = Format { delimiter: rows.delimiter, max_record: rows.max_record };
    let key = rows.key.as_deref().filter(|_| rows.strategy == Strategy::Hash);
    Ok(inspect(&rows.files, format, !rows.no_header, key, read)?)
}

/// A pool for each producer.
pub(crate) fn local_pools(rows: &Rows, pool: &NetworkBufferPool, producers: usize) -> Result<Vec<LocalBufferPool>> {
    let required = if rows.strategy == Strategy::Broadcast { 1 } else { rows.partitions };
    let build = |index| pool.local_pool(format!("producer {index}")).required(required).build();
    Ok((0..producers).map(build).collect::<Result<_, _>>()?)
}

/// The parts' files, with the header in each, and their names to be.
pub(crate) fn create_parts(staging: &Staging, header: &[u8], parts: usize) -> Result<(Vec<PartWriter>, Vec<PathBuf>)> {
    staging.create_folder()?;
    let (mut files, mut paths) = (Vec::with_capacity(parts), Vec::with_capacity(parts));
    for _ in 0..parts {
        let (file, path) = staging.create_part()?;
        paths.push(path.clone());
        let mut part = PartWriter::new(file, path, buffer_size(parts));
        part.header(header)?;
        files.push(part);
    }
    Ok((files, paths))
}
