//! An operator that asks a server for each record: a hundred requests at a time, answered once each, whatever is killed,
//! panics, hangs or stays silent meanwhile.
//!
//! ```text
//! numbers → trip (panics, if it is told to) → squares (asks the server) → out (csv)
//! ```
//!
//! The binary of this test is the job's, too: called with a command it is that, and otherwise it calls itself. The server
//! is the test's own, on loopback, and remembers what it was asked.

#[path = "support/binary/mod.rs"]
mod binary;
#[path = "support/counting.rs"]
mod counting;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use binary::folder::Folder;
use binary::process::{Ended, Job, Life, count, pause};
use binary::tree::scratch;
use counting::Counting;
use piton::Registry;
use piton::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const NUMBERS: u64 = 4_000;

fn main() -> ExitCode {
    if std::env::args().len() > 1 {
        return piton::cli::main(registry());
    }
    let tests: [(&str, fn()); 8] = [
        ("each_is_answered_once_although_the_process_is_killed", each_is_answered_once_although_the_process_is_killed),
        ("nothing_is_asked_twice_if_an_operator_panics", nothing_is_asked_twice_if_an_operator_panics),
        ("who_stays_silent_is_asked_again", who_stays_silent_is_asked_again),
        ("what_the_server_refuses_is_set_aside", what_the_server_refuses_is_set_aside),
        ("a_request_that_blocks_its_thread_is_given_up", a_request_that_blocks_its_thread_is_given_up),
        ("only_the_one_that_blocks_is_set_aside", only_the_one_that_blocks_is_set_aside),
        ("checkpoints_go_on_while_the_last_records_wait", checkpoints_go_on_while_the_last_records_wait),
        ("a_simulation_asks_for_each_record_once", a_simulation_asks_for_each_record_once),
    ];
    println!("\nrunning {} tests", tests.len());
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

// The job.

/// Panics once at each number that this divides, as long as the process lives.
#[derive(Clone, Deserialize)]
struct Trip {
    at: u64,
}

static TRIPPED: AtomicU64 = AtomicU64::new(0);

impl Operator for Trip {
    type In = u64;
    type Out = u64;

    fn process(&mut self, number: &u64, ctx: &mut Context<u64>) -> Result {
        if self.at > 0 && number % self.at == self.at - 1 && TRIPPED.fetch_max(*number, Ordering::SeqCst) < *number {
            std::panic::resume_unwind(Box::new("tripped"));
        }
        ctx.emit(*number);
        Ok(())
    }
}

#[derive(Clone, Serialize, Deserialize, Record)]
struct Square {
    number: u64,
    square: u64,
}

#[derive(Clone, Deserialize)]
struct Squares {
    server: String,
    /// At this number a request blocks its thread, once.
    #[serde(default)]
    blocks_at: u64,
    /// Or each time.
    #[serde(default)]
    always_blocks: bool,
}

static BLOCKED: AtomicU64 = AtomicU64::new(0);

impl AsyncOperator for Squares {
    type In = u64;
    type Out = Square;

    async fn ask(&self, number: &u64) -> Result<Vec<Square>> {
        let times = if self.always_blocks { 0 } else { BLOCKED.load(Ordering::SeqCst) };
        if self.blocks_at > 0 && *number == self.blocks_at && times == 0 {
            BLOCKED.fetch_add(1, Ordering::SeqCst);
            pause(Duration::from_secs(600));
        }
        let mut server = tokio::net::TcpStream::connect(&self.server).await.map_err(unavailable)?;
        server.write_all(format!("{number}\n").as_bytes()).await.map_err(unavailable)?;
        let mut answer = String::new();
        server.read_to_string(&mut answer).await.map_err(unavailable)?;
        match answer.trim().parse() {
            Ok(square) => Ok(vec![Square { number: *number, square }]),
            Err(_) => Err(Error::poison(format!("the server says {:?}", answer.trim()))),
        }
    }
}

fn unavailable(error: std::io::Error) -> Error {
    Error::unavailable(error.to_string())
}

fn registry() -> Registry {
    let mut registry = Registry::stock();
    registry.source::<Counting>("numbers").operator::<Trip>("trip").async_operator::<Squares>("squares");
    registry
}

// The server.

#[derive(Default)]
struct Seen {
    /// How often it was asked for each number.
    asked: BTreeMap<u64, u64>,
    under_way: usize,
    /// How many requests were under way at the same time at most.
    most: usize,
}

struct Server {
    address: String,
    seen: Arc<Mutex<Seen>>,
}

/// What the server does about a number, asked for the so manieth time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Does {
    Answers,
    Refuses,
    StaysSilent,
}

