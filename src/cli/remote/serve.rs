//! The half that reads: producers, whose partitions other hosts fetch.

use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Chain, Context, Error, Result, anyhow};
use forebay::partition::{ResultPartition, WriteError};
use forebay::pool::NetworkBufferPool;
use forebay::transport::tcp::{ServedPartition, Server, ServerLimits};
use forebay::wire::ResultPartitionId;
use serde_json::json;

use super::args::{Serve, before_a_port, is_host_and_port};
use super::framing::Framing;
use super::ticket::Ticket;
use crate::cli::args::Transport;
use crate::cli::inputs::{BytesRead, deal, total_size};
use crate::cli::job::{local_pools, look_at, producers};
use crate::cli::print;
use crate::cli::progress::Progress;
use crate::cli::summary::{counted, megabytes};
use crate::cli::tasks::{Done, Report, next, segments, start_producers};

/// How often it is looked at whether a part is lost, once all is written.
const LOOK: Duration = Duration::from_millis(100);

/// A random id, the same for all partitions of a run but for the number.
pub(crate) fn partition_id(number: u32) -> ResultPartitionId {
    static RUN: OnceLock<[u8; ResultPartitionId::BYTES]> = OnceLock::new();
    let random = RUN.get_or_init(|| {
        let mut bytes = [0; ResultPartitionId::BYTES];
        for chunk in bytes.chunks_mut(8) {
            let hash = RandomState::new().hash_one(std::process::id()).to_be_bytes();
            chunk.copy_from_slice(&hash[..chunk.len()]);
        }
        bytes
    });
    let mut bytes = *random;
    bytes[16..20].copy_from_slice(&number.to_be_bytes()); // the partition's number
    bytes[52..56].copy_from_slice(&number.to_be_bytes()); // its producer's
    bytes[56..].copy_from_slice(&[0; 4]); // the first attempt
    ResultPartitionId::from_bytes(bytes)
}

/// Serves as `args` say until everything was fetched, and tells what was done.
///
/// # Errors
/// The first failure of all producers, or what is wrong with the files or the address.
pub(crate) fn run(args: &Serve) -> Result<()> {
    let rows = &args.rows;
    let producers = producers(rows);
    let segments = segments(rows, producers, Transport::Memory)?;
    let pool = NetworkBufferPool::builder().segments(segments).segment_size(rows.segment_size).build()?;
    let read = BytesRead::default();
    let (shape, inputs) = look_at(rows, &read)?;
    let header = String::from_utf8(shape.header().to_vec())
        .context("the header is not in UTF-8, which a ticket needs: serve with --no-header")?;
    let progress = Progress::new(!args.json, total_size(&inputs), Arc::clone(&read));

    let (reports, reported) = channel();
    let handles: Arc<OnceLock<Vec<ServedPartition>>> = Arc::default();
    let server = start(args, handles.clone(), reports.clone())?;
    let (mut partitions, mut served): (Vec<ResultPartition>, Vec<ServedPartition>) = (Vec::new(), Vec::new());
    for (index, local) in (0..).zip(local_pools(rows, &pool, producers)?) {
        let (partition, handle) = server.serve(partition_id(index), local, rows.partitions as usize)?;
        partitions.push(partition);
        served.push(handle);
    }
    let served = handles.get_or_init(|| served);
    let ticket = Ticket {
        address: address(args, &server),
        partitions: served.iter().map(ServedPartition::id).collect(),
        subpartitions: rows.partitions,
        framing: Framing::Rows,
        header,
        segment_size: rows.segment_size,
        max_record: rows.max_record,
        compression: None,
    };
    write_ticket(&args.ticket, &ticket.json().to_string())?;

    let started = Instant::now();
    let _timer = start_producers(rows, partitions, deal(inputs, producers), &Arc::new((shape, read)), &reports)?;
    drop(reports);
    let (mut sent_rows, mut sent_bytes, mut blank, mut held_up) = (0, 0, 0, Duration::ZERO);
    for _ in 0..producers {
        match next(&reported, &progress) {
            Ok(Done::Producer { rows, bytes, blank_lines, back_pressured }) => {
                sent_rows += rows;
                sent_bytes += bytes;
                blank += blank_lines;
                held_up += back_pressured;
            }
            Ok(Done::Consumer { .. }) => {}
            Err(error) => {
                let _ = server.shutdown(Duration::from_secs(1)); // so that who fetches hears why
                return Err(if is_released(&error) { gone() } else { error });
            }
        }
    }
    // Consumers may take any time; whether one of them is lost is looked at meanwhile, for the others may never come.
    while !is_lost(served) && !served.iter().all(|partition| partition.wait_released(LOOK)) {}
    if is_lost(served) {
        return Err(gone());
    }
    let _ = server.shutdown(Duration::from_secs(10)); // what is open then has nothing to send
    let seconds = started.elapsed().as_secs_f64();
    let text = if args.json {
        json!({
            "rows": sent_rows, "bytes": sent_bytes, "seconds": seconds, "producers": producers,
            "partitions": rows.partitions, "back_pressured_seconds": held_up.as_secs_f64(), "blank_lines": blank,
        })
        .to_string()
    } else {
        let (rows, bytes) = (counted(sent_rows, "row"), megabytes(sent_bytes));
        let parts = counted(args.rows.partitions.into(), "partition");
        format!("{rows}, {bytes} served in {seconds:.2} s, in {parts}")
    };
    if args.ticket.as_os_str() == "-" {
        let _ = writeln!(io::stderr(), "{text}"); // nobody may be left to read it
        return Ok(());
    }
    print(&text)
}

