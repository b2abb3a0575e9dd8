//! Any cut of a stream of Flink's frames gives the same messages, and those give the stream again.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::frames(input));
