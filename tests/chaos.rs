//! `piton chaos` breaks a real run in every way it knows, and the run holds; what it cannot compare it refuses; and it
//! touches nothing of the user's.
//!
//! That it finds what does not hold is another test: `chaos_finds_mistakes.rs`.

#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use binary::process::{Ended, Job, Life, pause, piton};
use binary::tree;
use serde_json::Value;

/// Counts and sums up by key, in two subtasks, and writes rows beside that; slowed down by nobody but by chaos.
const COUNTS: &str = r#"
[job]
name = "counts"
[checkpoint]
interval = "200ms"
[recovery]
hang_timeout = "400ms"
initial_backoff = "50ms"
max_backoff = "200ms"

[sources.numbers]
type = "generate"
rows = 30000
keys = 50

[operators.odd]
type = "filter"
inputs = ["numbers"]
where = "value % 2 = 1"

[operators.totals]
type = "aggregate"
inputs = ["odd"]
parallelism = 2
by = ["key"]
columns = ["count(*) AS n", "avg(value / 7.0) AS mean"]

[operators.named]
type = "select"
inputs = ["totals"]
columns = ["key AS number", "n", "mean"]

[sinks.last]
type = "csv"
inputs = ["named"]
path = "out/last"

[sinks.all]
type = "ndjson"
inputs = ["odd"]
path = "out/all"

[chaos]
settle = "2s"
max_concurrent_faults = 3
"#;

/// A job, and the folder in which chaos works.
struct Case {
    _root: tempfile::TempDir,
    job: Job,
}

impl Case {
    fn new(topology: &str) -> Case {
        let root = tree::scratch();
        let job = Job::new(&root.path().join("job"), topology);
        std::fs::create_dir(job.path("tmp")).unwrap();
        Case { _root: root, job }
    }

    fn start(&self, arguments: &[&str]) -> Life {
        let mut command = Command::new(piton());
        command.arg("chaos").arg("job.toml").args(arguments).env("TMPDIR", self.job.path("tmp"));
        self.job.spawn(command)
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).wait()
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.job.path(name), text).unwrap();
    }

    fn report(&self, name: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.job.path(name)).unwrap()).unwrap()
    }

    /// Returns what chaos has left in its folder.
    fn left(&self) -> usize {
        std::fs::read_dir(self.job.path("tmp")).unwrap().count()
    }
}

/// Returns what became of the faults of each kind: how many were effective, and how many recovered.
fn kinds(report: &Value) -> Vec<(String, u64, u64)> {
    let kinds = report["kinds"].as_array().unwrap().iter();
    let number = |kind: &Value, name: &str| kind[name].as_u64().unwrap();
    kinds
        .map(|kind| (kind["kind"].as_str().unwrap().into(), number(kind, "effective"), number(kind, "recovered")))
        .collect()
}

#[test]
fn a_job_outlives_every_kind_of_fault() {
    let mut plan = "job = \"counts\"\nseed = 7\nduration = \"12s\"\nsettle = \"2s\"\n".to_string();
    let faults = [
        "kind = \"panic\"\noperator = \"totals\"\nsubtask = 1\npoint = \"process\"\nmoment = \"midway\"",
        "kind = \"fail\"\noperator = \"odd\"\npoint = \"before_checkpoint\"",
        "kind = \"slow\"\noperator = \"totals\"\nsubtask = 0\npoint = \"process\"\nlasts = \"500ms\"",
        "kind = \"kill_actor\"\noperator = \"named\"\nsubtask = 0",
        "kind = \"drop_ack\"\noperator = \"totals\"\nsubtask = 0",
        "kind = \"process_kill9\"",
        "kind = \"hang\"\noperator = \"last\"\nsubtask = 0\npoint = \"write\"\nlasts = \"2s\"",
        "kind = \"dup_commit\"\noperator = \"numbers\"\nsubtask = 0",
        "kind = \"process_pause\"\nlasts = \"700ms\"",
        "kind = \"store_slow\"\nlasts = \"500ms\"",
        "kind = \"store_enospc\"\nlasts = \"500ms\"",
        "kind = \"kill_supervisor\"",
        "kind = \"store_eio\"\ntimes = 1",
        "kind = \"bitflip\"",
    ];
    for (number, fault) in (1..).zip(faults) {
        plan.push_str(&format!("[[fault]]\nnumber = {number}\nat = \"{}ms\"\n{fault}\n", 600 * number));
    }
    let case = Case::new(COUNTS);
    case.write("plan.toml", &plan);
    let ended = case.run(&["--plan", "plan.toml", "--report", "report.json"]);
    let ended = ended.expect(0);
    assert!(ended.stdout.contains("VERDICT      PASS"), "{}", ended.stdout);
    let report = case.report("report.json");
    for (kind, effective, recovered) in kinds(&report) {
        assert_eq!((effective, recovered), (1, 1), "{kind}: {}", ended.stdout);
    }
    assert_eq!(report["kinds"].as_array().unwrap().len(), faults.len());
    let sink =
        |name: &str| report["sinks"].as_array().unwrap().iter().find(|sink| sink["name"] == name).cloned().unwrap();
    assert!(sink("last")["compared"].as_str().unwrap().contains("last row of each number"), "{}", sink("last"));
    assert!(sink("all")["compared"].as_str().unwrap().contains("as rows"), "{}", sink("all"));
    assert_eq!((&sink("last")["golden"], &sink("last")["committed"]), (&50.into(), &50.into()));
    assert_eq!(report["state"]["keys"], 50);
    assert!(report["lives"].as_array().unwrap().len() >= 4, "{}", ended.stdout);
    // Nothing of it is left, and the job itself has never run.
    assert_eq!(case.left(), 0);
    assert!(!case.job.path(".piton").exists() && !case.job.path("out").exists());
}

