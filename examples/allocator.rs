//! The allocator alone: a segment is lent, written, frozen, read on another thread, dropped there, and is home again.
//!
//! ```sh
//! cargo run --example allocator
//! ```

use std::{error::Error, thread};

use forebay::pool::NetworkBufferPool;

fn main() -> Result<(), Box<dyn Error>> {
    let network = NetworkBufferPool::builder().segments(64).build()?; // 2 MiB, mapped once
    let mut local = network.local_pool("greeter").required(2).maximum(8).build()?;

    let mut segment = local.try_request()?; // ours alone: all 32 KiB of it
    segment.segment().put_u32_be(0, 5); // the typed view
    segment[4..9].copy_from_slice(b"hello"); // or as a plain slice
    let buffer = segment.freeze(9); // read-only from here on; a clone is one more count, not a copy
    println!("lent: {} of {}", local.lent(), local.maximum());

    let there = thread::spawn({
        let buffer = buffer.clone();
        move || println!("another thread reads {:?}", String::from_utf8_lossy(&buffer[4..])) // and drops it
    });
    drop(buffer);
    there.join().expect("it only prints"); // whoever dropped last has sent the segment home
    println!("lent: {} of {}", local.lent(), local.maximum());
    println!("{:#?}", network.usage());
    Ok(())
}
