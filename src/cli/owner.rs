//! Whose the files in a sink's folder are.
//!
//! The files of a sink are called after the sink. Two jobs that write to one folder under one name would take each other's
//! files for their own: so while a job runs there is a hidden file that says who it is, and another one is refused. A
//! process that is killed leaves it behind, with files that may not be whole; one that ends takes it away.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::output::{FileSink, file_sinks};
use crate::cli::text::count;
use crate::error::{Error, Result};
use crate::store::SledStore;
use crate::topology::Plan;

/// Who writes the files of a sink.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    /// The name of the job.
    job: String,
    /// Where its state was when it started last.
    state: PathBuf,
}

impl Owner {
    fn of(plan: &Plan) -> Owner {
        let state = &plan.settings.store.path;
        let state = fs::canonicalize(state).or_else(|_| std::path::absolute(state)).unwrap_or_else(|_| state.clone());
        Owner { job: plan.settings.job.name.clone(), state }
    }

    /// Returns whether that is the same job: a stopped one may be moved or copied with its state, or renamed where it is.
    fn is(&self, other: &Owner) -> bool {
        self.job == other.job || self.state == other.state
    }

    /// Returns whether it runs, as far as its state tells, if that is another one.
    fn runs_beside(&self, own: &Owner) -> bool {
        self.state != own.state && SledStore::is_in_use(&self.state)
    }
}

fn mark(sink: &FileSink<'_>) -> PathBuf {
    sink.folder.join(format!(".{}.owner", sink.name))
}

/// Returns what the file says; nothing if it is not there, or is no such file.
fn read(mark: &Path) -> Option<Owner> {
    toml::from_str(&fs::read_to_string(mark).ok()?).ok()
}

/// Refuses a job whose sinks would write among the files of another one, before anything of it is touched.
///
/// # Errors
/// Of kind `State`, with the other job's name.
pub(super) fn check(plan: &Plan) -> Result {
    let own = Owner::of(plan);
    let mut lines = Vec::new();
    for sink in file_sinks(plan) {
        let Some(owner) = read(&mark(&sink)) else { continue };
        let files = sink.files()?;
        let files = files.committed.len() + files.unfinished.len();
        let is_other = files > 0 && !owner.is(&own);
        if is_other || owner.runs_beside(&own) {
            lines.push(line(&sink, &owner, files));
        }
    }
    refuse(plan, lines)
}

/// The files that say whose a job's files are; dropping this removes them.
#[derive(Debug, Default)]
pub(super) struct Claim {
    marks: Vec<PathBuf>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        for mark in &self.marks {
            // Whoever comes next writes over it.
            fs::remove_file(mark).ok();
        }
    }
}

/// Says whose the files are from now on. Folders are made for that only if `begins`: a job that has finished makes none.
/// What becomes of a folder that cannot be written to, its sink says.
///
/// # Errors
/// Of kind `State` if another job has just said so.
pub(super) fn claim(plan: &Plan, begins: bool) -> Result<Claim> {
    let own = Owner::of(plan);
    let text = toml::to_string(&own).map_err(|error| Error::failed(error.to_string()))?;
    let mut claim = Claim::default();
    let mut lines = Vec::new();
    for sink in file_sinks(plan) {
        if begins {
            fs::create_dir_all(sink.folder).ok();
        }
        let mark = mark(&sink);
        let made = File::create_new(&mark).and_then(|mut file| file.write_all(text.as_bytes()));
        if made.is_err_and(|error| error.kind() == ErrorKind::AlreadyExists) {
            // It is what a killed process has left, or somebody else was faster.
            if let Some(owner) = read(&mark).filter(|owner| owner.runs_beside(&own)) {
                lines.push(line(&sink, &owner, 0));
                continue;
            }
            fs::write(&mark, &text).ok();
        }
        claim.marks.push(mark);
    }
    refuse(plan, lines).map(|()| claim)
}

/// Finds what a job that has finished may have left, if it was killed just before its end.
pub(super) fn left_behind(plan: &Plan) -> Claim {
    let own = Owner::of(plan);
    let marks =
        file_sinks(plan).iter().map(mark).filter(|mark| read(mark).is_some_and(|owner| owner.is(&own))).collect();
    Claim { marks }
}

fn line(sink: &FileSink<'_>, owner: &Owner, files: usize) -> String {
    let (name, folder) = (sink.name, sink.folder.display());
    let holds = if files > 0 { format!(", {}", count(files as u64, "file")) } else { String::new() };
    format!("sink \"{name}\": \"{folder}\" is where job \"{}\" writes files of that name{holds}", owner.job)
}

fn refuse(plan: &Plan, mut lines: Vec<String>) -> Result {
    if lines.is_empty() {
        return Ok(());
    }
    let name = &plan.settings.job.name;
    lines.insert(0, format!("job \"{name}\" would write among the files of another job:"));
    lines.push(
        "give one of the sinks another `path` or name; or, if the other job is done with, move its files away".into(),
    );
    Err(Error::new(crate::error::ErrorKind::State, lines))
}