#[test]
fn a_seed_is_a_plan_and_a_report_plays_it_again() {
    let case = Case::new(COUNTS);
    let chaos = ["--duration", "4s", "--set", "chaos.warmup=300ms", "--set", "chaos.mean_interval=250ms"];
    let first = case.run(&[&["--seed", "11", "--report", "first.json"][..], &chaos].concat()).expect(0);
    let second = case.run(&["--plan", "first.json", "--report", "second.json"]).expect(0);
    let (plan, again) = (&case.report("first.json")["plan"], &case.report("second.json")["plan"]);
    assert_eq!(plan, again);
    assert!(plan["fault"].as_array().unwrap().len() >= 5, "{}", first.stdout);
    assert!(first.stdout.contains("chaos job.toml --plan first.json"), "{}", first.stdout);
    assert!(second.stderr.contains("from first.json"), "{}", second.stderr);
    let page = case.run(&[&["--seed", "11", "--report", "page.html"][..], &chaos].concat()).expect(0);
    let html = std::fs::read_to_string(case.job.path("page.html")).unwrap();
    assert!(html.contains("<svg") && html.contains("PASS") && !html.contains("http"), "{}", page.stdout);
    assert!(page.stdout.contains("--seed 11 --duration 4s"), "{}", page.stdout);
}

#[test]
fn a_fault_at_an_exact_point_happens_there() {
    let at = |point: &str, action: &str, on: &str| {
        format!("[[chaos.at]]\noperator = \"totals[1]\"\npoint = \"{point}\"\naction = \"{action}\"\non = \"{on}\"\n")
    };
    let never = at("restore", "panic", "nth(90)");
    // Without weights there is nothing but these; the process is killed within the snapshot of a checkpoint.
    let topology = format!(
        "{COUNTS}duration = \"3s\"\n{}{}{}{never}[chaos.weights]\npanic = 0\nhang = 0\nslow = 0\nkill_actor = 0\nkill_supervisor = 0\n\
         process_kill9 = 0\nprocess_pause = 0\ndrop_ack = 0\ndup_commit = 0\nstore_eio = 0\nstore_enospc = 0\nstore_slow = 0\n",
        at("process", "panic", "nth(3)"),
        at("cut", "process_kill9", "nth(3)"),
        at("restore", "fail", "nth(1)"),
    );
    let case = Case::new(&topology);
    let ended =
        case.run(&["--seed", "1", "--report", "report.json", "--set", "sources.numbers.rate=20000/s"]).expect(0);
    let report = case.report("report.json");
    let faults = report["faults"].as_array().unwrap();
    assert_eq!(faults.len(), 4);
    for fault in &faults[..3] {
        assert!(fault["struck_ms"].is_u64() && fault["whom"] == "totals[1]", "{fault}\n{}", ended.stdout);
    }
    let why = "fault 4 (panic of totals[1] at \"restore\") did not happen: no process made that call 90 times";
    assert!(ended.stdout.contains(why), "{}", ended.stdout);
    assert_eq!(report["lives"].as_array().unwrap().len(), 2, "{}", ended.stdout);
}

