//! Sums up what each user spends per minute of event time: an aggregate in time windows, which wait for rows that come
//! late.
//!
//! ```text
//! cargo run --example spend_per_user -- run examples/spend_per_user.toml
//! cat out/spend_per_user/*               # "10:00 ada 1250", "10:00 ben 550", ...
//! ```

use std::fmt;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;

use piton::files::{LineSinkKind, LineSourceKind};
use piton::prelude::*;
use serde::{Deserialize, Serialize};

const MINUTE: i64 = 60_000;

/// Sums up what each user spends. The topology file says in which windows.
#[derive(Clone, Deserialize)]
struct SpendPerUser {}

impl Aggregate for SpendPerUser {
    type In = Purchase;
    type Sum = u64;
    type Out = Spend;

    fn key(&self, purchase: &Purchase) -> Key {
        Key::from(&purchase.user)
    }

    fn add(&self, cents: &mut u64, purchase: &Purchase) {
        *cents += purchase.cents;
    }

    fn merge(&self, cents: &mut u64, others: &u64) {
        *cents += others;
    }

    fn result(&self, user: &Key, window: TimeWindow, cents: &u64) -> Spend {
        let user = user.as_str().unwrap_or_default().to_string();
        Spend { user, at: window.start, cents: *cents }
    }
}

/// A purchase, from a line such as `10:00:07 ada 1200`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Purchase {
    /// Milliseconds since midnight.
    at: i64,
    user: String,
    cents: u64,
}

impl FromStr for Purchase {
    type Err = String;

    fn from_str(line: &str) -> std::result::Result<Purchase, String> {
        let wrong = || format!("\"{line}\" is not of the form \"10:00:07 ada 1200\"");
        let [time, user, cents] = line.split(' ').collect::<Vec<_>>()[..] else { return Err(wrong()) };
        let mut at = 0;
        for part in time.split(':') {
            at = at * 60 + part.parse::<i64>().map_err(|_| wrong())?;
        }
        Ok(Purchase { at: at * 1000, user: user.to_string(), cents: cents.parse().map_err(|_| wrong())? })
    }
}

/// What a user has spent in the window that begins at `at`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Spend {
    user: String,
    at: i64,
    cents: u64,
}

impl fmt::Display for Spend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minute = self.at / MINUTE;
        write!(f, "{:02}:{:02} {} {}", minute / 60, minute % 60, self.user, self.cents)
    }
}

fn main() -> ExitCode {
    let mut registry = piton::Registry::stock();
    registry.aggregate::<SpendPerUser>("spend_per_user");
    registry.add_source_kind("purchases", Arc::new(LineSourceKind::<Purchase>::with_time(|purchase| purchase.at)));
    registry.add_sink_kind("spends", Arc::new(LineSinkKind::<Spend>::default()));
    piton::cli::main(registry)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use piton::harness::Harness;
    use piton::{Timing, Tumbling, Windowed};

    use super::*;

    #[test]
    fn sums_and_timers_survive_a_crash() -> Result {
        let [first, second] = ["10:00:07 ada 1200", "10:00:59 ada 50"].map(|line| line.parse::<Purchase>().unwrap());
        let minutes = Timing::of(Tumbling::of(Duration::from_secs(60)));
        let spends = Harness::new(move || Windowed::new(SpendPerUser {}, minutes).expect("a minute is a window"))
            .push_at(first.at, first)?
            .checkpoint()?
            .crash()?
            .push_at(second.at, second)?
            .watermark(10 * 60 * MINUTE + MINUTE)?
            .output();
        let lines: Vec<String> = spends.iter().map(Spend::to_string).collect();
        assert_eq!(lines, ["10:00 ada 1250"]);
        Ok(())
    }
}
