//! Each record reaches exactly the readers it should, once and in order, whichever selector chooses.

use std::{collections::BTreeMap, thread};

use forebay::{
    gate::RecordReader,
    partition::{
        Broadcast, ChannelSelector, Forward, Global, HashByCode, HashByKey, JavaHash, KeyGroups, LeastLoaded, Random,
        RecordWriter, Rescale, RoundRobin, Target, WriteError,
    },
    pool::NetworkBufferPool,
    transport::in_process,
};
use proptest::prelude::*;

const WRITERS: usize = 2;

/// Records of a writer, one more than there are at most.
const MOST: usize = if cfg!(miri) { 4 } else { 60 };

/// Keys of records that span segments.
const LONG: &str = if cfg!(miri) { "x{4200}" } else { "x{3000,9000}" };

/// A record: its writer, its number there, and its key.
type Row = (u8, u32, String);

/// Which readers each record reached, by writer and number.
type Reached = BTreeMap<(u8, u32), Vec<usize>>;

/// Sends `keys` from each writer; the readers see to it that each writer's come in order.
fn send<S>(keys: &[String], readers: usize, selector: impl Fn(usize) -> S) -> Reached
where
    S: ChannelSelector<Row> + Send + 'static,
{
    let segments = readers as u32 + 1;
    let pool = NetworkBufferPool::builder().segments(segments * WRITERS as u32).segment_size(4096).build().unwrap();
    let locals = (0..WRITERS).map(|_| pool.local_pool("writer").required(segments).build().unwrap()).collect();
    let (partitions, gates) = in_process(locals, readers);
    let readers: Vec<_> = gates
        .into_iter()
        .map(|gate| {
            thread::spawn(move || {
                let (mut rows, mut last) = (Vec::new(), [None; WRITERS]);
                let mut reader = RecordReader::new(gate, 1 << 20);
                while let Some(record) = reader.next().unwrap() {
                    let (writer, number, key): Row = record.deserialize().unwrap();
                    assert_eq!(record.channel(), usize::from(writer));
                    assert!(last[usize::from(writer)].replace(number) < Some(number), "in order, and once");
                    rows.push((writer, number, key));
                }
                rows
            })
        })
        .collect();
    for (number, partition) in partitions.into_iter().enumerate() {
        let mut writer = RecordWriter::new(partition, selector(number));
        for (n, key) in keys.iter().enumerate() {
            writer.emit(&(number as u8, n as u32, key.clone())).unwrap();
        }
        writer.close();
    }
    let mut reached = Reached::new();
    for (reader, rows) in readers.into_iter().map(|reader| reader.join().unwrap()).enumerate() {
        for (writer, number, key) in rows {
            assert_eq!(key, keys[number as usize]);
            reached.entry((writer, number)).or_default().push(reader);
        }
    }
    assert_eq!(reached.len(), WRITERS * keys.len(), "every record reached somebody");
    reached
}

/// As [`send`], of a selector that chooses by what it is asked and how often: each record reaches whom it says.
fn as_chosen<S>(keys: &[String], readers: usize, selector: impl Fn(usize) -> S)
where
    S: ChannelSelector<Row> + Send + 'static,
{
    let reached = send(keys, readers, &selector);
    for writer in 0..WRITERS {
        let mut model = selector(writer);
        for (n, key) in keys.iter().enumerate() {
            let row = (writer as u8, n as u32, key.clone());
            let expected: Vec<_> = match model.select(&row, readers) {
                Target::One(reader) => vec![reader],
                Target::All => (0..readers).collect(),
            };
            assert_eq!(reached[&(row.0, row.1)], expected, "{row:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 1 } else { 16 }))]

    #[test]
    fn records_reach_exactly_the_readers_that_were_chosen(
        keys in prop::collection::vec(prop_oneof!["[a-c]{0,2}", "[a-z流ü]{0,9}", LONG], 1..MOST),
        readers in 1_usize..5,
        seed in any::<u64>(),
    ) {
        as_chosen(&keys, readers, |_| Forward);
        as_chosen(&keys, readers, |_| Global);
        as_chosen(&keys, readers, |_| RoundRobin::default());
        as_chosen(&keys, readers, RoundRobin::starting_at);
        as_chosen(&keys, readers, |writer| Rescale::new(writer, WRITERS));
        as_chosen(&keys, readers, |writer| Random::seeded(seed ^ writer as u64));
        as_chosen(&keys, readers, |_| Broadcast);
        as_chosen(&keys, readers, |_| HashByKey::new(|row: &Row| row.2.as_bytes()));
        as_chosen(&keys, readers, |_| HashByCode::new(|row: &Row| row.2.java_hash_code()));
        as_chosen(&keys, readers, |_| |row: &Row, channels: usize| match row.2.len() {
            0 => Target::All,
            len => Target::One(len % channels),
        });
    }

    #[test]
    fn the_least_loaded_reader_is_one_reader(
        keys in prop::collection::vec(if cfg!(miri) { "[a-z]{0,20}" } else { "[a-z]{0,2000}" }, 1..MOST),
        readers in 1_usize..5,
        most in 1_usize..6,
    ) {
        let reached = send(&keys, readers, |_| LeastLoaded::new(most.try_into().unwrap()));
        prop_assert!(reached.values().all(|readers| readers.len() == 1));
    }

    #[test]
    fn a_key_has_one_reader_whoever_writes_it_and_that_of_its_key_group(
        keys in prop::collection::vec("[a-z]{0,3}", 1..MOST),
        readers in 1_usize..5,
    ) {
        let reached = send(&keys, readers, |_| HashByKey::new(|row: &Row| row.2.as_bytes()));
        let groups = KeyGroups::new(readers as u32);
        for ((_, number), reader) in reached {
            let channel = groups.channel(keys[number as usize].java_hash_code());
            prop_assert_eq!(reader, [channel as usize]);
        }
    }
}

#[test]
fn a_closure_that_chooses_nobody_is_told_so() {
    let pool = NetworkBufferPool::builder().segments(2).build().unwrap();
    let (mut partitions, _gates) = in_process(vec![pool.local_pool("writer").required(2).build().unwrap()], 2);
    let mut writer = RecordWriter::new(partitions.remove(0), |_: &str, channels: usize| channels);
    assert_eq!(writer.emit("lost"), Err(WriteError::NoSuchSubpartition { chosen: 2, subpartitions: 2 }));
}
