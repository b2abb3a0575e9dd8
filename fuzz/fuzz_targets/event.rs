//! The bytes of an event are those that the event read from them gives.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::event(input));
