//! One mapping for a whole pool, divided into segments that are named by number.

use std::{ops::Range, ptr::NonNull};

use super::{
    arena_error::ArenaError,
    mapping::{Mapping, memlock_limit, page_size},
};

/// How large a segment is unless one says otherwise, bytes: 32 KiB, as Flink's `taskmanager.memory.segment-size`.
pub const DEFAULT_SEGMENT_SIZE: usize = 32 << 10;

/// How large a segment may be, bytes: 1 GiB, so that a length within one fits 32 bits with bits to spare.
pub const MAX_SEGMENT_SIZE: usize = 1 << 30;

/// What an [`Arena`] is to be like.
///
/// # Examples
/// ```
/// use forebay::memory::ArenaOptions;
/// let mut options = ArenaOptions::new(1024); // 32 MiB
/// options.prefault = true;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
#[expect(clippy::struct_excessive_bools, reason = "four independent requests to the system, each on or off")]
pub struct ArenaOptions {
    /// How many segments; at least 1.
    pub segments: u32,
    /// How large each is, bytes: a non-zero multiple of [`page_size`], at most [`MAX_SEGMENT_SIZE`]. By default
    /// [`DEFAULT_SEGMENT_SIZE`]. (Under the loom cfg any size from 1 on: models use segments of 8 bytes.)
    pub segment_size: usize,
    /// Give every page its memory at once, so that no later access waits for the system or finds it short: makes
    /// [`Arena::new`] slower by about a second for 4 GiB.
    ///
    /// Linux says so if there is not enough (`MADV_POPULATE_WRITE`, since 5.14); elsewhere each page is written once,
    /// and a shortage ends the process, as it would have later.
    pub prefault: bool,
    /// Ask for transparent huge pages (`MADV_HUGEPAGE`): fewer TLB misses for pools of many megabytes. Linux only.
    ///
    /// The system takes it as a wish: that it was accepted does not mean there were huge pages to be had.
    pub huge_pages: bool,
    /// Leave the arena out of core dumps (`MADV_DONTDUMP`): they stay small, and free of data in flight. Linux only.
    pub exclude_from_core_dumps: bool,
    /// Keep the arena in RAM, never on swap (`mlock`). Prefaults it too. Counts towards `RLIMIT_MEMLOCK`. Unix only.
    pub lock_in_ram: bool,
}

impl ArenaOptions {
    /// So many segments of [`DEFAULT_SEGMENT_SIZE`], and no special requests.
    #[must_use]
    pub fn new(segments: u32) -> Self {
        Self {
            segments,
            segment_size: DEFAULT_SEGMENT_SIZE,
            prefault: false,
            huge_pages: false,
            exclude_from_core_dumps: false,
            lock_in_ram: false,
        }
    }

    /// The size of the whole arena, bytes, if the options make sense.
    fn checked_bytes(&self) -> Result<usize, ArenaError> {
        let Self { segments, segment_size, .. } = *self;
        if segments == 0 {
            return Err(ArenaError::NoSegments);
        }
        if segment_size > MAX_SEGMENT_SIZE {
            return Err(ArenaError::SegmentTooLarge { segment_size, limit: MAX_SEGMENT_SIZE });
        }
        let page_size = if cfg!(forebay_loom) { 1 } else { page_size() };
        if segment_size == 0 || !segment_size.is_multiple_of(page_size) {
            let below = segment_size / page_size * page_size;
            let smaller = (below > 0).then_some(below);
            return Err(ArenaError::SegmentSize { segment_size, page_size, smaller, larger: below + page_size });
        }
        usize::try_from(segments)
            .ok()
            .and_then(|segments| segments.checked_mul(segment_size))
            .filter(|&bytes| isize::try_from(bytes).is_ok())
            .ok_or(ArenaError::TooLarge { segments, segment_size })
    }
}

