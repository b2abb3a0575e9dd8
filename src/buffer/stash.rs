//! The free segments of one owner: a stack in plain memory, last in, first out.
//!
//! ```text
//!   ┌──────┬─────┬─────┬─────┬ ─ ─ ┬ ─ ─ ┐
//!   │ none │  3  │  0  │  7  │           │
//!   └──────┴─────┴─────┴─────┴ ─ ─ ┴ ─ ─ ┘
//!                             ▲ top        capacity
//! ```
//!
//! It is what a request takes from and what an owner gives back to, so every instruction counts. Below the first
//! segment stands a place with none in it: taking reads the place below `top`, and what it finds there is the answer,
//! be there a segment or not. Adding compares nothing: there is room, and whoever adds answers for that.
//!
//! # Invariants
//! * **P1** `base` begins `capacity + 1` initialised places, the first of them `None` and those from there to `top`
//!   `Some`; `top` is one of them, but the first, or one past the last.
//! * **P2** A segment that is here is free and named by its place alone (H2).
//!
//! # Source
//! DPDK's per-lcore mempool cache.

use std::{ptr, ptr::NonNull};

use super::table::Header;

type Place = Option<NonNull<Header>>;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Stash {
    /// The place above the segment that is taken next.
    top: NonNull<Place>,
    base: NonNull<Place>,
    capacity: usize,
}

impl Stash {
    /// An empty one with room for `capacity`.
    pub(super) fn with_capacity(capacity: usize) -> Self {
        let places: Box<[Place]> = vec![None; capacity + 1].into();
        let base = NonNull::from(Box::leak(places)).cast();
        // SAFETY: there is one place at least, so this is in or one past its allocation.
        Self { top: unsafe { base.add(1) }, base, capacity }
    }

    /// Segments that are here.
    #[inline]
    pub(super) fn len(&self) -> usize {
        // SAFETY: P1, both point into one allocation, `top` behind `base`.
        let places = unsafe { self.top.offset_from(self.base) };
        places as usize - 1
    }

    /// Makes room for `capacity` segments, if there is less.
    pub(super) fn grow(&mut self, capacity: usize) {
        if capacity > self.capacity {
            let mut larger = Self::with_capacity(capacity.max(2 * self.capacity));
            // SAFETY: P1, so many are there, and as many fit, for the other is larger; the two are different
            // allocations.
            unsafe { ptr::copy_nonoverlapping(self.base.as_ptr(), larger.base.as_ptr(), self.len() + 1) };
            // SAFETY: P1, inside of the larger one.
            larger.top = unsafe { larger.base.add(self.len() + 1) };
            *self = larger;
        }
    }

    /// Takes the segment that was added last. Wait-free.
    #[inline]
    pub(super) fn pop(&mut self) -> Place {
        // SAFETY: P1, `top` is not the first place.
        let below = unsafe { self.top.sub(1) };
        // SAFETY: P1, it is initialised.
        let segment = unsafe { below.read() };
        if segment.is_some() {
            self.top = below;
        }
        segment
    }

    /// Adds a segment. Wait-free.
    ///
    /// # Safety
    /// There is room: [`len`](Self::len) is below what it was made, or has grown, for.
    #[inline]
    pub(super) unsafe fn push(&mut self, segment: NonNull<Header>) {
        debug_assert!(self.len() < self.capacity, "L3: there is room for all own segments");
        // SAFETY: the caller's promise, `top` is inside.
        unsafe { self.top.write(Some(segment)) };
        // SAFETY: as above, so this is inside or one past the end.
        self.top = unsafe { self.top.add(1) };
    }

    /// Adds all `segments`, the last of them on top, if `foreign` says 0 of each and there is room; else adds none, and
    /// says `false`. Wait-free.
    ///
    /// One pass without a branch for each: they are written above `top` before it is known whether they are to stay.
    #[inline]
    pub(super) fn push_all(
        &mut self,
        segments: impl ExactSizeIterator<Item = NonNull<Header>>,
        foreign: impl Fn(NonNull<Header>) -> usize,
    ) -> bool {
        let count = segments.len();
        if count > self.capacity - self.len() {
            return false;
        }
        // SAFETY: P1, so many places are above `top`, and ours by `&mut self`.
        let places = unsafe { std::slice::from_raw_parts_mut(self.top.as_ptr(), count) };
        let different = places.iter_mut().zip(segments).fold(0, |different, (place, segment)| {
            *place = Some(segment);
            different | foreign(segment)
        });
        if different != 0 {
            return false;
        }
        // SAFETY: as above, so this is inside or one past the end.
        self.top = unsafe { self.top.add(count) };
        true
    }

