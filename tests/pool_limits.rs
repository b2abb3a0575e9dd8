//! Limits of a local pool and what is beyond them: channels, overdraft, fair shares, batches, resizing, failing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};

use forebay::{
    WaitStrategy,
    buffer::BufferMut,
    pool::{LocalBufferPool, NetworkBufferPool, PoolError, RequestError},
};

fn pool(segments: u32) -> NetworkBufferPool {
    NetworkBufferPool::builder().segments(segments).segment_size(4096).build().unwrap()
}

fn take_all(local: &mut LocalBufferPool) -> Vec<BufferMut> {
    std::iter::from_fn(|| local.try_request().ok()).collect()
}

fn poll_once(local: &mut LocalBufferPool) -> Poll<Result<BufferMut, RequestError>> {
    local.poll_request(&mut Context::from_waker(Waker::noop()))
}

#[derive(Default)]
struct Count(AtomicU32);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn counting() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (count.clone(), count.into())
}

#[test]
fn a_full_channel_waits_though_segments_of_others_come_back() {
    for required in [0, 4] {
        let pool = pool(4);
        let mut local =
            pool.local_pool("task").required(required).maximum(4).channels(2).maximum_per_channel(2).build().unwrap();
        let slow = [local.try_request_for(0).unwrap(), local.try_request_for(0).unwrap()];
        let quick = local.try_request_for(1).unwrap();
        let (count, waker) = counting();
        drop(quick);
        let mut context = Context::from_waker(&waker);
        assert!(local.poll_request_for(0, &mut context).is_pending());
        assert!(local.poll_available(&mut context).is_pending());
        assert_eq!((local.lent_for(0), local.lent_for(1), local.lent()), (2, 0, 2));
        drop(slow);
        assert!(count.0.load(SeqCst) > 0, "required: {required}");
        assert!(local.poll_request_for(0, &mut context).is_ready());
        assert!(local.poll_available(&mut context).is_ready());
    }
}

#[test]
fn a_channel_may_be_overdrawn_and_counts_what_it_has() {
    let pool = pool(4);
    let mut local = pool.local_pool("task").maximum(2).overdraft(1).channels(1).maximum_per_channel(1).build().unwrap();
    let first = local.try_request_for(0).unwrap();
    assert_eq!(local.try_request_for(0).unwrap_err(), RequestError::ChannelFull);
    let second = local.try_request_overdraft_for(0).unwrap();
    assert_eq!((local.lent_for(0), local.overdrawn()), (2, 0), "beyond the channel's maximum, not the pool's");
    let third = local.try_request_overdraft_for(0).unwrap();
    assert_eq!((local.lent_for(0), local.overdrawn()), (3, 1));
    assert_eq!(local.try_request_overdraft_for(0).unwrap_err(), RequestError::Exhausted);
    drop((first, second));
    assert!(!local.is_available(), "one is the maximum");
    assert_eq!(local.request_for_timeout(0, Duration::from_millis(1)).unwrap_err(), RequestError::TimedOut);
    local.recycle(third);
    assert!(local.is_available());
    assert_eq!(local.request_for(0).map(|buffer| buffer.len()), Ok(4096));
}

#[test]
fn channels_that_make_no_sense_are_refused() {
    let pool = pool(4);
    let build =
        |channels, maximum| pool.local_pool("task").channels(channels).maximum_per_channel(maximum).build().map(drop);
    for (channels, maximum) in [(0, 1), (1, 0), (u32::MAX, 1)] {
        assert!(matches!(build(channels, maximum), Err(PoolError::Channels { .. })), "{channels}, {maximum}");
    }
    assert!(matches!(pool.local_pool("task").maximum_per_channel(1).build(), Err(PoolError::Channels { .. })));
    assert!(build(3, 1).is_ok());
}

#[test]
fn overdraft_follows_from_what_is_lent() {
    let pool = pool(8);
    let mut local = pool.local_pool("task").required(2).maximum(2).overdraft(2).build().unwrap();
    let mut held = take_all(&mut local);
    held.push(local.try_request_overdraft().unwrap());
    held.push(local.try_request_overdraft().unwrap());
    assert_eq!((local.lent(), local.overdrawn(), local.is_available()), (4, 2, false));
    drop(held.remove(0)); // an own one: there is room for one more, and it is this one
    assert_eq!(local.overdrawn(), 1);
    held.push(local.try_request_overdraft().unwrap());
    assert_eq!(local.try_request_overdraft().unwrap_err(), RequestError::Exhausted);
    held.truncate(1);
    assert_eq!((local.lent(), local.overdrawn()), (1, 0));
    assert!(local.is_available());
}

