//! A job can be stopped, continued, asked to run again and begun anew, and never loses or repeats a row by it.

#[path = "support/binary/mod.rs"]
mod binary;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use binary::folder::Folder;
use binary::generate::{Row, Totals, add, read_rows, read_totals, row};
use binary::process::{Job, count};
use binary::tree::{listing, scratch};

const ROWS: u64 = 20_000;
const KEYS: u64 = 50;
const FAST: [&str; 2] = ["--set", "sources.numbers.rate=1000000000/s"];
const ANEW: [&str; 2] = ["--resume", "none"];

fn topology() -> String {
    format!(
        r#"
        [job]
        name = "stopped"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "100ms"
        [store]
        path = "state"
        [sources.numbers]
        type = "generate"
        rows = {ROWS}
        keys = {KEYS}
        rate = "10000/s"
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

/// Returns what both sinks hold: all rows, and the last values of each key.
fn output(job: &Job) -> (Vec<Row>, Totals) {
    let mut rows = Vec::new();
    for (_, text) in Folder::new(job.path("out/rows"), "rows").look() {
        rows.extend(read_rows(&text).into_iter().map(|(row, _)| row));
    }
    let mut totals = Totals::new();
    for (_, text) in Folder::new(job.path("out/counts"), "counts").look() {
        totals.extend(read_totals(&text));
    }
    (rows, totals)
}

fn golden(rows: u64) -> (Vec<Row>, Totals) {
    let rows: Vec<Row> = (0..rows).map(|id| row(0, KEYS, id)).collect();
    let mut totals = Totals::new();
    rows.iter().for_each(|row| add(&mut totals, *row));
    (rows, totals)
}

/// Returns everything that the job keeps, with its times of change. The database that the store keeps its catalogue in
/// tidies its own files whenever it is opened; what it holds is told from outside by what a later run makes of it.
fn written(job: &Job) -> BTreeMap<PathBuf, (u64, SystemTime)> {
    let mut written = BTreeMap::new();
    for folder in ["state", "out"] {
        let entries = listing(&job.path(folder)).into_iter();
        written.extend(entries.map(|(path, stamp)| (Path::new(folder).join(path), stamp)));
    }
    written.retain(|path, _| !path.starts_with("state/catalog"));
    written
}

/// Runs the job until some windows are committed, and stops it by a signal.
fn stop_half_way(job: &Job, signal: &str) {
    let before = count(&job.events(), "committed", "numbers");
    let mut life = job.start(&[]);
    job.wait_for(&mut life, "some commits", |events| count(events, "committed", "numbers") >= before + 3);
    life.signal(signal);
    life.wait().expect(0).says(&["was stopped"]);
}

#[test]
fn a_signal_stops_with_a_last_checkpoint_and_the_next_run_continues() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    let mut visible = 0;
    for signal in ["TERM", "INT"] {
        stop_half_way(&job, signal);
        let events = job.events();
        let [.., committed, finished] = &events[..] else { panic!("two events at least") };
        assert_eq!(committed["event"], "committed", "SIG{signal}: the last thing is a checkpoint");
        assert_eq!((&finished["event"], &finished["window"]), (&"finished".into(), &committed["window"]));
        // All that was read is visible: nothing was read after the last checkpoint.
        let (rows, totals) = output(&job);
        assert_eq!(finished["records_in"], rows.len());
        assert!(rows.len() > visible && rows.len() < ROWS as usize, "{} rows", rows.len());
        assert_eq!((&rows, &totals), (&golden(rows.len() as u64).0, &golden(rows.len() as u64).1), "SIG{signal}");
        visible = rows.len();
    }
    job.run(&FAST).expect(0).says(&["has finished"]);
    assert_eq!(output(&job), golden(ROWS));
    let starts: Vec<_> = job.events().into_iter().filter(|event| event["event"] == "started").collect();
    assert_eq!(starts.len(), 3);
    assert_eq!(starts[0]["resumed_from"].as_object().unwrap().len(), 0);
    assert!(starts[1..].iter().all(|start| start["resumed_from"]["numbers"].as_u64() > Some(0)), "{starts:?}");
}

#[test]
fn state_of_other_keys_or_aggregates_is_refused() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    stop_half_way(&job, "TERM");
    let before = written(&job);
    for (was, is) in [
        ("by = [\"key\"]", "by = [\"value\"]"),
        ("by = [\"key\"]", "by = [\"time\"]"),
        ("sum(value)", "max(value)"),
        ("\"count(*) AS n\", ", ""),
    ] {
        Job::new(folder.path(), &topology().replace(was, is));
        job.run(&FAST)
            .expect(3)
            .says(&["does not fit the topology", "operator \"counted\" has state for by [key: bigint]"]);
        assert_eq!(written(&job), before, "{is}");
    }
    Job::new(folder.path(), &topology());
    job.run(&FAST).expect(0).says(&["has finished"]);
    assert_eq!(output(&job), golden(ROWS));
}

