//! Who gets what when there is not enough: a batch job borrows everything, a service has a guarantee, and a newcomer
//! with none still gets its fair share.
//!
//! ```sh
//! cargo run --example guarantees
//! ```

use std::{error::Error, time::Duration};

use forebay::{
    buffer::BufferMut,
    pool::{LocalBufferPool, NetworkBufferPool, RequestError},
};

fn main() -> Result<(), Box<dyn Error>> {
    let network =
        NetworkBufferPool::builder().segments(12).on_overcommit(|what| println!("  (warning: {what})")).build()?;

    println!("a lone batch job may borrow all there is:");
    let mut batch = network.local_pool("batch").label("tenant a").build()?;
    let mut batch_has = take_all(&mut batch);
    print!("{}", network.usage());

    println!("\nthen a service comes that requires 4. What it is owed comes back to it first:");
    let mut service = network.local_pool("service").label("tenant b").required(4).maximum(6).build()?;
    assert_eq!(service.try_request().unwrap_err(), RequestError::Exhausted);
    batch_has.truncate(8); // the batch job's buffers return, as they do
    assert_eq!(batch.try_request().unwrap_err(), RequestError::Exhausted, "those four are not for it");
    let service_has = take_all(&mut service);
    print!("{}", network.usage());
    assert_eq!(service_has.len(), 4);

    println!("\na newcomer without a guarantee waits; until it has its share the batch job borrows no more:");
    let mut newcomer = network.local_pool("newcomer").label("tenant c").build()?;
    let mut newcomer_has = Vec::new();
    while let Some(buffer) = batch_has.pop() {
        let poll = newcomer.poll_request(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(poll.is_pending());
        drop(buffer);
        match batch.try_request() {
            Ok(again) => {
                batch_has.push(again); // the newcomer has its share, so this one is the batch job's again
                break;
            }
            Err(_) => newcomer_has.push(newcomer.request_timeout(Duration::from_secs(10))?),
        }
    }
    print!("{}", network.usage());

    println!("\nand what can not be guaranteed is refused, with all that one needs to know:");
    println!("{}", network.local_pool("another service").required(9).build().unwrap_err());
    Ok(())
}

fn take_all(local: &mut LocalBufferPool) -> Vec<BufferMut> {
    std::iter::from_fn(|| local.try_request().ok()).collect()
}
