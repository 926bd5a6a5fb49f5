//! `piton checkpoints diff`: what lies between two checkpoints of a job, operator by operator.

use std::collections::{BTreeMap, BTreeSet};

use piton_actors::state::Written;

use crate::cli::kept::Kept;
use crate::cli::table::{Table, print};
use crate::cli::text::{bytes, number, rfc3339};
use crate::error::Result;
use crate::protocol::manifest::{ChunkRef, Manifest, OperatorSnapshot};
use crate::runtime::shown::json::of_written;

/// One operator of one checkpoint: its snapshots by subtask, and how many records each has read and written.
#[derive(Default)]
struct Side<'m> {
    parts: BTreeMap<u32, (&'m OperatorSnapshot, u64, u64)>,
}

impl Side<'_> {
    fn bytes(&self) -> u64 {
        self.chunks().map(ChunkRef::len).sum()
    }

    fn chunks(&self) -> impl Iterator<Item = &ChunkRef> {
        self.parts.values().flat_map(|(part, ..)| &part.chunks)
    }

    /// What chunks that are files are called: those with the same name are the same.
    fn names(&self) -> BTreeSet<String> {
        let name = |chunk: &ChunkRef| match chunk {
            ChunkRef::Blob { id, .. } => Some(id.to_string()),
            ChunkRef::Inline { .. } => None,
        };
        self.chunks().filter_map(name).collect()
    }

    fn records(&self) -> u64 {
        self.parts.values().map(|(_, read, written)| read + written).sum()
    }

    fn positions(&self) -> BTreeMap<u32, String> {
        let shown = |position: &Vec<u8>| {
            of_written(Written::MessagePack(position))
                .map_or_else(|_| format!("{position:02x?}"), |json| json.to_string())
        };
        let positions = self.parts.iter();
        positions.filter_map(|(index, (part, ..))| Some((*index, shown(part.position.as_ref()?)))).collect()
    }
}

/// Prints what differs.
pub(super) fn diff(left: &Kept, right: &Kept) -> Result {
    let regions: BTreeSet<&String> = left.manifests.keys().chain(right.manifests.keys()).collect();
    let mut text = Vec::new();
    for region in regions {
        text.push(of_region(region, left.manifests.get(region), right.manifests.get(region)));
    }
    print(&text.join("\n"))
}

fn of_region(region: &str, left: Option<&Manifest>, right: Option<&Manifest>) -> String {
    let (Some(left), Some(right)) = (left, right) else {
        let only = if left.is_some() { "first" } else { "second" };
        return format!("region {region} is only in the {only}\n");
    };
    let mut text = format!(
        "region {region}: window {} ({}) -> {} ({})\n",
        left.window,
        rfc3339(left.completed_ms),
        right.window,
        rfc3339(right.completed_ms)
    );
    let (before, after) = (operators(left), operators(right));
    let names: BTreeSet<&str> = before.keys().chain(after.keys()).copied().collect();
    let nothing = Side::default();
    let mut table = Table::new(&["OPERATOR", ">STATE", ">THEN", ">CHUNKS", ">THEN", ">THE SAME", ">RECORDS", "NOTE"]);
    let mut moved = String::new();
    for name in names {
        let (was, is) = (before.get(name).unwrap_or(&nothing), after.get(name).unwrap_or(&nothing));
        let mut notes = Vec::new();
        match (before.contains_key(name), after.contains_key(name)) {
            (true, false) => notes.push("gone".to_string()),
            (false, true) => notes.push("new".to_string()),
            _ if was.parts.len() != is.parts.len() => {
                notes.push(format!("parallelism {} -> {}", was.parts.len(), is.parts.len()));
            }
            _ => {}
        }
        let records = i128::from(is.records()) - i128::from(was.records());
        let records = match u64::try_from(records) {
            Ok(0) => String::new(),
            Ok(more) => format!("+{}", number(more)),
            Err(_) => records.to_string(),
        };
        table.row([
            name.to_string(),
            bytes(was.bytes()),
            bytes(is.bytes()),
            was.chunks().count().to_string(),
            is.chunks().count().to_string(),
            was.names().intersection(&is.names()).count().to_string(),
            records,
            notes.join(", "),
        ]);
        let (was, is) = (was.positions(), is.positions());
        let indices: BTreeSet<u32> = was.keys().chain(is.keys()).copied().collect();
        for index in indices {
            let of = |positions: &BTreeMap<u32, String>| positions.get(&index).cloned().unwrap_or("nothing".into());
            if was.get(&index) != is.get(&index) {
                moved.push_str(&format!("  {name}[{index}]: {} -> {}\n", of(&was), of(&is)));
            }
        }
    }
    text.push_str(&table.to_text("  "));
    if !moved.is_empty() {
        text.push_str(&format!("  positions:\n{moved}"));
    }
    text
}

fn operators(manifest: &Manifest) -> BTreeMap<&str, Side<'_>> {
    let mut operators: BTreeMap<&str, Side<'_>> = BTreeMap::new();
    for subtask in &manifest.subtasks {
        let last = subtask.operators.len().saturating_sub(1);
        for (position, operator) in subtask.operators.iter().enumerate() {
            let read = if operator.position.is_some() { subtask.read } else { 0 };
            let written = if position == last { subtask.written } else { 0 };
            let side = operators.entry(&operator.operator).or_default();
            side.parts.insert(subtask.subtask.index, (operator, read, written));
        }
    }
    operators
}
