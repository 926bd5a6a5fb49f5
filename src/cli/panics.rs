//! Panics: one plain line for each, and an internal error for one that nobody was prepared for.
//!
//! A panic of an operator is caught by the engine, which says whose it was and restarts it; what is added here is the
//! place in the code. Rust's own report comes only with `RUST_BACKTRACE`.

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};

use piton_actors::host::is_asking;

use crate::error::{Error, Result};

/// Replaces Rust's report of panics.
pub(super) fn install() {
    let is_wanted = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    let own = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if is_asking() {
            return;
        }
        report(info);
        if is_wanted {
            own(info);
        }
    }));
}

/// Says nothing of panics any more: they are meant.
pub(super) fn silence() {
    panic::set_hook(Box::new(|_| {}));
}

/// Runs a command; a panic of the command itself becomes an error.
pub(super) fn guard<T>(command: impl FnOnce() -> Result<T>) -> Result<T> {
    match panic::catch_unwind(AssertUnwindSafe(command)) {
        Ok(result) => result,
        Err(payload) => {
            let what = message(&*payload);
            Err(Error::failed(format!("internal error: {what}; this is a mistake in piton, not in the job")))
        }
    }
}

fn report(info: &PanicHookInfo<'_>) {
    let place = info.location().map_or_else(|| "an unknown place".to_string(), ToString::to_string);
    tracing::warn!("panicked at {place}: {}", message(info.payload()));
}

fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_of_a_command_is_an_internal_error() {
        let error = guard::<()>(|| panic!("the {} is wrong", "sky")).unwrap_err();
        assert!(error.to_string().starts_with("internal error: the sky is wrong"), "{error}");
        assert_eq!(error.kind().exit_code(), 1);
    }
}
