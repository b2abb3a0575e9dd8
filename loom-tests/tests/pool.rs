//! Local pools: returns from other threads, waiting, borrowing, and pools that are dropped while segments are out.
#![cfg(forebay_loom)]

use forebay::pool::{LocalBufferPool, NetworkBufferPool};
use loom::thread;

mod common;
#[path = "common/pools.rs"]
mod pools;
use common::Done;
use pools::{network, own, written};

/// 3 threads, 2 segments: two return while the owner requests. Nothing is lost, nothing is lent twice, and what the
/// returners did with the bytes is done (M1). Mutant: I2.
#[test]
fn returns_from_two_threads_meet_the_owner() {
    loom::model(|| {
        let pool = network(2);
        let mut local = own(&pool, 2);
        let returned = Done::new();
        let returners: Vec<_> = (0..2)
            .map(|byte| {
                let (mut buffer, returned) = (written(&mut local, byte), returned.clone());
                thread::spawn(move || {
                    buffer[0] = 9;
                    drop(buffer);
                    returned.set();
                })
            })
            .collect();
        returned.look();
        if let Ok(mut early) = local.try_request() {
            early[0] = 1;
        }
        returners.into_iter().for_each(|returner| returner.join().unwrap());
        let all: Vec<_> = (0..2).map(|byte| written(&mut local, byte)).collect();
        assert!(local.try_request().is_err(), "two, not more");
        drop(all);
    });
}

/// The owner sleeps while its only segment comes home. It is woken, whatever the order (M4).
/// Mutants: the wake in `Home::bring`, PARKED ignored in `Inbox::push` and in `push_quietly`.
#[test]
fn a_waiting_owner_is_woken_by_a_return() {
    loom::model(|| {
        let pool = network(1);
        let mut local = own(&pool, 1);
        let mut buffer = written(&mut local, 1);
        let returner = thread::spawn(move || buffer[0] = 2);
        let mut again = local.request().unwrap();
        again[0] = 3;
        drop(again);
        returner.join().unwrap();
        assert!(local.try_request().is_ok());
    });
}

/// A pool waits for a segment of the surplus that another pool's buffer brings back (M4).
/// Mutants: F1, F2, the wake in `Core::put`, the second look in `poll_request`.
#[test]
fn a_waiting_borrower_is_woken_by_another_pools_return() {
    loom::model(|| {
        let pool = network(1);
        let mut lender = pool.local_pool("lender").maximum(1).build().unwrap();
        let mut waiter = pool.local_pool("waiter").maximum(1).build().unwrap();
        let mut buffer = written(&mut lender, 1);
        let returner = thread::spawn(move || buffer[0] = 2);
        let mut borrowed = waiter.request().unwrap();
        borrowed[0] = 3;
        returner.join().unwrap();
        drop(borrowed);
        assert_eq!(pool.usage().surplus, 1);
    });
}

/// Two pools reach for the one surplus segment at once: one gets it, and a failed attempt hides it from nobody for good
/// (M1, M5). Mutant: the give-back in `Quota::borrow_one`.
#[test]
fn one_surplus_segment_goes_to_one_pool() {
    loom::model(|| {
        let pool = network(1);
        let mut here = pool.local_pool("here").build().unwrap();
        let mut there = pool.local_pool("there").build().unwrap();
        let other = thread::spawn(move || {
            let got = there.try_request().is_ok();
            (there, got)
        });
        let held = here.try_request();
        let (there, got) = other.join().unwrap();
        assert!(held.is_ok() || got, "one of them gets it");
        drop((held, here, there));
        assert_eq!(pool.usage().surplus, 1);
        assert_eq!(pool.in_use(), 0);
    });
}

