//! Local pools that are resized, fail, ask for several segments, for a channel, or are held to their shares; and
//! requests without a local pool.
#![cfg(forebay_loom)]

use std::time::Duration;

use forebay::{
    models::claimed,
    pool::{NetworkBufferPool, RequestError},
};
use loom::thread;

mod common;
#[path = "common/pools.rs"]
mod pools;
use common::Done;
use pools::{network, own, written};

/// No limit: loom's clock stands still.
const FOR_EVER: Duration = Duration::MAX;

/// A pool is made smaller while one of its two segments comes home: it keeps one, the other is surplus, whichever comes
/// when, and whatever the return finds: the old home, open or closed (M1, M3).
/// Mutants: what `Left` and `Late` count, what `shrink_to` and `leave_home` give back.
#[test]
fn a_pool_shrinks_while_a_segment_comes_home() {
    loom::model(|| {
        let pool = network(2);
        let mut local = own(&pool, 2);
        let (here, there) = (written(&mut local, 1), written(&mut local, 2));
        let done = Done::new();
        let returner = thread::spawn({
            let done = done.clone();
            move || {
                drop(there);
                done.set();
            }
        });
        done.look();
        local.resize(1, 1).unwrap();
        returner.join().unwrap();
        assert_eq!((pool.usage().surplus, local.lent()), (1, 1));
        drop(here);
        assert_eq!(pool.usage().surplus, 1, "the last one home is the pool's own");
        let again = written(&mut local, 3);
        assert!(local.try_request().is_err());
        drop((again, local));
        assert_eq!((pool.usage().surplus, pool.in_use()), (2, 0));
    });
}

/// What was lent before a pool became smaller comes home on two threads: the first is surplus, the last the pool's own,
/// and the pool finds it, as it was left (M1, M5). Mutants: E1, E2.
#[test]
fn what_is_late_and_back_is_found() {
    loom::model(|| {
        let pool = network(2);
        let mut local = own(&pool, 2);
        let late = [written(&mut local, 1), written(&mut local, 2)];
        local.resize(1, 1).unwrap();
        let returners = late.map(|mut buffer| {
            thread::spawn(move || {
                buffer[0] = 9;
                drop(buffer);
            })
        });
        if claimed(&local) == 0 {
            local.try_request().expect("it is back")[0] = 3;
        }
        returners.into_iter().for_each(|returner| returner.join().unwrap());
        assert_eq!(pool.usage().surplus, 1);
        assert!(local.try_request().is_ok());
    });
}

/// A pool that became smaller, and then smaller still or is dropped, while what it lent before comes home (M1, L2).
/// Mutants: what `give_up` counts.
#[test]
fn a_pool_that_shrank_is_dropped_while_a_late_segment_comes_home() {
    loom::model(|| {
        let pool = network(3);
        let mut local = own(&pool, 3);
        let [first, second, third] = [1, 2, 3].map(|byte| written(&mut local, byte));
        local.resize(2, 2).unwrap();
        drop(first);
        assert_eq!(pool.usage().surplus, 1);
        let returner = thread::spawn(move || drop(second));
        drop(local);
        returner.join().unwrap();
        drop(third);
        assert_eq!((pool.usage().surplus, pool.in_use()), (3, 0));
    });
}

/// A pool is made smaller twice while a late segment comes home. Mutants: as above.
#[test]
fn a_pool_shrinks_twice_while_a_late_segment_comes_home() {
    loom::model(|| {
        let pool = network(3);
        let mut local = own(&pool, 3);
        let [first, second, third] = [1, 2, 3].map(|byte| written(&mut local, byte));
        local.resize(2, 2).unwrap();
        drop(first);
        let returner = thread::spawn(move || drop(second));
        local.resize(1, 1).unwrap();
        returner.join().unwrap();
        drop(third);
        assert_eq!(pool.usage().surplus, 2);
        assert!(local.try_request().is_ok(), "its own");
    });
}

