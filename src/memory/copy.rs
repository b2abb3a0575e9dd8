//! Copying bytes at one speed, wherever they lie and whenever they were written.
//!
//! **Just written.** A load that reaches over the bytes of a store that is still under way waits until that and all
//! stores before it are in the cache. `memcpy` loads 16 to 64 bytes at once, and what begins a record (a number, a key,
//! a timestamp) is often written just before the record is; so each record would wait for what was written of the one
//! before. Eight bytes loaded by themselves come straight from the store: with 64 bytes in each record, 10 ns for one
//! in place of 16.
//!
//! **Short.** The call of a `memcpy` that learns the length at run time takes as long as all else that a record of 8
//! bytes needs. Most lengths up to 72 bytes are copied by a few loads and stores that overlap, without one.
//!
//! **Long.** For long copies the system's `memcpy` uses the processor's own (`rep movsb`), and on some processors that
//! is 13 times as slow where the target begins a few bytes behind the source, counted within their pages: each load is
//! then taken to depend on the store before it. Segments begin with a page, and what is copied to and from them begins
//! a few bytes off one, by chance or by the four bytes of a length; so it is no rare case. Copies that are short enough
//! `memcpy` makes by plain loads and stores.
//!
//! # Source
//! glibc's bugs 30994 and 30995, *REP MOVSB performance suffers from page aliasing on Zen 4*.

/// Bytes that are copied by one call: fewer than where any `memcpy` of glibc's begins to use the processor's.
const PART: usize = 2048 - 64;

/// Bytes at the beginning that are loaded by themselves.
const HEAD: usize = 8;

/// Copies `src` to `dst`, which are of one length. Wait-free.
///
/// # Panics
/// If they are not.
#[inline]
pub(crate) fn copy(dst: &mut [u8], src: &[u8]) {
    assert_eq!(dst.len(), src.len(), "copied as a whole");
    if src.len() < HEAD {
        return dst.copy_from_slice(src);
    }
    if ends::<HEAD>(dst, src) {
        return;
    }
    let (dst_head, dst) = dst.split_at_mut(HEAD);
    let (src_head, src) = src.split_at(HEAD);
    dst_head.copy_from_slice(src_head);
    if ends::<HEAD>(dst, src) || ends::<16>(dst, src) || ends::<32>(dst, src) {
        return;
    }
    if src.len() > PART { copy_long(dst, src) } else { dst.copy_from_slice(src) }
}

/// Copies the first and the last `N` bytes, if that is all; `false` if not.
#[inline]
fn ends<const N: usize>(dst: &mut [u8], src: &[u8]) -> bool {
    if src.len() > 2 * N {
        return false;
    }
    let (Some(first), Some(last)) = (src.first_chunk::<N>(), src.last_chunk::<N>()) else { return false };
    let (first, last) = (*first, *last);
    if let Some(dst) = dst.first_chunk_mut() {
        *dst = first;
    }
    if let Some(dst) = dst.last_chunk_mut() {
        *dst = last;
    }
    true
}

/// Appends `src` to `dst`, which has room for it, in parts as [`copy`] does.
pub(crate) fn append(dst: &mut Vec<u8>, src: &[u8]) {
    src.chunks(PART).for_each(|part| dst.extend_from_slice(part));
}

#[inline(never)]
fn copy_long(dst: &mut [u8], src: &[u8]) {
    dst.chunks_mut(PART).zip(src.chunks(PART)).for_each(|(dst, src)| dst.copy_from_slice(src));
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn however_long_all_is_copied_and_nothing_else() {
        let src: Vec<u8> = (0..3 * PART).map(|n| (n % 251) as u8 | 1).collect();
        let lengths = (0..100).chain([PART, PART + HEAD, PART + HEAD + 1, 2 * PART, 3 * PART - 9]);
        for len in lengths {
            let mut dst = vec![0; 3 * PART];
            copy(&mut dst[4..4 + len], &src[..len]);
            assert_eq!(dst[4..4 + len], src[..len]);
            assert!(dst[..4].iter().chain(&dst[4 + len..]).all(|&byte| byte == 0), "{len} bytes");
            let mut appended = vec![7];
            append(&mut appended, &src[..len]);
            assert_eq!(appended[1..], src[..len]);
        }
    }
}