    /// The `count` segments that were added last, oldest of them first, if there are as many. They are to be copied out
    /// before anything else is done: they are not here any more.
    #[inline]
    pub(super) fn pop_many(&mut self, count: usize) -> Option<&[Place]> {
        if count > self.len() {
            return None;
        }
        // SAFETY: P1, behind the first place.
        self.top = unsafe { self.top.sub(count) };
        // SAFETY: P1, they are initialised, and `&mut self` is borrowed as long as they are looked at.
        Some(unsafe { std::slice::from_raw_parts(self.top.as_ptr(), count) })
    }

    /// Turns the order of all but the `below` lowest around.
    pub(super) fn reverse_above(&mut self, below: usize) {
        let count = self.len().checked_sub(below).expect("as many as were there before");
        // SAFETY: P1, `count <= len`.
        let first = unsafe { self.top.sub(count) };
        // SAFETY: P1, they are initialised, and ours by `&mut self`.
        unsafe { std::slice::from_raw_parts_mut(first.as_ptr(), count) }.reverse();
    }
}

impl Drop for Stash {
    fn drop(&mut self) {
        let places = ptr::slice_from_raw_parts_mut(self.base.as_ptr(), self.capacity + 1);
        // SAFETY: P1, from `Box::leak` of as many in `with_capacity`.
        drop(unsafe { Box::from_raw(places) });
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    /// Never followed, so any address will do.
    fn segment(n: usize) -> NonNull<Header> {
        NonNull::new(ptr::without_provenance_mut(64 * n)).expect("not null")
    }

    fn push(stash: &mut Stash, n: usize) {
        assert!(stash.len() < stash.capacity);
        // SAFETY: there is room.
        unsafe { stash.push(segment(n)) };
    }

    #[test]
    fn the_last_one_in_is_the_first_one_out() {
        let mut stash = Stash::with_capacity(3);
        assert_eq!(stash.pop(), None);
        (1..=3).for_each(|n| push(&mut stash, n));
        assert_eq!((stash.len(), stash.pop()), (3, Some(segment(3))));
        push(&mut stash, 4);
        assert_eq!([(); 4].map(|()| stash.pop()), [Some(segment(4)), Some(segment(2)), Some(segment(1)), None]);
        assert_eq!((stash.len(), stash.pop()), (0, None));
    }

    #[test]
    fn several_are_taken_as_they_were_added_or_none() {
        let mut stash = Stash::with_capacity(4);
        (1..=4).for_each(|n| push(&mut stash, n));
        assert_eq!(stash.pop_many(5), None);
        assert_eq!(stash.pop_many(3), Some(&[2, 3, 4].map(|n| Some(segment(n)))[..]));
        assert_eq!(stash.pop_many(0), Some(&[][..]));
        let add = |stash: &mut Stash, ns: &[usize], foreign: usize| {
            stash.push_all(ns.iter().map(|&n| segment(n)), |one| usize::from(one == segment(foreign)))
        };
        assert!(!add(&mut stash, &[5, 6], 5) && !add(&mut stash, &[5, 6, 7, 8], 9), "a foreign one, or no room");
        assert!(add(&mut stash, &[5, 6], 9));
        assert_eq!([(); 4].map(|()| stash.pop()), [Some(segment(6)), Some(segment(5)), Some(segment(1)), None]);
    }

    #[test]
    fn growing_keeps_what_is_there() {
        let mut stash = Stash::with_capacity(0);
        for n in 1..=9 {
            stash.grow(n);
            push(&mut stash, n);
        }
        stash.reverse_above(7);
        assert_eq!([(); 3].map(|()| stash.pop()), [8, 9, 7].map(|n| Some(segment(n))));
    }
}
