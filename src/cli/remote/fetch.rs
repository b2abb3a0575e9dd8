//! The half that writes: consumers of partitions on another host.

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use forebay::Cause;
use forebay::pool::NetworkBufferPool;
use forebay::transport::tcp::{ChannelError, Client, Failure, GateOptions, RemotePartition};
use serde_json::{Value, json};

use super::args::Fetch;
use super::framing::Framing;
use super::ticket::Ticket;
use crate::cli::inputs::BytesRead;
use crate::cli::job::create_parts;
use crate::cli::progress::Progress;
use crate::cli::signals;
use crate::cli::staging::{self, Staging};
use crate::cli::summary::{counted, megabytes};
use crate::cli::tasks::{Done, EXCLUSIVE, next, start_consumer};

/// Fetches as `args` say, and tells what was done.
///
/// # Errors
/// The first failure of all consumers; there is no part of this run then.
pub(crate) fn run(args: &Fetch) -> Result<String> {
    let ticket = Ticket::read(&args.ticket)?;
    let all = ticket.subpartitions;
    let (first, last) = args.partition.unwrap_or((0, all - 1));
    ensure!(last < all, "there is no partition {last}: the ticket has {all}, from 0");
    let (range, all) = (first as usize..last as usize + 1, all as usize);
    let parts = range.len();
    let pool = NetworkBufferPool::builder()
        .segments(segments(args, &ticket, parts)?)
        .segment_size(ticket.segment_size)
        .build()?;
    staging::check_range(&args.out, range.clone(), all, args.force)?;
    let mut client = Client::builder();
    if ticket.framing == Framing::Rows {
        // `serve` has all of them before its ticket; a TaskManager may not.
        client = client.partition_wait(Duration::ZERO);
    }
    if let Some(config) = args.tls.config()? {
        client = client.tls(config);
    }
    let client = client.start().context("cannot start the client")?;

    let staging = Staging::range(args.out.clone(), range.clone(), all);
    signals::watch(staging.handle()).context("cannot watch for signals")?;
    let (files, paths) = create_parts(&staging, ticket.header.as_bytes(), parts)?;
    let started = Instant::now();
    let (reports, reported) = channel();
    for (index, (subpartition, file)) in range.clone().zip(files).enumerate() {
        let remote = |id| RemotePartition::new(ticket.address.clone(), id, subpartition as u32);
        let remotes: Vec<_> = ticket.partitions.iter().copied().map(remote).collect();
        let mut options = GateOptions::default().name(format!("partition {subpartition}")).exclusive(EXCLUSIVE);
        options.compression = ticket.compression;
        let gate = client.gate(&pool, &options, &remotes)?;
        start_consumer(index, gate, ticket.max_record, file, ticket.framing, reports.clone())?;
    }
    drop(reports);
    let progress = Progress::new(false, None, BytesRead::default());
    let (mut facts, mut idle_for) = (vec![None; parts], Duration::ZERO);
    for _ in 0..parts {
        let done = next(&reported, &progress).map_err(|error| told_of_staleness(error, &ticket))?;
        if let Done::Consumer { index, facts: found, idle } = done {
            facts[index] = Some(found);
            idle_for += idle;
        }
    }
    staging.commit()?;
    let facts: Vec<_> = facts.into_iter().flatten().collect();
    let (rows, bytes) = facts.iter().fold((0, 0), |(rows, bytes), part| (rows + part.rows, bytes + part.bytes));
    let seconds = started.elapsed().as_secs_f64();
    if !args.json {
        let (rows, bytes, parts) = (counted(rows, "row"), megabytes(bytes), counted(parts as u64, "part"));
        return Ok(format!("{rows}, {bytes} fetched in {seconds:.2} s\n{parts} in {}", args.out.display()));
    }
    let listed = range.zip(paths).zip(&facts).map(|((partition, file), part)| {
        json!({ "partition": partition, "file": file.to_string_lossy(), "rows": part.rows, "bytes": part.bytes })
    });
    Ok(json!({
        "rows": rows, "bytes": bytes, "seconds": seconds, "parts": listed.collect::<Vec<Value>>(),
        "segments_most_in_use": pool.most_in_use(), "idle_seconds": idle_for.as_secs_f64(),
    })
    .to_string())
}

/// Says what it means that whoever listens there has no such partition.
fn told_of_staleness(error: Error, ticket: &Ticket) -> Error {
    let is_not_found = |cause: &(dyn std::error::Error + 'static)| {
        let channel = cause.downcast_ref::<Cause>().and_then(|cause| cause.downcast_ref::<ChannelError>());
        channel.is_some_and(|channel| matches!(channel.failure, Failure::NotFound { .. }))
    };
    if !error.chain().any(is_not_found) {
        return error;
    }
    let address = &ticket.address;
    error.context(format!("the ticket is stale: {address} serves other partitions; take the ticket of what it serves"))
}

/// How many segments the pool shall have.
fn segments(args: &Fetch, ticket: &Ticket, parts: usize) -> Result<u32> {
    let decompressing = u64::from(ticket.compression.is_some());
    let smallest = parts as u64 * (ticket.partitions.len() as u64 * u64::from(EXCLUSIVE) + decompressing);
    match args.segments {
        None => u32::try_from((2 * smallest).max(64)).map_err(|_| anyhow!("{smallest} channels are too many")),
        Some(segments) if u64::from(segments) >= smallest => Ok(segments),
        Some(segments) => bail!("--segments {segments} is too small: {parts} parts take at least {smallest}"),
    }
}
