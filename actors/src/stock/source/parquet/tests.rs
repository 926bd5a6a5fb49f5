use std::path::Path;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, DictionaryArray, Float32Array, Float64Array, Int32Array, Int64Array,
    LargeStringArray, RecordBatch, StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Int32Type};
use serde_json::{Value, json};

use super::super::super::parquet::Writer;
use super::super::tests::{Tap, all_of, plan, read_all, resumes_everywhere, shown, subtask};
use super::*;
use crate::ErrorKind;

/// Writes a file with a row group for each of these batches.
fn write(path: &Path, groups: &[RecordBatch]) {
    // Through the crate itself, so that the row groups are as long as a test wants them.
    let mut writer = ::parquet::arrow::ArrowWriter::try_new(Vec::new(), groups[0].schema(), None).unwrap();
    for group in groups {
        writer.write(group).unwrap();
        writer.flush().unwrap();
    }
    std::fs::write(path, writer.into_inner().unwrap()).unwrap();
}

fn table(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

/// Rows of every type that a CSV file can have, each with a NULL and with values at the edge of its range.
fn everything() -> RecordBatch {
    table(vec![
        ("s", Arc::new(StringArray::from(vec![Some("a, \"b\"\n"), None, Some(""), Some("ü")])) as ArrayRef),
        ("l", Arc::new(Int64Array::from(vec![Some(i64::MIN), Some(i64::MAX), None, Some(0)]))),
        ("i", Arc::new(Int32Array::from(vec![None, Some(i32::MIN), Some(i32::MAX), Some(0)]))),
        ("d", Arc::new(Float64Array::from(vec![Some(0.1 + 0.2), Some(f64::NEG_INFINITY), Some(-0.0), None]))),
        ("f", Arc::new(Float32Array::from(vec![Some(0.1), None, Some(f32::MAX), Some(-0.0)]))),
        ("b", Arc::new(BooleanArray::from(vec![Some(true), Some(false), None, Some(true)]))),
        ("t", Arc::new(TimestampMillisecondArray::from(vec![Some(1_357_034_400_123), Some(-1), None, Some(0)]))),
        ("y", Arc::new(Date32Array::from(vec![Some(15_706), Some(-1), Some(0), None]))),
    ])
}

/// So many rows that count on from a number, in row groups of a few rows each, some of them empty of what is asked for.
fn numbers(from: i64, groups: &[i64]) -> Vec<RecordBatch> {
    let mut next = from;
    let batch = |rows: &i64| {
        let numbers: Vec<i64> = (next..next + rows).collect();
        next += rows;
        let texts: Vec<String> = numbers.iter().map(|number| format!("row {number}")).collect();
        table(vec![("s", Arc::new(StringArray::from(texts)) as ArrayRef), ("n", Arc::new(Int64Array::from(numbers)))])
    };
    groups.iter().map(batch).collect()
}

fn faults(options: &Value, folder: &Path) -> Vec<(String, String)> {
    let faults = plan(&ParquetKind, options, folder).err().unwrap();
    faults.into_iter().map(|fault| (fault.option, fault.message)).collect()
}

#[test]
fn every_type_comes_back_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let batch = everything();
    let mut writer = Writer::new(&batch.schema()).unwrap();
    let mut file = Vec::new();
    writer.rows(&batch.slice(0, 3), &mut file).unwrap();
    writer.rows(&batch.slice(3, 1), &mut file).unwrap();
    writer.end(&mut file).unwrap();
    std::fs::write(folder.path().join("a.parquet"), file).unwrap();
    let back = read_all(&ParquetKind, &json!({ "path": "." }), folder.path());
    assert_eq!(back, batch);
    let zero = back.column(3).as_any().downcast_ref::<Float64Array>().unwrap().value(2);
    assert!(zero.is_sign_negative(), "to the bit");
    assert_eq!(read_all(&ParquetKind, &json!({ "path": ".", "columns": ["t", "s"] }), folder.path()), {
        batch.project(&[6, 0]).unwrap()
    });
}

