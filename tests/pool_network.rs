//! The network pool itself: its size, requests without a local pool, exclusive segments, hygiene, what it tells, scale.

use std::{
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use forebay::{
    buffer::{Buffer, BufferMut},
    memory::{page_size, total_memory},
    pool::{LocalBufferPool, NetworkBufferPool, NetworkBufferPoolBuilder, PoolError, RequestError},
};

fn builder(segments: u32) -> NetworkBufferPoolBuilder {
    NetworkBufferPool::builder().segments(segments).segment_size(page_size())
}

fn pool(segments: u32) -> NetworkBufferPool {
    builder(segments).build().unwrap()
}

fn take_all(local: &mut LocalBufferPool) -> Vec<BufferMut> {
    std::iter::from_fn(|| local.try_request().ok()).collect()
}

#[test]
fn a_pool_is_as_large_as_it_is_said_to_be() {
    let segments = |builder: NetworkBufferPoolBuilder| builder.build().map(|pool| pool.segments());
    let small = NetworkBufferPool::builder().segment_size(page_size());
    let page = page_size() as u64;
    assert_eq!(segments(small.clone().bytes(10 * page + 1)).unwrap(), 10);
    assert_eq!(segments(small.clone().bytes(7).segments(3)).unwrap(), 3, "the last one said");
    assert!(matches!(segments(small.clone().bytes(page - 1)), Err(PoolError::LessThanASegment { .. })));
    assert!(matches!(segments(small.clone().bytes(u64::MAX)), Err(PoolError::TooManySegments { .. })));
    assert!(matches!(segments(small.clone().bytes(page).segment_size(0)), Err(PoolError::Arena(_))));
    assert!(matches!(segments(small.clone().segments(0)), Err(PoolError::Arena(_))));
    for fraction in [0.0, -1.0, 1.5, f64::NAN, f64::INFINITY] {
        assert!(matches!(segments(small.clone().fraction_of_memory(fraction)), Err(PoolError::Fraction { .. })));
    }
    match total_memory() {
        None => assert!(matches!(segments(small.fraction_of_memory(0.5)), Err(PoolError::MemoryUnknown))),
        Some(bytes) => {
            let fraction = 64.0 * page as f64 / bytes as f64;
            let got = segments(small.fraction_of_memory(fraction)).unwrap();
            assert!((63..=64).contains(&got), "{got}");
        }
    }
}

#[test]
fn who_has_no_local_pool_takes_of_the_surplus() {
    let pool = pool(4);
    let mut local = pool.local_pool("local").required(2).build().unwrap();
    let mut held = Vec::new();
    pool.try_request_many(2, &mut held).unwrap();
    assert_eq!(pool.try_request().unwrap_err(), RequestError::Exhausted);
    assert_eq!(pool.try_request_many(5, &mut held), Err(RequestError::TooMany));
    assert_eq!(pool.request_many_timeout(1, &mut held, Duration::ZERO), Err(RequestError::TimedOut));
    assert_eq!(take_all(&mut local).len(), 2, "the guarantee holds");
    assert_eq!((pool.usage().direct, held.len()), (2, 2));
    let returner = thread::spawn(move || drop(held));
    let mut both = Vec::new();
    pool.request_many_timeout(2, &mut both, Duration::MAX).unwrap();
    returner.join().unwrap();
    drop(both);
    assert_eq!(pool.request_timeout(Duration::ZERO).map(|buffer| buffer.len()), Ok(page_size()));
    assert_eq!(pool.usage().direct, 0);
}

#[test]
fn exclusive_segments_are_promised_as_a_pools_are() {
    let pool = pool(4);
    let mut greedy = pool.local_pool("greedy").build().unwrap();
    let mut borrowed = take_all(&mut greedy);
    let error = pool.request_exclusive("connection", 2, Duration::ZERO).unwrap_err();
    assert!(matches!(error, PoolError::TimedOut { wanted: 2, got: 0 }), "{error}");
    assert_eq!((pool.usage().surplus, pool.usage().exclusive), (0, 0), "nothing is held");
    borrowed.truncate(3);
    let error = pool.request_exclusive("connection", 2, Duration::ZERO).unwrap_err();
    assert!(matches!(error, PoolError::TimedOut { wanted: 2, got: 1 }), "{error}");
    assert_eq!((pool.in_use(), pool.usage().surplus), (3, 1));

    borrowed.truncate(1);
    let exclusive = pool.request_exclusive("connection", 3, Duration::MAX).unwrap();
    let error = pool.local_pool("late").required(2).build().unwrap_err();
    assert!(
        error.to_string().contains(r#"("(exclusive segments)" requires 3, holds 3; "greedy" requires 0, holds 1)"#),
        "{error}"
    );
    let error = pool.request_exclusive("another", 2, Duration::MAX).unwrap_err();
    assert!(matches!(error, PoolError::Insufficient { required: 2, available: 1, .. }), "{error}");
    drop((exclusive, borrowed));
    assert_eq!(pool.request_exclusive("all", 4, Duration::ZERO).unwrap().len(), 4);
    assert!(pool.request_exclusive("none", 0, Duration::ZERO).unwrap().is_empty());
    assert_eq!((pool.in_use(), pool.usage().surplus, pool.usage().exclusive), (0, 4, 0));
}

#[test]
fn buffers_without_a_pool_outlive_the_network_pool() {
    let pool = pool(2);
    let direct: Buffer = pool.try_request().unwrap().into();
    let exclusive = pool.request_exclusive("connection", 1, Duration::ZERO).unwrap();
    let clone = direct.clone();
    drop(pool);
    thread::spawn(move || drop((clone, exclusive))).join().unwrap();
    assert_eq!(direct.len(), page_size());
}

#[test]
fn no_bytes_of_one_user_are_seen_by_the_next() {
    for (pool, byte) in [
        (builder(1).zero_recycled(true).build(), 0),
        (builder(1).zero_recycled(true).poison_recycled(true).build(), 0xDB),
    ] {
        let pool = pool.unwrap();
        let clean = |buffer: &[u8]| buffer.iter().all(|&it| it == byte);
        let mut local = pool.local_pool("one").required(1).build().unwrap();
        let mut secret = local.try_request().unwrap();
        assert!(secret.iter().all(|&it| it == 0), "as the system gave it");
        secret.fill(7);
        let secret: Buffer = secret.into();
        let slice = secret.slice(..3);
        drop(secret);
        assert_eq!(slice[..], [7; 3], "not while somebody reads it");
        drop(slice);
        let mut again = local.try_request().unwrap();
        assert!(clean(&again));
        again.fill(7);
        local.recycle(again);
        let mut again = local.try_request().unwrap();
        assert!(clean(&again), "by whichever way it comes back");
        again.fill(7);
        let late = again;
        drop(local);
        drop(late);
        let mut direct = pool.try_request().unwrap();
        assert!(clean(&direct), "late");
        direct.fill(7);
        drop(direct);
        assert!(clean(&pool.local_pool("other").build().unwrap().try_request().unwrap()), "borrowed");
    }
}

#[test]
fn who_wants_to_know_is_told_of_promises_that_are_not_covered() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let pool = builder(4).on_overcommit({
        let told = told.clone();
        move |what| told.lock().unwrap().push((what.pool.clone(), what.owed, what.to_string()))
    });
    let pool = pool.build().unwrap();
    let mut greedy = pool.local_pool("greedy").required(1).build().unwrap();
    let borrowed = take_all(&mut greedy);
    let mut late = pool.local_pool("late").required(1).build().unwrap();
    late.resize(2, 2).unwrap();
    let _ = pool.request_exclusive("connection", 1, Duration::ZERO);
    let owed: Vec<_> = told.lock().unwrap().iter().map(|(pool, owed, _)| (pool.clone(), *owed)).collect();
    assert_eq!(owed, [(Some("late".to_owned()), 1), (Some("late".to_owned()), 2), (None, 3)]);
    assert_eq!(
        told.lock().unwrap()[0].2,
        r#"after "late" got its guarantee, 1 segments are owed by those who borrowed them"#
    );
    drop(borrowed);
    drop(pool.local_pool("covered").required(1).build().unwrap());
    assert_eq!(told.lock().unwrap().len(), 3);
}

#[test]
fn usage_tells_people_who_has_what() {
    let pool = pool(8);
    let mut sorter = pool.local_pool("sorter").label("job 7").required(2).maximum(4).build().unwrap();
    let _parser = pool.local_pool("parser").required(1).build().unwrap();
    let held = take_all(&mut sorter);
    let direct = pool.try_request().unwrap();
    let text = pool.usage().to_string();
    let expected = format!(
        "5 of 8 segments of {} bytes in use, 5 at most so far\n\
         2 may be borrowed by any pool\n\
         0 are exclusive, 1 are lent without a pool\n  \
           \"sorter\" [job 7] requires 2 of at most 4, holds 4, fair share 3\n  \
           \"parser\" requires 1, holds 0, fair share 5\n",
        page_size()
    );
    assert_eq!(text, expected);
    assert_eq!((sorter.name(), sorter.label(), sorter.fair_share()), ("sorter", Some("job 7"), 3));
    let control = sorter.control();
    assert_eq!(control.usage(), pool.usage().pools[0]);
    drop((held, direct, sorter));
    assert_eq!(control.usage().held, 0);
}

#[test]
fn the_error_names_all_holders_and_shows_the_largest() {
    let pool = pool(40);
    let small: Vec<_> = (0..30).map(|nth| pool.local_pool(format!("p{nth}")).required(1).build().unwrap()).collect();
    let mut large = pool.local_pool("large").required(9).build().unwrap();
    let held = take_all(&mut large);
    let error = pool.local_pool("late").required(5).build().unwrap_err();
    let text = error.to_string();
    assert!(text.contains(r#"("large" requires 9, holds 10; "p0" requires 1, holds 0; "#), "{text}");
    assert!(text.contains("; and 15 more); lower `required` to 1, or give the network pool 44 segments"), "{text}");
    let PoolError::Insufficient { holders, .. } = error else { panic!("{error}") };
    assert_eq!(holders.len(), 31);
    drop((held, small));
}

#[test]
fn a_failed_network_pool_lends_no_more() {
    let pool = pool(4);
    let mut local = pool.local_pool("local").build().unwrap();
    let held = local.try_request().unwrap();
    pool.fail("first");
    pool.fail("second");
    assert_eq!(local.request().unwrap_err(), RequestError::Failed);
    assert_eq!(pool.try_request().unwrap_err(), RequestError::Failed);
    assert_eq!(pool.request_timeout(Duration::MAX).unwrap_err(), RequestError::Failed);
    assert_eq!(pool.failure().unwrap().to_string(), "first");
    assert!(matches!(pool.request_exclusive("late", 1, Duration::MAX), Err(PoolError::Failed { .. })));
    let error = pool.local_pool("late").build().unwrap_err();
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "first");
    drop((held, local));
    assert_eq!((pool.in_use(), pool.usage().surplus), (0, 4));
}

/// 10,000 local pools on 100,000 segments: each may be made, used, resized and dropped, and the fair shares add up.
#[test]
fn many_pools_share_many_segments() {
    let (segments, pools) = if cfg!(miri) { (60, 6) } else { (100_000, 10_000_u32) };
    let pool = pool(segments);
    let mut locals: Vec<_> = (0..pools)
        .map(|nth| pool.local_pool(format!("task {nth}")).required(3).maximum(3 + nth % 20).build().unwrap())
        .collect();
    let mut held: Vec<_> = locals.iter_mut().map(|local| local.try_request().unwrap()).collect();
    for (nth, local) in locals.iter_mut().enumerate() {
        local.resize(2 + nth as u32 % 3, 30).unwrap();
    }
    let usage = pool.usage();
    let shares: u64 = usage.pools.iter().map(|pool| u64::from(pool.fair_share)).sum();
    assert_eq!(shares, u64::from(segments), "all of it");
    assert!(usage.pools.iter().all(|pool| pool.held == 1));
    held.truncate(pools as usize / 2);
    drop(locals);
    drop(held);
    assert_eq!((pool.in_use(), pool.usage().surplus), (0, i64::from(segments)));
}

#[cfg(feature = "leaks")]
#[test]
fn the_leak_report_names_the_line_that_took_the_buffer() {
    let pool = pool(8);
    let mut parser = pool.local_pool("parser").required(2).channels(1).build().unwrap();
    let mut held = Vec::new();
    let line = line!() + 2;
    for _ in 0..2 {
        held.push(parser.request_timeout(Duration::ZERO).unwrap());
    }
    parser.try_request_many(2, &mut held).unwrap();
    held.push(parser.try_request_for(0).unwrap());
    let direct = pool.try_request().unwrap();
    let returned = parser.try_request().unwrap();
    parser.recycle(returned);
    let report = pool.leaks();
    let lines: Vec<_> = report.lines.iter().map(|at| (at.line - line, at.segments, at.pool.as_str())).collect();
    assert_eq!(lines, [(0, 2, "parser"), (2, 2, "parser"), (3, 1, "parser"), (4, 1, "(without a local pool)")]);
    assert!(report.lines.iter().all(|at| at.file.ends_with("pool_network.rs")));
    assert!(report.to_string().starts_with("6 segments are out\n  2 of pool \"parser\", taken at "), "{report}");
    drop((held, direct));
    assert_eq!(pool.leaks().to_string(), "0 segments are out\n");
}
