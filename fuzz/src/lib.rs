//! What the fuzz targets have in common. The checks themselves are in `checks`, which an ordinary test runs, too.

pub mod checks;

/// Lets panics be caught: the fuzzer ends the process at any. One that nobody catches still ends it, and one that is
/// expected, of an embedded database or of a plan of faults, is not even printed.
pub fn let_panics_pass() {
    std::panic::set_hook(Box::new(|panic| {
        let file = panic.location().map_or("", |location| location.file());
        if !file.contains("/sled-") && !file.ends_with("chaos/fragile.rs") {
            eprintln!("{panic}");
        }
    }));
}
