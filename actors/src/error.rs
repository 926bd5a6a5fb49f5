//! Errors of user code, in the four kinds that the supervisor acts on differently.
//!
//! A kind exists only because something different happens: a poison record is set aside, a failed operator is
//! restarted, an unavailable outside system is tried again after a back-off, and an invalid set-up stops the job.

use std::fmt;

/// What a hook of an operator, source or sink returns.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// What the supervisor does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// This record can never be processed: it is set aside as the job's `on_poison` says.
    Poison,
    /// Something broke: the operator restarts from what was committed.
    Failed,
    /// Something outside is away: wait and try again, without a restart.
    Unavailable,
    /// The set-up is wrong: restarting cannot help, so the job stops.
    Invalid,
}

/// An error of user code: a kind, a message, and optionally its cause.
///
/// `?` turns any standard error into one of kind [`ErrorKind::Failed`], which is why this type does not itself
/// implement [`std::error::Error`] (the same trade as in `anyhow`).
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// Creates an error of the given kind from a message.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error { kind, message: message.into(), source: None }
    }

    /// Creates an error that sets the current record aside.
    pub fn poison(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Poison, message)
    }

    /// Creates an error that restarts the operator.
    pub fn failed(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Failed, message)
    }

    /// Creates an error that makes the engine wait and try again.
    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Unavailable, message)
    }

    /// Creates an error that stops the job.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Invalid, message)
    }

    /// Adds what was being done when the error came up, in front of the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Error {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Returns what the supervisor does about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the message without its causes.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the standard error that it was made of, if it was.
    pub fn source(&self) -> Option<&(dyn std::error::Error + Send + Sync + 'static)> {
        self.source.as_deref()
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Error {
    fn from(source: E) -> Error {
        Error { kind: ErrorKind::Failed, message: source.to_string(), source: Some(Box::new(source)) }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        // The message of a converted error is the error's own; only what lies below it adds something.
        let mut cause = self.source.as_deref().and_then(|source| source.source());
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}
