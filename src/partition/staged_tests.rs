//! Tests of `buffer/staged.rs` with segments of a pool, which stands a floor above it.

use crate::{
    buffer::{Stage, StageCount, StagedBuilder},
    pool::NetworkBufferPool,
};

/// About what the stage holds: lengths on both sides of it are tried.
const BYTES: usize = 2560;

/// Records of these lengths, with a stage from the first, shown when half are written.
fn fill(lengths: &[usize], segment: usize) -> (Vec<u8>, Vec<u8>) {
    let pool = NetworkBufferPool::builder().segments(1).segment_size(segment).build().unwrap();
    let mut local = pool.local_pool("test").required(1).build().unwrap();
    let (mut builder, mut stage) = (local.try_request().unwrap().into_builder(), Stage::new());
    let mut count = StageCount::default();
    let mut consumer = builder.create_consumer();
    let (mut written, mut read) = (Vec::new(), Vec::new());
    for (nth, &len) in lengths.iter().enumerate() {
        let mut staged = StagedBuilder::new(&mut builder, Some((&mut stage, &mut count)));
        let record: Vec<u8> = (0..len).map(|byte| (nth + byte) as u8).collect();
        let fits = len < segment - written.len();
        assert_eq!(staged.write(len, |dst| dst.copy_from_slice(&record)), fits);
        if fits {
            written.extend(record);
        }
        assert_eq!((staged.written(), staged.remaining()), (written.len(), segment - written.len()));
        if nth == lengths.len() / 2 {
            staged.show();
            read.extend_from_slice(&consumer.build().map_or(Vec::new(), |buffer| buffer.to_vec()));
            assert_eq!(read, written, "all that was written is shown");
        }
    }
    StagedBuilder::new(&mut builder, Some((&mut stage, &mut count))).show();
    builder.finish();
    read.extend_from_slice(&consumer.into_last().unwrap());
    (written, read)
}

#[test]
fn records_of_every_length_come_through_the_stage_as_they_were_written() {
    let step = if cfg!(miri) { 997 } else { 13 };
    for len in (1..BYTES + 100).step_by(step) {
        let (written, read) = fill(&vec![len; 2 + 8 * BYTES / len / 10], 8192);
        assert_eq!(read, written, "records of {len} bytes");
    }
}

#[test]
fn long_records_go_by_the_stage_behind_what_is_in_it() {
    let (written, read) = fill(&[10, 4000, 7, 600, 5000, 3, BYTES, BYTES + 1, 9], 16384);
    assert_eq!(read, written);
}
