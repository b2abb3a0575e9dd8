//! The lanes alone, through the doors in `forebay::models`: indices that come to an owner without a read-modify-write.
//!
//! As in `lockfree.rs`, what passes from thread to thread stands in relaxed atomics. In loom builds there is one lane
//! of two places.
#![cfg(forebay_loom)]

use forebay::models::{Lanes, Numbers};
use loom::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    thread,
};

mod common;
use common::Done;

/// 2 threads, 2 pushes. The owner takes them in order, and sees what their producer did before.
/// Mutants: V4.
#[test]
fn what_is_pushed_is_taken_in_order_and_whole() {
    loom::model(|| {
        let (lanes, mut owner) = Lanes::open();
        let shared = Arc::new((lanes, AtomicU32::new(0)));
        let pushed = Done::new();
        let producer = thread::spawn({
            let (shared, pushed) = (shared.clone(), pushed.clone());
            move || {
                for index in 0..2 {
                    shared.1.store(index + 1, Relaxed);
                    assert!(shared.0.push(index), "there is room for two");
                }
                pushed.set();
            }
        });
        let (lanes, done) = &*shared;
        pushed.look();
        let early = lanes.take(&mut owner);
        assert!(done.load(Relaxed) >= early.len() as u32);
        producer.join().unwrap();
        assert_eq!([early, lanes.take(&mut owner)].concat(), [0, 1]);
    });
}

/// 2 threads, 3 pushes into 2 places. A place is written again only after the owner has read it.
/// Mutants: the limit, the round.
#[test]
fn a_place_is_used_again_when_it_has_been_read() {
    loom::model(|| {
        let (lanes, mut owner) = Lanes::open();
        let lanes = Arc::new(lanes);
        assert!(lanes.push(0) && lanes.push(1), "there is room for two");
        let reader = thread::spawn({
            let lanes = lanes.clone();
            move || (lanes.take(&mut owner), owner)
        });
        let third = lanes.push(2);
        let (early, mut owner) = reader.join().unwrap();
        let late = lanes.take(&mut owner);
        assert_eq!([early, late].concat(), if third { vec![0, 1, 2] } else { vec![0, 1] });
    });
}

/// 2 threads: a push meets the closing. Once the lanes are closed, the index is either taken or still its producer's.
/// Mutants: V1, V2, the odd number overlooked, V9, V10.
#[test]
fn no_push_comes_after_the_closing() {
    loom::model(|| {
        let (lanes, mut owner) = Lanes::open();
        let lanes = Arc::new(lanes);
        let producer = thread::spawn({
            let lanes = lanes.clone();
            move || lanes.push(0)
        });
        let (closed, mut taken) = lanes.close(&mut owner);
        if !closed {
            let pushed = producer.join().unwrap();
            let (closed, late) = lanes.close(&mut owner);
            taken.extend(late);
            assert!(closed, "nobody is in a lane");
            assert_eq!(taken == [0], pushed);
            return;
        }
        let pushed = producer.join().unwrap();
        assert_eq!(taken == [0], pushed);
        lanes.open_again(&mut owner);
        assert!(lanes.take(&mut owner).is_empty(), "it came after the closing");
    });
}

/// 2 threads: a push meets the making of the lanes. Mutants: V7, V8.
#[test]
fn lanes_that_are_seen_are_seen_whole() {
    loom::model(|| {
        let (lanes, mut owner) = Lanes::closed();
        let lanes = Arc::new(lanes);
        let producer = thread::spawn({
            let lanes = lanes.clone();
            move || lanes.push(0)
        });
        lanes.open_again(&mut owner);
        let pushed = producer.join().unwrap();
        assert_eq!(lanes.take(&mut owner) == [0], pushed);
    });
}

/// 3 threads, 1 lane: one of two gets it, and the other is told. Mutants: the claim.
#[test]
fn a_lane_has_one_producer() {
    loom::model(|| {
        let (lanes, mut owner) = Lanes::open();
        let lanes = Arc::new(lanes);
        let producers: Vec<_> = (0..2)
            .map(|index| {
                let lanes = lanes.clone();
                thread::spawn(move || lanes.push(index).then_some(index))
            })
            .collect();
        let pushed: Vec<_> = producers.into_iter().filter_map(|producer| producer.join().unwrap()).collect();
        assert_eq!(pushed.len(), 1);
        assert_eq!(lanes.take(&mut owner), pushed);
    });
}

/// 2 threads, one after the other under one number: the second sees what the first did with it. Mutants: N1, N2.
#[test]
fn who_inherits_a_number_sees_what_was_done_with_it() {
    loom::model(|| {
        let shared = Arc::new((Numbers::new(), AtomicBool::new(false)));
        let first = shared.0.claim();
        assert_eq!(first, 1);
        let other = thread::spawn({
            let shared = shared.clone();
            move || {
                let number = shared.0.claim();
                assert!(number != 1 || shared.1.load(Relaxed));
                number
            }
        });
        shared.1.store(true, Relaxed);
        shared.0.release(first);
        assert!([1, 2].contains(&other.join().unwrap()));
    });
}
