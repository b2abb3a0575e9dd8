//! A fence between two threads of which one pays nothing: all of the cost is with the other.
//!
//! ```text
//!  often:   x = 1;  light();  read y          seldom:   y = 1;  heavy();  read x
//! ```
//!
//! At least one of the two sees what the other stored, as with two `fence(SeqCst)`. The light half only keeps the
//! compiler from reordering; the heavy half has the kernel run a full fence on every processor that runs a thread of
//! this process (`membarrier`, Linux 4.14). So wherever the light half's thread was, its store is out before the heavy
//! half returns, or its read comes after it. Threads that do not run have passed a full fence when they were suspended.
//!
//! loom and Miri know nothing of the kernel's fence: there both halves are the `fence(SeqCst)` whose contract this is.
//! Where there is no `membarrier`, [`available`] says so, and nothing may be built on it.
//!
//! # Source
//! `membarrier(2)`; folly's `asymmetric_thread_fence`.

#[cfg(not(all(target_os = "linux", not(miri), not(forebay_loom))))]
pub(crate) use self::symmetric::*;
#[cfg(all(target_os = "linux", not(miri), not(forebay_loom)))]
pub(crate) use self::with_membarrier::*;

#[cfg(all(target_os = "linux", not(miri), not(forebay_loom)))]
mod with_membarrier {
    use std::sync::{
        OnceLock,
        atomic::{Ordering, compiler_fence},
    };

    const PRIVATE_EXPEDITED: libc::c_int = 1 << 3;
    const REGISTER_PRIVATE_EXPEDITED: libc::c_int = 1 << 4;

    /// The half that costs nothing.
    #[inline]
    pub(crate) fn light() {
        compiler_fence(Ordering::SeqCst);
    }

    /// The other half: a system call of less than a microsecond.
    ///
    /// # Panics
    /// If the kernel refuses although it said that it would not: a sandbox entered since. To go on would be unsound.
    pub(crate) fn heavy() {
        assert!(membarrier(PRIVATE_EXPEDITED), "membarrier is refused: enter the sandbox before pools are used");
        compiler_fence(Ordering::SeqCst);
    }

    /// Whether the pair orders anything. Asks the kernel once.
    pub(crate) fn available() -> bool {
        static REGISTERED: OnceLock<bool> = OnceLock::new();
        *REGISTERED.get_or_init(|| membarrier(REGISTER_PRIVATE_EXPEDITED) && membarrier(PRIVATE_EXPEDITED))
    }

    fn membarrier(command: libc::c_int) -> bool {
        // SAFETY: takes no pointer, and changes nothing but the order of accesses.
        unsafe { libc::syscall(libc::SYS_membarrier, command, 0, 0) == 0 }
    }
}

#[cfg(not(all(target_os = "linux", not(miri), not(forebay_loom))))]
#[allow(dead_code, reason = "elsewhere nothing is built on it")]
mod symmetric {
    use crate::sync::{Ordering, fence};

    /// See the module; here it is a full fence.
    #[inline]
    pub(crate) fn light() {
        fence(Ordering::SeqCst);
    }

    /// See the module; here it is a full fence.
    pub(crate) fn heavy() {
        fence(Ordering::SeqCst);
    }

    /// Only where the fences stand for those of Linux: elsewhere the light half would cost what it is to spare.
    pub(crate) fn available() -> bool {
        cfg!(any(miri, forebay_loom))
    }
}
