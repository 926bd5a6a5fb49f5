use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use serde_json::{Value, json};

use super::super::super::options::tests::with_options;
use super::super::tests::{Tap, subtask};
use super::super::{CsvKind, LinesKind, NdjsonKind};
use crate::ErrorKind;
use crate::blueprint::{Fault, Site, SourceBlueprint, SourceKind};
use arrow::array::AsArray;

fn plan(kind: &dyn SourceKind, folder: &Path, options: Value) -> std::result::Result<SourceBlueprint, Vec<Fault>> {
    let site = Site { job: "test".into(), name: "source".into(), folder: folder.into(), parallelism: 1 };
    with_options(&options, |options| kind.plan(options, &site))
}

fn lines(folder: &Path) -> SourceBlueprint {
    plan(&LinesKind, folder, json!({ "path": "*.txt", "follow": true })).unwrap()
}

fn append(folder: &Path, name: &str, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(folder.join(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

/// Polls until there is nothing new, and returns the first column.
fn read(tap: &mut Tap) -> crate::Result<Vec<String>> {
    let mut rows = Vec::new();
    loop {
        let tables = tap.poll()?;
        if tables.is_empty() {
            return Ok(rows);
        }
        for table in tables {
            let column = arrow::compute::cast(table.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
            rows.extend(column.as_string::<i32>().iter().map(|text| text.unwrap_or("NULL").to_string()));
        }
    }
}

fn open(blueprint: &SourceBlueprint, position: Option<&[u8]>) -> crate::Result<Tap> {
    Tap::open(blueprint, subtask(0, 1), position.map(<[u8]>::to_vec), 3)
}

#[test]
fn whole_lines_are_read_as_files_grow_and_appear_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let blueprint = lines(folder);
    assert!(blueprint.endless && blueprint.replayable);
    let mut tap = open(&blueprint, None).unwrap();
    assert!(read(&mut tap).unwrap().is_empty(), "there is no file yet");
    append(folder, "b.txt", "1\n2\n3\n4\n5");
    assert_eq!(read(&mut tap).unwrap(), ["1", "2", "3", "4"]);
    assert!(!tap.is_done() && read(&mut tap).unwrap().is_empty());
    append(folder, "b.txt", "5\n6\n");
    append(folder, "a.txt", "7\n8\n9\n");
    assert_eq!(read(&mut tap).unwrap(), ["7", "8", "9", "55", "6"]);

    // What comes while a file is read waits until it was read to its end.
    append(folder, "b.txt", "a\nb\nc\nd\n");
    assert_eq!(tap.poll().unwrap()[0].rows(), 3);
    append(folder, "a.txt", "e\n");
    let position = tap.position().to_vec();
    assert_eq!(read(&mut tap).unwrap(), ["d", "e"]);
    let mut again = open(&blueprint, Some(&position)).unwrap();
    assert_eq!(read(&mut again).unwrap(), ["e", "d"], "each exactly once, from where it was");
}

#[test]
fn a_row_of_csv_is_read_when_its_quote_is_closed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    append(folder, "a.csv", "x,y\n");
    let blueprint =
        plan(&CsvKind, folder, json!({ "path": ".", "follow": true, "schema": { "y": "bigint" } })).unwrap();
    let mut tap = open(&blueprint, None).unwrap();
    assert!(read(&mut tap).unwrap().is_empty());
    append(folder, "a.csv", "one,1\r\n\"two\n");
    assert_eq!(read(&mut tap).unwrap(), ["one"]);
    append(folder, "a.csv", "lines\n");
    assert!(read(&mut tap).unwrap().is_empty());
    append(folder, "b.csv", "y,");
    append(folder, "a.csv", "three\",2\nfour,4\n");
    let position = tap.position().to_vec();
    let rows = ["two\nlines\nthree", "four"];
    assert_eq!(read(&mut tap).unwrap(), rows);
    assert_eq!(read(&mut open(&blueprint, Some(&position)).unwrap()).unwrap(), rows);
    append(folder, "b.csv", "x\n5,five\n");
    assert_eq!(read(&mut tap).unwrap(), ["five"], "a file of its own has its columns in its own order");

    append(folder, "b.csv", "x,six\n");
    let error = read(&mut tap).unwrap_err();
    assert!(error.message().contains("b.csv") && error.message().contains("line 3"), "{error}");
}

#[test]
fn objects_are_followed_too() {
    let folder = tempfile::tempdir().unwrap();
    append(folder.path(), "a.ndjson", "{\"n\":1}\n{\"n\":");
    let options = json!({ "path": "a.ndjson", "follow": true, "schema": { "n": "bigint" }, "event_time": "n" });
    // The line that is being written is no reason to refuse the file.
    let blueprint = plan(&NdjsonKind, folder.path(), options).unwrap();
    let mut tap = open(&blueprint, None).unwrap();
    assert_eq!(read(&mut tap).unwrap(), ["1"]);
    append(folder.path(), "a.ndjson", "2}\n\n");
    assert_eq!(tap.poll().unwrap()[0].shared_times().unwrap().to_vec(), [2]);
}

#[test]
fn a_file_that_shrinks_or_is_replaced_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    append(folder, "a.txt", "one\ntwo\n");
    let blueprint = lines(folder);
    for (text, why) in [("one\n", "it has 4 bytes, but 8"), ("eins\nzwei\ndrei\n", "its content has changed")] {
        fs::write(folder.join("a.txt"), "one\ntwo\n").unwrap();
        let mut tap = open(&blueprint, None).unwrap();
        read(&mut tap).unwrap();
        fs::write(folder.join("a.txt"), text).unwrap();
        for error in [
            read(&mut tap).unwrap_err(),
            open(&blueprint, Some(tap.position())).map(|mut tap| read(&mut tap)).unwrap().unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.message().contains("`a.txt`") && error.message().contains(why), "{error}");
        }
    }
}

