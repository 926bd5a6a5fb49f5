//! Errors of the engine, in the kinds that whoever started it acts on differently: its exit code.

use std::fmt;

/// What a command returns.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The job failed, or an invariant was broken.
    Failed,
    /// The configuration or the command line is wrong: nothing was started.
    Config,
    /// The state directory was refused: locked, damaged, of another format, or it does not fit the topology.
    State,
}

impl ErrorKind {
    /// Returns the exit code of a process that ends with such an error.
    pub fn exit_code(self) -> u8 {
        match self {
            ErrorKind::Failed => 1,
            ErrorKind::Config => 2,
            ErrorKind::State => 3,
        }
    }
}

/// An error as it is shown: a kind and one or a few plain lines.
///
/// Mistakes in a topology file are all in one error, a line for each.
#[derive(Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    lines: Vec<String>,
}

impl Error {
    /// Creates an error of the given kind with one line for each message.
    ///
    /// # Panics
    /// If there is no line: an error that says nothing helps nobody.
    pub fn new(kind: ErrorKind, lines: Vec<String>) -> Error {
        assert!(!lines.is_empty(), "an error needs a message");
        Error { kind, lines }
    }

    /// Creates an error that says the job failed.
    pub fn failed(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Failed, vec![message.into()])
    }

    /// Creates an error of configuration or usage.
    pub fn config(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Config, vec![message.into()])
    }

    /// Creates an error that refuses the state directory.
    pub fn state(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::State, vec![message.into()])
    }

    /// Adds what was being done, in front of the first line.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Error {
        self.lines[0] = format!("{what}: {}", self.lines[0]);
        self
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Returns the lines, in the order in which they should be read.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines.join("\n"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.kind)
    }
}

impl std::error::Error for Error {}

impl From<piton_actors::Error> for Error {
    fn from(error: piton_actors::Error) -> Error {
        Error::failed(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn context_goes_before_the_first_line_only() {
        let error = Error::new(ErrorKind::State, vec!["a".into(), "b".into()]).context("while opening");
        assert_eq!(error.to_string(), "while opening: a\nb");
        assert_eq!(error.kind().exit_code(), 3);
    }
}
