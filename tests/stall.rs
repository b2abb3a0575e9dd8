//! A thread that is stopped in the middle of something holds up nobody who is not documented to wait for it.
//!
//! A victim is stopped before each of its accesses to an atomic, a fence or a lock in turn; meanwhile a witness does
//! what must not wait for it, in a bounded number of steps, and may neither park nor wait for a lock. No clock is
//! involved. The steps between two accesses that crossbeam's queue makes (the depot) are not among those; see
//! `docs/ARCHITECTURE.md`, "Progress". Run by `make stall`.
#![cfg(forebay_stall)]

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
};

use forebay::{
    buffer::{Buffer, BufferMut},
    credit::credit,
    memory::page_size,
    pool::{LocalBufferPool, NetworkBufferPool},
    stall::{stop_at, within},
};

/// More than any of these takes, and no loop.
const FEW: u64 = 64;

/// Runs `scenario` for each step of its victim in turn, until there is none that it is stopped at.
fn each_step(mut scenario: impl FnMut(u64) -> bool) {
    let steps = (0..10_000).find(|&nth| !scenario(nth)).expect("no end");
    assert!(steps > 0, "it has no steps, so nothing was tested");
}

fn network() -> NetworkBufferPool {
    NetworkBufferPool::builder().segments(16).segment_size(page_size()).build().unwrap()
}

/// A pool with two own segments at hand, and two on their way out.
fn own(network: &NetworkBufferPool) -> (LocalBufferPool, [BufferMut; 2]) {
    let mut local = network.local_pool("own").required(4).maximum(6).build().unwrap();
    let mut held: Vec<_> = (0..4).map(|_| local.try_request().unwrap()).collect();
    local.recycle(held.pop().unwrap());
    local.recycle(held.pop().unwrap());
    let out = held.try_into().unwrap();
    (local, out)
}

/// So many returns that the owner opens its lanes.
fn open_lanes(local: &mut LocalBufferPool) {
    for _ in 0..1_000 {
        drop(local.try_request().unwrap());
    }
    assert_eq!(local.lent(), 2, "the others are at hand");
}

/// What the owner of one pool, another pool, and somebody without one do all day.
fn goes_on(local: &mut LocalBufferPool, other: &mut LocalBufferPool, network: &NetworkBufferPool) {
    own_goes_on(local);
    others_go_on(other, network);
}

fn own_goes_on(local: &mut LocalBufferPool) {
    let (buffer, _) = within(0, || local.try_request().expect("at hand"));
    within(2, || local.recycle(buffer));
    let _ = within(FEW, || local.lent());
}

fn others_go_on(other: &mut LocalBufferPool, network: &NetworkBufferPool) {
    let (guaranteed, _) = within(FEW, || other.try_request().expect("guaranteed, or at hand"));
    let (borrowed, _) = within(FEW, || other.try_request().expect("of the surplus"));
    within(FEW, || drop(borrowed));
    within(FEW, || drop(guaranteed));
    let (direct, _) = within(FEW, || network.try_request().expect("of the surplus"));
    within(FEW, || drop(direct));
    let mut two = Vec::with_capacity(4);
    within(2 * FEW, || other.try_request_many(2, &mut two)).0.expect("one is guaranteed");
    within(2 * FEW, || two.clear());
}

fn all_is_home(network: &NetworkBufferPool) {
    assert_eq!((network.in_use(), network.usage().surplus), (0, 16));
}

#[test]
fn a_stopped_return_of_an_own_segment_holds_up_nobody() {
    for lanes in [false, true] {
        each_step(|nth| {
            let network = network();
            let (mut local, [buffer, another]) = own(&network);
            let mut other = network.local_pool("other").required(1).build().unwrap();
            if lanes {
                open_lanes(&mut local);
            }
            let victim = stop_at(nth, move || drop(buffer));
            goes_on(&mut local, &mut other, &network);
            within(FEW, || drop(another)); // from another thread than the victim's
            goes_on(&mut local, &mut other, &network);
            let stopped = victim.stopped;
            victim.release();
            assert_eq!(local.lent(), 0);
            drop((local, other));
            all_is_home(&network);
            stopped
        });
    }
}

#[test]
fn a_stopped_return_of_a_borrowed_segment_holds_up_nobody() {
    each_step(|nth| {
        let network = network();
        let (mut local, out) = own(&network);
        let mut other = network.local_pool("other").required(1).build().unwrap();
        let mut borrower = network.local_pool("borrower").build().unwrap();
        let [borrowed, another] = [borrower.try_request().unwrap(), borrower.try_request().unwrap()];
        let victim = stop_at(nth, move || drop(borrowed));
        goes_on(&mut local, &mut other, &network);
        within(FEW, || drop(another));
        let (again, _) = within(FEW, || borrower.try_request().expect("of the surplus"));
        within(FEW, || drop(again));
        let stopped = victim.stopped;
        victim.release();
        drop((local, out, other, borrower));
        all_is_home(&network);
        stopped
    });
}

