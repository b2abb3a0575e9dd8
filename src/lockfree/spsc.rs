//! An unbounded queue from one thread to another, in small linked blocks of which one empty block is kept for reuse.
//!
//! ```text
//!  Consumer.block                         Producer.block
//!       │                                       │
//!       ▼                                       ▼
//!  [ taken taken T2 T3 ] ── next ──▶ [ T4 T5 .. .. ]          spare: [ .. .. .. .. ]
//! ```
//!
//! While the two ends stay within a block of each other, nothing is allocated: the block the consumer emptied is the
//! one the producer takes next. A queue holds no block before it is used; idle, it then holds one, and a spare.
//!
//! # Invariants
//! * **Q1** Slots below `filled` of a block are written and no longer touched by the producer; the others are no
//!   concern of the consumer's.
//! * **Q2** A block belongs to the producer until `next` is set, then to the consumer alone, until it is handed over
//!   through `spare`, empty and reset.
//! * **Q3** Blocks are freed by the consumer when it finds `spare` taken, and all that are left when both ends are
//!   gone.
//! * **Q4** An end that has no block yet stands as if the block before the first were used up: the producer's `filled`
//!   and the consumer's `taken` are `BLOCK`, and the next block is `first`.

use std::{fmt, mem::MaybeUninit, ptr, ptr::NonNull};

use crate::sync::{Arc, AtomicPtr, AtomicU32, Ordering, UnsafeCell};

/// Slots in a block: few, so that an idle channel is small.
const BLOCK: usize = 4;

struct Block<T> {
    next: AtomicPtr<Block<T>>,
    filled: AtomicU32,
    slots: [UnsafeCell<MaybeUninit<T>>; BLOCK],
}

impl<T> Block<T> {
    fn boxed() -> NonNull<Self> {
        let block = Box::new(Self {
            next: AtomicPtr::new(ptr::null_mut()),
            filled: AtomicU32::new(0),
            slots: std::array::from_fn(|_| UnsafeCell::new(MaybeUninit::uninit())),
        });
        NonNull::from(Box::leak(block))
    }
}

struct Shared<T> {
    spare: AtomicPtr<Block<T>>,
    /// The first block of all, set by the producer; and when the consumer is dropped, the block at which it stood.
    first: AtomicPtr<Block<T>>,
}

// SAFETY: the blocks carry `T`s from one thread to another and nothing else (Q1, Q2).
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above; both fields are atomics.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        let spare = self.spare.load(Ordering::Relaxed); // both ends are gone: nobody else writes
        if !spare.is_null() {
            // SAFETY: Q3; `spare` came from `Block::boxed` and is in no other place (Q2).
            drop(unsafe { Box::from_raw(spare) });
        }
        let mut rest = NonNull::new(self.first.load(Ordering::Relaxed)); // as above
        while let Some(block) = rest {
            // SAFETY: Q3; the consumer left its block here, or never came to one; the chain behind it is ours now.
            let block = unsafe { Box::from_raw(block.as_ptr()) };
            rest = NonNull::new(block.next.load(Ordering::Relaxed)); // as above
        }
    }
}

/// The end that adds. See the [module](self).
pub(crate) struct Producer<T> {
    shared: Arc<Shared<T>>,
    /// `None` before the first (Q4).
    block: Option<NonNull<Block<T>>>,
    filled: u8,
    /// Whatever its owner keeps here, where it costs nothing: beside this end it would be eight bytes.
    pub(crate) notes: [u8; 2],
    /// The same.
    pub(crate) noted: u32,
}

/// The end that takes. See the [module](self).
pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    /// `None` before the first (Q4).
    block: Option<NonNull<Block<T>>>,
    taken: u32,
    /// As much of `filled` as was seen; saves a look at the producer's line for each element.
    filled: u32,
}

// SAFETY: the end may move to another thread as `T` may; the protocol needs one thread at a time, which `&mut` gives.
unsafe impl<T: Send> Send for Producer<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Consumer<T> {}

/// An empty queue.
pub(crate) fn queue<T>() -> (Producer<T>, Consumer<T>) {
    let [spare, first] = [ptr::null_mut(); 2].map(AtomicPtr::new);
    let (shared, used_up) = (Arc::new(Shared { spare, first }), BLOCK as u8);
    let producer = Producer { shared: shared.clone(), block: None, filled: used_up, notes: [0; 2], noted: 0 };
    (producer, Consumer { shared, block: None, taken: used_up.into(), filled: used_up.into() })
}

