//! A stream element is written as it was read.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::stream_element(input));
