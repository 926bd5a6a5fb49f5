//! How long events take, at a steady pace: from the moment at which one was due until the sink has it, and until the
//! sink is told that it is committed.
//!
//! An event is due at its time whether or not the job is ready for it, so one that waits because the job is behind
//! counts with all of its waiting.

use std::fmt::Write;
use std::future::poll_fn;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use piton::prelude::*;
use piton::runtime::Event as JobEvent;
use piton::{Delivery, Rows};
use serde::{Deserialize, Serialize};

use crate::job;
use crate::measure::{self, processor_seconds};
use crate::page::{self, Line, Written, median, quantile};

/// How many keys there are.
const KEYS: u64 = 10_000;

/// How the latency is measured.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many events are due in a second.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// How long they go on, in seconds; the first tenth does not count.
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// The intervals of checkpoints, in ms.
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 100, 20])]
    interval: Vec<u64>,
    /// How the source learns that an event is due; without it all.
    #[arg(long, value_delimiter = ',')]
    learns: Vec<Learns>,
    /// How many times each is run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    written: Written,
}

/// How the source learns that an event is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
enum Learns {
    /// Another thread wakes it, as a socket or a channel does.
    Woken,
    /// It looks again after a millisecond.
    Idle,
    /// It looks again at once, and takes a core for that.
    Busy,
}

/// One run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Task {
    rate: u64,
    seconds: f64,
    interval: u64,
    learns: Learns,
    chained: bool,
}

impl Task {
    fn events(&self) -> u64 {
        (self.rate as f64 * self.seconds) as u64
    }

    fn name(&self) -> String {
        let chained = if self.chained { "chained" } else { "unchained" };
        format!("{chained}, {}", self.learns.to_possible_value().expect("none is left out").get_name())
    }
}

/// The latencies of many events, in ms.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
    most: f64,
}

impl Latency {
    fn of(mut all: Vec<f64>) -> Latency {
        all.sort_by(f64::total_cmp);
        let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|share| quantile(&all, share));
        Latency { p50, p99, p999, most }
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    seen: Latency,
    committed: Latency,
    commits: u64,
    /// How many processors worked on it.
    processors: f64,
}

/// Events that have come somewhere, and when.
type Taken = (Range<u64>, Instant);

/// What source, sink and the one who measures tell each other; a process has one run.
struct Run {
    task: Task,
    /// When the first event was due.
    begin: OnceLock<Instant>,
    /// What wakes the source.
    waker: Mutex<Option<Waker>>,
    /// Which events the sink had when, and of which it was told when that they are committed.
    taken: Mutex<[Vec<Taken>; 2]>,
}

static RUN: OnceLock<Run> = OnceLock::new();

fn this_run() -> &'static Run {
    RUN.get().expect("the run is there before its job")
}

impl Run {
    fn due(&self, number: u64) -> Instant {
        let begin = *self.begin.get().expect("the source has begun before there is an event");
        begin + Duration::from_nanos((u128::from(number) * 1_000_000_000 / u128::from(self.task.rate)) as u64)
    }

    /// Returns how many events are due by now.
    fn are_due(&self) -> u64 {
        let elapsed = self.begin.get_or_init(Instant::now).elapsed();
        ((elapsed.as_nanos() * u128::from(self.task.rate) / 1_000_000_000) as u64 + 1).min(self.task.events())
    }

    /// Wakes the source whenever an event is due, and each millisecond.
    fn wake(&self) {
        loop {
            let are_due = self.are_due();
            if let Some(waker) = self.waker.lock().expect("nobody panics with it").take() {
                waker.wake();
            }
            if are_due == self.task.events() {
                return;
            }
            let pause = self.due(are_due).saturating_duration_since(Instant::now());
            std::thread::sleep(pause.min(Duration::from_millis(1)));
        }
    }

