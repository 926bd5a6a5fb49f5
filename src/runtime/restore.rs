//! From a checkpoint to what each subtask restores.
//!
//! State belongs to operators, not to the subtasks they happened to run in: a job whose chains, names or parallelism have
//! changed finds the state of every operator again. Keyed state goes by key group; values that belong to no key go from
//! the first subtask to the first, or from there to all if all have them alike; a source says itself how its positions are shared out; pending outputs of a sink go
//! to some subtask of it, each to one. An operator that the checkpoint does not know begins with nothing.
//!
//! What belongs to edges is put together anew unless nothing has changed: a channel begins with the watermark of its
//! producer, which is what it had delivered when the cut was aligned, and round robin begins anew, which is safe, since
//! it only spreads records.

mod in_flight;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use piton_actors::state::broadcast_chunk;
use piton_actors::{Error as UserError, Timestamp, WATERMARK_MIN, groups_of};

use self::in_flight::Placed;
use crate::ids::SubtaskId;
use crate::protocol::chain::Packed;
use crate::protocol::manifest::{Manifest, OperatorSnapshot, SubtaskSnapshot};
use crate::protocol::subtask::Restored;
use crate::runtime::build::{ChainBlueprint, RegionBlueprint};
use crate::runtime::storage::Loaded;

/// The operator to blame, and why it cannot be restored.
pub(crate) type Misfit = (String, UserError);

/// Puts together what each subtask of a region restores from a checkpoint.
///
/// # Errors
/// As [`outline`].
pub(crate) fn split(loaded: Loaded, blueprint: &RegionBlueprint) -> Result<BTreeMap<SubtaskId, Box<Restored>>, Misfit> {
    let Loaded { manifest, mut chunks } = loaded;
    let mut restored = BTreeMap::new();
    let packed: Vec<Option<Arc<Vec<u8>>>> = manifest
        .subtasks
        .iter()
        .zip(&mut chunks)
        .map(|(subtask, chunks)| chunks.split_off(subtask.operators.len()).pop().map(|chunk| Arc::new(chunk.concat())))
        .collect();
    for Outline { snapshot, states, in_flight } in outline(&manifest, blueprint)? {
        let mut own = Vec::with_capacity(states.len());
        let mut adopted = BTreeMap::new();
        for (state, operator) in states.into_iter().zip(&snapshot.operators) {
            let mut kept = Vec::new();
            match state {
                State::Nothing => {}
                // Nobody else goes on with it.
                State::Own(place) => kept = std::mem::take(&mut chunks[place.subtask][place.operator]),
                State::Shared { places, first } => {
                    let read = |place: Place| chunks[place.subtask][place.operator].clone();
                    let mut parts: Vec<Vec<Vec<u8>>> =
                        places.into_iter().map(|place| place.map(read).unwrap_or_default()).collect();
                    if let Some(first) = first {
                        let chunk = broadcast_chunk(&chunks[first.subtask][first.operator])
                            .map_err(|error| (operator.operator.clone(), error))?;
                        parts[0].push(chunk);
                    }
                    adopted.insert(operator.operator.clone(), parts);
                }
            }
            own.push(kept);
        }
        let id = snapshot.subtask.clone();
        let window = manifest.window;
        let part = |(subtask, channels): (usize, _)| Some(Packed { chunk: packed[subtask].clone()?, channels });
        let in_flight = (in_flight.parts.into_iter().filter_map(part).collect(), in_flight.then);
        let abandoned = Vec::new();
        restored.insert(id, Box::new(Restored { window, snapshot, chunks: own, adopted, abandoned, in_flight }));
    }
    Ok(restored)
}

/// What a subtask restores, without the bytes of its state.
pub(crate) struct Outline {
    snapshot: SubtaskSnapshot,
    /// Of each operator.
    states: Vec<State>,
    in_flight: Placed,
}

/// Where the state of an operator comes from.
enum State {
    Nothing,
    /// From one that nobody else reads.
    Own(Place),
    /// From several; the first of them, if there is one, is that of the first subtask, and otherwise has to give no more
    /// than what all subtasks have alike, which is in `first`.
    Shared {
        places: Vec<Option<Place>>,
        first: Option<Place>,
    },
}

