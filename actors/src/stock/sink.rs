//! The sinks `csv` and `ndjson`: tables in [files that appear once they are committed](crate::files).

use std::path::PathBuf;

use arrow::datatypes::SchemaRef;
use serde::Deserialize;

use super::input_schema;
use super::options::{read, required};
use crate::Result;
use crate::blueprint::{Fault, KindDoc, Options, SinkBlueprint, SinkKind, Site};
use crate::files::{FileFormat, file_sink};
use crate::record::RecordType;
use crate::table::{Encoding, Table};

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

/// Tables of one schema as text.
struct TableFormat {
    encoding: Encoding,
    schema: SchemaRef,
}

impl FileFormat for TableFormat {
    type Batch = Table;
    type In = Table;

    fn begin(&self, out: &mut Vec<u8>) {
        self.encoding.begin(&self.schema, out);
    }

    fn rows(&self, table: &Table, out: &mut Vec<u8>) -> Result {
        self.encoding.rows(table, out)
    }
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
        file_sink(&settings.path, self.extension, TableFormat { encoding: self.encoding, schema }, site)
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read::<Settings>(options, &self.doc()).err().unwrap_or_default()
    }
}
