//! Where did my segments go? With the feature `leaks` the pool knows which line took each of those that are out.
//!
//! ```sh
//! cargo run --features leaks --example leak_report
//! ```

use std::{collections::HashMap, error::Error};

use forebay::{
    buffer::Buffer,
    pool::{LocalBufferPool, NetworkBufferPool, RequestError},
};

fn main() -> Result<(), Box<dyn Error>> {
    let network = NetworkBufferPool::builder().segments(8).build()?;
    let mut parser = network.local_pool("parser").required(4).build()?;
    let mut cache = HashMap::new();

    for key in 0.. {
        let mut scratch = parser.try_request()?;
        scratch.segment().put_u32_be(0, key);
        match remember(&mut parser, key) {
            Ok(entry) => cache.insert(key, entry), // and nothing ever removes it
            Err(RequestError::Exhausted) => break,
            Err(error) => return Err(error.into()),
        };
        parser.recycle(scratch);
    }

    println!("no segment is left for entry {}. Who has them?", cache.len());
    print!("{}", network.leaks());
    Ok(())
}

/// The line that takes what is never given back.
fn remember(parser: &mut LocalBufferPool, key: u32) -> Result<Buffer, RequestError> {
    let mut entry = parser.try_request()?;
    entry.segment().put_u32_be(0, key);
    Ok(entry.freeze(4))
}
