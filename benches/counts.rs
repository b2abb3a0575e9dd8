//! Instructions of one operation, counted by callgrind: `make counts`.
//!
//! Unlike a time, a count is the same on every run and on every machine of a kind, whatever else that does. It is not a
//! time: it knows nothing of cache lines on their way between cores, nor of what an atomic read-modify-write waits for,
//! which are told separately. Each row is a warm operation, alone on one thread; the set-up, and whatever the other
//! side would do meanwhile, is left out.
//!
//! The program runs itself under `valgrind --tool=callgrind` for each row, and collects within [`counted`] alone.
//! An argument keeps only the rows whose name contains it.
#![allow(missing_docs, unreachable_pub, dead_code)]

#[path = "support/mod.rs"]
mod support;

use std::{
    hint::black_box,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crossbeam_queue::ArrayQueue;
use forebay::{
    buffer::{Buffer, BufferMut},
    gate::RecordReader,
    partition::{Forward, RecordWriter},
    transport::in_process,
};
use support::{SEGMENT, local};

/// Has the program do one row, rather than print all.
const ONE: &str = "--count";

/// Of each row. Enough to make the little around them vanish.
const OPERATIONS: u64 = 20_000;

type Row = (&'static str, fn());

const ROWS: [Row; 22] = [
    ("one atomic read-modify-write, relaxed", read_modify_write),
    ("ArrayQueue of ids: pop, push", queue),
    ("pool: try_request, recycle", one_in_flight),
    ("pool: try_request, drop", dropped),
    ("pool: 64 times try_request, then recycle", many_in_flight),
    ("pool: try_request_many and recycle_many of 64", bulk),
    ("Arc: clone, drop", arc),
    ("Buffer: clone, drop", buffer),
    ("BufferMut: drop of the only handle, by the owner's thread", unique),
    ("RecordWriter: emit of 8 bytes", || exchange(8, Side::Writer)),
    ("RecordReader: next of 8 bytes", || exchange(8, Side::Reader)),
    ("RecordWriter: emit of 64 bytes", || exchange(64, Side::Writer)),
    ("RecordReader: next of 64 bytes", || exchange(64, Side::Reader)),
    ("RecordWriter: emit of 256 bytes", || exchange(256, Side::Writer)),
    ("RecordReader: next of 256 bytes", || exchange(256, Side::Reader)),
    ("RecordWriter: emit of 1,024 bytes", || exchange(1024, Side::Writer)),
    ("RecordReader: next of 1,024 bytes", || exchange(1024, Side::Reader)),
    ("RecordWriter: emit of 32,760 bytes", || exchange(32_760, Side::Writer)),
    ("RecordReader: next of 32,760 bytes", || exchange(32_760, Side::Reader)),
    ("RecordWriter: emit of 8 bytes, flush", || flushed(Step::Write)),
    ("RecordReader: next of 8 bytes that were flushed", || flushed(Step::Read)),
    ("RecordReader: a look that finds nothing", || flushed(Step::Look)),
];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    if first.as_deref() == Some(ONE) {
        let name = arguments.next().expect("the row's name");
        return ROWS.iter().find(|row| row.0 == name).expect("a row").1();
    }
    println!("{:<60} {:>14}", "one, warm, and alone on one thread", "instructions");
    for (name, _) in ROWS.iter().filter(|row| first.as_deref().is_none_or(|filter| row.0.contains(filter))) {
        println!("{name:<60} {:>14.1}", collected(name) as f64 / OPERATIONS as f64);
    }
}

/// What callgrind collects of the row.
fn collected(name: &str) -> u64 {
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=counts::counted*"])
        .arg(std::env::current_exe().expect("this program"))
        .args([ONE, name])
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|error| {
            panic!("counting takes valgrind (Debian: apt install valgrind), which can not be run: {error}")
        });
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{name}: valgrind failed:\n{said}");
    let line =
        said.lines().find_map(|line| line.split_once("Collected :")).expect("callgrind says what it has collected");
    line.1.trim().parse().expect("a number")
}

/// All that is counted.
#[inline(never)]
fn counted(work: impl FnOnce()) {
    work();
}

fn read_modify_write() {
    let word = AtomicU64::new(0);
    counted(|| (0..OPERATIONS).for_each(|_| _ = word.fetch_add(1, Ordering::Relaxed)));
}

fn queue() {
    let queue = ArrayQueue::new(64);
    (0..64_u32).for_each(|id| queue.push(id).expect("room"));
    counted(|| (0..OPERATIONS).for_each(|_| queue.push(black_box(queue.pop().expect("full"))).expect("room")));
}

