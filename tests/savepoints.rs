//! A savepoint is made of a running job, outlives whatever happens to its checkpoints, and can be gone on from.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::fs;
use std::path::Path;
use std::process::Command;

use binary::folder::Folder;
use binary::generate::{Row, Totals, add, read_rows, read_totals, row};
use binary::process::{Ended, Job, count, piton};
use binary::tree::{copy, listing, scratch};

const ROWS: u64 = 40_000;
const KEYS: u64 = 50;
const FAST: [&str; 2] = ["--set", "sources.numbers.rate=1000000000/s"];

fn topology(rate: u64) -> String {
    format!(
        r#"
        [job]
        name = "saved"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "60ms"
        [store]
        path = "state"
        [sources.numbers]
        type = "generate"
        rows = {ROWS}
        keys = {KEYS}
        rate = "{rate}/s"
        event_time = "time"
        [sinks.rows]
        type = "csv"
        inputs = ["numbers"]
        path = "out/rows"
        [operators.counted]
        type = "aggregate"
        inputs = ["numbers"]
        parallelism = 2
        by = ["key"]
        columns = ["count(*) AS n", "sum(value) AS total"]
        [sinks.counts]
        type = "csv"
        inputs = ["counted"]
        path = "out/counts"
        "#
    )
}

/// Runs a command that is not `run`.
fn ask(job: &Job, words: &[&str], more: &[&str]) -> Ended {
    let mut command = Command::new(piton());
    command.args(words).arg(job.path("job.toml")).args(more);
    job.spawn(command).wait()
}

/// Returns what both sinks hold: all rows in order of their ids, and the last values of each key.
fn output(job: &Job) -> (Vec<Row>, Totals) {
    let mut rows = Vec::new();
    for (_, text) in Folder::new(job.path("out/rows"), "rows").look() {
        rows.extend(read_rows(&text).into_iter().map(|(row, _)| row));
    }
    rows.sort_unstable_by_key(|row| row.id);
    let mut totals = Totals::new();
    for (_, text) in Folder::new(job.path("out/counts"), "counts").look() {
        for (key, (n, total)) in read_totals(&text) {
            let newest = totals.entry(key).or_insert((n, total));
            *newest = (n, total).max(*newest);
        }
    }
    (rows, totals)
}

fn golden(rows: u64) -> (Vec<Row>, Totals) {
    let rows: Vec<Row> = (0..rows).map(|id| row(0, KEYS, id)).collect();
    let mut totals = Totals::new();
    rows.iter().for_each(|row| add(&mut totals, *row));
    (rows, totals)
}

fn saved_windows(job: &Job) -> Vec<(String, u64)> {
    let events = job.events().into_iter().filter(|event| event["event"] == "savepoint");
    events.map(|event| (event["name"].as_str().unwrap().to_string(), event["window"].as_u64().unwrap())).collect()
}

#[test]
fn a_savepoint_of_a_running_job_can_be_gone_on_from_with_another_parallelism() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology(10_000));
    ask(&job, &["savepoint", "create"], &["early"]).expect(1).says(&["job \"saved\" is not running"]);
    let mut life = job.start(&[]);
    job.wait_for(&mut life, "a commit", |events| count(events, "committed", "numbers") >= 2);
    ask(&job, &["savepoint", "create"], &["first"]).expect(0).says(&["savepoint \"first\" is made"]);
    ask(&job, &["savepoint", "create"], &["first"]).expect(1).says(&["there is a savepoint \"first\" already"]);
    ask(&job, &["savepoint", "create"], &["7"]).expect(2).says(&["\"7\" cannot be the name of a savepoint"]);
    assert!(ask(&job, &["savepoint", "list"], &[]).expect(0).stdout.contains("first"));
    job.wait_for(&mut life, "more commits", |events| count(events, "committed", "numbers") >= 12);
    assert!(life.is_alive(), "the job goes on");
    ask(&job, &["stop"], &["--savepoint", "last"]).expect(0).says(&["savepoint \"last\" is made", "has stopped"]);
    life.wait().expect(0).says(&["was stopped"]);
    assert!(!job.path("state/control").exists());
    let [(first, early), (last, late)] = &saved_windows(&job)[..] else { panic!("two savepoints") };
    assert!((first.as_str(), last.as_str()) == ("first", "last") && early < late);

    // The newer output would appear twice.
    let before = listing(&job.path("out"));
    job.run(&["--resume", "first"]).expect(3).says(&[
        "would be published a second time",
        "sink \"rows\"",
        "--discard-output",
    ]);
    assert_eq!(listing(&job.path("out")), before, "a refusal changes nothing");
    job.run(&["--resume", "thrist"]).expect(3).says(&["no savepoint \"thrist\" (there are: first, last)"]);
    let more = ["--resume", "first", "--discard-output", "--set", "operators.counted.parallelism=3"];
    job.run(&[&more[..], &FAST].concat()).expect(0).says(&["has finished"]);
    assert!(output(&job) == golden(ROWS), "every row once, every count as of all rows");
    let resumed = job.events().into_iter().rfind(|event| event["event"] == "started").unwrap();
    let from = resumed["resumed_from"]["numbers"].as_u64().unwrap();
    assert!(from > *late, "windows are never counted twice: {from}");

    assert!(
        ask(&job, &["checkpoints", "diff"], &["first", "last"]).expect(0).stdout.contains("numbers[0]: {\"next\":")
    );
    assert!(ask(&job, &["state", "list"], &["--at", "first"]).expect(0).stdout.contains("counted"));
    let exported = ask(&job, &["state", "export"], &["counted"]).expect(0).stdout;
    assert_eq!(exported.lines().count() as u64, KEYS);
    let line: serde_json::Value = serde_json::from_str(exported.lines().next().unwrap()).unwrap();
    assert!(line["operator"] == "counted" && line["state"].is_object(), "{line}");
    let key = &line["key"]["key"];
    assert!(key.is_u64(), "the key is shown by its columns: {line}");
    for written in [line["key"].to_string(), key.to_string()] {
        assert!(
            ask(&job, &["state", "get"], &["counted", &written]).expect(0).stdout.contains(&line["key"].to_string())
        );
    }
    ask(&job, &["state", "get"], &["counter", "1"]).expect(2).says(&["no operator \"counter\""]);
    ask(&job, &["savepoint", "drop"], &["first"]).expect(0);
    ask(&job, &["savepoint", "drop"], &["first"]).expect(2).says(&["there is no savepoint \"first\""]);
    assert!(!ask(&job, &["savepoint", "list"], &[]).expect(0).stdout.contains("first"));
}