/// All the buffer memory of a pool: one anonymous mapping, divided into equal segments.
///
/// Segments are named by number, `0..segments`, begin at page boundaries and hold data alone: whatever is known about
/// one is kept elsewhere, so the mapping can be registered with a device as it is. Memory begins zeroed and is given
/// back to the system on drop. The arena does not know which segments are in use, nor does it touch them once built
/// (S5); it hands out addresses, and the floors above decide who may use them when.
///
/// # Examples
/// ```
/// use forebay::memory::{Arena, ArenaOptions};
/// let arena = Arena::new(&ArenaOptions::new(64))?;
/// assert_eq!((arena.segments(), arena.segment_size(), arena.bytes()), (64, 32 << 10, 2 << 20));
/// # Ok::<(), forebay::memory::ArenaError>(())
/// ```
///
/// # Source
/// Flink's `NetworkBufferPool` allocates each segment by itself; one mapping with index-named parts is DPDK's mempool.
#[derive(Debug)]
pub struct Arena {
    base: NonNull<u8>,
    segment_size: usize,
    segments: u32,
    /// Keeps `base` mapped (S1).
    _mapping: Mapping,
    /// One cell per byte: entered by `reads` and `writes`, so that loom sees accesses it could not see otherwise.
    #[cfg(forebay_loom)]
    cells: Vec<crate::sync::UnsafeCell<()>>,
}

// SAFETY: the mapping is owned by this value (S1) and not tied to a thread.
unsafe impl Send for Arena {}
// SAFETY: by shared reference the arena gives out addresses and numbers only and never looks at the bytes (S5); whoever
// follows an address answers for it. The cells under the loom cfg are `()` and check themselves.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps an arena and asks the system for whatever the options say, in this order: huge pages, core dumps, lock,
    /// prefault. So huge pages are asked for before any page is there, and a lock over the limit fails before it has
    /// cost anything.
    ///
    /// Blocking on the system calls; O(1) but for `prefault` and `lock_in_ram`, which visit every page. Under Miri and
    /// the loom cfg the memory is a heap block and those four requests are ignored.
    ///
    /// # Errors
    /// [`ArenaError`]: the options make no sense, or the system refused one of them; its text says what to do.
    ///
    /// # Examples
    /// ```
    /// use forebay::memory::{Arena, ArenaOptions};
    /// let mut options = ArenaOptions::new(16);
    /// options.segment_size = 100;
    /// let refused = Arena::new(&options).unwrap_err().to_string();
    /// assert!(refused.contains("not a non-zero multiple of the page size"));
    /// ```
    pub fn new(options: &ArenaOptions) -> Result<Self, ArenaError> {
        let bytes = options.checked_bytes()?;
        let mut mapping = Mapping::new(bytes)?; // each `?` below unmaps it again
        if options.huge_pages {
            mapping.advise_huge_pages().map_err(|source| ArenaError::HugePages { bytes, source })?;
        }
        if options.exclude_from_core_dumps {
            mapping.advise_no_dump().map_err(|source| ArenaError::CoreDumps { bytes, source })?;
        }
        if options.lock_in_ram {
            let refused = |source| ArenaError::Lock { bytes, limit: memlock_limit(), source };
            mapping.lock().map_err(refused)?;
        }
        if options.prefault {
            mapping.prefault().map_err(|source| ArenaError::Prefault { bytes, source })?;
        }
        Ok(Self {
            base: mapping.as_ptr(),
            segment_size: options.segment_size,
            segments: options.segments,
            _mapping: mapping,
            #[cfg(forebay_loom)]
            cells: (0..bytes).map(|_| crate::sync::UnsafeCell::new(())).collect(),
        })
    }

    /// How many segments there are. Never changes. Wait-free.
    #[must_use]
    #[inline]
    pub fn segments(&self) -> u32 {
        self.segments
    }

    /// How large each segment is, bytes. Never changes. Wait-free.
    #[must_use]
    #[inline]
    pub fn segment_size(&self) -> usize {
        self.segment_size
    }

    /// How large the whole arena is, bytes. Never changes. Wait-free.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> usize {
        self.segments as usize * self.segment_size // did not overflow in `new`, so it does not here
    }

    /// Where segment `segment` begins: [`segment_size`](Self::segment_size) initialised bytes (S2) that are mapped as
    /// long as the arena lives (S1) and part of no other segment (S5). Wait-free.
    ///
    /// # Panics
    /// If there is no such segment.
    #[inline]
    pub(crate) fn data(&self, segment: u32) -> NonNull<u8> {
        assert!(segment < self.segments, "segment {segment} of an arena of {}", self.segments);
        let offset = segment as usize * self.segment_size;
        // SAFETY: segment `segment` ends at or before the end of the mapping (S5), whose length fits an `isize` (S3),
        // and `base` stays mapped (S1).
        unsafe { self.base.add(offset) }
    }

    /// Tells loom that the caller now writes these bytes of a segment. Nothing in a real build.
    ///
    /// Call it just before the write. A read or write on another thread that no happens-before edge orders fails the
    /// model.
    #[inline]
    #[cfg_attr(not(forebay_loom), expect(clippy::unused_self, reason = "loom's part"))]
    pub(crate) fn writes(&self, segment: u32, range: Range<usize>) {
        #[cfg(forebay_loom)]
        for cell in self.cells_of(segment, range) {
            cell.with_mut(|_| ());
        }
        #[cfg(not(forebay_loom))]
        let _ = (segment, range);
    }

    /// Tells loom that the caller now reads these bytes of a segment. Nothing in a real build.
    ///
    /// Call it just before the read. A write on another thread that no happens-before edge orders fails the model.
    #[inline]
    #[cfg_attr(not(forebay_loom), expect(clippy::unused_self, reason = "loom's part"))]
    pub(crate) fn reads(&self, segment: u32, range: Range<usize>) {
        #[cfg(forebay_loom)]
        for cell in self.cells_of(segment, range) {
            cell.with(|_| ());
        }
        #[cfg(not(forebay_loom))]
        let _ = (segment, range);
    }

    /// The cells that stand for these bytes.
    #[cfg(forebay_loom)]
    fn cells_of(&self, segment: u32, range: Range<usize>) -> &[crate::sync::UnsafeCell<()>] {
        assert!(segment < self.segments, "segment {segment} of an arena of {}", self.segments);
        let begin = segment as usize * self.segment_size;
        &self.cells[begin..begin + self.segment_size][range]
    }
}

