//! Committed files, watched: they never change and never vanish, and hold what the run without faults has committed.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::chaos::compare::{How, SinkCheck};
use crate::chaos::invariants::{AtLeast, InvariantId, Times, Verdict, Violation};
use crate::chaos::report;
use crate::chaos::rows::Format;
use crate::chaos::words::{Row, quoted};
use crate::error::{Error, Result};

/// What is to be seen of a file without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

/// The committed files of a folder, as far as they have been seen.
struct Folder {
    path: PathBuf,
    seen: BTreeMap<String, Stamp>,
}

/// A file that was not there before.
struct Fresh {
    name: String,
    text: String,
}

/// What a run without faults has committed in one sink.
#[derive(Clone, Debug, Default)]
pub(super) struct Committed {
    /// The format of its files; nothing before the first.
    format: Option<Format>,
    /// Each row, and how often it is there.
    rows: BTreeMap<String, u64>,
    /// For each key the row that counts.
    latest: BTreeMap<String, String>,
}

/// Holds the output of one sink against that of a run without faults, while it grows.
pub(super) struct Watched {
    check: SinkCheck,
    folder: Option<Folder>,
    golden: Committed,
    /// Rows of which golden has one that differs only in floating-point numbers: by what the two have in common.
    shapes: Option<BTreeMap<String, Vec<String>>>,
    exact: Times<Row>,
    at_least: AtLeast<Row>,
    latest: BTreeMap<String, String>,
    /// Rows that should not be there.
    surplus: u64,
    /// What was said of them.
    wrong: Vec<report::Broken>,
    rows: u64,
    looks: u64,
}

impl Folder {
    fn new(path: PathBuf) -> Folder {
        Folder { path, seen: BTreeMap::new() }
    }

    /// Looks at the folder; returns the files that were not there before, in the order of their names, and what should not be.
    fn look(&mut self) -> Result<(Vec<Fresh>, Vec<Violation>)> {
        let failed = |path: &Path, error: std::io::Error| Error::failed(format!("\"{}\": {error}", path.display()));
        let mut names = Vec::new();
        match fs::read_dir(&self.path) {
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(|error| failed(&self.path, error))?.file_name();
                    names.push(name.to_string_lossy().into_owned());
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(&self.path, error)),
        }
        names.retain(|name| !name.starts_with('.'));
        names.sort_unstable();
        let (mut fresh, mut wrong) = (Vec::new(), Vec::new());
        for name in &names {
            let path = self.path.join(name);
            let stamp = match fs::metadata(&path) {
                Ok(metadata) => Stamp {
                    inode: metadata.ino(),
                    length: metadata.len(),
                    modified: (metadata.mtime(), metadata.mtime_nsec()),
                },
                // It has vanished since: that is noted below, the next time.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(failed(&path, error)),
            };
            match self.seen.get(name) {
                None => {
                    match text_of(&path) {
                        Ok(text) => fresh.push(Fresh { name: name.clone(), text }),
                        Err(error) if error.kind() == ErrorKind::InvalidData => {
                            let what = format!("file {name} was committed, but {error}");
                            wrong.push(InvariantId::CommittedStays.broken(what));
                        }
                        Err(error) => return Err(failed(&path, error)),
                    }
                    self.seen.insert(name.clone(), stamp);
                }
                Some(seen) if *seen == stamp => {}
                Some(_) => {
                    wrong.push(
                        InvariantId::CommittedStays.broken(format!("file {name} was committed, and has changed")),
                    );
                    self.seen.insert(name.clone(), stamp);
                }
            }
        }
        let gone: Vec<String> = self.seen.keys().filter(|name| names.binary_search(name).is_err()).cloned().collect();
        for name in gone {
            wrong.push(InvariantId::CommittedStays.broken(format!("file {name} was committed, and has vanished")));
            self.seen.remove(&name);
        }
        Ok((fresh, wrong))
    }
}