#[test]
fn a_finished_job_says_so_and_writes_nothing() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    job.run(&FAST).expect(0);
    let before = written(&job);
    assert!(before.keys().any(|path| path.ends_with("HEAD")) && before.keys().any(|path| path.starts_with("out")));
    for more in [&[][..], &FAST, &["--resume", "latest"]] {
        job.run(more).expect(0).says(&["finished before"]);
        let after = written(&job);
        let touched: Vec<_> = after.iter().filter(|(path, stamp)| before.get(*path) != Some(stamp)).collect();
        assert!(touched.is_empty(), "written: {touched:?}");
        assert_eq!(before.len(), after.len(), "removed");
    }
    assert_eq!(output(&job), golden(ROWS));
}

#[test]
fn beginning_anew_takes_what_was_done_only_when_told_to_twice() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    stop_half_way(&job, "TERM");
    let kept = output(&job);
    fs::write(job.path("out/rows/notes.txt"), "mine").unwrap();
    let out = listing(&job.path("out"));

    job.run(&ANEW).expect(3).says(&["holds checkpoints", "--discard-state", job.path("state").to_str().unwrap()]);
    let state = [&ANEW[..], &["--discard-state"]].concat();
    job.run(&state).expect(3).says(&[
        "--discard-output",
        "\"rows\"",
        "\"counts\"",
        job.path("out/rows").to_str().unwrap(),
    ]);
    job.run(&[&ANEW[..], &["--discard-output"]].concat()).expect(3).says(&["--discard-state"]);
    for flag in ["--discard-state", "--discard-output"] {
        job.run(&[flag]).expect(2).says(&[flag, "--resume none"]);
    }
    assert_eq!(listing(&job.path("out")), out, "a refusal touches nothing");

    // All of this took nothing from the checkpoints: a copy of the job goes on.
    let copy = folder.path().join("copy");
    binary::tree::copy(&job.path("state"), &copy.join("state"));
    binary::tree::copy(&job.path("out"), &copy.join("out"));
    fs::remove_file(copy.join("out/rows/notes.txt")).unwrap();
    let copied = Job::new(&copy, &topology());
    copied.run(&FAST).expect(0);
    assert_eq!(output(&copied), golden(ROWS));
    assert_eq!(output(&copied).0[..kept.0.len()], kept.0, "what was there came first");

    let both = [&FAST[..], &ANEW, &["--discard-state", "--discard-output"]].concat();
    job.run(&both).expect(0);
    assert_eq!(fs::read_to_string(job.path("out/rows/notes.txt")).unwrap(), "mine", "it is not the job's to remove");
    fs::remove_file(job.path("out/rows/notes.txt")).unwrap();
    assert_eq!(output(&job), golden(ROWS));
    let started = job.events().into_iter().rfind(|event| event["event"] == "started").unwrap();
    assert_eq!(started["resumed_from"].as_object().unwrap().len(), 0, "{started}");
}

#[test]
fn output_without_its_state_is_not_added_to() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    stop_half_way(&job, "INT");
    fs::remove_dir_all(job.path("state")).unwrap();
    let out = listing(&job.path("out"));
    for more in [&[][..], &ANEW] {
        job.run(more).expect(3).says(&["--discard-output", "\"rows\""]);
        assert_eq!(listing(&job.path("out")), out, "a refusal touches nothing");
    }
    job.run(&[&FAST[..], &ANEW, &["--discard-output"]].concat()).expect(0);
    assert_eq!(output(&job), golden(ROWS));
}

#[test]
fn a_signal_that_comes_while_the_job_starts_stops_it_well() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    for _ in 0..5 {
        let mut life = job.start(&[]);
        life.catches_signals();
        life.signal("TERM");
        life.wait().expect(0);
    }
    job.run(&FAST).expect(0);
    assert_eq!(output(&job), golden(ROWS));
}

#[test]
fn a_job_that_keeps_failing_is_stopped_within_a_few_attempts() {
    let folder = scratch();
    let failing = topology().replace(
        "inputs = [\"numbers\"]\n        path = \"out/rows\"",
        "inputs = [\"broken\"]\n        path = \"out/rows\"",
    ) + "\n[operators.broken]\ntype = \"fail\"\ninputs = [\"numbers\"]\nwhere = \"id = 5000\"\ntimes = 0\n";
    let job = Job::new(folder.path(), &failing);
    let mut life = job.start(&[]);
    job.wait_for(&mut life, "two restarts", |events| {
        events.iter().filter(|event| event["event"] == "restarted").count() >= 2
    });
    life.signal("TERM");
    let ended = life.wait();
    if ended.code != Some(0) {
        // It stopped with a checkpoint if it was ahead of its next failure.
        ended.expect(1).says(&["while the job was stopping", "continues from the last committed window"]);
    }
}
