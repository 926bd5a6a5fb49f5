use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::util::pretty::pretty_format_batches;
use serde_json::json;

use super::super::options::tests::with_options;
use super::super::tests::ints;
use super::*;
use crate::host::AnySource;
use crate::table::{Table, table};
use crate::{Error, ErrorKind, Progress, Subtask};

pub(crate) fn subtask(index: u32, parallelism: u32) -> Subtask {
    Subtask { index, parallelism, ..Subtask::single("source") }
}

pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("this source or sink waits for nothing"),
    }
}

/// One instance of a source.
pub(crate) struct Tap {
    source: Option<Box<dyn AnySource>>,
    position: Vec<u8>,
    done: bool,
}

impl Tap {
    pub(crate) fn open(
        blueprint: &SourceBlueprint,
        subtask: Subtask,
        position: Option<Vec<u8>>,
        rows: usize,
    ) -> crate::Result<Tap> {
        let source = (blueprint.make)(rows)?;
        let (source, opened) = ready(source.open(position.clone(), subtask));
        opened?;
        Ok(Tap { source: Some(source), position: position.unwrap_or_default(), done: false })
    }

    pub(crate) fn poll(&mut self) -> crate::Result<Vec<Table>> {
        let (source, polled) = ready(self.source.take().unwrap().poll());
        self.source = Some(source);
        let polled = polled?;
        self.position = polled.position;
        self.done = polled.progress? == Progress::Done;
        Ok(polled.batches.iter().map(|batch| Table::clone(&table(batch).unwrap())).collect())
    }

    pub(crate) fn position(&self) -> &[u8] {
        &self.position
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done
    }

    /// Tells the source that the checkpoint of a position is durable.
    pub(crate) fn commit(&mut self, position: &[u8]) {
        let call = self.source.take().unwrap().committed(crate::WindowId::NONE.next(), position.to_vec());
        let (source, told) = ready(call);
        told.unwrap();
        self.source = Some(source);
    }

    pub(crate) fn rest(&mut self) -> Vec<Table> {
        let mut tables = Vec::new();
        while !self.done {
            tables.extend(self.poll().unwrap());
        }
        tables
    }
}

pub(super) fn plan(kind: &dyn SourceKind, options: &Value, folder: &Path) -> Result<SourceBlueprint, Vec<Fault>> {
    let site = Site { job: "job".into(), name: "source".into(), folder: folder.into(), parallelism: 1 };
    with_options(options, |options| kind.plan(options, &site))
}

pub(super) fn all_of(tables: &[Table]) -> RecordBatch {
    concat_batches(&tables[0].schema(), tables.iter().map(Table::batch)).unwrap()
}

pub(super) fn read_all(kind: &dyn SourceKind, options: &Value, folder: &Path) -> RecordBatch {
    let blueprint = plan(kind, options, folder).unwrap();
    all_of(&Tap::open(&blueprint, subtask(0, 1), None, 1000).unwrap().rest())
}

pub(super) fn shown(batch: &RecordBatch) -> String {
    pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string()
}

/// Checks that a source which is stopped after each batch and opened again reads the same as one that is not.
pub(super) fn resumes_everywhere(kind: &dyn SourceKind, options: &Value, folder: &Path) {
    let blueprint = plan(kind, options, folder).unwrap();
    let whole = all_of(&Tap::open(&blueprint, subtask(0, 1), None, 1000).unwrap().rest());
    for rows in [1, 2, 3, 7] {
        let mut tap = Tap::open(&blueprint, subtask(0, 1), None, rows).unwrap();
        let mut tables = Vec::new();
        while !tap.done {
            tables.extend(tap.poll().unwrap());
            assert!(tables.iter().all(|table| table.rows() <= rows));
            let done = tap.done;
            tap = Tap::open(&blueprint, subtask(0, 1), Some(tap.position.clone()), rows).unwrap();
            tap.done = done;
        }
        assert_eq!(all_of(&tables), whole, "{rows} rows at a time");
    }
}

