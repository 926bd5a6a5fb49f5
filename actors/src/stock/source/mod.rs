//! The sources `csv`, `ndjson`, `lines` and `parquet`: rows in files.

mod columns;
mod csv;
mod files;
mod follow;
mod infer;
mod lines;
mod parquet;
mod span;
mod stdin;

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::event_time::{DRIFT_DOC, EventTime, IDLE_DOC};
use super::options::{option, rate, read, required, unknown};
use super::table_source;
use super::types::type_named;
use crate::blueprint::{Fault, KindDoc, OptionDoc, Options, Site, SourceBlueprint, SourceKind};
use crate::duration::duration;
use csv::{CsvFormat, Null, Sample};
use files::{FilePlan, FileSource, Format};
use follow::{FollowPlan, FollowSource};
pub(super) use parquet::ParquetKind;
use span::Span;

/// What the files of a folder end in.
const CSV: &[&str] = &["csv"];
const JSON: &[&str] = &["ndjson", "jsonl", "json"];
const TEXT: &[&str] = &["txt", "log"];

/// The kind `csv`.
pub(super) struct CsvKind;

/// The kind `ndjson`.
pub(super) struct NdjsonKind;

/// The kind `lines`.
pub(super) struct LinesKind;

#[derive(Deserialize)]
struct Settings {
    path: String,
    #[serde(default)]
    schema: Map<String, Value>,
    #[serde(default = "yes")]
    header: bool,
    null: Option<String>,
    rate: Option<String>,
    event_time: Option<String>,
    out_of_order: Option<String>,
    #[serde(default)]
    follow: bool,
    columns: Option<Vec<String>>,
}

fn yes() -> bool {
    true
}

fn path_option() -> OptionDoc {
    required(
        "path",
        "A file, a folder, or a glob such as \"data/2013-*.csv\"; files are read in the order of their names.",
    )
}

fn rate_option() -> OptionDoc {
    option("rate", "", "How many rows at most, of all subtasks together, as in \"5000/s\".")
}

fn follow_option() -> OptionDoc {
    option(
        "follow",
        "false",
        "Whether to go on as files grow and new ones appear, without end: whole lines only, files by name, the same subtask for a name always. There may be none yet, if `schema` names all columns. Files may be appended to, and removed once they are read to their end; one that shrinks or is replaced stops the job. A subtask without a file holds event time up, unless there is an `idle_timeout`.",
    )
}

fn time_options() -> [OptionDoc; 4] {
    [
        option("event_time", "", "The column that holds the event time: a timestamp, a date, or ms since 1970."),
        option("out_of_order", "\"0ms\"", "How late a row may be, for the watermark."),
        option("idle_timeout", "", IDLE_DOC),
        option("max_drift", "", DRIFT_DOC),
    ]
}

impl SourceKind for CsvKind {
    fn doc(&self) -> KindDoc {
        let mut options = vec![
            path_option(),
            option("schema", "{}", columns::TYPES_DOC),
            option("header", "true", "Whether the first line of each file names the columns; without, `columns` does."),
            option("columns", "", "What the columns of files without a header are called, in their order."),
            option(
                "null",
                "",
                "A text that stands for NULL in every column; an empty field always does, and so does NA in columns that are not text if this is left out.",
            ),
            rate_option(),
            follow_option(),
        ];
        options.extend(time_options());
        KindDoc { doc: "Reads rows from CSV files.", options }
    }

