//! A job that is killed right behind any one of the calls by which it changes its state directory or its sinks' folders
//! ends with the output of a run that nobody disturbed. Kills by chance rarely hit the few microseconds between a commit
//! and what follows from it; this goes through all of them, one after the other.
//!
//! `strace` holds the process behind each call for a moment, in which it is killed; without it there is nothing to do.
//! `PITON_ROUNDS=1000 cargo test --test survives_kill_at_any_call` kills behind all calls and not only at some.

#[path = "support/binary/mod.rs"]
mod binary;

use std::io::{BufRead as _, BufReader};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use binary::chaos::{rng, rounds};
use binary::folder::Folder;
use binary::generate::{Row, Totals, add, read_rows, read_totals, row};
use binary::process::{Job, count};
use binary::told;
use binary::tree::{copy, scratch};
use rand::RngExt as _;

const ROWS: u64 = 400;
const KEYS: u64 = 300;
const FAST: [&str; 2] = ["--set", "sources.numbers.rate=1000000000/s"];

/// What changes a folder or a file in it; of those that open files, the ones that may make one. Some machines do not have
/// those with a question mark.
const CALLS: &str = "write,pwrite64,writev,pwritev,fsync,fdatasync,sync_file_range,?rename,?renameat,renameat2,ftruncate,\
                     fallocate,?unlink,unlinkat,?rmdir,?mkdir,mkdirat,?link,linkat,?open,openat";

fn topology(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        r#"
        [job]
        name = "small"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "60ms"
        retain = 1
        [store]
        path = "{folder}/state"
        [sources.numbers]
        type = "generate"
        rows = {ROWS}
        keys = {KEYS}
        rate = "1000/s"
        [sinks.rows]
        type = "csv"
        inputs = ["numbers"]
        path = "{folder}/out/rows"
        [operators.counted]
        type = "aggregate"
        inputs = ["numbers"]
        parallelism = 2
        by = ["key"]
        columns = ["count(*) AS n", "sum(value) AS total"]
        [sinks.counts]
        type = "csv"
        inputs = ["counted"]
        path = "{folder}/out/counts"
        "#
    )
}

/// Returns whether a line of `strace` is a call that has changed something of the job's own.
fn is_change(line: &str, job: &Job) -> bool {
    let is_own = ["state", "out"].iter().any(|folder| line.contains(job.path(folder).to_str().unwrap()));
    let opens = line.contains(" open(") || line.contains(" openat(");
    is_own && (!opens || line.contains("O_CREAT")) && !line.contains(" = -1 ") && !line.contains(" resumed>")
}

/// How a run under `strace` went.
struct Traced {
    /// How many of the calls there were.
    calls: u64,
    /// The one behind which it was killed, if it did not come to its end before.
    killed_behind: Option<String>,
}

/// Runs a job and kills it behind its so manieth call.
fn run_to(job: &Job, more: &[&str], last: u64) -> Traced {
    let mut strace = Command::new("strace");
    // It is the process itself that is started so, and not its tracer: `-D`.
    strace.args(["-D", "-f", "-qq", "-y", "-s", "0", "-o", "/dev/stdout", "-e", "signal=none"]);
    strace.arg(format!("--trace={CALLS}")).arg(format!("--inject={CALLS}:delay_exit=2000"));
    let run = job.command(more);
    strace.arg(run.get_program()).args(run.get_args());
    strace.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = strace.spawn().unwrap();
    let mut traced = Traced { calls: 0, killed_behind: None };
    for line in BufReader::new(child.stdout.take().unwrap()).split(b'\n') {
        let line = String::from_utf8_lossy(&line.unwrap()).into_owned();
        if traced.killed_behind.is_none() && is_change(&line, job) {
            traced.calls += 1;
            if traced.calls == last {
                child.kill().unwrap();
                traced.killed_behind = Some(line);
            }
        }
    }
    let ended = child.wait().unwrap();
    match &traced.killed_behind {
        Some(call) => assert_eq!(ended.signal(), Some(9), "it outlived call {last}, {call}: {ended}"),
        None => assert!(ended.success(), "it has ended by itself: {ended}"),
    }
    traced
}