#[test]
fn regions_that_nothing_has_hit_are_not_restarted() {
    let other = "[sources.more]\ntype = \"generate\"\nrows = 30000\n[sinks.copy]\ntype = \"csv\"\ninputs = [\"more\"]\n\
                 path = \"out/copy\"\n";
    let case = Case::new(&COUNTS.replace("[chaos]", &format!("{other}[chaos]\ntargets = [\"totals\", \"odd\"]")));
    let weights = ["process_kill9", "process_pause", "kill_supervisor", "store_eio", "store_enospc", "store_slow"];
    let weights: Vec<String> = weights.iter().map(|kind| format!("chaos.weights.{kind}=0")).collect();
    let mut arguments =
        vec!["--seed", "3", "--duration", "4s", "--report", "report.json", "--set", "chaos.warmup=200ms"];
    arguments.extend(["--set", "chaos.mean_interval=200ms"]);
    arguments.extend(weights.iter().flat_map(|weight| ["--set", weight]));
    let ended = case.run(&arguments).expect(0);
    let report = case.report("report.json");
    let region =
        |name: &str| report["regions"].as_array().unwrap().iter().find(|of| of["name"] == name).cloned().unwrap();
    assert!(
        region("numbers")["hit"].as_u64() >= Some(3) && region("numbers")["restarts"].as_u64() >= Some(1),
        "{}",
        ended.stdout
    );
    assert_eq!((&region("more")["hit"], &region("more")["restarts"]), (&0.into(), &0.into()));
}

#[test]
fn what_fails_without_a_fault_is_not_put_down_to_faults() {
    let fail = "[operators.bad]\ntype = \"fail\"\ninputs = [\"numbers\"]\nwhere = \"id % 6000 = 77\"\n";
    let topology = COUNTS.replace("[operators.odd]", &format!("{fail}[operators.odd]"));
    // Whoever gets no processor for long is not hung.
    let topology = topology.replace("hang_timeout = \"400ms\"", "hang_timeout = \"20s\"");
    let topology = topology.replacen(
        "[operators.odd]\ntype = \"filter\"\ninputs = [\"numbers\"]",
        "[operators.odd]\ntype = \"filter\"\ninputs = [\"bad\"]",
        1,
    );
    let case = Case::new(&topology);
    // The first row that fails is read, and judged, long before the first fault.
    let late =
        ["--seed", "1", "--duration", "3500ms", "--set", "chaos.warmup=2500ms", "--set", "chaos.mean_interval=300ms"];
    let ended = case.run(&[&late[..], &["--report", "report.json"]].concat()).expect(0);
    let report = case.report("report.json");
    let region = &report["regions"][0];
    assert!(region["by_itself"].as_u64() >= Some(2), "{}", ended.stdout);
    assert_eq!((&region["unexplained"], &report["golden"]["restarts"]), (&0.into(), &5.into()), "{}", ended.stdout);
    assert!(ended.stdout.contains("by itself, without a fault to blame (5 without"), "{}", ended.stdout);
}

#[test]
fn windows_that_count_rows_twice_have_lost_nothing() {
    // Kills while a checkpoint waits for the slower of two sources: what the other one gave since is counted twice.
    let source =
        |name: &str| format!("[sources.{name}]\ntype = \"generate\"\nrows = 30000\nkeys = 5\nevent_time = \"time\"\n");
    let topology = format!(
        "[checkpoint]\nmode = \"at-least-once\"\ninterval = \"200ms\"\n[recovery]\nscope = \"region\"\n\
         initial_backoff = \"10ms\"\n{}{}[operators.sums]\ntype = \"aggregate\"\ninputs = [\"a\", \"b\"]\n\
         parallelism = 2\nby = [\"key\"]\ncolumns = [\"count(*) AS n\"]\nwindow = {{ tumbling = \"1s\" }}\n\
         [sinks.out]\ntype = \"csv\"\ninputs = [\"sums\"]\npath = \"out\"\n[chaos]\nsettle = \"1s\"\n",
        source("a"),
        source("b")
    );
    let mut plan = "job = \"job\"\nseed = 7\nduration = \"5s\"\nsettle = \"1s\"\n".to_string();
    for number in 1..=12 {
        plan.push_str(&format!("[[fault]]\nnumber = {number}\nat = \"{}ms\"\n", 350 * number));
        plan.push_str("kind = \"panic\"\noperator = \"sums\"\nsubtask = 1\npoint = \"process\"\nmoment = \"midway\"\n");
    }
    let case = Case::new(&topology);
    case.write("plan.toml", &plan);
    let ended = case.run(&["--plan", "plan.toml", "--report", "report.json"]).expect(0);
    let sink = &case.report("report.json")["sinks"][0];
    assert_eq!(sink["compared"], "by key, window_start, window_end, for loss only", "{}", ended.stdout);
    assert_eq!(sink["golden"], 150, "{}", ended.stdout);
    assert!(ended.stdout.contains("hypothesis   at-least-once"), "{}", ended.stdout);
}

