//! What the room's tests share.

use proptest::{prelude::*, strategy::Union};

use super::segment::MemorySegment;

/// How often a property is tried. Under Miri a step costs a thousand times as much.
pub(super) fn cases() -> ProptestConfig {
    let cases = if cfg!(miri) { 4 } else { 1024 };
    // A failure prints its smallest input, to be made a test of its own; nothing is written beside the source.
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Offsets and lengths of interest for segments of fewer than 64 bytes: inside, around the end, where sums overflow.
pub(super) fn offsets() -> impl Strategy<Value = usize> {
    let (inside, around) = ((0_usize..24).boxed(), (0_usize..72).boxed());
    let (overflowing, anywhere) = ((usize::MAX - 20..=usize::MAX).boxed(), any::<usize>().boxed());
    Union::new_weighted(vec![(8, inside), (4, around), (2, overflowing), (1, anywhere)])
}

/// The oracle for bounds, in arithmetic that cannot overflow.
pub(super) fn fits(bytes: &[u8], offset: usize, len: usize) -> bool {
    offset as u128 + len as u128 <= bytes.len() as u128
}

/// Runs `test` on a fresh segment of these bytes for each backing there is.
pub(super) fn on_each_backing(contents: &[u8], mut test: impl FnMut(&mut MemorySegment<'_>)) {
    let mut heap = MemorySegment::allocate(contents.len());
    heap.as_mut_slice().copy_from_slice(contents);
    test(&mut heap);

    let mut mapped = MemorySegment::map(contents.len()).expect("a mapping of a few bytes");
    mapped.as_mut_slice().copy_from_slice(contents);
    test(&mut mapped);

    let mut bytes = contents.to_vec();
    test(&mut MemorySegment::wrap(&mut bytes));
}
