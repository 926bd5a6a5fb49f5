//! Rows that are split go exactly one way, each to the first output whose condition holds; and one operator or sink that
//! names several inputs with the same columns takes all of their rows.

#[path = "support/binary/mod.rs"]
mod binary;

use std::fs;

use binary::generate::{Row, read_rows, row};
use binary::process::Job;

const ROWS: u64 = 5_000;

const TOPOLOGY: &str = r#"
    [sources.made]
    type = "generate"
    rows = 5000
    keys = 9
    seed = 3
    [operators.parts]
    type = "split"
    inputs = ["made"]
    outputs = [
        { name = "small", where = "value <= 300" },
        { name = "big", where = "value > 100 AND value > 500" },
        { name = "a_third", where = "1000 / (value - 300) >= 0 AND id % 3 = 0" },
    ]
    [sinks.small]
    type = "csv"
    inputs = ["parts.small"]
    path = "out/small"
    [sinks.big]
    type = "csv"
    inputs = ["parts.big"]
    path = "out/big"
    [sinks.rest]
    type = "csv"
    inputs = ["parts"]
    path = "out/rest"
    [sinks.again]
    type = "csv"
    inputs = ["parts.small", "parts", "parts.a_third", "parts.big"]
    path = "out/again"
"#;

fn rows_of(job: &Job, sink: &str) -> Vec<Row> {
    let files = fs::read_dir(job.path("out").join(sink)).unwrap().map(|entry| entry.unwrap().path());
    let texts: Vec<String> = files.map(|file| fs::read_to_string(file).unwrap()).collect();
    let mut rows: Vec<Row> = texts.iter().flat_map(|text| read_rows(text).into_iter().map(|(row, _)| row)).collect();
    rows.sort_unstable();
    rows
}

#[test]
fn each_row_goes_one_way_and_a_union_brings_all_together() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), TOPOLOGY);
    job.run(&[]).expect(0);
    let all: Vec<Row> = (0..ROWS).map(|id| row(3, 9, id)).collect();
    let of = |is_meant: fn(&Row) -> bool| all.iter().copied().filter(is_meant).collect::<Vec<Row>>();
    assert_eq!(rows_of(&job, "small"), of(|row| row.value <= 300));
    assert_eq!(rows_of(&job, "big"), of(|row| row.value > 500));
    assert_eq!(rows_of(&job, "rest"), of(|row| row.value > 300 && row.value <= 500 && row.id % 3 != 0));
    assert_eq!(rows_of(&job, "again"), all, "every row once: an output that has a reader of its own is no other one");
}

#[test]
fn mistakes_are_told_with_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = TOPOLOGY
        .replace("value <= 300", "valeu <= 300")
        .replace("\"parts.big\"]\n    path = \"out/big", "\"parts.bgi\"]\n    path = \"out/big");
    let job = Job::new(folder.path(), &wrong);
    job.run(&[]).expect(2).says(&["unknown column `valeu`, did you mean `value`?", "job.toml:11:"]);
    let wrong = TOPOLOGY.replace("\"parts.big\"]\n    path = \"out/big", "\"parts.bgi\"]\n    path = \"out/big");
    let job = Job::new(&folder.path().join("other"), &wrong);
    job.run(&[]).expect(2).says(&["\"parts.bgi\"", "did you mean \"big\"?"]);
    let top = TOPOLOGY.replace("type = \"split\"", "type = \"top\"\n    n = 3\n    order = [\"value DECS\"]");
    let job = Job::new(&folder.path().join("top"), &top);
    job.run(&[]).expect(2).says(&["option `window` is missing", "taken back when better ones come"]);
}