    /// Waits until an event behind this many may be due.
    async fn is_woken(&self, behind: u64) {
        let mut is_asleep = true;
        poll_fn(|context| {
            let mut waker = self.waker.lock().expect("nobody panics with it");
            if !std::mem::replace(&mut is_asleep, false) || self.are_due() > behind {
                return Poll::Ready(());
            }
            *waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    /// Notes that these events have come so far by now: what follows from that is worked out when nobody waits.
    fn note(&self, stage: usize, events: Range<u64>) {
        self.taken.lock().expect("nobody panics with it")[stage].push((events, Instant::now()));
    }

    /// Returns how many ms each of the events that count took until they had come so far.
    fn latencies(&self, stage: usize) -> Vec<f64> {
        let first = self.task.events() / 10;
        // What is committed by the end of the job did not wait for the next checkpoint.
        let tail = if stage == 1 { self.task.rate * self.task.interval / 1_000 } else { 0 };
        let counts = first..self.task.events().saturating_sub(tail);
        let taken = self.taken.lock().expect("nobody panics with it");
        let of = |(events, came): &Taken| {
            let (came, counted) = (*came, events.start.max(counts.start)..events.end.min(counts.end));
            counted.map(move |number| came.saturating_duration_since(self.due(number)).as_secs_f64() * 1e3)
        };
        taken[stage].iter().flat_map(of).collect()
    }
}

#[derive(Clone, Copy, Debug, Default, Record, Serialize, Deserialize)]
struct Tick {
    number: u64,
    seen: u64,
}

/// Emits each event when it is due.
#[derive(Clone, Deserialize)]
struct Paced {
    #[serde(skip)]
    next: u64,
}

impl Source for Paced {
    type Out = Tick;
    type Position = u64;

    async fn open(&mut self, position: Option<u64>, _: &Subtask) -> Result {
        self.next = position.unwrap_or_default();
        let run = this_run();
        run.begin.get_or_init(Instant::now);
        if run.task.learns == Learns::Woken {
            std::thread::spawn(|| this_run().wake());
        }
        Ok(())
    }

    async fn poll(&mut self, feed: &mut Feed<Tick>) -> Result<Progress> {
        let run = this_run();
        if run.task.learns == Learns::Woken {
            run.is_woken(self.next).await;
        }
        let are_due = run.are_due();
        let until = are_due.min(self.next + feed.room() as u64);
        for number in self.next..until {
            feed.push(Tick { number, seen: 0 });
        }
        self.next = until;
        Ok(match until {
            until if until == run.task.events() => Progress::Done,
            until if until < are_due => Progress::More,
            _ => Progress::Idle(if run.task.learns == Learns::Idle { 1 } else { 0 }),
        })
    }

    fn position(&self) -> u64 {
        self.next
    }
}

const SEEN: ValueState<u64> = ValueState::new("seen");

/// Tells with each event how many of its key there were.
#[derive(Clone, Deserialize)]
struct Count {}

impl Operator for Count {
    type In = Tick;
    type Out = Tick;

    fn key(&self, tick: &Tick) -> Key {
        Key::from(tick.number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % KEYS)
    }

    fn process(&mut self, tick: &Tick, ctx: &mut Context<Tick>) -> Result {
        let seen = ctx.state(SEEN).update(|seen| {
            *seen += 1;
            *seen
        })?;
        ctx.emit(Tick { seen, ..*tick });
        Ok(())
    }
}

/// Notes when events come, and when they are committed. They come in their order, so what is pending is a range.
#[derive(Clone, Deserialize)]
struct Noted {
    #[serde(skip)]
    written: u64,
    #[serde(skip)]
    prepared: u64,
}

impl Sink for Noted {
    type In = Tick;
    type Pending = (u64, u64);

    fn delivery(&self) -> Delivery {
        Delivery::Staged
    }

    async fn open(&mut self, _: Vec<(u64, u64)>, _: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, batch: Arc<Rows<Tick>>) -> Result {
        let first = self.written;
        for tick in batch.iter() {
            if tick.number != self.written {
                return Err(Error::invalid(format!("event {} came where {} was next", tick.number, self.written)));
            }
            self.written += 1;
        }
        this_run().note(0, first..self.written);
        Ok(())
    }

    async fn prepare(&mut self, _: WindowId) -> Result<Option<(u64, u64)>> {
        let pending = (self.prepared, self.written);
        self.prepared = self.written;
        Ok((pending.0 < pending.1).then_some(pending))
    }

    async fn commit(&mut self, (from, until): (u64, u64)) -> Result {
        this_run().note(1, from..until);
        Ok(())
    }
}

/// Runs a task in this process, which can do so once.
pub(crate) fn here(task: &Task) -> Result<Measured, String> {
    let run = Run { task: *task, begin: OnceLock::new(), waker: Mutex::default(), taken: Mutex::default() };
    assert!(RUN.set(run).is_ok(), "a process has one run");
    let folder = tempfile::tempdir().map_err(|error| format!("there is no folder: {error}"))?;
    let mut registry = Registry::new();
    registry.source::<Paced>("paced").operator::<Count>("count").sink::<Noted>("noted");
    let toml = format!(
        "job.chaining = \"{}\"\ncheckpoint.interval = \"{}ms\"\nrecovery.scope = \"batch\"\n\
         [sources.ticks]\ntype = \"paced\"\n\
         [operators.count]\ntype = \"count\"\ninputs = [\"ticks\"]\n\
         [sinks.out]\ntype = \"noted\"\ninputs = [\"count\"]\n",
        if task.chained { "auto" } else { "off" },
        task.interval,
    );
    let commits = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&commits);
    let (begin, processor) = (Instant::now(), processor_seconds());
    job::run(&toml, folder.path(), &registry, None, move |event| {
        if matches!(event, JobEvent::Committed { .. }) {
            *counted.lock().expect("nobody panics with it") += 1;
        }
    })?;
    let processors = (processor_seconds() - processor) / begin.elapsed().as_secs_f64();
    let [seen, committed] = [0, 1].map(|stage| this_run().latencies(stage));
    let expected = task.events() - task.events() / 10;
    if seen.len() as u64 != expected {
        return Err(format!("{} of {expected} events came", seen.len()));
    }
    let [seen, committed] = [seen, committed].map(Latency::of);
    let commits = *commits.lock().expect("nobody panics with it");
    Ok(Measured { seen, committed, commits, processors })
}

/// Measures all of it.
pub(crate) fn all(arguments: &Arguments) -> Result<(), String> {
    let longest = arguments.interval.iter().max().copied().unwrap_or_default();
    if arguments.seconds * 1_000.0 < longest as f64 * 3.0 || longest == 0 {
        return Err("--seconds has to hold three of the longest --interval, which has to be more than 0".into());
    }
    let mut rows: Vec<(Task, Vec<Measured>)> = Vec::new();
    for chained in [true, false] {
        for learns in crate::chosen(&arguments.learns) {
            for &interval in &arguments.interval {
                let (rate, seconds) = (arguments.rate, arguments.seconds);
                rows.push((Task { rate, seconds, interval, learns, chained }, Vec::new()));
            }
        }
    }
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        for (task, measured) in &mut rows {
            measured.push(measure::in_process("one-latency", task, &task.name())?);
        }
    }
    let table = table(&rows);
    print!("{table}");
    let page = format!(
        "# Latency\n\n{} events are due in each second, for {} s; the first tenth does not count. A source, an operator with \
         {KEYS} keys and a sink, exactly-once, recovery scope `batch`. The time is from when an event was due, whether or not the \
         job was ready for it, until the sink has it, and until the sink is told that it is committed. Medians of {} rounds, each in a \
         process of its own. Another thread *wakes* the source when an event is due, or it is *idle* for a millisecond at a time, or *busy*: it \
         looks again at once, and takes a core for that.\n\n\
         {}{table}\n![committed latency](latency.svg)\n",
        arguments.rate,
        arguments.seconds,
        arguments.rounds,
        page::machine(),
    );
    arguments.written.page("latency.md", &page, |folder| {
        page::chart(&folder.join("latency.svg"), "latency in ms", "checkpoint interval in ms", &lines(&rows))
    })
}

fn table(rows: &[(Task, Vec<Measured>)]) -> String {
    let mut table = String::from(
        "| operators | checkpoints every ms | p50 ms | p99 | p99.9 | most | committed p50 ms | p99 | p99.9 | most | commits | \
         processors |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    for (task, rounds) in rows {
        let of = |value: &dyn Fn(&Measured) -> f64| median(rounds.iter().map(value));
        write!(table, "| {} | {} |", task.name(), task.interval).expect("a string takes everything");
        for stage in [|measured: &Measured| measured.seen, |measured: &Measured| measured.committed] {
            let [p50, p99, p999, most] = [
                of(&|measured| stage(measured).p50),
                of(&|measured| stage(measured).p99),
                of(&|measured| stage(measured).p999),
                of(&|measured| stage(measured).most),
            ];
            write!(table, " {p50:.3} | {p99:.3} | {p999:.3} | {most:.3} |").expect("a string takes everything");
        }
        let (commits, processors) = (of(&|measured| measured.commits as f64), of(&|measured| measured.processors));
        writeln!(table, " {commits:.0} | {processors:.2} |").expect("a string takes everything");
    }
    table
}

/// What is drawn of a run.
type Value = fn(&Measured) -> f64;

fn lines(rows: &[(Task, Vec<Measured>)]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (task, rounds) in rows {
        let stages: [(&str, Value); 2] =
            [("p99", |measured| measured.seen.p99), ("committed p50", |measured| measured.committed.p50)];
        for (stage, value) in stages {
            let name = format!("{stage}, {}", task.name());
            let point = (task.interval as f64, median(rounds.iter().map(value)));
            match lines.iter_mut().find(|(of, _)| *of == name) {
                Some((_, points)) => points.push(point),
                None => lines.push((name, vec![point])),
            }
        }
    }
    for (_, points) in &mut lines {
        points.sort_by(|left, right| left.0.total_cmp(&right.0));
    }
    lines
}
