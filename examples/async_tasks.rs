//! The same exchange twice: on threads that block, and on the tasks of an async runtime. Both give the same sums.
//!
//! The library knows no runtime: writing and reading have a form that polls and leaves a `Waker`, and the blocking form
//! is that with a thread parked in between. Here the tasks run on tokio; any executor does.
//!
//! ```sh
//! cargo run --release --example async_tasks
//! ```

use std::{error::Error, future::poll_fn, thread};

use forebay::{
    gate::{InputGate, ReadError, RecordReader},
    partition::{RecordWriter, ResultPartition, RoundRobin, WriteError},
    pool::{NetworkBufferPool, PoolError},
    transport::in_process,
};

const PRODUCERS: u64 = 3;
const CONSUMERS: usize = 4;
const NUMBERS: u64 = 200_000;

type Failure = Box<dyn Error + Send + Sync>;

/// Few segments, so that producers wait for consumers, and these for them.
fn join(pool: &NetworkBufferPool) -> Result<(Vec<ResultPartition>, Vec<InputGate>), PoolError> {
    let local = |number| pool.local_pool(format!("producer {number}")).required(CONSUMERS as u32).build();
    let locals = (0..PRODUCERS).map(local).collect::<Result<_, _>>()?;
    Ok(in_process(locals, CONSUMERS))
}

/// The numbers of one producer.
fn numbers(producer: u64) -> impl Iterator<Item = u64> + Send {
    (0..NUMBERS).map(move |n| n * PRODUCERS + producer)
}

// On threads.

fn produce(producer: u64, partition: ResultPartition) -> Result<(), WriteError> {
    let mut writer = RecordWriter::new(partition, RoundRobin::default());
    for number in numbers(producer) {
        writer.emit(&number)?; // blocks while there is no segment
    }
    writer.close();
    Ok(())
}

fn consume(gate: InputGate) -> Result<u64, Failure> {
    let mut reader = RecordReader::new(gate, 8);
    let mut sum = 0;
    while let Some(record) = reader.next()? {
        sum += record.deserialize::<u64>()?;
    }
    Ok(sum)
}

fn on_threads(pool: &NetworkBufferPool) -> Result<Vec<u64>, Failure> {
    let (partitions, gates) = join(pool)?;
    let consumers: Vec<_> = gates.into_iter().map(|gate| thread::spawn(move || consume(gate))).collect();
    let producers: Vec<_> =
        (0..).zip(partitions).map(|(number, partition)| thread::spawn(move || produce(number, partition))).collect();
    producers.into_iter().try_for_each(|producer| producer.join().expect("no panic"))?;
    consumers.into_iter().map(|consumer| consumer.join().expect("no panic")).collect()
}

// In tasks.

async fn produce_async(producer: u64, partition: ResultPartition) -> Result<(), WriteError> {
    let mut writer = RecordWriter::new(partition, RoundRobin::default());
    for number in numbers(producer) {
        writer.emit_async(&number).await?; // the task waits, the thread does not
    }
    poll_fn(|context| writer.poll_close(context)).await
}

async fn consume_async(gate: InputGate) -> Result<u64, Failure> {
    let mut reader = RecordReader::new(gate, 8);
    let mut sum = 0;
    // A record is borrowed from the reader, so it is used inside of the closure.
    while let Some(number) = poll_fn(|context| {
        reader.poll_next(context).map(|found: Result<_, ReadError>| {
            let number = found?.map(|record| record.deserialize::<u64>()).transpose()?;
            Ok::<_, Failure>(number)
        })
    })
    .await?
    {
        sum += number;
    }
    Ok(sum)
}

fn in_tasks(pool: &NetworkBufferPool) -> Result<Vec<u64>, Failure> {
    let (partitions, gates) = join(pool)?;
    // Fewer threads than tasks: one that blocked would stop the others.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build()?;
    runtime.block_on(async {
        let consumers: Vec<_> = gates.into_iter().map(|gate| tokio::spawn(consume_async(gate))).collect();
        let producers: Vec<_> =
            (0..).zip(partitions).map(|(number, partition)| tokio::spawn(produce_async(number, partition))).collect();
        for producer in producers {
            producer.await??;
        }
        let mut sums = Vec::new();
        for consumer in consumers {
            sums.push(consumer.await??);
        }
        Ok(sums)
    })
}

fn main() -> Result<(), Failure> {
    let segments = PRODUCERS as u32 * CONSUMERS as u32;
    let pool = NetworkBufferPool::builder().segments(segments).segment_size(4096).build()?;
    let threads = on_threads(&pool)?;
    println!("on threads: {threads:?}");
    let tasks = in_tasks(&pool)?;
    println!("in tasks:   {tasks:?}");
    assert_eq!(threads, tasks);
    let all = PRODUCERS * NUMBERS;
    assert_eq!(tasks.iter().sum::<u64>(), all * (all - 1) / 2);
    println!("the same; {} of {} segments in use now", pool.in_use(), pool.segments());
    Ok(())
}
