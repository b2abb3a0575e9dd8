//! A consumer's session keeps to the protocol whatever a producer sends it.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::client_conversation(input));