/// A pool waits for the surplus while another pool's failed attempt has it lowered for a moment, and a third has given
/// back what that attempt was too late for (M4, M5). Mutant: the wake after a retracted attempt.
#[test]
fn a_retracted_attempt_wakes_who_it_misled() {
    loom::model(|| {
        let pool = network(1);
        let [mut quick, mut late, mut waiter] =
            ["quick", "late", "waiter"].map(|name| pool.local_pool(name).build().unwrap());
        let late = thread::spawn(move || {
            drop(late.try_request());
            late
        });
        let waiter = thread::spawn(move || drop(waiter.request().unwrap()));
        drop(quick.try_request());
        waiter.join().unwrap();
        drop((quick, late.join().unwrap())); // both outlive the wait, for dropping a pool wakes too
    });
}

/// The owner drops its pool while its segment is on another thread: the last one home frees what is left, once (L2).
/// loom reports what is never freed. Mutant: what `Lender`'s drop does not count.
#[test]
fn a_pool_dropped_while_a_segment_is_out() {
    loom::model(|| {
        let pool = network(1);
        let mut local = own(&pool, 1);
        let buffer = written(&mut local, 1);
        let returner = thread::spawn(move || drop(buffer));
        drop(local);
        returner.join().unwrap();
        assert_eq!(pool.in_use(), 0);
        assert_eq!(pool.usage().surplus, 1);
    });
}

/// The same with a borrowed segment, and the network pool's last handle gone before. Mutant: L-D for borrowed ones.
#[test]
fn everything_dropped_while_a_borrowed_segment_is_out() {
    loom::model(|| {
        let pool = network(1);
        let mut local = pool.local_pool("borrower").build().unwrap();
        let buffer = written(&mut local, 1);
        drop(pool);
        let returner = thread::spawn(move || drop(buffer));
        drop(local);
        returner.join().unwrap();
    });
}

/// The owner polls, is parked, and drops its pool: the return that finds it parked must not wake what is gone (L1).
/// Mutants: the pin in `Home::bring`, and its settling.
#[test]
fn a_parked_pool_that_is_dropped() {
    struct Ignored;
    impl std::task::Wake for Ignored {
        fn wake(self: std::sync::Arc<Self>) {}
    }
    loom::model(|| {
        let pool = network(1);
        let mut local = own(&pool, 1);
        let buffer = written(&mut local, 1);
        let waker = std::sync::Arc::new(Ignored).into();
        let polled = local.poll_request(&mut std::task::Context::from_waker(&waker));
        assert!(polled.is_pending());
        let returner = thread::spawn(move || drop(buffer));
        drop(local);
        returner.join().unwrap();
        assert_eq!(pool.usage().surplus, 1);
    });
}

/// A new pool sets its part aside while that is lent to another: it gets the segment when it comes back (M3). Mutant:
/// the guarantee in `fetch`, were it to ask for a credit.
#[test]
fn a_late_guarantee_is_met_when_the_borrowed_segment_returns() {
    loom::model(|| {
        let pool = network(1);
        let mut greedy = pool.local_pool("greedy").build().unwrap();
        let buffer = greedy.try_request().unwrap();
        let mut late = own(&pool, 1);
        let returner = thread::spawn(move || drop(buffer));
        drop(late.request().unwrap());
        returner.join().unwrap();
        assert!(greedy.try_request().is_err(), "it belongs to the late one");
    });
}

/// A pool has a credit, and before it reaches the depot a new pool sets its part aside and takes the segment: the
/// guarantee goes first (M3), the credit goes back, and nothing is lost (M1). Mutant: the give-back of the credit.
#[test]
fn a_late_guarantee_comes_between_a_credit_and_its_segment() {
    loom::model(|| {
        let pool = network(1);
        let mut greedy = pool.local_pool("greedy").build().unwrap();
        let other = thread::spawn({
            let pool = pool.clone();
            move || {
                let mut late = own(&pool, 1);
                let got = late.try_request().is_ok();
                (late, got)
            }
        });
        let borrowed = greedy.try_request();
        let (mut late, got) = other.join().unwrap();
        assert!(borrowed.is_ok() || got, "one of them gets it");
        drop(borrowed);
        assert!(late.try_request().is_ok(), "its own");
        drop((greedy, late));
        assert_eq!((pool.usage().surplus, pool.in_use()), (1, 0));
    });
}

