//! Reading the options of a stock kind: every mistake at once, with the nearest known name.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::blueprint::{Fault, KindDoc, OptionDoc, Options, read_options};

/// Describes an option that may be left out.
pub(super) fn option(name: &'static str, default: &'static str, doc: &'static str) -> OptionDoc {
    OptionDoc { name, default: Some(default), doc }
}

/// Describes an option that must be given.
pub(super) fn required(name: &'static str, doc: &'static str) -> OptionDoc {
    OptionDoc { name, default: None, doc }
}

/// Reads options into settings. What `doc` does not name is a fault, and so is a required one that is missing.
pub(super) fn read<C: DeserializeOwned>(options: &mut Options<'_>, doc: &KindDoc) -> Result<C, Vec<Fault>> {
    let mut table: Map<String, Value> = read_options(options)?;
    let names: Vec<&str> = doc.options.iter().map(|option| option.name).collect();
    let mut faults = Vec::new();
    for name in table.keys().filter(|name| !names.contains(&name.as_str())) {
        faults.push(Fault::new(name, unknown("option", name, &names)));
    }
    table.retain(|name, _| names.contains(&name.as_str()));
    for missing in doc.options.iter().filter(|option| option.default.is_none() && !table.contains_key(option.name)) {
        faults.push(Fault::new(missing.name, format!("option `{}` is missing: {}", missing.name, missing.doc)));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    read_options(&mut <dyn erased_serde::Deserializer<'_>>::erase(Value::Object(table)))
}

/// Says that something does not exist, what was probably meant, and what does exist.
pub(crate) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let meant = nearest(name, known).map_or_else(String::new, |near| format!(", did you mean `{near}`?"));
    format!("unknown {what} `{name}`{meant} ({what}s: {})", known.join(", "))
}

/// Returns the known name that a wrong one was probably meant to be.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let closest =
        known.iter().map(|known| (distance(&lower, &known.to_lowercase()), *known)).min_by_key(|near| near.0)?;
    let tolerance = 1 + name.chars().count() / 4;
    (closest.0 <= tolerance).then_some(closest.1)
}

/// How many letters to insert, delete or replace to turn one text into the other; a swap of neighbours counts once.
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let replace = last[j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut least = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[right.len()]
}

/// Reads a rate such as `"5000/s"` or `"10/min"` as rows per second.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    let wrong = || format!("`{text}` is not a rate; write rows per unit of time, as in \"5000/s\" or \"10/min\"");
    let (rows, unit) = text.split_once('/').ok_or_else(wrong)?;
    let rows: f64 = rows.trim().replace('_', "").parse().map_err(|_| wrong())?;
    let seconds = match unit.trim() {
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    if rows > 0.0 && rows.is_finite() { Ok(rows / seconds) } else { Err(wrong()) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde::Deserialize;

    /// Reads JSON as the options of a kind.
    pub(crate) fn with_options<T>(json: &Value, read: impl FnOnce(&mut Options<'_>) -> T) -> T {
        read(&mut <dyn erased_serde::Deserializer<'_>>::erase(json))
    }

    #[derive(Debug, Deserialize)]
    struct Sample {
        path: String,
        rows: Option<u64>,
    }

    fn doc() -> KindDoc {
        KindDoc { doc: "", options: vec![required("path", "where"), option("rows", "", "how many")] }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let json = serde_json::json!({ "rwos": 1, "limit": 2 });
        let faults = with_options(&json, |options| read::<Sample>(options, &doc())).unwrap_err();
        let told: Vec<_> = faults.iter().map(|fault| (fault.option.as_str(), fault.message.as_str())).collect();
        assert_eq!(
            told,
            [
                ("rwos", "unknown option `rwos`, did you mean `rows`? (options: path, rows)"),
                ("limit", "unknown option `limit` (options: path, rows)"),
                ("path", "option `path` is missing: where"),
            ]
        );
    }

    #[test]
    fn a_value_of_the_wrong_type_names_its_option() {
        let json = serde_json::json!({ "path": "a", "rows": "many" });
        let faults = with_options(&json, |options| read::<Sample>(options, &doc())).unwrap_err();
        assert_eq!(faults[0].option, "rows");
        let json = serde_json::json!({ "path": "a", "rows": 3 });
        let sample = with_options(&json, |options| read::<Sample>(options, &doc())).unwrap();
        assert_eq!((sample.path.as_str(), sample.rows), ("a", Some(3)));
    }

    #[test]
    fn near_names_are_found_and_far_ones_are_not() {
        assert_eq!(nearest("dep_dely", &["dep_delay", "arr_delay"]), Some("dep_delay"));
        assert_eq!(nearest("Carrier", &["carrier"]), Some("carrier"));
        assert_eq!(nearest("xyz", &["carrier", "origin"]), None);
        assert_eq!(distance("wehre", "where"), 1);
    }

    #[test]
    fn units_are_required() {
        assert_eq!(rate("5000/s"), Ok(5000.0));
        assert_eq!(rate("60/min"), Ok(1.0));
        assert!(rate("5000").is_err() && rate("0/s").is_err() && rate("x/s").is_err());
    }
}
