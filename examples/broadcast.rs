//! Broadcast: prices go to the worker of their product, an exchange rate to all of them, and each worker sees the rate
//! between the same two of its prices.
//!
//! What goes to all is serialized once, into one segment that all readers share by count.
//!
//! ```sh
//! cargo run --example broadcast
//! ```

use std::{error::Error, thread};

use forebay::{
    gate::{InputGate, RecordReader},
    partition::{ChannelSelector, RecordWriter, Target},
    pool::NetworkBufferPool,
    transport::in_process,
};

const WORKERS: usize = 3;

/// `product price`, or `= rate`.
struct ByProduct;

impl ChannelSelector<str> for ByProduct {
    fn select(&mut self, line: &str, workers: usize) -> Target {
        match line.as_bytes()[0] {
            b'=' => Target::All,
            product => Target::One(usize::from(product) % workers),
        }
    }
}

fn work(number: usize, gate: InputGate) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let mut reader = RecordReader::new(gate, 64);
    let (mut rate, mut lines) = (1, Vec::new());
    while let Some(record) = reader.next()? {
        let (what, value) = record.deserialize::<&str>()?.split_once(' ').ok_or("two words a line")?;
        let value: u32 = value.parse()?;
        if what == "=" {
            rate = value;
            lines.push(format!("worker {number}: the rate is {rate}"));
        } else {
            lines.push(format!("worker {number}: {what} costs {}", value * rate));
        }
    }
    Ok(lines)
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = NetworkBufferPool::builder().segments(8).build()?;
    let local = pool.local_pool("prices").required(WORKERS as u32).build()?;
    let (mut partitions, gates) = in_process(vec![local], WORKERS);
    let workers: Vec<_> =
        gates.into_iter().enumerate().map(|(number, gate)| thread::spawn(move || work(number, gate))).collect();

    let mut writer = RecordWriter::new(partitions.remove(0), ByProduct);
    for line in ["apple 3", "bread 5", "cheese 8", "= 2", "apple 3", "bread 4", "cheese 9", "= 3", "apple 2"] {
        writer.emit(line)?;
    }
    println!("{} records written, the two rates once for all workers", writer.records());
    writer.close();
    for worker in workers {
        worker.join().expect("no panic")?.iter().for_each(|line| println!("{line}"));
    }
    println!("at most {} segments in use", pool.most_in_use());
    Ok(())
}