/// A pool waits for the surplus, and another one becomes smaller (M4). Mutant: the wakes of `resize`.
#[test]
fn a_shrinking_pool_wakes_a_borrower() {
    loom::model(|| {
        let pool = network(1);
        let mut keeper = own(&pool, 1);
        let mut waiter = pool.local_pool("waiter").build().unwrap();
        let shrinking = thread::spawn(move || {
            keeper.resize(0, 1).unwrap();
            keeper
        });
        drop(waiter.request().unwrap());
        drop(shrinking.join().unwrap());
        assert_eq!(pool.usage().surplus, 1);
    });
}

/// A pool's owner has left a waker, and then makes the pool smaller, so that another home is its own: it is woken, and
/// what comes back wakes it or is found (M4). Mutant: the wake of the owner in `resize`.
#[test]
fn a_poll_survives_a_resize() {
    #[derive(Default)]
    struct Woken(std::sync::atomic::AtomicBool); // looked at after the join alone
    impl std::task::Wake for Woken {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
    loom::model(|| {
        let pool = network(2);
        let mut local = own(&pool, 2);
        let held = [written(&mut local, 1), written(&mut local, 2)];
        let woken = std::sync::Arc::new(Woken::default());
        let waker = woken.clone().into();
        assert!(local.poll_request(&mut std::task::Context::from_waker(&waker)).is_pending());
        let returner = thread::spawn(move || drop(held));
        local.resize(1, 1).unwrap();
        returner.join().unwrap();
        assert!(woken.0.load(std::sync::atomic::Ordering::SeqCst));
    });
}

/// The owner waits while another thread lets the pool fail: it is woken, and told (M4).
/// Mutants: the wake in `PoolState::fail`, the waker left for it.
#[test]
fn a_failing_pool_wakes_its_owner() {
    loom::model(|| {
        let pool = network(1);
        let mut local = own(&pool, 1);
        let held = written(&mut local, 1);
        let control = local.control();
        let owner = thread::spawn(move || {
            assert_eq!(local.request().unwrap_err(), RequestError::Failed);
            local
        });
        control.fail("cancelled");
        let local = owner.join().unwrap();
        assert_eq!(local.failure().unwrap().to_string(), "cancelled");
        drop(held);
    });
}

/// A failure and a return meet a waiting owner: it has the segment or the error, and sleeps for neither (M4).
/// Mutant: the wake in `WakerCell::wake`.
#[test]
fn a_failure_and_a_return_meet_a_waiting_owner() {
    loom::model(|| {
        let pool = network(1);
        let mut local = own(&pool, 1);
        let held = written(&mut local, 1);
        let control = local.control();
        let failing = thread::spawn(move || control.fail("cancelled"));
        // The one that waits does nothing else: loom lets a late wake end any kind of blocking.
        let owner = thread::spawn(move || {
            let got = local.request();
            (local, got)
        });
        drop(held);
        failing.join().unwrap();
        drop(owner.join().unwrap());
        assert_eq!((pool.usage().surplus, pool.in_use()), (1, 0));
    });
}

/// The whole network pool fails while somebody without a local pool waits (M4). Mutant: the wake in `fail_all`.
#[test]
fn a_failing_network_pool_wakes_who_has_no_local_pool() {
    loom::model(|| {
        let pool = network(1);
        let held = pool.try_request().unwrap();
        let failing = thread::spawn({
            let pool = pool.clone();
            move || pool.fail("shutting down")
        });
        assert_eq!(pool.request_timeout(FOR_EVER).unwrap_err(), RequestError::Failed);
        failing.join().unwrap();
        drop(held);
    });
}

/// Two pools ask for both segments at once: each gets them, one after the other, and neither waits with one of them in
/// hand. Mutant: the wake in `Core::put`.
#[test]
fn two_batches_do_not_wait_for_each_other() {
    loom::model(|| {
        let pool = network(2);
        let [mut here, mut there] = ["here", "there"].map(|name| pool.local_pool(name).build().unwrap());
        let other = thread::spawn(move || {
            let mut both = Vec::new();
            there.request_many(2, &mut both).unwrap();
            both.clear();
            there // outlives the wait, for dropping a pool wakes too
        });
        let mut both = Vec::new();
        here.request_many(2, &mut both).unwrap();
        both.clear();
        drop((here, other.join().unwrap()));
        assert_eq!((pool.usage().surplus, pool.in_use()), (2, 0));
    });
}

/// A pool waits for one segment while another pool's failed batch has the surplus lowered for a moment, and a third has
/// given back what that batch was too late for (M4, M5). Mutant: the wake after a retracted batch.
#[test]
fn a_retracted_batch_wakes_who_it_misled() {
    loom::model(|| {
        let pool = network(2);
        let [mut quick, mut late, mut waiter] =
            ["quick", "late", "waiter"].map(|name| pool.local_pool(name).build().unwrap());
        let held = quick.try_request().unwrap(); // so that the shares are 0, 1 and 1
        let late = thread::spawn(move || {
            let _ = late.try_request_many(1, &mut Vec::new());
            late
        });
        let waiter = thread::spawn(move || {
            drop(waiter.request().unwrap());
            waiter
        });
        drop(quick.try_request());
        drop((waiter.join().unwrap(), quick, late.join().unwrap()));
        drop(held);
    });
}

/// A pool waits for its own segment, which it lent before it became smaller: it finds it in the depot (M3, M4). Mutant:
/// the wake for what comes home late.
#[test]
fn a_waiting_pool_gets_what_comes_home_late() {
    loom::model(|| {
        let pool = network(2);
        let mut local = own(&pool, 2);
        let [first, second] = [1, 2].map(|byte| written(&mut local, byte));
        local.resize(1, 1).unwrap();
        drop(first);
        let owner = thread::spawn(move || {
            drop(local.request().unwrap());
            local
        });
        drop(second);
        drop(owner.join().unwrap());
        assert_eq!((pool.usage().surplus, pool.in_use()), (2, 0));
    });
}

/// A batch has its credit, and a new pool's guarantee takes one of the segments: the batch puts the other one back (M1,
/// M3). Mutants: what it puts and gives back.
#[test]
fn a_late_guarantee_comes_between_a_batch_and_its_segments() {
    loom::model(|| {
        let pool = network(2);
        let mut greedy = pool.local_pool("greedy").build().unwrap();
        let other = thread::spawn({
            let pool = pool.clone();
            move || {
                let mut late = own(&pool, 1);
                let got = late.try_request();
                (late, got)
            }
        });
        let mut both = Vec::new();
        let borrowed = greedy.try_request_many(2, &mut both).is_ok();
        let (mut late, got) = other.join().unwrap();
        assert!(borrowed || got.is_ok() || greedy.try_request().is_ok(), "nothing is lost");
        drop((both, got));
        assert!(late.try_request().is_ok(), "its own");
        drop((greedy, late));
        assert_eq!((pool.usage().surplus, pool.in_use()), (2, 0));
    });
}

/// The same without a local pool. Mutant: the credit of what was not found.
#[test]
fn a_late_guarantee_comes_between_a_direct_batch_and_its_segments() {
    loom::model(|| {
        let pool = network(2);
        let other = thread::spawn({
            let pool = pool.clone();
            move || {
                let mut late = own(&pool, 1);
                let got = late.try_request();
                (late, got)
            }
        });
        let mut both = Vec::new();
        let _ = pool.try_request_many(2, &mut both);
        let (late, got) = other.join().unwrap();
        drop((both, got, late));
        assert_eq!((pool.usage().surplus, pool.in_use(), pool.usage().direct), (2, 0, 0));
    });
}

/// A pool that has its share waits for more, while one that has less waits too: the second goes first, and when it has
/// got what it wants, the first is woken (M4). Mutant: the wake in `Core::relieve`.
#[test]
fn who_was_held_to_its_share_is_woken_when_the_pressure_ends() {
    loom::model(|| {
        let pool = network(3);
        let [mut greedy, mut modest] = ["greedy", "modest"].map(|name| pool.local_pool(name).build().unwrap());
        let first = greedy.try_request().unwrap(); // its share is 1, the other's 2
        let held = [pool.try_request().unwrap(), pool.try_request().unwrap()];
        let other = thread::spawn(move || {
            let got = modest.request().unwrap(); // kept: its return would wake, too
            (modest, got)
        });
        drop(held);
        let second = greedy.request().unwrap();
        drop((first, second, other.join().unwrap()));
    });
}

/// The owner waits for room on a channel, which its own segment brings back. Mutant: counting after the segment is
/// home.
#[test]
fn who_waits_for_a_channel_is_woken_by_an_own_segment() {
    loom::model(|| {
        let pool = network(2);
        let mut local =
            pool.local_pool("own").required(2).maximum(2).channels(1).maximum_per_channel(1).build().unwrap();
        let buffer = local.try_request_for(0).unwrap();
        let returner = thread::spawn(move || drop(buffer));
        drop(local.request_for(0).unwrap());
        returner.join().unwrap();
        assert_eq!((local.lent(), local.lent_for(0)), (0, 0));
    });
}

/// The same with a borrowed one.
#[test]
fn who_waits_for_a_channel_is_woken_by_a_borrowed_segment() {
    loom::model(|| {
        let pool = network(2);
        let mut local = pool.local_pool("borrower").channels(1).maximum_per_channel(1).build().unwrap();
        let buffer = local.try_request_for(0).unwrap();
        let returner = thread::spawn(move || drop(buffer));
        drop(local.request_for(0).unwrap());
        returner.join().unwrap();
        assert_eq!((local.lent(), local.lent_for(0)), (0, 0));
    });
}

/// Exclusive segments are asked for while a pool has borrowed one of them, another pool is waiting for what comes back,
/// and shares are worked out anew: they go to who was promised them (M3). Mutants: setting them aside, the second look.
#[test]
fn an_exclusive_segment_comes_from_who_borrowed_it() {
    loom::model(|| {
        let pool = network(1);
        let mut greedy = pool.local_pool("greedy").build().unwrap();
        let held = written(&mut greedy, 1);
        let asking = thread::spawn({
            let pool = pool.clone();
            move || pool.request_exclusive("connection", 1, FOR_EVER).unwrap()
        });
        while pool.usage().exclusive == 0 {
            thread::yield_now();
        }
        drop(held);
        assert!(greedy.try_request().is_err(), "it is promised");
        let exclusive = asking.join().unwrap();
        drop(exclusive);
        assert!(greedy.try_request().is_ok());
        assert_eq!((pool.usage().surplus, pool.usage().exclusive), (1, 0));
    });
}

/// A segment that was lent without a local pool comes home after everything else is gone: whoever is last frees it all,
/// once (L2). loom reports what is never freed. Mutant: counting it when it is lent.
#[test]
fn a_direct_segment_outlives_its_pool() {
    loom::model(|| {
        let pool = network(1);
        let mut buffer = pool.try_request().unwrap();
        let returner = thread::spawn(move || buffer[0] = 1);
        drop(pool);
        returner.join().unwrap();
    });
}

/// Two threads without a local pool want the one segment, and wait for it (M4).
#[test]
fn two_who_have_no_local_pool_take_turns() {
    loom::model(|| {
        let pool = network(1);
        let other = thread::spawn({
            let pool = pool.clone();
            move || pool.request_timeout(FOR_EVER).unwrap()[0] = 1
        });
        pool.request_timeout(FOR_EVER).unwrap()[0] = 2;
        other.join().unwrap();
        assert_eq!((pool.usage().surplus, pool.in_use()), (1, 0));
    });
}

/// A segment is wiped by who drops it last, and is whole, and wiped, when it is lent again (B1). loom checks each byte.
/// Mutant: the wiping in `Home::bring_on_terms`.
#[test]
fn a_wiped_segment_is_whole() {
    loom::model(|| {
        let pool = NetworkBufferPool::builder().segments(1).segment_size(8).zero_recycled(true).build().unwrap();
        let mut local = own(&pool, 1);
        let mut buffer = written(&mut local, 1);
        let returner = thread::spawn(move || buffer[0] = 2);
        let again = local.request().unwrap();
        assert_eq!(*again, [0; 8]);
        drop(again);
        returner.join().unwrap();
    });
}
