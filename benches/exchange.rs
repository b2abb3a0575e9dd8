//! Records from one thread to another, forebay's and a program written by hand for just this:
//! `cargo bench --bench exchange`.
//!
//! For ratios that noise does not reach, see `benches/ratios.rs`.
#![allow(missing_docs, unreachable_pub, dead_code)]

#[path = "support/mod.rs"]
mod support;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{
    SEGMENT,
    exchange::{forebay, limit},
};

fn exchange(c: &mut Criterion) {
    let mut group = c.benchmark_group("exchange");
    group.sample_size(10);
    for payload in [8, 64, 256, 1024, SEGMENT - 8] {
        group.throughput(Throughput::Bytes(payload as u64));
        // One iteration is a record; a run has at least enough of them to hide the start of a thread.
        let per_record = |run: fn(u64, usize) -> std::time::Duration| {
            move |iterations: u64| {
                let records = iterations.max(20_000);
                run(records, payload).mul_f64(iterations as f64 / records as f64)
            }
        };
        group.bench_function(BenchmarkId::new("forebay", payload), |b| {
            b.iter_custom(per_record(forebay));
        });
        group.bench_function(BenchmarkId::new("the limit, by hand", payload), |b| {
            b.iter_custom(per_record(|records, payload| limit(records, payload, 0)));
        });
    }
    group.finish();
}

criterion_group!(benches, exchange);
criterion_main!(benches);
