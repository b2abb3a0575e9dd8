//! The oracles of the fuzz targets, without a fuzzer: over the seeds that are checked in, what is one step from them,
//! and garbage. An allocator watches that no input makes them take more memory than it is worth.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    collections::BTreeSet,
    fs,
    path::PathBuf,
};

use forebay::fuzzing;
use proptest::prelude::*;

type Oracle = fn(&[u8]);

/// Each fuzz target, by the name of its file.
const ORACLES: [(&str, Oracle); 11] = [
    ("client_conversation", net::client_conversation),
    ("decompression", fuzzing::decompression),
    ("element_stream", fuzzing::element_stream),
    ("event", fuzzing::event),
    ("frames", fuzzing::frames),
    ("gates", fuzzing::gates),
    ("pools", fuzzing::pools),
    ("server_conversation", net::server_conversation),
    ("spanning", fuzzing::spanning),
    ("stream_element", fuzzing::stream_element),
    ("values", fuzzing::values),
];

#[cfg(feature = "net")]
use forebay::fuzzing as net;

/// Without the feature there is no conversation to judge.
#[cfg(not(feature = "net"))]
mod net {
    pub(crate) fn client_conversation(_: &[u8]) {}
    pub(crate) fn server_conversation(_: &[u8]) {}
}

struct Watching;

thread_local! {
    /// The largest allocation of this thread since it was set to 0, in bytes.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LARGEST.set(LARGEST.get().max(layout.size()));
        // SAFETY: the caller's promise, passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise, passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

/// The oracle's own verdict; and however large a length is announced, memory is taken for what is there.
fn judge(oracle: Oracle, input: &[u8]) {
    /// What the library may reserve on the word of a count, and what an oracle makes of each byte it was given.
    const MOST: usize = 1 << 16;
    const MOST_A_BYTE: usize = 128;
    LARGEST.set(0);
    oracle(input);
    let largest = LARGEST.get();
    assert!(largest <= MOST + MOST_A_BYTE * input.len(), "{largest} bytes for an input of {}: {input:?}", input.len());
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| file.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Every place in a seed, or, if it is long, some.
fn places(seed: &[u8]) -> impl Iterator<Item = usize> + use<> {
    (0..seed.len()).step_by(seed.len() / 64 + 1)
}

#[test]
fn every_fuzz_target_has_its_oracle_here() {
    let targets = fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets")).unwrap();
    let name = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let targets: BTreeSet<_> = targets.map(|file| name(file.unwrap().path())).collect();
    assert_eq!(targets, ORACLES.iter().map(|&(target, _)| target.to_owned()).collect());
}

#[test]
fn the_oracles_hold_for_their_seeds_and_all_parts_of_them() {
    for (target, oracle) in ORACLES {
        let seeds = seeds(target);
        assert!(!seeds.is_empty());
        for (_, seed) in seeds {
            judge(oracle, &seed);
            places(&seed).for_each(|end| judge(oracle, &seed[..end]));
        }
    }
}

#[test]
fn the_oracles_hold_for_seeds_with_one_byte_changed() {
    for (target, oracle) in ORACLES {
        for (_, mut seed) in seeds(target) {
            for at in places(&seed) {
                let byte = seed[at];
                for changed in [0, 1, 0x7F, 0x80, 0xFF, byte ^ 1, byte.wrapping_add(1)] {
                    seed[at] = changed;
                    judge(oracle, &seed);
                }
                seed[at] = byte;
            }
        }
    }
}

proptest! {
    #[test]
    fn the_oracles_hold_for_garbage(input in prop::collection::vec(any::<u8>(), 0..200)) {
        ORACLES.iter().for_each(|&(_, oracle)| judge(oracle, &input));
    }

    #[test]
    fn the_oracles_hold_for_what_is_mostly_zeros(
        input in prop::collection::vec(prop_oneof![4 => Just(0_u8), 2 => 0_u8..9, 1 => any::<u8>()], 0..200),
    ) {
        ORACLES.iter().for_each(|&(_, oracle)| judge(oracle, &input));
    }

    /// Garbage of this length is mostly requests and returns; see the oracle.
    #[test]
    fn pools_do_as_their_model_does(input in prop::collection::vec(any::<u8>(), 100..600)) {
        fuzzing::pools(&input);
    }

    #[test]
    fn every_kind_of_value_is_read_from_garbage(
        kind in 0..fuzzing::VALUE_KINDS as u8,
        record in prop::collection::vec(prop_oneof![0_u8..9, any::<u8>()], 0..60),
    ) {
        judge(fuzzing::values, &[&[kind], &record[..]].concat());
    }
}
