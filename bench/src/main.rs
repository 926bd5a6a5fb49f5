//! NEXMark and a keyed count: a loop by hand, piton, timely and renoir on the same events in memory, with the same answers.
//!
//! ```text
//! cargo run --release -p bench --features peers,arrow                           # all of it
//! cargo run --release -p bench -- --query q5,kc --engine hand,piton --rounds 7  # a part
//! cargo run --release -p bench --features peers,arrow -- --write                # with a page and a chart in docs/benchmarks
//! cargo run --release -p bench -- latency                                       # how long events take
//! cargo run --release -p bench -- scale                                         # how a job grows
//! ```
//!
//! How it is measured stands in README.md beside this.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a measurement")]

mod answer;
mod by_piton;
#[cfg(feature = "peers")]
mod by_renoir;
#[cfg(feature = "peers")]
mod by_timely;
mod engine;
mod event;
mod hand;
mod job;
mod latency;
mod measure;
mod page;
mod query;
mod report;
mod scale;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use serde::Serialize;
use serde::de::DeserializeOwned;

use answer::Answer;
use engine::Engine;
use measure::Task;
use query::Query;
use report::Cell;

/// Measures engines on the queries of NEXMark and a keyed count.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Which queries; without it all.
    #[arg(long, value_delimiter = ',')]
    query: Vec<Query>,
    /// Which engines; without it all that are built in.
    #[arg(long, value_delimiter = ',')]
    engine: Vec<Engine>,
    /// How many events.
    #[arg(long, default_value_t = 10_000_000)]
    events: usize,
    /// How many times each is run.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Where events are kept once they are made.
    #[arg(long, default_value = "target/bench-events")]
    cache: PathBuf,
    /// Sets something in the topology of piton, as with `piton run --set`; for engines that take checkpoints.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Writes a page and a chart to docs/benchmarks.
    #[arg(long)]
    write: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Runs one task, told as JSON, and prints what was measured as JSON; the others are made of it.
    #[command(hide = true)]
    One { task: String },
    /// As `one`, of the latency.
    #[command(hide = true)]
    OneLatency { task: String },
    /// As `one`, of the scale.
    #[command(hide = true)]
    OneScale { task: String },
    /// Measures how a job behaves as it grows, and the least that one costs.
    Scale(scale::Arguments),
    /// Measures how long events take at a steady pace, until they are seen and until they are committed.
    Latency(latency::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match &arguments.command {
        Some(Command::One { task }) => one(task, measure::here),
        Some(Command::OneLatency { task }) => one(task, latency::here),
        Some(Command::OneScale { task }) => one(task, scale::here),
        Some(Command::Scale(arguments)) => scale::all(arguments),
        Some(Command::Latency(arguments)) => latency::all(arguments),
        None => all(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn one<T: DeserializeOwned, M: Serialize>(task: &str, run: fn(&T) -> Result<M, String>) -> Result<(), String> {
    let task = serde_json::from_str(task).map_err(|error| format!("this is no task: {error}"))?;
    let measured = run(&task)?;
    println!("{}", serde_json::to_string(&measured).expect("it is plain data"));
    Ok(())
}

fn all(arguments: &Arguments) -> Result<(), String> {
    let queries = chosen(&arguments.query);
    let engines = chosen(&arguments.engine);
    let mut cells = Vec::new();
    for query in queries {
        for engine in engines.iter().copied().filter(|engine| engine.answers(query)) {
            cells.push(Cell { query, engine, rounds: Vec::new() });
        }
    }
    if cells.is_empty() {
        return Err("none of these engines has any of these queries (others: --features peers,arrow)".into());
    }
    event::cached(&arguments.cache, arguments.events).map_err(|error| format!("no events: {error}"))?;
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        take_turns(&mut cells, arguments)?;
    }
    let page = report::heading(arguments.events, arguments.rounds as usize);
    let table = report::table(&cells, arguments.events);
    print!("{table}");
    if arguments.write {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks");
        let failed = |error: std::io::Error| format!("{} is not written: {error}", folder.display());
        std::fs::create_dir_all(&folder).map_err(failed)?;
        report::chart(&cells, &folder.join("nexmark.svg"))?;
        let page = format!("{page}{table}\n![CPU seconds, as a multiple of the loop by hand](nexmark.svg)\n");
        std::fs::write(folder.join("nexmark.md"), page).map_err(failed)?;
    }
    Ok(())
}

fn chosen<T: ValueEnum + Copy>(named: &[T]) -> Vec<T> {
    if named.is_empty() { T::value_variants().to_vec() } else { named.to_vec() }
}

/// Runs each query by each engine once, and compares the answers.
fn take_turns(cells: &mut [Cell], arguments: &Arguments) -> Result<(), String> {
    let mut expected: Option<(Query, Engine, Answer)> = None;
    let mut hand: Option<(Query, f64)> = None;
    for cell in cells {
        let Cell { query, engine, .. } = *cell;
        let (cache, set) = (arguments.cache.clone(), arguments.set.clone());
        let task = Task { engine, query, events: arguments.events, cache, set };
        let measured = measure::apart(&task)?;
        if engine == Engine::Hand {
            hand = Some((query, measured.processor_seconds));
        }
        match expected.filter(|(of, ..)| *of == query) {
            None => expected = Some((query, engine, measured.answer)),
            Some((_, first, answer)) if answer != measured.answer => {
                let (query, engine, first) = (query.name(), engine.name(), first.name());
                let other = measured.answer;
                return Err(format!("{query}: {engine} answers {other:?}, {first} {answer:?}"));
            }
            Some(_) => {}
        }
        let ratio = hand.filter(|(of, _)| *of == query).map(|(_, hand)| measured.processor_seconds / hand);
        cell.rounds.push((measured, ratio));
    }
    Ok(())
}
