//! A state directory belongs to one process at a time: a second one is refused by name, and the next one starts as soon
//! as the first is gone, however it went.
//!
//! `cargo test --test one_process_per_state -- --nocapture` tells how long both take.

#[path = "support/binary/mod.rs"]
mod binary;

use std::process::Command;
use std::time::Duration;

use binary::process::{Job, count, now, piton};
use serde_json::Value;

const TOPOLOGY: &str = r#"
    [checkpoint]
    interval = "100ms"
    [store]
    path = "state"
    [sources.numbers]
    type = "generate"
    rate = "1000/s"
    [sinks.rows]
    type = "csv"
    inputs = ["numbers"]
    path = "out"
"#;

fn count_all(events: &[Value], name: &str) -> usize {
    events.iter().filter(|event| event["event"] == name).count()
}

#[test]
fn a_second_process_is_refused_and_the_next_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), TOPOLOGY);
    let mut first = job.start(&[]);
    job.wait_for(&mut first, "a commit", |events| count(events, "committed", "numbers") > 0);

    let state = job.path("state");
    let state = state.to_str().unwrap();
    // By the same file, and by another job that is given the directory.
    let other = Job::new(&job.path("other"), TOPOLOGY);
    for (who, more) in [(&job, &[][..]), (&other, &["--state", state])] {
        let began = now();
        let second = who.start(more);
        // However busy the machine is, `wait` has patience for it.
        second.wait().expect(3).says(&[state, "error: "]);
        println!("refused after {:?}", began.elapsed());
    }
    assert!(!other.path("out").exists() && !other.path("state").exists(), "one that is refused makes nothing");

    let before = count(&job.events(), "committed", "numbers");
    job.wait_for(&mut first, "another commit", |events| count(events, "committed", "numbers") > before);
    assert!(first.kill_after(Duration::ZERO).is_none());

    // No waiting in between, and no second attempt.
    let before = count(&job.events(), "committed", "numbers");
    let started = count_all(&job.events(), "started");
    let began = now();
    let mut next = job.start(&[]);
    job.wait_for(&mut next, "the start of the next one", |events| count_all(events, "started") > started);
    println!("after a kill: started after {:?}", began.elapsed());
    job.wait_for(&mut next, "a commit of the next one", |events| count(events, "committed", "numbers") > before);
    println!("after a kill: the first commit after {:?}", began.elapsed());
    next.signal("TERM");
    next.wait().expect(0);
}

#[test]
fn looking_into_a_state_directory_in_use_disturbs_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), TOPOLOGY);
    let mut first = job.start(&[]);
    job.wait_for(&mut first, "a commit", |events| count(events, "committed", "numbers") > 0);
    let mut list = Command::new(piton());
    list.args(["checkpoints", "list"]).arg(job.path("job.toml"));
    let listed = job.spawn(list).wait();
    assert!(matches!(listed.code, Some(0 | 3)), "{listed:?}");
    let before = count(&job.events(), "committed", "numbers");
    job.wait_for(&mut first, "another commit", |events| count(events, "committed", "numbers") > before);
    first.signal("INT");
    first.wait().expect(0);
}
