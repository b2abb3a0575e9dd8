//! One writer thread, one reader thread that adds up the first 8 bytes of each record: forebay and its peers.

use std::{
    hint::black_box,
    sync::{Mutex, mpsc},
    time::Duration,
};

use forebay::{
    WaitStrategy,
    gate::RecordReader,
    partition::{Forward, RecordWriter, RoundRobin},
    pool::NetworkBufferPool,
    transport::in_process,
};

use super::{Ring, SEGMENT, local, timed, timed_pair};

fn first_number(record: &[u8]) -> u64 {
    u64::from_be_bytes(record[..8].try_into().expect("8 bytes"))
}

/// What the reader must have added up.
fn expected(records: u64) -> u64 {
    records * (records - 1) / 2
}

/// One writer, one reader, 16 segments. Both sides wait as the limit's do: they look, and yield.
pub fn forebay(records: u64, payload: usize) -> Duration {
    forebay_waiting(records, payload, WaitStrategy::Yield)
}

/// As [`forebay`], with a reader that waits as `strategy` says.
pub fn forebay_waiting(records: u64, payload: usize, strategy: WaitStrategy) -> Duration {
    let (mut partitions, mut gates) = in_process(vec![local(16)], 1);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0).with_wait_strategy(strategy), LONGEST);
    let mut record = vec![0; payload];
    timed_pair(
        || {
            for n in 0..records {
                record[..8].copy_from_slice(&n.to_be_bytes());
                writer.emit(&record[..]).expect("a reader");
            }
            writer.close();
        },
        move || {
            let mut sum = 0;
            while let Some(record) = reader.next().expect("a writer") {
                sum += first_number(record.bytes());
            }
            assert_eq!(sum, expected(records));
        },
    )
}

/// As [`forebay`], but the reader takes records as they lie in the segments. It reads the first 8 bytes of each, as in
/// the other rows, and leaves the rest alone.
pub fn forebay_in_pieces(records: u64, payload: usize) -> Duration {
    let (mut partitions, mut gates) = in_process(vec![local(16)], 1);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0).with_wait_strategy(WaitStrategy::Yield), LONGEST);
    let mut record = vec![0; payload];
    timed_pair(
        || {
            for n in 0..records {
                record[..8].copy_from_slice(&n.to_be_bytes());
                writer.emit(&record[..]).expect("a reader");
            }
            writer.close();
        },
        move || {
            let (mut sum, mut bytes, mut head) = (0, 0, [0; 8]);
            while let Some(piece) = reader.next_piece().expect("a writer") {
                if let Some(head) = head.get_mut(piece.offset()..) {
                    let n = head.len().min(piece.bytes().len());
                    head[..n].copy_from_slice(&piece.bytes()[..n]); // a segment may end within the 8
                }
                bytes += piece.bytes().len();
                if piece.is_last() {
                    sum += first_number(&head);
                }
            }
            assert_eq!((sum, bytes), (expected(records), records as usize * payload));
        },
    )
}

/// Longest record of any table.
const LONGEST: usize = 1 << 20;

/// One writer that goes round `channels` channels, whose readers are one thread with a gate for each. Flink's form of
/// the bench has one gate over all; that needs as many writers here, for a gate has a channel for each writer.
pub fn round_robin(records: u64, payload: usize, channels: usize) -> Duration {
    let (mut partitions, gates) = in_process(vec![local(2 * channels as u32)], channels);
    let mut writer = RecordWriter::new(partitions.remove(0), RoundRobin::default());
    let mut readers: Vec<_> = gates.into_iter().map(|gate| RecordReader::new(gate, LONGEST)).collect();
    let mut record = vec![0; payload];
    timed_pair(
        || {
            for n in 0..records {
                record[..8].copy_from_slice(&n.to_be_bytes());
                writer.emit(&record[..]).expect("a reader");
            }
            writer.close();
        },
        move || {
            let (mut sum, mut open) = (0, channels);
            while open > 0 {
                open = 0;
                for reader in &mut readers {
                    while let Some(record) = reader.try_next().expect("a writer") {
                        sum += first_number(record.bytes());
                    }
                    open += usize::from(!reader.is_ended());
                }
            }
            assert_eq!(sum, expected(records));
        },
    )
}

