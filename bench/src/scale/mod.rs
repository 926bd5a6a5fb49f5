//! How a job behaves as it grows: more subtasks, more jobs, more keys, more state; and the least that a job costs.

mod parts;
mod task;

use std::fmt::Write;

use clap::Args;

pub(crate) use task::here;

use crate::measure;
use crate::page::{self, Line, Written, median};
use task::{Measured, Task};

/// The sizes.
#[derive(Args)]
pub(crate) struct Arguments {
    /// How many subtasks of everything.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2, 4, 8, 16])]
    parallelism: Vec<u64>,
    /// How many subtasks of one operator.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1_000])]
    subtasks: Vec<u64>,
    /// How many jobs in one process.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100])]
    jobs: Vec<u64>,
    /// How many rows there are in each of these runs.
    #[arg(long, default_value_t = 20_000_000)]
    rows: u64,
    /// How long nothing happens in an idle job, in ms.
    #[arg(long, default_value_t = 10_000)]
    idle: u64,
    /// How many keys, each with a count.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 50_000_000])]
    keys: Vec<u64>,
    /// How much state, in MB of texts of 1,000 bytes.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 256, 1_024, 4_096])]
    state: Vec<u64>,
    /// How often 1 % of the keys change.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    changes: u64,
    /// How long it is from one checkpoint to the next at least, in ms. All keys have to come within it: there is 1 ms more
    /// for each 1,000 keys, and 3 ms more for each MB of texts.
    #[arg(long, default_value_t = 2_000)]
    interval: u64,
    /// How many times each is run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    #[command(flatten)]
    written: Written,
}

/// The runs of one size.
struct Row {
    curve: Curve,
    size: u64,
    rounds: Vec<Measured>,
}

/// What grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Curve {
    Parallelism,
    Subtasks,
    Idle,
    Jobs,
    Keys,
    State,
    Start,
}

impl Curve {
    const ALL: [Curve; 7] =
        [Curve::Parallelism, Curve::Subtasks, Curve::Idle, Curve::Jobs, Curve::Keys, Curve::State, Curve::Start];

    fn name(self) -> &'static str {
        match self {
            Curve::Parallelism => "Subtasks of everything",
            Curve::Subtasks => "Subtasks of one operator",
            Curve::Idle => "Idle subtasks, windows of a second",
            Curve::Jobs => "Jobs in one process",
            Curve::Keys => "Keys, each with a count",
            Curve::State => "MB of texts of 1,000 bytes",
            Curve::Start => "Rows of a small job",
        }
    }

    fn sizes(self, arguments: &Arguments) -> Vec<u64> {
        match self {
            Curve::Parallelism => arguments.parallelism.clone(),
            Curve::Subtasks | Curve::Idle => arguments.subtasks.clone(),
            Curve::Jobs => arguments.jobs.clone(),
            Curve::Keys => arguments.keys.clone(),
            Curve::State => arguments.state.clone(),
            Curve::Start => vec![1_000],
        }
    }

    fn task(self, size: u64, arguments: &Arguments) -> Task {
        let (rows, rounds) = (arguments.rows, arguments.changes);
        match self {
            Curve::Parallelism => Task::Subtasks { ends: size, subtasks: size, rows },
            Curve::Subtasks => Task::Subtasks { ends: 1, subtasks: size, rows },
            Curve::Idle => Task::Idle { subtasks: size, milliseconds: arguments.idle },
            Curve::Jobs => Task::Jobs { jobs: size, rows },
            Curve::Keys => Task::State { keys: size, bytes: 0, rounds, interval: arguments.interval + size / 1_000 },
            Curve::State => {
                Task::State { keys: size * 1_000, bytes: 1_000, rounds, interval: arguments.interval + size * 3 }
            }
            Curve::Start => task::start(),
        }
    }
}

