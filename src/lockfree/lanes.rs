//! Indices handed to one owner without a read-modify-write: a ring for each thread that brings some.
//!
//! ```text
//!  thread 1 ── store ─▶ [ ring ] ─┐
//!  thread 2 ── store ─▶ [ ring ] ─┼─▶ the owner, as long as it is awake
//!  thread 9 ── no ring left ──────┴─▶ (an [inbox](super::inbox))
//! ```
//!
//! A thread that brings an index puts it into its own ring: the store of it publishes it. The owner looks into all of
//! them when it has nothing left; so an index is seen as soon as it is published, and none waits for a batch to fill. A
//! ring holds few; whoever finds it full, or finds none, takes the inbox instead.
//!
//! # What the cores pass to and fro
//!
//! ```text
//!  pushed, limit │ the producer's line: the owner reads it when it closes, and writes it once in half a ring
//!  ──────────────┼─────────────────────────────────────────────────────────────────────────────────────────────
//!  round, index  │ the slots' lines, sixteen in each: the producer writes, the owner reads
//! ```
//!
//! A slot says itself in which round of the ring it was written: in an even or an odd one, and more there is not to be
//! told. So an owner that waits for the next index looks at the line where it will stand, and at no other, and a
//! producer loses none but that one to it. Were there a counter for the owner beside the slots, two lines would go to
//! and fro.
//!
//! # Why the lanes are closed before the owner sleeps
//!
//! Nobody who brings an index this way looks whether the owner sleeps: after the publishing store the index, and what
//! it keeps alive, is no longer his. So an owner that is about to sleep, or to go, closes the lanes first. Afterwards
//! every index comes by the inbox, whose one word says both that something is there and that the owner sleeps.
//!
//! ```text
//!  producer:  pushed = odd;  light fence V1;  read limit: reached? then pushed = even, and the inbox
//!             slot = round, index: published;  pushed += 1, even again              (the last touch)
//!  owner:     limit = 0;     heavy fence V2;  read pushed: odd? then somebody is between the two, look again later
//! ```
//!
//! The two fences (`barrier`) leave two cases. Either the producer sees the limit of 0, and pushes
//! nothing; or the owner sees the odd number, or one after it. When all numbers are even the owner has seen every push
//! there was, and there will be none until it opens the lanes again.
//!
//! # Invariants
//! * **A1** A lane is claimed by one number for good, and one thread at a time has that number (`number`):
//!   so `pushed` has one writer.
//! * **A2** Index number `n` is written to slot `n % CAPACITY` once `limit` exceeds `2 n`, which it does once the owner
//!   has taken number `n - CAPACITY` from there. So what the owner finds when it looks for number `n` is of that round
//!   or of the round before, and the parity of the round tells which.
//! * **A3** After `close` has said `true` nobody is in a lane until `open`.
//!
//! # Source
//! L. Lamport's ring of one producer and one consumer (*Proving the Correctness of Multiprocess Programs*, 1977); the
//! closing is biased locking's revocation, with `membarrier` in place of a safepoint.

#![cfg_attr(forebay_loom, allow(clippy::modulo_one, reason = "loom explores one lane"))]

use std::ptr;

use super::{barrier, inbox::MAX_INDEX, number};
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, UnsafeCell};

/// Threads that may have a lane of one owner. Under loom one: more would be more to explore, and none to compete for.
const LANES: usize = if cfg!(forebay_loom) { 1 } else { 8 };
/// Indices in a lane.
const CAPACITY: u64 = if cfg!(forebay_loom) { 2 } else { 128 };
/// Of a lane that nobody has claimed: no thread's number.
const UNCLAIMED: u32 = u32::MAX - 1;

/// What the threads share. See the [module](self).
#[derive(Debug)]
pub(crate) struct Lanes {
    /// Null until they are first opened.
    block: AtomicPtr<Block>,
    /// A bit for each lane that has been claimed.
    claimed: AtomicU32,
}

/// Atomics alone, as far as a push is concerned, so it may be freed while a call that was given a reference to it
/// returns.
type Block = [Lane; LANES];

/// One producer's ring.
#[derive(Debug)]
struct Lane {
    mine: Producers,
    slots: [Slot; CAPACITY as usize],
}

/// What the producer has at hand. Two cache lines, for processors that fetch them in pairs.
#[derive(Debug)]
#[repr(align(128))]
struct Producers {
    /// Twice the number of indices pushed, ever; one more while the producer is at it. Written by the producer alone,
    /// and read by the owner when it closes.
    pushed: AtomicU64,
    /// Twice the number up to which it may push; 0 while closed. Written by the owner alone, and seldom.
    limit: AtomicU64,
    /// The number of the thread that has claimed it, written once.
    thread: AtomicU32,
    /// What loom sees of the memory's having been made: written before V7, read behind V8. Nothing in a real build.
    made: UnsafeCell<()>,
}

