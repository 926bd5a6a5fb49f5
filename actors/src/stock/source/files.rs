//! A source of rows in files: which files, in what order, and where to go on after a restart.
//!
//! The files of a source are listed when the job is planned and read in the order of their names; with several
//! subtasks, file *i* belongs to subtask *i mod parallelism*. A position names the files that are still to be read,
//! so a file that is added later changes nothing for a run that resumes, except that a warning names it. It also holds a fingerprint of the beginning
//! of the current file: one that was replaced or cut is refused by name, rather than read on from the middle of
//! something else.

use std::collections::{HashSet, VecDeque};
use std::fs::File;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use glob::{MatchOptions, glob_with};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::super::event_time::EventTime;
use super::super::pace::Pace;
use super::columns::Columns;
use super::span::Span;
use crate::table::Table;
use crate::{Error, Feed, Progress, Result, Source, Subtask};

/// No single row may be longer than this many bytes: an unclosed quote must not read a whole file into memory.
pub(super) const LONGEST_ROW: u64 = 16 << 20;

/// How much of the beginning of a file goes into its fingerprint.
const FINGERPRINTED: usize = 4096;

/// Returns the files of a path (a file, a folder, or a glob), sorted. Names that are relative stay so.
pub(super) fn list(path: &str, folder: &Path, extensions: &[&str]) -> std::result::Result<Vec<String>, String> {
    let found = find(path, folder, extensions)?;
    if !found.is_empty() {
        return Ok(found);
    }
    if folder.join(path).is_dir() {
        return Err(format!("folder `{path}` holds no file that ends in .{}", extensions.join(" or .")));
    }
    Err(format!("no file matches `{path}` (looked from {})", folder.display()))
}

/// Returns the files of a path, sorted; a folder or a glob may have none.
pub(super) fn find(path: &str, folder: &Path, extensions: &[&str]) -> std::result::Result<Vec<String>, String> {
    let whole = folder.join(path);
    let mut found = Vec::new();
    if whole.is_dir() {
        let entries = std::fs::read_dir(&whole).map_err(|error| format!("folder `{path}` cannot be read: {error}"))?;
        for entry in entries {
            let file = entry.map_err(|error| format!("folder `{path}` cannot be read: {error}"))?.path();
            let fits = file.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted));
            if fits && file.is_file() && !is_hidden(&file) {
                found.push(file);
            }
        }
    } else if whole.is_file() {
        found.push(whole);
    } else if path.contains(['*', '?', '[']) {
        let options = MatchOptions { require_literal_separator: true, ..MatchOptions::default() };
        let matches = glob_with(&whole.to_string_lossy(), options).map_err(|error| format!("`{path}`: {error}"))?;
        for file in matches {
            let file = file.map_err(|error| error.to_string())?;
            if file.is_file() && !is_hidden(&file) {
                found.push(file);
            }
        }
    } else {
        return Err(format!("there is no file or folder `{path}` (looked from {})", folder.display()));
    }
    found.sort();
    Ok(found.iter().map(|file| file.strip_prefix(folder).unwrap_or(file).to_string_lossy().into_owned()).collect())
}

/// A file whose name begins with a dot is somebody's work in progress.
fn is_hidden(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Where in a file the next row begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The byte, from 0. A format that is not one of text counts by something else: 0 if nothing is read, and never more
    /// than there are bytes.
    pub offset: u64,
    /// The line, from 0; or where within what is counted by `offset`.
    pub line: u64,
}

/// How rows stand in a file.
pub(super) trait Format: Send + Sync + 'static {
    /// Begins to read at a place of an open file, which stands at its beginning.
    fn open(&self, file: Span, name: &str, at: Place) -> Result<Box<dyn RowReader>>;

    /// Returns what tells an open file, which stands at its beginning, from another one under its name: a fingerprint is
    /// of as much of it as [`RowReader::seen`] says.
    fn head(&self, file: &mut File) -> std::io::Result<Vec<u8>> {
        let mut head = Vec::with_capacity(FINGERPRINTED);
        file.take(FINGERPRINTED as u64).read_to_end(&mut head)?;
        Ok(head)
    }
}

/// Reads the rows of one file.
pub(super) trait RowReader: Send {
    /// Returns up to so many rows with these columns: fewer only at the end of the file.
    ///
    /// # Errors
    /// With the line, if a row cannot be understood. It will not be after a restart either, so that is
    /// [`Error::invalid`]; a file that could not be read this time is [`Error::failed`].
    fn read(&mut self, limit: usize, schema: &SchemaRef) -> Result<RecordBatch>;

