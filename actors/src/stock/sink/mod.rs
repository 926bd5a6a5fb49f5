//! The sinks `csv` and `ndjson`: rows in files that appear by one rename.
//!
//! **The committed rule.** A file whose name does not begin with a dot is committed: it appeared by one atomic rename,
//! after the checkpoint that covers its rows was durable, and never changes again. Before that its rows are in a
//! hidden file of the same folder, whose name carries the incarnation of the process and the attempt of the region,
//! so that no two lives of a subtask ever write to the same one.
//!
//! `prepare` makes the hidden file durable; what is pending is its name, the name it is to have, its length and its
//! checksum. `commit` renames it, and finds out by looking whether that has already happened. A file in the folder
//! that is not what a commit expects is somebody else's: it is named in an error and left alone.

mod file;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::input_schema;
use super::options::{read, required};
use super::text::Encoding;
use crate::blueprint::{Fault, KindDoc, Options, SinkBlueprint, SinkKind, Site};
use crate::host::HostedSink;
use crate::record::RecordType;
use crate::{Delivery, Result};
use file::{FilePlan, FileSink};

/// The kinds `csv` and `ndjson`.
pub(super) struct FilesKind {
    encoding: Encoding,
    extension: &'static str,
    doc: &'static str,
}

#[derive(Deserialize)]
struct Settings {
    path: PathBuf,
}

impl FilesKind {
    pub(super) fn csv() -> FilesKind {
        let doc = "Writes rows into CSV files, which appear once they are committed.";
        FilesKind { encoding: Encoding::Csv, extension: "csv", doc }
    }

    pub(super) fn ndjson() -> FilesKind {
        let doc = "Writes rows into files with one JSON object per line, which appear once they are committed.";
        FilesKind { encoding: Encoding::Json, extension: "ndjson", doc }
    }
}

impl SinkKind for FilesKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: self.doc,
            options: vec![required(
                "path",
                "The folder that the files go to; it is made when the job starts. A file is called NAME-SUBTASK-WINDOW.",
            )],
        }
    }

    fn plan(&self, options: &mut Options<'_>, inputs: &[RecordType], site: &Site) -> Result<SinkBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let schema = input_schema(inputs)?;
        let folder = site.folder.join(&settings.path);
        if folder.exists() && !folder.is_dir() {
            let message = format!("`{}` is a file; name a folder", settings.path.display());
            return Err(vec![Fault::new("path", message)]);
        }
        if site.name.starts_with('.') || site.name.contains(['/', '\\']) {
            let message =
                format!("the name `{}` cannot begin the name of a file; give the sink another name", site.name);
            return Err(vec![Fault::new("", message)]);
        }
        let plan = Arc::new(FilePlan {
            folder: folder.clone(),
            name: site.name.clone(),
            extension: self.extension,
            encoding: self.encoding,
            schema,
        });
        Ok(SinkBlueprint {
            delivery: Delivery::Staged,
            folder: Some(folder),
            make: Arc::new(move || Ok(Box::new(HostedSink(FileSink::new(Arc::clone(&plan)))))),
        })
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read::<Settings>(options, &self.doc()).err().unwrap_or_default()
    }
}