/// Ten writers on one thread, which take turns record by record, and one reader of their channels and of `idle` others,
/// whose writers exist and write nothing.
pub fn beside_idle(records: u64, payload: usize, idle: usize) -> Duration {
    const BUSY: usize = 10;
    let network = NetworkBufferPool::builder().segments((16 * BUSY + idle) as u32).segment_size(SEGMENT);
    let network = network.build().expect("memory");
    let pool = |segments| network.local_pool("bench").required(segments).maximum(segments).build().expect("segments");
    let pools = (0..BUSY + idle).map(|nth| pool(if nth < BUSY { 16 } else { 1 })).collect();
    let (partitions, mut gates) = in_process(pools, 1);
    let mut writers: Vec<_> = partitions.into_iter().map(|partition| RecordWriter::new(partition, Forward)).collect();
    let waiting = writers.split_off(BUSY);
    let mut reader = RecordReader::new(gates.remove(0).with_wait_strategy(WaitStrategy::Yield), LONGEST);
    let mut record = vec![0; payload];
    let took = timed_pair(
        || {
            for n in 0..records {
                record[..8].copy_from_slice(&n.to_be_bytes());
                writers[n as usize % BUSY].emit(&record[..]).expect("a reader");
            }
            writers.iter_mut().for_each(RecordWriter::flush);
        },
        || {
            let mut sum = 0;
            for _ in 0..records {
                sum += first_number(reader.next().expect("a writer").expect("more").bytes());
            }
            assert_eq!(sum, expected(records));
        },
    );
    drop(waiting);
    took
}

/// What one core copies of the same working set: the record, 16 segments, the record in one piece again. Timed for one
/// of the two copies, for in the exchange they are made beside each other.
pub fn memcpy(records: u64, payload: usize) -> Duration {
    const SEGMENTS: usize = 16 * SEGMENT;
    let (record, mut segments, mut whole) = (vec![1_u8; payload], vec![0_u8; SEGMENTS], vec![0_u8; payload]);
    let took = timed(|| {
        for _ in 0..records {
            for (piece, out) in record.chunks(SEGMENTS).zip(whole.chunks_mut(SEGMENTS)) {
                segments[..piece.len()].copy_from_slice(black_box(piece));
                out.copy_from_slice(black_box(&segments[..piece.len()]));
            }
            black_box(&mut whole);
        }
    });
    took / 2
}

pub fn boxed(records: u64, payload: usize, scale: u64) -> Duration {
    let (to_reader, from_writer) = mpsc::sync_channel::<Box<[u8]>>(1024);
    let took = timed_pair(
        || {
            for n in 0..records {
                let mut record = vec![0; payload].into_boxed_slice();
                record[..8].copy_from_slice(&n.to_be_bytes());
                to_reader.send(record).expect("a reader");
            }
        },
        move || {
            let sum: u64 = (0..records).map(|_| first_number(&from_writer.recv().expect("a writer"))).sum();
            assert_eq!(sum, expected(records));
        },
    );
    took.mul_f64(scale as f64 / records as f64)
}

/// Records that the limit's reader prefetches ahead, where it does.
pub const AHEAD: usize = 8;

/// The limit for records that span blocks: copied into blocks on one core, and out of them into one piece on the other.
pub fn limit_copied_out(records: u64, payload: usize) -> Duration {
    let mut whole = vec![0; payload];
    limit_spanning(records, payload, |block, at| {
        whole[at..at + block.len()].copy_from_slice(block);
        (at == 0).then(|| first_number(&whole))
    })
}

/// The limit for records that span blocks, if they are read where they lie, and of each the first 8 bytes alone.
pub fn limit_in_pieces(records: u64, payload: usize) -> Duration {
    limit_spanning(records, payload, |block, at| (at == 0).then(|| first_number(block)))
}

