//! A topology may change between two lives of a job: parallelism, names, operators that come and go. State finds its
//! operator again, and whatever would lose some is refused until that is asked for.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::time::Duration;

use binary::chaos::{rng, rounds};
use binary::folder::Folder;
use binary::generate::{Row, Totals, add, read_rows, read_totals, row};
use binary::process::{Job, count};
use binary::tree::scratch;
use rand::RngExt as _;

const KEYS: u64 = 50;
const FAST: [&str; 2] = ["--set", "sources.numbers.rate=1000000000/s"];

fn topology(rows: u64) -> String {
    format!(
        r#"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "60ms"
        [store]
        path = "state"
        [sources.numbers]
        type = "generate"
        rows = {rows}
        keys = {KEYS}
        rate = "10000/s"
        event_time = "time"
        [sinks.rows]
        type = "csv"
        inputs = ["numbers"]
        path = "out/rows"
        [operators.counted]
        type = "aggregate"
        inputs = ["numbers"]
        by = ["key"]
        columns = ["count(*) AS n", "sum(value) AS total"]
        [sinks.counts]
        type = "csv"
        inputs = ["counted"]
        path = "out/counts"
        [operators.spans]
        type = "aggregate"
        inputs = ["numbers"]
        by = ["key"]
        columns = ["count(*) AS n", "max(value) AS most"]
        [sinks.spans_out]
        type = "csv"
        inputs = ["spans"]
        path = "out/spans"
        "#
    )
}

fn rows_of(job: &Job) -> Vec<Row> {
    let mut rows = Vec::new();
    for (_, text) in Folder::new(job.path("out/rows"), "rows").look() {
        rows.extend(read_rows(&text).into_iter().map(|(row, _)| row));
    }
    rows.sort_unstable_by_key(|row| row.id);
    rows
}

/// Returns the largest count of each key, and panics if one comes twice: each subtask counts on from the last.
fn totals_of(job: &Job, folder: &str, sink: &str) -> Totals {
    let mut totals = Totals::new();
    for (place, text) in Folder::new(job.path(folder), sink).look() {
        for (key, (n, total)) in read_totals(&text) {
            let newest = totals.entry(key).or_default();
            assert!(n != newest.0, "{place:?}: count {n} of key {key} twice");
            *newest = (n, total).max(*newest);
        }
    }
    totals
}

fn golden(rows: u64) -> (Vec<Row>, Totals) {
    let rows: Vec<Row> = (0..rows).map(|id| row(0, KEYS, id)).collect();
    let mut totals = Totals::new();
    rows.iter().for_each(|row| add(&mut totals, *row));
    (rows, totals)
}

#[test]
fn a_job_that_is_rescaled_and_killed_again_and_again_ends_as_if_it_never_was() {
    let mut rng = rng("state_follows_the_topology");
    let lives = rounds(8);
    let rows = 10_000 * (lives + 1);
    let folder = scratch();
    let job = Job::new(folder.path(), &topology(rows));
    let set = |parallelism: u32, source: u32| {
        vec![
            "--set".to_string(),
            format!("job.parallelism={parallelism}"),
            "--set".to_string(),
            format!("sources.numbers.parallelism={source}"),
        ]
    };
    for life in 0..lives {
        let parallelism = [1, 4, 3, 8, 2, 5][(life % 6) as usize];
        let more = set(parallelism, rng.random_range(1..5));
        let more: Vec<&str> = more.iter().map(String::as_str).collect();
        let time = Duration::from_millis(rng.random_range(150..900));
        assert!(job.start(&more).kill_after(time).is_none(), "it cannot have finished yet");
    }
    let last = set(2, 3);
    let more: Vec<&str> = last.iter().map(String::as_str).chain(FAST).collect();
    job.run(&more).expect(0).says(&["has finished"]);
    let (expected, totals) = golden(rows);
    assert!(rows_of(&job) == expected, "every row once");
    assert!(totals_of(&job, "out/counts", "counts") == totals, "every count as of all rows");
    for sink in ["rows", "counts", "spans_out"] {
        let path = job.path(&format!("out/{}", sink.trim_end_matches("_out")));
        let hidden = std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let hidden: Vec<String> = hidden.filter(|name| name.starts_with('.')).collect();
        assert_eq!(hidden, [] as [String; 0], "left behind by {sink}");
    }
}