impl<T> Producer<T> {
    /// # Panics
    /// Before the first (Q4).
    fn block(&self) -> &Block<T> {
        let block = self.block.expect("begun");
        // SAFETY: Q2, Q3: the last block of the chain is ours, so it is not freed while we are here.
        unsafe { block.as_ref() }
    }

    /// Adds `value` at the end. Wait-free but for the allocator, which is asked only while the consumer is behind.
    pub(crate) fn push(&mut self, value: T) {
        if self.filled as usize == BLOCK {
            // ORDERING Q-S Acquire, pairs with Q-R in `recycle`: the block is reset, and its slots are read out.
            let spare = self.shared.spare.swap(ptr::null_mut(), Ordering::Acquire);
            let block = NonNull::new(spare).unwrap_or_else(Block::boxed);
            // ORDERING Q-N Release, pairs with Q-M in `advance`: a new block's counters are initialised. (Its slots are
            // seen by Q-F.) Not modelled: loom does not see that an atomic is initialised. Miri does.
            let next = if self.block.is_some() { &self.block().next } else { &self.shared.first };
            next.store(block.as_ptr(), Ordering::Release);
            self.block = Some(block);
            self.filled = 0;
        }
        self.block().slots[self.filled as usize].with_mut(|slot| {
            // SAFETY: Q1, the slot is at `filled`, so it is the producer's and holds nothing.
            unsafe { (*slot).write(value) };
        });
        self.filled += 1;
        // ORDERING Q-F Release, pairs with Q-G in `advance`: the slot is written before it is counted.
        self.block().filled.store(self.filled.into(), Ordering::Release);
    }
}

impl<T> Consumer<T> {
    /// # Panics
    /// Before the first (Q4).
    fn block(&self) -> &Block<T> {
        let block = self.block.expect("begun");
        // SAFETY: Q2, Q3: our block is freed or handed over by us alone.
        unsafe { block.as_ref() }
    }

    /// Whether there is an element at the front now. Moves to the next block if this one is used up.
    fn advance(&mut self) -> bool {
        if self.taken as usize == BLOCK {
            let next = if self.block.is_some() { &self.block().next } else { &self.shared.first };
            // ORDERING Q-M Acquire, pairs with Q-N in `push`, and is not modelled either.
            let Some(next) = NonNull::new(next.load(Ordering::Acquire)) else { return false };
            let empty = self.block.replace(next);
            (self.taken, self.filled) = (0, 0);
            if let Some(empty) = empty {
                self.recycle(empty);
            }
        }
        if self.taken == self.filled {
            // ORDERING Q-G Acquire, pairs with Q-F in `push`: the slots below are written.
            self.filled = self.block().filled.load(Ordering::Acquire);
        }
        self.taken < self.filled
    }

    /// Offers an empty block to the producer.
    fn recycle(&self, empty: NonNull<Block<T>>) {
        {
            // SAFETY: Q2, the block has a successor, so it is the consumer's alone.
            let block = unsafe { empty.as_ref() };
            block.next.store(ptr::null_mut(), Ordering::Relaxed); // nobody else writes (Q2); published by Q-R
            block.filled.store(0, Ordering::Relaxed); // as above
        }
        // ORDERING Q-R Release, pairs with Q-S in `push`. Not Acquire: a block that comes out again is one that an
        // earlier `recycle` of this same consumer put there.
        let unused = self.shared.spare.swap(empty.as_ptr(), Ordering::Release);
        if !unused.is_null() {
            // SAFETY: Q3; taken out of `spare`, it is in no other place.
            drop(unsafe { Box::from_raw(unused) });
        }
    }

    /// The element at the front. Wait-free.
    pub(crate) fn front(&mut self) -> Option<&mut T> {
        if !self.advance() {
            return None;
        }
        let at = self.taken as usize;
        self.block().slots[at].with_mut(|slot| {
            // SAFETY: Q1, `taken < filled`, so the slot is written and ours; `&mut self` for as long as it is lent.
            let slot = unsafe { &mut *slot };
            // SAFETY: as above, it holds a value that was not taken yet.
            Some(unsafe { slot.assume_init_mut() })
        })
    }

