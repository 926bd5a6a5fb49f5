//! Delays by wind, a job in TOML alone with a join and time windows, are those that a plain loop over both files computes:
//! at any parallelism, and if the process is killed.
#![cfg(feature = "sql")]

#[path = "support/binary/mod.rs"]
mod binary;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use binary::folder::Folder;
use binary::process::{Job, Life, piton};
use binary::tree::scratch;

/// Month, day, wind and carrier.
type Group = (u32, u32, String, String);

#[derive(Default)]
struct Sums {
    flights: u64,
    departures: Vec<i64>,
    arrivals: Vec<i64>,
}

/// Flights, departed, mean and longest delay of departures, mean delay of arrivals, flights over 30 minutes late.
type Values = (u64, u64, Option<f64>, Option<i64>, Option<f64>, u64);

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Reads a file without quoted fields: each row by the names of its columns.
fn rows(file: &str) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(root().join("data").join(file)).unwrap();
    let mut lines = text.lines();
    let names: Vec<&str> = lines.next().unwrap().split(',').collect();
    let row = |line: &str| names.iter().map(ToString::to_string).zip(line.split(',').map(str::to_string)).collect();
    lines.map(row).collect()
}

fn wind(speed: Option<&f64>) -> &'static str {
    match speed {
        Some(speed) if *speed < 1.0 => "calm",
        Some(speed) if *speed < 13.0 => "light",
        Some(speed) if *speed < 25.0 => "fresh",
        Some(speed) if *speed <= 200.0 => "strong",
        _ => "unknown",
    }
}

fn expected() -> BTreeMap<Group, Values> {
    let mut speeds: BTreeMap<(String, String), f64> = BTreeMap::new();
    for row in rows("weather-2013-01.csv") {
        if let Ok(speed) = row["wind_speed"].parse() {
            speeds.insert((row["origin"].clone(), row["time_hour"].clone()), speed);
        }
    }
    let mut groups: BTreeMap<Group, Sums> = BTreeMap::new();
    for row in rows("flights-2013-01.csv") {
        let wind = wind(speeds.get(&(row["origin"].clone(), row["time_hour"].clone())));
        let (month, day) = (row["month"].parse().unwrap(), row["day"].parse().unwrap());
        let sums = groups.entry((month, day, wind.to_string(), row["carrier"].clone())).or_default();
        sums.flights += 1;
        sums.departures.extend(row["dep_delay"].parse::<i64>());
        sums.arrivals.extend(row["arr_delay"].parse::<i64>());
    }
    groups.into_iter().map(|(group, sums)| (group, values(&sums))).collect()
}

fn values(Sums { flights, departures, arrivals }: &Sums) -> Values {
    let mean = |delays: &[i64]| (!delays.is_empty()).then(|| delays.iter().sum::<i64>() as f64 / delays.len() as f64);
    let over = departures.iter().filter(|delay| **delay > 30).count() as u64;
    let longest = departures.iter().max().copied();
    (*flights, departures.len() as u64, mean(departures), longest, mean(arrivals), over)
}

/// The example in a folder of its own.
struct Example {
    job: Job,
    parallelism: u32,
}

impl Example {
    fn new(folder: &Path, parallelism: u32) -> Example {
        Example { job: Job::new(folder, ""), parallelism }
    }

    fn start(&self, more: &[&str]) -> Life {
        let mut command = Command::new(piton());
        command.arg("run").arg(root().join("examples/flights_weather.toml"));
        command.arg("--state").arg(self.job.path("state")).args(more);
        let out: PathBuf = self.job.path("out");
        command.arg("--set").arg(format!("sinks.delays.path={}", out.display()));
        command.arg("--set").arg(format!("job.parallelism={}", self.parallelism));
        self.job.spawn(command)
    }

    fn results(&self) -> BTreeMap<Group, Values> {
        let mut results = BTreeMap::new();
        let mut folder = Folder::new(self.job.path("out"), "delays");
        for (_, text) in folder.look() {
            let mut lines = text.lines();
            assert_eq!(
                lines.next(),
                Some(
                    "year,month,day,wind,carrier,window_start,window_end,flights,departed,mean_departure_delay,\
                     longest_departure_delay,mean_arrival_delay,over_30_minutes"
                )
            );
            for line in lines {
                let cells: Vec<&str> = line.split(',').collect();
                let [_, month, day, wind, carrier, _, _, flights, departed, mean, longest, arrival, over] = cells[..]
                else {
                    panic!("not so many columns: {line}")
                };
                let group = (month.parse().unwrap(), day.parse().unwrap(), wind.to_string(), carrier.to_string());
                let values = (
                    flights.parse().unwrap(),
                    departed.parse().unwrap(),
                    mean.parse().ok(),
                    longest.parse().ok(),
                    arrival.parse().ok(),
                    over.parse().unwrap(),
                );
                assert_eq!(results.insert(group, values), None, "a second time: {line}");
            }
        }
        folder.assert_whole();
        results
    }
}

#[test]
fn delays_by_wind_are_those_of_a_plain_loop() {
    let expected = expected();
    assert_eq!(expected.values().map(|values| values.0).sum::<u64>(), 27_004);
    for wind in ["calm", "light", "fresh", "strong", "unknown"] {
        assert!(expected.keys().any(|group| group.2 == wind), "no flight has {wind} wind");
    }
    for parallelism in [1, 4] {
        let folder = scratch();
        let example = Example::new(folder.path(), parallelism);
        example.start(&[]).wait().expect(0);
        assert!(example.results() == expected, "they differ at parallelism {parallelism}");
    }
}

#[test]
fn a_kill_changes_nothing_in_delays_by_wind() {
    let folder = scratch();
    let example = Example::new(folder.path(), 2);
    let slowly = ["--set", "sources.flights.rate=20000/s", "--set", "checkpoint.interval=50ms"];
    for life in [300, 700] {
        let ended = example.start(&slowly).kill_after(Duration::from_millis(life));
        assert!(ended.is_none(), "it cannot have finished yet: {ended:?}");
    }
    example.start(&[]).wait().expect(0);
    assert!(example.results() == expected());
}
