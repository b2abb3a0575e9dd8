//! Stores that pass by the cache, for bytes that another core reads next.
//!
//! An ordinary store to a line of which another core has a copy waits until that copy is given up, and one such store
//! waits for the other: 40 to 160 ns a line, measured between two cores of a virtual Zen 4, and no prefetching helps,
//! for the line *is* in the cache, only not alone. A line that is stored whole and past the cache needs nothing of it,
//! and the next is under way meanwhile: 11 ns.

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// Copies `src` to `dst`, which are of one length: whole lines past the cache, what is left at either end as usual.
/// Wait-free.
///
/// Such stores are not ordered by a Release: [`fence`] stands between them and the store that publishes them.
#[inline]
pub(crate) fn stream(dst: &mut [u8], src: &[u8]) {
    let head = dst.as_ptr().align_offset(LINE).min(dst.len());
    let (dst_head, dst) = dst.split_at_mut(head);
    let (src_head, src) = src.split_at(head);
    if !src_head.is_empty() {
        dst_head.copy_from_slice(src_head);
    }
    let whole = dst.len() / LINE * LINE;
    let (dst, dst_tail) = dst.split_at_mut(whole);
    let (src, src_tail) = src.split_at(whole);
    if !src_tail.is_empty() {
        dst_tail.copy_from_slice(src_tail);
    }
    lines(dst, src);
}

/// Of whole lines, `dst` at the beginning of one.
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[inline]
fn lines(dst: &mut [u8], src: &[u8]) {
    use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
    const PART: usize = size_of::<__m128i>();
    const PARTS: usize = LINE / PART;
    for (dst, src) in dst.chunks_exact_mut(LINE).zip(src.chunks_exact(LINE)) {
        debug_assert_eq!(dst.as_ptr().align_offset(LINE), 0, "the beginning of a line");
        let src: *const __m128i = src.as_ptr().cast();
        let dst: *mut __m128i = dst.as_mut_ptr().cast();
        for part in 0..PARTS {
            // SAFETY: a line has `PARTS` of them.
            let src = unsafe { src.add(part) };
            // SAFETY: `src` has as many bytes, at any address.
            let bytes = unsafe { _mm_loadu_si128(src) };
            // SAFETY: as above.
            let dst = unsafe { dst.add(part) };
            // SAFETY: `dst` has as many bytes, and begins at a multiple of them: a line does, and its parts are whole.
            unsafe { _mm_stream_si128(dst, bytes) };
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(miri))))]
fn lines(dst: &mut [u8], src: &[u8]) {
    dst.copy_from_slice(src);
}

/// Orders all that was [streamed](stream) before whatever is stored afterwards. Wait-free.
#[inline]
pub(crate) fn fence() {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: every x86-64 has it.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn wherever_it_begins_and_ends_all_is_copied_and_nothing_else() {
        let src: Vec<u8> = (0..4 * LINE).map(|n| n as u8 | 1).collect();
        let step = if cfg!(miri) { 17 } else { 1 };
        for from in (0..2 * LINE).step_by(step) {
            for len in (0..2 * LINE).step_by(step) {
                let mut dst = vec![0; 4 * LINE];
                stream(&mut dst[from..from + len], &src[3..3 + len]);
                fence();
                assert_eq!(dst[from..from + len], src[3..3 + len], "{len} bytes at {from}");
                assert!(dst[..from].iter().chain(&dst[from + len..]).all(|&byte| byte == 0), "{len} bytes at {from}");
            }
        }
    }
}