fn stop_half_way(job: &Job, more: &[&str]) {
    let before = job.events().iter().filter(|event| event["event"] == "committed").count();
    let mut life = job.start(more);
    job.wait_for(&mut life, "some commits", |events| {
        events.iter().filter(|event| event["event"] == "committed").count() >= before + 3
    });
    life.signal("TERM");
    life.wait().expect(0).says(&["was stopped"]);
}

#[test]
fn what_is_renamed_keeps_its_state_and_what_is_gone_is_refused_until_it_may_be_dropped() {
    let rows = 20_000;
    let folder = scratch();
    let job = Job::new(folder.path(), &topology(rows));
    stop_half_way(&job, &[]);

    // Renamed, with the source among them: the region keeps its name.
    let renamed = topology(rows)
        .replace("[sources.numbers]", "[sources.digits]")
        .replace("[\"numbers\"]", "[\"digits\"]")
        .replace("[operators.counted]", "[operators.tallied]")
        .replace("[\"counted\"]", "[\"tallied\"]");
    Job::new(folder.path(), &renamed);
    job.run(&[]).expect(3).says(&[
        "does not fit the topology",
        "source \"numbers\" is gone, and \"digits\" is new: if it was renamed, write renamed_from = \"numbers\" in \
         [sources.digits]",
        "operator \"counted\" is gone, and \"tallied\" is new",
        "--allow-unmapped",
    ]);
    let mapped = renamed
        .replace("[sources.digits]", "[sources.digits]\n        renamed_from = \"numbers\"")
        .replace("[operators.tallied]", "[operators.tallied]\n        renamed_from = \"counted\"");
    Job::new(folder.path(), &mapped);
    stop_half_way(&job, &[]);
    // `renamed_from` may stay.
    stop_half_way(&job, &["--set", "operators.tallied.parallelism=3"]);

    // One is gone, another is new and begins with nothing.
    let at = mapped.find("[operators.spans]").unwrap();
    let fewer = format!(
        "{}[operators.few]\ntype = \"filter\"\ninputs = [\"digits\"]\nwhere = \"value < 0\"\n[sinks.few_out]\ntype = \
         \"csv\"\ninputs = [\"few\"]\npath = \"out/few\"\n",
        &mapped[..at]
    );
    Job::new(folder.path(), &fewer);
    job.run(&[]).expect(3).says(&["operator \"spans\" is gone", "sink \"spans_out\" is gone"]);
    let fast = ["--set", "sources.digits.rate=1000000000/s", "--allow-unmapped"];
    job.run(&fast).expect(0).says(&["operator \"spans\" is gone: its state is dropped", "has finished"]);
    let (expected, totals) = golden(rows);
    assert!(rows_of(&job) == expected, "every row once");
    assert!(totals_of(&job, "out/counts", "counts") == totals, "every count as of all rows");
    assert_eq!(count(&job.events(), "committed", "digits"), 0, "the region keeps the name that it began with");
}

#[test]
fn a_pipeline_that_is_gone_is_dropped_for_good() {
    let rows = 20_000;
    let folder = scratch();
    let second = "[sources.more]\ntype = \"generate\"\nrows = 1000000\nrate = \"1000/s\"\n[sinks.more_out]\ntype = \
                  \"blackhole\"\ninputs = [\"more\"]\n";
    let job = Job::new(folder.path(), &format!("{}{second}", topology(rows)));
    stop_half_way(&job, &[]);
    Job::new(folder.path(), &topology(rows));
    job.run(&[]).expect(3).says(&["source \"more\" is gone", "--allow-unmapped"]);
    stop_half_way(&job, &["--allow-unmapped"]);
    // It is gone: nobody is asked again, and it may come back, with nothing.
    stop_half_way(&job, &[]);
    let job = Job::new(folder.path(), &format!("{}{}", topology(rows), second.replace("1000000", "10")));
    job.run(&FAST).expect(0).says(&["has finished"]);
    assert!(rows_of(&job) == golden(rows).0);
}