// SAFETY: all atomics, but for `made`, which has nothing in it, and which V7 and V8 hand from who makes the lanes to
// who looks at them.
unsafe impl Sync for Producers {}

/// An index, and in its highest bit whether it was written in an odd round of the ring: the owner has to tell a round
/// from the one before only.
type Slot = AtomicU32;

/// As if it were of an odd round, so that what round 0 writes is told from it.
const NEVER_WRITTEN: u32 = 1 << 31;

/// The highest bit of the slot that has index number `nth`.
#[inline]
fn round_of(nth: u64) -> u32 {
    ((nth / CAPACITY) as u32) << 31
}

/// The index that was pushed as number `nth`, if that is what was found in its slot.
#[inline]
fn index_if(slot: u32, nth: u64) -> Option<u32> {
    let index = slot ^ round_of(nth);
    (index <= MAX_INDEX).then_some(index)
}

/// What the owner alone knows.
#[derive(Debug)]
pub(crate) struct Owner {
    state: State,
    /// Indices taken from each lane, ever.
    taken: [u64; LANES],
    /// Half of each lane's limit, as last set.
    limit: [u64; LANES],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// The limits are 0, and somebody was still in a lane.
    Closing,
    Closed,
}

impl Lanes {
    /// Closed, and without memory for any.
    pub(crate) fn new() -> Self {
        Self { block: AtomicPtr::new(ptr::null_mut()), claimed: AtomicU32::new(0) }
    }

    /// Pushes `index` into the calling thread's lane, if it has one; `false` if not, or if that is full or closed.
    /// Wait-free.
    ///
    /// After a push the caller need not touch the lanes again, so they may be freed under its feet.
    #[inline]
    pub(crate) fn push(&self, index: u32) -> bool {
        let Some(block) = self.block() else { return false };
        let number = number::known();
        let lane = &block[number as usize % LANES];
        // Relaxed: written once, by who claims it; if that was we (or who had our number before, N1), we see it.
        lane.mine.thread.load(Ordering::Relaxed) == number && lane.push(index)
    }

    /// The same, and finds the thread a lane if it has none. Lock-free.
    #[cold]
    pub(crate) fn push_claiming(&self, index: u32) -> bool {
        self.block().and_then(|block| self.claim(block)).is_some_and(|lane| lane.push(index))
    }

    #[inline]
    fn block(&self) -> Option<&Block> {
        // ORDERING V8 Acquire, pairs with V7 in `open`: the lanes as they were made.
        let block = self.block.load(Ordering::Acquire);
        // SAFETY: V8, it was published whole, and stays until we are dropped.
        let block: &Block = unsafe { block.as_ref() }?;
        block.iter().for_each(|lane| lane.mine.made.with(|_| ()));
        Some(block)
    }

