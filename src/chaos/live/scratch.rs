//! The folder in which a job is broken, so that nothing of its user's is touched.

use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A folder of its own, removed when it is dropped unless it is to be [kept](Scratch::keep).
pub(super) struct Scratch {
    path: Option<PathBuf>,
}

impl Scratch {
    /// Makes one where the system keeps what is temporary.
    ///
    /// # Errors
    /// If it cannot be made.
    pub(super) fn new(job: &str) -> Result<Scratch> {
        let own = std::process::id();
        for number in 0..1_000 {
            let path = std::env::temp_dir().join(format!("piton-chaos-{job}-{own}-{number}"));
            match DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(Scratch { path: Some(path) }),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let path = path.display();
                    return Err(Error::failed(format!("the folder \"{path}\" cannot be made: {error}; set TMPDIR")));
                }
            }
        }
        Err(Error::failed(format!("\"{}\" is full of folders of earlier runs", std::env::temp_dir().display())))
    }

    /// Returns where it is.
    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().expect("it is there until it is kept or dropped")
    }

    /// Leaves it where it is; returns that.
    pub(super) fn keep(mut self) -> PathBuf {
        self.path.take().expect("it is kept once")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(path) = &self.path
            && let Err(error) = std::fs::remove_dir_all(path)
        {
            tracing::warn!(folder = %path.display(), %error, "what the runs have left cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_gone_unless_it_is_kept() {
        let (first, second) = (Scratch::new("test").unwrap(), Scratch::new("test").unwrap());
        std::fs::write(first.path().join("file"), "x").unwrap();
        let path = first.path().to_path_buf();
        assert_ne!(path, second.path());
        drop(first);
        assert!(!path.exists());
        let kept = second.keep();
        assert!(kept.is_dir());
        std::fs::remove_dir(kept).unwrap();
    }
}
