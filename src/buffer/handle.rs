//! What an owner takes back: either kind of handle.

use std::ptr::NonNull;

use self::sealed::{Count, Counted};
use super::{exclusive::BufferMut, shared::Buffer, table::Header};

/// A handle to a segment that [`LocalBufferPool::recycle`](crate::pool::LocalBufferPool::recycle) takes: a
/// [`BufferMut`], which is the only one by its type, or a [`Buffer`], which may be one of several. Nothing else can be
/// one.
pub trait Handle: sealed::Counted {}

impl Handle for Buffer {}
impl Handle for BufferMut {}

pub(crate) mod sealed {
    use super::{Header, NonNull};

    /// The count of a handle that is given up.
    #[derive(Debug)]
    #[must_use = "the segment would never be free"]
    pub struct Count(pub(in crate::buffer) NonNull<Header>);

    /// Stands for one count in a header.
    pub trait Counted: Sized {
        /// Whether it is the only handle; then what others did with the bytes is done.
        fn is_only(&self) -> bool;

        /// Gives up the handle, but not its count.
        fn into_count(self) -> Count;
    }
}

impl Counted for Buffer {
    #[inline]
    fn is_only(&self) -> bool {
        self.is_unique()
    }

    #[inline]
    fn into_count(self) -> Count {
        let count = Count(self.header());
        #[allow(clippy::mem_forget, reason = "the caller takes over its count")]
        std::mem::forget(self);
        count
    }
}

impl Counted for BufferMut {
    #[inline]
    fn is_only(&self) -> bool {
        true // H3; and who made it so has seen what others did (R0)
    }

    #[inline]
    fn into_count(self) -> Count {
        Count(self.into_header())
    }
}
