//! What a store holds, as people and programs are shown it: state by its keys, dead letters with their records.
//!
//! A key is shown as the operator in the topology file understands it, if the state was made for that: as the values of
//! its columns, for an `aggregate`.

pub(crate) mod json;
pub(crate) mod letter;

use piton_actors::blueprint::{OperatorBlueprint, ShowKey, ShowState};
use piton_actors::state::{KeyState, StateReader, Written};
use piton_actors::{Key, TimerKind, Timestamp};
use serde_json::{Map, Value, json};

use crate::error::{Error, Result};
use crate::protocol::manifest::{ChunkRef, Manifest};
use crate::runtime::shown::json::of_written;
use crate::topology::{Fingerprint, NodeKind, Plan};

/// The state of one subtask of an operator in a checkpoint.
pub(crate) struct Part<'m> {
    pub(crate) region: &'m str,
    pub(crate) operator: &'m str,
    pub(crate) subtask: u32,
    pub(crate) chunks: &'m [ChunkRef],
    key_groups: u32,
    /// What time it was for it: its watermark, and the engine's time.
    at: (Timestamp, Timestamp),
    /// How its operator shows a key, if the state is for what the operator is now.
    show: Option<ShowKey>,
    /// How it shows a value, likewise.
    show_state: Option<ShowState>,
}

impl<'m> Part<'m> {
    /// Returns the parts of a checkpoint, with and without state, in the order of the manifest.
    ///
    /// # Errors
    /// Of kind `State` if its topology cannot be read.
    pub(crate) fn of(plan: &Plan, manifest: &'m Manifest) -> Result<Vec<Part<'m>>> {
        let print = Fingerprint::decode(&manifest.topology).map_err(Error::state)?;
        let mut parts = Vec::new();
        for snapshot in &manifest.subtasks {
            for operator in &snapshot.operators {
                let made_for = made_for(plan, &operator.operator, &print);
                parts.push(Part {
                    region: &manifest.region,
                    operator: &operator.operator,
                    subtask: snapshot.subtask.index,
                    chunks: &operator.chunks,
                    key_groups: print.key_groups,
                    at: (snapshot.watermark, manifest.completed_ms),
                    show: made_for.and_then(|blueprint| blueprint.show_key.clone()),
                    show_state: made_for.and_then(|blueprint| blueprint.show_state.clone()),
                });
            }
        }
        Ok(parts)
    }

    /// Returns how long its chunks are.
    pub(crate) fn bytes(&self) -> u64 {
        self.chunks.iter().map(ChunkRef::len).fold(0, u64::saturating_add)
    }

    /// Opens its state; these are its chunks. What had expired when the checkpoint was complete is not there.
    ///
    /// # Errors
    /// Of kind `State` if one is damaged.
    pub(crate) fn open<'c>(&self, chunks: &'c [Vec<u8>]) -> Result<StateReader<'c>> {
        let reader = StateReader::open(chunks, self.key_groups).map_err(unreadable)?;
        let (watermark, now) = self.at;
        Ok(reader.at(watermark, now))
    }

    /// Returns a key as its operator understands it.
    pub(crate) fn key(&self, key: &Key) -> Value {
        of_any_key(key, self.show.as_ref())
    }

    /// Returns all that is kept for a key.
    ///
    /// # Errors
    /// Of kind `State` if it is not what it says it is.
    pub(crate) fn of_key(&self, state: &KeyState<'_>) -> Result<Value> {
        let mut values = Map::new();
        for (name, value) in &state.values {
            values.insert((*name).to_string(), self.of_value(name, *value)?);
        }
        let key = self.key(&state.key);
        let mut object = json!({ "operator": self.operator, "subtask": self.subtask, "key": key, "state": values });
        if !state.timers.is_empty() {
            let timer = |(kind, at): &(TimerKind, i64)| match kind {
                TimerKind::Event => json!({ "event": at }),
                TimerKind::Processing => json!({ "processing": at }),
            };
            object["timers"] = state.timers.iter().map(timer).collect();
        }
        Ok(object)
    }

    /// A value is what its operator says that it is; otherwise what it was written as.
    fn of_value(&self, name: &str, value: Written<'_>) -> Result<Value> {
        if let (Some(show), Written::MessagePack(written)) = (&self.show_state, value)
            && let Some(shown) = show(name, written).and_then(|shown| serde_json::from_str(&shown).ok())
        {
            return Ok(shown);
        }
        of_written(value).map_err(Error::state)
    }
}

