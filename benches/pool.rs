//! One request and recycle, forebay's and what a reader would reach for instead: `cargo bench --bench pool`.
//!
//! For ratios that noise does not reach, see `benches/ratios.rs`.
#![allow(missing_docs, unreachable_pub, dead_code)]

#[path = "support/mod.rs"]
mod support;

use std::{hint::black_box, sync::Mutex};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;

fn request_recycle(c: &mut Criterion) {
    let mut group = c.benchmark_group("request_recycle");
    group.throughput(Throughput::Elements(1));
    for segments in [64_u32, 4096] {
        let mut pool = support::local(segments);
        group.bench_function(BenchmarkId::new("forebay, by the owner", segments), |b| {
            b.iter(|| {
                let buffer = black_box(pool.try_request().expect("free"));
                pool.recycle(buffer);
            });
        });
        group.bench_function(BenchmarkId::new("forebay, by drop", segments), |b| {
            b.iter(|| drop(black_box(pool.try_request().expect("free"))));
        });
        let queue = ArrayQueue::new(segments as usize);
        (0..segments).for_each(|id| queue.push(id).expect("room"));
        group.bench_function(BenchmarkId::new("crossbeam ArrayQueue", segments), |b| {
            b.iter(|| queue.push(black_box(queue.pop().expect("full"))).expect("room"));
        });
        let stack = Mutex::new((0..segments).collect::<Vec<_>>());
        group.bench_function(BenchmarkId::new("Mutex<Vec>", segments), |b| {
            b.iter(|| {
                let id = stack.lock().expect("sound").pop().expect("full");
                stack.lock().expect("sound").push(black_box(id));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, request_recycle);
criterion_main!(benches);
