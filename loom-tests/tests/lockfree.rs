//! The lock-free structures alone, through the doors in `forebay::models`: what each promises to whoever builds on it.
//!
//! What passes from thread to thread stands in relaxed atomics: only the structure under test can order it, and a load
//! that sees an old value is a missing edge.
#![cfg(forebay_loom)]

use std::task::{Wake, Waker};

use forebay::models::{Baton, Inbox, WakerCell, queue};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
};

mod common;
use common::Done;

/// 3 threads, 1 push each. The owner takes every index once, and sees what its pusher did before.
/// Mutants: I1 Release, I2, the link in `Inbox::link_and_swap`.
#[test]
fn what_is_pushed_is_taken_once_and_whole() {
    loom::model(|| {
        let shared = Arc::new((Inbox::new(2), [AtomicBool::new(false), AtomicBool::new(false)]));
        let pushed = Done::new();
        let pushers: Vec<_> = (0..2)
            .map(|index| {
                let (shared, pushed) = (shared.clone(), pushed.clone());
                thread::spawn(move || {
                    shared.1[index as usize].store(true, Relaxed);
                    assert_eq!(shared.0.push(index), Some(false), "nobody sleeps");
                    pushed.set();
                })
            })
            .collect();
        let (inbox, done) = &*shared;
        pushed.look();
        let early = inbox.take_all();
        assert!(early.iter().all(|&index| done[index as usize].load(Relaxed)));
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
        let mut all = [early, inbox.take_all()].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1]);
    });
}

/// 3 threads, 1 push each. One push that finds the owner parked wakes it, sees what it did before, and none does if it
/// did not park. Mutants: I1 Acquire, I4, parking over what has arrived.
#[test]
fn one_push_wakes_a_parked_owner() {
    loom::model(|| {
        let shared = Arc::new((Inbox::new(2), AtomicBool::new(false)));
        let pushers: Vec<_> = (0..2)
            .map(|index| {
                let shared = shared.clone();
                thread::spawn(move || {
                    let (inbox, registered) = &*shared;
                    // As `Home::bring`: quietly if possible.
                    let woken = index == 0 && !inbox.push_quietly(index) || index == 1;
                    let woken = woken && inbox.push(index) == Some(true);
                    assert!(!woken || registered.load(Relaxed), "the waker is there");
                    woken
                })
            })
            .collect();
        let (inbox, registered) = &*shared;
        registered.store(true, Relaxed);
        let parked = inbox.park();
        let woken = pushers.into_iter().map(|pusher| pusher.join().unwrap());
        assert_eq!(woken.filter(|&woken| woken).count(), usize::from(parked));
        assert_eq!(inbox.take_all().len(), 2);
    });
}

/// 2 threads: the owner parks, and parks again with a new waker. Who replaces PARKED after that sees the new one.
/// Mutant: I4 again.
#[test]
fn parking_again_publishes_the_new_waker() {
    loom::model(|| {
        let shared = Arc::new((Inbox::new(1), AtomicU32::new(1)));
        assert!(shared.0.park());
        let there = shared.clone();
        let pusher = thread::spawn(move || {
            assert_eq!(there.0.push(0), Some(true));
            there.1.load(Relaxed)
        });
        shared.1.store(2, Relaxed);
        let parked = shared.0.park();
        let seen = pusher.join().unwrap();
        assert!(!parked || seen == 2, "it woke a waker that was replaced");
        assert_eq!(shared.0.take_all(), [0]);
    });
}

/// 2 threads: an index is either in what closing took, with what its pusher did, or still its pusher's. Mutants: I3,
/// CLOSED ignored in `push`.
#[test]
fn a_push_meets_the_closing() {
    loom::model(|| {
        let shared = Arc::new((Inbox::new(1), AtomicBool::new(false)));
        let pusher = thread::spawn({
            let shared = shared.clone();
            move || {
                shared.1.store(true, Relaxed);
                shared.0.push(0).is_some()
            }
        });
        let (inbox, done) = &*shared;
        let taken = inbox.close();
        assert!(taken.is_empty() || done.load(Relaxed));
        assert_eq!(pusher.join().unwrap(), taken == [0]);
        assert_eq!(inbox.push(0), None);
    });
}

/// Unparks a thread until it is done: a late wake must not end a `join`, which loom takes for a park.
struct Unpark(thread::Thread, std::sync::atomic::AtomicBool);

impl Wake for Unpark {
    fn wake(self: std::sync::Arc<Self>) {
        if !self.1.load(Relaxed) {
            self.0.unpark();
        }
    }
}

/// Sleeps until `poll` says so. A wake-up that is lost is a deadlock, and loom says that.
fn block_on(mut poll: impl FnMut(&Waker) -> bool) {
    let unpark = std::sync::Arc::new(Unpark(thread::current(), false.into()));
    let waker = unpark.clone().into();
    for polls in 1.. {
        if poll(&waker) {
            break;
        }
        thread::park();
        if polls > 1 {
            thread::yield_now(); // somebody is in the middle of waking; the waiter would wake itself until that is done
        }
    }
    unpark.1.store(true, Relaxed);
}

