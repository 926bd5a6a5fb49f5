//! A supervised job whose process is killed goes on by itself, and ends as if nothing had happened.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::process::Command;

use binary::folder::Folder;
use binary::generate::{Row, read_rows, row};
use binary::process::{Job, count};
use binary::tree::scratch;

const ROWS: u64 = 30_000;
const KEYS: u64 = 50;

fn topology() -> String {
    format!(
        r#"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "60ms"
        [recovery]
        initial_backoff = "20ms"
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
        "#
    )
}

fn rows(job: &Job) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, text) in Folder::new(job.path("out/rows"), "rows").look() {
        rows.extend(read_rows(&text).into_iter().map(|(row, _)| row));
    }
    rows
}

/// Returns the process that does the work: the child of the one that was started.
fn child(parent: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn kill(pid: u32, signal: &str) {
    let killed = Command::new("sh").arg("-c").arg(format!("kill -{signal} {pid}")).status().unwrap();
    assert!(killed.success(), "SIG{signal} could not be sent to {pid}");
}

#[test]
fn a_child_that_is_killed_or_aborted_is_started_again_and_the_output_is_whole() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    let mut life = job.start(&["--supervise", "--resume", "none"]);
    for (number, signal) in ["KILL", "ABRT", "KILL"].into_iter().enumerate() {
        let commits = count(&job.events(), "committed", "numbers");
        job.wait_for(&mut life, "more commits", |events| {
            count(events, "committed", "numbers") >= commits + 3
                && events.iter().filter(|event| event["event"] == "started").count() == number + 1
        });
        kill(child(life.id()).expect("the job runs in a child"), signal);
    }
    life.wait().expect(0).says(&["ended by signal 9; it is started again", "ended by signal 6", "has finished"]);
    let golden: Vec<Row> = (0..ROWS).map(|id| row(0, KEYS, id)).collect();
    assert!(rows(&job) == golden, "every row once");
    let lives = job.events().iter().filter(|event| event["event"] == "started").count();
    assert_eq!(lives, 4);
}

#[test]
fn a_signal_is_passed_on_and_stops_both_with_a_checkpoint() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    for signal in ["TERM", "INT"] {
        let commits = count(&job.events(), "committed", "numbers");
        let mut life = job.start(&["--supervise"]);
        job.wait_for(&mut life, "commits", |events| count(events, "committed", "numbers") >= commits + 3);
        life.signal(signal);
        life.wait().expect(0).says(&["was stopped"]);
    }
    let there = rows(&job);
    let golden: Vec<Row> = (0..there.len() as u64).map(|id| row(0, KEYS, id)).collect();
    assert!(there == golden && !there.is_empty());
}

#[test]
fn a_job_that_ends_by_itself_is_not_started_again() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    job.run(&["--supervise", "--set", "sources.numbers.keys=0"]).expect(2);
    job.run(&["--supervise", "--set", "sources.numbers.rate=1000000000/s"]).expect(0).says(&["has finished"]);
    job.run(&["--supervise", "--resume", "none"]).expect(3).says(&["holds checkpoints"]);
    // One that is killed too often is given up.
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    let mut life = job.start(&["--supervise", "--set", "recovery.strategy=none"]);
    job.wait_for(&mut life, "commits", |events| count(events, "committed", "numbers") >= 1);
    kill(child(life.id()).unwrap(), "KILL");
    life.wait().expect(1).says(&["ended by signal 9, and restarts are switched off"]);
}

#[test]
fn a_child_does_not_outlive_its_supervisor() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology());
    let mut life = job.start(&["--supervise"]);
    job.wait_for(&mut life, "commits", |events| count(events, "committed", "numbers") >= 2);
    kill(life.id(), "KILL");
    assert_eq!(life.wait().code, None);
    // It stops with a checkpoint as by a signal; then the directory is free.
    let began = binary::process::now();
    loop {
        if job.events().last().is_some_and(|event| event["event"] == "finished") {
            break;
        }
        assert!(began.elapsed().as_secs() < 60, "the child goes on");
        binary::process::pause(std::time::Duration::from_millis(20));
    }
}