/// An operator in a manifest.
#[derive(Clone, Copy)]
struct Place {
    subtask: usize,
    operator: usize,
}

/// Decides what each subtask of a region restores from a checkpoint.
///
/// # Errors
/// If positions or state of an operator cannot be shared out among its subtasks.
pub(crate) fn outline(manifest: &Manifest, blueprint: &RegionBlueprint) -> Result<Vec<Outline>, Misfit> {
    let mut outlines: Vec<Outline> = Vec::new();
    if is_unchanged(manifest, blueprint) {
        for (number, snapshot) in manifest.subtasks.iter().enumerate() {
            let own = |operator| State::Own(Place { subtask: number, operator });
            let states = (0..snapshot.operators.len()).map(own).collect();
            let channels = Packed::same(Arc::default(), snapshot).channels;
            let parts = snapshot.in_flight.iter().map(|_| (number, channels.clone())).collect();
            let in_flight = Placed { parts, then: Vec::new() };
            outlines.push(Outline { snapshot: snapshot.clone(), states, in_flight });
        }
        return Ok(outlines);
    }
    let old = Old::of(manifest, blueprint);
    // Where the subtasks of each chain begin among the outlines.
    let mut firsts = Vec::new();
    for (number, chain) in blueprint.chains.iter().enumerate() {
        firsts.push(outlines.len());
        let mut assembled = assemble(chain, &old, blueprint.topology.key_groups)?;
        for (outline, index) in assembled.iter_mut().zip(0..) {
            let producers = blueprint.producers(number, index);
            let producers =
                producers.into_iter().map(|(chain, index)| &outlines[firsts[chain] + index as usize].snapshot);
            connect(&mut outline.snapshot, producers.collect(), chain, &old);
        }
        outlines.extend(assembled);
    }
    in_flight::place(&old, blueprint, &mut outlines, &firsts)?;
    Ok(outlines)
}

fn is_unchanged(manifest: &Manifest, blueprint: &RegionBlueprint) -> bool {
    let (ids, members) = (blueprint.subtasks(), blueprint.members());
    let same = |(snapshot, (id, names)): (&SubtaskSnapshot, (&SubtaskId, &Vec<String>))| {
        snapshot.subtask == *id && names.iter().eq(snapshot.operators.iter().map(|operator| &operator.operator))
    };
    manifest.topology == blueprint.topology.encode()
        && manifest.subtasks.len() == ids.len()
        && manifest.subtasks.iter().zip(ids.iter().zip(&members)).all(same)
}

/// A checkpoint by the present names of its operators.
struct Old<'a> {
    manifest: &'a Manifest,
    /// The parts of each operator, in order of the subtasks.
    parts: BTreeMap<String, Vec<Place>>,
}