fn one_in_flight() {
    let mut pool = local(64);
    let mut work = || {
        let buffer = black_box(pool.try_request().expect("free"));
        pool.recycle(buffer);
    };
    work();
    counted(|| (0..OPERATIONS).for_each(|_| work()));
}

fn dropped() {
    let mut pool = local(64);
    let mut work = || drop(black_box(pool.try_request().expect("free")));
    (0..2_000).for_each(|_| work()); // by now they come by a lane
    counted(|| (0..OPERATIONS).for_each(|_| work()));
}

const BATCH: u32 = 64;

fn many_in_flight() {
    let mut pool = local(2 * BATCH);
    let mut held = Vec::<BufferMut>::with_capacity(BATCH as usize);
    let mut work = || {
        held.extend((0..BATCH).map(|_| pool.try_request().expect("free")));
        black_box(&mut held).drain(..).for_each(|buffer| pool.recycle(buffer));
    };
    work();
    counted(|| (0..OPERATIONS / u64::from(BATCH)).for_each(|_| work()));
}

fn bulk() {
    let mut pool = local(2 * BATCH);
    let mut held = Vec::<BufferMut>::with_capacity(BATCH as usize);
    let mut work = || {
        pool.try_request_many(BATCH, &mut held).expect("free");
        pool.recycle_many(black_box(&mut held));
    };
    work();
    counted(|| (0..OPERATIONS / u64::from(BATCH)).for_each(|_| work()));
}

fn arc() {
    let arc = Arc::new([0_u8; 64]);
    counted(|| (0..OPERATIONS).for_each(|_| drop(black_box(Arc::clone(&arc)))));
}

fn buffer() {
    let mut pool = local(1);
    let buffer: Buffer = pool.try_request().expect("free").into();
    counted(|| (0..OPERATIONS).for_each(|_| drop(black_box(buffer.clone()))));
}

fn unique() {
    const HELD: u64 = 100; // no more than a thread has room for in its lane
    let mut pool = local(HELD as u32);
    let mut held = Vec::<BufferMut>::with_capacity(HELD as usize);
    for round in 0..OPERATIONS / HELD + 20 {
        held.extend((0..HELD).map(|_| pool.try_request().expect("free")));
        // By then they come by a lane.
        if round < 20 { held.clear() } else { counted(|| black_box(&mut held).clear()) }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Writer,
    Reader,
}

/// Writes what fits into a few segments, flushes, and reads it, in turn, on this one thread, and counts the one or the
/// other.
fn exchange(payload: usize, side: Side) {
    const SEGMENTS: u32 = 16;
    let (mut partitions, mut gates) = in_process(vec![local(SEGMENTS)], 1);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0), 1 << 20);
    let record = vec![7_u8; payload];
    let fit = u64::from(SEGMENTS - 2) * SEGMENT as u64 / (payload as u64 + 4);
    let mut left = OPERATIONS + fit; // the first of them for the warm-up
    while left > 0 {
        let (records, warm) = (fit.min(left), left <= OPERATIONS);
        let mut write = || {
            (0..records).for_each(|_| writer.emit(black_box(&record[..])).expect("the reader is there"));
            writer.flush();
        };
        if warm && side == Side::Writer {
            counted(write);
        } else {
            write();
        }
        let mut read = || {
            for _ in 0..records {
                black_box(reader.try_next().expect("sound").expect("was written"));
            }
        };
        if warm && side == Side::Reader {
            counted(read);
        } else {
            read();
        }
        left -= records;
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Step {
    Write,
    Read,
    /// Behind the last record: gives its buffer back, too.
    Look,
}

/// Writes a record, flushes, reads it, and looks for the next, in turn, on this one thread, and counts one of the
/// three.
fn flushed(counts: Step) {
    const WARM: u64 = 1_000; // by then the channel is watched
    let (mut partitions, mut gates) = in_process(vec![local(4)], 1);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0), 64);
    for n in 0..WARM + OPERATIONS {
        let count = |step, work: &mut dyn FnMut()| {
            if step == counts && n >= WARM { counted(work) } else { work() }
        };
        count(Step::Write, &mut || {
            writer.emit(black_box(&n)).expect("the reader is there");
            writer.flush();
        });
        count(Step::Read, &mut || {
            black_box(reader.next().expect("sound").expect("was flushed"));
        });
        count(Step::Look, &mut || assert!(reader.try_next().expect("sound").is_none()));
    }
}