    fn plan(&self, options: &mut Options<'_>, site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        if settings.header && settings.columns.is_some() {
            let message = "the first line of each file names the columns; leave this away, or set `header = false`";
            return Err(vec![Fault::new("columns", message)]);
        }
        let files = list(&settings.path, settings.follow, site, CSV)?;
        let null = settings.null.clone().map_or(Null::Usual, Null::Text);
        let (first, sample) = match first(&files, site, settings.follow)? {
            Some((name, file)) => (name, csv::sample(file, settings.header, &null)),
            None => ("", Ok(Sample::default())),
        };
        let sample = sample.map_err(|error| bad_sample(first, &error))?;
        let mut guessed: Vec<(String, DataType)> =
            sample.names.into_iter().zip(sample.guesses.iter().map(infer::Guess::data_type)).collect();
        let like = (!guessed.is_empty()).then(|| first.to_string());
        if settings.header && guessed.is_empty() {
            // Headers will say in which order they come, if there are any.
            guessed = settings.schema.keys().map(|name| (name.clone(), DataType::Utf8)).collect();
        }
        if let Some(names) = settings.columns.as_ref().filter(|_| !settings.header) {
            if !guessed.is_empty() && guessed.len() != names.len() {
                let message = format!("names {} columns, but `{first}` has {}", names.len(), guessed.len());
                return Err(vec![Fault::new("columns", message)]);
            }
            let types = guessed.iter().map(|(_, data_type)| data_type.clone());
            let types = types.chain(std::iter::repeat(DataType::Utf8));
            guessed = names.iter().cloned().zip(types).collect();
        }
        if guessed.is_empty() {
            return Err(without_columns(&settings, &files));
        }
        let schema = with_types(guessed, &settings.schema, Missing::IsAFault)?;
        let format = CsvFormat {
            header: settings.header,
            like,
            columns: schema.fields().iter().map(|field| field.name().clone()).collect(),
            texts: schema.fields().iter().map(|field| *field.data_type() == DataType::Utf8).collect(),
            null,
        };
        file_source(settings, Listed { files, extensions: CSV }, schema, Box::new(format), site)
    }
}

impl SourceKind for NdjsonKind {
    fn doc(&self) -> KindDoc {
        let mut options =
            vec![path_option(), option("schema", "{}", columns::TYPES_DOC), rate_option(), follow_option()];
        options.extend(time_options());
        KindDoc { doc: "Reads rows from files with one JSON object per line.", options }
    }

    fn plan(&self, options: &mut Options<'_>, site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let files = list(&settings.path, settings.follow, site, JSON)?;
        let sample = first(&files, site, settings.follow)?
            .map(|(name, file)| lines::sample(file).map_err(|error| bad_sample(name, &error)));
        let sample = sample.transpose()?.unwrap_or_default();
        let guessed = sample.into_iter().map(|(name, guess)| (name, guess.data_type())).collect();
        let schema = with_types(guessed, &settings.schema, Missing::IsAColumn)?;
        if schema.fields().is_empty() {
            return Err(without_columns(&settings, &files));
        }
        let names = schema.fields().iter().enumerate().map(|(index, field)| (field.name().clone(), index));
        let format = lines::JsonFormat { columns: Arc::new(names.collect::<HashMap<_, _>>()) };
        file_source(settings, Listed { files, extensions: JSON }, schema, Box::new(format), site)
    }
}

impl SourceKind for LinesKind {
    fn doc(&self) -> KindDoc {
        KindDoc {
            doc: "Reads lines of text, as column `line`.",
            options: vec![
                required(
                    "path",
                    "A file, a folder (its .txt and .log files), a glob, or \"-\" for standard input, which cannot be read again after a failure.",
                ),
                rate_option(),
                follow_option(),
            ],
        }
    }

    fn plan(&self, options: &mut Options<'_>, site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let settings: Settings = read(options, &self.doc())?;
        let schema = Arc::new(Schema::new(vec![Field::new("line", DataType::Utf8, true)]));
        if settings.path == "-" {
            if settings.follow {
                let message = "standard input is read for as long as it is open, whatever this says; leave it away";
                return Err(vec![Fault::new("follow", message)]);
            }
            let per_second = settings.rate.as_deref().map(rate).transpose();
            let per_second = per_second.map_err(|message| vec![Fault::new("rate", message)])?;
            let of_source = Arc::clone(&schema);
            let source = move || stdin::StdinSource::new(Arc::clone(&of_source), per_second);
            return Ok(SourceBlueprint { max_parallelism: Some(1), ..table_source(schema, false, source) });
        }
        let files = list(&settings.path, settings.follow, site, TEXT)?;
        file_source(settings, Listed { files, extensions: TEXT }, schema, Box::new(lines::LineFormat), site)
    }
}

/// Returns the files that there are; if they are followed, they may all be still to come.
fn list(path: &str, follow: bool, site: &Site, extensions: &[&str]) -> Result<Vec<String>, Vec<Fault>> {
    let list = if follow { files::find } else { files::list };
    list(path, &site.folder, extensions).map_err(|message| vec![Fault::new("path", message)])
}

