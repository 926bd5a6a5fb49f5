//! `--metrics`: a file that always holds the metrics of the running job, for whoever collects such files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::runtime::Metrics;

/// How often it is written anew.
const EVERY: Duration = Duration::from_secs(1);

/// Writes the file from when the job has started until it is dropped, and then once more.
pub(super) struct MetricsFile {
    end: Option<Sender<()>>,
    writer: Option<JoinHandle<()>>,
}

impl MetricsFile {
    /// Begins.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn begin(path: &Path, metrics: Arc<Metrics>) -> Result<MetricsFile> {
        let unwritable =
            |error: io::Error| Error::config(format!("metrics cannot be written to \"{}\": {error}", path.display()));
        if path.as_os_str() == "-" {
            return Err(Error::config("--metrics -: metrics are kept in a file, and not printed; name one"));
        }
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(unwritable)?;
        }
        // Of a job that has finished before, what is there stays.
        let tried = fs::write(beside(path), "").and_then(|()| fs::remove_file(beside(path)));
        tried.map_err(unwritable)?;
        if path.is_dir() {
            return Err(unwritable(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        let (end, ended) = channel::<()>();
        let path = path.to_path_buf();
        let work = move || {
            let mut is_told = false;
            loop {
                let is_over = ended.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout);
                if !metrics.has_started() {
                    if is_over {
                        return;
                    }
                    continue;
                }
                let written = metrics.text().map_err(|error| error.to_string());
                let written = written.and_then(|text| write(&path, &text).map_err(|error| error.to_string()));
                // The job goes on; it is said once.
                if let Err(error) = &written
                    && !is_told
                {
                    tracing::warn!(file = %path.display(), error, "metrics cannot be written");
                }
                is_told = written.is_err();
                if is_over {
                    return;
                }
            }
        };
        let writer = std::thread::Builder::new().name("piton-metrics".into()).spawn(work).map_err(unwritable)?;
        Ok(MetricsFile { end: Some(end), writer: Some(writer) })
    }
}

impl Drop for MetricsFile {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(writer) = self.writer.take() {
            // It has said what went wrong.
            writer.join().ok();
        }
    }
}

/// Puts a text into the place of a file at once, so that nobody reads half of it.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let beside = beside(path);
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}