const TRICKY: &str = "name,n,x,when\r\n\"a, \"\"b\"\"\",1,0.1,2013-01-01T10:00:00Z\r\n\"two\nlines\",2,NA,\r\n\n\"\",,1e-7,2013-01-02 00:00:00\r\nNA,4,5,2013-01-01\nlast,-5,0.30000000000000004,2013-01-01T10:00:00Z";

#[test]
fn csv_resumes_at_every_batch_boundary() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), TRICKY).unwrap();
    std::fs::write(folder.path().join("b.csv"), TRICKY.replace("last", "very last")).unwrap();
    resumes_everywhere(&CsvKind, &json!({ "path": "*.csv", "schema": { "when": "timestamp" } }), folder.path());
}

#[test]
fn csv_fields_become_values() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), TRICKY).unwrap();
    let options = json!({ "path": "a.csv", "schema": { "when": "timestamp" } });
    let batch = read_all(&CsvKind, &options, folder.path());
    let expected = "\
+--------+----+---------------------+---------------------+
| name   | n  | x                   | when                |
+--------+----+---------------------+---------------------+
| a, \"b\" | 1  | 0.1                 | 2013-01-01T10:00:00 |
| two    | 2  |                     |                     |
| lines  |    |                     |                     |
|        |    | 1e-7                | 2013-01-02T00:00:00 |
| NA     | 4  | 5.0                 | 2013-01-01T00:00:00 |
| last   | -5 | 0.30000000000000004 | 2013-01-01T10:00:00 |
+--------+----+---------------------+---------------------+";
    assert_eq!(shown(&batch), expected);
    assert_eq!(batch.column(0).null_count(), 1, "an empty field is NULL in every column, NA only where it is no text");

    let options = json!({ "path": "a.csv", "null": "NA", "schema": { "when": "timestamp" } });
    assert_eq!(read_all(&CsvKind, &options, folder.path()).column(0).null_count(), 2);
}

#[test]
fn columns_are_found_by_name_in_later_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "a,b\n1,x\n").unwrap();
    std::fs::write(folder.path().join("b.csv"), "b,a\ny,2\n").unwrap();
    let batch = read_all(&CsvKind, &json!({ "path": "." }), folder.path());
    assert_eq!(shown(&batch), "+---+---+\n| a | b |\n+---+---+\n| 1 | x |\n| 2 | y |\n+---+---+");

    for (text, part) in [
        ("b,c\ny,?\n", "`b.csv` has no column `a`, which `a.csv`"),
        ("b,c,a\ny,?,2\n", "`b.csv` has a column `c`, which `a.csv`"),
        ("b,a,b\ny,2,z\n", "`b.csv` has a column `b`, which `a.csv`"),
    ] {
        std::fs::write(folder.path().join("b.csv"), text).unwrap();
        let blueprint = plan(&CsvKind, &json!({ "path": "." }), folder.path()).unwrap();
        let mut tap = Tap::open(&blueprint, subtask(0, 1), None, 10).unwrap();
        tap.poll().unwrap();
        let error = tap.poll().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains(part), "{error}");
    }
}

#[test]
fn an_empty_file_says_nothing_of_the_columns_of_others() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "").unwrap();
    std::fs::write(folder.path().join("b.csv"), "a,b\n1,x\n").unwrap();
    let batch = read_all(&CsvKind, &json!({ "path": "." }), folder.path());
    assert_eq!(shown(&batch), "+---+---+\n| a | b |\n+---+---+\n| 1 | x |\n+---+---+");

    std::fs::write(folder.path().join("b.csv"), "").unwrap();
    let fault = |options| plan(&CsvKind, &options, folder.path()).err().unwrap()[0].message.clone();
    assert!(fault(json!({ "path": "." })).starts_with("all 2 files are empty"));
    let named = json!({ "path": ".", "schema": { "a": "bigint" } });
    let blueprint = plan(&CsvKind, &named, folder.path()).unwrap();
    assert!(Tap::open(&blueprint, subtask(0, 1), None, 10).unwrap().rest().is_empty());
}

