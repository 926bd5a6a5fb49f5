//! The live display of a running job: one line at the foot of the terminal.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use parking_lot::Mutex;

use crate::cli::text::{count, number, span};
use crate::clock::Clock;
use crate::runtime::{Event, Progress};

const REDRAW: Duration = Duration::from_millis(200);
/// The rate is that of so much time.
const SPAN: Duration = Duration::from_secs(2);

/// What events say of a job.
#[derive(Default)]
struct Told {
    /// Whether it continues from somewhere: then the first records counted are those of before.
    resumed: bool,
    window: Option<u64>,
    restarts: u64,
}

/// Follows a job for the display.
#[derive(Clone, Default)]
pub(super) struct Live {
    told: Arc<Mutex<Told>>,
}

impl Live {
    /// Takes note of an event.
    pub(super) fn on(&self, event: &Event) {
        let mut told = self.told.lock();
        match event {
            Event::Started { resumed_from, .. } => {
                told.resumed = !resumed_from.is_empty();
                told.window = resumed_from.values().max().copied();
            }
            Event::Committed { window, .. } => told.window = told.window.max(Some(*window)),
            Event::Restarted { .. } => told.restarts += 1,
            _ => {}
        }
    }

    /// Makes the display, which draws itself until it is finished.
    pub(super) fn bar(&self, job: &str, progress: &Progress, clock: Clock) -> ProgressBar {
        let (told, progress, job) = (Arc::clone(&self.told), progress.clone(), job.to_string());
        let rate: Arc<Mutex<Rate>> = Arc::default();
        let line = move |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let told = told.lock();
            let records = progress.records_in();
            let rate = rate.lock().at(clock.monotonic(), records, told.resumed);
            let elapsed = u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX);
            let out_of_it = progress.records_out();
            // A line that cannot be formatted is not drawn.
            line(out, &job, [records, rate, out_of_it], &told, elapsed).ok();
        };
        let style = ProgressStyle::with_template("{line}").expect("the template has one key").with_key("line", line);
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()).with_style(style);
        bar.enable_steady_tick(REDRAW);
        bar
    }
}

fn line(
    out: &mut dyn std::fmt::Write,
    job: &str,
    [records, rate, written]: [u64; 3],
    told: &Told,
    elapsed: u64,
) -> std::fmt::Result {
    let (records, rate, written) = (number(records), number(rate), number(written));
    write!(out, "{job}  {records} records in ({rate}/s), {written} out")?;
    match told.window {
        Some(window) => write!(out, "  window {window} committed")?,
        None => write!(out, "  nothing committed yet")?,
    }
    if told.restarts > 0 {
        write!(out, "  {}", count(told.restarts, "restart"))?;
    }
    write!(out, "  {}", span(elapsed / 1_000 * 1_000))
}

/// How many records there are in a second, over the last moments.
#[derive(Default)]
struct Rate {
    seen: VecDeque<(Duration, u64)>,
}

impl Rate {
    /// Takes a count and returns the rate. A count that goes back is that of a restart: it begins anew.
    fn at(&mut self, now: Duration, records: u64, resumed: bool) -> u64 {
        let starts = resumed && self.seen.back().is_none_or(|(_, before)| *before == 0) && records > 0;
        if starts || self.seen.back().is_some_and(|(_, before)| *before > records) {
            self.seen.clear();
        }
        self.seen.push_back((now, records));
        while self.seen.len() > 2 && self.seen.get(1).is_some_and(|(at, _)| now.saturating_sub(*at) >= SPAN) {
            self.seen.pop_front();
        }
        let Some((since, before)) = self.seen.front() else { return 0 };
        let took = now.saturating_sub(*since).as_millis();
        let done = u128::from(records - before) * 1_000;
        done.checked_div(took).map_or(0, |rate| u64::try_from(rate).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(resumed: bool, counts: &[u64]) -> Vec<u64> {
        let mut rate = Rate::default();
        let at = |second: usize| Duration::from_secs(second as u64);
        counts.iter().enumerate().map(|(second, count)| rate.at(at(second), *count, resumed)).collect()
    }

    #[test]
    fn the_rate_is_that_of_the_last_moments() {
        assert_eq!(rates(false, &[0, 100, 300, 300, 300]), [0, 100, 150, 100, 0]);
    }

    #[test]
    fn records_of_an_earlier_life_are_no_rate() {
        assert_eq!(rates(true, &[0, 5_000, 5_100]), [0, 0, 100]);
    }

    #[test]
    fn a_restart_gives_no_negative_rate() {
        assert_eq!(rates(false, &[0, 100, 50, 60]), [0, 100, 0, 10]);
    }

    #[test]
    fn the_line_says_how_far_the_job_is() {
        let live = Live::default();
        live.on(&Event::Committed { region: "in".into(), window: 34, bytes: 0, took_ms: 3 });
        let mut text = String::new();
        line(&mut text, "flights", [1_234, 56, 7], &live.told.lock(), 12_345).unwrap();
        assert_eq!(text, "flights  1,234 records in (56/s), 7 out  window 34 committed  12.0 s");
    }
}
