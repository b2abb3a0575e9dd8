//! Any cut of a stream of stream elements gives the same elements.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::element_stream(input));
