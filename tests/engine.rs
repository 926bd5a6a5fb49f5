//! A job from TOML runs to its end, and a failure of an operator leaves no trace in what is published.

mod support;

use support::{check_counts, run};

fn topology(name: &str, rows: u64, panics: &str, extra: &str) -> String {
    format!(
        r#"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [recovery]
        initial_backoff = "5ms"
        [mailbox]
        batch = 64
        capacity = 4
        {extra}
        [sources.numbers]
        type = "numbers"
        rows = {rows}
        keys = 97
        [operators.count]
        type = "count"
        inputs = ["numbers"]
        panic_at = {panics}
        tag = "{name}"
        [sinks.out]
        type = "collect"
        inputs = ["count"]
        name = "{name}"
        "#
    )
}

#[test]
fn a_bounded_job_publishes_every_count_once() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(folder.path(), &topology("plain", 200_000, "[]", ""), &[]);
    assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
    assert_eq!((outcome.records_in, outcome.records_out), (200_000, 200_000));
    check_counts("plain", 200_000, 97);
}

#[test]
fn panics_roll_the_region_back_and_leave_no_trace() {
    for (name, set) in [
        ("chained", vec![]),
        ("unchained", vec!["job.chaining=\"off\""]),
        ("parallel", vec!["job.parallelism=4"]),
        ("parallel-source", vec!["sources.numbers.parallelism=3", "operators.count.parallelism=2"]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let toml = topology(name, 100_000, "[10, 5000, 50000, 99999]", "")
            .replace("[recovery]", "[recovery]\nscope = \"region\"");
        let outcome = run(folder.path(), &toml, &set);
        assert!(outcome.finished && outcome.failures.is_empty(), "{name}: {outcome:?}");
        assert_eq!(outcome.restarts, 4, "{name}");
        assert_eq!((outcome.records_in, outcome.records_out), (100_000, 100_000), "{name}");
        check_counts(name, 100_000, 97);
    }
}

#[test]
fn a_finished_job_is_not_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let toml = topology("again", 1_000, "[]", "");
    let first = run(folder.path(), &toml, &[]);
    let second = run(folder.path(), &toml, &[]);
    assert_eq!((second.records_in, second.records_out, second.windows), (1_000, 1_000, first.windows));
    check_counts("again", 1_000, 97);
}
