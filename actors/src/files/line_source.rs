//! A source of records that are lines of a text file.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::Deserialize;

use crate::blueprint::{
    Fault, KindDoc, OptionDoc, Options, Site, SourceBlueprint, SourceKind, read_options, source_blueprint,
};
use crate::{Error, Feed, Progress, Record, Result, Source, Subtask, Timestamp};

/// Tells the event time of a record in ms.
type TimeOf<T> = fn(&T) -> Timestamp;

/// Reads one file line by line. Where it is, is the byte behind the last line.
///
/// The last line needs no line feed. A line that is no record stops the job: it would be there after every restart.
pub struct LineSource<T> {
    path: Arc<PathBuf>,
    time: Option<TimeOf<T>>,
    file: Option<BufReader<File>>,
    offset: u64,
    line: String,
}

impl<T: Record + FromStr<Err: std::fmt::Display>> LineSource<T> {
    /// Makes a source that has not been opened.
    pub fn new(path: Arc<PathBuf>, time: Option<TimeOf<T>>) -> LineSource<T> {
        LineSource { path, time, file: None, offset: 0, line: String::new() }
    }

    fn cannot(&self, what: &str, error: &dyn std::fmt::Display) -> Error {
        Error::invalid(format!("{} cannot be {what} at byte {}: {error}", self.path.display(), self.offset))
    }
}

impl<T: Record + FromStr<Err: std::fmt::Display>> Source for LineSource<T> {
    type Out = T;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _subtask: &Subtask) -> Result {
        self.offset = position.unwrap_or(0);
        let opened = File::open(&*self.path).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.offset))?;
            Ok(BufReader::new(file))
        });
        self.file = Some(opened.map_err(|error| self.cannot("opened", &error))?);
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<T>) -> Result<Progress> {
        while feed.room() > 0 {
            let Some(file) = &mut self.file else {
                return Err(Error::failed("the source is polled before it is open"));
            };
            self.line.clear();
            let read = file.read_line(&mut self.line).map_err(|error| self.cannot("read", &error))?;
            if read == 0 {
                return Ok(Progress::Done);
            }
            let line = self.line.strip_suffix('\n').unwrap_or(&self.line);
            let line = line.strip_suffix('\r').unwrap_or(line);
            let record: T = line.parse().map_err(|error| self.cannot("understood", &error))?;
            match self.time {
                Some(time) => feed.push_at(time(&record), record),
                None => feed.push(record),
            }
            self.offset += read as u64;
        }
        Ok(Progress::More)
    }

    fn position(&self) -> u64 {
        self.offset
    }
}

/// A kind of source that reads records of one type from the lines of a file, for a registry:
/// `registry.add_source_kind("purchases", Arc::new(LineSourceKind::<Purchase>::default()))`.
pub struct LineSourceKind<T> {
    time: Option<TimeOf<T>>,
}

impl<T> Default for LineSourceKind<T> {
    fn default() -> LineSourceKind<T> {
        LineSourceKind { time: None }
    }
}

impl<T> LineSourceKind<T> {
    /// Makes a kind whose records have an event time.
    pub fn with_time(time: TimeOf<T>) -> LineSourceKind<T> {
        LineSourceKind { time: Some(time) }
    }
}

#[derive(Deserialize)]
struct Settings {
    path: PathBuf,
}

impl<T: Record + FromStr<Err: std::fmt::Display>> SourceKind for LineSourceKind<T> {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Reads records from the lines of a text file.",
            options: vec![OptionDoc { name: "path", default: None, doc: "The file." }],
        }
    }

    fn plan(&self, options: &mut Options<'_>, site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let settings: Settings = read_options(options)?;
        let path = Arc::new(site.folder.join(&settings.path));
        if let Err(error) = File::open(&*path) {
            let message = format!("file `{}` cannot be read: {error}", settings.path.display());
            return Err(vec![Fault::new("path", message)]);
        }
        let time = self.time;
        let blueprint = source_blueprint(move || Ok(LineSource::<T>::new(Arc::clone(&path), time)))?;
        // Nothing would share the lines of one file out among several.
        Ok(SourceBlueprint { max_parallelism: Some(1), ..blueprint })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::SourceHarness;

    fn source_of(text: &str) -> (tempfile::TempDir, impl Fn() -> LineSource<i64> + 'static) {
        let folder = tempfile::tempdir().unwrap();
        let path = Arc::new(folder.path().join("numbers.txt"));
        std::fs::write(&*path, text).unwrap();
        (folder, move || LineSource::new(Arc::clone(&path), Some(|number| *number)))
    }

    #[test]
    fn a_crash_reads_again_from_the_line_behind_the_checkpoint() -> Result {
        let (_folder, source) = source_of("1\n22\r\n333");
        let mut harness = SourceHarness::new(source);
        harness.batch_rows(1);
        harness.poll()?;
        harness.checkpoint()?;
        harness.poll()?;
        harness.crash()?;
        assert_eq!(harness.output(), [1]);
        harness.run()?;
        assert_eq!(harness.output(), [1, 22, 333]);
        Ok(())
    }

    #[test]
    fn a_line_that_is_no_record_is_named() {
        let (_folder, source) = source_of("1\nx\n");
        let Err(error) = SourceHarness::new(source).poll() else { panic!("`x` is no number") };
        assert!(error.message().contains("numbers.txt cannot be understood at byte 2"), "{error}");
        assert_eq!(error.kind(), crate::ErrorKind::Invalid);
    }
}