#[test]
fn without_a_header_the_topology_names_the_columns() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "1,x\n2,y\n").unwrap();
    // Tables of a topology file keep no order, lists do.
    let options = json!({ "path": "a.csv", "header": false, "columns": ["n", "a"], "schema": { "n": "int" } });
    let expected = "+---+---+\n| n | a |\n+---+---+\n| 1 | x |\n| 2 | y |\n+---+---+";
    assert_eq!(shown(&read_all(&CsvKind, &options, folder.path())), expected);
    resumes_everywhere(&CsvKind, &options, folder.path());

    let batch = read_all(&CsvKind, &json!({ "path": "a.csv", "header": false }), folder.path());
    assert_eq!(batch.schema().field(1).name(), "column_2");
    for (options, option, part) in [
        (
            json!({ "path": "a.csv", "header": false, "columns": ["n"] }),
            "columns",
            "names 1 columns, but `a.csv` has 2",
        ),
        (json!({ "path": "a.csv", "columns": ["n", "a"] }), "columns", "set `header = false`"),
        (json!({ "path": "a.csv", "header": false, "schema": { "n": "int", "a": "string" } }), "schema.n", "column_1"),
    ] {
        let faults = plan(&CsvKind, &options, folder.path()).err().unwrap();
        assert!(faults[0].option == option && faults[0].message.contains(part), "{options}: {faults:?}");
    }
}

fn error_of(folder: &Path, text: &[u8], schema: Value) -> Error {
    std::fs::write(folder.join("bad.csv"), text).unwrap();
    let blueprint = plan(&CsvKind, &json!({ "path": "bad.csv", "schema": schema }), folder).unwrap();
    Tap::open(&blueprint, subtask(0, 1), None, 10).unwrap().poll().unwrap_err()
}

#[test]
fn a_row_that_cannot_be_read_is_named_by_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, schema, part) in [
        (&b"a,b\n1,2\n3\n"[..], json!({}), "line 3 has 1 fields, but there are 2"),
        (b"a,b\n\"x\ny\",2\n1,2,3\n", json!({}), "line 4 has 3 fields"),
        (b"a\n1\n\nx1\n", json!({ "a": "bigint" }), "line 4: column `a` is of type bigint, but here is `x1`"),
        (b"a,b\n1,\xff\n", json!({}), "line 2, field 2: the text is not UTF-8"),
    ] {
        let error = error_of(folder.path(), text, schema);
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().starts_with("file `bad.csv`: "), "{error}");
        assert!(error.message().contains(part), "{error} has no {part:?}");
    }
}

#[test]
fn an_unclosed_quote_does_not_read_the_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let mut text = b"a\n1\n\"".to_vec();
    text.resize(files::LONGEST_ROW as usize + (1 << 20), b'x');
    std::fs::write(folder.path().join("a.csv"), &text).unwrap();
    let faults = plan(&CsvKind, &json!({ "path": "a.csv" }), folder.path()).err().unwrap();
    assert!(faults[0].message.contains("is a quote not closed?"), "{}", faults[0].message);
}

