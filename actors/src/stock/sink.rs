//! The sinks `csv`, `ndjson` and `parquet`: tables in [files that appear once they are committed](crate::files).

use std::path::PathBuf;

use arrow::datatypes::SchemaRef;
use serde::Deserialize;

use super::input_schema;
use super::options::{read, required};
use super::parquet::{Writer, unwritable};
use crate::Result;
use crate::blueprint::{Fault, KindDoc, OptionDoc, Options, SinkBlueprint, SinkKind, Site};
use crate::files::{FileFormat, file_sink};
use crate::record::RecordType;
use crate::table::{Encoding, Table};

/// What every sink of files is told.
fn path_option() -> OptionDoc {
    required(
        "path",
        "The folder that the files go to; it is made when the job starts. A file is called NAME-SUBTASK-WINDOW.",
    )
}

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
    type Open = ();

    fn begin(&self, out: &mut Vec<u8>) -> Result {
        self.encoding.begin(&self.schema, out);
        Ok(())
    }

    fn rows(&self, (): &mut (), table: &Table, out: &mut Vec<u8>) -> Result {
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
        KindDoc { doc: self.doc, options: vec![path_option()] }
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

/// The kind `parquet`.
pub(super) struct ParquetKind;

/// Tables of one schema as Parquet.
struct ParquetFormat {
    schema: SchemaRef,
}

impl FileFormat for ParquetFormat {
    type Batch = Table;
    type In = Table;
    type Open = Writer;

    fn begin(&self, _out: &mut Vec<u8>) -> Result<Writer> {
        Writer::new(&self.schema)
    }

    fn rows(&self, writer: &mut Writer, table: &Table, out: &mut Vec<u8>) -> Result {
        writer.rows(table.batch(), out)
    }

    fn end(&self, writer: Writer, out: &mut Vec<u8>) -> Result {
        writer.end(out)
    }
}

impl SinkKind for ParquetKind {
    fn doc(&self) -> KindDoc {
        let doc = "Writes rows into Parquet files (with snappy), one for each checkpoint (a longer `checkpoint.interval` makes larger ones), which appear whole once they are committed.";
        KindDoc { doc, options: vec![path_option()] }
    }

    fn plan(&self, options: &mut Options<'_>, inputs: &[RecordType], site: &Site) -> Result<SinkBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let schema = input_schema(inputs)?;
        let unwritable = unwritable(&schema);
        if !unwritable.is_empty() {
            let message = format!(
                "a Parquet file cannot hold column {}; leave it out with a `select`, or CAST it",
                unwritable.join(" and column ")
            );
            return Err(vec![Fault::new("inputs", message)]);
        }
        file_sink(&settings.path, "parquet", ParquetFormat { schema }, site)
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        vec![None]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read::<Settings>(options, &self.doc()).err().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, IntervalMonthDayNanoArray, RecordBatch};
    use arrow::datatypes::IntervalMonthDayNano;
    use serde_json::json;

    use super::super::options::tests::with_options;
    use super::super::parquet::Footer;
    use super::super::tests::{int_table, site};
    use super::*;
    use crate::files::{FilePlan, FileSink};
    use crate::harness::SinkHarness;

    /// The names in a folder, and the numbers in those that are not hidden.
    fn seen(folder: &Path) -> Vec<(String, Vec<Option<i64>>)> {
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let mut numbers = Vec::new();
            if !name.starts_with('.') {
                let footer = Footer::read(std::fs::File::open(folder.join(&name)).unwrap()).unwrap();
                let columns = footer.columns();
                let batch = footer.rows(&columns, 0, 0).unwrap().read(usize::MAX).unwrap();
                numbers = super::super::tests::ints(&Table::new(batch), "n");
            }
            seen.push((name, numbers));
        }
        seen.sort();
        seen
    }

    #[test]
    fn a_parquet_file_is_there_whole_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_path_buf();
        let table = |numbers: &[i64]| {
            let numbers: Vec<Option<i64>> = numbers.iter().copied().map(Some).collect();
            Arc::new(int_table(&[("n", &numbers)], None))
        };
        let schema = table(&[]).schema();
        let plan = Arc::new(FilePlan::new(path.clone(), "rows".into(), "parquet", ParquetFormat { schema }));
        let mut sink = SinkHarness::new(move || FileSink::new(Arc::clone(&plan)));
        sink.push_batch(0, table(&[1, 2])).unwrap().push_batch(0, table(&[3])).unwrap().checkpoint().unwrap();
        // Prepared, and lost with the process: its rows come again.
        sink.push_batch(0, table(&[4])).unwrap().prepare().unwrap();
        assert!(seen(&path).iter().all(|(name, _)| name.starts_with('.')));
        sink.crash().unwrap();
        let first = ("rows-00000-00000000000000000001.parquet".to_string(), vec![Some(1), Some(2), Some(3)]);
        assert_eq!(seen(&path), std::slice::from_ref(&first));
        // Half-written, and lost.
        sink.push_batch(0, table(&[4])).unwrap().crash().unwrap();
        assert_eq!(seen(&path), std::slice::from_ref(&first));
        sink.push_batch(0, table(&[4])).unwrap().checkpoint().unwrap().committed().unwrap();
        let second = ("rows-00000-00000000000000000002.parquet".to_string(), vec![Some(4)]);
        assert_eq!(seen(&path), [first, second]);
    }

    #[test]
    fn what_parquet_cannot_hold_is_told_before_the_start() {
        let apart = IntervalMonthDayNanoArray::from(vec![IntervalMonthDayNano::new(0, 1, 0)]);
        let columns: Vec<(&str, ArrayRef)> =
            vec![("n", Arc::new(Int64Array::from(vec![1]))), ("apart", Arc::new(apart))];
        let inputs = [RecordType::Table(RecordBatch::try_from_iter(columns).unwrap().schema())];
        let options = json!({ "path": "out" });
        let faults = with_options(&options, |options| ParquetKind.plan(options, &inputs, &site("rows"))).err().unwrap();
        assert_eq!(faults[0].option, "inputs");
        assert!(faults[0].message.contains("cannot hold column `apart`"), "{faults:?}");
    }
}
