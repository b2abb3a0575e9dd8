//! What an unaligned checkpoint overtook.

use crate::buffer::Buffer;

/// The buffers that belong to an unaligned checkpoint although they had not been read when it was triggered, by
/// reference count. Keeps their segments from the writers: store them, and drop them.
#[derive(Debug)]
pub struct InFlight {
    pub(super) checkpoint: i64,
    pub(super) buffers: Vec<(usize, Buffer)>,
}

impl InFlight {
    /// The checkpoint they belong to.
    #[must_use]
    pub fn checkpoint(&self) -> i64 {
        self.checkpoint
    }

    /// Each with its channel; those of one channel in the order of its stream, of which they may begin and end inside a
    /// record.
    #[must_use]
    pub fn buffers(&self) -> &[(usize, Buffer)] {
        &self.buffers
    }

    /// The same, to keep.
    #[must_use]
    pub fn into_buffers(self) -> Vec<(usize, Buffer)> {
        self.buffers
    }
}
