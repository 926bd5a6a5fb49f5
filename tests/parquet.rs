//! Parquet files: what a job that is killed again and again leaves behind is whole, there once, and read back by others
//! as what it was; and a source of such files goes on where it was.

#[path = "support/binary/mod.rs"]
mod binary;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use binary::chaos::{rng, rounds};
use binary::generate::{Row, read_rows, row};
use binary::process::Job;
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::RowAccessor as _;
use rand::RngExt as _;

const KEYS: u64 = 50;
const ROWS: u64 = 40_000;
const SUBTASKS: u64 = 2;

/// Makes rows and writes them as Parquet.
const WRITES: &str = r#"
    [window]
    interval = "20ms"
    [checkpoint]
    interval = "60ms"
    [store]
    path = "state"
    [sources.made]
    type = "generate"
    rows = 40000
    keys = 50
    seed = 7
    rate = "20000/s"
    parallelism = 2
    [sinks.rows]
    type = "parquet"
    inputs = ["made"]
    path = "out"
    parallelism = 2
"#;

/// Reads them and writes them as CSV.
const READS: &str = r#"
    [window]
    interval = "20ms"
    [checkpoint]
    interval = "60ms"
    [store]
    path = "state"
    [sources.files]
    type = "parquet"
    path = "in"
    event_time = "time"
    rate = "20000/s"
    parallelism = 2
    [sinks.rows]
    type = "csv"
    inputs = ["files"]
    path = "out"
"#;

/// Returns the committed files of a folder, in the order of their names, and panics if there are others and should not be.
fn committed(folder: &Path, is_over: bool) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    let is_hidden = |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with('.');
    assert!(!is_over || !files.iter().any(|file| is_hidden(file)), "left behind: {files:?}");
    files.retain(|file| !is_hidden(file));
    files.sort();
    files
}

/// The rows of a file, as the library of the format reads them without Arrow.
fn rows_of(file: &Path) -> Vec<Row> {
    let reader =
        SerializedFileReader::new(File::open(file).unwrap()).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    let rows = reader.get_row_iter(None).unwrap().map(|row| {
        let row = row.unwrap();
        let number = |column| u64::try_from(row.get_long(column).unwrap()).unwrap();
        assert_eq!(row.get_timestamp_millis(3).unwrap(), row.get_long(0).unwrap(), "{row}");
        Row { id: number(0), key: number(1), value: number(2) }
    });
    rows.collect()
}

/// Runs a job to its end, through some lives that are cut short; `look` is called between them.
fn killed(job: &Job, name: &str, mut look: impl FnMut()) {
    let (mut rng, mut killed) = (rng(name), 0);
    while killed < rounds(5) {
        let life = Duration::from_millis(rng.random_range(50..600));
        if let Some(ended) = job.start(&[]).kill_after(life) {
            ended.expect(0);
            break;
        }
        killed += 1;
        look();
    }
    assert!(killed > 2, "it was over before it was broken");
    job.run(&[]).expect(0);
    look();
}

#[test]
fn rows_go_through_files_exactly_once_whatever_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let writes = Job::new(&folder.path().join("writes"), WRITES);
    // A file that has its name is whole, and stays what it is.
    let mut seen: BTreeMap<PathBuf, Vec<u8>> = BTreeMap::new();
    killed(&writes, "parquet writes", || {
        for file in committed(&writes.path("out"), false) {
            let bytes = fs::read(&file).unwrap();
            rows_of(&file);
            let before = seen.entry(file).or_insert_with(|| bytes.clone());
            assert!(*before == bytes, "a committed file has changed");
        }
    });
    let files = committed(&writes.path("out"), true);
    assert!(files.len() > 6, "{files:?}");
    for subtask in 0..SUBTASKS {
        let prefix = format!("rows-{subtask:05}-");
        let own = files.iter().filter(|file| file.file_name().unwrap().to_string_lossy().starts_with(&prefix));
        let rows: Vec<Row> = own.flat_map(|file| rows_of(file)).collect();
        let ids = (0..ROWS).filter(|id| id % SUBTASKS == subtask);
        let expected: Vec<Row> = ids.map(|id| row(7, KEYS, id)).collect();
        assert!(rows == expected, "subtask {subtask} has written {} rows of {}", rows.len(), expected.len());
    }

    let reads = Job::new(&folder.path().join("reads"), READS);
    fs::rename(writes.path("out"), reads.path("in")).unwrap();
    killed(&reads, "parquet reads", || {});
    let texts = committed(&reads.path("out"), true).into_iter().map(|file| fs::read_to_string(file).unwrap());
    let mut rows: Vec<Row> =
        texts.flat_map(|text| read_rows(&text).into_iter().map(|(row, _)| row).collect::<Vec<_>>()).collect();
    rows.sort_unstable();
    let expected: Vec<Row> = (0..ROWS).map(|id| row(7, KEYS, id)).collect();
    assert!(rows == expected, "{} rows came of {}", rows.len(), expected.len());
}

/// The last row of each carrier and origin.
fn last_of_groups(folder: &Path) -> BTreeMap<(String, String), String> {
    let mut last = BTreeMap::new();
    for file in committed(folder, true) {
        let text = fs::read_to_string(file).unwrap();
        for line in text.lines().skip(1) {
            let mut fields = line.splitn(3, ',').map(str::to_string);
            let mut field = || fields.next().unwrap();
            last.insert((field(), field()), field());
        }
    }
    last
}

#[test]
fn flights_are_the_same_whether_they_went_through_parquet_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/flights-2013-01.csv");
    let csv = format!(
        r#"
        [sources.flights]
        type = "csv"
        path = "{}"
        null = "NA"
        "#,
        data.display()
    );
    let aggregate = r#"
        [operators.delays]
        type = "aggregate"
        inputs = ["flights"]
        by = ["carrier", "origin"]
        columns = ["count(*) AS n", "avg(dep_delay) AS mean", "stddev(air_time) AS deviation", "max(time_hour) AS last"]
        [sinks.rows]
        type = "csv"
        inputs = ["delays"]
        path = "out"
    "#;
    let parquet = r#"
        [sources.flights]
        type = "parquet"
        path = "../flights/out"
        columns = ["time_hour", "origin", "carrier", "air_time", "dep_delay"]
    "#;
    let sink = r#"
        [sinks.files]
        type = "parquet"
        inputs = ["flights"]
        path = "out"
    "#;
    let run = |name: &str, parts: [&str; 2]| {
        let job = Job::new(&folder.path().join(name), &parts.concat());
        job.run(&[]).expect(0);
        job
    };
    let plain = run("plain", [&csv, aggregate]);
    let flights = run("flights", [&csv, sink]);
    let through = run("through", [parquet, aggregate]);
    assert!(!committed(&flights.path("out"), true).is_empty());
    let expected = last_of_groups(&plain.path("out"));
    assert_eq!(expected.len(), 33);
    assert_eq!(last_of_groups(&through.path("out")), expected);
}
