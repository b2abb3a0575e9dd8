//! Memory from the global allocator, held by pointer.

use std::{
    alloc::{Layout, dealloc},
    mem::ManuallyDrop,
    ptr::NonNull,
};

/// One block of the global allocator, given back on drop.
///
/// A `Box<[u8]>` would claim, whenever it is moved, that nobody else holds a pointer to its bytes. The segment does,
/// so the block is held by pointer.
#[derive(Debug)]
pub(super) struct HeapMemory {
    ptr: NonNull<u8>,
    /// What `ptr` was allocated with; of size 0 if nothing was.
    layout: Layout,
}

// SAFETY: the block is owned by this value alone (S4) and no allocator state is tied to a thread.
unsafe impl Send for HeapMemory {}
// SAFETY: by shared reference it gives out nothing but an address.
unsafe impl Sync for HeapMemory {}

impl HeapMemory {
    /// `len` zeroed bytes at a multiple of `align`; `None` if the allocator has none or the numbers are impossible.
    #[cfg(any(miri, forebay_loom))]
    pub(super) fn zeroed(len: usize, align: usize) -> Option<Self> {
        let layout = Layout::from_size_align(len, align).ok()?;
        if len == 0 {
            return Some(Self { ptr: NonNull::dangling(), layout });
        }
        // SAFETY: the layout's size is not 0.
        let ptr = unsafe { std::alloc::alloc_zeroed(layout) };
        Some(Self { ptr: NonNull::new(ptr)?, layout })
    }

    pub(super) fn as_ptr(&self) -> NonNull<u8> {
        self.ptr
    }
}

impl From<Vec<u8>> for HeapMemory {
    /// Takes over the vector's block with its spare capacity; copies nothing.
    fn from(bytes: Vec<u8>) -> Self {
        let mut bytes = ManuallyDrop::new(bytes);
        let layout = Layout::array::<u8>(bytes.capacity()).expect("a Vec's capacity is at most isize::MAX bytes");
        let ptr = NonNull::new(bytes.as_mut_ptr()).expect("a Vec's pointer is never null");
        Self { ptr, layout }
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: `ptr` came from the global allocator with `layout`, by `alloc_zeroed` or as a vector's block of
            // that capacity, and this value is its only owner (S4).
            unsafe { dealloc(self.ptr.as_ptr(), self.layout) };
        }
    }
}