/// Returns the text of a file; of one that is none, a line for each row.
fn text_of(path: &Path) -> std::io::Result<String> {
    #[cfg(feature = "sql")]
    if path.extension().is_some_and(|extension| extension == "parquet") {
        let damaged = |error: piton_actors::Error| std::io::Error::new(ErrorKind::InvalidData, error.to_string());
        return piton_actors::stock::parquet_as_json(fs::File::open(path)?).map_err(damaged);
    }
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

impl Committed {
    /// Reads all that a sink has committed.
    ///
    /// # Errors
    /// If it cannot be read, or the columns by which it is to be compared are not there.
    pub(super) fn read(check: &SinkCheck, folder: &Path) -> Result<Committed> {
        let mut committed = Committed::default();
        let (files, _) = Folder::new(folder.to_path_buf()).look()?;
        for Fresh { name, text } in files {
            let format = Format::of_file(&name);
            committed.format = Some(format);
            let (header, rows) = format.split(&text);
            for row in rows {
                match &check.how {
                    How::Rows => *committed.rows.entry(row.to_string()).or_default() += 1,
                    How::Latest(columns) | How::Keys(columns) => {
                        let key = format.key(header, row, columns).ok_or_else(|| no_columns(check, columns, row))?;
                        committed.latest.insert(key, row.to_string());
                    }
                    How::Not(_) => {}
                }
            }
        }
        Ok(committed)
    }
}

fn no_columns(check: &SinkCheck, columns: &[String], row: &str) -> Error {
    Error::config(format!(
        "sink \"{}\" cannot be compared by [{}]: there are no such columns in {}; set \
         chaos.expect.sinks.{}",
        check.name,
        columns.join(", "),
        quoted(row),
        check.name
    ))
}

impl Watched {
    /// Watches a folder from now on.
    pub(super) fn new(check: SinkCheck, folder: Option<PathBuf>, golden: Committed) -> Watched {
        let (mut exact, mut at_least) = (Times::default(), AtLeast::default());
        for (row, times) in &golden.rows {
            match check.may_repeat {
                None => exact.want(Row(row.clone()), *times),
                Some(_) => at_least.want(Row(row.clone()), *times),
            }
        }
        Watched {
            check,
            folder: folder.map(Folder::new),
            golden,
            shapes: None,
            exact,
            at_least,
            latest: BTreeMap::new(),
            surplus: 0,
            wrong: Vec::new(),
            rows: 0,
            looks: 0,
        }
    }

    /// Holds another folder against the same run without faults.
    pub(super) fn of_another(&self, folder: PathBuf) -> Watched {
        let folder = self.folder.is_some().then_some(folder);
        Watched::new(self.check.clone(), folder, self.golden.clone())
    }

    /// Returns the name of its sink.
    pub(super) fn name(&self) -> &str {
        &self.check.name
    }

    /// Looks at what has become visible, at so many ms; returns what should not have become of files. Of rows that should
    /// not be there it is noted: whether they are to be compared at all is known in the end only.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub(super) fn look(&mut self, now: u64) -> Result<Vec<Violation>> {
        let Some(folder) = &mut self.folder else { return Ok(Vec::new()) };
        self.looks += 1;
        let (fresh, wrong) = folder.look()?;
        for Fresh { name, text } in fresh {
            let format = Format::of_file(&name);
            let (header, rows) = format.split(&text);
            for row in rows {
                self.rows += 1;
                if let Err(violation) = self.see(format, header, row) {
                    self.surplus += 1;
                    let violation = violation.invariant.broken(format!("file {name}: {}", violation.message));
                    let violation = self.named(violation);
                    report::Broken::note(&mut self.wrong, &violation, Some(now));
                }
            }
        }
        Ok(wrong.into_iter().map(|violation| self.named(violation)).collect())
    }

    fn named(&self, violation: Violation) -> Violation {
        violation.invariant.broken(format!("sink \"{}\": {}", self.check.name, violation.message))
    }

    /// Gives up comparing its rows, because of this.
    pub(super) fn give_up(&mut self, why: String) {
        self.check.how = How::Not(why);
        self.surplus = 0;
        self.wrong.clear();
    }

    /// Returns whether its rows are compared.
    pub(super) fn is_compared(&self) -> bool {
        self.folder.is_some() && !matches!(self.check.how, How::Not(_))
    }

    /// Returns what was said of rows that should not be there.
    pub(super) fn wrong(&self) -> &[report::Broken] {
        &self.wrong
    }

    fn see(&mut self, format: Format, header: Option<&str>, row: &str) -> Verdict {
        match self.check.how.clone() {
            How::Not(_) => Ok(()),
            How::Rows => {
                let row = Row(self.as_in_golden(format, row));
                match self.check.may_repeat {
                    None => self.exact.see(&row),
                    // Of a row that was made twice something else may be made: what counts is that none is missing.
                    Some(_) => self.at_least.see(&row, 1).or(Ok(())),
                }
            }
            How::Keys(columns) => {
                // A row of another key may be made of records that came again: what counts is that no key is missing.
                if let Some(key) = format.key(header, row, &columns) {
                    self.latest.insert(key, row.to_string());
                }
                Ok(())
            }
            How::Latest(columns) => {
                let Some(key) = format.key(header, row, &columns) else {
                    return Err(InvariantId::OutputNotRepeated.broken(format!("{} has no key", quoted(row))));
                };
                if !self.golden.latest.contains_key(&key) {
                    let message = format!("there should be no row for the key {}: {}", quoted(&key), quoted(row));
                    return Err(InvariantId::OutputNotRepeated.broken(message));
                }
                self.latest.insert(key, row.to_string());
                Ok(())
            }
        }
    }

    /// Returns the row as golden has it, if that has one that is the same.
    fn as_in_golden(&mut self, format: Format, row: &str) -> String {
        if self.golden.rows.contains_key(row) || format == Format::Lines {
            return row.to_string();
        }
        let shapes = self.shapes.get_or_insert_with(|| {
            let mut shapes = BTreeMap::<String, Vec<String>>::new();
            for row in self.golden.rows.keys() {
                shapes.entry(format.shape(row)).or_default().push(row.clone());
            }
            shapes
        });
        let same = shapes.get(&format.shape(row)).into_iter().flatten().find(|other| format.is_same(other, row));
        same.cloned().unwrap_or_else(|| row.to_string())
    }

    /// Returns what is missing in the end, or is not as it should be.
    pub(super) fn complete(&self) -> Vec<Violation> {
        let mut wrong = Vec::new();
        match &self.check.how {
            How::Not(_) => {}
            How::Rows => {
                let complete = match self.check.may_repeat {
                    None => self.exact.complete(),
                    Some(_) => self.at_least.complete(InvariantId::OutputComplete, |_| true),
                };
                wrong.extend(complete.err());
            }
            How::Keys(_) => {
                if let Some((_, golden, _)) = self.differing().first() {
                    let keys = self.golden.latest.len();
                    let message = format!(
                        "{} of {keys} keys are missing, one of them that of {}",
                        self.differing().len(),
                        quoted(golden)
                    );
                    wrong.push(InvariantId::OutputComplete.broken(message));
                }
            }
            How::Latest(_) => {
                let differing = self.differing();
                if let Some((key, golden, seen)) = differing.first() {
                    let (key, golden) = (quoted(key), quoted(golden));
                    let message = match seen {
                        Some(seen) => format!("the last row of {key} is {}, not {golden}", quoted(seen)),
                        None => format!("there is no row of {key}; the last one should be {golden}"),
                    };
                    wrong.push(InvariantId::OutputComplete.broken(format!(
                        "{} of {} keys differ: {message}",
                        differing.len(),
                        self.golden.latest.len()
                    )));
                }
            }
        }
        wrong.into_iter().map(|violation| self.named(violation)).collect()
    }

    /// Returns the keys whose last row is another than it should be: the key, that row, and what is there instead.
    fn differing(&self) -> Vec<(&String, &String, Option<&String>)> {
        let format = self.golden.format.unwrap_or(Format::Lines);
        let may_repeat = self.check.may_repeat.is_some() || matches!(self.check.how, How::Keys(_));
        let pairs = self.golden.latest.iter().map(|(key, row)| (key, row, self.latest.get(key)));
        // What was counted twice may have a last row of its own: what counts is that the key is there.
        pairs.filter(|(_, row, seen)| seen.is_none_or(|seen| !may_repeat && !format.is_same(row, seen))).collect()
    }

    /// Returns what there is to say of it.
    pub(super) fn report(&self) -> report::Sink {
        let golden = &self.golden;
        let (compared, wanted, there, missing) = match &self.check.how {
            How::Rows => {
                let wanted: u64 = golden.rows.values().sum();
                let seen = self.exact.seen() + self.at_least.seen() - self.at_least.doubled();
                ("as rows, in any order".to_string(), wanted, self.rows, wanted.saturating_sub(seen))
            }
            How::Latest(columns) | How::Keys(columns) => {
                let by = match (&self.check.how, columns.as_slice()) {
                    (How::Keys(_), []) => "that there are rows".into(),
                    (How::Keys(_), _) => format!("by {}", columns.join(", ")),
                    (_, []) => "by the last row".into(),
                    (_, _) => format!("by the last row of each {}", columns.join(", ")),
                };
                let missing = self.differing().len() as u64;
                (by, golden.latest.len() as u64, self.latest.len() as u64, missing)
            }
            How::Not(why) => (format!("not compared: {why}"), 0, self.rows, 0),
        };
        let loss_only = self.check.may_repeat.is_some() && !matches!(self.check.how, How::Not(_));
        report::Sink {
            name: self.check.name.clone(),
            compared: if loss_only { format!("{compared}, for loss only") } else { compared },
            is_compared: !matches!(self.check.how, How::Not(_)),
            golden: wanted,
            committed: there,
            missing,
            surplus: self.surplus,
            files: self.folder.as_ref().map_or(0, |folder| folder.seen.len() as u64),
            looks: self.looks,
        }
    }
}

#[cfg(test)]
mod tests;
