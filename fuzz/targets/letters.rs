//! See `checks/letters.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| piton_fuzz::checks::letters::check(input));
