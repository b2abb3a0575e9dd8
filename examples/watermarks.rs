//! Watermark merging: three sensors report temperatures, each at its own pace, and one of them falls silent for a
//! while. A reader averages them over windows of a second, and knows from the merged watermark when a window has all it
//! will get.
//!
//! Shows `StreamWriter` and `StreamReader`: records with timestamps, watermarks, an idle channel that holds up nobody,
//! and how to tell what comes too late.
//!
//! ```sh
//! cargo run --release --example watermarks
//! ```

use std::{collections::BTreeMap, error::Error, thread};

use forebay::{
    gate::{RecordReader, StreamItem, StreamReader},
    partition::{FlushPolicy, Forward, ResultPartition, StreamWriter, WriteError},
    pool::NetworkBufferPool,
    record::{Watermark, WatermarkStatus},
    transport::in_process,
};

/// The name of a sensor, and the milliseconds between two of its reports.
const SENSORS: [(&str, usize); 3] = [("roof", 100), ("cellar", 250), ("garden", 40)];
/// Milliseconds of reports.
const UNTIL: i64 = 4_000;
/// Milliseconds of a window.
const WINDOW: i64 = 1_000;

/// A record is a tuple: the sensor, and tenths of a degree.
type Report<'a> = (&'a str, i32);

fn sensor(name: &str, every: usize, partition: ResultPartition) -> Result<(), WriteError> {
    let mut writer = StreamWriter::new(partition, Forward).with_flush(FlushPolicy::EveryRecord);
    for time in (0..UNTIL).step_by(every) {
        // The cellar has no power from 1,000 to 2,500 ms. It says so, and nobody waits for it.
        if name == "cellar" && (1_000..2_500).contains(&time) {
            writer.emit_watermark_status(WatermarkStatus::Idle)?;
            continue;
        }
        writer.emit_watermark_status(WatermarkStatus::Active)?;
        let report: Report<'_> = (name, 200 + (time / 100 % 7) as i32);
        writer.emit_at(time, &report)?;
        writer.emit_watermark(Watermark::new(time))?; // its reports are in order: nothing earlier follows
    }
    writer.emit_watermark(Watermark::MAX)?;
    writer.close();
    Ok(())
}

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let pool = NetworkBufferPool::builder().segments(12).segment_size(4096).build()?;
    let locals =
        SENSORS.map(|(name, _)| pool.local_pool(name).required(4).build()).into_iter().collect::<Result<_, _>>()?;
    let (partitions, mut gates) = in_process(locals, 1);
    let sensors: Vec<_> = SENSORS
        .into_iter()
        .zip(partitions)
        .map(|((name, every), partition)| thread::spawn(move || sensor(name, every, partition)))
        .collect();

    let mut reader = StreamReader::new(RecordReader::new(gates.remove(0), 1024));
    let mut open: BTreeMap<i64, Vec<i32>> = BTreeMap::new(); // windows, by their start
    let (mut now, mut reports, mut late) = (i64::MIN, 0, 0);
    while let Some(item) = reader.next()? {
        match item {
            StreamItem::Record { record, .. } => {
                let (_sensor, temperature) = record.deserialize::<Report<'_>>()?;
                let start = record.timestamp.unwrap_or_default() / WINDOW * WINDOW;
                if start + WINDOW <= now {
                    late += 1; // its window was closed: the sensor was idle, and not waited for
                } else {
                    open.entry(start).or_default().push(temperature);
                }
                reports += 1;
            }
            StreamItem::Watermark(watermark) => {
                now = watermark.timestamp;
                while let Some(window) = open.first_entry().filter(|window| window.key() + WINDOW <= now) {
                    let (start, all) = window.remove_entry();
                    let mean = f64::from(all.iter().sum::<i32>()) / 10.0 / all.len() as f64;
                    println!("{start:>4} ms: {:>2} reports, {mean:.1} °C on average", all.len());
                }
            }
            _ => {}
        }
    }
    for sensor in sensors {
        sensor.join().expect("no panic")?;
    }
    println!("{reports} reports, {late} of them too late; {} windows left open", open.len());
    Ok(())
}
