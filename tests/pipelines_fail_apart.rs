//! Two pipelines in one file that share no edge fail apart: while one crashes again and again, the other checkpoints,
//! commits and finishes as if it were alone.

#[path = "support/binary/mod.rs"]
mod binary;

use binary::folder::Folder;
use binary::generate::{Row, read_rows, row};
use binary::process::{Job, count};

const ROWS: u64 = 12_000;
/// The row at which the other pipeline fails.
const STONE: u64 = 1_500;

fn topology() -> String {
    format!(
        r#"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "60ms"
        [recovery]
        strategy = "fixed-delay"
        attempts = 4
        delay = "250ms"
        [store]
        path = "state"
        [sources.good]
        type = "generate"
        rows = {ROWS}
        rate = "4000/s"
        [sinks.good_rows]
        type = "csv"
        inputs = ["good"]
        path = "out/good"
        [sources.bad]
        type = "generate"
        rows = {ROWS}
        rate = "4000/s"
        [operators.stone]
        type = "fail"
        inputs = ["bad"]
        where = "id = {STONE}"
        times = 0
        [sinks.bad_rows]
        type = "csv"
        inputs = ["stone"]
        path = "out/bad"
        "#
    )
}

fn rows(folder: &mut Folder) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, text) in folder.look() {
        rows.extend(read_rows(&text).into_iter().map(|(row, _)| row));
    }
    rows
}

fn golden(rows: u64) -> Vec<Row> {
    (0..rows).map(|id| row(0, 1000, id)).collect()
}

#[test]
fn one_pipeline_goes_on_while_another_crashes_and_gives_up() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), &topology());
    let mut good = Folder::new(job.path("out/good"), "good_rows");
    let mut bad = Folder::new(job.path("out/bad"), "bad_rows");

    job.run(&[]).expect(1).says(&["\"bad\"", "\"stone\"", &format!("id = {STONE}")]);
    let events = job.events();
    assert_eq!(count(&events, "restarted", "good"), 0, "the good one never stops");
    assert!(count(&events, "restarted", "bad") > 0, "the bad one was tried again");
    assert_eq!(events.last().unwrap()["event"], "failed");

    // While the bad one was down, the good one committed.
    let crashes: Vec<usize> = (0..events.len()).filter(|at| events[*at]["scope"] == "region").collect();
    for between in crashes.windows(2) {
        let commits = count(&events[between[0]..between[1]], "committed", "good");
        assert!(commits > 0, "the good one has to wait for the bad one");
    }
    assert_eq!(count(&events, "checkpoint_failed", "good"), 0);
    assert_eq!(rows(&mut good), golden(ROWS), "the good one is complete");
    let before = rows(&mut bad);
    assert!(before.len() as u64 <= STONE, "{} rows are visible, beyond the one that fails", before.len());
    assert_eq!(before, golden(before.len() as u64), "what is visible of the bad one is a prefix");

    // With the stone out of the way the bad one continues where it was; the good one has nothing to do.
    let out_of_the_way = "operators.stone.where=id < 0";
    job.run(&["--set", out_of_the_way, "--set", "sources.bad.rate=1000000/s"]).expect(0);
    assert_eq!(rows(&mut good), []);
    let mut all = before;
    all.extend(rows(&mut bad));
    assert_eq!(all, golden(ROWS), "the bad one is complete, too");
    good.assert_whole();
    bad.assert_whole();
}
