//! See `checks/faults.rs`.
#![no_main]

// Panics that are caught on their way are part of the check.
libfuzzer_sys::fuzz_target!(init: piton_fuzz::let_panics_pass(), |input: &[u8]| piton_fuzz::checks::faults::check(input));
