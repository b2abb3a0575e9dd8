//! Pools: conservation (M1), the bound (M2), the guarantee (M3), no lost wake-up (M4), no false empty (M5).

use std::{thread, time::Duration};

use forebay::{
    buffer::{Buffer, BufferMut},
    pool::{LocalBufferPool, NetworkBufferPool, PoolError, RequestError},
};

fn pool(segments: u32) -> NetworkBufferPool {
    NetworkBufferPool::builder().segments(segments).segment_size(4096).build().unwrap()
}

fn take_all(local: &mut LocalBufferPool) -> Vec<BufferMut> {
    std::iter::from_fn(|| local.try_request().ok()).collect()
}

#[test]
fn the_segment_returned_last_is_taken_next() {
    let pool = pool(4);
    let mut local = pool.local_pool("task").required(4).build().unwrap();
    let held = take_all(&mut local);
    let addresses: Vec<_> = held.iter().map(|buffer| buffer.as_ptr()).collect();
    drop(held); // in order, so the last one is the most recent
    assert_eq!(local.try_request().unwrap().as_ptr(), addresses[3]);
    let (a, b) = (local.try_request().unwrap(), local.try_request().unwrap());
    let first = a.as_ptr();
    local.recycle(b);
    local.recycle(a);
    assert_eq!(local.try_request().unwrap().as_ptr(), first);
}

#[test]
fn segments_are_lent_once_and_all_of_them() {
    let pool = pool(8);
    let mut one = pool.local_pool("one").required(2).build().unwrap();
    let mut other = pool.local_pool("other").required(3).maximum(5).build().unwrap();
    let (mut held, others) = (take_all(&mut one), take_all(&mut other));
    assert_eq!((held.len(), others.len()), (5, 3), "one borrowed the whole surplus of 3, other keeps its guarantee");
    held.extend(others);
    let mut addresses: Vec<_> = held.iter().map(|buffer| buffer.as_ptr()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 8, "no segment is in two places");
    assert_eq!(pool.in_use(), 8);
    drop(held);
    let most = take_all(&mut other).len();
    assert_eq!((most, pool.usage().surplus), (5, 3), "the maximum holds, the surplus is back");
    drop((one, other));
    assert_eq!((pool.in_use(), pool.most_in_use(), pool.usage().surplus), (0, 8, 8));
}

#[test]
fn a_new_pool_gets_its_guarantee_from_what_others_borrowed() {
    let pool = pool(4);
    let mut greedy = pool.local_pool("greedy").build().unwrap();
    let mut held = take_all(&mut greedy);
    assert_eq!(held.len(), 4);
    let mut late = pool.local_pool("late").required(2).build().unwrap();
    assert_eq!(late.try_request().unwrap_err(), RequestError::Exhausted);
    held.pop();
    assert_eq!(greedy.try_request().unwrap_err(), RequestError::Exhausted, "it is owed to the other");
    let first = late.try_request().unwrap();
    held.pop();
    let second = late.try_request().unwrap();
    held.clear();
    assert_eq!(take_all(&mut greedy).len(), 2);
    drop((first, second));
}

#[test]
fn too_much_required_says_who_has_it_and_what_fits() {
    let pool = pool(8);
    let _one = pool.local_pool("sorter").required(6).build().unwrap();
    let error = pool.local_pool("parser").required(5).build().unwrap_err();
    assert!(matches!(error, PoolError::Insufficient { required: 5, available: 2, total: 8, .. }));
    assert_eq!(
        error.to_string(),
        "insufficient buffers: pool \"parser\" requires 5 segments, but of 8 only 2 are not promised to other pools \
         (\"sorter\" requires 6, holds 0); lower `required` to 2, or give the network pool 11 segments"
    );
    let beyond = pool.local_pool("parser").required(u32::MAX).build().unwrap_err();
    assert!(beyond.to_string().ends_with("or give the network pool 4294967301 segments"), "{beyond}");
    assert!(matches!(pool.local_pool("a").required(2).maximum(1).build(), Err(PoolError::MaximumBelowRequired { .. })));
    assert!(matches!(pool.local_pool("a").maximum(0).build(), Err(PoolError::Nothing { .. })));
}

