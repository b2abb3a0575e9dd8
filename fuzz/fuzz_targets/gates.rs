//! Whatever writers and a reader do, the gate delivers what a plain model says.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::gates(input));