/// Starts the server, which tells of those whom it refuses; and reports it if a part is lost, for nobody can fetch that
/// any more, and the producers may well wait for what is not asked for.
fn start(args: &Serve, served: Arc<OnceLock<Vec<ServedPartition>>>, reports: Sender<Report>) -> Result<Server> {
    let mut limits = ServerLimits::default();
    // The ticket is written once all are served: who asks for others has another.
    limits.partition_wait = Duration::ZERO;
    let reports = Mutex::new(reports); // several connections may end at once
    let mut builder = Server::builder().limits(limits).observer(move |peer, end| {
        if let Err(error) = end {
            let causes = Chain::new(error).skip(1).fold(String::new(), |causes, cause| format!("{causes}: {cause}"));
            let _ = writeln!(io::stderr(), "forebay: {peer}: {error}{causes}"); // as above
        }
        if served.get().is_some_and(|served| is_lost(served))
            && let Ok(reports) = reports.lock()
        {
            let _ = reports.send(Err(gone())); // nobody listens once all has been written, and it is looked at again
        }
    });
    if let Some(config) = args.tls.config()? {
        builder = builder.tls(config);
    }
    builder.start(args.listen.as_str()).context("cannot serve")
}

fn is_lost(served: &[ServedPartition]) -> bool {
    served.iter().any(|partition| partition.lost() > 0)
}

/// Whether it is a producer's whose reader went away: it may say so before its part is counted as lost.
fn is_released(error: &Error) -> bool {
    error.chain().any(|cause| matches!(cause.downcast_ref(), Some(WriteError::Released { .. })))
}

fn gone() -> Error {
    anyhow!("a fetcher went away before it had all of its parts; serve again, and fetch all parts anew")
}

/// The address for the ticket.
fn address(args: &Serve, server: &Server) -> String {
    let at = server.local_addr();
    match &args.advertise {
        None => at.to_string(),
        Some(host) if is_host_and_port(host) => host.clone(),
        Some(host) => format!("{}:{}", before_a_port(host), at.port()),
    }
}

/// A reader finds the whole ticket, or none.
fn write_ticket(file: &Path, ticket: &str) -> Result<()> {
    if file.as_os_str() == "-" {
        let mut stdout = io::stdout().lock();
        return writeln!(stdout, "{ticket}").and_then(|()| stdout.flush()).context("cannot print the ticket");
    }
    let unfinished = file.with_extension(format!("tmp-{}", std::process::id()));
    fs::write(&unfinished, format!("{ticket}\n")).and_then(|()| fs::rename(&unfinished, file)).map_err(|error| {
        let _ = fs::remove_file(&unfinished); // it may not even be there
        anyhow::Error::new(error).context(format!("cannot write the ticket {}", file.display()))
    })
}
