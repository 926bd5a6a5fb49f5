//! Rows of a CSV file (RFC 4180; quoted fields may hold line breaks).

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};

use csv::{ByteRecord, Position, Reader, ReaderBuilder};

use super::columns::Columns;
use super::files::{Format, LONGEST_ROW, Place, RowReader, TextReader};
use super::infer::{Guess, INFERENCE_ROWS};
use super::span::Span;
use crate::{Error, ErrorKind, Result};

/// The byte order mark, which may stand at the beginning of a file.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// What a CSV file looks like.
#[derive(Clone, Debug)]
pub(super) struct CsvFormat {
    /// Whether the first line holds the names of the columns.
    pub header: bool,
    /// The name of the first file, whose columns all files have to have; nothing if there was none, and they have to have
    /// those of `schema`.
    pub like: Option<String>,
    /// The columns that are read, in the order of the schema.
    pub columns: Vec<String>,
    /// Whether each of them is text.
    pub texts: Vec<bool>,
    /// What stands for NULL, beside the empty field.
    pub null: Null,
}

/// What stands for NULL, beside the empty field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Null {
    /// `NA`, but not in columns of text, where it may be a word.
    Usual,
    /// This text, in every column.
    Text(String),
}

impl Null {
    /// Returns whether a field stands for NULL.
    pub(super) fn is(&self, field: &str, in_text: bool) -> bool {
        field.is_empty()
            || match self {
                Null::Usual => !in_text && field == "NA",
                Null::Text(text) => field == text,
            }
    }
}

/// The columns of the first file.
#[derive(Default)]
pub(super) struct Sample {
    pub names: Vec<String>,
    pub guesses: Vec<Guess>,
}

/// Looks at the first rows of a file.
pub(super) fn sample(file: Span, header: bool, null: &Null) -> std::result::Result<Sample, String> {
    let mut reader = reader(file);
    let mut record = ByteRecord::new();
    let mut names = None;
    let mut guesses: Vec<Guess> = Vec::new();
    for row in 0..=INFERENCE_ROWS {
        // A row that is cut or cannot be read is reported, with its line, when it is reached.
        if !next(&mut reader, &mut record).map_err(|error| error.to_string())? {
            break;
        }
        let fields: Vec<String> = record.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
        if row == 0 && header {
            guesses.resize(fields.len(), Guess::default());
            names = Some(fields);
            continue;
        }
        guesses.resize(guesses.len().max(if row == 0 { fields.len() } else { 0 }), Guess::default());
        for (guess, field) in guesses.iter_mut().zip(&fields) {
            // Whether the column is one of text is what is to be found out.
            if !null.is(field, false) {
                guess.text(field);
            }
        }
    }
    let names = names.unwrap_or_else(|| (1..=guesses.len()).map(|number| format!("column_{number}")).collect());
    Ok(Sample { names, guesses })
}

impl CsvFormat {
    /// Names what has the columns that all files have to have.
    fn model(&self) -> String {
        let first = |name: &String| format!("`{name}`, the first file of this source,");
        self.like.as_ref().map_or_else(|| "the option `schema`".into(), first)
    }
}

impl Format for CsvFormat {
    fn open(&self, file: Span, name: &str, at: Place) -> Result<Box<dyn RowReader>> {
        let mut reader = reader(file);
        let mut record = ByteRecord::new();
        let mut wanted: Vec<usize> = (0..self.columns.len()).collect();
        let mut fields = self.columns.len();
        // A file of another folder's making may have its columns in another order; they are found by name.
        if self.header && next(&mut reader, &mut record).map_err(|error| error.context(format!("file `{name}`")))? {
            fields = record.len();
            for (place, column) in wanted.iter_mut().zip(&self.columns) {
                let Some(found) = record.iter().position(|field| field == column.as_bytes()) else {
                    return Err(Error::invalid(format!(
                        "file `{name}` has no column `{column}`, which {} has",
                        self.model()
                    )));
                };
                *place = found;
            }
            if let Some((_, field)) = record.iter().enumerate().find(|(place, _)| !wanted.contains(place)) {
                return Err(Error::invalid(format!(
                    "file `{name}` has a column `{}`, which {} has not, or not twice; it would be lost: read files with other columns as a source of their own",
                    String::from_utf8_lossy(field),
                    self.model()
                )));
            }
        }
        let mut position = Position::new();
        if at.offset > 0 {
            position.set_byte(at.offset).set_line(at.line + 1);
            reader.seek(position).map_err(Error::from)?;
        } else if !self.header {
            reader.seek(position).map_err(Error::from)?;
        }
        let done = place_of(&reader);
        let (texts, null) = (self.texts.clone(), self.null.clone());
        Ok(Box::new(CsvReader { reader, record, done, wanted, fields, texts, null }))
    }
}

struct CsvReader {
    reader: Reader<Guard>,
    record: ByteRecord,
    /// Where the next row begins, whatever of it was read in vain.
    done: Place,
    /// Where in a record each column stands.
    wanted: Vec<usize>,
    /// How many fields a record has.
    fields: usize,
    texts: Vec<bool>,
    null: Null,
}