/// Registers, then looks, as every wait does; the notifiers change the condition, then wake.
fn notified_by(notifiers: u32, wakes: u32) {
    loom::model(move || {
        let shared = Arc::new((WakerCell::new(), AtomicU32::new(0)));
        let notifiers: Vec<_> = (0..notifiers)
            .map(|_| {
                let shared = shared.clone();
                thread::spawn(move || {
                    for _ in 0..wakes {
                        shared.1.fetch_add(1, Relaxed);
                        shared.0.wake();
                    }
                })
            })
            .collect();
        let (cell, count) = &*shared;
        let all = notifiers.len() as u32 * wakes;
        block_on(|waker| {
            cell.register(waker);
            count.load(Relaxed) == all
        });
        notifiers.into_iter().for_each(|notifier| notifier.join().unwrap());
    });
}

/// 2 threads, 1 registration at least and 1 wake: no wake is lost, and the cell is touched by one thread at a time.
/// Mutants: K2, K3, K4, the mark that `register` finds.
#[test]
fn one_wake_is_not_lost() {
    notified_by(1, 1);
}

/// The same with 2 wakes. Mutant: K6.
#[test]
fn two_wakes_of_one_thread_are_not_lost() {
    notified_by(1, 2);
}

/// 3 threads: notifiers that meet each other as well. Mutants: K5, the own wake when somebody is waking.
#[test]
fn two_wakes_of_two_threads_are_not_lost() {
    notified_by(2, 1);
}

/// 2 threads: each has the value to itself, and finds it as the other has left it. Mutants: J1, J2, J4, J5, taking it
/// over who has asked.
#[test]
fn a_baton_is_held_by_one_and_put_back_for_who_has_asked() {
    loom::model(|| {
        let baton = Arc::new(Baton::new(0));
        let other = thread::spawn({
            let baton = baton.clone();
            move || (0..2).filter(|_| baton.try_with(|value| *value += 1).is_some()).count()
        });
        let mut turns = 0;
        block_on(|waker| {
            turns += usize::from(baton.poll_with(waker, |value| *value += 1).is_some());
            turns == 1
        });
        turns += other.join().unwrap();
        assert_eq!(baton.try_with(|value| *value), Some(turns));
    });
}

/// 2 threads, 1 turn each: the other's, in which the task begins, is over before, while or after that asks, and the
/// task comes to its own. (It begins there, rather than beside it, for to get so far would take one preemption of the
/// two.)
/// Mutants: the second look, the waker that is left, the waking of who has asked.
#[test]
fn a_task_that_asks_as_the_baton_is_put_back_gets_it() {
    loom::model(|| {
        let baton = Arc::new(Baton::new(()));
        let task = baton.try_with(|()| {
            let baton = baton.clone();
            thread::spawn(move || block_on(|waker| baton.poll_with(waker, |()| ()).is_some()))
        });
        task.unwrap().join().unwrap();
    });
}

/// The same, but the task asks once and is woken by nobody, for an unparking would order what it sees. Mutant: J3.
#[test]
fn a_task_that_finds_the_baton_put_back_sees_what_was_done() {
    loom::model(|| {
        let (baton, done) = (Arc::new(Baton::new(())), Arc::new(AtomicBool::new(false)));
        let task = baton.try_with(|()| {
            let (baton, seen) = (baton.clone(), done.clone());
            let task = thread::spawn(move || baton.poll_with(Waker::noop(), |()| seen.load(Relaxed)));
            done.store(true, Relaxed);
            task
        });
        let seen = task.unwrap().join().unwrap();
        assert_ne!(seen, Some(false));
        assert_eq!(baton.try_with(|()| ()).is_none(), seen.is_none(), "it is owed, or free");
        assert!(baton.poll_with(Waker::noop(), |()| ()).is_some());
    });
}

/// 2 threads: more elements than a block holds; in order, and whole. Mutants: Q-F, Q-G.
#[test]
fn a_queue_keeps_order() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue();
        (0..3).for_each(|n| producer.push(n));
        let adding = thread::spawn(move || (3..6).for_each(|n| producer.push(n)));
        let early: Vec<i32> = std::iter::from_fn(|| consumer.pop()).collect();
        adding.join().unwrap();
        let late = std::iter::from_fn(|| consumer.pop());
        assert_eq!(early.into_iter().chain(late).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    });
}

/// 2 threads: the consumer gives an empty block back while the producer needs one. Mutants: Q-S, Q-R, the reset of
/// `filled`.
#[test]
fn an_empty_block_is_used_again() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue();
        (0..7).for_each(|n| producer.push(n)); // one full block, and one with room for one
        let adding = thread::spawn(move || (7..10).for_each(|n| producer.push(n)));
        let mut all: Vec<i32> = std::iter::from_fn(|| consumer.pop()).collect();
        adding.join().unwrap();
        all.extend(std::iter::from_fn(|| consumer.pop()));
        assert_eq!(all, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    });
}

/// Either end goes first, with elements left and added: all are dropped. loom reports what is leaked. Mutant: the
/// elements in `Consumer`'s drop.
#[test]
fn a_queue_that_is_dropped_drops_its_elements() {
    loom::model(|| {
        let (mut producer, mut consumer) = queue();
        (0..4).for_each(|_| producer.push(Arc::new(())));
        let adding = thread::spawn(move || {
            producer.push(Arc::new(()));
            producer
        });
        drop(consumer.pop());
        let producer = adding.join().unwrap();
        let other = thread::spawn(move || drop(producer));
        drop(consumer);
        other.join().unwrap();
    });
}