#[test]
fn more_segments_than_can_be_named_are_refused() {
    let error = NetworkBufferPool::builder().segments(u32::MAX).build().unwrap_err();
    assert!(matches!(error, PoolError::TooManySegments { segments: 4_294_967_295, .. }), "{error}");
}

#[test]
fn buffers_outlive_their_pools() {
    let pool = pool(4);
    let mut local = pool.local_pool("task").required(1).build().unwrap();
    let mut own = local.try_request().unwrap();
    let borrowed = local.try_request().unwrap();
    own[0] = 7;
    let (own, slice) = {
        let own: Buffer = own.into();
        let slice = own.slice(..1);
        (own, slice)
    };
    drop(local);
    assert_eq!((pool.in_use(), pool.usage().surplus), (2, 2));
    drop(own);
    assert_eq!(pool.in_use(), 2, "the slice keeps it");
    let late = pool.clone();
    drop(pool);
    assert_eq!(slice[0], 7);
    drop((slice, borrowed));
    assert_eq!((late.in_use(), late.usage().surplus), (0, 4));
    let mut local = late.local_pool("next").required(4).build().unwrap();
    drop(late);
    let held = take_all(&mut local);
    drop(local);
    thread::spawn(move || drop(held)).join().unwrap(); // the last one home unmaps the memory
}

#[test]
fn a_request_waits_for_a_return_from_another_thread() {
    let pool = pool(2);
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    // One that waits for its own segments, and one that waits for the surplus.
    let own = pool.local_pool("own").required(1).maximum(1).build().unwrap();
    let borrowing = pool.local_pool("borrowing").build().unwrap();
    let tasks: Vec<_> = [own, borrowing]
        .into_iter()
        .map(|mut local| {
            let (to_dropper, dropped) = std::sync::mpsc::channel::<BufferMut>();
            let dropper = thread::spawn(move || dropped.into_iter().for_each(drop));
            let requester = thread::spawn(move || {
                for _ in 0..rounds {
                    to_dropper.send(local.request().unwrap()).unwrap();
                }
            });
            (requester, dropper)
        })
        .collect();
    for (requester, dropper) in tasks {
        requester.join().unwrap();
        dropper.join().unwrap();
    }
    assert_eq!((pool.in_use(), pool.usage().surplus), (0, 2));
}

#[test]
fn a_request_gives_up_when_the_time_is_over() {
    let pool = pool(1);
    let mut local = pool.local_pool("task").required(1).build().unwrap();
    let _held = local.try_request().unwrap();
    assert_eq!(local.request_timeout(Duration::from_millis(1)).unwrap_err(), RequestError::TimedOut);
    assert!(local.blocked() >= Duration::from_millis(1));
}

#[test]
fn many_pools_borrow_and_return_and_nothing_is_lost() {
    let (segments, rounds, tasks) = if cfg!(miri) { (6, 30, 3) } else { (24, 20_000, 4_u32) };
    let seed = 0x5EED_u64;
    let pool = pool(segments);
    let workers: Vec<_> = (0..tasks)
        .map(|task| {
            let mut local = pool.local_pool(format!("task {task}")).required(task).build().unwrap();
            thread::spawn(move || {
                let mut random = seed + u64::from(task);
                let mut held = Vec::new();
                for _ in 0..rounds {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    if random >> 33 & 3 < 2 {
                        held.extend(local.try_request().map(|mut buffer| {
                            buffer.segment().put_u32_be(0, task);
                            buffer
                        }));
                    } else if !held.is_empty() {
                        let buffer = held.swap_remove((random >> 40) as usize % held.len());
                        assert_eq!(buffer[..4], task.to_be_bytes(), "seed {seed:#x}: somebody else wrote here");
                        if random >> 35 & 1 == 0 { local.recycle(buffer) } else { drop(buffer) }
                    }
                }
            })
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert_eq!((pool.in_use(), pool.usage().surplus), (0, i64::from(segments)), "seed {seed:#x}");
}