#[test]
fn a_quote_that_nothing_closes_takes_no_rows_along() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "a,b\n0,w\n").unwrap();
    let both = json!({ "path": "*.csv", "schema": { "a": "bigint", "b": "string" } });
    for (text, line) in [
        ("a,b\n1,x\n2,\"oops\n3,y\n4,z\n", Some(3)),
        ("a,b\n1,\"x\ny\"\n\n\n2,\"o\"\"\no,ps", Some(6)),
        ("a,b\n1,\"x\n\"\"", Some(2)),
        ("\u{feff}\"a,b\n1,x\n", Some(1)),
        ("\u{feff}\"a\",b\n1,x", None),
        ("a,b\n1,\"x\"\n2,\"y\"", None),
        ("a,b\n1,5\" nail", None),
        ("a,b\n1,\"x\" \"", None),
        ("a,b\r\n1,\"\"\"\r\n\"\"\"\r\n", None),
    ] {
        std::fs::write(folder.path().join("b.csv"), text).unwrap();
        let blueprint = plan(&CsvKind, &both, folder.path()).unwrap();
        let mut tap = Tap::open(&blueprint, subtask(0, 1), None, 10).unwrap();
        tap.poll().unwrap();
        let alone = plan(&CsvKind, &json!({ "path": "b.csv" }), folder.path());
        let Some(line) = line else {
            tap.poll().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(alone.is_ok(), "{text}");
            continue;
        };
        let expected = format!("file `b.csv`: line {line}: nothing closes the quote");
        let error = tap.poll().expect_err(text);
        assert!(error.message().starts_with(&expected), "{text}: {error}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let faults = alone.err().expect(text);
        assert!(faults[0].message.starts_with(&expected), "{}", faults[0].message);
    }
}

#[test]
fn a_file_that_was_replaced_or_cut_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.csv");
    let long = format!("a\n{}", "123456789\n".repeat(1000));
    std::fs::write(&file, &long).unwrap();
    let blueprint = plan(&CsvKind, &json!({ "path": "a.csv" }), folder.path()).unwrap();
    let mut tap = Tap::open(&blueprint, subtask(0, 1), None, 700).unwrap();
    tap.poll().unwrap();
    let position = tap.position().to_vec();
    let open = || Tap::open(&blueprint, subtask(0, 1), Some(position.clone()), 700).map(|_| ());
    open().unwrap();

    std::fs::write(&file, &long[..3000]).unwrap();
    let error = open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("file `a.csv`"), "{error}");
    std::fs::write(&file, &long[..5000]).unwrap();
    assert!(open().unwrap_err().message().contains("it has 5000 bytes"));
    std::fs::write(&file, long.replacen('1', "2", 1)).unwrap();
    assert!(open().unwrap_err().message().contains("its content has changed"));
    std::fs::write(&file, long + "1\n").unwrap();
    open().expect("a file that has grown is the same file");
}

#[test]
fn files_are_shared_out_and_later_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for number in 1..=5 {
        std::fs::write(folder.path().join(format!("{number}.csv")), format!("a\n{number}\n{number}\n")).unwrap();
    }
    let options = json!({ "path": ".", "event_time": "a" });
    let blueprint = plan(&CsvKind, &options, folder.path()).unwrap();
    let mut tap = Tap::open(&blueprint, subtask(1, 2), None, 1).unwrap();
    assert_eq!(tap.poll().unwrap()[0].shared_times().unwrap().to_vec(), [2]);
    std::fs::write(folder.path().join("0.csv"), "a\n0\n").unwrap();
    let later = plan(&CsvKind, &options, folder.path()).unwrap();
    let rest = Tap::open(&later, subtask(1, 2), Some(tap.position().to_vec()), 100).unwrap().rest();
    let times: Vec<i64> = rest.iter().flat_map(|table| table.shared_times().unwrap().to_vec()).collect();
    assert_eq!(times, [2, 4, 4]);
}