impl<'a> Old<'a> {
    fn of(manifest: &'a Manifest, blueprint: &RegionBlueprint) -> Old<'a> {
        let mut parts: BTreeMap<String, Vec<Place>> = BTreeMap::new();
        let old = Old { manifest, parts: BTreeMap::new() };
        for (subtask, snapshot) in manifest.subtasks.iter().enumerate() {
            for (operator, part) in snapshot.operators.iter().enumerate() {
                if let Some(name) = old.present(&part.operator, blueprint) {
                    parts.entry(name).or_default().push(Place { subtask, operator });
                }
            }
        }
        for parts in parts.values_mut() {
            parts.sort_by_key(|part| manifest.subtasks[part.subtask].subtask.index);
        }
        Old { manifest, parts }
    }

    /// Returns what an operator of the checkpoint is called now, if it is still there.
    fn present(&self, name: &str, blueprint: &RegionBlueprint) -> Option<String> {
        // A checkpoint of this very topology has the present names already, although an older one may follow after it.
        let is_present = self.manifest.topology == blueprint.topology.encode();
        if is_present { Some(name.to_string()) } else { blueprint.mapping.name(name).map(String::from) }
    }

    fn parts(&self, name: &str) -> &[Place] {
        self.parts.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    fn subtask(&self, part: Place) -> &SubtaskSnapshot {
        &self.manifest.subtasks[part.subtask]
    }

    fn operator(&self, part: Place) -> &OperatorSnapshot {
        &self.subtask(part).operators[part.operator]
    }
}

/// Puts the snapshots of a chain's subtasks together from those of its operators, without what belongs to edges.
fn assemble(chain: &ChainBlueprint, old: &Old<'_>, key_groups: u32) -> Result<Vec<Outline>, Misfit> {
    let parallelism = chain.parallelism;
    let names: Vec<&str> = chain.names().collect();
    let heads = old.parts(names[0]);
    let finished = finished(chain, heads, old)?;
    let mut outlines: Vec<Outline> = (0..parallelism)
        .map(|index| Outline {
            snapshot: SubtaskSnapshot {
                subtask: SubtaskId::new(Arc::clone(&chain.name), index),
                finished: finished[index as usize],
                watermark: watermark(heads, parallelism, index, old),
                told: told(old.parts(names[names.len() - 1]), parallelism, index, old),
                channel_watermarks: Vec::new(),
                cursors: Vec::new(),
                read: 0,
                written: 0,
                // No number is given twice to a record that is set aside, whoever did it before.
                set_aside: old.manifest.subtasks.iter().map(|subtask| subtask.set_aside).max().unwrap_or(0),
                letters: Vec::new(),
                operators: Vec::new(),
                within: None,
                in_flight: None,
            },
            states: Vec::new(),
            in_flight: Placed::default(),
        })
        .collect();
    for (position, name) in names.iter().enumerate() {
        let parts = old.parts(name);
        let is_same = parts.len() == parallelism as usize;
        let positions = match &chain.source {
            Some((source, blueprint, _)) if position == 0 && !is_same && !parts.is_empty() => {
                let positions: Vec<_> = parts.iter().map(|part| old.operator(*part).position.clone()).collect();
                let shared = if positions.iter().all(Option::is_none) {
                    Ok(vec![None; parallelism as usize])
                } else {
                    (blueprint.redistribute)(&positions, parallelism)
                };
                Some(shared.map_err(|error| (source.clone(), cannot_share(source, parts.len(), parallelism, &error)))?)
            }
            _ => None,
        };
        for (outline, index) in outlines.iter_mut().zip(0..) {
            let mut operator = OperatorSnapshot::empty(*name);
            let mut state = State::Nothing;
            if is_same {
                let part = parts[index as usize];
                operator = OperatorSnapshot { operator: (*name).to_string(), ..old.operator(part).clone() };
                state = State::Own(part);
            } else if !parts.is_empty() {
                if let Some(positions) = &positions {
                    operator.position.clone_from(&positions[index as usize]);
                    // Nobody here knows which partition is whose now: the source names its own again.
                    let has_names = parts.iter().any(|part| !old.operator(*part).partitions.is_empty());
                    let newest = unfinished(parts, old).filter_map(|part| old.operator(part).max_time).min();
                    operator.max_time = newest.filter(|_| !has_names);
                }
                let taken = parts.iter().skip(index as usize).step_by(parallelism as usize);
                operator.pending = taken.flat_map(|part| old.operator(*part).pending.clone()).collect();
                let first = (index > 0).then_some(parts[0]);
                state = State::Shared { places: shares(parts, parallelism, index, key_groups), first };
            }
            if is_same || index == 0 {
                let counted = if is_same { &parts[index as usize..=index as usize] } else { parts };
                if position == 0 && chain.source.is_some() {
                    outline.snapshot.read = counted.iter().map(|part| old.subtask(*part).read).sum();
                }
                if position + 1 == names.len() && chain.sink.is_some() {
                    outline.snapshot.written = counted.iter().map(|part| old.subtask(*part).written).sum();
                }
            }
            outline.snapshot.operators.push(operator);
            outline.states.push(state);
        }
    }
    Ok(outlines)
}

fn cannot_share(source: &str, was: usize, is: u32, error: &UserError) -> UserError {
    UserError::invalid(format!(
        "source \"{source}\" cannot go on with parallelism {is}, because {}: set its parallelism back to {was}",
        error.message()
    ))
}

/// Returns the parts that have not come to their end; all of them if each has.
fn unfinished<'o>(parts: &'o [Place], old: &'o Old<'_>) -> impl Iterator<Item = Place> + 'o {
    let all = parts.iter().all(|part| old.subtask(*part).finished);
    parts.iter().copied().filter(move |part| all || !old.subtask(*part).finished)
}