/// `read` gets each block and where in the record it belongs, and says what the record's number is where that is in it.
fn limit_spanning(records: u64, payload: usize, mut read: impl FnMut(&[u8], usize) -> Option<u64> + Send) -> Duration {
    const BLOCKS: usize = 16;
    let blocks: Vec<Mutex<Box<[u8]>>> = (0..BLOCKS).map(|_| Mutex::new(vec![0; SEGMENT].into())).collect();
    let (full, free) = (Ring::new(BLOCKS), Ring::new(BLOCKS));
    (0..BLOCKS).for_each(|block| free.push(block));
    let mut record = vec![0; payload];
    timed_pair(
        || {
            for n in 0..records {
                record[..8].copy_from_slice(&n.to_be_bytes());
                for piece in record.chunks(SEGMENT) {
                    let block = free.pop();
                    blocks[block].lock().expect("ours")[..piece.len()].copy_from_slice(piece);
                    full.push(block);
                }
            }
        },
        || {
            let mut sum = 0;
            for _ in 0..records {
                for at in (0..payload).step_by(SEGMENT) {
                    let block = full.pop();
                    sum += read(&blocks[block].lock().expect("ours")[..SEGMENT.min(payload - at)], at).unwrap_or(0);
                    free.push(block);
                }
            }
            assert_eq!(sum, expected(records));
        },
    )
}

/// The program one would write by hand for just this bench: no pools, no channels, no events, no errors. Its reader
/// prefetches the record `ahead` of the one at hand, of which it knows that it is as long; 0 means not at all.
pub fn limit(records: u64, payload: usize, ahead: usize) -> Duration {
    const BLOCKS: usize = 16;
    let blocks: Vec<Mutex<Box<[u8]>>> = (0..BLOCKS).map(|_| Mutex::new(vec![0; SEGMENT].into())).collect();
    let (full, free) = (Ring::new(BLOCKS), Ring::new(BLOCKS));
    (0..BLOCKS).for_each(|block| free.push(block));
    let mut record = vec![0; payload];
    let stride = 4 + payload;
    timed_pair(
        || {
            let mut n = 0;
            while n < records {
                let block = free.pop();
                let mut bytes = blocks[block].lock().expect("ours");
                let mut at = 0;
                while n < records && at + stride <= SEGMENT {
                    record[..8].copy_from_slice(&n.to_be_bytes());
                    bytes[at..at + 4].copy_from_slice(&(payload as u32).to_be_bytes());
                    bytes[at + 4..at + stride].copy_from_slice(&record);
                    at += stride;
                    n += 1;
                }
                drop(bytes);
                full.push(block << 32 | at);
            }
            full.push(usize::MAX);
        },
        || {
            let mut sum = 0;
            loop {
                let entry = full.pop();
                if entry == usize::MAX {
                    break;
                }
                let (block, end) = (entry >> 32, entry & 0xFFFF_FFFF);
                let bytes = blocks[block].lock().expect("ours");
                let mut at = 0;
                while at < end {
                    if ahead > 0 {
                        prefetch(bytes.as_ptr().wrapping_add(at + ahead * stride));
                    }
                    let len = u32::from_be_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
                    sum += first_number(&bytes[at + 4..at + 4 + len]);
                    at += 4 + len;
                }
                drop(bytes);
                free.push(block);
            }
            assert_eq!(sum, expected(records));
        },
    )
}

/// What the writer has not stored yet: bytes of the line that it is in, and of those behind it.
struct Aside {
    bytes: Vec<u8>,
    staged: usize,
    /// Bytes in the block, whole lines.
    at: usize,
}

impl Aside {
    fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.staged..self.staged + bytes.len()].copy_from_slice(bytes);
        self.staged += bytes.len();
    }

    /// Stores the whole lines of what is aside.
    fn store(&mut self, lines: &mut [u8]) {
        let whole = self.staged / LINE * LINE;
        past_cache(&mut lines[self.at..self.at + whole], &self.bytes[..whole]);
        self.bytes.copy_within(whole..whole + LINE, 0);
        self.at += whole;
        self.staged -= whole;
    }
}

/// The same, with a writer that puts records together aside and stores whole lines past the cache: where a line that
/// the other core still has is dear to store to, this is what one would come to.
pub fn limit_past_cache(records: u64, payload: usize) -> Duration {
    limit_of_lines(records, payload, |aside, lines, record| {
        aside.put(&(record.len() as u32).to_be_bytes());
        aside.put(record);
        if aside.staged >= ASIDE {
            aside.store(lines);
        }
    })
}

