//! `piton state`: what operators remember, read from a checkpoint or savepoint without running the job.
//!
//! Tables for people, JSON lines for programs: one line for each key, in the order in which the operator has them, and
//! one for the values of a subtask that belong to no key. What had expired when the checkpoint was complete is not there.
//! A key is shown as the operator in the topology file understands it,
//! if the state was made for that: as the values of its columns, for an `aggregate`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use piton_actors::state::StateReader;
use serde_json::{Map, Value, json};

use crate::cli::args::StateCommand;
use crate::cli::kept::{Id, Kept};
use crate::cli::resume::{open_store, refused};
use crate::cli::table::{Table, print};
use crate::cli::terminal::Terminal;
use crate::cli::text::number;
use crate::error::{Error, Result};
use crate::runtime::shown::json::of_written;
use crate::runtime::shown::{self, Part};
use crate::store::{CheckpointStore, OpenOptions, SledStore};
use crate::topology::{Plan, Registry};

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
        StateCommand::List(_) => list(&parts(&plan, &kept, names.first())?, &kept, store.as_mut()),
        StateCommand::Get(_) => {
            let [operator, key] = names else {
                return Err(Error::config("name an operator and a key: `piton state get job.toml OPERATOR KEY`"));
            };
            get(&parts(&plan, &kept, Some(operator))?, key, &kept, store.as_mut())
        }
        StateCommand::Export(_) => export(&parts(&plan, &kept, names.first())?, &kept, store.as_mut()),
    }
}

/// The operators that are asked for, with their parts in the manifests.
fn parts<'k>(plan: &Plan, kept: &'k Kept, wanted: Option<&String>) -> Result<Vec<Part<'k>>> {
    let mut parts = Vec::new();
    for manifest in kept.manifests.values() {
        parts.extend(Part::of(plan, manifest)?);
    }
    if let Some(wanted) = wanted {
        let mut known: Vec<&str> = parts.iter().map(|part| part.operator).collect();
        parts.retain(|part| part.operator == wanted);
        if parts.is_empty() {
            known.dedup();
            let known = known.join(", ");
            return Err(Error::config(format!("the checkpoint has no operator \"{wanted}\" (it has: {known})")));
        }
    }
    parts.retain(|part| !part.chunks.is_empty());
    parts.sort_by_key(|part| (part.operator, part.subtask));
    Ok(parts)
}

/// Visits the state of every subtask.
fn each(
    parts: &[Part<'_>],
    kept: &Kept,
    store: &mut dyn CheckpointStore,
    mut visit: impl FnMut(&Part<'_>, &StateReader<'_>) -> Result,
) -> Result {
    for part in parts {
        let chunks = part.chunks.iter().map(|chunk| kept.read_chunk(store, chunk)).collect::<Result<Vec<_>>>()?;
        visit(part, &part.open(&chunks)?)?;
    }
    Ok(())
}

fn list(parts: &[Part<'_>], kept: &Kept, store: &mut dyn CheckpointStore) -> Result {
    // By operator and name: what it is, how it is written, and how many keys have it.
    let mut states: BTreeMap<(String, String), (&str, &str, u64)> = BTreeMap::new();
    each(parts, kept, store, |part, reader| {
        for (name, kind, encoding, keys) in shown::names(reader)? {
            states.entry((part.operator.to_string(), name)).or_insert((kind, encoding, 0)).2 += keys;
        }
        Ok(())
    })?;
    let mut table = Table::new(&["OPERATOR", "STATE", "KIND", "WRITTEN AS", ">VALUES"]);
    for ((operator, name), (kind, encoding, keys)) in states {
        table.row([operator, name, kind.to_string(), encoding.to_string(), number(keys)]);
    }
    print(&table.to_text(""))
}

fn get(parts: &[Part<'_>], key: &str, kept: &Kept, store: &mut dyn CheckpointStore) -> Result {
    let mut found = false;
    each(parts, kept, store, |part, reader| {
        reader.each(|state| {
            if shown::is_meant(&part.key(&state.key), key) {
                found = true;
                line(&part.of_key(&state)?)?;
            }
            Ok(())
        })
    })?;
    if found { Ok(()) } else { Err(Error::config(format!("no state is kept for key \"{key}\""))) }
}

fn export(parts: &[Part<'_>], kept: &Kept, store: &mut dyn CheckpointStore) -> Result {
    each(parts, kept, store, |part, reader| {
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
        reader.each(|state| line(&part.of_key(&state)?))
    })
}

fn line(value: &Value) -> Result {
    let mut out = io::stdout().lock();
    match writeln!(out, "{value}") {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => other.map_err(|error| Error::failed(format!("cannot write to stdout: {error}"))),
    }
}
