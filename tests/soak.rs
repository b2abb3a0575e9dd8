//! Many writers and many readers, each of which stalls when it pleases: every record arrives once, in order, byte for
//! byte, and every segment comes home.
//!
//! Short by default. `FOREBAY_SOAK=rounds` makes it that many rounds; a round prints its seed, and
//! `FOREBAY_SOAK_SEED=seed` begins with that one.

use std::thread;

use forebay::{
    CheckpointBarrier, Event, StopMode,
    gate::{CheckpointEvent, CheckpointedInputGate, InputGate, RecordOrEvent, RecordReader},
    partition::{ChannelSelector, FlushPolicy, FlushTimer, RecordWriter, ResultPartition, Target},
    pool::NetworkBufferPool,
    transport::in_process,
};

const WRITERS: usize = if cfg!(miri) { 2 } else { 64 };
const READERS: usize = if cfg!(miri) { 2 } else { 64 };
const RECORDS: u64 = if cfg!(miri) { 40 } else { 600 };
/// Records between two barriers, and between two broadcasts.
const EVERY: u64 = RECORDS / 4;
const SEGMENT: usize = 4096;

/// xorshift64*: enough to stall by, and the same on every machine.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn new(seed: u64, who: usize) -> Self {
        Self((seed ^ (who as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    /// Mostly goes on; sometimes gives up the core, now and then for long.
    fn stall(&mut self) {
        match self.below(64) {
            0 => (0..self.below(64)).for_each(|_| thread::yield_now()),
            1..6 => thread::yield_now(),
            6..12 => (0..self.below(1000)).for_each(|_| std::hint::spin_loop()),
            _ => {}
        }
    }
}

/// What is wrong with a record that is not this one: its writer, its number for that reader, and as many bytes as those
/// say.
fn fill(record: &mut Vec<u8>, writer: usize, number: u64, len: usize) {
    record.clear();
    record.extend((writer as u64).to_be_bytes());
    record.extend(number.to_be_bytes());
    let mut random = Random::new(number, writer);
    record.extend((0..len).map(|_| random.next() as u8));
}

fn check(record: &[u8], writer: usize, number: u64, expected: &mut Vec<u8>) {
    fill(expected, writer, number, record.len() - 16);
    assert!(record == expected, "record {number} of writer {writer}, {} bytes", record.len());
}

/// To the reader that the record was made for.
struct Chosen<'a>(&'a std::cell::Cell<Option<usize>>);

impl ChannelSelector<[u8]> for Chosen<'_> {
    fn select(&mut self, _: &[u8], _: usize) -> Target {
        self.0.get().map_or(Target::All, Target::One)
    }
}

/// Records that go to each reader.
fn write(writer: usize, partition: ResultPartition, seed: u64, timer: &FlushTimer) -> Vec<u64> {
    let mut random = Random::new(seed, writer);
    let chosen = std::cell::Cell::new(None);
    let policy = match writer % 3 {
        0 => FlushPolicy::WhenFull,
        1 => FlushPolicy::EveryRecord,
        _ => FlushPolicy::Every(std::time::Duration::from_millis(1), timer),
    };
    let mut out = RecordWriter::new(partition, Chosen(&chosen)).with_flush(policy);
    let (mut sent, mut record) = (vec![0; READERS], Vec::new());
    for n in 1..=RECORDS {
        random.stall();
        let len = match random.below(32) {
            0 => 4096 + random.below(8192), // spans segments
            1..6 => 0,
            _ => random.below(200),
        };
        if n % EVERY == 0 {
            chosen.set(None);
            let checkpoint = (n / EVERY) as i64;
            // The number of a record is one for all readers if it goes to all: so it is of its own kind.
            fill(&mut record, writer, u64::MAX - n, len as usize);
            out.emit(&record[..]).unwrap();
            out.broadcast_event(CheckpointBarrier::aligned(checkpoint).into()).unwrap();
        } else {
            let reader = random.below(READERS as u64) as usize;
            chosen.set(Some(reader));
            fill(&mut record, writer, sent[reader], len as usize);
            out.emit(&record[..]).unwrap();
            sent[reader] += 1;
        }
    }
    out.broadcast_event(Event::EndOfData(StopMode::Drain)).unwrap();
    out.close();
    sent
}

