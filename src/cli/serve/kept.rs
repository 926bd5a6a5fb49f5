//! What is kept of the jobs on disk, so that a process that takes over goes on with them.
//!
//! ```text
//! LOCK              held for the life of the process
//! NAME/job.toml     the text of the topology that the job runs by
//! NAME/served.toml  from where the job came, and whether it is to run
//! NAME/state/       its checkpoints: a state directory like that of `piton run`
//! ```
//!
//! Nothing here is shared between jobs: damage in one folder is the matter of one job.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::serve::accept::check_name;
use crate::error::{Error, Result};

/// The folder of the jobs. It is this process's until it is dropped.
#[derive(Debug)]
pub(super) struct Root {
    dir: PathBuf,
    _lock: File,
}

/// What is known of a job beside its text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Served {
    /// The file that it came from; nothing if it was submitted.
    pub(super) file: Option<PathBuf>,
    /// Whether it is to run.
    pub(super) wanted: Wanted,
}

/// What somebody has asked for last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Wanted {
    /// It is to run.
    Running,
    /// It was stopped.
    Stopped,
    /// It was cancelled.
    Canceled,
}

impl Root {
    /// Opens the folder, making it if it is not there.
    ///
    /// # Errors
    /// Of kind `State` if it is another process's, or the disk says no.
    pub(super) fn open(dir: &Path) -> Result<Root> {
        let refused = |error: io::Error| Error::state(format!("cannot use the folder \"{}\": {error}", dir.display()));
        fs::create_dir_all(dir).map_err(refused)?;
        let lock = File::options().create(true).append(true).open(dir.join("LOCK")).map_err(refused)?;
        if lock.try_lock().is_err() {
            return Err(Error::state(format!("another process serves the jobs of \"{}\"", dir.display())));
        }
        let dir = fs::canonicalize(dir).map_err(refused)?;
        Ok(Root { dir, _lock: lock })
    }

    /// Returns the topology file of a job. The name has been checked.
    pub(super) fn file(&self, job: &str) -> PathBuf {
        self.folder(job).join("job.toml")
    }

    /// Returns the state directory of a job. The name has been checked.
    pub(super) fn state(&self, job: &str) -> PathBuf {
        self.folder(job).join("state")
    }

    fn folder(&self, job: &str) -> PathBuf {
        debug_assert!(check_name(job).is_ok(), "the name of a job is checked before it is that of a folder");
        self.dir.join(job)
    }

    /// Returns the jobs that are kept, in order of their names, or why one of them cannot be read.
    pub(super) fn jobs(&self) -> Vec<(String, Result<(Served, String)>)> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> =
            names.filter(|name| check_name(name).is_ok() && self.folder(name).is_dir()).collect();
        names.sort();
        names.into_iter().map(|name| (name.clone(), self.read(&name))).collect()
    }

    fn read(&self, job: &str) -> Result<(Served, String)> {
        let folder = self.folder(job);
        let unreadable =
            |what: String| Error::state(format!("what is kept in \"{}\" cannot be read: {what}", folder.display()));
        let text =
            |name: &str| fs::read_to_string(folder.join(name)).map_err(|error| unreadable(format!("{name}: {error}")));
        let served =
            toml::from_str(&text("served.toml")?).map_err(|error| unreadable(format!("served.toml: {error}")))?;
        Ok((served, text("job.toml")?))
    }

    /// Keeps what a job runs by, durably.
    ///
    /// # Errors
    /// If the disk says no.
    pub(super) fn keep(&self, job: &str, served: &Served, text: &str) -> Result<()> {
        let folder = self.folder(job);
        let unwritable = |error: io::Error| Error::failed(format!("cannot write to \"{}\": {error}", folder.display()));
        let encoded = toml::to_string(served).map_err(|error| Error::failed(error.to_string()))?;
        fs::create_dir_all(&folder).map_err(unwritable)?;
        replace(&folder.join("job.toml"), text).map_err(unwritable)?;
        replace(&folder.join("served.toml"), &encoded).map_err(unwritable)?;
        for dir in [&folder, &self.dir] {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(unwritable)?;
        }
        Ok(())
    }

    /// Forgets a job, with its state.
    ///
    /// # Errors
    /// If the disk says no.
    pub(super) fn forget(&self, job: &str) -> Result<()> {
        let folder = self.folder(job);
        fs::remove_dir_all(&folder)
            .map_err(|error| Error::failed(format!("cannot remove \"{}\": {error}", folder.display())))
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_there_the_next_time_and_damage_is_one_jobs_matter() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let served = Served { file: Some("jobs/a.toml".into()), wanted: Wanted::Stopped };
        root.keep("a", &served, "[sources]").unwrap();
        root.keep("b", &Served { file: None, wanted: Wanted::Running }, "text").unwrap();
        fs::write(dir.path().join("b/served.toml"), "wanted = 7").unwrap();
        assert_eq!(Root::open(dir.path()).unwrap_err().kind().exit_code(), 3, "it is another's");
        drop(root);
        let root = Root::open(dir.path()).unwrap();
        let jobs = root.jobs();
        assert_eq!(jobs.len(), 2);
        assert_eq!(jobs[0], ("a".into(), Ok((served, "[sources]".into()))));
        assert!(jobs[1].1.as_ref().unwrap_err().to_string().contains("served.toml"));
        root.forget("b").unwrap();
        assert_eq!(root.jobs().len(), 1);
    }
}