/// Returns for each subtask whether its inputs have ended, as far as its head knows.
fn finished(chain: &ChainBlueprint, heads: &[Place], old: &Old<'_>) -> Result<Vec<bool>, Misfit> {
    let parallelism = chain.parallelism as usize;
    if heads.len() == parallelism {
        return Ok(heads.iter().map(|head| old.subtask(*head).finished).collect());
    }
    let all = !heads.is_empty() && heads.iter().all(|head| old.subtask(*head).finished);
    if !all {
        // What was closed once would be closed again: for an operator that remembers nothing, that is as if it had more
        // subtasks that never saw a record.
        let closed: BTreeSet<usize> =
            heads.iter().filter(|head| old.subtask(**head).finished).map(|head| head.subtask).collect();
        for (name, _) in &chain.operators {
            let has_state = |part: &&Place| closed.contains(&part.subtask) && !old.operator(**part).chunks.is_empty();
            if let Some(part) = old.parts(name).iter().find(has_state) {
                let message = format!(
                    "operator \"{name}\" cannot go on with parallelism {parallelism}: subtask {} of it has come to its \
                     end, and others have not: set the parallelism back to {}, and let the job finish",
                    old.subtask(*part).subtask.index,
                    heads.len()
                );
                return Err((name.clone(), UserError::invalid(message)));
            }
        }
    }
    Ok(vec![all; parallelism])
}

fn watermark(heads: &[Place], parallelism: u32, index: u32, old: &Old<'_>) -> Timestamp {
    if heads.len() == parallelism as usize {
        return old.subtask(heads[index as usize]).watermark;
    }
    heads.iter().map(|head| old.subtask(*head).watermark).min().unwrap_or(WATERMARK_MIN)
}

/// Returns the watermark that a subtask's consumers are to begin with, if it is not its own: what waits for answers at one of
/// the old subtasks may now wait at any.
fn told(tails: &[Place], parallelism: u32, index: u32, old: &Old<'_>) -> Option<Timestamp> {
    if tails.len() == parallelism as usize {
        return old.subtask(tails[index as usize]).told;
    }
    let tails = || tails.iter().map(|tail| old.subtask(*tail));
    tails().any(|tail| tail.told.is_some()).then(|| tails().map(SubtaskSnapshot::watermark_told).min()).flatten()
}

/// Returns the states that hold something of a subtask's key groups, in the order of the old subtasks. The first place
/// is that of the first subtask, whose own values without a key go to the first one only.
fn shares(parts: &[Place], parallelism: u32, index: u32, key_groups: u32) -> Vec<Option<Place>> {
    let own = groups_of(index, parallelism, key_groups);
    let mut places = vec![if index == 0 { Some(parts[0]) } else { None }];
    for (old, part) in parts.iter().enumerate() {
        let groups = groups_of(old as u32, parts.len() as u32, key_groups);
        let overlaps = groups.start < own.end && own.start < groups.end;
        if overlaps && !(index == 0 && old == 0) {
            places.push(Some(*part));
        }
    }
    places
}

/// Fills in what belongs to a subtask's input channels.
fn connect(snapshot: &mut SubtaskSnapshot, producers: Vec<&SubtaskSnapshot>, chain: &ChainBlueprint, old: &Old<'_>) {
    if chain.source.is_some() {
        return;
    }
    snapshot.channel_watermarks = producers.iter().map(|producer| producer.watermark_told()).collect();
    let slowest = snapshot.channel_watermarks.iter().copied().min().unwrap_or(WATERMARK_MIN);
    let is_new = chain.names().next().is_some_and(|head| old.parts(head).is_empty());
    let goes_on = snapshot.finished && !producers.iter().all(|producer| producer.finished);
    if is_new || goes_on {
        snapshot.watermark = slowest;
        snapshot.finished = false;
    }
}

#[cfg(test)]
mod tests;