#[test]
fn under_pressure_a_greedy_pool_comes_down_to_its_share() {
    let pool = pool(8);
    let mut greedy = pool.local_pool("greedy").build().unwrap();
    let mut modest = pool.local_pool("modest").build().unwrap();
    let mut held = take_all(&mut greedy);
    assert_eq!(held.len(), 8, "alone it may have everything");
    let mut got = Vec::new();
    while got.len() < 4 {
        assert!(poll_once(&mut modest).is_pending());
        held.pop();
        assert_eq!(greedy.try_request().unwrap_err(), RequestError::Exhausted, "it is for who waits");
        let Poll::Ready(Ok(buffer)) = poll_once(&mut modest) else { panic!("one came back") };
        got.push(buffer);
    }
    // Now both have their share, and waiting for more holds nobody back.
    assert!(poll_once(&mut modest).is_pending());
    held.pop();
    assert!(greedy.try_request().is_ok());
    assert_eq!((greedy.fair_share(), modest.fair_share()), (4, 4));
}

#[test]
fn the_pressure_ends_with_the_wait() {
    let pool = pool(2);
    let mut greedy = pool.local_pool("greedy").build().unwrap();
    let mut modest = pool.local_pool("modest").build().unwrap();
    let mut held = take_all(&mut greedy);
    assert_eq!(modest.request_timeout(Duration::from_millis(1)).unwrap_err(), RequestError::TimedOut);
    held.pop();
    held.push(greedy.try_request().expect("nobody waits"));
    assert!(poll_once(&mut modest).is_pending());
    held.pop();
    assert!(greedy.try_request().is_err());
    drop(modest);
    held.push(greedy.try_request().expect("nobody waits any more"));
    assert_eq!(greedy.fair_share(), 2);
    // Who has no local pool holds it back as well, for as long as the call takes.
    assert_eq!(pool.request_timeout(Duration::from_millis(1)).unwrap_err(), RequestError::TimedOut);
    held.pop();
    assert!(greedy.try_request().is_ok());
}

#[test]
fn a_batch_takes_what_is_here_what_is_promised_and_what_is_borrowed() {
    let pool = pool(8);
    let mut local = pool.local_pool("task").required(4).maximum(6).build().unwrap();
    let here = local.try_request().unwrap();
    local.recycle(here);
    let mut held = Vec::new();
    local.try_request_many(6, &mut held).unwrap();
    assert_eq!((local.lent(), pool.usage().surplus, pool.in_use()), (6, 2, 6));
    let mut addresses: Vec<_> = held.iter().map(|buffer| buffer.as_ptr()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 6);
    held.truncate(3);
    assert_eq!(local.try_request_many(4, &mut held), Err(RequestError::Exhausted), "the maximum");
    assert_eq!(local.try_request_many(7, &mut held), Err(RequestError::TooMany));
    assert_eq!(local.request_many_timeout(4, &mut held, Duration::from_millis(1)), Err(RequestError::TimedOut));
    local.try_request_many(0, &mut held).unwrap();
    assert_eq!((held.len(), local.lent()), (3, 3), "nothing is held of what was not enough");
    local.request_many(3, &mut held).unwrap();
    drop((held, local));
    assert_eq!((pool.usage().surplus, pool.in_use()), (8, 0));
}

#[test]
fn a_batch_waits_until_all_of_it_is_there() {
    let pool = pool(4);
    let mut other = pool.local_pool("other").build().unwrap();
    let mut local = pool.local_pool("task").build().unwrap();
    let mut held = take_all(&mut other);
    let (count, waker) = counting();
    let mut context = Context::from_waker(&waker);
    let mut got = Vec::new();
    assert!(local.poll_request_many(&mut context, 2, &mut got).is_pending());
    held.pop();
    assert_eq!(count.0.load(SeqCst), 1);
    assert!(local.poll_request_many(&mut context, 2, &mut got).is_pending());
    assert_eq!(pool.in_use(), 3, "it has none of them while it waits");
    held.pop();
    assert_eq!(local.poll_request_many(&mut context, 2, &mut got), Poll::Ready(Ok(())));
    assert_eq!(got.len(), 2);
}

#[test]
fn available_means_that_the_next_request_is_served() {
    let pool = pool(1);
    let mut first = pool.local_pool("first").build().unwrap();
    let mut second = pool.local_pool("second").build().unwrap();
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(first.poll_available(&mut context), Poll::Ready(Ok(())));
    assert!(second.try_request().is_err(), "it is the first one's");
    assert_eq!((first.lent(), pool.usage().pools[0].held), (0, 1));
    assert_eq!(first.poll_available(&mut context), Poll::Ready(Ok(())), "still the same");
    let buffer = first.try_request().unwrap();
    assert_eq!(first.lent(), 1);
    assert!(first.poll_available(&mut context).is_pending());
    drop(buffer);
    assert_eq!(first.poll_available(&mut context), Poll::Ready(Ok(())));
    drop(first);
    assert!(second.try_request().is_ok(), "what it kept is back");
}

