//! An allocator for several threads, with back-pressure: fast producers fill buffers, a slow consumer empties them.
//! Memory stays what the pool has; who has no buffer waits, and is told for how long.
//!
//! ```sh
//! cargo run --release --example back_pressure
//! ```

use std::{
    error::Error,
    hint::black_box,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use forebay::{buffer::Buffer, pool::NetworkBufferPool};

const PRODUCERS: u64 = 3;
const BUFFERS_EACH: u64 = 2_000;

fn main() -> Result<(), Box<dyn Error>> {
    let network = NetworkBufferPool::builder().segments(16).build()?; // 512 KiB for everybody
    let (to_consumer, buffers) = channel::<Buffer>(); // unbounded: what bounds it is the pool

    let producers: Vec<_> = (0..PRODUCERS)
        .map(|number| {
            // Two segments that nobody can take away, and more while there are some.
            let mut local = network.local_pool(format!("producer {number}")).required(2).build()?;
            let to_consumer = to_consumer.clone();
            Ok(thread::spawn(move || {
                for nth in 0..BUFFERS_EACH {
                    let mut buffer = local.request().expect("nobody lets the pool fail"); // waits here, and only here
                    buffer.segment().put_u64_be(0, nth);
                    if to_consumer.send(buffer.freeze(8)).is_err() {
                        break; // the consumer is gone
                    }
                }
                (local.name().to_owned(), local.blocked())
            }))
        })
        .collect::<Result<_, Box<dyn Error>>>()?;
    drop(to_consumer);

    let (mut count, mut sum, since) = (0_u64, 0_u64, Instant::now());
    for buffer in buffers {
        count += 1;
        sum += u64::from_be_bytes(buffer[..].try_into()?);
        work_for(Duration::from_micros(20)); // slower than three producers
        if count == PRODUCERS * BUFFERS_EACH / 2 {
            print!("half way: {}", network.usage());
        }
    } // each buffer goes home as it is dropped here
    println!("{count} buffers, sum {sum}, in {:.2?}", since.elapsed());
    for producer in producers {
        let (name, blocked) = producer.join().expect("it does not panic");
        println!("{name} waited {blocked:.2?}");
    }
    println!("at most {} of {} segments were in use", network.most_in_use(), network.segments());
    Ok(())
}

fn work_for(time: Duration) {
    let since = Instant::now();
    while since.elapsed() < time {
        black_box(());
    }
}