/// The same, but that the lines that are wholly of one record are stored from where it lies: for records of some lines.
pub fn limit_straight(records: u64, payload: usize) -> Duration {
    limit_of_lines(records, payload, |aside, lines, record| {
        aside.put(&(record.len() as u32).to_be_bytes());
        let (head, rest) = record.split_at((LINE - aside.staged % LINE) % LINE);
        aside.put(head);
        aside.store(lines);
        let (whole, tail) = rest.split_at(rest.len() / LINE * LINE);
        past_cache(&mut lines[aside.at..aside.at + whole.len()], whole);
        aside.at += whole.len();
        aside.put(tail);
    })
}

/// Bytes that are put together aside.
const ASIDE: usize = 512;

fn limit_of_lines(records: u64, payload: usize, write: impl Fn(&mut Aside, &mut [u8], &[u8]) + Sync) -> Duration {
    const BLOCKS: usize = 16;
    let blocks: Vec<Mutex<Box<[u8]>>> = (0..BLOCKS).map(|_| Mutex::new(vec![0; SEGMENT + LINE].into())).collect();
    let (full, free) = (Ring::new(BLOCKS), Ring::new(BLOCKS));
    (0..BLOCKS).for_each(|block| free.push(block));
    let mut record = vec![0; payload];
    let stride = 4 + payload;
    timed_pair(
        || {
            let mut aside = Aside { bytes: vec![0; ASIDE + stride + LINE], staged: 0, at: 0 };
            let mut n = 0;
            while n < records {
                let block = free.pop();
                let mut bytes = blocks[block].lock().expect("ours");
                let lines = lines(&mut bytes);
                (aside.at, aside.staged) = (0, 0);
                while n < records && aside.at + aside.staged + stride <= SEGMENT {
                    record[..8].copy_from_slice(&n.to_be_bytes());
                    write(&mut aside, lines, &record);
                    n += 1;
                }
                let end = aside.at + aside.staged;
                lines[aside.at..end].copy_from_slice(&aside.bytes[..aside.staged]);
                past_cache_done();
                drop(bytes);
                full.push(block << 32 | end);
            }
            full.push(usize::MAX);
        },
        || {
            let mut sum = 0;
            loop {
                let entry = full.pop();
                if entry == usize::MAX {
                    break;
                }
                let (block, end) = (entry >> 32, entry & 0xFFFF_FFFF);
                let mut bytes = blocks[block].lock().expect("ours");
                let lines = lines(&mut bytes);
                let mut at = 0;
                while at < end {
                    prefetch(lines.as_ptr().wrapping_add(at + AHEAD * stride));
                    let len = u32::from_be_bytes(lines[at..at + 4].try_into().expect("4 bytes")) as usize;
                    sum += first_number(&lines[at + 4..at + 4 + len]);
                    at += 4 + len;
                }
                drop(bytes);
                free.push(block);
            }
            assert_eq!(sum, expected(records));
        },
    )
}

/// The bytes of a block from the first line on that begins in it.
fn lines(block: &mut [u8]) -> &mut [u8] {
    let first = block.as_ptr().align_offset(LINE);
    &mut block[first..first + SEGMENT]
}

const LINE: usize = 64;

/// Copies whole lines to the beginning of one.
fn past_cache(dst: &mut [u8], src: &[u8]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_loadu_si128, _mm_stream_si128};
        for (dst, src) in dst.chunks_exact_mut(16).zip(src.chunks_exact(16)) {
            // SAFETY: 16 bytes, at any address.
            let part = unsafe { _mm_loadu_si128(src.as_ptr().cast()) };
            // SAFETY: 16 bytes, a quarter of a line.
            unsafe { _mm_stream_si128(dst.as_mut_ptr().cast(), part) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    dst.copy_from_slice(src);
}

/// Comes before what was copied so is published.
fn past_cache_done() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has it.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[inline]
fn prefetch(at: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, for any address whatever.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
