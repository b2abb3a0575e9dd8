//! The exchange over threads: two producers write orders, three consumers sum them up, each customer at one consumer.
//!
//! Shows a record type of one's own that is written straight into the segment and read borrowed from it, hashing by
//! key, and back pressure: the pool holds 8 segments of 4 KiB, so the producers wait whenever the consumers are behind.
//!
//! ```sh
//! cargo run --release --example threads
//! ```

use std::{collections::BTreeMap, error::Error, thread};

use forebay::{
    gate::{InputGate, RecordReader},
    partition::{HashByKey, RecordWriter, ResultPartition, WriteError},
    pool::NetworkBufferPool,
    record::{DecodeError, DeserializeRecord, SerializeRecord},
    transport::in_process,
};

const PRODUCERS: u64 = 2;
const CONSUMERS: usize = 3;
const ORDERS: u64 = 250_000;
const CUSTOMERS: [&str; 8] = ["Ada", "Barbara", "Edsger", "Frances", "Grace", "Leslie", "Niklaus", "Tony"];

/// On the wire: 8 bytes of cents, then the name.
struct Order<'a> {
    customer: &'a str,
    cents: u64,
}

impl SerializeRecord for Order<'_> {
    fn serialized_len(&self) -> usize {
        8 + self.customer.len()
    }

    fn serialize_into(&self, dst: &mut [u8]) {
        let (cents, customer) = dst.split_at_mut(8);
        cents.copy_from_slice(&self.cents.to_be_bytes());
        customer.copy_from_slice(self.customer.as_bytes());
    }
}

impl<'a> DeserializeRecord<'a> for Order<'a> {
    fn deserialize(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let (cents, customer) = bytes.split_at(bytes.len().min(8));
        Ok(Self { cents: u64::deserialize(cents)?, customer: <&str>::deserialize(customer)? })
    }
}

fn produce(number: u64, partition: ResultPartition) -> Result<(u64, f64), WriteError> {
    let mut writer = RecordWriter::new(partition, HashByKey::new(|order: &Order<'_>| order.customer.as_bytes()));
    for n in 0..ORDERS {
        let customer = CUSTOMERS[(n / 3 * 5 + number) as usize % CUSTOMERS.len()];
        writer.emit(&Order { customer, cents: 100 + n * 7 % 900 })?; // waits for a segment if there is none
    }
    let facts = (writer.records(), writer.back_pressured().as_secs_f64());
    writer.close(); // without this the consumers would hear that we failed
    Ok(facts)
}

fn consume(gate: InputGate) -> Result<BTreeMap<String, (u64, u64)>, Box<dyn Error + Send + Sync>> {
    let mut customers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut reader = RecordReader::new(gate, 1024); // no order is longer than 1 KiB
    while let Some(record) = reader.next()? {
        let order: Order<'_> = record.deserialize()?; // the name is borrowed from the segment
        let (orders, cents) = customers.entry(order.customer.to_owned()).or_default();
        (*orders, *cents) = (*orders + 1, *cents + order.cents);
    }
    Ok(customers)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = NetworkBufferPool::builder().segments(8).segment_size(4096).build()?;
    let locals = (0..PRODUCERS)
        .map(|number| pool.local_pool(format!("producer {number}")).required(CONSUMERS as u32).build())
        .collect::<Result<_, _>>()?;
    let (partitions, gates) = in_process(locals, CONSUMERS);

    let consumers: Vec<_> = gates.into_iter().map(|gate| thread::spawn(move || consume(gate))).collect();
    let producers: Vec<_> =
        (0..).zip(partitions).map(|(number, partition)| thread::spawn(move || produce(number, partition))).collect();

    for (number, producer) in producers.into_iter().enumerate() {
        let (orders, waited) = producer.join().expect("no panic")?;
        println!("producer {number}: {orders} orders, waited {waited:.3} s for segments");
    }
    for (number, consumer) in consumers.into_iter().enumerate() {
        let customers = consumer.join().expect("no panic")?;
        let orders: u64 = customers.values().map(|(orders, _)| orders).sum();
        println!("consumer {number}: {orders} orders of {} customers", customers.len());
        for (customer, (orders, cents)) in customers {
            println!("  {customer:<8} {orders:>7} orders {:>9}.{:02}", cents / 100, cents % 100);
        }
    }
    println!("segments: at most {} of {} in use, {} now", pool.most_in_use(), pool.segments(), pool.in_use());
    Ok(())
}
