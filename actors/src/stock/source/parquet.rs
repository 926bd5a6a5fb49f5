//! The source `parquet`: rows of Parquet files, which say themselves what columns they have.
//!
//! Where it is in a file is a row group and a row in it, so that a restart reads on without what lies before that group.
//! What tells a file from another one under its name is its length and its end, where everything is listed that it holds.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};

use super::super::options::{option, read, unknown};
use super::super::parquet::{Footer, Reader};
use super::super::types::name_of;
use super::files::{Format, Place, RowReader};
use super::span::Span;
use super::{Listed, Settings, file_source, list, path_option, rate_option, time_options};
use crate::blueprint::{Fault, KindDoc, Options, Site, SourceBlueprint, SourceKind};
use crate::{Error, Result};

/// What the files of a folder end in.
const PARQUET: &[&str] = &["parquet"];

/// How much of the end of a file goes into its fingerprint.
const FINGERPRINTED: u64 = 64 << 10;

/// The kind `parquet`.
pub(in super::super) struct ParquetKind;

impl SourceKind for ParquetKind {
    fn doc(&self) -> KindDoc {
        let mut options = vec![
            path_option(),
            option("columns", "", "The columns to read, in this order; all of them if left out."),
            rate_option(),
        ];
        options.extend(time_options());
        KindDoc { doc: "Reads rows from Parquet files, which must all have the same columns.", options }
    }

    fn plan(&self, options: &mut Options<'_>, site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let files = list(&settings.path, false, site, PARQUET)?;
        let mut faults = Vec::new();
        let mut common: Option<Wanted> = None;
        for name in &files {
            let footer = File::open(site.folder.join(name)).map_err(|error| format!("it cannot be read: {error}"));
            let found = match footer.and_then(Footer::read) {
                Ok(footer) => footer.columns(),
                Err(message) => {
                    faults.push(Fault::new("path", format!("file `{name}`: {message}")));
                    continue;
                }
            };
            let Some(wanted) = &common else {
                common = Some(Wanted::of(name, &found, settings.columns.as_deref())?);
                continue;
            };
            faults.extend(wanted.check(name, &found).err().map(|message| Fault::new("path", message)));
        }
        match common {
            Some(wanted) if faults.is_empty() => {
                let schema = Arc::clone(&wanted.schema);
                file_source(settings, Listed { files, extensions: PARQUET }, schema, Box::new(wanted), site)
            }
            _ => Err(few(faults)),
        }
    }
}

/// Leaves so many faults that they can be read: in a folder, whatever is wrong is likely to be wrong with many files.
fn few(mut faults: Vec<Fault>) -> Vec<Fault> {
    const TOLD: usize = 5;
    if faults.len() > TOLD {
        let more = format!("{} more files cannot be read with these", faults.len() - TOLD);
        faults.truncate(TOLD);
        faults.push(Fault::new("path", more));
    }
    faults
}

/// The columns that are read from each file.
struct Wanted {
    schema: SchemaRef,
    /// The file whose columns they are, which all files have to have.
    first: String,
    /// Whether these are all columns, so that another one would be lost.
    all: bool,
}

impl Wanted {
    fn of(first: &str, found: &SchemaRef, columns: Option<&[String]>) -> Result<Wanted, Vec<Fault>> {
        let names: Vec<&str> = found.fields().iter().map(|field| field.name().as_str()).collect();
        if names.is_empty() {
            return Err(vec![Fault::new("path", format!("file `{first}` has no columns"))]);
        }
        if let Some((_, twice)) = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name)) {
            return Err(vec![Fault::new("path", format!("file `{first}` has two columns `{twice}`"))]);
        }
        let Some(columns) = columns else {
            return Ok(Wanted { schema: Arc::clone(found), first: first.to_string(), all: true });
        };
        if columns.is_empty() {
            return Err(vec![Fault::new("columns", "name at least one column, or leave it away to read all")]);
        }
        let (mut places, mut faults) = (Vec::new(), Vec::new());
        for (index, name) in columns.iter().enumerate() {
            let message = match names.iter().position(|known| known == name) {
                None => unknown("column", name, &names),
                Some(place) if places.contains(&place) => format!("column `{name}` is named twice"),
                Some(place) => {
                    places.push(place);
                    continue;
                }
            };
            faults.push(Fault::new(format!("columns[{index}]"), message));
        }
        let fields = places.iter().map(|place| Arc::clone(&found.fields()[*place]));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        if faults.is_empty() { Ok(Wanted { schema, first: first.to_string(), all: false }) } else { Err(faults) }
    }

    /// Checks that a file has these columns.
    fn check(&self, name: &str, found: &SchemaRef) -> Result<(), String> {
        let first = &self.first;
        for field in self.schema.fields() {
            let (column, wanted) = (field.name(), field.data_type());
            match found.column_with_name(column).map(|(_, found)| found.data_type()) {
                Some(data_type) if data_type == wanted => {}
                Some(other) => {
                    return Err(format!(
                        "column `{column}` of file `{name}` is of type {}, but of type {} in `{first}`, the first file of this source; read files with other columns as a source of their own",
                        name_of(other),
                        name_of(wanted)
                    ));
                }
                None => {
                    return Err(format!(
                        "file `{name}` has no column `{column}`, which `{first}`, the first file of this source, has"
                    ));
                }
            }
        }
        let mut others = found.fields().iter().filter(|_| self.all);
        match others.find(|field| self.schema.column_with_name(field.name()).is_none()) {
            Some(other) => Err(format!(
                "file `{name}` has a column `{}`, which `{first}`, the first file of this source, has not; it would be lost: name the columns to read in `columns`, or read this file as a source of its own",
                other.name()
            )),
            None => Ok(()),
        }
    }
}

impl Format for Wanted {
    fn open(&self, file: Span, name: &str, at: Place) -> Result<Box<dyn RowReader>> {
        let in_file = |message: String| Error::invalid(format!("file `{name}`: {message}"));
        let footer = Footer::read(file.into_file()).map_err(in_file)?;
        self.check(name, &footer.columns()).map_err(Error::invalid)?;
        let group = usize::try_from(at.offset.saturating_sub(1))?;
        let rows =
            footer.rows(&self.schema, group, at.line).map_err(|error| error.context(format!("file `{name}`")))?;
        Ok(Box::new(Rows { rows, is_begun: at.offset > 0 }))
    }

    fn head(&self, file: &mut File) -> std::io::Result<Vec<u8>> {
        let size = file.seek(SeekFrom::End(0))?;
        file.seek(SeekFrom::Start(size.saturating_sub(FINGERPRINTED)))?;
        let mut head = size.to_le_bytes().to_vec();
        file.take(FINGERPRINTED).read_to_end(&mut head)?;
        Ok(head)
    }
}

/// Reads the rows of one file.
struct Rows {
    rows: Reader,
    is_begun: bool,
}

impl RowReader for Rows {
    fn read(&mut self, limit: usize, _schema: &SchemaRef) -> Result<RecordBatch> {
        let batch = self.rows.read(limit)?;
        self.is_begun |= batch.num_rows() > 0;
        Ok(batch)
    }

    /// The number of the row group from 1, and how many of its rows are read.
    fn place(&self) -> Place {
        let (group, line) = self.rows.at();
        if self.is_begun { Place { offset: group as u64 + 1, line } } else { Place::default() }
    }

    /// A file that is whole does not grow.
    fn seen(&self) -> u64 {
        u64::MAX
    }
}

#[cfg(test)]
mod tests;