#[cfg(all(test, not(forebay_loom)))] // loom's cells exist inside a model only
mod tests {
    use std::error::Error as _;

    use super::*;

    /// Options for a small arena of one-page segments.
    fn pages(segments: u32) -> ArenaOptions {
        ArenaOptions { segment_size: page_size(), ..ArenaOptions::new(segments) }
    }

    /// A segment's bytes, for a test that is alone with its arena.
    fn bytes(arena: &mut Arena, segment: u32) -> &mut [u8] {
        let bytes = NonNull::slice_from_raw_parts(arena.data(segment), arena.segment_size());
        // SAFETY: initialised and mapped (S1, S2), and `&mut` on the arena keeps any other access away.
        unsafe { &mut *bytes.as_ptr() }
    }

    #[test]
    fn every_segment_begins_at_a_page_boundary() {
        let arena = Arena::new(&ArenaOptions::new(5)).unwrap();
        assert_eq!(arena.segment_size(), DEFAULT_SEGMENT_SIZE);
        for segment in 0..5 {
            assert_eq!(arena.data(segment).addr().get() % page_size(), 0);
        }
    }

    #[test]
    fn segments_begin_zeroed_and_do_not_overlap() {
        let mut arena = Arena::new(&pages(7)).unwrap();
        for segment in 0..7 {
            assert!(bytes(&mut arena, segment).iter().all(|&byte| byte == 0));
            bytes(&mut arena, segment).fill(segment as u8 + 1);
        }
        for segment in 0..7 {
            assert!(bytes(&mut arena, segment).iter().all(|&byte| byte == segment as u8 + 1));
        }
    }