#[test]
fn a_removed_file_is_forgotten_once_what_was_read_of_it_is_committed() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    append(folder, "a.txt", "one\n");
    append(folder, "b.txt", "two\n");
    let blueprint = lines(folder);
    let mut tap = open(&blueprint, None).unwrap();
    read(&mut tap).unwrap();
    let position = tap.position().to_vec();
    fs::remove_file(folder.join("a.txt")).unwrap();
    assert!(read(&mut tap).unwrap().is_empty());
    tap.commit(&position);
    read(&mut tap).unwrap();
    let mut again = open(&blueprint, Some(tap.position())).unwrap();
    append(folder, "a.txt", "new\n");
    assert_eq!(read(&mut again).unwrap(), ["new"]);
}

#[test]
fn a_file_that_was_removed_while_nobody_ran_may_be_missing_once_it_was_read_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    append(folder, "a.txt", "one\ntwo\nthree\nfour\n");
    let blueprint = lines(folder);
    let mut tap = open(&blueprint, None).unwrap();
    tap.poll().unwrap();
    let partly = tap.position().to_vec();
    read(&mut tap).unwrap();
    let whole = tap.position().to_vec();
    append(folder, "a.txt", "begun");
    let mut tap = open(&blueprint, Some(&whole)).unwrap();
    read(&mut tap).unwrap();
    let cut = tap.position().to_vec();
    fs::remove_file(folder.join("a.txt")).unwrap();
    for partly in [partly, cut] {
        let error = open(&blueprint, Some(&partly)).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("file `a.txt` is gone") && error.message().contains("put it back"), "{error}");
    }
    let mut again = open(&blueprint, Some(&whole)).unwrap();
    assert!(read(&mut again).unwrap().is_empty());
    append(folder, "a.txt", "new\n");
    assert_eq!(read(&mut again).unwrap(), ["new"], "another file of that name");
}

#[test]
fn files_may_all_be_still_to_come_if_their_columns_are_known() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let schema = json!({ "x": "bigint", "y": "text" });
    let rows: [(&dyn SourceKind, &str, &str); 2] =
        [(&CsvKind, "a.csv", "y,x\none,1\ntwo,2\n"), (&NdjsonKind, "a.ndjson", "{\"x\":1,\"y\":\"one\"}\n{\"x\":2}\n")];
    for (kind, name, text) in rows {
        let blueprint = plan(kind, folder, json!({ "path": ".", "follow": true, "schema": schema })).unwrap();
        let mut tap = open(&blueprint, None).unwrap();
        assert!(read(&mut tap).unwrap().is_empty());
        append(folder, name, text);
        assert_eq!(read(&mut tap).unwrap(), ["1", "2"]);
        fs::remove_file(folder.join(name)).unwrap();
        let without = plan(kind, folder, json!({ "path": ".", "follow": true })).err().unwrap();
        assert!(without[0].message.contains("no file matches `.` yet") && without[0].message.contains("in `schema`"));
        let at_rest = plan(kind, folder, json!({ "path": ".", "schema": schema })).err().unwrap();
        assert!(at_rest[0].message.contains("holds no file"), "{at_rest:?}");
    }
    let blueprint = plan(&CsvKind, folder, json!({ "path": ".", "follow": true, "schema": schema })).unwrap();
    append(folder, "b.csv", "x,z\n1,2\n");
    let error = read(&mut open(&blueprint, None).unwrap()).unwrap_err();
    assert!(error.message().contains("has no column `y`, which the option `schema` has"), "{error}");
}

#[test]
fn each_file_is_read_by_one_subtask_whatever_their_number() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let names: Vec<String> = (0..20).map(|number| format!("{number:02}.txt")).collect();
    let write = |text: &str| names.iter().for_each(|name| append(folder, name, &format!("{name}{text}\n")));
    write("");
    let blueprint = lines(folder);
    let all = |taps: &mut [Tap]| {
        let mut rows: Vec<String> = taps.iter_mut().flat_map(|tap| read(tap).unwrap()).collect();
        rows.sort();
        rows
    };
    let mut taps: Vec<Tap> = (0..3).map(|index| Tap::open(&blueprint, subtask(index, 3), None, 8).unwrap()).collect();
    assert_eq!(all(&mut taps), names);
    let positions: Vec<Option<Vec<u8>>> = taps.iter().map(|tap| Some(tap.position().to_vec())).collect();
    write(" again");
    let expected: Vec<String> = names.iter().map(|name| format!("{name} again")).collect();
    for parallelism in [1, 2, 5] {
        let shares = (blueprint.redistribute)(&positions, parallelism).unwrap();
        let open = |(index, share)| Tap::open(&blueprint, subtask(index, parallelism), share, 8).unwrap();
        let mut taps: Vec<Tap> = (0..parallelism).zip(shares).map(open).collect();
        assert_eq!(all(&mut taps), expected, "parallelism {parallelism}");
    }
}

#[test]
fn standard_input_is_not_to_be_followed() {
    let faults = plan(&LinesKind, Path::new("."), json!({ "path": "-", "follow": true })).err().unwrap();
    assert_eq!(faults[0].option, "follow");
}
