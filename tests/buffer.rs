//! Buffers: what a handle sees, what keeps a segment alive, and what makes it exclusive again.

use std::thread;

use forebay::{
    buffer::{Buffer, BufferMut, DataType},
    pool::{LocalBufferPool, NetworkBufferPool, RequestError},
};
use proptest::prelude::*;

const SEGMENT: usize = 4096;

fn local(segments: u32) -> LocalBufferPool {
    let pool = NetworkBufferPool::builder().segments(segments).segment_size(SEGMENT).build().unwrap();
    pool.local_pool("test").required(segments).maximum(segments).build().unwrap()
}

fn filled(local: &mut LocalBufferPool) -> BufferMut {
    let mut buffer = local.try_request().unwrap();
    buffer.iter_mut().enumerate().for_each(|(at, byte)| *byte = at as u8);
    buffer
}

#[test]
fn a_handle_is_small() {
    assert_eq!(size_of::<Buffer>(), 24);
    assert_eq!(size_of::<Option<Buffer>>(), 24);
    assert_eq!(size_of::<BufferMut>(), 8);
}

#[test]
fn a_segment_is_written_through_the_typed_view_and_read_by_anybody() {
    let mut local = local(1);
    let mut buffer = local.try_request().unwrap();
    buffer.segment().put_u32_be(4, 0x0102_0304);
    let frozen = buffer.freeze(8);
    let there = frozen.clone();
    thread::spawn(move || assert_eq!(there[4..], [1, 2, 3, 4])).join().unwrap();
    assert_eq!(frozen.len(), 8);
}

#[test]
fn a_slice_keeps_the_whole_segment() {
    let mut local = local(1);
    let whole = filled(&mut local).freeze(100);
    let part = whole.slice(10..20);
    assert_eq!(part[..], whole[10..20]);
    let deeper = part.slice(5..=5);
    assert_eq!(deeper[..], [15]);
    assert!(part.slice(..0).is_empty() && part.slice(10..).is_empty());
    drop((whole, part));
    assert_eq!(local.try_request().unwrap_err(), RequestError::Exhausted);
    drop(deeper);
    assert!(local.try_request().is_ok());
}

#[test]
#[should_panic(expected = "bytes 10..11 of a buffer of 10")]
fn a_slice_beyond_the_buffer_is_refused() {
    let _ = filled(&mut local(1)).freeze(10).slice(10..11);
}

#[test]
#[should_panic(expected = "freezing 4097 bytes of a segment of 4096")]
fn more_than_the_segment_can_not_be_frozen() {
    let _ = filled(&mut local(1)).freeze(SEGMENT + 1);
}

#[test]
fn a_buffer_is_exclusive_again_when_it_is_the_only_one() {
    let mut local = local(1);
    let buffer = filled(&mut local).freeze(10);
    let clone = buffer.clone();
    let buffer = buffer.try_into_mut().unwrap_err();
    assert!(!buffer.is_unique());
    drop(clone);
    assert!(buffer.is_unique());
    let mut exclusive = buffer.slice(2..5).try_into_mut().unwrap_err().try_into_mut().unwrap_err();
    drop(buffer);
    exclusive = exclusive.try_into_mut().unwrap().freeze(SEGMENT);
    assert_eq!(exclusive.len(), SEGMENT, "a slice that is the only handle gives the whole segment back");
    assert_eq!(exclusive[10], 10, "and its bytes are as they were");
}

#[test]
fn type_and_compression_belong_to_the_handle() {
    let mut local = local(1);
    let data = filled(&mut local).freeze(10);
    assert_eq!((data.data_type(), data.is_compressed()), (DataType::DATA_BUFFER, false));
    let event = data.clone().with_data_type(DataType::END_OF_DATA).with_compressed(true);
    assert_eq!((event.data_type(), event.is_compressed()), (DataType::END_OF_DATA, true));
    assert_eq!(event.slice(1..).data_type(), DataType::END_OF_DATA, "a slice is of its buffer's type");
    assert_eq!((data.data_type(), data.is_compressed()), (DataType::DATA_BUFFER, false));
    assert_eq!(DataType(77).name(), None, "an open set");
}

