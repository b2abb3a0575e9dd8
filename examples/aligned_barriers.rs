//! Aligned barriers: two producers count, each at its own pace, and say with barriers where a checkpoint cuts their
//! streams. The consumer's sums are taken when both barriers have come, so they are of exactly the records before them,
//! however the two threads run.
//!
//! ```sh
//! cargo run --example aligned_barriers
//! ```

use std::{error::Error, thread};

use forebay::{
    CheckpointBarrier,
    gate::{CheckpointEvent, CheckpointedInputGate, RecordOrEvent, RecordReader},
    partition::{Forward, RecordWriter, ResultPartition, WriteError},
    pool::NetworkBufferPool,
    transport::in_process,
};

const CHECKPOINTS: i64 = 3;

/// `step` records between two checkpoints.
fn produce(partition: ResultPartition, step: u64) -> Result<(), WriteError> {
    let mut writer = RecordWriter::new(partition, Forward);
    for checkpoint in 1..=CHECKPOINTS {
        for _ in 0..step {
            writer.emit(&1_u64)?;
        }
        writer.broadcast_event(CheckpointBarrier::aligned(checkpoint).into())?;
    }
    writer.close();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    const STEPS: [u64; 2] = [1_000, 250_000];
    let pool = NetworkBufferPool::builder().segments(8).segment_size(4096).build()?;
    let locals = (0..2).map(|number| pool.local_pool(format!("producer {number}")).required(4).build());
    let (partitions, mut gates) = in_process(locals.collect::<Result<_, _>>()?, 1);
    let producers: Vec<_> = partitions
        .into_iter()
        .zip(STEPS)
        .map(|(partition, step)| thread::spawn(move || produce(partition, step)))
        .collect();

    let mut reader = RecordReader::new(CheckpointedInputGate::exactly_once(gates.remove(0)), 8);
    let mut sums = [0; 2];
    while let Some(found) = reader.next_or_event()? {
        match found {
            RecordOrEvent::Record(record) => sums[record.channel()] += record.deserialize::<u64>()?,
            RecordOrEvent::Checkpoint(CheckpointEvent::Triggered(barrier)) => {
                println!("checkpoint {}: {sums:?}", barrier.id);
                assert_eq!(sums, STEPS.map(|step| step * barrier.id as u64), "not a record more, nor less");
            }
            _ => {}
        }
    }
    let waited = reader.gate().alignment_time();
    println!("the first producer's channel waited {:.1} ms for the second's", waited.as_secs_f64() * 1000.0);
    for producer in producers {
        producer.join().expect("no panic")?;
    }
    Ok(())
}