    #[test]
    fn a_moved_arena_keeps_its_addresses() {
        let mut arena = Arena::new(&pages(2)).unwrap();
        bytes(&mut arena, 1)[0] = 42;
        let address = arena.data(1).addr();
        let mut moved = std::thread::spawn(move || Box::new(arena)).join().unwrap();
        assert_eq!(moved.data(1).addr(), address);
        assert_eq!(bytes(&mut moved, 1)[0], 42);
    }

    #[test]
    #[should_panic(expected = "segment 3 of an arena of 3")]
    fn a_segment_past_the_last_panics() {
        let _ = Arena::new(&pages(3)).unwrap().data(3);
    }

    #[test]
    fn no_segments_are_refused() {
        assert!(matches!(Arena::new(&ArenaOptions::new(0)), Err(ArenaError::NoSegments)));
    }

    #[test]
    fn a_size_off_the_page_grid_is_refused_with_its_neighbours() {
        let page = page_size();
        for (size, neighbours) in [
            (0, format!("{page}")),
            (1, format!("{page}")),
            (page + 1, format!("{page} or {}", 2 * page)),
            (3 * page - 1, format!("{} or {}", 2 * page, 3 * page)),
        ] {
            let error = Arena::new(&ArenaOptions { segment_size: size, ..ArenaOptions::new(1) }).unwrap_err();
            assert_eq!(
                error.to_string(),
                format!(
                    "a segment size of {size} bytes is not a non-zero multiple of the page size, {page} bytes; the \
                     nearest that is: {neighbours}"
                )
            );
        }
    }

