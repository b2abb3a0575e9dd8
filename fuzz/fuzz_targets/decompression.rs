//! A compressed piece holds what it announces, and never more than there is room for.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::decompression(input));