#[test]
fn another_parallelism_reads_the_rest_of_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut number = 0..;
    for file in 0..7 {
        let rows: String = number.by_ref().take(40 + 7 * file).map(|number| format!("{number}\n")).collect();
        std::fs::write(folder.path().join(format!("{file}.csv")), format!("a\n{rows}")).unwrap();
    }
    let blueprint = plan(&CsvKind, &json!({ "path": "*.csv" }), folder.path()).unwrap();
    let mut positions = vec![None];
    let mut all = Vec::new();
    for parallelism in [1u32, 4, 3, 1, 2] {
        if positions != [None] {
            positions = (blueprint.redistribute)(&positions, parallelism).unwrap();
        }
        for (index, position) in positions.iter_mut().enumerate() {
            let mut tap = Tap::open(&blueprint, subtask(index as u32, parallelism), position.take(), 10).unwrap();
            // In the middle of a file, mostly.
            for _ in 0..=index {
                all.extend(tap.poll().unwrap());
            }
            *position = Some(tap.position().to_vec());
        }
    }
    for (index, position) in positions.into_iter().enumerate() {
        all.extend(Tap::open(&blueprint, subtask(index as u32, 2), position, 10).unwrap().rest());
    }
    let mut all: Vec<i64> = all.iter().flat_map(|table| ints(table, "a")).flatten().collect();
    all.sort_unstable();
    assert_eq!(all, (0..(0..7).map(|file| 40 + 7 * file).sum()).collect::<Vec<i64>>());
    let refused = (blueprint.redistribute)(&[None, positions_of_one(&blueprint)], 3).unwrap_err();
    assert!(refused.message().contains("not all of its subtasks have begun"), "{refused}");
}

fn positions_of_one(blueprint: &SourceBlueprint) -> Option<Vec<u8>> {
    let mut tap = Tap::open(blueprint, subtask(1, 2), None, 10).unwrap();
    tap.poll().unwrap();
    Some(tap.position().to_vec())
}

#[test]
fn the_rate_is_shared_by_the_subtasks_that_have_files() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), format!("a\n{}", "1\n".repeat(500))).unwrap();
    let blueprint = plan(&CsvKind, &json!({ "path": "a.csv", "rate": "5000/s" }), folder.path()).unwrap();
    let mut tap = Tap::open(&blueprint, subtask(0, 4), None, 1000).unwrap();
    assert_eq!(tap.poll().unwrap()[0].rows(), 250, "one subtask has the file: 250 rows in 50 ms");
}

#[test]
fn wrong_options_are_faults() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "carrier,n\nUA,1\n").unwrap();
    let options = json!({ "path": "a.csv", "schema": { "carier": "string", "n": "number", "x": 1 } });
    let faults = plan(&CsvKind, &options, folder.path()).err().unwrap();
    let named: Vec<_> = faults.iter().map(|fault| fault.option.as_str()).collect();
    assert_eq!(named, ["schema.carier", "schema.n", "schema.x"]);
    assert!(faults[0].message.contains("did you mean `carrier`"));
    let options = json!({ "path": "a.csv", "rate": "5000", "event_time": "nn", "out_of_order": "5" });
    let faults = plan(&CsvKind, &options, folder.path()).err().unwrap();
    assert_eq!(faults.len(), 3);
    std::fs::write(folder.path().join("empty.csv"), "").unwrap();
    assert!(plan(&CsvKind, &json!({ "path": "empty.csv" }), folder.path()).err().unwrap()[0].message.contains("empty"));
}

const OBJECTS: &str = r#"{"a": 1, "b": "x", "c": {"d": [1, 2]}}
{"b": "tea \u00e9 \n", "a": -9007199254740993, "f": 0.30000000000000004}

{"a": null, "extra": [], "t": "2013-01-01T10:00:00Z"}
{"f": 1, "a": 7}"#;

#[test]
fn json_lines_resume_at_every_batch_boundary() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ndjson"), OBJECTS).unwrap();
    let with_mark = format!("\u{feff}{}", OBJECTS.replace('\n', "\r\n"));
    std::fs::write(folder.path().join("b.jsonl"), with_mark).unwrap();
    resumes_everywhere(&NdjsonKind, &json!({ "path": "." }), folder.path());
}

