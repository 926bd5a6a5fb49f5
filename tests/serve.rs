//! Many jobs in one process: each begins, fails, stops and is upgraded for itself, and whatever becomes of the process, those
//! that were to run go on.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use binary::process::{Job, Life, now, pause, piton};
use serde_json::Value;

/// A job that fails at this row again and again; never, if there is no such row.
fn topology(stone: i64, more: &str) -> String {
    format!(
        r#"{more}
[checkpoint]
interval = "100ms"
[recovery]
strategy = "fixed-delay"
attempts = 3
delay = "100ms"
[sources.numbers]
type = "generate"
rows = 100000000
rate = "500/s"
[operators.stone]
type = "fail"
inputs = ["numbers"]
where = "id = {stone}"
times = 0
[sinks.rows]
type = "blackhole"
inputs = ["stone"]
"#
    )
}

fn named(name: &str) -> String {
    topology(-1, &format!("[job]\nname = \"{name}\""))
}

/// A process that serves the folder `jobs`.
struct Served {
    job: Job,
    life: Option<Life>,
    address: String,
    _folder: tempfile::TempDir,
}

impl Served {
    fn start(jobs: &[(&str, &str)]) -> Served {
        let folder = tempfile::tempdir().unwrap();
        let job = Job::new(folder.path(), "");
        fs::create_dir(job.path("jobs")).unwrap();
        let mut served = Served { job, life: None, address: String::new(), _folder: folder };
        jobs.iter().for_each(|(name, text)| served.write(name, text));
        served.run();
        served
    }

