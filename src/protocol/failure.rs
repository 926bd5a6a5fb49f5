//! A failure of user code, and the guard that turns a panic into one.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use piton_actors::{Error, ErrorKind};

/// What the supervisor has to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The operator, source or sink to blame, by its name in the topology.
    pub operator: String,
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What it said.
    pub message: String,
    /// Whether the record to blame was to be found, but the journal did not reach back far enough.
    pub beyond_journal: bool,
    /// Whether it was let happen from outside: it says nothing about any record.
    pub is_injected: bool,
}

/// What a fault that is let happen in a real run panics with, or is made an error of: it is treated as any other failure
/// is, but no record is to blame for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Injected;

/// What a fault that somebody has planned says of itself.
pub(crate) const MEANT: &str = "a fault of the plan";

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MEANT)
    }
}

impl std::error::Error for Injected {}

/// Why user code did not come back with `Ok`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// It panicked.
    Panic,
    /// It did not come back in time, and was abandoned.
    Hung,
    /// It returned an error of this kind.
    Error(ErrorKindTag),
    /// Nothing that user code did: the engine or the store.
    Engine,
}

/// [`ErrorKind`] as a value that can be compared and copied into events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKindTag {
    /// See [`ErrorKind::Poison`].
    Poison,
    /// See [`ErrorKind::Failed`].
    Failed,
    /// See [`ErrorKind::Unavailable`].
    Unavailable,
    /// See [`ErrorKind::Invalid`].
    Invalid,
}

impl From<ErrorKind> for ErrorKindTag {
    fn from(kind: ErrorKind) -> Self {
        match kind {
            ErrorKind::Poison => ErrorKindTag::Poison,
            ErrorKind::Failed => ErrorKindTag::Failed,
            ErrorKind::Unavailable => ErrorKindTag::Unavailable,
            ErrorKind::Invalid => ErrorKindTag::Invalid,
        }
    }
}

impl Failure {
    /// Makes a failure of what user code returned.
    pub fn error(operator: impl Into<String>, error: &Error) -> Failure {
        let is_injected = error.source().is_some_and(|source| source.is::<Injected>());
        let kind = FailureKind::Error(error.kind().into());
        Failure { is_injected, ..Failure::new(operator, kind, error.to_string()) }
    }

    /// Makes a failure of a caught panic.
    pub fn panic(operator: impl Into<String>, payload: &(dyn Any + Send)) -> Failure {
        let is_injected = payload.is::<Injected>();
        Failure { is_injected, ..Failure::new(operator, FailureKind::Panic, panic_message(payload)) }
    }

    /// As [`Failure::panic`], and drops the payload, whatever that does.
    pub fn panicked(operator: impl Into<String>, payload: Box<dyn Any + Send>) -> Failure {
        let failure = Failure::panic(operator, &*payload);
        drop_quietly(payload);
        failure
    }

    /// Makes a failure of a call that did not come back for so long.
    pub fn hung(operator: impl Into<String>, timeout: impl fmt::Display) -> Failure {
        let message = format!("a call of it got nowhere for {timeout} (recovery.hang_timeout) and was abandoned");
        Failure::new(operator, FailureKind::Hung, message)
    }

    /// Makes a failure of the engine itself.
    pub fn engine(operator: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure::new(operator, FailureKind::Engine, message)
    }

    fn new(operator: impl Into<String>, kind: FailureKind, message: impl Into<String>) -> Failure {
        let (operator, message) = (operator.into(), message.into());
        Failure { operator, kind, message, beyond_journal: false, is_injected: false }
    }

    /// Returns whose failure it is, in a word: that of user code which panicked, hung or returned an error, or the engine's.
    pub fn cause(&self) -> &'static str {
        match self.kind {
            FailureKind::Panic => "panic",
            FailureKind::Hung => "hung",
            FailureKind::Error(_) => "error",
            FailureKind::Engine => "engine",
        }
    }

    /// Returns whether restarting cannot help.
    pub fn is_final(&self) -> bool {
        self.kind == FailureKind::Error(ErrorKindTag::Invalid)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let did = match self.kind {
            FailureKind::Panic => "panicked",
            FailureKind::Hung => "hung",
            FailureKind::Error(_) | FailureKind::Engine => "failed",
        };
        write!(f, "\"{}\" {did}: {}", self.operator, self.message)
    }
}

/// Returns what a panic said.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.or_else(|| payload.is::<Injected>().then_some(MEANT));
    text.unwrap_or("a panic without a message").to_string()
}

/// Calls user code, turning an error or a panic into a failure of `operator`.
///
/// After a panic the callee may be half-way through a change: the caller must not use it again, only drop it.
pub(crate) fn guard<T>(operator: &str, call: impl FnOnce() -> piton_actors::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::error(operator, &error)),
        Err(payload) => Err(Failure::panicked(operator, payload)),
    }
}

/// Drops what user code has left in an unknown state, or has panicked with: its `Drop` may panic, too. Returns whether
/// it has not.
pub(crate) fn drop_quietly<T>(something: T) -> bool {
    match catch_unwind(AssertUnwindSafe(|| drop(something))) {
        Ok(()) => true,
        Err(payload) => {
            // Whoever panics in a `drop` may also panic with something that does.
            std::mem::forget(payload);
            false
        }
    }
}
