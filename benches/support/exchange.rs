//! One writer thread, one reader thread that adds up the first 8 bytes of each record: forebay and its peers.

use std::{
    sync::{Mutex, mpsc},
    time::Duration,
};

use forebay::{
    gate::RecordReader,
    partition::{Forward, RecordWriter},
    transport::in_process,
};

use super::{Ring, SEGMENT, local, timed_pair};

fn first_number(record: &[u8]) -> u64 {
    u64::from_be_bytes(record[..8].try_into().expect("8 bytes"))
}

/// What the reader must have added up.
fn expected(records: u64) -> u64 {
    records * (records - 1) / 2
}

pub fn forebay(records: u64, payload: usize) -> Duration {
    let (mut partitions, mut gates) = in_process(vec![local(16)], 1);
    let mut writer = RecordWriter::new(partitions.remove(0), Forward);
    let mut reader = RecordReader::new(gates.remove(0), SEGMENT);
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