impl Server {
    fn start(delay: Duration, does: fn(u64, u64) -> Does) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(std::io::Result::ok) {
                let seen = Arc::clone(&shared);
                std::thread::spawn(move || serve(&stream, &seen, delay, does));
            }
        });
        Server { address, seen }
    }

    fn asked(&self) -> BTreeMap<u64, u64> {
        self.seen.lock().unwrap().asked.clone()
    }
}

fn serve(mut stream: &TcpStream, seen: &Mutex<Seen>, delay: Duration, does: fn(u64, u64) -> Does) {
    let mut line = String::new();
    if BufReader::new(stream).read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let number: u64 = line.trim().parse().unwrap();
    let times = {
        let mut seen = seen.lock().unwrap();
        seen.under_way += 1;
        seen.most = seen.most.max(seen.under_way);
        let times = seen.asked.entry(number).or_default();
        *times += 1;
        *times
    };
    // Not all take the same time, so that answers do not come in the order of the questions.
    pause(delay + Duration::from_millis(number % 7));
    let does = does(number, times);
    if does == Does::StaysSilent {
        pause(Duration::from_secs(2));
    }
    let answer = if does == Does::Refuses { "no\n".to_string() } else { format!("{}\n", number * number) };
    // Who asked may be dead.
    let _ignored = stream.write_all(answer.as_bytes());
    seen.lock().unwrap().under_way -= 1;
}

// The tests.

fn job(folder: &Path, server: &Server, more: &str) -> Job {
    let topology = format!(
        r#"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "60ms"
        [store]
        path = "state"
        [recovery]
        on_poison = "dead-letter"
        hang_timeout = "400ms"
        [sources.numbers]
        type = "numbers"
        rows = {NUMBERS}
        at_once = 10
        timed = true
        [operators.trip]
        type = "trip"
        inputs = ["numbers"]
        at = 0
        [operators.squares]
        type = "squares"
        inputs = ["trip"]
        server = "{}"
        {more}
        [sinks.out]
        type = "csv"
        inputs = ["squares"]
        path = "out"
        "#,
        server.address
    );
    Job::new(folder, &topology)
}

fn start(job: &Job, settings: &[&str]) -> Life {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("run").arg(job.path("job.toml")).arg("--events").arg(job.path("events.ndjson"));
    settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
    job.spawn(command)
}

fn run(job: &Job, settings: &[&str]) -> Ended {
    start(job, settings).wait().expect(0)
}

/// Returns the numbers that were answered, in the order of the output, each with the right answer.
fn answered(job: &Job) -> Vec<u64> {
    let mut folder = Folder::new(job.path("out"), "out");
    let files = folder.look();
    folder.assert_whole();
    let lines = files.iter().flat_map(|(_, text)| text.lines().skip(1));
    let numbers = lines.map(|line| {
        let (number, square) = line.split_once(',').unwrap();
        let number: u64 = number.parse().unwrap();
        assert_eq!(square, (number * number).to_string());
        number
    });
    numbers.collect()
}

/// Asserts that all of these numbers were answered, once each.
#[track_caller]
fn assert_answered(job: &Job, ordered: bool, is_meant: impl Fn(u64) -> bool) {
    let mut numbers = answered(job);
    if !ordered {
        numbers.sort_unstable();
    }
    assert_eq!(numbers, (0..NUMBERS).filter(|number| is_meant(*number)).collect::<Vec<_>>());
}

fn each_is_answered_once_although_the_process_is_killed() {
    for ordered in [true, false] {
        let server = Server::start(Duration::from_millis(20), |_, _| Does::Answers);
        let folder = scratch();
        let job = job(folder.path(), &server, &format!("ordered = {ordered}"));
        let mut kills = 0;
        for commits in [2, 3, 4] {
            let mut life = start(&job, &[]);
            job.wait_for(&mut life, "some commits", |events| count(events, "committed", "numbers") >= commits);
            if life.kill_after(Duration::from_millis(30)).is_none() {
                kills += 1;
            }
        }
        run(&job, &[]);
        assert_answered(&job, ordered, |_| true);
        let asked = server.asked();
        let most = asked.values().copied().max().unwrap();
        let again: u64 = asked.values().map(|times| times - 1).sum();
        let under_way = server.seen.lock().unwrap().most;
        println!("{kills} kills, {under_way} requests at a time, {again} made again, {most} times at most");
        assert!(asked.len() as u64 == NUMBERS && kills >= 2 && under_way >= 90, "{kills} kills, {under_way} at a time");
        assert!(most <= kills + 1, "a request was made {most} times although the process was killed {kills} times");
    }
}