#[test]
fn a_stopped_return_to_a_sleeping_owner_holds_up_no_other() {
    each_step(|nth| {
        let network = network();
        let mut sleeper = network.local_pool("sleeper").required(2).maximum(2).build().unwrap();
        let [buffer, another] = [sleeper.try_request().unwrap(), sleeper.try_request().unwrap()];
        assert!(sleeper.poll_request(&mut Context::from_waker(Waker::noop())).is_pending());
        let (mut local, out) = own(&network);
        let mut other = network.local_pool("other").required(1).build().unwrap();
        let victim = stop_at(nth, move || drop(buffer));
        goes_on(&mut local, &mut other, &network);
        within(FEW, || drop(another)); // wakes the owner, or is behind who does
        let polled = within(FEW, || sleeper.poll_request(&mut Context::from_waker(Waker::noop())));
        assert!(polled.0.is_ready(), "one of the two is back");
        let stopped = victim.stopped;
        victim.release();
        drop((polled, sleeper, local, out, other));
        all_is_home(&network);
        stopped
    });
}

/// The victim looks for a segment where `empty` says that it has nothing at hand: in what came back, in the depot, and
/// as a batch; others return to it meanwhile.
#[test]
fn an_owner_stopped_in_a_request_holds_up_nobody() {
    type Request = fn(&mut LocalBufferPool) -> Vec<BufferMut>;
    let one: Request = |local| local.try_request().into_iter().collect();
    let many: Request = |local| {
        let mut got = Vec::new();
        let _ = local.try_request_many(4, &mut got);
        got
    };
    let too_many: Request = |local| {
        let mut got = Vec::new();
        let _ = local.try_request_many(15, &mut got); // there are not as many: it borrows nothing, or puts back
        got
    };
    let overdraft: Request = |local| local.try_request_overdraft().into_iter().collect();
    for request in [one, many, too_many, overdraft] {
        for (required, returned) in [(2, true), (3, false), (0, false)] {
            each_step(|nth| {
                let network = network();
                let (mut local, out) = own(&network);
                let mut other = network.local_pool("other").required(1).build().unwrap();
                let mut asking = network.local_pool("asking").required(required).overdraft(2).build().unwrap();
                let [buffer, another] = [asking.try_request().unwrap(), asking.try_request().unwrap()];
                let (back, stays) = if returned { (Some(buffer), None) } else { (None, Some(buffer)) };
                drop(back);
                let victim = stop_at(nth, move || {
                    let got = request(&mut asking);
                    (asking, got)
                });
                goes_on(&mut local, &mut other, &network);
                within(FEW, || drop(another)); // to the victim, or to the depot
                within(FEW, || drop(stays));
                let stopped = victim.stopped;
                drop(victim.release());
                drop((local, out, other));
                all_is_home(&network);
                stopped
            });
        }
    }
}

/// One that leaves a waker takes a lock that returns to the depot take too, while somebody waits there: that is
/// documented, and tested below. Own segments come home, and others request what is theirs, all the same.
#[test]
fn an_owner_stopped_while_it_goes_to_sleep_holds_up_no_own_segment() {
    for maximum in [1, 2] {
        each_step(|nth| {
            let network = network();
            let (mut local, [out, rest]) = own(&network);
            let mut sleeper = network.local_pool("sleeper").required(1).maximum(maximum).build().unwrap();
            let buffers: Vec<_> = (0..maximum).map(|_| sleeper.try_request().unwrap()).collect();
            let victim = stop_at(nth, move || {
                let polled = sleeper.poll_request(&mut Context::from_waker(Waker::noop()));
                (sleeper, polled.is_ready())
            });
            own_goes_on(&mut local);
            let mut buffers = buffers.into_iter();
            within(FEW, || drop(buffers.next())); // its own: the others are borrowed
            within(FEW, || drop(out));
            own_goes_on(&mut local);
            let stopped = victim.stopped;
            drop(victim.release());
            drop((local, rest, buffers));
            all_is_home(&network);
            stopped
        });
    }
}