impl CsvReader {
    /// Returns the line that the current record begins in, for a message: empty lines before it do not count to it.
    fn line(&mut self) -> Result<u64> {
        let Some(begin) = self.record.position().cloned() else { return Ok(0) };
        let file = &mut self.reader.get_mut().file;
        let here = file.stream_position()?;
        file.seek(SeekFrom::Start(begin.byte()))?;
        let mut line = begin.line();
        for byte in BufReader::new(&mut *file).bytes() {
            match byte? {
                b'\n' => line += 1,
                b'\r' => {}
                _ => break,
            }
        }
        file.seek(SeekFrom::Start(here))?;
        Ok(line)
    }
}

impl TextReader for CsvReader {
    fn read(&mut self, limit: usize, columns: &mut Columns) -> Result<usize> {
        for row in 0..limit {
            if !next(&mut self.reader, &mut self.record)? {
                if !self.reader.get_ref().is_cut {
                    self.done = place_of(&self.reader);
                }
                return Ok(row);
            }
            self.done = place_of(&self.reader);
            if self.record.len() != self.fields {
                return Err(Error::invalid(format!(
                    "line {} has {} fields, but there are {} columns",
                    self.line()?,
                    self.record.len(),
                    self.fields
                )));
            }
            for (column, place) in self.wanted.iter().copied().enumerate() {
                let bytes = &self.record[place];
                let Ok(text) = std::str::from_utf8(bytes) else {
                    let message = format!("line {}, field {}: the text is not UTF-8", self.line()?, place + 1);
                    return Err(Error::invalid(message));
                };
                if self.null.is(text, self.texts[column]) {
                    columns.append_null(column);
                } else if let Err(message) = columns.append_text(column, text) {
                    return Err(Error::invalid(format!("line {}: {message}", self.line()?)));
                }
            }
        }
        Ok(limit)
    }

    fn place(&self) -> Place {
        self.done
    }
}

fn place_of(reader: &Reader<Guard>) -> Place {
    let position = reader.position();
    Place { offset: position.byte(), line: position.line() - 1 }
}

fn reader(file: Span) -> Reader<Guard> {
    let guard = Guard { file, left: LONGEST_ROW, ended: false, is_cut: false };
    ReaderBuilder::new().has_headers(false).flexible(true).buffer_capacity(64 << 10).from_reader(guard)
}

fn next(reader: &mut Reader<Guard>, record: &mut ByteRecord) -> Result<bool> {
    let guard = reader.get_mut();
    (guard.left, guard.ended) = (LONGEST_ROW, false);
    let line = reader.position().line();
    let read = reader.read_byte_record(record).map_err(|error| {
        let kind = match error.kind() {
            csv::ErrorKind::Io(error) if error.kind() != std::io::ErrorKind::InvalidData => ErrorKind::Failed,
            _ => ErrorKind::Invalid,
        };
        Error::new(kind, format!("line {line}: {error}"))
    })?;
    // The reader takes a quote as closed by the end of the file, and all rows behind it as its text.
    if read
        && reader.get_ref().ended
        && let Some(line) = unclosed_quote(reader, record)?
    {
        if reader.get_ref().file.grows() {
            // What closes the quote is still to be written.
            reader.get_mut().is_cut = true;
            return Ok(false);
        }
        return Err(Error::invalid(format!(
            "line {line}: nothing closes the quote that opens here; close it, or put the field into quotes and write this one twice"
        )));
    }
    Ok(read)
}

/// Returns the line in which a quote opens that is not closed in the last record of a file.
fn unclosed_quote(reader: &mut Reader<Guard>, record: &ByteRecord) -> Result<Option<u64>> {
    enum At {
        Begin,
        Plain,
        Quoted(u64),
        Closed(u64),
    }
    let Some(begin) = record.position().cloned() else { return Ok(None) };
    let file = &mut reader.get_mut().file;
    let here = file.stream_position()?;
    file.seek(SeekFrom::Start(begin.byte()))?;
    let mut bytes = BufReader::new(&mut *file);
    if begin.byte() == 0 && bytes.fill_buf()?.starts_with(MARK) {
        bytes.consume(MARK.len());
    }
    let mut line = begin.line();
    let mut at = At::Begin;
    for byte in bytes.bytes() {
        let byte = byte?;
        at = match (at, byte) {
            (At::Begin, b'"') => At::Quoted(line),
            (At::Quoted(open), b'"') => At::Closed(open),
            (At::Closed(open), b'"') | (At::Quoted(open), _) => At::Quoted(open),
            (_, b',' | b'\n' | b'\r') => At::Begin,
            _ => At::Plain,
        };
        line += u64::from(byte == b'\n');
    }
    file.seek(SeekFrom::Start(here))?;
    Ok(match at {
        At::Quoted(open) => Some(open),
        _ => None,
    })
}

/// Lets no single record read more than its share.
struct Guard {
    file: Span,
    left: u64,
    /// Whether the end of the file was met while the current record was read.
    ended: bool,
    /// Whether the last record of a file that grows is not written to its end.
    is_cut: bool,
}

impl Read for Guard {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let message = format!("a row is longer than {LONGEST_ROW} bytes; is a quote not closed?");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, message));
        }
        let read = self.file.read(buffer)?;
        self.left = self.left.saturating_sub(read as u64);
        self.ended |= read == 0 && !buffer.is_empty();
        Ok(read)
    }
}

impl Seek for Guard {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        self.file.seek(to)
    }
}
