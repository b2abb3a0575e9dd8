//! Partitions and gates of one process: the same segment on both sides, by reference count.

use crate::{
    channel::{Signal, channel},
    gate::InputGate,
    partition::ResultPartition,
    pool::LocalBufferPool,
    sync::Arc,
};

/// Joins producers and consumers all to all: a partition for each pool in `producers`, and `consumers` gates.
///
/// Subpartition `c` of partition `p` is channel `p` of gate `c`. Hand each partition to its writing task and each gate
/// to its reading task. A partition takes its segments from its pool, which needs as many required segments as there
/// are consumers (or one, if all records are broadcast).
///
/// Control plane: allocates a queue for each pair. An idle channel holds no segment.
///
/// # Examples
/// ```
/// use forebay::{gate::RecordReader, partition::{RecordWriter, RoundRobin}, pool::NetworkBufferPool};
/// let pool = NetworkBufferPool::builder().segments(8).build()?;
/// let producer = pool.local_pool("producer").required(4).build()?;
/// let (mut partitions, mut gates) = forebay::transport::in_process(vec![producer], 1);
/// let mut writer = RecordWriter::new(partitions.remove(0), RoundRobin::default());
/// let mut reader = RecordReader::new(gates.remove(0), 1024);
/// writer.emit("hello")?;
/// writer.close();
/// assert_eq!(reader.next()?.unwrap().deserialize::<&str>()?, "hello");
/// assert!(reader.next()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// Flink's `LocalInputChannel`, with a queue of its own in place of a lock on the subpartition.
///
/// # Panics
/// If there are more than 2³¹ − 1 producers.
#[must_use]
pub fn in_process(producers: Vec<LocalBufferPool>, consumers: usize) -> (Vec<ResultPartition>, Vec<InputGate>) {
    let channels = u32::try_from(producers.len()).expect("fewer than 2^32 producers");
    let mut senders: Vec<_> = producers.iter().map(|_| Vec::with_capacity(consumers)).collect();
    let gates = (0..consumers)
        .map(|_| {
            let signal = Arc::new(Signal::new(channels));
            let receivers = (0..channels)
                .map(|producer| {
                    let (sender, receiver) = channel(signal.clone(), producer);
                    senders[producer as usize].push(sender);
                    receiver
                })
                .collect();
            InputGate::new(signal, receivers)
        })
        .collect();
    let partitions =
        producers.into_iter().zip(senders).map(|(pool, senders)| ResultPartition::new(pool, senders)).collect();
    (partitions, gates)
}