#[test]
fn what_is_documented_to_take_a_lock_does() {
    let mut waited = 0;
    each_step(|nth| {
        let network = network();
        let mut sleeper = network.local_pool("sleeper").maximum(1).build().unwrap();
        let held = sleeper.try_request().unwrap();
        let victim = stop_at(nth, move || {
            let _ = sleeper.poll_request(&mut Context::from_waker(Waker::noop()));
            sleeper
        });
        let direct = network.try_request().unwrap();
        waited += u32::from(catch_unwind(AssertUnwindSafe(|| within(FEW, || drop(direct)))).is_err());
        let stopped = victim.stopped;
        drop(victim.release());
        drop(held);
        stopped
    });
    assert!(waited > 0, "then the test would notice nothing");
}

/// The control plane has a lock, and the data path never takes it.
#[test]
fn who_makes_resizes_lets_fail_and_drops_pools_holds_up_no_request() {
    type Control = fn(&NetworkBufferPool, &mut LocalBufferPool);
    let build: Control = |network, _| drop(network.local_pool("new").required(2).build());
    let grow: Control = |_, local| local.resize(4, 6).unwrap();
    let shrink: Control = |_, local| local.resize(0, 1).unwrap();
    let fail: Control = |_, local| local.control().fail("stopped");
    let look: Control = |network, _| drop(network.usage());
    let exclusive: Control = |network, _| {
        drop(network.request_exclusive("new", 1, std::time::Duration::ZERO));
    };
    for control in [build, grow, shrink, fail, look, exclusive] {
        each_step(|nth| {
            let network = network();
            let (mut local, [out, rest]) = own(&network);
            let mut other = network.local_pool("other").required(1).build().unwrap();
            let mut changed = network.local_pool("changed").required(2).build().unwrap();
            let lent = [changed.try_request().unwrap(), changed.try_request().unwrap()];
            let there = network.clone();
            let victim = stop_at(nth, move || {
                control(&there, &mut changed);
                changed
            });
            goes_on(&mut local, &mut other, &network);
            within(FEW, || drop(out));
            within(2 * FEW, || drop(lent)); // of the pool that is being changed
            goes_on(&mut local, &mut other, &network);
            let stopped = victim.stopped;
            drop(victim.release());
            drop((local, rest, other));
            all_is_home(&network);
            stopped
        });
    }
}

#[test]
fn a_stopped_reader_or_writer_of_a_buffer_holds_up_no_other() {
    each_step(|nth| {
        let network = network();
        let (mut local, [shared, written]) = own(&network);
        let shared: Buffer = shared.into();
        let clone = shared.clone();
        let mut builder = written.into_builder();
        let mut consumer = builder.create_consumer();
        let mut second = builder.create_consumer();
        builder.append(b"one");
        builder.commit();
        let victim = stop_at(nth, move || {
            drop(clone.clone());
            drop(clone);
            builder.append(b"two");
            builder.commit();
            let _ = second.build();
            drop((builder, second));
        });
        let (read, _) = within(FEW, || consumer.build().expect("committed before"));
        assert_eq!(&read[..3], b"one");
        within(FEW, || drop(read));
        within(FEW, || drop(shared.clone()));
        within(FEW, || drop(shared));
        own_goes_on(&mut local);
        let stopped = victim.stopped;
        victim.release();
        drop((consumer, local));
        all_is_home(&network);
        stopped
    });
}

#[test]
fn neither_side_of_a_credit_holds_up_the_other() {
    let mut context = Context::from_waker(Waker::noop());
    each_step(|nth| {
        let (mut granter, mut spender) = credit();
        granter.grant(1);
        let victim = stop_at(nth, move || {
            granter.grant(1);
            let _ = granter.poll_backlog(&mut Context::from_waker(Waker::noop()));
            granter
        });
        assert!(within(FEW, || spender.try_spend(1)).0, "granted before");
        let _ = within(FEW, || spender.poll_available(&mut context));
        within(FEW, || spender.announce_backlog(3));
        let stopped = victim.stopped;
        let granter = victim.release();
        assert_eq!((granter.granted(), granter.backlog(), spender.available()), (2, 3, 1));
        stopped
    });
    each_step(|nth| {
        let (mut granter, mut spender) = credit();
        let victim = stop_at(nth, move || {
            let polled = spender.poll_available(&mut Context::from_waker(Waker::noop()));
            spender.announce_backlog(3);
            (spender, polled)
        });
        within(FEW, || granter.grant(2));
        let _ = within(FEW, || granter.poll_backlog(&mut context));
        let stopped = victim.stopped;
        let (mut spender, polled) = victim.release();
        assert!(matches!(polled, Poll::Pending | Poll::Ready(Ok(2))));
        assert!(spender.try_spend(2));
        stopped
    });
}
