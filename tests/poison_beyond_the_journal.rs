//! A record that always fails is set aside, as long as the journal reaches back to the newest snapshot. If it never does, the
//! job ends with what to do about it, instead of restarting for ever.

mod support;

use support::{check_counts, published, run};

const POISON: u64 = 5_000;

fn topology(name: &str, recovery: &str) -> String {
    format!(
        r#"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [recovery]
        scope = "operator"
        initial_backoff = "2ms"
        max_backoff = "2ms"
        {recovery}
        [mailbox]
        batch = 64
        [sources.numbers]
        type = "numbers"
        rows = 20_000
        keys = 1
        [operators.count]
        type = "count"
        inputs = ["numbers"]
        panic_at = [{POISON}]
        always = true
        tag = "{name}"
        [sinks.out]
        type = "collect"
        inputs = ["count"]
        name = "{name}"
        "#
    )
}

#[test]
fn a_journal_that_is_too_short_ends_the_job_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    // Not even one batch.
    let outcome = run(folder.path(), &topology("short", "journal = \"256B\"\non_poison = \"dead-letter\""), &[]);
    let [failure] = &outcome.failures[..] else { panic!("{outcome:?}") };
    assert!(failure.contains("told to panic at 5000"), "{failure}");
    assert!(
        failure.contains("3 times with no commit between") && failure.contains("raise recovery.journal"),
        "{failure}"
    );
    let counts = published("short").concat();
    assert!(counts.iter().all(|(_, count)| *count <= POISON), "nothing from behind the record");
}

#[test]
fn a_journal_that_reaches_back_finds_it() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(folder.path(), &topology("long", "on_poison = \"dead-letter\""), &[]);
    assert!(outcome.finished && outcome.failures.is_empty(), "{outcome:?}");
    check_counts("long", 19_999, 1);
}