fn nothing_is_asked_twice_if_an_operator_panics() {
    for scope in ["batch", "operator"] {
        let server = Server::start(Duration::from_millis(10), |_, _| Does::Answers);
        let folder = scratch();
        let job = job(folder.path(), &server, "");
        run(&job, &["operators.trip.at=397", &format!("recovery.scope={scope}")]);
        assert_answered(&job, true, |_| true);
        let restarted = count(&job.events(), "restarted", "numbers");
        assert!(restarted >= 8, "{restarted} restarts");
        assert!(server.asked().values().all(|times| *times == 1), "scope {scope}: something was asked twice");
    }
}

fn who_stays_silent_is_asked_again() {
    let silent = |number: u64, times| if number % 500 == 3 && times < 3 { Does::StaysSilent } else { Does::Answers };
    let server = Server::start(Duration::from_millis(5), silent);
    let folder = scratch();
    let job = job(folder.path(), &server, "timeout = \"150ms\"\nretry_pause = \"10ms\"");
    run(&job, &[]);
    assert_answered(&job, true, |_| true);
    for (number, times) in server.asked() {
        assert!(times == if number % 500 == 3 { 3 } else { 1 }, "{number} was asked for {times} times");
    }
}

fn what_the_server_refuses_is_set_aside() {
    let refused = |number: u64| number % 1000 == 7;
    let does = |number: u64, _| if number % 1000 == 7 { Does::Refuses } else { Does::Answers };
    let server = Server::start(Duration::from_millis(5), does);
    let folder = scratch();
    let job = job(folder.path(), &server, "");
    run(&job, &[]);
    assert_answered(&job, true, |number| !refused(number));
    let mut command = Command::new(std::env::current_exe().unwrap());
    let listed = command.arg("deadletters").arg("export").arg(job.path("job.toml")).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let letters: Vec<&str> = listed.lines().filter(|line| line.contains("the server says")).collect();
    assert!(letters.len() == 4 && letters.iter().all(|line| line.contains("squares")), "{listed}");
}

fn a_request_that_blocks_its_thread_is_given_up() {
    let server = Server::start(Duration::from_millis(5), |_, _| Does::Answers);
    let folder = scratch();
    let job = job(folder.path(), &server, "blocks_at = 1500\ntimeout = \"60s\"");
    run(&job, &[]);
    assert_answered(&job, true, |_| true);
    let events = job.events();
    let hung: Vec<_> = events.iter().filter(|event| event["event"] == "hung").collect();
    assert!(hung.len() == 1 && hung[0]["operator"] == "squares", "{hung:?}");
    assert_eq!(count(&events, "restarted", "numbers"), 0, "a request that is lost restarts nobody");
}

fn only_the_one_that_blocks_is_set_aside() {
    let server = Server::start(Duration::from_millis(5), |_, _| Does::Answers);
    let folder = scratch();
    let job = job(folder.path(), &server, "blocks_at = 1500\nalways_blocks = true\nretries = 1\ntimeout = \"60s\"");
    run(&job, &[]);
    assert_answered(&job, true, |number| number != 1500);
}

fn checkpoints_go_on_while_the_last_records_wait() {
    // The whole input is read at once, and answered one by one.
    let server = Server::start(Duration::from_millis(10), |_, _| Does::Answers);
    let folder = scratch();
    let job = job(folder.path(), &server, "in_flight = 2");
    let settings = ["sources.numbers.rows=300", "sources.numbers.at_once=300"];
    let mut life = start(&job, &settings);
    job.wait_for(&mut life, "commits", |events| count(events, "committed", "numbers") >= 6);
    life.kill_after(Duration::ZERO);
    let asked: u64 = server.asked().values().sum();
    run(&job, &settings);
    let mut numbers = answered(&job);
    numbers.sort_unstable();
    assert_eq!(numbers, (0..300).collect::<Vec<_>>());
    let again: u64 = server.asked().values().map(|times| times - 1).sum();
    assert!(asked < 300 && again < 60, "{asked} requests before the kill, {again} made again");
}

fn a_simulation_asks_for_each_record_once() {
    let server = Server::start(Duration::from_millis(1), |_, _| Does::Answers);
    let folder = scratch();
    let job = job(folder.path(), &server, "");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg("sim").arg(job.path("job.toml")).args(["--seeds", "60"]);
    job.spawn(command).wait().expect(0);
    let asked = server.asked();
    let threads = std::thread::available_parallelism().unwrap().get() as u64;
    assert!(asked.len() >= 10, "only {} records were asked for", asked.len());
    let most = asked.values().copied().max().unwrap();
    assert!(most <= threads, "60 seeds on {threads} threads have asked {most} times for the same record");
}