/// Returns what is kept under which names in a state: what it is, how it is written, and how many keys have it.
///
/// # Errors
/// Of kind `State` if a chunk is damaged.
pub(crate) fn names(reader: &StateReader<'_>) -> Result<Vec<(String, &'static str, &'static str, u64)>> {
    let mut names = Vec::new();
    for info in reader.states().map_err(unreadable)? {
        names.push((info.name, info.kind, info.encoding, info.keys));
    }
    names.extend(reader.locals().into_keys().map(|name| (name.to_string(), "local", "msgpack", 1)));
    names.extend(reader.broadcasts().into_keys().map(|name| (name.to_string(), "broadcast", "msgpack", 1)));
    let (_, timers) = reader.count().map_err(unreadable)?;
    if timers > 0 {
        names.push(("(timers)".to_string(), "timer", "", timers));
    }
    Ok(names)
}

/// Returns what an operator is now, if the state of this name was made for that.
fn made_for<'p>(plan: &'p Plan, name: &str, was: &Fingerprint) -> Option<&'p OperatorBlueprint> {
    let node = &plan.nodes[plan.node(name)?];
    let NodeKind::Operator(blueprint) = &node.kind else { return None };
    let is_same = was.operators.get(name).is_some_and(|was| was.state == blueprint.state);
    Some(blueprint).filter(|_| is_same)
}

fn unreadable(error: piton_actors::Error) -> Error {
    Error::state(error.message().to_string())
}

/// A key is what its operator says that it is; otherwise an integer, a text, or bytes. Negative integers are kept as large
/// positive ones.
fn of_any_key(key: &Key, show: Option<&ShowKey>) -> Value {
    if let Some(shown) = show.and_then(|show| serde_json::from_str(&show(key)?).ok()) {
        return shown;
    }
    match (key.as_u64(), key.as_str()) {
        (Some(integer), _) => (integer as i64).into(),
        (None, Some(text)) if !text.contains(char::is_control) => text.into(),
        _ => key.as_bytes().unwrap_or_default().iter().map(|byte| Value::from(*byte)).collect(),
    }
}

/// Returns whether somebody who writes this means the key: as it is shown, or the value of its only column.
pub(crate) fn is_meant(key: &Value, written: &str) -> bool {
    let is_text = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        text == written
    };
    let only = key.as_object().filter(|columns| columns.len() == 1).and_then(|columns| columns.values().next());
    is_text(key) || only.is_some_and(is_text) || serde_json::from_str::<Value>(written).is_ok_and(|json| json == *key)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn keys_are_shown_as_their_operator_understands_them() {
        assert_eq!(of_any_key(&Key::from(5u64), None), json!(5));
        assert_eq!(of_any_key(&Key::from("tea"), None), json!("tea"));
        assert_eq!(of_any_key(&Key::bytes(&[1, 255]), None), json!([1, 255]));
        let show: ShowKey = Arc::new(|key| key.as_bytes().map(|bytes| format!("{{\"n\":{}}}", bytes.len())));
        assert_eq!(of_any_key(&Key::bytes(&[1, 255]), Some(&show)), json!({ "n": 2 }));
        assert_eq!(of_any_key(&Key::from(5u64), Some(&show)), json!(5), "it is none of the operator's");
    }

    #[test]
    fn a_key_is_found_by_what_is_shown_of_it() {
        for (key, written) in [
            (json!(5), "5"),
            (json!("tea"), "tea"),
            (json!("tea"), "\"tea\""),
            (json!([1, 255]), "[1, 255]"),
            (json!({ "key": 5 }), "{\"key\":5}"),
            (json!({ "key": 5 }), "5"),
            (json!({ "carrier": "UA" }), "UA"),
            (json!({ "carrier": "UA", "origin": "EWR" }), "{ \"origin\": \"EWR\", \"carrier\": \"UA\" }"),
        ] {
            assert!(is_meant(&key, written), "{key} by {written}");
        }
        assert!(!is_meant(&json!({ "carrier": "UA", "origin": "EWR" }), "UA"));
        assert!(!is_meant(&json!("5"), "6"));
    }
}