/// Returns what both sinks hold, after a look at each file.
fn output(job: &Job) -> (Vec<Row>, Totals) {
    let mut rows = Vec::new();
    for (_, text) in Folder::new(job.path("out/rows"), "rows").look() {
        rows.extend(read_rows(&text).into_iter().map(|(row, _)| row));
    }
    let mut totals = Totals::new();
    for (place, text) in Folder::new(job.path("out/counts"), "counts").look() {
        for (key, (n, total)) in read_totals(&text) {
            let before = totals.insert(key, (n, total)).map_or(0, |(before, _)| before);
            assert!(n > before, "{place:?}: {n} of key {key} after {before}");
        }
    }
    (rows, totals)
}

/// Kills a job that `make` makes behind its calls, each time another, and lets it go on. Returns how many points there
/// were.
fn kill_behind_calls(test: &str, make: impl Fn(&Path) -> Job, more: &[&str]) -> u64 {
    let golden: Vec<Row> = (0..ROWS).map(|id| row(0, KEYS, id)).collect();
    let mut golden_totals = Totals::new();
    golden.iter().for_each(|row| add(&mut golden_totals, *row));

    let folder = scratch();
    let whole = make(&folder.path().join("whole"));
    let calls = run_to(&whole, more, u64::MAX).calls;
    assert_eq!(output(&whole), (golden.clone(), golden_totals.clone()));
    let commits = count(&whole.events(), "committed", "numbers");
    assert!(commits > 1, "{commits} commits in {calls} calls: there is little to disturb");

    // How many calls there are is up to the clock: near the end, some runs are over before theirs comes.
    let stride = calls.div_ceil(rounds(12)).max(1);
    let mut call = rng(test).random_range(1..=stride);
    let (mut points, mut missed) = (0, 0);
    while missed < 3 && call < calls * 2 {
        let job = make(&folder.path().join(format!("call-{call}")));
        match run_to(&job, more, call).killed_behind {
            Some(line) => {
                let context = format!("call {call}, {line}");
                let (visible, _) = output(&job);
                assert_eq!(visible, golden[..visible.len()], "{context}: what is visible is no prefix");
                job.run(&FAST).expect(0);
                let (rows, totals) = output(&job);
                assert!(rows == golden, "{context}: {} rows instead of {ROWS}, each once", rows.len());
                assert!(totals == golden_totals, "{context}: the counts are not what was to be counted");
                told::check(&job.events());
                points += 1;
            }
            None => missed += 1,
        }
        std::fs::remove_dir_all(job.path("")).unwrap();
        call += stride;
    }
    println!("{test}: {points} kills, of {calls} calls and {commits} commits in a run that is left alone");
    points
}

/// Returns whether there is a `strace` that may trace; says so if not.
fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).stderr(Stdio::null()).status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        println!("skipped: there is no `strace` here, or it may not trace");
    }
    can
}

#[test]
fn a_kill_behind_any_call_changes_nothing() {
    if can_trace() {
        let points = kill_behind_calls("any_call", |place| Job::new(place, &topology(place)), &[]);
        assert!(points > 5, "{points} points");
    }
}

#[test]
fn nor_does_one_behind_any_call_of_the_life_after() {
    if !can_trace() {
        return;
    }
    // A life that was killed half way, with outputs that are prepared and not yet published.
    let folder = scratch();
    let killed = Job::new(folder.path(), &topology(folder.path()));
    let traced = run_to(&killed, &[], 90);
    assert!(traced.killed_behind.is_some(), "only {} calls", traced.calls);
    let make = |place: &Path| {
        let job = Job::new(place, &topology(place));
        copy(&killed.path("state"), &job.path("state"));
        copy(&killed.path("out"), &job.path("out"));
        job
    };
    let points = kill_behind_calls("any_call_after_a_kill", make, &FAST);
    assert!(points > 5, "{points} points");
}
