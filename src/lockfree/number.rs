//! A small number for each thread that asks for one, no two at a time alike.
//!
//! What is indexed by it needs no hashing, and a thread that comes after one that has ended takes over its number and
//! with it whatever was set up for it: [`Numbers`] orders the two.

use crate::sync::{AtomicU64, Ordering};

/// Not asked for yet.
#[cfg(not(forebay_loom))]
const UNKNOWN: u32 = 0;
/// This thread gets none: too many have one, or it is ending.
pub(crate) const NONE: u32 = u32::MAX;

const WORDS: usize = 4;
/// Numbers are 1 to this.
const MOST: usize = WORDS * 64;

/// The calling thread's number, or something that is no thread's. Wait-free: one load.
#[inline]
pub(crate) fn known() -> u32 {
    here::known()
}

/// The calling thread's number, [`NONE`] if there is none to be had. Lock-free.
#[cold]
pub(crate) fn assigned() -> u32 {
    here::assigned()
}

/// Which numbers are taken.
#[derive(Debug)]
pub(crate) struct Numbers {
    taken: [AtomicU64; WORDS],
}

impl Numbers {
    #[cfg(not(forebay_loom))]
    const fn new() -> Self {
        Self { taken: [const { AtomicU64::new(0) }; WORDS] }
    }

    #[cfg(forebay_loom)]
    pub(crate) fn new() -> Self {
        Self { taken: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// The lowest number that is free; [`NONE`] if all are taken. Lock-free.
    pub(crate) fn claim(&self) -> u32 {
        for (nth, word) in self.taken.iter().enumerate() {
            let mut taken = word.load(Ordering::Relaxed); // a guess; the CAS decides
            while taken != u64::MAX {
                let bit = taken.trailing_ones();
                // ORDERING N1 Acquire, pairs with N2: what the last thread of this number did with what belongs to it
                // is done. All changes are read-modify-writes, so its release sequence reaches us. Failure: Relaxed, a
                // guess.
                match word.compare_exchange_weak(taken, taken | 1 << bit, Ordering::Acquire, Ordering::Relaxed) {
                    Ok(_) => return nth as u32 * 64 + bit + 1,
                    Err(now) => taken = now,
                }
            }
        }
        NONE
    }

    /// Gives `number` back. Wait-free.
    pub(crate) fn release(&self, number: u32) {
        debug_assert!((1..=MOST as u32).contains(&number));
        let (word, bit) = ((number - 1) / 64, (number - 1) % 64);
        // ORDERING N2 Release, pairs with N1.
        self.taken[word as usize].fetch_and(!(1 << bit), Ordering::Release);
    }
}

#[cfg(not(forebay_loom))]
mod here {
    use std::cell::Cell;

    use super::{NONE, Numbers, UNKNOWN};

    static NUMBERS: Numbers = Numbers::new();

    thread_local! {
        /// Without a destructor, so that reading it is reading memory.
        static NUMBER: Cell<u32> = const { Cell::new(UNKNOWN) };
        static RETURNED: Returned = const { Returned };
    }

    /// Gives the number back when the thread ends.
    struct Returned;

    impl Drop for Returned {
        fn drop(&mut self) {
            let number = NUMBER.replace(NONE); // what is dropped after us does without
            if number != NONE {
                NUMBERS.release(number);
            }
        }
    }

    #[inline]
    pub(super) fn known() -> u32 {
        NUMBER.get()
    }

    pub(super) fn assigned() -> u32 {
        if NUMBER.get() == UNKNOWN {
            let number = NUMBERS.claim();
            NUMBER.set(number);
            if RETURNED.try_with(|_| ()).is_err() {
                drop(Returned); // the thread is ending already
            }
        }
        NUMBER.get()
    }
}

/// loom's threads share one thread of the system, and their atomics live in one execution. Each gets the next number.
#[cfg(forebay_loom)]
mod here {
    #![allow(clippy::disallowed_types, reason = "gives out numbers, and orders nothing")]

    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    loom::lazy_static! {
        static ref NEXT: AtomicU32 = AtomicU32::new(1);
    }
    loom::thread_local! {
        static NUMBER: u32 = NEXT.fetch_add(1, Relaxed);
    }

    pub(super) fn known() -> u32 {
        assigned()
    }

    pub(super) fn assigned() -> u32 {
        NUMBER.with(|number| *number)
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_free_number_is_given() {
        let numbers = Numbers::new();
        assert_eq!([1, 2, 3].map(|_| numbers.claim()), [1, 2, 3]);
        numbers.release(2);
        assert_eq!([1, 2].map(|_| numbers.claim()), [2, 4]);
    }

    #[test]
    fn when_all_are_taken_there_is_none() {
        let numbers = Numbers::new();
        assert!((1..=MOST as u32).all(|number| numbers.claim() == number));
        assert_eq!(numbers.claim(), NONE);
        numbers.release(MOST as u32);
        assert_eq!(numbers.claim(), MOST as u32);
    }

    #[test]
    fn threads_at_one_time_have_different_numbers() {
        let mine = assigned();
        assert_eq!((assigned(), known()), (mine, mine));
        let other = std::thread::spawn(assigned).join().unwrap();
        assert_ne!(other, mine);
    }
}