    /// The calling thread's lane, if the one that fits its number is its own or free.
    fn claim<'a>(&self, block: &'a Block) -> Option<&'a Lane> {
        let number = number::assigned();
        if number == number::NONE {
            return None;
        }
        let (nth, bit) = (number as usize % LANES, 1 << (number as usize % LANES));
        let lane = &block[nth];
        // Relaxed: others write their own bits. Which of several gets the lane is decided by the read-modify-write, and
        // V1 or V3 show the bit to the owner.
        let before = self.claimed.load(Ordering::Relaxed);
        if before & bit == 0 && self.claimed.fetch_or(bit, Ordering::Relaxed) & bit == 0 {
            lane.mine.thread.store(number, Ordering::Relaxed); // nobody else has the lane
        }
        // Relaxed: as in `push`.
        (lane.mine.thread.load(Ordering::Relaxed) == number).then_some(lane)
    }

    /// Opens the lanes; makes them if they are not there. `false` where that can't be. Owner only. Wait-free but for
    /// the allocator and the system the first time.
    #[cold]
    pub(crate) fn open(&self, owner: &mut Owner) -> bool {
        debug_assert_eq!(owner.state, State::Closed);
        if !barrier::available() {
            return false;
        }
        // Relaxed: the owner alone writes it.
        let mut block = self.block.load(Ordering::Relaxed);
        if block.is_null() {
            let lanes: Box<Block> = Box::new(std::array::from_fn(|_| Lane::new()));
            lanes.iter().for_each(|lane| lane.mine.made.with_mut(|_| ()));
            block = Box::into_raw(lanes);
            // ORDERING V7 Release, pairs with V8 in `block`.
            self.block.store(block, Ordering::Release);
        }
        // SAFETY: made above or before, and kept until we are dropped.
        let block = unsafe { &*block };
        for (nth, lane) in block.iter().enumerate() {
            owner.allow(nth, lane);
        }
        owner.state = State::Open;
        true
    }

    /// Takes what was pushed, of each lane in order. Owner only. Wait-free but for `each`.
    #[inline]
    pub(crate) fn take(&self, owner: &mut Owner, mut each: impl FnMut(u32)) {
        if owner.state == State::Closed {
            return;
        }
        // Relaxed: producers write. Who was ordered before us shows its bit, and of others nothing is promised.
        let mut claimed = self.claimed.load(Ordering::Relaxed);
        if claimed == 0 {
            return;
        }
        // SAFETY: not closed, so it was made, and is kept until we are dropped. (Relaxed: the owner alone writes it.)
        let block = unsafe { &*self.block.load(Ordering::Relaxed) };
        while claimed != 0 {
            let nth = claimed.trailing_zeros() as usize % LANES;
            claimed &= claimed - 1;
            let lane = &block[nth];
            let mut taken = owner.taken[nth];
            // ORDERING V4 Acquire, pairs with V3: what the producer did before with what the index names.
            while let Some(index) = index_if(lane.slot(taken).load(Ordering::Acquire), taken) {
                taken += 1;
                each(index);
            }
            owner.taken[nth] = taken;
            // Seldom, for it takes the producer's line away from it.
            if owner.state == State::Open && owner.limit[nth] - taken <= CAPACITY / 2 {
                owner.allow(nth, lane);
            }
        }
    }

    /// Closes the lanes, and takes what is there; `true` once nobody is in one any more (A3). Until then a thread was
    /// suspended in the middle of a push: call again. Owner only. Wait-free but for `each` and the system.
    #[inline(never)]
    pub(crate) fn close(&self, owner: &mut Owner, each: impl FnMut(u32)) -> bool {
        if owner.state == State::Closed {
            return true;
        }
        if owner.state == State::Open {
            // SAFETY: open, so it was made, and is kept until we are dropped. (Relaxed: the owner alone writes it.)
            let block = unsafe { &*self.block.load(Ordering::Relaxed) };
            for lane in block {
                lane.mine.limit.store(0, Ordering::Relaxed); // the owner alone writes; V2 orders it
            }
            // ORDERING V2 heavy fence, pairs with V1: who did not see the limits of 0 is seen in `pushed` and
            // `claimed`.
            barrier::heavy();
            owner.state = State::Closing;
        }
        let quiet = self.quiet();
        self.take(owner, each); // after the look: what a quiet lane's producer has pushed is there
        if quiet {
            owner.state = State::Closed;
        }
        quiet
    }

    /// Whether no producer is in a lane; if so all they have pushed is to be seen.
    fn quiet(&self) -> bool {
        // SAFETY: not closed, so it was made, and is kept until we are dropped. (Relaxed: the owner alone writes it.)
        let block = unsafe { &*self.block.load(Ordering::Relaxed) };
        // ORDERING V10 Acquire, pairs with V9: the slots, and that the producer's last touch is behind it.
        block.iter().all(|lane| lane.mine.pushed.load(Ordering::Acquire) & 1 == 0)
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        let block = self.block.load(Ordering::Relaxed); // nobody else is left
        if !block.is_null() {
            // SAFETY: from `Box::into_raw` in `open`, and nobody is in a lane any more.
            drop(unsafe { Box::from_raw(block) });
        }
    }
}

impl Lane {
    fn new() -> Self {
        Self {
            mine: Producers {
                pushed: AtomicU64::new(0),
                limit: AtomicU64::new(0),
                thread: AtomicU32::new(UNCLAIMED),
                made: UnsafeCell::new(()),
            },
            slots: std::array::from_fn(|_| Slot::new(NEVER_WRITTEN)),
        }
    }

    #[inline]
    fn slot(&self, nth: u64) -> &Slot {
        &self.slots[(nth % CAPACITY) as usize]
    }

