//! Any cut of a stream of framed records gives the same records.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::spanning(input));