#[test]
fn a_savepoint_outlives_the_state_and_its_folder_can_be_moved() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology(10_000));
    let mut life = job.start(&[]);
    job.wait_for(&mut life, "a commit", |events| count(events, "committed", "numbers") >= 2);
    ask(&job, &["savepoint", "create"], &["kept"]).expect(0);
    let saved = saved_windows(&job)[0].1;
    // A process that is killed leaves its socket behind, which is in nobody's way.
    assert!(life.kill_after(std::time::Duration::from_millis(200)).is_none());
    assert!(job.path("state/control/socket").exists());
    ask(&job, &["savepoint", "create"], &["late"]).expect(1).says(&["is not running"]);
    ask(&job, &["savepoint", "list"], &[]).expect(0);

    // Everything but the savepoint goes, and it moves to another job's folder, together with the output up to it.
    let other = scratch();
    let moved = Job::new(other.path(), &topology(10_000));
    fs::create_dir_all(moved.path("state")).unwrap();
    copy(&job.path("out"), &moved.path("out"));
    copy(&job.path("state/savepoints"), &moved.path("state/savepoints"));
    moved.run(&[&["--resume", "kept", "--discard-output"][..], &FAST].concat()).expect(0).says(&["has finished"]);
    assert!(output(&moved) == golden(ROWS));

    job.run(&[&["--resume", "none", "--discard-state", "--discard-output"][..], &FAST].concat()).expect(0);
    assert!(output(&job) == golden(ROWS));
    assert_eq!(windows_of(&job.path("state/savepoints")), ["kept"], "discarding the state leaves savepoints: {saved}");
}

fn windows_of(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_drained_job_has_finished_with_all_that_was_read() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology(10_000));
    let mut life = job.start(&[]);
    job.wait_for(&mut life, "some commits", |events| count(events, "committed", "numbers") >= 5);
    ask(&job, &["stop"], &["--drain", "--savepoint", "drained"]).expect(0).says(&["savepoint \"drained\" is made"]);
    life.wait().expect(0).says(&["has finished"]);
    let (rows, totals) = output(&job);
    let read = rows.len() as u64;
    assert!(read > 0 && read < ROWS, "{read}");
    assert!((rows, totals) == golden(read));
    job.run(&[]).expect(0).says(&["has finished before"]);
}

#[test]
fn a_cancelled_job_takes_no_last_checkpoint_and_may_lose_the_others() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology(10_000));
    let mut life = job.start(&[]);
    job.wait_for(&mut life, "a commit", |events| count(events, "committed", "numbers") >= 2);
    ask(&job, &["savepoint", "create"], &["kept"]).expect(0);
    ask(&job, &["stop"], &["--cancel"]).expect(0).says(&["was cancelled"]);
    life.wait().expect(0).says(&["was cancelled"]);
    // By default they stay: it goes on.
    let mut life = job.start(&["--set", "checkpoint.on_cancel=delete"]);
    job.wait_for(&mut life, "a commit", |events| count(events, "committed", "numbers") >= 5);
    ask(&job, &["stop"], &["--cancel"]).expect(0);
    life.wait().expect(0);
    assert!(!job.path("state/regions").exists());
    assert_eq!(windows_of(&job.path("state/savepoints")), ["kept"]);
    job.run(&[&["--resume", "kept", "--discard-output"][..], &FAST].concat()).expect(0).says(&["has finished"]);
    assert!(output(&job) == golden(ROWS));
}

#[test]
fn what_has_expired_is_removed_when_the_job_starts() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology(10_000));
    let mut life = job.start(&[]);
    job.wait_for(&mut life, "a commit", |events| count(events, "committed", "numbers") >= 4);
    ask(&job, &["savepoint", "create"], &["old"]).expect(0);
    ask(&job, &["stop"], &[]).expect(0);
    life.wait().expect(0);
    let mut life = job.start(&["--set", "checkpoint.expires=30d"]);
    let before = count(&job.events(), "committed", "numbers");
    job.wait_for(&mut life, "a commit", |events| count(events, "committed", "numbers") > before + 1);
    assert!(ask(&job, &["savepoint", "list"], &[]).expect(0).stdout.contains("old"));
    ask(&job, &["stop"], &[]).expect(0);
    life.wait().expect(0);
    let ended = job.run(&[&["--set", "checkpoint.expires=1ms"][..], &FAST].concat()).expect(0);
    ended.says(&["savepoint \"old\" has expired", "has finished"]);
    assert!(!ask(&job, &["savepoint", "list"], &[]).expect(0).stdout.contains("old"));
    assert!(output(&job) == golden(ROWS));
}
