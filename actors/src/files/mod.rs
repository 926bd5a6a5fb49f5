//! Rows in files: sinks whose files appear by one rename, and lines of text as records.
//!
//! **The committed rule.** A file whose name does not begin with a dot is committed: it appeared by one atomic rename,
//! after the checkpoint that covers its rows was durable, and never changes again. Before that its rows are in a
//! hidden file of the same folder, whose name carries the incarnation of the process and the attempt of the region,
//! so that no two lives of a subtask ever write to the same one.
//!
//! `prepare` makes the hidden file durable; what is pending is its name, the name it is to have, its length and its
//! checksum. `commit` renames it, and finds out by looking whether that has already happened. A file in the folder
//! that is not what a commit expects is somebody else's: it is named in an error and left alone.
//!
//! All of this is the same for any content: a [`FileFormat`] says how batches become bytes, and how a file begins and
//! ends; [`file_sink`] plans the sink.
//!
//! For records of a user's own there are [`LineSourceKind`] and [`LineSinkKind`]: one line of text each, read by
//! `FromStr` and written by `Display`.

mod line_sink;
mod line_source;
mod sink;

use std::path::Path;
use std::sync::Arc;

use crate::Delivery;
use crate::batch::AnyBatch;
use crate::blueprint::{Fault, SinkBlueprint, Site};
use crate::host::HostedSink;
use crate::record::Inputs;

pub use line_sink::{LineFormat, LineSinkKind};
pub use line_source::{LineSource, LineSourceKind};
pub use sink::{FilePending, FilePlan, FileSink};

/// How batches become the content of a file.
pub trait FileFormat: Send + Sync + 'static {
    /// A batch of what the sink reads.
    type Batch: AnyBatch;
    /// What the sink reads.
    type In: Inputs<Batch = Arc<Self::Batch>>;
    /// What has to be remembered of a file from its first row to its last; nothing for most.
    type Open: Send + 'static;

    /// Begins a file: appends what it begins with.
    ///
    /// # Errors
    /// If no file can be begun.
    fn begin(&self, out: &mut Vec<u8>) -> crate::Result<Self::Open>;

    /// Appends the rows of a batch. It may hold some of them back, in memory that does not grow with the file.
    ///
    /// # Errors
    /// If a row cannot be written.
    fn rows(&self, open: &mut Self::Open, batch: &Self::Batch, out: &mut Vec<u8>) -> crate::Result;

    /// Ends a file: appends what was held back, and what it ends with.
    ///
    /// # Errors
    /// If that cannot be written.
    fn end(&self, open: Self::Open, out: &mut Vec<u8>) -> crate::Result {
        let (_, _) = (open, out);
        Ok(())
    }
}

/// Plans a sink that writes files called `NAME-SUBTASK-WINDOW.EXTENSION` into the folder `path` beside the topology.
///
/// # Errors
/// If `path` is a file, or the sink's name cannot begin the name of a file.
pub fn file_sink<F: FileFormat>(
    path: &Path,
    extension: &'static str,
    format: F,
    site: &Site,
) -> Result<SinkBlueprint, Vec<Fault>> {
    let folder = site.folder.join(path);
    if folder.exists() && !folder.is_dir() {
        return Err(vec![Fault::new("path", format!("`{}` is a file; name a folder", path.display()))]);
    }
    if site.name.starts_with('.') || site.name.contains(['/', '\\']) {
        let message = format!("the name `{}` cannot begin the name of a file; give the sink another name", site.name);
        return Err(vec![Fault::new("", message)]);
    }
    let plan = Arc::new(FilePlan::new(folder.clone(), site.name.clone(), extension, format));
    Ok(SinkBlueprint {
        delivery: Delivery::Staged,
        repeats: false,
        folder: Some(folder),
        unpack: F::In::unpack,
        make: Arc::new(move || Ok(Box::new(HostedSink(FileSink::new(Arc::clone(&plan)))))),
    })
}