    /// Returns where the next row begins.
    fn place(&self) -> Place;

    /// Returns how many bytes of the file's head have to stay as they are.
    fn seen(&self) -> u64 {
        self.place().offset
    }
}

/// Reads the rows of one file of text, value by value.
pub(super) trait TextReader: Send {
    /// Appends up to so many rows and returns how many there were: fewer only at the end of the file.
    ///
    /// # Errors
    /// As [`RowReader::read`].
    fn read(&mut self, limit: usize, columns: &mut Columns) -> Result<usize>;

    /// Returns where the next row begins.
    fn place(&self) -> Place;
}

impl<R: TextReader> RowReader for R {
    fn read(&mut self, limit: usize, schema: &SchemaRef) -> Result<RecordBatch> {
        let mut columns = Columns::new(schema, limit);
        TextReader::read(self, limit, &mut columns)?;
        columns.finish()
    }

    fn place(&self) -> Place {
        TextReader::place(self)
    }
}

/// What a source of files is made from.
pub(super) struct FilePlan {
    pub folder: PathBuf,
    pub files: Vec<String>,
    pub format: Box<dyn Format>,
    pub schema: SchemaRef,
    pub event_time: Option<EventTime>,
    pub per_second: Option<f64>,
}

/// Where a source of files is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FilePosition {
    /// The files that are not read to their end, the current one first.
    files: Vec<String>,
    /// Where its next row begins.
    offset: u64,
    line: u64,
    /// How many bytes of its beginning the fingerprint is of, and their hash.
    hashed: u64,
    fingerprint: u64,
    /// Other files among them that are begun, after the parallelism was changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    begun: Vec<Begun>,
    /// The hashes of the names of all files that were there at the first start; only the first subtask keeps them.
    #[serde(default)]
    known: Vec<u64>,
}

/// A file that somebody has begun to read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) file: String,
    /// Where its next row begins.
    pub(super) offset: u64,
    line: u64,
    /// How many bytes of its beginning the fingerprint is of, and their hash.
    hashed: u64,
    fingerprint: u64,
    /// Whether nothing stood behind that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_whole: bool,
}

pub(super) fn hash_of(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// Says which files were not there at the first start, if there are any.
fn newcomers(files: &[String], known: &[u64]) -> Option<String> {
    const NAMED: usize = 3;
    let known: HashSet<u64> = known.iter().copied().collect();
    let new: Vec<&String> = files.iter().filter(|name| !known.contains(&hash_of(name))).collect();
    let named: Vec<String> = new.iter().take(NAMED).map(|name| format!("`{name}`")).collect();
    let more = if new.len() > NAMED { format!(" and {} more", new.len() - NAMED) } else { String::new() };
    (!new.is_empty()).then(|| {
        format!(
            "files that were not there at the first start are not read: {}{more}; start anew with `--resume none`, or read them with another job",
            named.join(", ")
        )
    })
}

/// Reads rows out of files.
pub(super) struct FileSource {
    plan: Arc<FilePlan>,
    files: VecDeque<String>,
    current: Option<Current>,
    pace: Pace,
    begun: Vec<Begun>,
    known: Vec<u64>,
}

/// A file that is being read.
pub(super) struct Current {
    pub(super) reader: Box<dyn RowReader>,
    head: Vec<u8>,
    /// How many bytes of the head were hashed last, and the hash.
    fingerprint: (usize, u64),
}

/// How much of a file is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it; what stands behind the last end of a line is a row, too.
    Whole,
    /// What is written as whole lines.
    Lines,
}