#[test]
fn json_objects_become_rows() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.ndjson"), OBJECTS).unwrap();
    let options = json!({ "path": "a.ndjson", "schema": { "b": "string", "g": "int" } });
    let batch = read_all(&NdjsonKind, &options, folder.path());
    let json: Vec<String> = (0..batch.num_rows())
        .map(|row| {
            let cells = batch.columns().iter().map(|column| arrow::util::display::array_value_to_string(column, row));
            cells.map(|cell| cell.unwrap().replace('\n', "\\n")).collect::<Vec<_>>().join("|")
        })
        .collect();
    let names: Vec<_> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["a", "b", "c", "f", "extra", "t", "g"]);
    assert_eq!(
        json,
        [
            "1|x|{\"d\":[1,2]}||||",
            "-9007199254740993|tea é \\n||0.30000000000000004|||",
            "||||[]|2013-01-01T10:00:00|",
            "7|||1.0|||",
        ]
    );
}

#[test]
fn json_errors_name_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    for (text, part) in [
        ("{\"a\": 1}\n{\"a\": \"x\"}\n", "line 2: column `a` is of type bigint, but here is `x`"),
        ("{\"a\": 2.0}\n", "line 1: column `a` is of type bigint, but here is `2.0`; correct the data, or give"),
        ("{\"a\": 1}\n{\"a\": 1", "line 2: EOF while parsing an object at column 7"),
        ("{\"a\": 1}\n[1]\n", "line 2: invalid type: sequence, expected an object"),
        ("{\"a\": 1}\n{\"a\": 1, \"a\": 2}\n", "line 2: `a` is there twice"),
        ("{\"a\": 1}\n{} {}\n", "line 2: trailing characters"),
    ] {
        let path = folder.path().join("bad.ndjson");
        std::fs::write(&path, "{\"a\": 1}\n").unwrap();
        let options = json!({ "path": "bad.ndjson", "schema": { "a": "bigint" } });
        let blueprint = plan(&NdjsonKind, &options, folder.path()).unwrap();
        std::fs::write(&path, text).unwrap();
        let error = Tap::open(&blueprint, subtask(0, 1), None, 10).unwrap().poll().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().starts_with(&format!("file `bad.ndjson`: {part}")), "{error}");
    }
}

#[test]
fn a_line_that_is_no_text_or_has_no_end_cannot_be_mended_by_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let endless = [b"a\n", vec![b'x'; files::LONGEST_ROW as usize + 1].as_slice()].concat();
    for (text, part) in [(&b"a\n\xff\n"[..], "line 2 is not UTF-8"), (&endless, "line 2 is longer than")] {
        std::fs::write(folder.path().join("bad.txt"), text).unwrap();
        let blueprint = plan(&LinesKind, &json!({ "path": "bad.txt" }), folder.path()).unwrap();
        let error = Tap::open(&blueprint, subtask(0, 1), None, 10).unwrap().poll().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(error.message().starts_with(&format!("file `bad.txt`: {part}")), "{error}");
    }
    let mut text = b"a\n1\n".to_vec();
    text.resize(files::LONGEST_ROW as usize + (1 << 20), b'x');
    std::fs::write(folder.path().join("b.csv"), &text).unwrap();
    std::fs::write(folder.path().join("a.csv"), "a\nx\n").unwrap();
    let blueprint = plan(&CsvKind, &json!({ "path": "*.csv" }), folder.path()).unwrap();
    let mut tap = Tap::open(&blueprint, subtask(0, 1), None, 10).unwrap();
    tap.poll().unwrap();
    let error = tap.poll().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    assert!(error.message().starts_with("file `b.csv`: line 3: a row is longer"), "{error}");
}

#[test]
fn lines_are_rows_of_one_column() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), "one\r\n\nthree\nno end").unwrap();
    let batch = read_all(&LinesKind, &json!({ "path": "a.txt" }), folder.path());
    assert_eq!(
        shown(&batch),
        "+--------+\n| line   |\n+--------+\n| one    |\n|        |\n| three  |\n| no end |\n+--------+"
    );
    resumes_everywhere(&LinesKind, &json!({ "path": "." }), folder.path());

    let blueprint = plan(&LinesKind, &json!({ "path": "-" }), folder.path()).unwrap();
    assert!(!blueprint.replayable);
    assert_eq!(blueprint.max_parallelism, Some(1));
}