#[test]
fn a_pool_grows_and_shrinks_while_it_is_used() {
    let pool = pool(8);
    let mut local = pool.local_pool("task").required(2).maximum(2).build().unwrap();
    let mut other = pool.local_pool("other").build().unwrap();
    let borrowed = take_all(&mut other);
    assert_eq!(borrowed.len(), 6);
    local.resize(4, 4).unwrap();
    assert_eq!(pool.usage().surplus, -2, "owed");
    let mut held = take_all(&mut local);
    assert_eq!(held.len(), 2);
    drop(borrowed);
    held.extend(take_all(&mut local));
    assert_eq!((held.len(), pool.usage().surplus), (4, 4));
    let error = local.resize(9, 9).unwrap_err();
    assert!(matches!(error, PoolError::Insufficient { required: 9, available: 8, total: 8, .. }), "{error}");
    assert!(matches!(local.resize(2, 1), Err(PoolError::MaximumBelowRequired { .. })));
    assert!(matches!(local.resize(0, 0), Err(PoolError::Nothing { .. })));
    assert_eq!((local.required(), local.maximum()), (4, 4), "as it was");

    local.resize(1, 3).unwrap();
    assert_eq!((local.lent(), pool.usage().surplus), (4, 4));
    for surplus in [5, 6, 7] {
        held.pop();
        assert_eq!(pool.usage().surplus, surplus, "what comes back is surplus at once, wherever it is dropped");
    }
    local.recycle(held.pop().unwrap());
    assert_eq!(pool.usage().surplus, 7, "and the last one is its own");
    held = take_all(&mut local);
    assert_eq!((held.len(), pool.usage().pools[0].held), (3, 3));
    drop((held, local, other));
    assert_eq!((pool.usage().surplus, pool.in_use()), (8, 0));
}

#[test]
fn what_is_free_is_given_up_before_what_is_lent() {
    let pool = pool(8);
    let mut local = pool.local_pool("task").required(6).maximum(6).build().unwrap();
    let mut held = take_all(&mut local);
    held.truncate(3); // three are free, here
    local.resize(3, 6).unwrap();
    assert_eq!((pool.usage().surplus, pool.in_use(), local.lent()), (5, 3, 3));
    let first = held[0].as_ptr();
    local.recycle(held.remove(0));
    assert_eq!(local.try_request().unwrap().as_ptr(), first, "the home is the same");
    let there = thread::spawn(move || drop(held));
    there.join().unwrap();
    assert_eq!((pool.usage().surplus, local.lent()), (5, 0));
}

#[test]
fn a_pool_that_has_failed_serves_what_is_at_hand_and_no_more() {
    let pool = pool(4);
    let mut local = pool.local_pool("task").required(1).channels(1).maximum_per_channel(1).build().unwrap();
    let mut buffer = local.try_request_for(0).unwrap();
    assert!(local.failure().is_none());
    let control = local.control();
    control.fail("first");
    control.fail("second");
    assert_eq!(local.failure().unwrap().to_string(), "first");
    assert_eq!(control.failure().unwrap().cause().to_string(), "first");
    for error in [
        local.try_request().unwrap_err(),
        local.request().unwrap_err(),
        local.request_for(0).unwrap_err(),
        local.request_timeout(Duration::from_secs(100)).unwrap_err(),
        local.request_many(2, &mut Vec::new()).unwrap_err(),
        local.try_request_overdraft().unwrap_err(),
    ] {
        assert_eq!(error, RequestError::Failed);
    }
    assert!(!local.is_available());
    assert_eq!(local.poll_available(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(RequestError::Failed)),);
    buffer[0] = 1;
    drop(buffer);
    drop(local);
    assert_eq!((pool.in_use(), control.usage().held), (0, 0));
}

#[test]
fn each_way_of_waiting_gets_what_comes_back() {
    for strategy in [WaitStrategy::Spin, WaitStrategy::Yield, WaitStrategy::SpinThenPark, WaitStrategy::Park] {
        let pool = pool(1);
        let mut local = pool.local_pool("task").required(1).waiting(strategy).build().unwrap();
        for _ in 0..if cfg!(miri) { 3 } else { 100 } {
            let buffer = local.request().unwrap();
            let returner = thread::spawn(move || drop(buffer));
            drop(local.request().unwrap());
            returner.join().unwrap();
        }
        let held = local.request().unwrap();
        assert_eq!(local.request_timeout(Duration::from_millis(1)).unwrap_err(), RequestError::TimedOut);
        let control = local.control();
        let failing = thread::spawn(move || control.fail("cancelled"));
        assert_eq!(local.request().unwrap_err(), RequestError::Failed, "{strategy:?}");
        failing.join().unwrap();
        drop(held);
    }
}
