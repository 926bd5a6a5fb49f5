//! Aggregates in time windows, told by a topology file, give what a plain loop over the same rows gives: whatever the
//! parallelism, and whatever fails meanwhile.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::collections::BTreeMap;
use std::fs;

use binary::folder::Folder;
use binary::generate::row;
use binary::process::Job;
use binary::tree::scratch;

const ROWS: u64 = 4_000;
const KEYS: u64 = 7;
/// Milliseconds from one row to the next.
const STEP: i64 = 10;

/// Key, beginning and end of a window, with count and total of its rows.
type Windows = BTreeMap<(u64, i64, i64), (u64, u64)>;

fn topology(window: &str, parallelism: u32) -> String {
    format!(
        r#"
        [job]
        name = "windowed"
        [window]
        interval = "10ms"
        [checkpoint]
        interval = "30ms"
        [recovery]
        initial_backoff = "5ms"
        [store]
        path = "state"
        [sources.numbers]
        type = "generate"
        rows = {ROWS}
        keys = {KEYS}
        step = {STEP}
        rate = "20000/s"
        event_time = "time"
        parallelism = {parallelism}
        [operators.shaky]
        type = "fail"
        inputs = ["numbers"]
        parallelism = {parallelism}
        where = "id % 1500 = 1200"
        [operators.windows]
        type = "aggregate"
        inputs = ["shaky"]
        parallelism = {parallelism}
        by = ["key"]
        window = {window}
        columns = ["CAST(window_start AS BIGINT) AS from_ms", "CAST(window_end AS BIGINT) AS to_ms", "count(*) AS n",
                   "sum(value) AS total"]
        [operators.after]
        type = "fail"
        inputs = ["windows"]
        parallelism = {parallelism}
        where = "key = 3 AND from_ms % 7000 = 1000"
        [sinks.results]
        type = "csv"
        inputs = ["after"]
        path = "out/results"
        "#
    )
}

/// Reads what came out; every window of a key comes out once.
fn results(job: &Job) -> Windows {
    let mut windows = Windows::new();
    for (_, text) in Folder::new(job.path("out/results"), "results").look() {
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("key,window_start,window_end,from_ms,to_ms,n,total"));
        for line in lines {
            let cells: Vec<&str> = line.split(',').collect();
            let number = |cell: usize| cells[cell].parse::<i64>().unwrap();
            let window = (number(0) as u64, number(3), number(4));
            let before = windows.insert(window, (number(5) as u64, number(6) as u64));
            assert_eq!(before, None, "{line} comes a second time");
        }
    }
    windows
}

/// Returns the windows of a size that begin every so often.
fn sliding(size: i64, every: i64) -> Windows {
    let mut windows = Windows::new();
    for id in 0..ROWS {
        let (row, time) = (row(0, KEYS, id), id as i64 * STEP);
        for start in (time - size + 1..=time).filter(|start| start.rem_euclid(every) == 0) {
            let (count, total) = windows.entry((row.key, start, start + size)).or_default();
            *count += 1;
            *total += row.value;
        }
    }
    windows
}

fn sessions(gap: i64) -> Windows {
    let mut windows = Windows::new();
    for key in 0..KEYS {
        let mut open: Option<(i64, i64, u64, u64)> = None;
        for id in 0..ROWS {
            let (row, time) = (row(0, KEYS, id), id as i64 * STEP);
            if row.key != key {
                continue;
            }
            open = match open {
                Some((start, end, count, total)) if time < end => {
                    Some((start, time + gap, count + 1, total + row.value))
                }
                done => {
                    windows.extend(done.map(|(start, end, count, total)| ((key, start, end), (count, total))));
                    Some((time, time + gap, 1, row.value))
                }
            };
        }
        windows.extend(open.map(|(start, end, count, total)| ((key, start, end), (count, total))));
    }
    windows
}