/// Opens the first file that is not empty, if there is one; of one that is still being written, only what is whole.
fn first<'f>(files: &'f [String], site: &Site, follow: bool) -> Result<Option<(&'f str, Span)>, Vec<Fault>> {
    let open = |name: &str| {
        let file = File::open(site.folder.join(name))?;
        if file.metadata()?.len() == 0 {
            return Ok(None);
        }
        if follow { Span::lines(file).map(Some) } else { Ok(Some(Span::whole(file))) }
    };
    for name in files {
        let unreadable =
            |error: std::io::Error| vec![Fault::new("path", format!("file `{name}` cannot be read: {error}"))];
        if let Some(span) = open(name).map_err(unreadable)? {
            return Ok(Some((name, span)));
        }
    }
    Ok(None)
}

/// Says what to do if nothing tells which columns there are.
fn without_columns(settings: &Settings, files: &[String]) -> Vec<Fault> {
    let what = match files {
        [name] => format!("file `{name}` is empty"),
        [_, ..] => format!("all {} files are empty", files.len()),
        [] => format!("no file matches `{}` yet", settings.path),
    };
    let message = format!("{what}, and so nothing tells its columns: name all of them, with their types, in `schema`");
    vec![Fault::new("path", message)]
}

fn bad_sample(name: &str, error: &str) -> Vec<Fault> {
    vec![Fault::new("path", format!("file `{name}`: {error}"))]
}

/// What a column of `schema` is that the file does not show.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    IsAFault,
    IsAColumn,
}

/// Puts the given types in the place of the guessed ones.
fn with_types(
    guessed: Vec<(String, DataType)>,
    given: &Map<String, Value>,
    missing: Missing,
) -> Result<SchemaRef, Vec<Fault>> {
    let mut columns = guessed;
    let mut faults = Vec::new();
    for (index, (name, _)) in columns.iter().enumerate() {
        if columns[..index].iter().any(|(earlier, _)| earlier == name) {
            faults.push(Fault::new("path", format!("there are two columns `{name}`")));
        }
    }
    for (name, type_name) in given {
        let option = format!("schema.{name}");
        let data_type = match type_name.as_str().map(type_named) {
            Some(Ok(data_type)) => data_type,
            Some(Err(message)) => {
                faults.push(Fault::new(option, message));
                continue;
            }
            None => {
                faults.push(Fault::new(option, "the type of a column is a text, such as \"bigint\""));
                continue;
            }
        };
        if let Some((_, guess)) = columns.iter_mut().find(|(known, _)| known == name) {
            *guess = data_type;
        } else if missing == Missing::IsAColumn {
            columns.push((name.clone(), data_type));
        } else {
            let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
            faults.push(Fault::new(option, unknown("column", name, &names)));
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let fields = columns.into_iter().map(|(name, data_type)| Field::new(name, data_type, true));
    Ok(Arc::new(Schema::new(fields.collect::<Vec<_>>())))
}

/// The files of a source, and what those of a folder end in.
struct Listed {
    files: Vec<String>,
    extensions: &'static [&'static str],
}

fn file_source(
    settings: Settings,
    listed: Listed,
    schema: SchemaRef,
    format: Box<dyn Format>,
    site: &Site,
) -> Result<SourceBlueprint, Vec<Fault>> {
    let mut faults = Vec::new();
    let per_second = settings.rate.as_deref().map(rate).transpose().unwrap_or_else(|message| {
        faults.push(Fault::new("rate", message));
        None
    });
    if let Some(Err(message)) = settings.out_of_order.as_deref().map(duration) {
        faults.push(Fault::new("out_of_order", message));
    }
    let event_time = settings.event_time.as_deref().map(|name| EventTime::find(name, &schema)).transpose();
    let event_time = event_time.unwrap_or_else(|message| {
        faults.push(Fault::new("event_time", message));
        None
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let folder = site.folder.clone();
    let output = Arc::clone(&schema);
    let Listed { files, extensions } = listed;
    let gives_event_time = event_time.is_some();
    let plan = FilePlan { folder, files, format, schema, event_time, per_second };
    if settings.follow {
        let plan = Arc::new(FollowPlan { path: settings.path, extensions, files: plan });
        let source = move || FollowSource::new(Arc::clone(&plan));
        return Ok(SourceBlueprint { endless: true, gives_event_time, ..table_source(output, true, source) });
    }
    let plan = Arc::new(plan);
    let source = move || FileSource::new(Arc::clone(&plan));
    Ok(SourceBlueprint { gives_event_time, ..table_source(output, true, source) })
}

#[cfg(test)]
pub(super) mod tests;
