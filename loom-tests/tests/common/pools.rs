//! Pools of the models.

use forebay::{
    buffer::BufferMut,
    pool::{LocalBufferPool, NetworkBufferPool},
};

/// So many segments of 8 bytes.
pub(crate) fn network(segments: u32) -> NetworkBufferPool {
    NetworkBufferPool::builder().segments(segments).segment_size(8).build().unwrap()
}

/// A pool with so many guaranteed, and no more.
pub(crate) fn own(pool: &NetworkBufferPool, segments: u32) -> LocalBufferPool {
    pool.local_pool("own").required(segments).maximum(segments).build().unwrap()
}

/// A segment with `byte` in it.
pub(crate) fn written(local: &mut LocalBufferPool, byte: u8) -> BufferMut {
    let mut buffer = local.try_request().unwrap();
    buffer[0] = byte;
    buffer
}
