//! A running job over HTTP: what it answers, whom it answers, and what it does when it is asked to.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;
#[path = "support/served.rs"]
mod served;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use binary::process::Job;
use serde_json::{Value, json};
use served::Served;

const TOPOLOGY: &str = r#"
[job]
name = "my job"
[checkpoint]
interval = "100ms"
[sources.numbers]
type = "generate"
rows = 100000000
rate = "2000/s"
keys = 50
[operators.shaky]
type = "fail"
inputs = ["numbers"]
where = "id = 300"
[operators.counted]
type = "aggregate"
inputs = ["shaky"]
parallelism = 2
by = ["key"]
columns = ["count(*) AS n"]
[sinks.counts]
type = "blackhole"
inputs = ["counted"]
[sources.ticks]
type = "generate"
rows = 100000000
rate = "100/s"
[sinks.ticks-out]
type = "blackhole"
inputs = ["ticks"]
"#;

#[test]
fn a_running_job_tells_what_it_does() {
    let served = Served::start(TOPOLOGY, &[]);
    let jobs = served.get("/api/jobs").json(200);
    assert_eq!(jobs["jobs"][0]["name"], "my job");
    assert_eq!((&jobs["jobs"][0]["status"], &jobs["jobs"][0]["tasks"]["total"]), (&json!("RUNNING"), &json!(4)));

    let job = served.get_until("/api/jobs/my%20job", |job| job["restarts"] == 1);
    assert_eq!((&job["jid"], &job["state"], &job["incarnation"]), (&json!("my job"), &json!("RUNNING"), &json!(1)));
    assert_eq!(job["incidents"][0]["event"], "restarted");
    assert!(job["incidents"][0]["timestamp"].as_i64().unwrap() <= job["now"].as_i64().unwrap());
    let vertices = job["vertices"].as_array().unwrap();
    let names: Vec<&str> = vertices.iter().map(|vertex| vertex["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["numbers -> shaky", "counted -> counts", "ticks -> ticks-out"], "{job}");
    assert_eq!((&vertices[0]["restarts"], &vertices[1]["restarts"]), (&json!(1), &json!(0)));
    let counted = served.get_until("/api/jobs/my%20job", |job| job["vertices"][1]["state-size"].as_u64() > Some(0));
    let counted = &counted["vertices"][1];
    assert_eq!((&counted["parallelism"], &counted["operators"]), (&json!(2), &json!(["counted", "counts"])));
    let subtasks = counted["subtasks"].as_array().unwrap();
    let sum = |of: &str| subtasks.iter().map(|subtask| subtask[of].as_u64().unwrap()).sum::<u64>();
    assert_eq!(
        (sum("read-records"), sum("write-records")),
        (counted["metrics"]["read-records"].as_u64().unwrap(), counted["metrics"]["write-records"].as_u64().unwrap())
    );
    assert!(sum("read-records") > 0 && subtasks[0]["mailbox"]["capacity"].as_u64() > Some(0), "{counted}");
    let share = |of: &str| subtasks[0][of].as_f64().unwrap();
    assert!((share("busy") + share("blocked") + share("idle") - 1.0).abs() < 0.01, "{counted}");
    let edge =
        &job["plan"]["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "counted").unwrap()["inputs"][0];
    assert_eq!(
        (&edge["id"], &edge["reads"], &edge["ship_strategy"]),
        (&json!("numbers"), &json!("shaky"), &json!("KEYED"))
    );

    let exceptions = served.get("/api/jobs/my%20job/exceptions").json(200);
    assert_eq!(exceptions["exceptionHistory"]["entries"][0]["exceptionName"], "panic");
    let metrics = served.get("/metrics");
    assert!(metrics.status == 200 && metrics.head.contains("text/plain; version=0.0.4"), "{metrics:?}");
    assert!(metrics.body.contains("piton_committed_window{region=\"numbers\",job_name=\"my job\"}"), "{metrics:?}");
    let page = served.get("/");
    assert!(page.status == 200 && page.head.contains("text/html") && page.body.contains("<title>"), "{page:?}");
    assert!(page.head.contains("content-security-policy: default-src 'self'"), "{page:?}");
}

#[test]
fn checkpoints_are_told_down_to_each_subtask() {
    let served = Served::start(TOPOLOGY, &[]);
    let path = "/api/jobs/my%20job/checkpoints";
    let said = served.get_until(path, |said| said["counts"]["completed"].as_u64() > Some(3));
    assert!(said["counts"]["total"].as_u64() >= said["counts"]["completed"].as_u64(), "{said}");
    for name in ["checkpointed_size", "state_size", "end_to_end_duration", "persisted_data"] {
        let of = |figure: &str| said["summary"][name][figure].as_u64().unwrap();
        assert!(of("min") <= of("p50") && of("p50") <= of("p99") && of("p99") <= of("max"), "{name}: {said}");
    }
    let of_region = |region: &str| {
        let history = said["history"].as_array().unwrap();
        let found = history.iter().find(|item| item["region"] == region && item["status"] == "COMPLETED");
        found.unwrap_or_else(|| panic!("no checkpoint of {region}: {said}")).clone()
    };
    let (numbers, ticks) = (of_region("numbers"), of_region("ticks"));
    assert_eq!((&numbers["num_subtasks"], &numbers["num_acknowledged_subtasks"]), (&json!(3), &json!(3)));
    assert_eq!(ticks["num_subtasks"], json!(1));
    assert!(numbers["verdict"].as_str().unwrap().contains(" ms"), "{numbers}");

    let id = &numbers["id"];
    let details = served.get(&format!("{path}/{id}?region=numbers")).json(200);
    assert_eq!((&details["id"], &details["region"]), (id, &json!("numbers")));
    assert_eq!(details["tasks"]["counted"]["num_acknowledged_subtasks"], 2);
    let operator = served.get(&format!("{path}/{id}/operators/counted")).json(200);
    assert_eq!((&operator["chain"], &operator["num_subtasks"]), (&json!("counted"), &json!(2)));
    for (index, subtask) in operator["subtasks"].as_array().unwrap().iter().enumerate() {
        assert_eq!((&subtask["index"], &subtask["status"]), (&json!(index), &json!("completed")), "{operator}");
        let of = |pointer: &str| {
            subtask.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {subtask}"))
        };
        let parts = ["/start_delay", "/alignment/duration", "/checkpoint/sync", "/checkpoint/async"].map(of);
        assert_eq!(parts.iter().sum::<u64>(), of("/end_to_end_duration"), "{subtask}");
    }
    // Both regions have a first one: which is meant has to be said.
    let ambiguous = served.get(&format!("{path}/1")).error(400);
    assert!(ambiguous.contains("?region=") && ambiguous.contains("numbers, ticks"), "{ambiguous}");
    let config = served.get(&format!("{path}/config")).json(200);
    assert_eq!(
        (&config["mode"], &config["interval"], &config["retained"]),
        (&json!("exactly_once"), &json!(100), &json!(3))
    );
    let nothing = served.get(&format!("{path}/4000000000")).error(404);
    assert!(nothing.contains("4000000000"), "{nothing}");
    assert!(served.get(&format!("{path}/{id}?region=nowhere")).error(404).contains("regions: \"numbers\", \"ticks\""));
    assert!(served.get(&format!("{path}/{id}/operators/nobody")).error(404).contains("\"nobody\""));
}

#[test]
fn what_makes_no_sense_is_answered_in_words() {
    let served = Served::start(TOPOLOGY, &[]);
    assert!(served.get("/nowhere").error(404).contains("/api/jobs"));
    assert!(served.get("/api/jobs/other").error(404).contains("jobs: \"my job\""));
    assert!(served.get("/../../etc/passwd").status == 404);
    let wrong = served.send("DELETE", "/api/jobs", &[], "");
    assert!(wrong.error(405).contains("GET") && wrong.head.contains("allow: get, head"), "{wrong:?}");
    let stop = served.get("/api/jobs/my%20job/stop");
    assert!(stop.status == 405 && stop.head.contains("allow: post"), "{stop:?}");
    let post = |path: &str, body: &str| served.send("POST", &format!("/api/jobs/my%20job/{path}"), &[], body);
    assert!(post("savepoint", "{\"nam\": \"a\"}").error(400).contains("nam"));
    assert!(post("stop", "now").error(400).contains("cannot be understood"));
    assert!(post("savepoint", "{\"name\": \"../../a\"}").error(400).contains("name of a savepoint"));
    assert!(post("savepoint", &" ".repeat(100_000)).error(413).contains("65536"));
    assert!(post("stop", "[]").error(400).contains("map"));
    assert!(post("stop", "\u{c}").error(400).contains("cannot be understood"));
    let head = served.send("HEAD", "/api/jobs", &[], "");
    assert_eq!((head.status, &*head.body), (200, ""));
    assert!(served.get("/api/jobs/my%20job?regoin=a").error(400).contains("\"regoin\" is not known"));
    assert!(served.get("/api/jobs/my%20job/checkpoints/+1").error(404).contains("nothing here"));
    let host = |host: &str| served.send("GET", "/api/jobs", &[&format!("Host: {host}")], "");
    assert!(host("127.0.0.1:18080@evil.com").error(400).contains("Host"));
    assert!(host("localhost:abc").error(400).contains("Host"));
}

#[test]
fn pages_of_other_sites_are_not_answered() {
    let served = Served::start(TOPOLOGY, &[]);
    let stop = |headers: &[&str]| served.send("POST", "/api/jobs/my%20job/stop", headers, "");
    assert!(stop(&["Origin: http://evil.example"]).error(403).contains("other sites"));
    assert!(stop(&["Sec-Fetch-Site: cross-site"]).error(403).contains("other sites"));
    assert!(stop(&["Host: evil.example"]).error(403).contains("localhost"));
    assert!(served.send("GET", "/api/jobs", &["Host: evil.example"], "").error(403).contains("localhost"));
    let own = format!("Origin: http://{}", served.address);
    assert_eq!(served.send("GET", "/api/jobs", &[&own, "Sec-Fetch-Site: same-origin"], "").status, 200);
}

#[test]
fn a_token_is_asked_for() {
    let served = Served::start(TOPOLOGY, &["--set", "http.token=\"open sesame\""]);
    let with = |path: &str, token: &str| served.send("GET", path, &[&format!("Authorization: Bearer {token}")], "");
    for path in ["/api/jobs", "/metrics", "/api/jobs/my%20job/checkpoints"] {
        let refused = served.get(path);
        assert!(refused.error(401).contains("http.token"), "{path}");
        assert!(refused.head.contains("www-authenticate: bearer"), "{refused:?}");
        assert_eq!(with(path, "open sesam").status, 401, "{path}");
        assert_eq!(with(path, "open sesame").status, 200, "{path}");
    }
    assert_eq!(served.send("POST", "/api/jobs/my%20job/cancel", &[], "").status, 401);
    assert_eq!(served.get("/").status, 200, "the page asks for it");
}

#[test]
fn off_loopback_a_token_is_needed_to_start() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job::new(folder.path(), TOPOLOGY);
    job.run(&["--http", "0.0.0.0:0"]).expect(2).says(&["0.0.0.0", "http.token"]);
    job.run(&["--http", "nowhere"]).expect(2).says(&["nowhere", "127.0.0.1:8080"]);
    job.run(&["--http", "0.0.0.0:0", "--set", "http.token=\" \""]).expect(2).says(&["nobody can send this token"]);
    assert!(!job.path(".piton").exists());
}

#[test]
fn nobody_waits_for_what_is_not_read() {
    let served = Served::start(TOPOLOGY, &["--set", "http.token=\"secret\""]);
    let head = |rest: &str| {
        let mut stream = TcpStream::connect(&served.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.write_all(format!("{rest}\r\nHost: {}\r\n", served.address).as_bytes()).unwrap();
        stream
    };
    for (line, more, status) in [
        ("CONNECT / HTTP/1.1", "\r\n", "401"),
        ("GET /api/jobs HTTP/1.1", "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "401"),
        ("POST /api/jobs/my%20job/stop HTTP/1.1", "Content-Length: 100\r\n\r\n{", "401"),
        (
            "POST /api/jobs/my%20job/stop HTTP/1.1",
            "Authorization: Bearer secret\r\nContent-Length: 100\r\n\r\n{",
            "408",
        ),
    ] {
        let mut stream = head(line);
        stream.write_all(more.as_bytes()).unwrap();
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).unwrap_or_else(|error| panic!("{line}, {more}: {error}"));
        assert_eq!(&answer[9..], status.as_bytes(), "{line}, {more}");
    }
}

#[test]
fn a_region_that_is_down_is_told_as_such() {
    let slow = ["--set", "recovery.scope=\"region\"", "--set", "recovery.initial_backoff=\"1s\""];
    let served = Served::start(TOPOLOGY, &slow);
    let job = served.get_until("/api/jobs/my%20job", |job| job["state"] == "RESTARTING");
    let status = |vertex: usize| job["vertices"][vertex]["status"].as_str().unwrap();
    assert_eq!([status(0), status(1), status(2)], ["RESTARTING", "RESTARTING", "RUNNING"], "{job}");
    let incidents = job["incidents"].as_array().unwrap();
    assert!(incidents.iter().any(|incident| incident["event"] == "restarting"), "{job}");
    let job = served.get_until("/api/jobs/my%20job", |job| job["state"] == "RUNNING" && job["restarts"] == 1);
    // Those that it has taken since then, and since when.
    let since = |vertex: usize| job["vertices"][vertex]["metrics"]["read-records-since"].as_i64();
    let started = job["vertices"][1]["start-time"].as_i64();
    assert_eq!(since(0), None, "{job}");
    assert!(since(1) > started && started.is_some(), "{job}");
}

#[test]
fn a_region_that_has_finished_is_told_as_such_with_its_last_numbers_in_later_runs_too() {
    let mut served = Served::start(&TOPOLOGY.replacen("rows = 100000000", "rows = 400", 1), &[]);
    let mut written = None;
    for run in 0..2 {
        let is_over = |job: &Value| job["vertices"][0]["status"] == "FINISHED";
        let job = served.get_until("/api/jobs/my%20job", is_over);
        let of = |vertex: usize| (&job["vertices"][vertex]["status"], &job["vertices"][vertex]["metrics"]);
        assert_eq!(of(0).1["read-records"], 400, "run {run}: {job}");
        let rows = of(1).1["write-records"].as_u64();
        assert!(rows > Some(0) && *written.get_or_insert(rows) == rows, "run {run}: {job}");
        assert_eq!(of(1).0, "FINISHED", "run {run}: {job}");
        assert_eq!((of(2).0, &job["state"]), (&json!("RUNNING"), &json!("RUNNING")), "run {run}: {job}");
        served.send("POST", "/api/jobs/my%20job/stop", &[], "").json(200);
        served.wait().expect(0);
        if run == 0 {
            served.run(&[]);
        }
    }
}

#[test]
fn an_address_that_is_taken_is_told_before_anything_is_touched() {
    let mut served = Served::start(TOPOLOGY, &[]);
    let other = tempfile::tempdir().unwrap();
    let job = Job::new(other.path(), TOPOLOGY);
    job.run(&["--http", &served.address]).expect(2).says(&["http.listen: cannot listen on", &served.address]);
    assert!(!job.path(".piton").exists());
    // Of the same job, that it is running already is what there is to say.
    served.job.run(&["--http", &served.address]).expect(3).says(&["in use by another process"]);
    assert!(served.life.as_mut().unwrap().is_alive());
}

#[test]
fn a_savepoint_is_made_and_the_job_stopped_on_request() {
    let mut served = Served::start(TOPOLOGY, &[]);
    let post =
        |served: &Served, path: &str, body: &str| served.send("POST", &format!("/api/jobs/my%20job/{path}"), &[], body);
    let made = post(&served, "savepoint", "{\"name\": \"one\"}").json(200);
    assert_eq!(made["savepoint"]["name"], "one");
    assert!(made["savepoint"]["regions"]["numbers"].as_u64() > Some(0), "{made}");
    assert!(post(&served, "savepoints", "{\"name\": \"one\"}").error(409).contains("one"), "there is one of that name");
    let list = served.get("/api/jobs/my%20job/savepoints").json(200);
    assert_eq!(list["savepoints"].as_array().unwrap().len(), 1);
    let latest = served.get("/api/jobs/my%20job/checkpoints").json(200)["latest"]["savepoint"].clone();
    assert_eq!(latest["name"], "one");
    // Somebody who connects and says nothing is in nobody's way.
    let _silent = TcpStream::connect(&served.address).unwrap();
    let stopped = post(&served, "stop", "{\"savepoint\": \"two\"}").json(200);
    assert_eq!(stopped["savepoint"]["name"], "two");
    assert!(stopped["windows"]["ticks"].as_u64() > Some(0), "{stopped}");
    served.wait().expect(0);
    assert!(TcpStream::connect(&served.address).is_err());
    let window = stopped["windows"]["numbers"].as_u64().unwrap();
    // It goes on from there, and tells of what was before.
    served.run(&[]);
    let said = served.get("/api/jobs/my%20job/checkpoints").json(200);
    assert_eq!(said["counts"]["restored"], 1);
    let is_last = |item: &&Value| item["region"] == "numbers" && item["id"] == json!(window);
    let last = said["history"].as_array().unwrap().iter().find(is_last).unwrap_or_else(|| panic!("{window}: {said}"));
    assert_eq!((&last["status"], &last["num_acknowledged_subtasks"]), (&json!("COMPLETED"), &json!(3)));
    assert_eq!((&last["is_savepoint"], &last["savepoint"]), (&json!(true), &json!("two")));
    let exact = served.get(&format!("/api/jobs/my%20job/checkpoints/{window}?region=numbers")).json(200);
    assert_eq!((&exact["is_abridged"], &exact["verdict"]), (&json!(true), &last["verdict"]));
    served.send("POST", "/api/jobs/my%20job/stop", &[], "").json(200);
    served.wait().expect(0);
    served.run(&["--resume", "none", "--discard-state"]);
    let said = served.get("/api/jobs/my%20job/checkpoints").json(200);
    let history = said["history"].as_array().unwrap();
    assert!(
        history.iter().all(|item| item["trigger_timestamp"].as_i64() > last["trigger_timestamp"].as_i64()),
        "{said}"
    );
}

#[test]
fn a_job_is_cancelled_on_request() {
    let mut served = Served::start(TOPOLOGY, &["--set", "checkpoint.on_cancel=\"delete\""]);
    let cancelled = served.send("POST", "/api/jobs/my%20job/cancel", &[], "");
    assert!(cancelled.json(200)["windows"].is_object(), "{cancelled:?}");
    served.wait().expect(0);
}

#[test]
fn a_terminal_shows_what_a_job_does() {
    let served = Served::start(TOPOLOGY, &["--set", "http.token=\"open sesame\""]);
    let url = format!("http://{}", served.address);
    let top = |args: &[&str]| {
        let mut command = std::process::Command::new(binary::process::piton());
        command.arg("top").args(args).env_remove("PITON__HTTP__TOKEN");
        served.job.spawn(command).wait()
    };
    // Nobody sits there: it is shown once, with or without saying so.
    for more in [&["--once"][..], &[]] {
        let shown = top(&[&[&*url, "--set", "http.token=open sesame"], more].concat());
        let shown = shown.expect(0).stdout.clone();
        assert!(shown.starts_with("my job: running, up "), "{shown}");
        for said in
            ["records in ", "/s), out ", "last checkpoint ", "OPERATOR", "numbers -> shaky", "counted -> counts"]
        {
            assert!(shown.contains(said), "{said}: {shown}");
        }
        assert!(!shown.contains('\x1b'), "{shown:?}");
    }
    top(&[&url]).expect(1).says(&["a token is needed", "PITON__HTTP__TOKEN"]);
    top(&["ftp://localhost:1"]).expect(2).says(&["write http://HOST:PORT"]);
    let file = served.job.path("job.toml");
    top(&[file.to_str().unwrap()]).expect(2).says(&["does not say where the job answers", "[http]"]);
    // By its file, if that says where.
    let listen = format!("http.listen=\"{}\"", served.address);
    let by_file = [file.to_str().unwrap(), "--set", &listen, "--set", "http.token=open sesame"];
    assert!(top(&by_file).expect(0).stdout.starts_with("my job: running"));
}
