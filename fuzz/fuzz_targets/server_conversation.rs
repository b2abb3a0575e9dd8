//! A producer's session keeps to the protocol whatever a consumer sends it.
#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| forebay::fuzzing::server_conversation(input));
