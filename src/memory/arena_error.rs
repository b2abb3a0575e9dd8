//! Why an arena could not be built.

use std::io;

use super::mapping::MapError;

/// Why [`Arena::new`](super::Arena::new) refused.
///
/// The text says what was asked for and what to do, and the source what the system answered. Whatever had been set up
/// by then has been undone: no mapping is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArenaError {
    /// No segments were asked for. Ask for at least one.
    #[error("an arena of 0 segments was asked for; it needs at least 1")]
    NoSegments,
    /// The segments would not all begin at a page boundary. Take one of the sizes named.
    #[error(
        "a segment size of {segment_size} bytes is not a non-zero multiple of the page size, {page_size} bytes; \
         the nearest that is: {}",
        nearest(*smaller, *larger)
    )]
    SegmentSize {
        /// What was asked for, bytes.
        segment_size: usize,
        /// The system's page size, bytes.
        page_size: usize,
        /// The next valid size below, bytes, if there is one.
        smaller: Option<usize>,
        /// The next valid size above, bytes.
        larger: usize,
    },
    /// The segments are too large. Take more of them, each smaller.
    #[error("a segment size of {segment_size} bytes is over the limit of {limit} bytes; take more, smaller segments")]
    SegmentTooLarge {
        /// What was asked for, bytes.
        segment_size: usize,
        /// [`MAX_SEGMENT_SIZE`](super::MAX_SEGMENT_SIZE), bytes.
        limit: usize,
    },
    /// The product is over what a pointer can span, which takes a 32-bit machine. Take fewer segments or smaller ones.
    #[error(
        "{segments} segments of {segment_size} bytes are more than the {limit} bytes this machine can address at once; \
         take fewer or smaller segments",
        limit = isize::MAX
    )]
    TooLarge {
        /// How many were asked for.
        segments: u32,
        /// Of how many bytes each.
        segment_size: usize,
    },
    /// The system refused the mapping. Take fewer or smaller segments, or raise the limit the text names.
    #[error(transparent)]
    Map(#[from] MapError),
    /// The system refused huge pages. Leave [`huge_pages`](super::ArenaOptions::huge_pages) off, or run on a Linux
    /// whose `/sys/kernel/mm/transparent_hugepage/enabled` says `madvise` or `always`.
    #[error(
        "the system refused huge pages for {bytes} bytes (MADV_HUGEPAGE); leave `huge_pages` off, or use a kernel \
         with transparent huge pages (/sys/kernel/mm/transparent_hugepage/enabled)"
    )]
    HugePages {
        /// The size of the mapping, bytes.
        bytes: usize,
        /// What the system answered.
        source: io::Error,
    },
    /// The system can not leave the mapping out of core dumps. Leave
    /// [`exclude_from_core_dumps`](super::ArenaOptions::exclude_from_core_dumps) off, and turn core dumps off if the
    /// data must not reach a disk (`ulimit -c 0`).
    #[error(
        "the system refused to leave {bytes} bytes out of core dumps (MADV_DONTDUMP); leave \
         `exclude_from_core_dumps` off, and turn core dumps off if you must (`ulimit -c 0`)"
    )]
    CoreDumps {
        /// The size of the mapping, bytes.
        bytes: usize,
        /// What the system answered.
        source: io::Error,
    },
    /// The system refused to lock the mapping in RAM. Raise `RLIMIT_MEMLOCK`, or leave
    /// [`lock_in_ram`](super::ArenaOptions::lock_in_ram) off.
    #[error(
        "the system refused to lock {bytes} bytes in RAM (mlock); RLIMIT_MEMLOCK is {}: raise it (`ulimit -l`, \
         systemd's LimitMEMLOCK=) or grant CAP_IPC_LOCK, or leave `lock_in_ram` off",
        memlock(*limit)
    )]
    Lock {
        /// The size of the mapping, bytes.
        bytes: usize,
        /// The soft limit on locked memory of the process, bytes; `None` if there is none or it is not known.
        limit: Option<u64>,
        /// What the system answered.
        source: io::Error,
    },
    /// The system has not got the memory now. Take fewer or smaller segments, raise the cgroup's limit, or leave
    /// [`prefault`](super::ArenaOptions::prefault) off and meet the shortage later.
    #[error(
        "the system refused to prefault {bytes} bytes (MADV_POPULATE_WRITE); take fewer or smaller segments, \
         or free memory, or leave `prefault` off"
    )]
    Prefault {
        /// The size of the mapping, bytes.
        bytes: usize,
        /// What the system answered.
        source: io::Error,
    },
}

/// The valid sizes around a refused one, as a person reads them.
fn nearest(smaller: Option<usize>, larger: usize) -> String {
    smaller.map_or_else(|| larger.to_string(), |smaller| format!("{smaller} or {larger}"))
}

/// The limit on locked memory, as a person reads it.
fn memlock(limit: Option<u64>) -> String {
    limit.map_or_else(|| "unlimited or unknown".to_owned(), |bytes| format!("{bytes} bytes"))
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    /// Out of memory, as the system says it.
    fn no_memory() -> io::Error {
        io::Error::from_raw_os_error(libc::ENOMEM)
    }

    #[test]
    fn a_refused_lock_names_the_bytes_the_reason_the_limit_and_the_way_out() {
        let error = ArenaError::Lock { bytes: 1 << 20, limit: Some(65_536), source: no_memory() };
        let text = error.to_string();
        for part in ["1048576 bytes", "RLIMIT_MEMLOCK is 65536 bytes", "`ulimit -l`", "`lock_in_ram` off"] {
            assert!(text.contains(part), "{part:?} is missing: {text}");
        }
        let source = error.source().unwrap().downcast_ref::<io::Error>().unwrap();
        assert_eq!(source.raw_os_error(), Some(libc::ENOMEM));
        let text = ArenaError::Lock { bytes: 1, limit: None, source: no_memory() }.to_string();
        assert!(text.contains("RLIMIT_MEMLOCK is unlimited or unknown"), "{text}");
    }

    #[test]
    fn every_refusal_of_the_system_names_the_bytes_the_reason_and_the_option() {
        let bytes = 12_345;
        let errors = [
            (ArenaError::Map(MapError { bytes, source: no_memory() }), "`ulimit -v`"),
            (ArenaError::HugePages { bytes, source: no_memory() }, "leave `huge_pages` off"),
            (ArenaError::CoreDumps { bytes, source: no_memory() }, "leave `exclude_from_core_dumps` off"),
            (ArenaError::Prefault { bytes, source: no_memory() }, "leave `prefault` off"),
        ];
        for (error, way_out) in errors {
            let text = error.to_string();
            for part in ["12345 bytes", way_out] {
                assert!(text.contains(part), "{part:?} is missing: {text}");
            }
            assert_eq!(error.source().map(ToString::to_string), Some(no_memory().to_string()), "{text}");
        }
    }

    #[test]
    fn a_product_beyond_the_address_space_names_both_factors() {
        let text = ArenaError::TooLarge { segments: 9, segment_size: 4096 }.to_string();
        assert!(text.starts_with("9 segments of 4096 bytes are more than the "), "{text}");
    }
}
