//! Pools do as a plain model of them does.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::pools(input));
