//! What became of the checkpoints of earlier runs: lines in a file of the state directory, so that what was slow last night
//! can be looked at in the morning.
//!
//! Nothing depends on the file. It is written by the server's thread, about once a second; what a killed process had not
//! written yet is missing from it, and a line that cannot be read is passed over.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::http::checkpoints::{Checkpoint, KEPT};

/// What it is called in the state directory.
const NAME: &str = "history.ndjson";

/// A file of more lines is written anew, with those alone that are still kept.
const LONGEST: usize = 10 * KEPT;

/// See the module.
#[derive(Debug)]
pub(super) struct History {
    path: PathBuf,
    lines: usize,
    is_told: bool,
}

impl History {
    /// Reads what earlier runs have left in a state directory; returns it oldest first.
    pub(super) fn open(dir: &Path) -> (History, Vec<Checkpoint>) {
        let path = dir.join(NAME);
        let text = fs::read(&path).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        let read: Vec<Checkpoint> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let kept = read.len().saturating_sub(KEPT);
        // A line that was cut off must not be followed by another.
        let lines = if text.is_empty() || text.ends_with('\n') { text.lines().count() } else { usize::MAX };
        (History { path, lines, is_told: false }, read.into_iter().skip(kept).collect())
    }

    /// Adds checkpoints that have come to their end. `all` are those that are to be there if the file is written anew.
    pub(super) fn add(&mut self, concluded: &[String], all: impl FnOnce() -> Vec<String>) {
        let written = if self.lines.saturating_add(concluded.len()) > LONGEST {
            self.replace(&all())
        } else {
            self.append(concluded)
        };
        if let Err(error) = &written
            && !self.is_told
        {
            tracing::warn!(file = %self.path.display(), %error, "the history of checkpoints cannot be written");
        }
        // The job goes on; it is said once.
        self.is_told = written.is_err();
    }

    fn append(&mut self, lines: &[String]) -> io::Result<()> {
        if lines.is_empty() {
            return Ok(());
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        file.write_all(joined(lines).as_bytes())?;
        self.lines += lines.len();
        Ok(())
    }

    fn replace(&mut self, lines: &[String]) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        fs::write(&beside, joined(lines))?;
        fs::rename(&beside, &self.path)?;
        self.lines = lines.len();
        Ok(())
    }
}

fn joined(lines: &[String]) -> String {
    lines.iter().flat_map(|line| [line, "\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(window: u64) -> String {
        let checkpoint = Checkpoint::of_the_past("flights", window);
        serde_json::to_string(&checkpoint).unwrap()
    }

    fn windows(read: &[Checkpoint]) -> Vec<u64> {
        read.iter().map(|checkpoint| checkpoint.window).collect()
    }

    #[test]
    fn what_was_added_is_there_the_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let (mut history, read) = History::open(dir.path());
        assert!(read.is_empty());
        history.add(&[], || unreachable!("there is room"));
        assert!(!dir.path().join(NAME).exists());
        history.add(&[line(1), line(2)], || unreachable!("there is room"));
        history.add(&[line(3)], || unreachable!("there is room"));
        assert_eq!(windows(&History::open(dir.path()).1), [1, 2, 3]);
    }

    #[test]
    fn a_line_that_was_cut_off_is_passed_over_and_takes_no_other_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let cut = &line(2)[..20];
        fs::write(dir.path().join(NAME), format!("{}\n{cut}", line(1))).unwrap();
        let (mut history, read) = History::open(dir.path());
        assert_eq!(windows(&read), [1]);
        history.add(&[line(3)], || vec![line(1), line(3)]);
        assert_eq!(windows(&History::open(dir.path()).1), [1, 3]);
        fs::write(dir.path().join(NAME), [0xff, 0, b'\n']).unwrap();
        assert!(History::open(dir.path()).1.is_empty());
    }

    #[test]
    fn the_file_does_not_grow_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let (mut history, _) = History::open(dir.path());
        let all: Vec<String> = (0..LONGEST as u64).map(line).collect();
        history.add(&all, || unreachable!("there is room"));
        assert_eq!(windows(&History::open(dir.path()).1).len(), KEPT);
        history.add(&[line(7)], || vec![line(5), line(7)]);
        assert_eq!(windows(&History::open(dir.path()).1), [5, 7]);
        assert!(!dir.path().join("history.new").exists());
    }
}
