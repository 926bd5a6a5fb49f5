//! What two runs remember in the end, and what they have set aside: read with the commands that anybody has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::chaos::compare::Late;
use crate::chaos::invariants::{InvariantId, Violation};
use crate::chaos::live::process::Runner;
use crate::chaos::report;
use crate::chaos::rows::is_same_value;
use crate::chaos::words::quoted;
use crate::error::{Error, Result};

/// The keyed state of a job: of each operator and key what it has.
type Kept = BTreeMap<(String, String), Value>;

/// Returns how many records have come late in a run, as its operators have counted them.
///
/// # Errors
/// If its state cannot be read.
pub(super) fn late(runner: &Runner) -> Result<Late> {
    let mut late = Late::new();
    for line in runner.ask(&["state", "export"])?.lines() {
        let value = read(line)?;
        if let Some(records) = value["local"]["late"].as_u64().filter(|records| *records > 0) {
            *late.entry(value["operator"].as_str().unwrap_or_default().to_string()).or_default() += records;
        }
    }
    Ok(late)
}

/// Compares the state of two runs.
///
/// # Errors
/// If one of them cannot be read.
pub(super) fn compare(
    golden: &Runner,
    broken: &Runner,
    not_compared: &[(String, String)],
) -> Result<(report::State, Vec<Violation>)> {
    let skipped: BTreeSet<&str> = not_compared.iter().map(|(name, _)| name.as_str()).collect();
    let (mut golden, mut broken) = (export(golden)?, export(broken)?);
    let has_state = |name: &str| golden.keys().chain(broken.keys()).any(|(operator, _)| operator == name);
    let not_compared: Vec<(String, String)> =
        not_compared.iter().filter(|(name, _)| has_state(name)).cloned().collect();
    for kept in [&mut golden, &mut broken] {
        kept.retain(|(operator, _), _| !skipped.contains(operator.as_str()));
    }
    let (differing, first) = differences(&golden, &broken);
    let violations = first.map(|first| {
        let keys = golden.len().max(broken.len());
        InvariantId::StateComplete.broken(format!("the state of {differing} of {keys} keys differs: {first}"))
    });
    let operators: BTreeSet<&String> = golden.keys().map(|(operator, _)| operator).collect();
    let state = report::State { operators: operators.len() as u64, keys: golden.len() as u64, differing, not_compared };
    Ok((state, violations.into_iter().collect()))
}

fn export(runner: &Runner) -> Result<Kept> {
    let mut kept = Kept::new();
    for line in runner.ask(&["state", "export"])?.lines() {
        let value = read(line)?;
        let operator = value["operator"].as_str().unwrap_or_default().to_string();
        let key = match value.get("key") {
            Some(key) => key.to_string(),
            // Values that belong to no key belong to a subtask.
            None => format!("subtask {}", value["subtask"]),
        };
        let mut parts = value;
        if let Some(parts) = parts.as_object_mut() {
            parts.retain(|name, _| ["state", "timers", "local"].contains(&name.as_str()));
        }
        kept.insert((operator, key), parts);
    }
    Ok(kept)
}

/// Returns how many keys differ, and the first of them in words.
fn differences(golden: &Kept, broken: &Kept) -> (u64, Option<String>) {
    let mut differing = 0;
    let mut first = None;
    for ((operator, key), value) in golden {
        let other = broken.get(&(operator.clone(), key.clone()));
        if other.is_some_and(|other| is_same_value(value, other)) {
            continue;
        }
        differing += 1;
        first.get_or_insert_with(|| format!("operator \"{operator}\", key {}: {}", quoted(key), unlike(value, other)));
    }
    for ((operator, key), value) in broken {
        if !golden.contains_key(&(operator.clone(), key.clone())) {
            differing += 1;
            first.get_or_insert_with(|| {
                let (key, value) = (quoted(key), quoted(&value.to_string()));
                format!("operator \"{operator}\", key {key}: there is {value}, and there should be nothing")
            });
        }
    }
    (differing, first)
}

/// Says in what a state differs from what it should be: which part of it, as deep as both have it.
fn unlike(golden: &Value, other: Option<&Value>) -> String {
    let (mut golden, mut other, mut path) = (golden, other, String::new());
    while let (Value::Object(wanted), Some(Value::Object(there))) = (golden, other) {
        let differs = |name: &&String| match (wanted.get(*name), there.get(*name)) {
            (Some(wanted), Some(there)) => !is_same_value(wanted, there),
            _ => true,
        };
        let Some(name) = wanted.keys().chain(there.keys()).find(differs) else { break };
        path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        (golden, other) = (wanted.get(name).unwrap_or(&Value::Null), there.get(name));
    }
    let shown = |value: &Value| quoted(&value.to_string());
    let there = other.map_or_else(|| "nothing".into(), shown);
    let what = if path.is_empty() { "it" } else { &path };
    format!("{what} is {there}, not {}", shown(golden))
}

/// Compares the records that two runs have set aside.
///
/// # Errors
/// If they cannot be read.
pub(super) fn compare_letters(
    golden: &Runner,
    broken: &Runner,
    not_compared: &[(String, String)],
) -> Result<(report::Letters, Vec<Violation>)> {
    let (golden, broken) = (letters(golden, not_compared)?, letters(broken, not_compared)?);
    let count = |letters: &BTreeMap<String, u64>| letters.values().sum();
    let report = report::Letters { golden: count(&golden), committed: count(&broken) };
    let wrong = golden.keys().chain(broken.keys()).find(|letter| golden.get(*letter) != broken.get(*letter));
    let violation = wrong.map(|letter| {
        let times = |letters: &BTreeMap<String, u64>| letters.get(letter).copied().unwrap_or(0);
        let message = format!("set aside {} times, not {}: {}", times(&broken), times(&golden), quoted(letter));
        InvariantId::LettersExactlyOnce.broken(message)
    });
    Ok((report, violation.into_iter().collect()))
}

/// Returns by whom which records were set aside, and how often. When that was is a matter of the run.
fn letters(runner: &Runner, not_compared: &[(String, String)]) -> Result<BTreeMap<String, u64>> {
    let mut letters = BTreeMap::new();
    for line in runner.ask(&["deadletters", "export"])?.lines() {
        let value = read(line)?;
        if not_compared.iter().any(|(name, _)| value["operator"] == **name) {
            continue;
        }
        *letters.entry(format!("{} {}", value["operator"], value["record"])).or_default() += 1;
    }
    Ok(letters)
}

fn read(line: &str) -> Result<Value> {
    serde_json::from_str(line).map_err(|error| Error::failed(format!("{} is no JSON: {error}", quoted(line))))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kept(entries: &[(&str, Value)]) -> Kept {
        entries.iter().map(|(key, value)| (("count".to_string(), key.to_string()), value.clone())).collect()
    }

    #[test]
    fn every_key_that_differs_counts_and_the_first_is_shown() {
        let golden = kept(&[("a", json!({ "n": 1 })), ("b", json!({ "mean": 0.3 })), ("c", json!({ "n": 3 }))]);
        let broken = kept(&[("a", json!({ "n": 2 })), ("b", json!({ "mean": 0.30000000000000004 })), ("d", json!({}))]);
        let (differing, first) = differences(&golden, &broken);
        assert_eq!(differing, 3);
        assert_eq!(first.unwrap(), "operator \"count\", key `a`: n is `2`, not `1`");
        assert_eq!(differences(&golden, &golden), (0, None));
    }
}
