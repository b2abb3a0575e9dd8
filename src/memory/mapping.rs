//! The one place that maps memory: an anonymous private mapping, and what can be asked of the system about it.
//!
//! Under Miri and the loom cfg a heap block stands in for it, and advice is ignored.

use std::io;

#[cfg(any(miri, forebay_loom))]
pub(super) use self::stand_in::Mapping;
#[cfg(not(any(miri, forebay_loom)))]
pub(super) use self::system::Mapping;

/// The system refused an anonymous mapping.
///
/// It has no such span of addresses free, or its overcommit policy says it could never fill it. Ask for less, or raise
/// the limit: `RLIMIT_AS` (`ulimit -v`), the cgroup's memory, `vm.overcommit_memory` or `vm.max_map_count`.
#[derive(Debug, thiserror::Error)]
#[error(
    "the system refused to map {bytes} bytes of anonymous memory; ask for less, or raise the address-space \
     limit (`ulimit -v`) or vm.overcommit_memory"
)]
#[non_exhaustive]
pub struct MapError {
    /// What was asked for, bytes.
    pub bytes: usize,
    /// What the system answered.
    pub source: io::Error,
}

/// The size of a page of memory, bytes: what an arena's segments are aligned to and multiples of.
///
/// A power of two, the same for the life of the process; 4096 on x86-64, up to 65536 elsewhere. Huge pages do not
/// change it. Wait-free.
///
/// # Panics
/// If the system does not know its page size, which POSIX does not allow.
///
/// # Examples
/// ```
/// assert!(forebay::memory::page_size().is_power_of_two());
/// ```
#[must_use]
pub fn page_size() -> usize {
    #[cfg(unix)]
    {
        // SAFETY: `sysconf` reads a constant and touches no memory of ours.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).expect("POSIX: every system has a page size")
    }
    #[cfg(not(unix))]
    4096
}

/// How many bytes this process may lock in RAM (the soft `RLIMIT_MEMLOCK`); `None` for no limit, or none known.
pub(super) fn memlock_limit() -> Option<u64> {
    #[cfg(all(unix, not(miri)))]
    {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is a valid place to write one `rlimit` to.
        let status = unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
        (status == 0 && limit.rlim_cur != libc::RLIM_INFINITY).then_some(limit.rlim_cur)
    }
    #[cfg(any(not(unix), miri))]
    None
}

#[cfg(not(any(miri, forebay_loom)))]
mod system {
    use std::{hint::black_box, io, ptr::NonNull};

    use memmap2::MmapMut;

    use super::{MapError, page_size};

    /// An anonymous, private, zeroed mapping; unmapped on drop (S1, S2).
    #[derive(Debug)]
    pub(in crate::memory) struct Mapping {
        memory: MmapMut,
        /// Taken once, before anybody shares the memory, and good until drop.
        ptr: NonNull<u8>,
    }

    // SAFETY: a mapping belongs to the process, not to a thread, and this value owns it alone (S4).
    unsafe impl Send for Mapping {}
    // SAFETY: by shared reference it gives out an address and passes advice on; the kernel orders the latter.
    unsafe impl Sync for Mapping {}

    impl Mapping {
        pub(in crate::memory) fn new(bytes: usize) -> Result<Self, MapError> {
            let mut memory = MmapMut::map_anon(bytes).map_err(|source| MapError { bytes, source })?;
            let ptr = NonNull::new(memory.as_mut_ptr()).expect("a slice's pointer is never null");
            Ok(Self { memory, ptr })
        }

        pub(in crate::memory) fn as_ptr(&self) -> NonNull<u8> {
            self.ptr
        }

        /// Asks for transparent huge pages (`MADV_HUGEPAGE`).
        pub(in crate::memory) fn advise_huge_pages(&self) -> io::Result<()> {
            #[cfg(target_os = "linux")]
            return self.memory.advise(memmap2::Advice::HugePage);
            #[cfg(not(target_os = "linux"))]
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Leaves the mapping out of core dumps (`MADV_DONTDUMP`).
        pub(in crate::memory) fn advise_no_dump(&self) -> io::Result<()> {
            #[cfg(target_os = "linux")]
            return self.memory.advise(memmap2::Advice::DontDump);
            #[cfg(not(target_os = "linux"))]
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Keeps every page in RAM (`mlock`), which also brings it there.
        pub(in crate::memory) fn lock(&self) -> io::Result<()> {
            #[cfg(unix)]
            return self.memory.lock();
            #[cfg(not(unix))]
            Err(io::ErrorKind::Unsupported.into())
        }

        /// Gives every page its frame now (`MADV_POPULATE_WRITE`), so that a shortage shows here and not at first use.
        pub(in crate::memory) fn prefault(&mut self) -> io::Result<()> {
            #[cfg(target_os = "linux")]
            match self.memory.advise(memmap2::Advice::PopulateWrite) {
                // Linux before 5.14 does not know this advice.
                Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {}
                answer => return answer,
            }
            self.touch();
            Ok(())
        }

        /// Writes one byte of each page. The mapping is fresh and unshared, so the zeros change nothing.
        fn touch(&mut self) {
            for page in self.memory.chunks_mut(page_size()) {
                page[0] = black_box(0);
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn touched_pages_are_still_zero() {
            let mut mapping = Mapping::new(3 * page_size() + 1).unwrap();
            mapping.touch();
            assert!(mapping.memory.iter().all(|&byte| byte == 0));
        }
    }
}

#[cfg(any(miri, forebay_loom))]
mod stand_in {
    use std::{io, ptr::NonNull};

    use super::{MapError, page_size};
    use crate::memory::heap::HeapMemory;

    /// Zeroed heap memory at a multiple of the page size, in place of a mapping (S1, S2).
    #[derive(Debug)]
    pub(in crate::memory) struct Mapping(HeapMemory);

    #[allow(clippy::unnecessary_wraps, clippy::unused_self, reason = "the interface is the real mapping's")]
    impl Mapping {
        pub(in crate::memory) fn new(bytes: usize) -> Result<Self, MapError> {
            let memory = HeapMemory::zeroed(bytes, page_size());
            memory.map(Self).ok_or_else(|| MapError { bytes, source: io::ErrorKind::OutOfMemory.into() })
        }

        pub(in crate::memory) fn as_ptr(&self) -> NonNull<u8> {
            self.0.as_ptr()
        }

        pub(in crate::memory) fn advise_huge_pages(&self) -> io::Result<()> {
            Ok(())
        }

        pub(in crate::memory) fn advise_no_dump(&self) -> io::Result<()> {
            Ok(())
        }

        pub(in crate::memory) fn lock(&self) -> io::Result<()> {
            Ok(())
        }

        pub(in crate::memory) fn prefault(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