fn gives(window: &str, expected: &Windows) {
    assert!(expected.len() > 50, "{window}: only {} windows", expected.len());
    for (parallelism, scope) in [(1, "batch"), (4, "operator"), (4, "region")] {
        let folder = scratch();
        let job = Job::new(folder.path(), &topology(window, parallelism));
        let scope = format!("recovery.scope=\"{scope}\"");
        job.run(&["--set", &scope]).expect(0).says(&["has finished"]);
        assert!(results(&job) == *expected, "{window}, parallelism {parallelism}, {scope}");
        let restarts = job.events().iter().filter(|event| event["event"] == "restarted").count();
        assert!(restarts > 0, "nothing has failed");
    }
}

#[test]
fn tumbling_windows_are_those_of_a_plain_loop() {
    gives("\"500ms\"", &sliding(500, 500));
}

#[test]
fn sliding_windows_are_those_of_a_plain_loop() {
    gives("{ sliding = \"1s\", every = \"150ms\" }", &sliding(1000, 150));
}

#[test]
fn session_windows_are_those_of_a_plain_loop() {
    gives("{ session = \"120ms\" }", &sessions(120));
}

/// Whether a row is late depends on how far the watermark is: each row counts in a window or leaves by `late`.
#[test]
fn late_rows_leave_by_a_side_output() {
    for scope in ["batch", "operator", "region"] {
        let folder = scratch();
        // Every fiftieth row is an hour behind.
        let rows: String = (0..4_000)
            .map(|n: i64| format!("{n},{}\n", if n % 50 == 49 { n * 10 } else { 3_600_000 + n * 10 }))
            .collect();
        fs::write(folder.path().join("rows.csv"), format!("n,at\n{rows}")).unwrap();
        let toml = r#"
            [job]
            name = "late"
            [window]
            interval = "10ms"
            [checkpoint]
            interval = "30ms"
            [mailbox]
            batch = 32
            [store]
            path = "state"
            [sources.rows]
            type = "csv"
            path = "rows.csv"
            event_time = "at"
            rate = "20000/s"
            parallelism = 1
            [operators.windows]
            type = "aggregate"
            inputs = ["rows"]
            parallelism = 2
            window = "1s"
            columns = ["count(*) AS n"]
            [operators.shaky]
            type = "fail"
            inputs = ["windows.late"]
            where = "n % 1000 = 999"
            [sinks.results]
            type = "csv"
            inputs = ["windows"]
            path = "out/results"
            [sinks.late]
            type = "csv"
            inputs = ["shaky"]
            path = "out/late"
            "#;
        let job = Job::new(folder.path(), toml);
        job.run(&["--set", &format!("recovery.scope=\"{scope}\"")]).expect(0).says(&["has finished"]);
        let read = |name: &str| {
            let files = Folder::new(job.path(&format!("out/{name}")), name).look().into_iter();
            let lines = files.flat_map(|(_, text)| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>());
            lines.collect::<Vec<String>>()
        };
        let late: Vec<i64> = read("late").iter().map(|line| line.split(',').next().unwrap().parse().unwrap()).collect();
        assert!(late.iter().all(|n| n % 50 == 49), "{scope}: {late:?}");
        assert!(late.len() > 40, "{scope}: {} rows were late", late.len());
        let mut once = late.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), late.len(), "{scope}: a row is late once");
        let counted: usize =
            read("results").iter().map(|line| line.rsplit(',').next().unwrap().parse::<usize>().unwrap()).sum();
        assert_eq!(counted + late.len(), 4_000, "{scope}");
    }
}

#[test]
fn mistakes_are_told_with_their_places() {
    let folder = scratch();
    let job = Job::new(folder.path(), &topology("{ sliding = \"1s\", every = \"2s\" }", 1));
    job.run(&[]).expect(2).says(&["job.toml:", "leave records between them out"]);
    let without = topology("\"1s\"", 1).replace("event_time = \"time\"", "");
    let job = Job::new(folder.path(), &without);
    job.run(&[]).expect(2).says(&["job.toml:", "`window` goes by event time", "set `event_time` there"]);
}