#[test]
fn rows_resume_at_every_batch_boundary() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.parquet"), &numbers(0, &[3, 5, 1, 2]));
    write(&folder.path().join("b.parquet"), &numbers(11, &[0, 4]));
    write(&folder.path().join("c.parquet"), &numbers(15, &[2050]));
    resumes_everywhere(&ParquetKind, &json!({ "path": "*.parquet" }), folder.path());
    resumes_everywhere(&ParquetKind, &json!({ "path": "*.parquet", "columns": ["n"] }), folder.path());
    let all = read_all(&ParquetKind, &json!({ "path": "." }), folder.path());
    assert_eq!(all.column(1).as_ref(), &Int64Array::from_iter_values(0..2065));
}

#[test]
fn a_restart_reads_nothing_that_lies_before_its_row_group() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.parquet");
    write(&file, &numbers(0, &[1000, 1000, 1000]));
    let blueprint = plan(&ParquetKind, &json!({ "path": "a.parquet" }), folder.path()).unwrap();
    let mut tap = Tap::open(&blueprint, subtask(0, 1), None, 1500).unwrap();
    tap.poll().unwrap();
    // What is left of the first row group is nonsense, so that nobody can have looked at it.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[4..1000].fill(0xff);
    std::fs::write(&file, bytes).unwrap();
    let rest = all_of(&Tap::open(&blueprint, subtask(0, 1), Some(tap.position().to_vec()), 700).unwrap().rest());
    assert_eq!(rest.column(1).as_ref(), &Int64Array::from_iter_values(1500..3000));
    let error = Tap::open(&blueprint, subtask(0, 1), None, 10).unwrap().poll().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "damage is there after a restart, too");
    assert!(error.message().starts_with("file `a.parquet`: it cannot be read as Parquet"), "{error}");
}

#[test]
fn a_file_that_was_replaced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.parquet");
    write(&file, &numbers(0, &[100]));
    let blueprint = plan(&ParquetKind, &json!({ "path": "a.parquet" }), folder.path()).unwrap();
    let mut tap = Tap::open(&blueprint, subtask(0, 1), None, 70).unwrap();
    tap.poll().unwrap();
    let position = tap.position().to_vec();
    let open = || Tap::open(&blueprint, subtask(0, 1), Some(position.clone()), 70).map(|_| ());
    open().unwrap();
    write(&file, &numbers(1, &[100]));
    let error = open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.message().contains("file `a.parquet` is not the one that was read before"), "{error}");
    let columns = table(vec![("s", Arc::new(StringArray::from(vec!["x"])) as ArrayRef)]);
    write(&file, &[columns]);
    let error = Tap::open(&blueprint, subtask(0, 1), None, 70).unwrap().poll().unwrap_err();
    assert!(error.message().contains("file `a.parquet` has no column `n`"), "{error}");
}

#[test]
fn files_have_to_agree() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.parquet"), &numbers(0, &[1]));
    let text = || Arc::new(StringArray::from(vec!["x"])) as ArrayRef;
    let number = || Arc::new(Int64Array::from(vec![7])) as ArrayRef;
    for (columns, part) in [
        (vec![("s", text())], "file `b.parquet` has no column `n`, which `a.parquet`"),
        (
            vec![("s", text()), ("n", text())],
            "column `n` of file `b.parquet` is of type string, but of type bigint in `a.parquet`",
        ),
        (vec![("n", number()), ("s", text()), ("x", text())], "file `b.parquet` has a column `x`, which `a.parquet`"),
    ] {
        write(&folder.path().join("b.parquet"), &[table(columns)]);
        let faults = faults(&json!({ "path": "." }), folder.path());
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].0 == "path" && faults[0].1.contains(part), "{faults:?}");
    }
    // Columns that are not asked for may differ, and so may the order.
    write(&folder.path().join("b.parquet"), &[table(vec![("n", number()), ("x", text())])]);
    let batch = read_all(&ParquetKind, &json!({ "path": ".", "columns": ["n"] }), folder.path());
    assert_eq!(shown(&batch), "+---+\n| n |\n+---+\n| 0 |\n| 7 |\n+---+");
    write(&folder.path().join("b.parquet"), &[table(vec![("n", number()), ("s", text())])]);
    let batch = read_all(&ParquetKind, &json!({ "path": "." }), folder.path());
    assert_eq!(
        shown(&batch),
        "+-------+---+\n| s     | n |\n+-------+---+\n| row 0 | 0 |\n| x     | 7 |\n+-------+---+"
    );
}

