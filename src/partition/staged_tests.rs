//! Tests of `buffer/staged.rs` with segments of a pool, which stands a floor above it.

use crate::{
    buffer::{BufferConsumer, StagedBuilder},
    pool::NetworkBufferPool,
};

/// About what the stage holds: lengths on both sides of it are tried.
const BYTES: usize = 576;

/// How bytes are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum By {
    Writing,
    Appending,
    /// In one, what comes before a record and the record.
    Framed,
    IntoCache,
    PastCache,
}

fn read(consumer: &mut BufferConsumer, to: &mut Vec<u8>) {
    to.extend_from_slice(&consumer.build().map_or(Vec::new(), |buffer| buffer.to_vec()));
}

/// Records of these lengths, with a stage from one on, shown when half are written if so `shown`.
fn fill(records: &[(usize, By)], segment: usize, from: usize, shown: bool) {
    let pool = NetworkBufferPool::builder().segments(1).segment_size(segment).build().unwrap();
    let mut local = pool.local_pool("test").required(1).build().unwrap();
    let (mut staged, mut builder) = (StagedBuilder::default(), local.try_request().unwrap().into_builder());
    let mut consumer = builder.create_consumer();
    staged.open(builder, from == 0);
    let (mut written, mut seen, mut told) = (Vec::new(), Vec::new(), 0);
    for (nth, &(len, by)) in records.iter().enumerate() {
        if nth == from && from > 0 {
            assert_eq!(staged.committed_unshown(told), written.len(), "one by one so far");
            staged.begin_stage();
        }
        let record: Vec<u8> = (0..len).map(|byte| (nth + byte) as u8).collect();
        let room = segment - written.len();
        let n = match by {
            By::Writing if staged.stage(len, |dst| dst.copy_from_slice(&record)) => len,
            By::Writing => {
                let wrote = staged.write(len, |dst| dst.copy_from_slice(&record));
                assert_eq!(wrote, len < room, "a byte is left, or it does not fit");
                if wrote { len } else { 0 }
            }
            By::Framed
                if (4..=room).contains(&len) && staged.append_framed(*record.first_chunk().unwrap(), &record[4..]) =>
            {
                len
            }
            By::Appending | By::Framed => staged.append(&record),
            By::IntoCache => staged.append_into_cache(&record),
            By::PastCache => staged.append_past_cache(&record),
        };
        assert!(n == len.min(room) || by == By::Writing, "as much as fits");
        written.extend(&record[..n]);
        assert_eq!((staged.written(), staged.remaining()), (written.len(), segment - written.len()));
        if by == By::IntoCache {
            read(&mut consumer, &mut seen);
            assert_eq!(seen, written, "committed");
        }
        if shown && nth == records.len() / 2 {
            assert!(staged.show(&mut told) || written.is_empty());
            assert!(!staged.show(&mut told), "it was");
            read(&mut consumer, &mut seen);
            assert_eq!(seen, written, "all that was written is shown");
        }
    }
    assert!(staged.finish());
    assert!((told > 0) == shown || written.is_empty());
    seen.extend_from_slice(&consumer.into_last().unwrap());
    assert!(seen == written, "{records:?}");
}

#[test]
fn records_of_every_length_come_through_the_stage_as_they_were_written() {
    let step = if cfg!(miri) { 997 } else { 5 };
    for len in (1..2 * BYTES).step_by(step) {
        for by in [By::Writing, By::Appending, By::Framed] {
            for shown in [false, true] {
                let records = vec![(len, by); 4 + 4 * BYTES / len];
                fill(&records, 8192, len % 3 * records.len() / 6, shown);
            }
        }
    }
}

#[test]
fn long_pieces_come_behind_what_is_in_the_stage_whichever_way_they_go() {
    let lengths = [10, 4000, 7, 256, 600, 5000, 3, BYTES, BYTES + 1, 9, 300, 7000];
    let ways = [By::Writing, By::Appending, By::Framed, By::IntoCache, By::PastCache];
    for first in 0..ways.len() {
        for step in 0..ways.len() {
            for shown in [false, true] {
                let way = |nth: usize| ways[(first + nth * step) % ways.len()];
                let records: Vec<_> = lengths.iter().enumerate().map(|(nth, &len)| (len, way(nth))).collect();
                fill(&records, 16384, first, shown);
            }
        }
    }
}

#[test]
fn a_segment_is_filled_to_its_last_byte() {
    for left in (0..=3 * BYTES).step_by(if cfg!(miri) { 997 } else { 1 }) {
        fill(&[(4096 - left, By::Appending), (left, By::Appending)], 4096, left % 2, false);
        fill(&[(4096 - left, By::Appending), (left.saturating_sub(1), By::Writing), (9, By::Appending)], 4096, 0, true);
    }
}
