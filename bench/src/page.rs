//! What every page of figures has: the machine, the command, medians, and a chart with logarithmic axes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use plotters::prelude::*;

/// Where a page goes, if anywhere.
#[derive(Args)]
pub(crate) struct Written {
    /// Writes a page and a chart.
    #[arg(long)]
    pub(crate) write: bool,
    /// Where to.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/benchmarks"))]
    folder: PathBuf,
}

impl Written {
    /// Writes a page, after what it shows has been drawn into its folder, if it is wanted.
    pub(crate) fn page(
        &self,
        name: &str,
        page: &str,
        draw: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<(), String> {
        if !self.write {
            return Ok(());
        }
        let failed = |error: std::io::Error| format!("{} is not written: {error}", self.folder.display());
        fs::create_dir_all(&self.folder).map_err(failed)?;
        draw(&self.folder)?;
        fs::write(self.folder.join(name), page).map_err(failed)
    }
}

/// Returns the machine and the command, as a list.
pub(crate) fn machine() -> String {
    let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let models: Vec<&str> = processors
        .lines()
        .filter_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, model)| model.trim()))
        .collect();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kilobytes =
        memory.lines().find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok());
    let gigabytes: f64 = kilobytes.unwrap_or(f64::NAN) / 1e6;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy: Vec<&str> = load.split(' ').take(3).collect();
    let features = match (cfg!(feature = "peers"), cfg!(feature = "arrow")) {
        (true, true) => " --features peers,arrow",
        (true, false) => " --features peers",
        (false, true) => " --features arrow",
        (false, false) => "",
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!(
        "- machine: {} × {}, {gigabytes:.0} GB, Linux {}, load {} at the end\n\
         - command: `cargo run --release -p bench{features} -- {}`\n\n",
        models.len(),
        models.first().unwrap_or(&"unknown"),
        kernel.trim(),
        busy.join(" "),
        arguments.join(" "),
    )
}

/// Returns the middle of several values; NaN of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Returns the value that so large a share of sorted values does not exceed; NaN of none.
pub(crate) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

/// A line of a chart: its name, and its points from left to right.
pub(crate) type Line = (String, Vec<(f64, f64)>);

/// Draws lines over two logarithmic axes.
pub(crate) fn chart(path: &Path, title: &str, below: &str, lines: &[Line]) -> Result<(), String> {
    // A logarithm has no place for anything else.
    let is_shown = |(x, y): &(f64, f64)| *x > 0.0 && *y > 0.0 && x.is_finite() && y.is_finite();
    let points: Vec<(f64, f64)> = lines.iter().flat_map(|(_, points)| points).copied().filter(is_shown).collect();
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let least = points.iter().map(of).fold(f64::INFINITY, f64::min).log10().floor();
        let most = points.iter().map(of).fold(0.0, f64::max).log10().ceil();
        (least, most.max(least + 1.0))
    };
    if points.is_empty() {
        return Err(format!("there is nothing to draw for {}", path.display()));
    }
    let ((x0, x1), (y0, y1)) = (bounds(|point| point.0), bounds(|point| point.1));
    let (left, right, top, bottom) = (70, 660, 40, 360);
    let across = |x: f64| left + (f64::from(right - left) * (x.log10() - x0) / (x1 - x0)) as i32;
    let up = |y: f64| bottom - (f64::from(bottom - top) * (y.log10() - y0) / (y1 - y0)) as i32;
    let area = SVGBackend::new(path, (900, 410)).into_drawing_area();
    let draw = || -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let text = |size: i32| ("sans-serif", size).into_font().color(&BLACK);
        area.fill(&WHITE)?;
        area.draw(&Text::new(title.to_string(), (left, 10), text(14)))?;
        area.draw(&Text::new(below.to_string(), (left, bottom + 28), text(12)))?;
        for power in x0 as i32..=x1 as i32 {
            let at = across(10f64.powi(power));
            area.draw(&PathElement::new(vec![(at, top), (at, bottom)], BLACK.mix(0.2)))?;
            area.draw(&Text::new(number(10f64.powi(power)), (at - 8, bottom + 8), text(11)))?;
        }
        for power in y0 as i32..=y1 as i32 {
            let at = up(10f64.powi(power));
            area.draw(&PathElement::new(vec![(left, at), (right, at)], BLACK.mix(0.2)))?;
            area.draw(&Text::new(number(10f64.powi(power)), (8, at - 6), text(11)))?;
        }
        for (index, (name, points)) in lines.iter().enumerate() {
            let color = Palette99::pick(index);
            let places: Vec<(i32, i32)> =
                points.iter().filter(|point| is_shown(point)).map(|(x, y)| (across(*x), up(*y))).collect();
            for place in &places {
                area.draw(&Circle::new(*place, 3, color.filled()))?;
            }
            area.draw(&PathElement::new(places, color.stroke_width(2)))?;
            let y = top + 16 * index as i32;
            area.draw(&Rectangle::new([(right + 12, y + 2), (right + 22, y + 12)], color.filled()))?;
            area.draw(&Text::new(name.clone(), (right + 28, y), text(12)))?;
        }
        area.present()
    };
    draw().map_err(|error| format!("{} is not drawn: {error}", path.display()))
}

/// Writes a power of ten as one says it.
fn number(power: f64) -> String {
    match power {
        power if power >= 1e9 => format!("{} G", power / 1e9),
        power if power >= 1e6 => format!("{} M", power / 1e6),
        power if power >= 1e3 => format!("{} k", power / 1e3),
        power => format!("{power}"),
    }
}