    fn write(&self, name: &str, text: &str) {
        let beside = self.job.path("jobs/.new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.job.path(&format!("jobs/{name}.toml"))).unwrap();
    }

    fn run(&mut self) {
        let mut command = Command::new(piton());
        command.args(["serve", "jobs", "--state", "state", "--http", "0", "--events", "events.ndjson"]);
        let mut life = self.job.spawn(command);
        let began = now();
        while !life.said().contains("metrics: http://") {
            assert!(life.is_alive() && began.elapsed() < Duration::from_secs(60), "{}", life.said());
            pause(Duration::from_millis(10));
        }
        let said = life.said();
        let (_, rest) = said.split_once("metrics: http://").unwrap();
        self.address = rest.split('/').next().unwrap().to_string();
        self.life = Some(life);
    }

    /// Waits until the events are as they are to be.
    fn wait_for(&mut self, what: &str, is_meant: impl Fn(&[Value]) -> bool) {
        self.job.wait_for(self.life.as_mut().unwrap(), what, is_meant);
    }

    /// Waits until a job has committed so many windows more.
    fn commits(&mut self, job: &str, more: usize) {
        let before = of(&self.job.events(), job, "committed");
        self.wait_for(&format!("commits of {job}"), |events| of(events, job, "committed") >= before + more);
    }

    fn send(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    fn status(&self, job: &str) -> Option<String> {
        let (_, said) = self.send("GET", "/api/jobs", "");
        let jobs = said["jobs"].as_array().unwrap().clone();
        Some(jobs.iter().find(|known| known["name"] == job)?["status"].as_str().unwrap().to_string())
    }

    fn becomes(&self, job: &str, status: &str) {
        let began = now();
        while self.status(job).as_deref() != Some(status) {
            let said = self.life.as_ref().unwrap().said();
            assert!(began.elapsed() < Duration::from_secs(60), "{job} is {:?}:\n{said}", self.status(job));
            pause(Duration::from_millis(20));
        }
    }

    /// Stops the process with SIGTERM.
    fn stop(&mut self) {
        let life = self.life.take().unwrap();
        life.signal("TERM");
        life.wait().expect(0);
    }

    fn kill(&mut self) {
        let life = self.life.take().unwrap();
        assert!(life.kill_after(Duration::ZERO).is_none());
    }
}

/// Returns how many events of a name there are of a job.
fn of(events: &[Value], job: &str, name: &str) -> usize {
    events.iter().filter(|event| event["job"] == job && event["event"] == name).count()
}

#[test]
fn a_job_that_fails_or_is_refused_disturbs_no_other() {
    let (good, bad) = (topology(-1, ""), topology(100, ""));
    let mut served = Served::start(&[("good", &good), ("bad", &bad), ("wrong", "[sources.a]\ntype = \"nope\"")]);
    served.wait_for("the end of the bad one", |events| of(events, "bad", "failed") == 1);
    served.commits("good", 3);
    served.becomes("bad", "FAILED");
    served.becomes("wrong", "FAILED");
    served.becomes("good", "RUNNING");
    let events = served.job.events();
    assert!(of(&events, "bad", "restarted") > 0, "its own restarts were tried");
    for name in ["restarted", "checkpoint_failed", "failed"] {
        assert_eq!(of(&events, "good", name), 0, "{name}");
    }
    served.stop();
}

#[test]
fn whatever_ends_the_process_the_jobs_go_on_with_the_next() {
    let mut served = Served::start(&[("file", &topology(-1, ""))]);
    assert_eq!(served.send("POST", "/api/jobs", &named("sent")).0, 200);
    for kill in [true, false] {
        served.commits("file", 2);
        served.commits("sent", 2);
        if kill {
            served.kill();
        } else {
            served.stop();
        }
        let before = served.job.events().len();
        served.run();
        served.wait_for("both", |events| {
            let went_on = |job: &str| {
                events[before..].iter().any(|event| {
                    let is_start = event["event"] == "started" && event["job"] == job;
                    is_start && event["resumed_from"]["numbers"].as_u64().is_some_and(|window| window > 0)
                })
            };
            went_on("file") && went_on("sent")
        });
    }
    served.stop();
}

#[test]
fn jobs_are_submitted_upgraded_stopped_and_deleted() {
    let mut served = Served::start(&[]);
    let submit = |served: &Served, text: &str| served.send("POST", "/api/jobs", text);
    assert_eq!(submit(&served, &named("a")).0, 200);
    assert_eq!(submit(&served, &named("a")).0, 409);
    for (text, says) in [
        ("", "the text of a topology file"),
        ("x", "submitted.toml:1"),
        (&topology(-1, ""), "needs a name"),
        (&named("../b"), "cannot be the name"),
        (&named("b").replace("type = \"blackhole\"", "type = \"csv\"\npath = \"../../b\""), "leads out"),
        (&named("b").replace("blackhole", "blackhoel"), "blackhoel"),
    ] {
        let (status, said) = submit(&served, text);
        assert!(status == 400 && said["error"].as_str().unwrap().contains(says), "{status} {said}");
    }
    assert!(!served.job.path("b").exists() && !served.job.path("state/b").exists());
    served.commits("a", 2);

    // Another rate is no other state; another source is.
    let upgrade = |served: &Served, text: &str| served.send("POST", "/api/jobs/a/upgrade", text);
    assert_eq!(upgrade(&served, &named("a").replace("500/s", "600/s")).0, 200);
    let (status, said) = upgrade(&served, &named("a").replace("numbers", "others"));
    assert!(status == 409 && said["error"].as_str().unwrap().contains("goes on as it was"), "{status} {said}");
    served.commits("a", 2);
    let kept = fs::read_to_string(served.job.path("state/a/job.toml")).unwrap();
    assert!(kept.contains("600/s") && kept.contains("numbers"), "{kept}");
    let (_, savepoints) = served.send("GET", "/api/jobs/a/savepoints", "");
    assert!(!savepoints["savepoints"].as_array().unwrap().is_empty(), "{savepoints}");

    assert_eq!(served.send("DELETE", "/api/jobs/a", "").0, 409, "it runs");
    assert_eq!(served.send("POST", "/api/jobs/a/stop", "").0, 200);
    served.becomes("a", "STOPPED");
    assert_eq!(served.send("DELETE", "/api/jobs/a", "").0, 200);
    assert_eq!(served.status("a"), None);
    assert!(!served.job.path("state/a").exists());
    served.stop();
}

#[test]
fn of_the_savepoints_before_upgrades_the_newest_are_kept_and_those_with_a_name() {
    let mut served = Served::start(&[]);
    let rate = |rate: u32| named("a").replace("500/s", &format!("{rate}/s"));
    assert_eq!(served.send("POST", "/api/jobs", &rate(500)).0, 200);
    served.commits("a", 1);
    assert_eq!(served.send("POST", "/api/jobs/a/savepoint", "{\"name\": \"mine\"}").0, 200);
    for more in 1..8 {
        let (status, said) = served.send("POST", "/api/jobs/a/upgrade", &rate(500 + more));
        assert_eq!(status, 200, "{said}");
    }
    let (_, said) = served.send("GET", "/api/jobs/a/savepoints", "");
    let names = said["savepoints"].as_array().unwrap().iter().map(|savepoint| savepoint["name"].as_str().unwrap());
    let (own, mine): (Vec<&str>, Vec<&str>) = names.partition(|name| name.starts_with("upgrade-"));
    assert_eq!((own.len(), &mine[..]), (5, &["mine"][..]), "{said}");
    served.stop();
}

#[test]
fn what_was_asked_last_is_what_becomes_of_a_job_that_is_asked_twice() {
    let mut served = Served::start(&[]);
    let (stop, cancel) = (("stop", "{\"savepoint\": \"last\"}"), ("cancel", ""));
    for (round, asked) in (0..8).zip([[stop, cancel], [cancel, stop]].into_iter().cycle()) {
        assert_eq!(served.send("POST", "/api/jobs", &named("a")).0, 200);
        served.commits("a", 1);
        let ask = |(what, body): (&str, &str)| served.send("POST", &format!("/api/jobs/a/{what}"), body);
        let [first, second] = std::thread::scope(|scope| {
            let first = scope.spawn(|| ask(asked[0]));
            pause(Duration::from_millis(round));
            let second = ask(asked[1]);
            [first.join().unwrap(), second]
        });
        // The job may be gone before the second comes, and a stop that is overtaken has made no savepoint.
        assert!([first.0, second.0].contains(&200), "{asked:?}: {first:?} {second:?}");
        // It does not come back with the next process.
        served.kill();
        served.run();
        let after = served.status("a").unwrap();
        assert!(["STOPPED", "CANCELED"].contains(&after.as_str()), "{after}: {asked:?}: {first:?} {second:?}");
        assert_eq!(served.send("DELETE", "/api/jobs/a", "").0, 200);
    }
    served.stop();
}

#[test]
fn what_a_job_that_has_ended_has_left_is_read_and_keeps_it_from_nothing() {
    let mut served = Served::start(&[]);
    assert_eq!(served.send("POST", "/api/jobs", &named("a")).0, 200);
    served.commits("a", 1);
    let read = |served: &Served, path: &str| served.send("GET", &format!("/api/jobs/a/{path}"), "");
    for path in ["savepoints", "deadletters", "state", "state/stone"] {
        assert_eq!(read(&served, path).0, 200, "{path}");
    }
    assert_eq!(served.send("POST", "/api/jobs/a/stop", "").0, 200);
    served.becomes("a", "STOPPED");
    let (status, said) = read(&served, "savepoints");
    assert!(status == 409 && said["error"].as_str().unwrap().contains("has ended (STOPPED)"), "{said}");
    let committed = served.job.events().iter().filter_map(|event| event["window"].as_u64()).max();
    let (status, left) = read(&served, "state");
    assert_eq!((status, left["checkpoints"][0]["window"].as_u64()), (200, committed), "{left}");
    assert_eq!(read(&served, "deadletters").1["letters"], serde_json::json!([]));
    let (status, left) = read(&served, "state/stone");
    assert_eq!((status, left["checkpoint"]["window"].as_u64()), (200, committed), "{left}");

    // It goes on, and is deleted, while others read without a pause.
    let done = AtomicBool::new(false);
    let reads = |served: &Served| {
        while !done.load(Ordering::SeqCst) {
            let (status, said) = read(served, "state");
            assert!([200, 404, 409, 503].contains(&status), "{status} {said}");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| reads(&served));
        for _ in 0..3 {
            assert_eq!(
                served.send("POST", "/api/jobs/a/upgrade", &named("a")),
                (200, serde_json::json!({"id": "a", "status": "RUNNING"}))
            );
            assert_eq!(served.send("POST", "/api/jobs/a/stop", "").0, 200);
            served.becomes("a", "STOPPED");
        }
        assert_eq!(served.send("DELETE", "/api/jobs/a", "").0, 200);
        assert!(!served.job.path("state/a").exists());
        done.store(true, Ordering::SeqCst);
    });
    served.stop();
}

#[test]
fn a_job_that_was_cancelled_without_a_trace_has_left_nothing() {
    let mut served = Served::start(&[]);
    let text = named("a").replace("[checkpoint]", "[checkpoint]\non_cancel = \"delete\"");
    assert_eq!(served.send("POST", "/api/jobs", &text).0, 200);
    served.commits("a", 1);
    assert_eq!(served.send("POST", "/api/jobs/a/cancel", "").0, 200);
    served.becomes("a", "CANCELED");
    let nothing = serde_json::json!({ "checkpoints": [], "operators": [] });
    assert_eq!(served.send("GET", "/api/jobs/a/state", ""), (200, nothing));
    served.stop();
}

#[test]
fn who_is_refused_has_changed_nothing_and_what_was_stopped_is_read_by_the_next_process() {
    let mut served = Served::start(&[]);
    let short = named("short").replace("rows = 100000000", "rows = 200");
    assert_eq!(served.send("POST", "/api/jobs", &short).0, 200);
    assert_eq!(served.send("POST", "/api/jobs", &named("long")).0, 200);
    served.becomes("short", "FINISHED");
    for path in ["stop", "cancel"] {
        assert_eq!(served.send("POST", &format!("/api/jobs/short/{path}"), "").0, 409);
    }
    served.commits("long", 1);
    assert_eq!(served.send("POST", "/api/jobs/long/stop", "").0, 200);
    served.becomes("long", "STOPPED");
    let left = served.send("GET", "/api/jobs/long/state", "");
    served.kill();
    served.run();
    served.becomes("short", "FINISHED");
    served.becomes("long", "STOPPED");
    let (status, said) = served.send("GET", "/api/jobs/long", "");
    assert_eq!((status, said["state"].as_str()), (200, Some("STOPPED")), "{said}");
    assert_eq!(served.send("GET", "/api/jobs/long/state", ""), left);
    let (status, said) = served.send("GET", "/api/jobs/long/checkpoints", "");
    assert!(status == 200 && said["counts"]["completed"].as_u64() > Some(0), "{said}");
    // It goes on from there.
    assert_eq!(served.send("POST", "/api/jobs/long/upgrade", &named("long")).0, 200);
    served.becomes("long", "RUNNING");
    served.commits("long", 1);
    served.stop();
}

#[test]
fn a_name_is_that_of_one_file_at_a_time() {
    let mut served = Served::start(&[("a", &named("x"))]);
    served.commits("x", 1);
    served.write("b", &named("x").replace("500/s", "400/s"));
    served.becomes("b.toml", "FAILED");
    let list = served.send("GET", "/api/jobs", "").1;
    assert!(list.to_string().contains("jobs/a.toml: give one of them another"), "{list}");
    // What is wrong with its text by now is told once, and not at every look.
    served.write("b", "[sources");
    served.becomes("b", "FAILED");
    served.commits("x", 25);
    let said = served.life.as_ref().unwrap().said();
    assert_eq!(said.matches("job \"b\" is refused").count(), 1, "{said}");
    served.write("b", &named("x").replace("500/s", "400/s"));
    served.becomes("b.toml", "FAILED");
    // Once it is alone, it is the same job, upgraded.
    fs::remove_file(served.job.path("jobs/a.toml")).unwrap();
    served.wait_for("the other one", |events| of(events, "x", "started") == 2);
    assert_eq!(served.status("b.toml"), None);
    served.commits("x", 1);
    // So is one whose file has another name now.
    fs::rename(served.job.path("jobs/b.toml"), served.job.path("jobs/c.toml")).unwrap();
    served.wait_for("the renamed one", |events| of(events, "x", "started") == 3);
    served.commits("x", 1);
    assert_eq!(served.status("x").as_deref(), Some("RUNNING"));
    served.stop();
}

#[test]
fn the_folder_says_which_jobs_run() {
    let mut served = Served::start(&[("a", &topology(-1, ""))]);
    served.commits("a", 1);
    served.write("b", &topology(-1, ""));
    served.commits("b", 1);
    // What is wrong with a file keeps nothing from going on.
    served.write("a", "[sources");
    served.commits("a", 10);
    served.write("a", &topology(-1, "").replace("500/s", "600/s"));
    served.wait_for("the upgrade", |events| of(events, "a", "started") == 2);
    served.commits("a", 1);
    fs::remove_file(served.job.path("jobs/b.toml")).unwrap();
    served.becomes("b", "STOPPED");
    assert_eq!(of(&served.job.events(), "b", "savepoint"), 1);
    served.stop();
}

#[test]
fn a_quarter_of_the_jobs_in_a_crash_loop_costs_the_others_no_checkpoint() {
    let many = 12;
    let texts: Vec<(String, String)> =
        (0..many).map(|number| (format!("j{number}"), topology(if number % 4 == 0 { 50 } else { -1 }, ""))).collect();
    let texts: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let mut served = Served::start(&texts);
    served.wait_for("the ends of the bad", |events| {
        (0..many / 4).all(|bad| of(events, &format!("j{}", bad * 4), "failed") == 1)
    });
    for number in (0..many).filter(|number| number % 4 != 0) {
        let name = format!("j{number}");
        served.commits(&name, 2);
        let events = served.job.events();
        assert_eq!(of(&events, &name, "checkpoint_failed") + of(&events, &name, "restarted"), 0, "{name}");
    }
    served.stop();
}