impl Current {
    /// Opens a file where somebody has begun to read it, or at its beginning.
    ///
    /// # Errors
    /// If it is not the file that was begun.
    pub(super) fn open(plan: &FilePlan, name: &str, begun: Option<&Begun>, extent: Extent) -> Result<Current> {
        let unreadable = |error: std::io::Error| Error::failed(format!("file `{name}` cannot be read: {error}"));
        let path = plan.folder.join(name);
        let mut file = File::open(&path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        let head = plan.format.head(&mut file).map_err(unreadable)?;
        file.rewind().map_err(unreadable)?;
        let mut place = Place::default();
        if let Some(position) = begun {
            let hashed = usize::try_from(position.hashed).unwrap_or(usize::MAX);
            let same = head.get(..hashed).is_some_and(|begin| xxh3_64(begin) == position.fingerprint);
            if size < position.offset || !same {
                return Err(Error::invalid(format!(
                    "file `{name}` is not the one that was read before: {}; put the old file back, or start anew with `--resume none`",
                    if size < position.offset {
                        format!("it has {size} bytes, but {} were already read", position.offset)
                    } else {
                        "its content has changed".to_string()
                    }
                )));
            }
            place = Place { offset: position.offset, line: position.line };
        }
        let span = match extent {
            Extent::Whole => Span::whole(file),
            Extent::Lines => Span::lines(file).map_err(unreadable)?,
        };
        let reader = plan.format.open(span, name, place)?;
        let mut current = Current { reader, head, fingerprint: (0, xxh3_64(&[])) };
        current.fingerprint();
        Ok(current)
    }

    /// Takes note of how much of its beginning was read.
    pub(super) fn fingerprint(&mut self) {
        let consumed = usize::try_from(self.reader.seen()).unwrap_or(usize::MAX).min(self.head.len());
        if consumed != self.fingerprint.0 {
            self.fingerprint = (consumed, xxh3_64(&self.head[..consumed]));
        }
    }

    /// Returns how far it was read.
    pub(super) fn begun(&self, file: String) -> Begun {
        let Place { offset, line } = self.reader.place();
        let (hashed, fingerprint) = self.fingerprint;
        Begun { file, offset, line, hashed: hashed as u64, fingerprint, is_whole: false }
    }
}

impl FileSource {
    pub(super) fn new(plan: Arc<FilePlan>) -> FileSource {
        FileSource {
            plan,
            files: VecDeque::new(),
            current: None,
            pace: Pace::new(None, 1),
            begun: Vec::new(),
            known: Vec::new(),
        }
    }
}

impl Source for FileSource {
    type Out = Table;
    type Position = FilePosition;

    async fn open(&mut self, position: Option<FilePosition>, subtask: &Subtask) -> Result {
        let busy = u32::try_from(self.plan.files.len()).unwrap_or(u32::MAX).min(subtask.parallelism);
        self.pace = Pace::new(self.plan.per_second, busy);
        self.current = None;
        match position {
            Some(position) => {
                self.files = position.files.iter().cloned().collect();
                // A position that an earlier version has made knows nothing about them.
                if !position.known.is_empty()
                    && subtask.attempt == 0
                    && let Some(message) = newcomers(&self.plan.files, &position.known)
                {
                    tracing::warn!(source = %subtask.operator, "{message}");
                }
                if let Some(begun) = position.current() {
                    self.current = Some(Current::open(&self.plan, &begun.file, Some(&begun), Extent::Whole)?);
                }
                self.begun = position.begun;
                self.known = position.known;
            }
            None => {
                self.begun.clear();
                self.known = match subtask.index {
                    0 => self.plan.files.iter().map(|name| hash_of(name)).collect(),
                    _ => Vec::new(),
                };
                let (index, parallelism) = (subtask.index as usize, subtask.parallelism.max(1) as usize);
                self.files = self.plan.files.iter().skip(index).step_by(parallelism).cloned().collect();
            }
        }
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Table>) -> Result<Progress> {
        let Some(name) = self.files.front() else { return Ok(Progress::Done) };
        if self.current.is_none() {
            let begun = self.begun.iter().position(|begun| begun.file == *name);
            let begun = begun.map(|index| self.begun.swap_remove(index));
            self.current = Some(Current::open(&self.plan, name, begun.as_ref(), Extent::Whole)?);
        }
        let Some(current) = &mut self.current else { return Ok(Progress::More) };
        let allowed = self.pace.allow(feed.room());
        let in_file = |error: Error| error.context(format!("file `{name}`"));
        let batch = current.reader.read(allowed, &self.plan.schema).map_err(in_file)?;
        let rows = batch.num_rows();
        if rows > 0 {
            let times = self.plan.event_time.as_ref().map(|column| column.of(&batch)).transpose().map_err(in_file)?;
            feed.push_table(Table::with_times(batch, times));
        }
        current.fingerprint();
        if rows < allowed {
            self.current = None;
            self.files.pop_front();
            if self.files.is_empty() {
                return Ok(Progress::Done);
            }
        }
        Ok(self.pace.took(rows))
    }

