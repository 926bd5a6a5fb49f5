//! `piton state`: what operators remember, read from a checkpoint or savepoint without running the job.
//!
//! Tables for people, JSON lines for programs: one line for each key, in the order in which the operator has them, and
//! one for the values of a subtask that belong to no key. What had expired when the checkpoint was complete is not there. A key is shown as the operator in the topology file understands it,
//! if the state was made for that: as the values of its columns, for an `aggregate`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use piton_actors::blueprint::{OperatorBlueprint, ShowKey, ShowState};
use piton_actors::state::{KeyState, StateReader, Written};
use piton_actors::{Key, TimerKind, Timestamp};
use serde_json::{Map, Value, json};

use crate::cli::args::StateCommand;
use crate::cli::json::of_written;
use crate::cli::kept::{Id, Kept};
use crate::cli::resume::{open_store, refused};
use crate::cli::table::{Table, print};
use crate::cli::terminal::Terminal;
use crate::cli::text::number;
use crate::error::{Error, Result};
use crate::store::{CheckpointStore, OpenOptions, SledStore};
use crate::topology::{Fingerprint, NodeKind, Plan, Registry};

/// Carries out one of the commands.
///
/// # Errors
/// Of kind `State` if the state directory cannot be opened, or holds no such thing.
pub(super) fn run(command: &StateCommand, registry: &Registry, terminal: &Terminal) -> Result {
    let (StateCommand::List(args) | StateCommand::Get(args) | StateCommand::Export(args)) = command;
    let plan = args.plan(registry)?;
    let id = Id::read(args.at())?;
    let place = &plan.settings.store.path;
    if !SledStore::is_there(place).map_err(refused)? {
        terminal.say(&format!("no checkpoints yet in \"{}\"", place.display()));
        return Ok(());
    }
    let retain = plan.settings.checkpoint.retain as usize;
    let mut store = open_store(&plan, OpenOptions { retain, allow_rollback: false }).map_err(refused)?;
    let kept = Kept::find(store.as_mut(), &id)?;
    let names = args.names();
    match command {
        StateCommand::List(_) => list(&Parts::read(&plan, &kept, names.first())?, &kept, store.as_mut()),
        StateCommand::Get(_) => {
            let [operator, key] = names else {
                return Err(Error::config("name an operator and a key: `piton state get job.toml OPERATOR KEY`"));
            };
            get(&Parts::read(&plan, &kept, Some(operator))?, key, &kept, store.as_mut())
        }
        StateCommand::Export(_) => export(&Parts::read(&plan, &kept, names.first())?, &kept, store.as_mut()),
    }
}

/// The operators that are asked for, with their parts in the manifests.
struct Parts<'k> {
    key_groups: BTreeMap<&'k str, u32>,
    parts: Vec<Part<'k>>,
}

struct Part<'k> {
    region: &'k str,
    operator: &'k str,
    subtask: u32,
    /// What time it was for it: its watermark, and the engine's time.
    at: (Timestamp, Timestamp),
    chunks: &'k [crate::protocol::manifest::ChunkRef],
    /// How its operator shows a key, if the state is for what the operator is now.
    show: Option<ShowKey>,
    /// How it shows a value, likewise.
    show_state: Option<ShowState>,
}

