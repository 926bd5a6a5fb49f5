//! Tables into a file that is written from its beginning to its end.

use std::sync::Arc;

use arrow::array::{RecordBatch, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::Result as ParquetResult;
use parquet::file::properties::WriterProperties;

use super::super::types::name_of;
use crate::Result;

/// How much memory rows may take until they are written as a row group. What is left of a group at the end of a file is
/// one, too, however small.
const ROW_GROUP: usize = 16 << 20;

/// What a file says of who has made it.
const CREATED_BY: &str = concat!("piton version ", env!("CARGO_PKG_VERSION"));

/// Writes one file. The same rows give the same bytes.
pub(in super::super) struct Writer {
    writer: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
}

impl Writer {
    /// Begins a file of these columns.
    pub(in super::super) fn new(schema: &SchemaRef) -> Result<Writer> {
        Ok(Writer { writer: writer(schema)?, schema: Arc::clone(schema) })
    }

    /// Takes rows, and appends what is certain of the file by now to `out`.
    pub(in super::super) fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result {
        // The names and types are those that were planned with; what may be NULL does not count.
        self.writer.write(&RecordBatch::try_new(Arc::clone(&self.schema), batch.columns().to_vec())?)?;
        if self.writer.memory_size() >= ROW_GROUP {
            self.writer.flush()?;
        }
        // Not what it lies in: that would stay as large as a row group.
        out.append(&mut std::mem::take(self.writer.inner_mut()));
        Ok(())
    }

    /// Appends what is left, with the footer.
    pub(in super::super) fn end(self, out: &mut Vec<u8>) -> Result {
        out.append(&mut self.writer.into_inner()?);
        Ok(())
    }
}

fn writer(schema: &SchemaRef) -> ParquetResult<ArrowWriter<Vec<u8>>> {
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
    let properties = properties.set_created_by(CREATED_BY.to_string()).build();
    ArrowWriter::try_new(Vec::new(), Arc::clone(schema), Some(properties))
}

/// Returns the columns that a file cannot hold, because of their types.
pub(in super::super) fn unwritable(schema: &Schema) -> Vec<String> {
    // Some types are only refused when there is a row.
    let fits = |column: usize| -> Result {
        let schema = Arc::new(schema.project(&[column])?);
        let nothing = new_null_array(schema.field(0).data_type(), 1);
        let mut writer = writer(&schema)?;
        writer.write(&RecordBatch::try_new(schema, vec![nothing])?)?;
        writer.into_inner()?;
        Ok(())
    };
    let refused = schema.fields().iter().enumerate().filter(|(column, _)| fits(*column).is_err());
    refused.map(|(_, field)| format!("`{}` of type {}", field.name(), name_of(field.data_type()))).collect()
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use arrow::datatypes::{DataType, Field, IntervalUnit};

    use super::super::Footer;
    use super::*;

    fn batch(rows: std::ops::Range<i64>) -> RecordBatch {
        // Nothing that can be compressed.
        let part = |n: i64, part: u64| format!("{:016x}", crate::key::mix(n.cast_unsigned() * 25 + part));
        let texts = rows.clone().map(|n| (0..25).map(|number| part(n, number)).collect::<String>());
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("n", Arc::new(Int64Array::from_iter_values(rows.clone()))),
            ("s", Arc::new(StringArray::from_iter_values(texts))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    #[test]
    fn what_is_held_back_does_not_grow_with_the_file() {
        let mut writer = Writer::new(&batch(0..0).schema()).unwrap();
        let (mut file, mut most) = (Vec::new(), 0);
        for part in 0..120 {
            writer.rows(&batch(part * 1000..(part + 1) * 1000), &mut file).unwrap();
            most = most.max(writer.writer.memory_size() + writer.writer.inner().capacity());
        }
        assert!(most < 2 * ROW_GROUP, "{most} bytes");
        assert!(file.len() > ROW_GROUP, "most of it is out before the end: {} bytes", file.len());
        writer.end(&mut file).unwrap();
        let whole = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(whole.path(), &file).unwrap();
        let footer = Footer::read(whole.reopen().unwrap()).unwrap();
        assert_eq!(footer.groups().iter().sum::<u64>(), 120_000);
        assert!(footer.groups().len() > 2, "{:?}", footer.groups());
    }

    #[test]
    fn columns_of_types_that_no_file_holds_are_named() {
        let schema = Schema::new(vec![
            Field::new("n", DataType::Int64, true),
            Field::new("apart", DataType::Interval(IntervalUnit::MonthDayNano), true),
        ]);
        let refused = unwritable(&schema);
        assert_eq!(refused.len(), 1, "{refused:?}");
        assert!(refused[0].starts_with("`apart` of type Interval"), "{refused:?}");
    }
}