    fn position(&self) -> FilePosition {
        let files = self.files.iter().cloned().collect();
        let (begun, known) = (self.begun.clone(), self.known.clone());
        let Some(current) = &self.current else {
            return FilePosition { files, begun, known, ..FilePosition::default() };
        };
        let Begun { offset, line, hashed, fingerprint, .. } = current.begun(String::new());
        FilePosition { files, offset, line, hashed, fingerprint, begun, known }
    }

    fn redistribute(positions: Vec<Option<FilePosition>>, parallelism: u32) -> Result<Vec<Option<FilePosition>>> {
        let (mut begun, mut files, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for position in positions {
            let Some(mut position) = position else {
                return Err(Error::invalid("not all of its subtasks have begun to read: let the job run on first"));
            };
            known.append(&mut position.known);
            begun.extend(position.current());
            begun.append(&mut position.begun);
            files.append(&mut position.files);
        }
        // What is begun comes first, so that it is finished first.
        files.retain(|file| begun.iter().all(|begun| begun.file != *file));
        files.sort();
        begun.sort_by(|left, right| left.file.cmp(&right.file));
        let all: Vec<String> = begun.iter().map(|begun| begun.file.clone()).chain(files).collect();
        let share = |index: usize| {
            let files: Vec<String> = all.iter().skip(index).step_by(parallelism.max(1) as usize).cloned().collect();
            let begun = begun.iter().filter(|begun| files.contains(&begun.file)).cloned().collect();
            let known = if index == 0 { known.clone() } else { Vec::new() };
            Some(FilePosition { files, begun, known, ..FilePosition::default() })
        };
        Ok((0..parallelism as usize).map(share).collect())
    }
}

impl FilePosition {
    /// Returns where it is in the current file, if that is begun.
    fn current(&self) -> Option<Begun> {
        let FilePosition { offset, line, hashed, fingerprint, .. } = *self;
        let file = self.files.first().filter(|_| offset > 0)?.clone();
        Some(Begun { file, offset, line, hashed, fingerprint, is_whole: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_came_later_are_named() {
        let of = |names: &[&str]| names.iter().map(|name| (*name).to_string()).collect::<Vec<String>>();
        let folder = tempfile::tempdir().unwrap();
        let source = |files: &[&str]| {
            let schema = Arc::new(arrow::datatypes::Schema::empty());
            let format = Box::new(super::super::lines::LineFormat);
            let (folder, files) = (folder.path().to_path_buf(), of(files));
            FileSource::new(Arc::new(FilePlan { folder, files, format, schema, event_time: None, per_second: None }))
        };
        let open = |source: &mut FileSource, position, index| {
            let subtask = super::super::tests::subtask(index, 2);
            super::super::tests::ready(source.open(position, &subtask)).unwrap();
            source.position()
        };
        let at_first = open(&mut source(&["b", "d", "f"]), None, 0);
        assert_eq!(open(&mut source(&["a", "b", "d"]), Some(at_first.clone()), 0), at_first, "it stays known");
        assert!(open(&mut source(&["b", "d", "f"]), None, 1).known.is_empty(), "one subtask is enough");

        assert_eq!(newcomers(&of(&["b", "f"]), &at_first.known), None);
        let message = newcomers(&of(&["b", "c", "d", "e", "f"]), &at_first.known).unwrap();
        assert!(message.contains("not read: `c`, `e`; start anew"), "{message}");
        let message = newcomers(&of(&["a", "b", "c", "e", "g", "h"]), &at_first.known).unwrap();
        assert!(message.contains("`a`, `c`, `e` and 2 more;"), "{message}");
    }

    #[test]
    fn a_path_is_a_file_a_folder_or_a_glob() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.csv", "a.csv", ".hidden.csv", "c.txt"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        std::fs::create_dir(folder.path().join("sub.csv")).unwrap();
        let of = |path: &str| list(path, folder.path(), &["csv"]);
        assert_eq!(of("a.csv").unwrap(), ["a.csv"]);
        assert_eq!(of(".").unwrap(), ["./a.csv", "./b.csv"].map(|name| name.trim_start_matches("./")));
        assert_eq!(of("*.csv").unwrap(), ["a.csv", "b.csv"]);
        assert_eq!(of("[b-z].*").unwrap(), ["b.csv", "c.txt"]);
        assert!(of("d.csv").unwrap_err().contains("there is no file or folder `d.csv`"));
        assert!(of("*.json").unwrap_err().contains("no file matches `*.json`"));
        assert!(of("sub.csv").unwrap_err().contains("holds no file that ends in .csv"));
    }
}
