//! Rows out of a file, from any row on.

use std::fs::File;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Compression;
use parquet::file::metadata::PageIndexPolicy;

use crate::{Error, Result};

/// How many rows are decoded at once.
const DECODED: usize = 1024;

/// What the end of a file says of it.
pub(in super::super) struct Footer {
    file: File,
    metadata: ArrowReaderMetadata,
}

impl Footer {
    /// Reads the end of a file.
    ///
    /// # Errors
    /// In words, if it is not a Parquet file, or holds what cannot be read.
    pub(in super::super) fn read(file: File) -> Result<Footer, String> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load(&file, options).map_err(|error| told(&error))?;
        for group in metadata.metadata().row_groups() {
            for column in group.columns() {
                let codec = column.compression();
                if !matches!(codec, Compression::UNCOMPRESSED | Compression::SNAPPY) {
                    let name = format!("{codec:?}");
                    return Err(format!(
                        "column `{}` is compressed by {}, which cannot be read here; write the file with snappy, or without compression",
                        column.column_path(),
                        name.split('(').next().unwrap_or_default().to_lowercase()
                    ));
                }
            }
        }
        Ok(Footer { file, metadata })
    }

    /// Returns the columns, with the types that they are read as.
    pub(in super::super) fn columns(&self) -> SchemaRef {
        let fields = self.metadata.schema().fields().iter();
        let fields = fields.map(|field| Field::new(field.name(), plain(field.data_type()), true));
        Arc::new(Schema::new(fields.collect::<Vec<Field>>()))
    }

    /// Returns how many rows each row group has.
    pub(in super::super) fn groups(&self) -> Vec<u64> {
        let groups = self.metadata.metadata().row_groups().iter();
        groups.map(|group| u64::try_from(group.num_rows()).unwrap_or_default()).collect()
    }

    /// Begins to read these columns, which are those of the file or some of them, behind so many rows of a row group.
    ///
    /// # Errors
    /// If the file has no such column or row.
    pub(in super::super) fn rows(self, columns: &SchemaRef, group: usize, row: u64) -> Result<Reader> {
        let groups = self.groups();
        if group > groups.len() || groups.get(group).map_or(row > 0, |rows| row > *rows) {
            return Err(Error::invalid(format!("there is no row {row} of row group {group} in it")));
        }
        let own = self.metadata.schema();
        let mut roots = Vec::with_capacity(columns.fields().len());
        for field in columns.fields() {
            let Some((root, _)) = own.column_with_name(field.name()) else {
                return Err(Error::invalid(format!("there is no column `{}` in it", field.name())));
            };
            roots.push(root);
        }
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots.iter().copied());
        let mut batches = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file, self.metadata)
            .with_batch_size(DECODED)
            .with_projection(mask)
            .with_row_groups((group..groups.len()).collect());
        if row > 0 {
            batches = batches.with_offset(usize::try_from(row)?);
        }
        let batches = batches.build()?;
        // What is decoded has the columns in the order of the file.
        let place = |root: &usize| roots.iter().filter(|other| *other < root).count();
        let places = roots.iter().map(place).collect();
        Ok(Reader { batches, left: None, columns: Arc::clone(columns), places, groups, at: (group, row) })
    }
}

/// Reads the rows of one file.
pub(in super::super) struct Reader {
    batches: ParquetRecordBatchReader,
    /// What was decoded and not taken.
    left: Option<RecordBatch>,
    columns: SchemaRef,
    /// Where each of the columns stands in what is decoded.
    places: Vec<usize>,
    /// How many rows each row group has.
    groups: Vec<u64>,
    /// The row group of the next row, and how many of its rows come before that.
    at: (usize, u64),
}

impl Reader {
    /// Returns up to so many rows: fewer only at the end of the file.
    pub(in super::super) fn read(&mut self, limit: usize) -> Result<RecordBatch> {
        let mut pieces = Vec::new();
        let mut rows = 0;
        while rows < limit {
            let decoded = match self.left.take() {
                Some(decoded) => decoded,
                // What is damaged is so after a restart, too.
                None => match self.batches.next().transpose().map_err(|error| Error::invalid(told(&error)))? {
                    Some(decoded) => decoded,
                    None => break,
                },
            };
            let taken = decoded.num_rows().min(limit - rows);
            if taken < decoded.num_rows() {
                self.left = Some(decoded.slice(taken, decoded.num_rows() - taken));
            }
            rows += taken;
            pieces.push(self.piece(&decoded.slice(0, taken))?);
        }
        self.advance(rows as u64);
        match &pieces[..] {
            [] => Ok(RecordBatch::new_empty(Arc::clone(&self.columns))),
            [piece] => Ok(piece.clone()),
            pieces => Ok(concat_batches(&self.columns, pieces)?),
        }
    }

    /// Returns the row group of the next row, and how many of its rows come before that.
    pub(in super::super) fn at(&self) -> (usize, u64) {
        self.at
    }

    fn piece(&self, decoded: &RecordBatch) -> Result<RecordBatch> {
        let column = |(place, field): (&usize, &Arc<Field>)| -> Result<ArrayRef> {
            let column = decoded.column(*place);
            Ok(if column.data_type() == field.data_type() {
                Arc::clone(column)
            } else {
                cast(column, field.data_type())?
            })
        };
        let columns = self.places.iter().zip(self.columns.fields()).map(column).collect::<Result<Vec<ArrayRef>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&self.columns), columns)?)
    }

    fn advance(&mut self, rows: u64) {
        let (group, row) = &mut self.at;
        *row += rows;
        while let Some(rows) = self.groups.get(*group).filter(|rows| *row >= **rows) {
            *row -= rows;
            *group += 1;
        }
    }
}

/// Returns the type that a column is read as: how its values are laid out in a file makes no difference.
fn plain(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Dictionary(_, values) => plain(values),
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        other => other.clone(),
    }
}

/// Returns what is wrong with a file, without the words that say of what crate the message is.
fn told(error: &impl std::fmt::Display) -> String {
    let message = error.to_string();
    let mut rest = message.as_str();
    while let Some(shorter) = ["Parquet argument error: ", "Parquet error: ", "EOF: ", "Arrow: ", "External: "]
        .iter()
        .find_map(|word| rest.strip_prefix(word))
    {
        rest = shorter;
    }
    format!("it cannot be read as Parquet: {}", rest.trim_end_matches('.'))
}