/// A pool that may borrow one segment waits for the one it has borrowed, while there is another in the depot: it waits
/// for room (M4). Mutants: the order of counting and recycling in `Home::bring`.
#[test]
fn a_borrower_at_its_maximum_is_woken_by_its_own_return() {
    loom::model(|| {
        let pool = network(2);
        let mut local = pool.local_pool("local").maximum(1).build().unwrap();
        let buffer = written(&mut local, 1);
        let returner = thread::spawn(move || drop(buffer));
        drop(local.request().unwrap());
        returner.join().unwrap();
    });
}

/// A pool that finds a credit finds the segment (M5), and the bytes as their last user left them. Mutants: U1, U2,
/// counting the segment before it is there.
#[test]
fn who_has_a_credit_finds_the_segment() {
    loom::model(|| {
        let pool = network(1);
        let mut lender = pool.local_pool("lender").build().unwrap();
        let mut borrower = pool.local_pool("borrower").build().unwrap();
        let mut buffer = written(&mut lender, 1);
        let returner = thread::spawn(move || buffer[0] = 2);
        if pool.usage().surplus == 1 {
            borrower.try_request().expect("there is one")[0] = 3;
        }
        returner.join().unwrap();
        assert!(borrower.try_request().is_ok());
    });
}

/// A pool waits for its guaranteed part, which another pool has borrowed (M3, M4): there it looks at the depot alone.
/// Mutants: F1, F2.
#[test]
fn a_pool_waits_for_its_guarantee() {
    loom::model(|| {
        let pool = network(1);
        let mut greedy = pool.local_pool("greedy").build().unwrap();
        let mut buffer = written(&mut greedy, 1);
        let mut late = own(&pool, 1);
        let returner = thread::spawn(move || buffer[0] = 2);
        late.request().unwrap()[0] = 3;
        returner.join().unwrap();
    });
}

/// A segment that comes home while its pool is dropped is whole when the next pool gets it. Mutants: I3.
#[test]
fn what_a_dropped_pool_leaves_is_whole() {
    loom::model(|| {
        let pool = network(1);
        let mut first = own(&pool, 1);
        let mut buffer = written(&mut first, 1);
        let returner = thread::spawn(move || buffer[0] = 2);
        drop(first);
        if let Ok(mut buffer) = pool.local_pool("next").build().unwrap().try_request() {
            buffer[0] = 3;
        }
        returner.join().unwrap();
        assert_eq!(pool.in_use(), 0);
    });
}

/// Two segments come home on two threads while the pool is dropped: one of three threads frees the home, after the last
/// touch of the others (L1, L2). Mutants: L-D.
#[test]
fn one_of_three_frees_the_home() {
    loom::model(|| {
        let pool = network(2);
        let mut local = pool.local_pool("local").required(1).build().unwrap();
        let returners: Vec<_> = (0..2)
            .map(|byte| {
                let buffer = written(&mut local, byte); // an own one, then a borrowed one
                thread::spawn(move || drop(buffer))
            })
            .collect();
        drop(local);
        returners.into_iter().for_each(|returner| returner.join().unwrap());
        assert_eq!((pool.in_use(), pool.usage().surplus), (0, 2));
    });
}

/// The owner sleeps while two segments come home, and drops the pool as soon as it has one (L1). Mutant: the pin
/// in `Home::bring` that is not settled.
#[test]
fn a_woken_owner_drops_its_pool() {
    loom::model(|| {
        let pool = network(2);
        let mut local = own(&pool, 2);
        let returners: Vec<_> = (0..2)
            .map(|byte| {
                let buffer = written(&mut local, byte);
                thread::spawn(move || drop(buffer))
            })
            .collect();
        let buffer = local.request().unwrap();
        drop(local);
        drop(buffer);
        returners.into_iter().for_each(|returner| returner.join().unwrap());
        assert_eq!((pool.in_use(), pool.usage().surplus), (0, 2));
    });
}

