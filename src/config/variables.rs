//! `${NAME}` and `${NAME:-default}` inside text values: the environment's part of a file.

use std::collections::BTreeMap;

use toml::Value;

use crate::config::document::join;
use crate::config::problem::Problems;

/// Replaces the variables in every text below a value. Adds to `replaced` the paths of the texts that changed.
pub(crate) fn replace(
    value: &mut Value,
    path: &str,
    environment: &BTreeMap<String, String>,
    replaced: &mut Vec<String>,
    problems: &mut Problems,
) {
    match value {
        Value::String(text) if text.contains("${") => match replace_in(text, environment) {
            Ok(new) => {
                *text = new;
                replaced.push(path.to_string());
            }
            Err(messages) => {
                for message in messages {
                    problems.value(path, message);
                }
            }
        },
        Value::Array(values) => {
            for (index, value) in values.iter_mut().enumerate() {
                replace(value, &format!("{path}[{index}]"), environment, replaced, problems);
            }
        }
        Value::Table(table) => {
            for (key, value) in table.iter_mut() {
                replace(value, &join(path, key), environment, replaced, problems);
            }
        }
        _ => {}
    }
}

fn replace_in(text: &str, environment: &BTreeMap<String, String>) -> Result<String, Vec<String>> {
    let mut new = String::with_capacity(text.len());
    let mut wrong = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let before = &rest[..at];
        let after = &rest[at + 2..];
        // `$${` stands for `${` itself.
        if let Some(before) = before.strip_suffix('$') {
            new.push_str(before);
            new.push_str("${");
            rest = after;
            continue;
        }
        new.push_str(before);
        let Some(end) = after.find('}') else {
            wrong.push("`${` is not closed; write \"${NAME}\", or \"$${\" for the characters themselves".to_string());
            rest = after;
            break;
        };
        match look_up(&after[..end], environment) {
            Ok(value) => new.push_str(value),
            Err(message) => wrong.push(message),
        }
        rest = &after[end + 1..];
    }
    new.push_str(rest);
    if wrong.is_empty() { Ok(new) } else { Err(wrong) }
}

fn look_up<'a>(inside: &'a str, environment: &'a BTreeMap<String, String>) -> Result<&'a str, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let valid = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !name.is_empty();
    if !valid {
        return Err(format!("\"${{{inside}}}\" does not name an environment variable; write \"${{NAME}}\""));
    }
    match (environment.get(name), default) {
        (Some(value), None) => Ok(value),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default),
        (None, None) => {
            Err(format!("environment variable \"{name}\" is not set; set it or write \"${{{name}:-default}}\""))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(text: &str) -> Result<String, Vec<String>> {
        let environment = [("DIR", "/data"), ("EMPTY", "")].map(|(name, value)| (name.into(), value.into()));
        replace_in(text, &environment.into())
    }

    #[test]
    fn variables_are_replaced_by_their_value_or_default() {
        assert_eq!(replaced("${DIR}/in.csv").unwrap(), "/data/in.csv");
        assert_eq!(replaced("${OTHER:-/tmp}/${DIR}").unwrap(), "/tmp//data");
        assert_eq!(replaced("${EMPTY:-full}${EMPTY}").unwrap(), "full");
        assert_eq!(replaced("costs $5 and $${DIR}").unwrap(), "costs $5 and ${DIR}");
    }

    #[test]
    fn every_variable_that_is_missing_is_named() {
        let wrong = replaced("${A}/${B}/${DIR}").unwrap_err();
        assert_eq!(wrong.len(), 2);
        assert!(wrong[0].contains("\"A\" is not set") && wrong[1].contains("${B:-default}"));
        assert!(replaced("${DIR").unwrap_err()[0].contains("not closed"));
        assert!(replaced("${a b}").unwrap_err()[0].contains("does not name"));
    }
}