    #[test]
    fn a_segment_over_one_gibibyte_is_refused() {
        let options = ArenaOptions { segment_size: MAX_SEGMENT_SIZE + page_size(), ..ArenaOptions::new(1) };
        assert!(matches!(Arena::new(&options), Err(ArenaError::SegmentTooLarge { limit: MAX_SEGMENT_SIZE, .. })));
        assert_eq!(ArenaOptions { segment_size: MAX_SEGMENT_SIZE, ..options }.checked_bytes().ok(), Some(1 << 30));
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    #[cfg_attr(miri, ignore = "the stand-in is the heap")]
    fn a_mapping_beyond_the_address_space_is_refused_with_its_size() {
        let options = ArenaOptions { segment_size: MAX_SEGMENT_SIZE, ..ArenaOptions::new(1 << 30) };
        let error = Arena::new(&options).unwrap_err();
        let (text, source) = (error.to_string(), error.source().unwrap().to_string());
        assert!(text.contains("map 1152921504606846976 bytes") && source.contains("os error"), "{text}: {source}");
        assert!(matches!(error, ArenaError::Map(refused) if refused.bytes == 1 << 60));
    }

    #[test]
    #[cfg(target_pointer_width = "32")]
    fn a_product_beyond_the_address_space_is_refused() {
        let options = ArenaOptions { segment_size: MAX_SEGMENT_SIZE, ..ArenaOptions::new(2) };
        assert!(matches!(Arena::new(&options), Err(ArenaError::TooLarge { segments: 2, .. })));
    }

    #[test]
    fn a_prefaulted_arena_is_zeroed() {
        let mut arena = Arena::new(&ArenaOptions { prefault: true, ..pages(9) }).unwrap();
        assert!((0..9).all(|segment| bytes(&mut arena, segment).iter().all(|&byte| byte == 0)));
    }

    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn a_prefaulted_arena_is_resident_before_it_is_used() {
        let arena = Arena::new(&ArenaOptions { prefault: true, ..pages(64) }).unwrap();
        let mut resident = [0_u8; 64];
        // SAFETY: `bytes()` mapped bytes begin at segment 0 (S1), and `resident` has one byte for each of their pages.
        let status =
            unsafe { libc::mincore(arena.data(0).as_ptr().cast(), arena.bytes(), resident.as_mut_ptr().cast()) };
        assert_eq!((status, resident.map(|page| page & 1)), (0, [1; 64]));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn each_option_is_honoured_or_refused_by_its_own_name() {
        let dumps = ArenaOptions { exclude_from_core_dumps: true, ..pages(4) };
        assert!(Arena::new(&dumps).is_ok(), "every Linux since 3.4 has it");
        // A kernel may be built without huge pages, and a container may not be allowed to lock a page.
        let huge = ArenaOptions { huge_pages: true, prefault: true, ..pages(1024) };
        assert!(matches!(Arena::new(&huge), Ok(_) | Err(ArenaError::HugePages { .. })));
        let locked = ArenaOptions { lock_in_ram: true, prefault: true, ..pages(4) };
        assert!(matches!(Arena::new(&locked), Ok(_) | Err(ArenaError::Lock { .. })));
    }

    /// The right to lock without limit belongs to a thread, so this one can give it up and be refused, root or not.
    #[test]
    #[cfg(all(target_os = "linux", not(miri)))]
    fn a_lock_over_the_limit_is_refused_and_names_the_limit() {
        /// The kernel's `__user_cap_header_struct`.
        #[repr(C)]
        struct Header {
            version: u32,
            pid: i32,
        }

        // A machine without a limit that can be exceeded gets one, above what any other test locks.
        const MOST: u64 = 1 << 29;
        let limit = memlock_limit().filter(|&limit| limit <= MOST).unwrap_or_else(|| {
            let lower = libc::rlimit { rlim_cur: MOST, rlim_max: MOST };
            // SAFETY: reads one `rlimit`, which lives here.
            let status = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const lower) };
            assert_eq!(status, 0, "every process may lower its limits");
            MOST
        });
        let refused = std::thread::spawn(move || {
            let header = Header { version: 0x2008_0522, pid: 0 };
            let none = [0_u32; 6];
            // SAFETY: version 3 of the call reads a header and twice three words of capabilities, which both live here.
            let status = unsafe { libc::syscall(libc::SYS_capset, &raw const header, none.as_ptr()) };
            assert_eq!(status, 0, "every thread may give up capabilities");
            let segments = u32::try_from(limit as usize / page_size() + 1).unwrap();
            Arena::new(&ArenaOptions { lock_in_ram: true, ..pages(segments) }).unwrap_err()
        });
        let error = refused.join().unwrap();
        let (text, source) = (error.to_string(), error.source().unwrap().to_string());
        let named = text.contains(&format!("RLIMIT_MEMLOCK is {limit} bytes"));
        assert!(named && source.contains("os error"), "{text}: {source}");
        assert!(matches!(error, ArenaError::Lock { limit: Some(named), .. } if named == limit));
    }
}

#[cfg(all(test, forebay_loom))]
mod models {
    use loom::thread;

    use super::*;
    use crate::sync::Arc;

    /// An arena of two segments of 8 bytes, as the models of the floors above use.
    fn arena() -> Arc<Arena> {
        Arc::new(Arena::new(&ArenaOptions { segment_size: 8, ..ArenaOptions::new(2) }).unwrap())
    }

    /// 2 threads, 1 access each. The hooks are only worth something if a race fails the model.
    #[test]
    #[should_panic(expected = "Causality violation")]
    fn an_unordered_write_and_read_of_one_byte_fail_the_model() {
        loom::model(|| {
            let arena = arena();
            let there = Arc::clone(&arena);
            let writer = thread::spawn(move || there.writes(1, 3..5));
            arena.reads(1, 4..8);
            writer.join().unwrap();
        });
    }

    /// 2 threads, 2 accesses each, of other bytes, other segments, or after a join.
    #[test]
    fn accesses_that_do_not_meet_or_are_ordered_pass_the_model() {
        loom::model(|| {
            let arena = arena();
            let there = Arc::clone(&arena);
            let writer = thread::spawn(move || {
                there.writes(1, 0..4);
                there.reads(0, 0..8);
            });
            arena.writes(1, 4..8);
            arena.reads(0, 0..8);
            writer.join().unwrap();
            arena.writes(1, 0..8);
        });
    }
}
