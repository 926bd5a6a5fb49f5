//! The options of a `join`, as they are written.

use serde::Deserialize;
use serde_json::Value;

use super::super::options::nearest;
use crate::blueprint::Fault;
use crate::duration::milliseconds;
use crate::join::How;

/// The options of a `join`.
#[derive(Deserialize)]
pub(super) struct Settings {
    on: Value,
    #[serde(default = "inner")]
    kind: String,
    within: Option<String>,
    window: Option<Value>,
    #[serde(default)]
    newest: bool,
}

fn inner() -> String {
    "inner".into()
}

/// The names of the key columns, each with the option that it stands in.
pub(super) struct On {
    pub(super) left: Vec<(String, String)>,
    pub(super) right: Vec<(String, String)>,
    /// Whether both sides have the same names, so that they come out once.
    pub(super) is_shared: bool,
}

impl Settings {
    /// Returns everything that is wrong without looking at the inputs.
    pub(super) fn check(&self) -> Vec<Fault> {
        let mut faults = self.on().err().unwrap_or_default();
        faults.extend(self.how().err().unwrap_or_default());
        faults
    }

    /// Returns the option because of which event time decides about partners, if it does.
    pub(super) fn waits_for_event_time(&self) -> Option<&'static str> {
        match (&self.within, &self.window) {
            (Some(_), _) => Some("within"),
            (None, Some(_)) => Some("window"),
            (None, None) => None,
        }
    }

    /// Returns which columns have to be equal.
    pub(super) fn on(&self) -> Result<On, Vec<Fault>> {
        let on = match &self.on {
            Value::Array(_) => {
                let names = names(&self.on, "on")?;
                On { left: names.clone(), right: names, is_shared: true }
            }
            Value::Object(sides) => {
                if let Some(other) = sides.keys().find(|name| *name != "left" && *name != "right") {
                    return Err(vec![Fault::new(format!("on.{other}"), "`on` has `left` and `right`, nothing else")]);
                }
                let side = |name: &str| match sides.get(name) {
                    Some(columns) => names(columns, &format!("on.{name}")),
                    None => Err(vec![Fault::new("on", format!("`{name}` is missing: its columns, in the same order"))]),
                };
                match (side("left"), side("right")) {
                    (Ok(left), Ok(right)) => On { left, right, is_shared: false },
                    (left, right) => {
                        return Err([left.err(), right.err()].into_iter().flatten().flatten().collect());
                    }
                }
            }
            _ => {
                let message = "write a list of columns, or { left = […], right = […] }";
                return Err(vec![Fault::new("on", message)]);
            }
        };
        if on.left.len() != on.right.len() {
            let message = format!("`left` names {} columns, `right` {}", on.left.len(), on.right.len());
            return Err(vec![Fault::new("on", message)]);
        }
        Ok(on)
    }

    /// Returns which rows of a key are partners.
    pub(super) fn how(&self) -> Result<How, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut ways = Vec::new();
        if let Some(text) = &self.within {
            match milliseconds(text) {
                Ok(distance) => ways.push(("within", How::within(distance))),
                Err(message) => faults.push(Fault::new("within", message)),
            }
        }
        if let Some(window) = &self.window {
            match tumbling(window) {
                Ok(size) => ways.push(("window", How::tumbling(size))),
                Err(fault) => faults.push(fault),
            }
        }
        if self.newest {
            ways.push(("newest", How::newest()));
        }
        if let [(first, _), (second, _), ..] = ways[..] {
            faults.push(Fault::new(second, format!("`{first}` and `{second}` are two ways to join; give one of them")));
        }
        let is_left = match self.kind.as_str() {
            "inner" => false,
            "left" => true,
            other => {
                let meant = nearest(other, &["inner", "left"]);
                let meant = meant.map_or_else(String::new, |near| format!(", did you mean \"{near}\"?"));
                let swap = if other == "right" { "; swap the two inputs for a right join" } else { "" };
                faults.push(Fault::new("kind", format!("\"{other}\" is not \"inner\" or \"left\"{meant}{swap}")));
                false
            }
        };
        if !faults.is_empty() {
            return Err(faults);
        }
        let how = ways.first().map_or(How::whole(), |(_, how)| *how);
        Ok(if is_left { how.left() } else { how })
    }
}

fn names(value: &Value, option: &str) -> Result<Vec<(String, String)>, Vec<Fault>> {
    let not_names = || vec![Fault::new(option, "write the names of columns, such as [\"origin\", \"hour\"]")];
    let columns = value.as_array().filter(|columns| !columns.is_empty()).ok_or_else(not_names)?;
    let mut found: Vec<(String, String)> = Vec::new();
    for (index, column) in columns.iter().enumerate() {
        let name = column.as_str().ok_or_else(not_names)?.to_string();
        let place = format!("{option}[{index}]");
        if found.iter().any(|(_, earlier)| *earlier == name) {
            return Err(vec![Fault::new(place, format!("column `{name}` is named twice"))]);
        }
        found.push((place, name));
    }
    Ok(found)
}

fn tumbling(window: &Value) -> Result<i64, Fault> {
    let (option, length) = match window {
        Value::String(length) => ("window", length),
        Value::Object(kind) => match kind.iter().next() {
            Some((name, Value::String(length))) if name == "tumbling" && kind.len() == 1 => ("window.tumbling", length),
            Some((name, _)) if name != "tumbling" => {
                let message = "a join takes tumbling windows only: write \"1h\" or { tumbling = \"1h\" }, or `within`";
                return Err(Fault::new(format!("window.{name}"), message));
            }
            _ => return Err(Fault::new("window", "write \"1h\" or { tumbling = \"1h\" }")),
        },
        _ => return Err(Fault::new("window", "write \"1h\" or { tumbling = \"1h\" }")),
    };
    match milliseconds(length).map_err(|message| Fault::new(option, message))? {
        0 => Err(Fault::new(option, "a time window of no length holds nothing")),
        size => Ok(size),
    }
}