    #[inline]
    fn push(&self, index: u32) -> bool {
        let Producers { pushed: counter, limit, .. } = &self.mine;
        // Relaxed: A1, we alone write it.
        let pushed = counter.load(Ordering::Relaxed);
        counter.store(pushed + 1, Ordering::Relaxed); // V1 orders it; the owner takes nothing by an odd number
        // ORDERING V1 light fence, pairs with V2: if we miss a limit of 0, the owner sees the odd number.
        barrier::light();
        // Relaxed: the owner writes it, after V4 has found the index that we are about to overwrite. Were that load to
        // find what V3 puts there, V3 would come before it, and so our look at the limit before the store of what it
        // read.
        if pushed >= limit.load(Ordering::Relaxed) {
            // Release, as V9, for earlier indices. Not modelled: the full fence that stands for the light one orders it
            // too.
            counter.store(pushed, Ordering::Release);
            return false;
        }
        let nth = pushed >> 1;
        // ORDERING V3 Release, pairs with V4 in `take`: all that this thread did with what the index names. Not
        // modelled: the full fence that stands for the light one orders it too.
        self.slot(nth).store(round_of(nth) | index, Ordering::Release);
        // ORDERING V9 Release, pairs with V10 in `quiet`: the slot. Our last touch.
        counter.store(pushed + 2, Ordering::Release);
        true
    }
}

impl Owner {
    /// Of lanes that are closed.
    pub(crate) fn new() -> Self {
        Self { state: State::Closed, taken: [0; LANES], limit: [0; LANES] }
    }

    /// Whether no index may come by the lanes, and none will.
    pub(crate) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Lets the lane's producer fill all that has been taken.
    fn allow(&mut self, nth: usize, lane: &Lane) {
        self.limit[nth] = self.taken[nth] + CAPACITY;
        // Relaxed: the owner alone writes it. V4 has found all that may be overwritten now; see `push`.
        lane.mine.limit.store(2 * self.limit[nth], Ordering::Relaxed);
    }
}

#[cfg(all(test, not(forebay_loom)))]
mod tests {
    use super::*;

    fn taken(lanes: &Lanes, owner: &mut Owner) -> Vec<u32> {
        let mut all = Vec::new();
        lanes.take(owner, |index| all.push(index));
        all
    }

    /// Lanes that are open. Where there is no `membarrier` they stay closed, and to take nothing is all they do.
    fn opened() -> Option<(Lanes, Owner)> {
        let (lanes, mut owner) = (Lanes::new(), Owner::new());
        assert!(!lanes.push_claiming(1), "never opened");
        let open = lanes.open(&mut owner);
        assert!(open || !lanes.push_claiming(1) && !barrier::available(), "only what is open takes any");
        open.then_some((lanes, owner))
    }

    #[test]
    fn closed_lanes_take_nothing_and_open_ones_keep_order() {
        let Some((lanes, mut owner)) = opened() else { return };
        assert!(lanes.push_claiming(1) && lanes.push(2));
        assert_eq!(taken(&lanes, &mut owner), [1, 2]);
        assert!(lanes.push(3));
        let mut last = Vec::new();
        assert!(lanes.close(&mut owner, |index| last.push(index)));
        assert_eq!(last, [3]);
        assert!(!lanes.push(4));
        assert!(lanes.open(&mut owner) && lanes.push(4), "it is still this thread's");
        assert_eq!(taken(&lanes, &mut owner), [4]);
    }

    #[test]
    fn a_full_lane_takes_no_more_until_it_is_emptied() {
        let Some((lanes, mut owner)) = opened() else { return };
        for round in 0..3 {
            let fit = (0..1000).take_while(|&index| lanes.push_claiming(index)).count();
            assert_eq!(fit, CAPACITY as usize, "round {round}");
            assert_eq!(taken(&lanes, &mut owner), (0..fit as u32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn many_threads_bring_while_the_owner_opens_and_closes() {
        let per_thread = if cfg!(miri) { 200 } else { 100_000_u32 };
        let Some((lanes, mut owner)) = opened() else { return };
        let mut seen = [0; 3];
        std::thread::scope(|scope| {
            let lanes = &lanes;
            for thread in 0..3 {
                scope.spawn(move || {
                    for n in 0..per_thread {
                        while !lanes.push_claiming(n * 3 + thread) {
                            std::thread::yield_now();
                        }
                    }
                });
            }
            let mut check = |index: u32| {
                let next = &mut seen[index as usize % 3];
                assert_eq!(index / 3, *next, "each thread's in order, and none twice");
                *next += 1;
            };
            let mut left = 3 * per_thread;
            let mut round = 0;
            while left > 0 {
                let mut count = |index| {
                    check(index);
                    left -= 1;
                };
                round += 1;
                if round % 64 == 0 {
                    while !lanes.close(&mut owner, &mut count) {
                        std::thread::yield_now();
                    }
                    assert!(lanes.open(&mut owner));
                } else {
                    lanes.take(&mut owner, count);
                }
            }
        });
    }
}