/// Records that came from each writer.
fn read(reader: usize, gate: InputGate, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed, WRITERS + reader);
    let mut input = RecordReader::new(CheckpointedInputGate::exactly_once(gate), 1 << 16);
    let (mut received, mut broadcast) = (vec![0; WRITERS], vec![0; WRITERS]);
    let (mut checkpoints, mut ended, mut expected) = (0, 0, Vec::new());
    while let Some(found) = input.next_or_event().unwrap() {
        random.stall();
        match found {
            RecordOrEvent::Record(record) => {
                let (writer, bytes) = (record.channel(), record.bytes());
                let number = u64::from_be_bytes(bytes[8..16].try_into().unwrap());
                if number > u64::MAX / 2 {
                    broadcast[writer] += 1;
                    check(bytes, writer, u64::MAX - broadcast[writer] * EVERY, &mut expected);
                } else {
                    check(bytes, writer, received[writer], &mut expected);
                    received[writer] += 1;
                }
            }
            RecordOrEvent::Checkpoint(CheckpointEvent::Triggered(barrier)) => {
                checkpoints += 1;
                assert_eq!(barrier.id, checkpoints);
                assert!(
                    broadcast.iter().all(|&count| count == checkpoints as u64),
                    "cut at the barrier: {broadcast:?}"
                );
            }
            RecordOrEvent::Checkpoint(CheckpointEvent::Completed(_)) => {}
            RecordOrEvent::Event { event: Event::EndOfData(_) | Event::EndOfPartition, .. } => ended += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((checkpoints as u64, ended), (RECORDS / EVERY, 2 * WRITERS));
    received
}

fn round(seed: u64) {
    // Every writer has its guaranteed part, and all compete for a little more.
    let pool = NetworkBufferPool::builder().segments((WRITERS * READERS + 2 * WRITERS) as u32).segment_size(SEGMENT);
    let pool = pool.build().unwrap();
    let local = |writer| {
        let local = pool.local_pool(format!("writer {writer}")).required(READERS as u32);
        local.maximum(READERS as u32 + 8).build().unwrap()
    };
    let (partitions, gates) = in_process((0..WRITERS).map(local).collect(), READERS);
    let timer = FlushTimer::new().unwrap();
    let (sent, received) = thread::scope(|scope| {
        let readers: Vec<_> =
            gates.into_iter().enumerate().map(|(r, gate)| scope.spawn(move || read(r, gate, seed))).collect();
        let timer = &timer;
        let writers = partitions.into_iter().enumerate();
        let writers: Vec<_> =
            writers.map(|(w, partition)| scope.spawn(move || write(w, partition, seed, timer))).collect();
        let sent: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        (sent, readers.into_iter().map(|reader| reader.join().unwrap()).collect::<Vec<_>>())
    });
    for (reader, received) in received.iter().enumerate() {
        for (writer, &count) in received.iter().enumerate() {
            assert_eq!(count, sent[writer][reader], "from writer {writer} to reader {reader}, seed {seed}");
        }
    }
    assert_eq!((pool.in_use(), pool.usage().surplus), (0, i64::from(pool.segments())), "every segment is home");
}

#[test]
fn every_record_arrives_once_whoever_stalls() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect(name));
    let first: u64 = number("FOREBAY_SOAK_SEED").unwrap_or(0x0F0E_BA11);
    for seed in (first..).take(number("FOREBAY_SOAK").unwrap_or(1) as usize) {
        println!("seed {seed}");
        round(seed);
    }
}