/// Measures all of it.
pub(crate) fn all(arguments: &Arguments) -> Result<(), String> {
    let mut rows = Vec::new();
    for curve in Curve::ALL {
        for size in curve.sizes(arguments) {
            if size == 0 {
                return Err("a size is at least 1".into());
            }
            rows.push(Row { curve, size, rounds: Vec::new() });
        }
    }
    let mut failed = Vec::new();
    for round in 0..arguments.rounds {
        eprintln!("round {} of {}", round + 1, arguments.rounds);
        for row in &mut rows {
            let what = format!("{}: {}", row.curve.name(), row.size);
            let task = row.curve.task(row.size, arguments);
            match measure::in_process("one-scale", &task, &what) {
                Ok(measured) => row.rounds.push(measured),
                // What the others have taken long to measure is not lost with it.
                Err(error) => failed.push(error),
            }
        }
    }
    rows.retain(|row| !row.rounds.is_empty());
    let mut tables = String::new();
    for curve in Curve::ALL {
        table(&mut tables, curve, &rows);
    }
    print!("{tables}");
    let page = format!(
        "# Scale\n\nA source of numbers, a keyed operator and a sink, exactly-once, checkpoints every second where nothing else is \
         said. Medians of {} rounds, each in a process of its own. Rows a second are those of a whole job, its \
         start and its last checkpoints included. Memory is what comes on top of that of the process before the job: \
         at the peak; of state, when all keys had come; of idle subtasks, when the job was quiet. A pause is how long the operator \
         stood still for the checkpoint; *raw* is one write and sync of as many bytes as the full checkpoint wrote, on the same \
         disk in the same run.{}\n\n{}{tables}\n![throughput](scale-rows.svg)\n\n![checkpoints](scale-checkpoints.svg)\n",
        arguments.rounds,
        failed.iter().map(|error| format!(" Not measured: {error}.")).collect::<String>(),
        page::machine(),
    );
    let written = arguments.written.page("scale.md", &page, |folder| {
        let drawn = [Curve::Parallelism, Curve::Subtasks, Curve::Jobs];
        let throughput = drawn.map(|curve| line(curve.name(), curve, &rows, |run| run.rows_per_second));
        page::chart(&folder.join("scale-rows.svg"), "rows a second", "how many", &throughput)?;
        let checkpoints = [
            line("keys: full", Curve::Keys, &rows, |run| run.checkpoints[0].took_ms),
            line("keys: 1 % changed", Curve::Keys, &rows, |run| changed(run, |checkpoint| checkpoint.took_ms)),
            line("MB: full", Curve::State, &rows, |run| run.checkpoints[0].took_ms),
            line("MB: 1 % changed", Curve::State, &rows, |run| changed(run, |checkpoint| checkpoint.took_ms)),
        ];
        page::chart(&folder.join("scale-checkpoints.svg"), "checkpoint in ms", "keys, or MB", &checkpoints)
    });
    written.and(if failed.is_empty() { Ok(()) } else { Err(format!("not all was measured: {}", failed.join("; "))) })
}

/// Returns what is in the middle of the checkpoints of 1 %.
fn changed(run: &Measured, value: fn(&task::Checkpoint) -> f64) -> f64 {
    median(run.checkpoints.iter().skip(1).map(value))
}

fn line(name: &str, curve: Curve, rows: &[Row], value: fn(&Measured) -> f64) -> Line {
    let mut points: Vec<(f64, f64)> = rows
        .iter()
        .filter(|row| row.curve == curve)
        .map(|row| (row.size as f64, median(row.rounds.iter().map(value))))
        .collect();
    points.sort_by(|left, right| left.0.total_cmp(&right.0));
    (name.to_string(), points)
}

fn table(into: &mut String, curve: Curve, rows: &[Row]) {
    let columns: &[&str] = match curve {
        Curve::Parallelism | Curve::Subtasks | Curve::Jobs => &["million rows/s", "processors", "MB", "KB each"],
        Curve::Idle => &["% of a core", "MB", "KB each"],
        Curve::Keys | Curve::State => &[
            "bytes a key",
            "full ms",
            "pause ms",
            "KB written",
            "raw ms",
            "raw / full",
            "1 % ms",
            "pause ms",
            "KB written",
        ],
        Curve::Start => &["first row ms", "resident MB"],
    };
    let rule = "|---:".repeat(columns.len() + 1);
    writeln!(into, "\n| {} | {} |\n{rule}|", curve.name(), columns.join(" | ")).expect("a string takes everything");
    for row in rows.iter().filter(|row| row.curve == curve) {
        let of = |value: fn(&Measured) -> f64| median(row.rounds.iter().map(value));
        let more = of(|run| run.more_mb);
        let each = format!("{:.1}", more * 1e3 / row.size as f64);
        let cells = match curve {
            Curve::Parallelism | Curve::Subtasks | Curve::Jobs => {
                let (rate, processors) = (of(|run| run.rows_per_second) / 1e6, of(|run| run.processors));
                vec![format!("{rate:.2}"), format!("{processors:.2}"), format!("{more:.1}"), each]
            }
            Curve::Idle => vec![format!("{:.2}", of(|run| run.processors) * 100.0), format!("{more:.1}"), each],
            Curve::Keys | Curve::State => {
                let keys = if curve == Curve::State { row.size * 1_000 } else { row.size } as f64;
                vec![
                    format!("{:.1}", more * 1e6 / keys),
                    format!("{:.0}", of(|run| run.checkpoints[0].took_ms)),
                    format!("{:.2}", of(|run| run.checkpoints[0].pause_ms)),
                    format!("{:.1}", of(|run| run.checkpoints[0].fresh as f64 / 1e3)),
                    format!("{:.1}", of(|run| run.raw_ms)),
                    format!("{:.2}", of(|run| run.raw_ms / run.checkpoints[0].took_ms.max(1.0))),
                    format!("{:.0}", of(|run| changed(run, |checkpoint| checkpoint.took_ms))),
                    format!("{:.2}", of(|run| changed(run, |checkpoint| checkpoint.pause_ms))),
                    format!("{:.1}", of(|run| changed(run, |checkpoint| checkpoint.fresh as f64 / 1e3))),
                ]
            }
            Curve::Start => vec![format!("{:.1}", of(|run| run.first_ms)), format!("{:.1}", of(|run| run.resident_mb))],
        };
        writeln!(into, "| {} | {} |", row.size, cells.join(" | ")).expect("a string takes everything");
    }
}