impl<'k> Parts<'k> {
    fn read(plan: &Plan, kept: &'k Kept, wanted: Option<&StateName>) -> Result<Parts<'k>> {
        let mut key_groups = BTreeMap::new();
        let mut parts = Vec::new();
        let mut known = Vec::new();
        for (region, manifest) in &kept.manifests {
            let print = Fingerprint::decode(&manifest.topology).map_err(Error::state)?;
            key_groups.insert(region.as_str(), print.key_groups);
            for snapshot in &manifest.subtasks {
                for operator in &snapshot.operators {
                    known.push(operator.operator.as_str());
                    let made_for = made_for(plan, &operator.operator, &print);
                    parts.push(Part {
                        region,
                        operator: &operator.operator,
                        subtask: snapshot.subtask.index,
                        at: (snapshot.watermark, manifest.completed_ms),
                        chunks: &operator.chunks,
                        show: made_for.and_then(|blueprint| blueprint.show_key.clone()),
                        show_state: made_for.and_then(|blueprint| blueprint.show_state.clone()),
                    });
                }
            }
        }
        if let Some(wanted) = wanted {
            parts.retain(|part| part.operator == wanted);
            if parts.is_empty() {
                known.dedup();
                let known = known.join(", ");
                return Err(Error::config(format!("the checkpoint has no operator \"{wanted}\" (it has: {known})")));
            }
        }
        parts.retain(|part| !part.chunks.is_empty());
        parts.sort_by_key(|part| (part.operator, part.subtask));
        Ok(Parts { key_groups, parts })
    }

    /// Visits the state of every subtask.
    fn each(
        &self,
        kept: &Kept,
        store: &mut dyn CheckpointStore,
        mut visit: impl FnMut(&Part<'_>, &StateReader<'_>) -> Result,
    ) -> Result {
        for part in &self.parts {
            let chunks = part.chunks.iter().map(|chunk| kept.read_chunk(store, chunk)).collect::<Result<Vec<_>>>()?;
            let reader = StateReader::open(&chunks, self.key_groups[part.region]).map_err(unreadable)?;
            let (watermark, now) = part.at;
            let reader = reader.at(watermark, now);
            visit(part, &reader)?;
        }
        Ok(())
    }
}

type StateName = String;

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

fn list(parts: &Parts<'_>, kept: &Kept, store: &mut dyn CheckpointStore) -> Result {
    // By operator and name: what it is, how it is written, and how many keys have it.
    let mut states: BTreeMap<(String, String), (String, String, u64)> = BTreeMap::new();
    parts.each(kept, store, |part, reader| {
        let mut add = |name: &str, kind: &str, encoding: &str, keys: u64| {
            let state = (kind.to_string(), encoding.to_string(), 0);
            states.entry((part.operator.to_string(), name.to_string())).or_insert(state).2 += keys;
        };
        for info in reader.states().map_err(unreadable)? {
            add(&info.name, info.kind, info.encoding, info.keys);
        }
        for name in reader.locals().into_keys() {
            add(name, "local", "msgpack", 1);
        }
        for name in reader.broadcasts().into_keys() {
            add(name, "broadcast", "msgpack", 1);
        }
        let (_, timers) = reader.count().map_err(unreadable)?;
        if timers > 0 {
            add("(timers)", "timer", "", timers);
        }
        Ok(())
    })?;
    let mut table = Table::new(&["OPERATOR", "STATE", "KIND", "WRITTEN AS", ">VALUES"]);
    for ((operator, name), (kind, encoding, keys)) in states {
        table.row([operator, name, kind, encoding, number(keys)]);
    }
    print(&table.to_text(""))
}

fn get(parts: &Parts<'_>, key: &str, kept: &Kept, store: &mut dyn CheckpointStore) -> Result {
    let mut found = false;
    parts.each(kept, store, |part, reader| {
        reader.each(|state| {
            if is_meant(&of_any_key(&state.key, part.show.as_ref()), key) {
                found = true;
                line(&of_key(part, &state)?)?;
            }
            Ok(())
        })
    })?;
    if found { Ok(()) } else { Err(Error::state(format!("no state is kept for key \"{key}\""))) }
}

fn export(parts: &Parts<'_>, kept: &Kept, store: &mut dyn CheckpointStore) -> Result {
    parts.each(kept, store, |part, reader| {
        for (whose, kept) in [("local", reader.locals()), ("broadcast", reader.broadcasts())] {
            if kept.is_empty() {
                continue;
            }
            let mut values = Map::new();
            for (name, value) in kept {
                values.insert(name.to_string(), of_written(value).map_err(Error::state)?);
            }
            line(&json!({ "operator": part.operator, "subtask": part.subtask, whose: values }))?;
        }
        reader.each(|state| line(&of_key(part, &state)?))
    })
}

fn of_key(part: &Part<'_>, state: &KeyState<'_>) -> Result<Value> {
    let mut values = Map::new();
    for (name, value) in &state.values {
        values.insert((*name).to_string(), of_value(name, *value, part)?);
    }
    let mut object = json!({
        "operator": part.operator, "subtask": part.subtask, "key": of_any_key(&state.key, part.show.as_ref()), "state": values,
    });
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
fn of_value(name: &str, value: Written<'_>, part: &Part<'_>) -> Result<Value> {
    if let (Some(show), Written::MessagePack(written)) = (&part.show_state, value)
        && let Some(shown) = show(name, written).and_then(|shown| serde_json::from_str(&shown).ok())
    {
        return Ok(shown);
    }
    of_written(value).map_err(Error::state)
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
fn is_meant(key: &Value, written: &str) -> bool {
    let is_text = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_string);
        text == written
    };
    let only = key.as_object().filter(|columns| columns.len() == 1).and_then(|columns| columns.values().next());
    is_text(key) || only.is_some_and(is_text) || serde_json::from_str::<Value>(written).is_ok_and(|json| json == *key)
}

fn line(value: &Value) -> Result {
    let mut out = io::stdout().lock();
    match writeln!(out, "{value}") {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| Error::failed(format!("cannot write to stdout: {error}"))),
    }
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
