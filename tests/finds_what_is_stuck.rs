//! A call of user code that never comes back is found, and blamed on the right one: that one is restarted on another
//! thread, its neighbours lose nothing, and nothing that the lost call still does is ever seen.

#[path = "support/stuck.rs"]
mod stuck;
mod support;

use std::time::Duration;

use piton::prelude::*;
use piton::runtime::{Event, RunOptions};
use piton::{group_of, subtask_of};
use stuck::{Run, blocked, open, run_watched, wait_gone};
use support::check_counts;

const ROWS: u64 = 20_000;
const KEYS: u64 = 97;
const TIMEOUT: Duration = Duration::from_secs(1);

/// Five operators one after the other, each with its own actor.
fn five(name: &str, stuck: &str) -> String {
    chain(name, &format!("type = \"numbers\"\nrows = {ROWS}\nkeys = {KEYS}"), stuck, "type = \"collect\"")
}

fn chain(name: &str, source: &str, stuck: &str, sink: &str) -> String {
    format!(
        r#"
        [job]
        chaining = "off"
        [checkpoint]
        interval = "20ms"
        [window]
        interval = "10ms"
        [recovery]
        hang_timeout = "1s"
        initial_backoff = "5ms"
        [mailbox]
        batch = 64
        capacity = 4
        [sources.numbers]
        {source}
        [operators.before]
        type = "pass"
        inputs = ["numbers"]
        [operators.middle]
        type = "stuck"
        inputs = ["before"]
        tag = "{name}"
        {stuck}
        [operators.behind]
        type = "pass"
        inputs = ["middle"]
        [sinks.out]
        inputs = ["behind"]
        name = "{name}"
        {sink}
        "#
    )
}

fn run(toml: &str, set: &[&str], threads: usize) -> Run {
    run_watched(toml, set, threads, RunOptions::default(), |_| {})
}

/// The job came to its end, its output is right, and only this one was found and restarted.
#[track_caller]
fn check(run: &Run, name: &str, culprit: &str) {
    assert!(run.outcome.finished && run.outcome.failures.is_empty(), "{name}: {:?}", run.outcome);
    assert_eq!(run.hung(), [(culprit.to_string(), 0)], "{name}");
    assert_eq!(run.restarted(), [(culprit.to_string(), Some(0), "operator")], "{name}");
    assert_eq!((run.outcome.records_in, run.outcome.records_out, run.outcome.restarts), (ROWS, ROWS, 0), "{name}");
    check_counts(name, ROWS, KEYS);
    let took = run.found_within(name);
    println!("{name}: found {} ms after the call began (hang_timeout {} ms)", took.as_millis(), TIMEOUT.as_millis());
    assert!(took >= TIMEOUT, "{name}: found too early");
    assert!(took < TIMEOUT + Duration::from_secs(10), "{name}: found after {took:?}");
}

#[test]
fn an_operator_that_is_stuck_among_five_on_one_thread_is_restarted_alone() {
    for (name, set) in [
        ("five", &[][..]),
        ("five-at-once", &["recovery.scope=\"operator\""][..]),
        ("five-dedicated", &["operators.middle.dedicated=true"][..]),
        ("five-chained", &["job.chaining=\"auto\""][..]),
    ] {
        let run = run(&five(name, "at = 9000\ntimes = 1"), set, 1);
        check(&run, name, "middle");
    }
}

#[test]
fn a_source_that_is_stuck_is_restarted_alone() {
    let source = format!("type = \"stuck-numbers\"\nrows = {ROWS}\nkeys = {KEYS}\nat = 9000\ntag = \"source\"");
    let run = run(&chain("source", &source, "", "type = \"collect\""), &[], 1);
    check(&run, "source", "numbers");
}

#[test]
fn a_sink_that_is_stuck_is_restarted_alone() {
    let source = format!("type = \"numbers\"\nrows = {ROWS}\nkeys = {KEYS}");
    let sink = "type = \"stuck-collect\"\nafter = 9000\ntag = \"sink\"";
    let run = run(&chain("sink", &source, "", sink), &[], 1);
    check(&run, "sink", "out");
}

#[test]
fn nobody_is_blamed_while_an_operator_is_slow_and_the_others_wait_for_it() {
    // A batch takes twice the timeout, a record a small part of it.
    let source = "type = \"numbers\"\nrows = 300\nkeys = 97";
    let toml = chain("slow", source, "slow_ms = 16", "type = \"collect\"");
    let run = run(&toml, &["mailbox.batch=128"], 1);
    assert!(run.outcome.finished, "{:?}", run.outcome);
    assert_eq!((run.hung(), run.restarted()), (vec![], vec![]));
    check_counts("slow", 300, KEYS);
}

