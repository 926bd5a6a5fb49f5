//! A source with an `idle_timeout` holds event time up no longer than that, is waited for again once it has rows, and all
//! that through kills.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use binary::folder::Folder;
use binary::process::{Job, Life, now, pause};
use binary::tree::{self, scratch};

/// One of the two subtasks has no file at first.
const TOPOLOGY: &str = r#"
    [job]
    name = "idle"
    [window]
    interval = "20ms"
    [checkpoint]
    interval = "50ms"
    [store]
    path = "state"
    [sources.log]
    type = "csv"
    path = "in/*.csv"
    schema = { at = "bigint" }
    follow = true
    parallelism = 2
    event_time = "at"
    out_of_order = "5s"
    idle_timeout = "100ms"
    [operators.counted]
    type = "aggregate"
    inputs = ["log"]
    columns = ["count(*) AS n"]
    window = { tumbling = "1s" }
    [sinks.seen]
    type = "csv"
    inputs = ["log"]
    path = "seen"
    [sinks.out]
    type = "csv"
    inputs = ["counted"]
    path = "out"
"#;

fn append(folder: &Path, name: &str, times: &[i64]) {
    let lines: String = times.iter().map(|time| format!("{time}\n")).collect();
    tree::append(&folder.join("in").join(name), "at", &lines);
}

fn rows(job: &Job, sink: &str) -> Vec<String> {
    let texts = Folder::new(job.path(sink), sink).look();
    texts.iter().flat_map(|(_, text)| text.lines().skip(1)).map(str::to_string).collect()
}

/// How many rows each time window had, by its beginning.
fn counts(job: &Job) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for row in rows(job, "out") {
        let columns: Vec<&str> = row.split(',').collect();
        let [start, _end, n] = columns[..] else { panic!("{row}") };
        assert!(counts.insert(start.to_string(), n.parse().unwrap()).is_none(), "{start} was counted twice");
    }
    counts
}

fn wait_until(job: &Job, life: &mut Life, what: &str, is_so: impl Fn(&Job) -> bool) {
    let began = now();
    while !is_so(job) {
        let seen = || format!("{:?} {:?}\n", rows(job, "seen"), rows(job, "out"));
        assert!(life.is_alive() && began.elapsed() < Duration::from_secs(60), "{what}: {}{}", seen(), life.said());
        pause(Duration::from_millis(10));
    }
}

fn second(second: u64) -> String {
    format!("1970-01-01T00:00:{second:02}.000Z")
}

#[test]
fn a_subtask_without_rows_holds_nobody_up_and_is_waited_for_when_it_has_some() {
    let folder = scratch();
    let job = Job::new(folder.path(), TOPOLOGY);
    fs::create_dir(folder.path().join("in")).unwrap();
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();

    append(folder.path(), "m.csv", &[100, 900, 1500, 7500]);
    let mut life = job.start(&[]);
    expected.extend([(second(0), 2), (second(1), 1)]);
    wait_until(&job, &mut life, "the other subtask has no file", |job| counts(job) == expected);

    assert!(life.kill_after(Duration::from_millis(30)).is_none());
    append(folder.path(), "m.csv", &[7600, 14_000]);
    let mut life = job.start(&[]);
    expected.extend([(second(7), 2)]);
    wait_until(&job, &mut life, "nor has it after a restart", |job| counts(job) == expected);

    // Files of both subtasks, whichever is whose.
    for name in ["a.csv", "b.csv", "k.csv", "z.csv"] {
        append(folder.path(), name, &[14_100]);
    }
    let all_seen = |job: &Job| rows(job, "seen").iter().filter(|row| *row == "14100").count() == 4;
    wait_until(&job, &mut life, "new files are read", all_seen);
    append(folder.path(), "m.csv", &[20_500]);
    expected.extend([(second(14), 5)]);
    wait_until(&job, &mut life, "rows of all files are counted", |job| counts(job) == expected);
    life.signal("TERM");
    life.wait().expect(0);
}