    /// Shows the elements in the queue one after the other, from the front on, for as long as `each` returns true.
    /// Takes none. One step for each.
    pub(crate) fn look_through(&mut self, mut each: impl FnMut(&mut T) -> bool) {
        if !self.advance() {
            return;
        }
        let mut at = self.taken as usize;
        let mut block = self.block();
        loop {
            // ORDERING Q-G Acquire, as in `advance`.
            let filled = block.filled.load(Ordering::Acquire) as usize;
            while at < filled {
                let more = block.slots[at].with_mut(|slot| {
                    // SAFETY: Q1, `taken <= at < filled`, so the slot is written and ours; `&mut self` while it is
                    // lent.
                    let slot = unsafe { &mut *slot };
                    // SAFETY: as above, it holds a value that was not taken yet.
                    each(unsafe { slot.assume_init_mut() })
                });
                if !more {
                    return;
                }
                at += 1;
            }
            if at < BLOCK {
                return;
            }
            // ORDERING Q-M Acquire, pairs with Q-N in `push`, and is not modelled.
            let Some(next) = NonNull::new(block.next.load(Ordering::Acquire)) else { return };
            // SAFETY: Q2, Q3: the blocks behind ours are freed by us alone, and not while we borrow ourselves.
            block = unsafe { next.as_ref() };
            at = 0;
        }
    }

    /// Takes the element at the front. Wait-free.
    pub(crate) fn pop(&mut self) -> Option<T> {
        if !self.advance() {
            return None;
        }
        let at = self.taken as usize;
        self.taken += 1;
        self.block().slots[at].with_mut(|slot| {
            // SAFETY: Q1, the slot is written and ours.
            let slot = unsafe { &mut *slot };
            // SAFETY: as above, and with `taken` past it nobody reads it again.
            Some(unsafe { slot.assume_init_read() })
        })
    }
}

impl<T> Drop for Consumer<T> {
    fn drop(&mut self) {
        // The producer may add more afterwards, into blocks that `Shared` frees; what they carry is then leaked, so the
        // owner of the producer sees to it that it adds nothing once the consumer is gone (`channel`).
        while self.pop().is_some() {}
        if let Some(block) = self.block {
            // Relaxed: the producer wrote it before we came to our first block, and never again; read when both are
            // gone.
            self.shared.first.store(block.as_ptr(), Ordering::Relaxed);
        }
    }
}

impl<T> fmt::Debug for Producer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer").field("filled", &self.filled).finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Consumer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer").field("taken", &self.taken).finish_non_exhaustive()
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    #[test]
    fn elements_come_out_in_order_and_whole() {
        let (mut producer, mut consumer) = queue();
        let total = if cfg!(miri) { 200 } else { 100_000_u32 };
        let adding = std::thread::spawn(move || (0..total).for_each(|n| producer.push(Box::new(n))));
        for expected in 0..total {
            loop {
                if let Some(front) = consumer.front() {
                    assert_eq!(**front, expected);
                    assert_eq!(*consumer.pop().unwrap(), expected);
                    break;
                }
                std::thread::yield_now();
            }
        }
        adding.join().unwrap();
        assert!(consumer.pop().is_none());
    }

    #[test]
    fn what_is_looked_at_is_there_still() {
        let (mut producer, mut consumer) = queue();
        consumer.look_through(|_: &mut u32| unreachable!("there is none"));
        for taken in 0..3 * BLOCK as u32 {
            (0..10).for_each(|n| producer.push(10 * taken + n));
            for left in (0..10).rev() {
                let mut seen = Vec::new();
                consumer.look_through(|&mut n| {
                    seen.push(n);
                    seen.len() < 7
                });
                let expected: Vec<_> = (10 * taken + 9 - left..10 * taken + 10).take(7).collect();
                assert_eq!(seen, expected);
                assert_eq!(consumer.pop(), Some(10 * taken + 9 - left));
            }
        }
    }

    #[test]
    fn nothing_is_leaked_when_elements_are_left() {
        let value = std::sync::Arc::new(());
        let (mut producer, consumer) = queue();
        drop(consumer);
        producer.push(()); // into a first block that no consumer came to
        drop(producer);
        for left in 0..3 * BLOCK {
            let (mut producer, mut consumer) = queue();
            (0..left + 5).for_each(|_| producer.push(value.clone()));
            (0..5).for_each(|_| drop(consumer.pop()));
            drop((producer, consumer));
            assert_eq!(std::sync::Arc::strong_count(&value), 1);
        }
    }
}