/// Times that jump back by up to 20 s, which is ten times of what is waited for.
const LATE: &str = r#"
[checkpoint]
interval = "200ms"
[sources.rows]
type = "csv"
path = "rows.csv"
event_time = "at"
out_of_order = "2s"
[operators.sums]
type = "aggregate"
inputs = ["rows"]
by = ["k"]
window = "10s"
columns = ["count(*) AS n"]
[sinks.windows]
type = "csv"
inputs = ["sums"]
path = "out/windows"
[sinks.late]
type = "csv"
inputs = ["sums.late"]
path = "out/late"
[sinks.all]
type = "csv"
inputs = ["rows"]
path = "out/all"
[chaos]
settle = "1s"
warmup = "200ms"
mean_interval = "400ms"
"#;

#[test]
fn rows_that_come_late_or_not_by_the_pace_are_no_fault_of_the_engine() {
    let case = Case::new(LATE);
    let row = |id: i64| format!("{id},{},{}\n", 1_600_000_000_000 + id * 100 - id * 7_919 % 20_000, id % 7);
    case.write("rows.csv", &format!("id,at,k\n{}", (0..20_000).map(row).collect::<String>()));
    let ended = case.run(&["--seed", "3", "--duration", "3s", "--report", "report.json"]).expect(0);
    let report = case.report("report.json");
    let compared = |name: &str| {
        let sinks = report["sinks"].as_array().unwrap();
        sinks.iter().find(|sink| sink["name"] == name).unwrap()["compared"].as_str().unwrap().to_string()
    };
    for name in ["windows", "late"] {
        assert!(compared(name).starts_with("not compared: rows came late to \"sums\""), "{}", ended.stdout);
    }
    assert_eq!(compared("all"), "as rows, in any order");
    assert!(ended.stdout.contains("rows came late to \"sums\" ("), "{}", ended.stdout);
    assert!(ended.stdout.contains("more `out_of_order` of its sources"), "{}", ended.stdout);
    // With enough patience nothing is late, and everything is compared.
    let patient =
        ["--seed", "3", "--duration", "3s", "--report", "report.json", "--set", "sources.rows.out_of_order=30s"];
    let ended = case.run(&patient).expect(0);
    assert!(!ended.stdout.contains("not compared"), "{}", ended.stdout);
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_runs() {
    let refused = |topology: &str, arguments: &[&str], parts: &[&str]| {
        let case = Case::new(topology);
        case.write(
            "broken.toml",
            "[[fault]]\nnumber = 1\nkind = \"panic\"\noperator = \"toatls\"\npoint = \"process\"\n",
        );
        let other = "seed = 1\nduration = \"2s\"\nsettle = \"1s\"\n[[fault]]\nnumber = 1\nkind = \"process_kill9\"\nat = \"5s\"\n";
        case.write("late.toml", &format!("job = \"counts\"\n{other}"));
        case.write("other.toml", &format!("job = \"other\"\n{other}"));
        case.run(arguments).expect(2).says(parts);
        assert_eq!(case.left(), 0, "{arguments:?}");
    };
    let endless = COUNTS.replace("rows = 30000\n", "");
    refused(&endless, &[], &["source \"numbers\" (generate) never ends", "--set sources.numbers.rows=100000"]);
    let stdin = COUNTS.replace("type = \"generate\"\nrows = 30000\nkeys = 50", "type = \"lines\"\npath = \"-\"");
    let stdin = stdin.replace("value % 2 = 1", "line <> ''").replace("by = [\"key\"]", "by = [\"line\"]");
    let stdin = stdin.replace("avg(value / 7.0)", "max(line)").replace("key AS number", "line AS number");
    refused(&stdin, &[], &["source \"numbers\" (lines) cannot be read twice"]);
    refused(COUNTS, &["--seed", "1", "--plan", "x.toml"], &["--plan"]);
    refused(COUNTS, &["--plan", "no.toml"], &["cannot read \"no.toml\""]);
    refused(COUNTS, &["--plan", "broken.toml"], &["holds no plan"]);
    refused(COUNTS, &["--report", "report.txt"], &["write FILE.json or FILE.html"]);
    refused(COUNTS, &["--duration", "60"], &["60s"]);
    refused(COUNTS, &["--report", "none/report.json"], &["\"none/report.json\" cannot be written"]);
    refused(COUNTS, &["--seed", "1", "--duration", "2s"], &["no fault falls within 2s", "3s", "chaos.warmup"]);
    refused(COUNTS, &["--plan", "late.toml"], &["no fault can happen within 2s", "due after 5s"]);
    refused(COUNTS, &["--plan", "other.toml"], &["drawn for the job \"other\", and this one is \"counts\""]);
    refused(&format!("{COUNTS}targets = [\"nobody\"]\n"), &[], &["chaos.targets names nobody"]);
    refused(COUNTS, &["--duration", "0s"], &["--duration 0s: no fault can happen in no time"]);
    let at = "[[chaos.at]]\noperator = \"toatls\"\npoint = \"process\"\naction = \"panic\"\n";
    refused(&format!("{COUNTS}{at}"), &[], &["there is no \"toatls\""]);
    refused(
        &format!("{COUNTS}{}", at.replace("\"panic\"", "\"dance\"")),
        &[],
        &["\"dance\" is not one of the choices"],
    );
    refused(&format!("{COUNTS}[chaos.expect.sinks]\nlsat = \"rows\"\n"), &[], &["did you mean \"last\"?"]);
}

#[test]
fn a_run_without_any_fault_is_no_verdict() {
    let case = Case::new(COUNTS);
    let hasty = ["--seed", "1", "--duration", "30s", "--set", "sources.numbers.rate=1000000/s"];
    case.run(&hasty).expect(2).says(&["no fault has happened", "sources.numbers.rate="]);
    assert_eq!(case.left(), 0);
}

#[test]
fn what_was_expected_and_is_not_so_fails() {
    let case = Case::new(COUNTS);
    let expect = [
        "chaos.expect.max_rss=1MiB",
        "chaos.expect.recovery_p99=0ms",
        "chaos.warmup=200ms",
        "chaos.mean_interval=150ms",
    ];
    let mut arguments = vec!["--seed", "5", "--duration", "3s", "--report", "report.json"];
    arguments.extend(expect.iter().flat_map(|set| ["--set", set]));
    let ended = case.run(&arguments).expect(1);
    for part in ["VERDICT      FAIL", "memory <= 1MiB: it was", "recovery p99 <= 0s: it was"] {
        assert!(ended.stdout.contains(part), "{part}\n{}", ended.stdout);
    }
    assert_eq!(case.report("report.json")["broken"].as_array().unwrap().len(), 0, "{}", ended.stdout);
    assert_eq!(case.left(), 1, "{}", ended.stdout);
}

#[test]
fn whoever_stops_it_finds_nothing_left() {
    let case = Case::new(COUNTS);
    let mut life = case.start(&["--seed", "1", "--duration", "60s"]);
    let broken = |case: &Case| {
        let folders = std::fs::read_dir(case.job.path("tmp")).unwrap();
        folders.flatten().any(|folder| folder.path().join("chaos/events.ndjson").exists())
    };
    while !broken(&case) {
        assert!(life.is_alive(), "{}", life.said());
        pause(Duration::from_millis(20));
    }
    let pids = children(life.id());
    assert!(!pids.is_empty());
    life.signal("INT");
    let ended = life.wait().expect(130);
    for part in ["FAULT ", "checkpoints ", "it was stopped after", "VERDICT      NONE: it was stopped before the end"] {
        assert!(ended.stdout.contains(part), "{part}\n{}", ended.stdout);
    }
    assert_eq!(case.left(), 0);
    for pid in pids {
        assert!(!Path::new(&format!("/proc/{pid}")).exists(), "process {pid} is still there");
    }
}

/// Returns the processes that a process has started.
fn children(parent: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse() else { continue };
        let Ok(status) = std::fs::read_to_string(entry.path().join("status")) else { continue };
        if status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|of| of.trim() == parent.to_string())) {
            children.push(pid);
        }
    }
    children
}