/// A pool waits for a segment that a pool in use keeps: dropping that pool makes both its parts surplus, the one it has
/// used and the one it has not, and wakes who waits (M4). Mutants: what `LocalBufferPool`'s drop gives back.
#[test]
fn a_dropped_pool_wakes_a_borrower() {
    loom::model(|| {
        let pool = network(1);
        let keeper = own(&pool, 1); // never takes its segment: it stays in the depot
        let mut waiter = pool.local_pool("waiter").build().unwrap();
        let dropping = thread::spawn(move || drop(keeper));
        drop(waiter.request().unwrap());
        dropping.join().unwrap();
        assert_eq!(pool.usage().surplus, 1);
    });
}

/// A poll that is pending, a look at the pool, and the return beside it: if the look found nothing, the return wakes
/// (M4). Mutant: looking ends the parking.
#[test]
fn a_look_between_polls_loses_no_wake() {
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicBool); // looked at after the join alone
    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    loom::model(|| {
        let pool = network(1);
        let mut local = own(&pool, 1);
        let buffer = written(&mut local, 1);
        let woken = std::sync::Arc::new(Woken::default());
        let waker = woken.clone().into();
        assert!(local.poll_request(&mut std::task::Context::from_waker(&waker)).is_pending());
        let returner = thread::spawn(move || drop(buffer));
        let _ = local.lent();
        returner.join().unwrap();
        assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst));
    });
}

/// A pool whose lanes are open: in models one return by the inbox is enough.
fn with_open_lanes(pool: &NetworkBufferPool, segments: u32) -> LocalBufferPool {
    let mut local = own(pool, segments);
    drop(written(&mut local, 0));
    assert_eq!(local.lent(), 0, "looks at what came back");
    local
}

/// The owner is about to sleep while its only segment comes home by a lane, where nobody wakes it: it closes the lanes
/// first, and is woken by a return that comes later (M4). Mutants: the closing in `Lender::park`, what it finds, and
/// the look in a moment when somebody was in the middle.
#[test]
fn a_return_by_a_lane_meets_an_owner_that_goes_to_sleep() {
    loom::model(|| {
        let pool = network(1);
        let mut local = with_open_lanes(&pool, 1);
        let mut buffer = written(&mut local, 1);
        let returner = thread::spawn(move || buffer[0] = 2);
        let mut again = local.request().unwrap();
        again[0] = 3;
        drop(again);
        returner.join().unwrap();
        assert!(local.try_request().is_ok());
    });
}

/// The owner looks while its segments come home by a lane: none is lost or lent twice, and what was done with the bytes
/// is done (M1, M5). Mutant: V4.
#[test]
fn returns_by_a_lane_meet_the_owner() {
    loom::model(|| {
        let pool = network(2);
        let mut local = with_open_lanes(&pool, 2);
        let mut both = [written(&mut local, 1), written(&mut local, 2)];
        let returned = Done::new();
        let there = thread::spawn({
            let returned = returned.clone();
            move || {
                both[0][0] = 9;
                drop(both);
                returned.set();
            }
        });
        returned.look();
        if let Ok(mut early) = local.try_request() {
            early[0] = 3;
        }
        there.join().unwrap();
        let all = [written(&mut local, 1), written(&mut local, 2)];
        assert!(local.try_request().is_err(), "two, not more");
        drop(all);
    });
}

/// The owner goes while its segment comes home by a lane: it is not left there, nor does its thread touch a lane that
/// is gone (L1, M1). Mutant: the closing in `Lender`'s drop.
#[test]
fn a_pool_with_open_lanes_is_dropped_while_a_segment_is_out() {
    loom::model(|| {
        let pool = network(1);
        let mut local = with_open_lanes(&pool, 1);
        let buffer = written(&mut local, 1);
        let returner = thread::spawn(move || drop(buffer));
        drop(local);
        returner.join().unwrap();
        assert_eq!((pool.in_use(), pool.usage().surplus), (0, 1));
    });
}
