//! See `checks/in_flight.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| piton_fuzz::checks::in_flight::check(input));