#[test]
fn how_values_are_laid_out_makes_no_difference() {
    let folder = tempfile::tempdir().unwrap();
    let plain = table(vec![("s", Arc::new(StringArray::from(vec![Some("x"), None])) as ArrayRef)]);
    let words: DictionaryArray<Int32Type> = vec![Some("y"), None].into_iter().collect();
    write(&folder.path().join("a.parquet"), &[plain]);
    write(&folder.path().join("b.parquet"), &[table(vec![("s", Arc::new(words))])]);
    let large = LargeStringArray::from(vec!["z"]);
    write(&folder.path().join("c.parquet"), &[table(vec![("s", Arc::new(large))])]);
    let batch = read_all(&ParquetKind, &json!({ "path": "." }), folder.path());
    assert_eq!(batch.schema().field(0).data_type(), &DataType::Utf8);
    assert_eq!(batch.column(0).as_ref(), &StringArray::from(vec![Some("x"), None, Some("y"), None, Some("z")]));
}

#[test]
fn mistakes_are_told_with_their_options() {
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("a.parquet"), &numbers(0, &[1]));
    std::fs::write(folder.path().join("b.txt"), "no such thing").unwrap();
    let told = |options: Value| faults(&options, folder.path());
    let path = "a.parquet";
    for (options, option, part) in [
        (json!({ "path": path, "columns": ["nn"] }), "columns[0]", "unknown column `nn`, did you mean `n`?"),
        (json!({ "path": path, "columns": ["n", "n"] }), "columns[1]", "named twice"),
        (json!({ "path": path, "columns": [] }), "columns", "at least one"),
        (json!({ "path": path, "event_time": "s" }), "event_time", "an event time is a timestamp"),
        (json!({ "path": path, "event_time": "n", "columns": ["s"] }), "event_time", "unknown column `n`"),
        (json!({ "path": path, "rate": "many" }), "rate", "is not a rate"),
        (json!({ "path": path, "header": true }), "header", "unknown option `header`"),
        (json!({ "path": "b.txt" }), "path", "file `b.txt`: it cannot be read as Parquet"),
        (json!({ "path": "c" }), "path", "no file or folder `c`"),
    ] {
        let faults = told(options.clone());
        assert!(faults[0].0 == option && faults[0].1.contains(part), "{options}: {faults:?}");
    }
    for name in 1..9 {
        std::fs::write(folder.path().join(format!("a{name}.parquet")), "nonsense").unwrap();
    }
    let many = told(json!({ "path": "." }));
    assert_eq!(many.len(), 6);
    assert!(many[5].1.contains("3 more files"), "{many:?}");
}

#[test]
fn event_times_and_shares_are_those_of_other_files() {
    let folder = tempfile::tempdir().unwrap();
    for file in 0..5 {
        write(&folder.path().join(format!("{file}.parquet")), &numbers(file * 100, &[40, 60]));
    }
    let blueprint = plan(&ParquetKind, &json!({ "path": ".", "event_time": "n" }), folder.path()).unwrap();
    assert!(blueprint.replayable && blueprint.gives_event_time);
    let mut times: Vec<i64> = Vec::new();
    let mut positions = vec![None, None];
    for parallelism in [2u32, 3] {
        if positions[0].is_some() {
            positions = (blueprint.redistribute)(&positions, parallelism).unwrap();
        }
        for (index, position) in positions.iter_mut().enumerate() {
            let mut tap = Tap::open(&blueprint, subtask(index as u32, parallelism), position.take(), 30).unwrap();
            let tables = if parallelism == 2 { tap.poll().unwrap() } else { tap.rest() };
            times.extend(tables.iter().flat_map(|table| table.shared_times().unwrap().to_vec()));
            *position = Some(tap.position().to_vec());
        }
    }
    times.sort_unstable();
    assert_eq!(times, (0..500).collect::<Vec<i64>>());
}