#[test]
fn nobody_is_blamed_while_state_is_written_down() {
    let toml = five("heavy", "").replace("type = \"stuck\"", "type = \"slow\"").replace("tag = \"heavy\"", "");
    let run = run(&toml, &[], 1);
    assert!(run.outcome.finished, "{:?}", run.outcome);
    assert_eq!((run.hung(), run.restarted()), (vec![], vec![]));
    assert!(blocked("heavy").0 > 0, "it was not written down");
    check_counts("heavy", ROWS, KEYS);
}

#[test]
fn a_region_restarts_although_one_of_it_is_stuck_in_its_drop() {
    let toml = five("drop", "at = 9000\ntimes = 1\ndrops_slowly = true");
    let run = run(&toml, &["recovery.scope=\"region\""], 1);
    assert!(run.outcome.finished && run.outcome.failures.is_empty(), "{:?}", run.outcome);
    assert_eq!(run.hung(), [("middle".to_string(), 0)]);
    assert_eq!(run.restarted(), [("middle".to_string(), Some(0), "region")]);
    check_counts("drop", ROWS, KEYS);
}

#[test]
fn nothing_is_seen_of_a_lost_call_that_comes_back() {
    for (name, then) in [("emits", ""), ("panics", "panics = true")] {
        let toml = five(name, &format!("at = 9000\ntimes = 1\n{then}"));
        let tag = name.to_string();
        // Slow enough that the job is still running then.
        let run =
            run_watched(&toml, &["sources.numbers.idle_ms=1", "job.chaining=\"auto\""], 1, RunOptions::default(), {
                move |event| {
                    if matches!(event, Event::Restarted { .. }) {
                        open(&tag);
                    }
                }
            });
        check(&run, name, "middle");
        wait_gone(name);
    }
}

#[test]
fn a_region_restarts_although_one_of_it_is_stuck() {
    // The first subtask shares its thread with all others, which goes on until it is stuck there.
    let is_first = |number: &u64| subtask_of(group_of(Key::from(number % KEYS).hash(), 1024), 2, 1024) == 0;
    let at = (9000..).find(is_first).unwrap();
    let toml = five("region", &format!("at = {at}\ntimes = 1\npanics_beside = true\nparallelism = 2"));
    let run = run(&toml, &["recovery.scope=\"region\"", "recovery.hang_timeout=\"3s\""], 2);
    assert!(run.outcome.finished && run.outcome.failures.is_empty(), "{:?}", run.outcome);
    assert_eq!(run.hung(), [("middle".to_string(), 0)]);
    assert_eq!(run.restarted(), [("middle".to_string(), Some(1), "region")]);
    check_counts("region", ROWS, KEYS);
}

#[test]
fn a_source_that_waits_goes_on_waiting_on_another_thread() {
    let source = format!("type = \"stuck-numbers\"\nrows = {ROWS}\nkeys = {KEYS}\nwaits = true\ntag = \"waits\"");
    let run = run(&chain("waits", &source, "at = 9000\ntimes = 1", "type = \"collect\""), &[], 1);
    check(&run, "waits", "middle");
}

#[test]
fn a_thread_that_ends_takes_nothing_with_it() {
    for (name, set) in [("thread", &[][..]), ("own-thread", &["operators.middle.dedicated=true"][..])] {
        let run = run(&five(name, "ends_thread_at = 9000"), set, 1);
        assert!(run.outcome.finished && run.outcome.failures.is_empty(), "{name}: {:?}", run.outcome);
        assert_eq!((run.hung(), run.restarted()), (vec![], vec![]), "{name}");
        check_counts(name, ROWS, KEYS);
    }
}

#[test]
fn a_record_that_always_hangs_is_set_aside() {
    let toml = five("poison", "at = 9000\ntimes = 100");
    let run = run(&toml, &["recovery.on_poison=\"dead-letter\"", "recovery.hang_timeout=\"500ms\""], 1);
    assert!(run.outcome.finished && run.outcome.failures.is_empty(), "{:?}", run.outcome);
    assert_eq!(run.hung(), vec![("middle".to_string(), 0); 3]);
    let letters = run.events.iter().filter(|(_, event)| matches!(event, Event::DeadLetter { .. })).count();
    assert_eq!((letters, run.outcome.records_out), (1, ROWS - 1));
}

#[test]
fn a_job_that_loses_thread_after_thread_gives_up() {
    let toml = five("endless", "at = 9000\ntimes = 100");
    let run = run(&toml, &["recovery.hang_timeout=\"300ms\""], 1);
    assert!(!run.outcome.finished);
    let [reason] = &run.outcome.failures[..] else { panic!("{:?}", run.outcome) };
    assert!(reason.contains("\"middle\" is stuck") && reason.contains("only the end of the process"), "{reason}");
    assert_eq!(run.hung().len(), 9);
}
