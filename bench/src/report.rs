//! What was measured, as a table in Markdown and a chart: medians over the rounds, and ratios to the loop by hand.

use std::fmt::Write;
use std::path::Path;

use plotters::prelude::*;

use crate::engine::Engine;
use crate::measure::Measured;
use crate::page;
use crate::query::Query;

/// All rounds of one query by one engine.
pub(crate) struct Cell {
    pub(crate) query: Query,
    pub(crate) engine: Engine,
    /// Beside each round, how many times as long processors worked as on the loop by hand in the same round.
    pub(crate) rounds: Vec<(Measured, Option<f64>)>,
}

/// The middle, the least and the most of several values.
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        Some(Spread { median: values[values.len() / 2], least, most })
    }
}

impl Cell {
    fn ratio(&self) -> Option<Spread> {
        Spread::of(self.rounds.iter().filter_map(|(_, ratio)| *ratio))
    }
}

/// Returns the table.
pub(crate) fn table(cells: &[Cell], events: usize) -> String {
    let mut table = String::from(
        "| query | engine | CPU s per million events | spread | × hand | spread | million events/s | peak MB | commits | \
         rows |\n|---|---|---:|---:|---:|---:|---:|---:|---:|---:|\n",
    );
    let millions = events as f64 / 1e6;
    for cell in cells {
        let all = |value: fn(&Measured) -> f64| Spread::of(cell.rounds.iter().map(|(measured, _)| value(measured)));
        let Some(cpu) = all(|measured| measured.processor_seconds) else { continue };
        let (Some(seconds), Some(peak), Some(commits)) = (
            all(|measured| measured.seconds),
            all(|measured| measured.peak_mb),
            all(|measured| measured.commits as f64),
        ) else {
            continue;
        };
        let [median, least, most] = [cpu.median, cpu.least, cpu.most].map(|seconds| seconds / millions);
        let (ratio, spread) = match cell.ratio() {
            Some(ratio) => (format!("{:.2}", ratio.median), format!("{:.2}–{:.2}", ratio.least, ratio.most)),
            None => ("–".into(), "–".into()),
        };
        writeln!(
            table,
            "| {} | {} | {median:.4} | {least:.4}–{most:.4} | {ratio} | {spread} | {:.1} | {:.0} | {:.0} | {} |",
            cell.query.name(),
            cell.engine.name(),
            millions / seconds.median,
            peak.median,
            commits.median,
            cell.rounds[0].0.answer.rows,
        )
        .expect("a string takes everything");
    }
    table
}

/// Returns what stands above a table: the machine, and the command.
pub(crate) fn heading(events: usize, rounds: usize) -> String {
    format!(
        "# NEXMark and a keyed count\n\n\
         The same {events} events of 40 bytes in memory, the same answers, {rounds} rounds in which the engines take turns, \
         each run in a process of its own. Medians; a ratio is that of the CPU seconds to the loop by hand of the same \
         round. Peak memory is beyond the events. What each query asks and each engine does stands in \
         [bench](../../bench/README.md).\n\n\
         {}",
        page::machine(),
    )
}

/// Draws the ratios to the loop by hand, a bar for each engine and query, on a scale of powers of two.
pub(crate) fn chart(cells: &[Cell], path: &Path) -> Result<(), String> {
    let bars: Vec<(&Cell, f64)> = cells
        .iter()
        .filter(|cell| cell.engine != Engine::Hand)
        .filter_map(|cell| Some((cell, cell.ratio()?.median)))
        .collect();
    let Some(most) = bars.iter().map(|(_, ratio)| *ratio).max_by(f64::total_cmp) else {
        return Err("a chart is of ratios to the loop by hand: name `hand` among the engines".into());
    };
    let (row, left, right, top) = (16, 220, 60, 40);
    let size = (900u32, (top + row * bars.len() as i32 + 20) as u32);
    let powers = most.log2().ceil().max(1.0);
    let place = |ratio: f64| left + ((size.0 as i32 - left - right) as f64 * (ratio.log2().max(0.0) / powers)) as i32;
    let area = SVGBackend::new(path, size).into_drawing_area();
    let draw = || -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        area.fill(&WHITE)?;
        let text = |size: i32| ("sans-serif", size).into_font().color(&BLACK);
        area.draw(&Text::new("CPU seconds, as a multiple of the loop by hand", (left, 4), text(14)))?;
        for power in 0..=powers as i32 {
            let at = place(2f64.powi(power));
            let line = vec![(at, top - 4), (at, top + row * bars.len() as i32)];
            area.draw(&PathElement::new(line, BLACK.mix(0.2)))?;
            area.draw(&Text::new(format!("{}×", 1u64 << power), (at - 8, top - 18), text(11)))?;
        }
        for (number, (cell, ratio)) in bars.iter().enumerate() {
            let y = top + row * number as i32;
            let color = match cell.engine {
                Engine::Timely => RGBColor(0xE6, 0x9F, 0x00),
                Engine::Renoir => RGBColor(0x99, 0x99, 0x99),
                Engine::PitonOff | Engine::PitonOffUnchained | Engine::PitonOffTwo => RGBColor(0x56, 0xB4, 0xE9),
                _ => RGBColor(0x00, 0x72, 0xB2),
            };
            let name = format!("{} {}", cell.query.name(), cell.engine.name());
            area.draw(&Text::new(name, (8, y), text(12)))?;
            area.draw(&Rectangle::new([(left, y + 1), (place(*ratio), y + row - 2)], color.filled()))?;
            area.draw(&Text::new(format!("{ratio:.2}"), (place(*ratio) + 4, y), text(11)))?;
        }
        area.present()
    };
    draw().map_err(|error| format!("{} is not drawn: {error}", path.display()))
}