#[test]
fn a_consumer_takes_each_committed_byte_once() {
    let mut local = local(1);
    let mut builder = local.try_request().unwrap().into_builder();
    let mut consumer = builder.create_consumer();
    assert!(consumer.build().is_none());
    builder.append(b"one");
    assert!(!consumer.is_readable() && consumer.build().is_none(), "not committed");
    builder.commit();
    assert_eq!(&*consumer.build().unwrap(), b"one");
    assert!(consumer.build().is_none());
    builder.append(b"two");
    builder.commit();
    builder.append(b"three");
    let consumer = consumer.into_last().expect_err("not finished");
    builder.finish();
    assert!(consumer.is_finished() && !consumer.is_consumed());
    assert_eq!(&*consumer.into_last().unwrap(), b"twothree");
    assert!(local.try_request().is_ok());
}

#[test]
fn what_was_not_committed_is_dropped_with_the_builder() {
    let mut local = local(1);
    let mut builder = local.try_request().unwrap().into_builder();
    let consumer = builder.create_consumer();
    builder.append(b"kept");
    builder.commit();
    builder.append(b"lost");
    drop(builder);
    assert_eq!(&*consumer.into_last().unwrap(), b"kept");
}

#[test]
fn consumers_go_their_own_ways() {
    let mut local = local(1);
    let mut builder = local.try_request().unwrap().into_builder();
    let mut from_start = builder.create_consumer();
    builder.append(b"ab");
    builder.commit();
    let mut from_here = builder.create_consumer_from_here();
    let taken = from_start.build().unwrap();
    let mut copy = from_start.clone();
    builder.append(b"cd");
    builder.finish();
    for consumer in [&mut from_start, &mut from_here, &mut copy] {
        assert_eq!(&*consumer.build().unwrap(), b"cd");
        assert!(consumer.is_consumed());
    }
    drop((from_start, from_here, copy));
    assert_eq!(local.try_request().unwrap_err(), RequestError::Exhausted, "a buffer is still there");
    drop(taken);
    assert!(local.try_request().is_ok());
}

#[test]
fn a_trimmed_builder_is_full_earlier() {
    let mut local = local(1);
    let mut builder = local.try_request().unwrap().into_builder();
    builder.trim(10);
    assert_eq!(builder.append(b"123456"), 6);
    builder.trim(3);
    assert_eq!(builder.remaining(), 0, "not below what is written");
    builder.trim(SEGMENT);
    assert!(builder.is_full(), "nor above what it was");
    assert_eq!(builder.append(b"7"), 0);
}

#[test]
fn recycling_by_the_owner_takes_any_handle() {
    let mut ours = local(2);
    let mut theirs = local(1);
    let (unique, shared) = (filled(&mut ours), filled(&mut ours).freeze(1));
    let clone = shared.clone();
    ours.recycle(unique);
    ours.recycle(shared); // shared: only this handle goes
    ours.recycle(filled(&mut theirs)); // of another pool: goes home there
    assert_eq!(ours.lent(), 1);
    drop(clone);
    assert_eq!((ours.lent(), theirs.lent()), (0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]

    #[test]
    fn consumers_see_a_prefix_of_whole_commits(
        appends in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..600), any::<bool>(), any::<bool>()), 0..20),
    ) {
        let mut local = local(1);
        let mut builder = local.try_request().unwrap().into_builder();
        let mut consumer = builder.create_consumer();
        let (mut written, mut committed, mut seen) = (Vec::new(), 0, Vec::new());
        for (bytes, commit, look) in appends {
            let n = builder.append(&bytes);
            prop_assert_eq!(n, bytes.len().min(SEGMENT - written.len()));
            written.extend_from_slice(&bytes[..n]);
            if commit {
                builder.commit();
                committed = written.len();
            }
            if look {
                seen.extend(consumer.build().iter().flat_map(|buffer| buffer.to_vec()));
                prop_assert_eq!(&seen[..], &written[..committed]);
            }
        }
        builder.finish();
        seen.extend_from_slice(&consumer.into_last().unwrap());
        prop_assert_eq!(seen, written);
        prop_assert!(local.try_request().is_ok());
    }
}
