//! A job that is to stop stops, although one of its operators is stuck: that one is found, abandoned and restarted, and
//! the last checkpoint completes. If it is stuck for good, the process ends with exit code 1 in time.

#[path = "support/stuck.rs"]
mod stuck;
mod support;

use std::process::Command;
use std::time::Duration;

use piton::runtime::{RunOptions, Signals};
use stuck::{run_watched, wait_blocked};
use support::published;

/// Tells the test that it is the process that is to be ended.
const CHILD: &str = "PITON_TEST_STUCK_FOR_GOOD";

fn topology(name: &str, times: u64, timeout: &str) -> String {
    format!(
        r#"
        [checkpoint]
        interval = "20ms"
        timeout = "{timeout}"
        [window]
        interval = "10ms"
        [recovery]
        hang_timeout = "500ms"
        [sources.numbers]
        type = "numbers"
        rows = 1000000000
        keys = 97
        idle_ms = 1
        [operators.middle]
        type = "stuck"
        inputs = ["numbers"]
        tag = "{name}"
        at = 300
        times = {times}
        [sinks.out]
        type = "collect"
        inputs = ["middle"]
        name = "{name}"
        "#
    )
}

/// Runs a job until it is stopped by a signal that comes when its operator is stuck.
fn run_and_stop(name: &str, times: u64, timeout: &str) -> stuck::Run {
    let signals = Some(Signals::catch().unwrap());
    let tag = name.to_string();
    std::thread::spawn(move || {
        wait_blocked(&tag);
        let own = std::process::id().to_string();
        assert!(Command::new("kill").args(["-TERM", &own]).status().unwrap().success());
    });
    let options = RunOptions { signals, ..RunOptions::default() };
    run_watched(&topology(name, times, timeout), &[], 1, options, |_| {})
}

#[test]
fn a_stop_finds_the_one_that_is_stuck_and_completes() {
    let run = run_and_stop("stop", 1, "30s");
    assert!(!run.outcome.finished && run.outcome.failures.is_empty(), "{:?}", run.outcome);
    assert_eq!(run.hung(), [("middle".to_string(), 0)]);
    assert_eq!(run.restarted(), [("middle".to_string(), Some(0), "operator")]);
    // The record that it was stuck at was read before the signal, so it belongs to the last checkpoint.
    let rows: Vec<(u64, u64)> = published("stop").concat();
    assert!(rows.len() > 300 && rows.len() as u64 == run.outcome.records_in, "{} rows", rows.len());
    for (number, (key, count)) in (0..).zip(rows) {
        assert_eq!((key, count), (number % 97, number / 97 + 1));
    }
}

#[test]
fn a_stop_that_cannot_complete_ends_the_process_in_time() {
    if std::env::var_os(CHILD).is_some() {
        run_and_stop("good", 1000, "1500ms");
        std::process::exit(0);
    }
    let own = std::env::current_exe().unwrap();
    let name = "a_stop_that_cannot_complete_ends_the_process_in_time";
    let mut child = Command::new(own).args(["--exact", name]).env(CHILD, "1").spawn().unwrap();
    let mut waited = Duration::ZERO;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(waited < Duration::from_secs(60), "the process does not end");
        #[expect(clippy::disallowed_methods, reason = "another process is waited for")]
        std::thread::sleep(Duration::from_millis(20));
        waited += Duration::from_millis(20);
    };
    assert_eq!(status.code(), Some(1));
}
