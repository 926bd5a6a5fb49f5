//! Whether a topology can go on from what another one has left, and which of its names mean which of the old ones.
//!
//! State belongs to names. A name that is gone, or that now means something else, would silently lose its state: such a
//! start is refused, in words, unless the table of the new name says `renamed_from`, or the loss was asked for. What is
//! new begins with nothing, and a parallelism may always change.
//!
//! A region goes by the name that it began with, whatever its first operator is called now: its windows, its chunks
//! and its history stand under it.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::nearest;
use crate::topology::fingerprint::{Fingerprint, OperatorPrint};
use crate::topology::plan::Plan;

/// What happens to state of a name that no operator has any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unmapped {
    /// The start is refused.
    #[default]
    Refuse,
    /// It is dropped.
    Drop,
}

/// What the names in a region's checkpoint mean now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// Old names and the new ones.
    pub renamed: BTreeMap<String, String>,
    /// Names whose state is dropped.
    pub dropped: BTreeSet<String>,
}

impl Mapping {
    /// Returns what an old name is called now; nothing if its state is dropped.
    pub fn name<'n>(&'n self, old: &'n str) -> Option<&'n str> {
        if self.dropped.contains(old) { None } else { Some(self.renamed.get(old).map_or(old, String::as_str)) }
    }
}

/// How one region goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continued {
    /// The name that it goes by in the store.
    pub name: String,
    /// What the names in its checkpoint mean; nothing if it has none.
    pub mapping: Option<Mapping>,
}

/// How a job goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Continuation {
    /// How each region of the plan goes on, in their order.
    pub regions: Vec<Continued>,
    /// Regions of the store of which nothing is left.
    pub abandoned: Vec<String>,
    /// One line for everything whose state is dropped.
    pub losses: Vec<String>,
}

impl Plan {
    /// Returns how this plan goes on from what a store holds: for each region its name and its fingerprint.
    ///
    /// # Errors
    /// One line for everything that does not fit.
    pub fn continue_from(
        &self,
        stored: &BTreeMap<String, Fingerprint>,
        unmapped: Unmapped,
    ) -> Result<Continuation, Vec<String>> {
        let prints: Vec<Fingerprint> = (0..self.regions.len()).map(|region| self.fingerprint(region)).collect();
        let renames = self.nodes.iter().filter_map(|node| Some((node.renamed_from.as_deref()?, &*node.name)));
        let mut matching = Matching {
            renames: renames.collect(),
            known: stored.values().flat_map(|print| print.operators.keys().map(String::as_str)).collect(),
            prints: &prints,
            unmapped,
            taken: vec![None; prints.len()],
            misfits: Vec::new(),
            continuation: Continuation::default(),
        };
        for (name, print) in stored {
            matching.region(name, print);
        }
        for (index, region) in self.regions.iter().enumerate() {
            matching.close(index, &region.name, stored);
        }
        let Matching { misfits, continuation, .. } = matching;
        if misfits.is_empty() { Ok(continuation) } else { Err(misfits) }
    }
}

struct Matching<'a> {
    /// Old names and the new ones, as the tables say.
    renames: BTreeMap<&'a str, &'a str>,
    /// All names that the store knows.
    known: BTreeSet<&'a str>,
    prints: &'a [Fingerprint],
    unmapped: Unmapped,
    /// For each region of the plan the one of the store that it continues.
    taken: Vec<Option<(String, Mapping)>>,
    misfits: Vec<String>,
    continuation: Continuation,
}

impl Matching<'_> {
    /// Finds out what becomes of a region of the store.
    fn region(&mut self, name: &str, stored: &Fingerprint) {
        let mut mapping = Mapping::default();
        let mut homes: BTreeMap<usize, String> = BTreeMap::new();
        let mut gone = Vec::new();
        for (old, was) in &stored.operators {
            let new = match self.renames.get(old.as_str()) {
                Some(new) if self.known.contains(new) => {
                    self.misfits.push(format!(
                        "{} \"{new}\" is renamed from \"{old}\", but the state knows both: remove `renamed_from`, or \
                         give it a name of its own",
                        was.role
                    ));
                    continue;
                }
                Some(new) => *new,
                None => old.as_str(),
            };
            let Some(home) = self.prints.iter().position(|print| print.operators.contains_key(new)) else {
                gone.push((old, was));
                continue;
            };
            self.misfits.extend(self.prints[home].operators[new].misfits(new, was));
            homes.entry(home).or_insert_with(|| new.to_string());
            if new != old {
                mapping.renamed.insert(old.clone(), new.to_string());
            }
        }
        for (old, was) in gone {
            if self.unmapped == Unmapped::Drop {
                self.continuation.losses.push(format!("{} \"{old}\" is gone: its state is dropped", was.role));
                mapping.dropped.insert(old.clone());
            } else {
                let line = self.missing(old, was);
                self.misfits.push(line);
            }
        }
        let mut homes = homes.into_iter();
        let Some((home, first)) = homes.next() else {
            if !stored.operators.is_empty() {
                self.continuation.abandoned.push(name.to_string());
            }
            return;
        };
        if let Some((_, second)) = homes.next() {
            self.misfits.push(format!(
                "\"{first}\" and \"{second}\" were one pipeline and now are two: a checkpoint is that of a whole \
                 pipeline, so connect them again, or begin one of them anew under other names"
            ));
        }
        if self.prints[home].key_groups != stored.key_groups {
            self.misfits.push(format!(
                "job.key_groups is {}, but the state was made with {}; it is fixed at the first start: set it back",
                self.prints[home].key_groups, stored.key_groups
            ));
        }
        match &self.taken[home] {
            None => self.taken[home] = Some((name.to_string(), mapping)),
            Some((other, _)) => self.misfits.push(format!(
                "the pipelines that began with \"{other}\" and \"{name}\" now are one: each has windows of its own, so \
                 keep them apart, or begin one of them anew under other names"
            )),
        }
    }

    /// Says which name a region of the plan has in the store.
    fn close(&mut self, index: usize, own: &str, stored: &BTreeMap<String, Fingerprint>) {
        let continued = match self.taken[index].take() {
            Some((name, mapping)) => Continued { name, mapping: Some(mapping) },
            // Nothing is left in there but the number of its last window.
            None if stored.get(own).is_some_and(|print| print.operators.is_empty()) => {
                Continued { name: own.to_string(), mapping: Some(Mapping::default()) }
            }
            // Only the name is the same: it goes on counting windows there, with nothing else.
            None if self.continuation.abandoned.iter().any(|name| name == own) => {
                self.continuation.abandoned.retain(|name| name != own);
                let dropped = stored[own].operators.keys().cloned().collect();
                Continued { name: own.to_string(), mapping: Some(Mapping { dropped, ..Mapping::default() }) }
            }
            None => {
                if stored.contains_key(own) {
                    self.misfits.push(format!(
                        "\"{own}\" begins a new pipeline, but is the name that another one stands under in the state: \
                         give it another name"
                    ));
                }
                Continued { name: own.to_string(), mapping: None }
            }
        };
        self.continuation.regions.push(continued);
    }

    fn missing(&self, name: &str, was: &OperatorPrint) -> String {
        let new = || {
            let all = self.prints.iter().flat_map(|print| &print.operators);
            all.filter(|(name, print)| !self.known.contains(name.as_str()) && print.role == was.role)
        };
        let alike = new().find(|(_, print)| print.type_name == was.type_name);
        let renamed = nearest(name, new().map(|(name, _)| name.as_str())).or(alike.map(|(name, _)| name.as_str()));
        let role = was.role;
        match renamed {
            Some(new) => format!(
                "{role} \"{name}\" is gone, and \"{new}\" is new: if it was renamed, write renamed_from = \"{name}\" in \
                 [{}.{new}]; to drop its state, add `--allow-unmapped`",
                role.table()
            ),
            None => format!(
                "{role} \"{name}\" is gone, but the checkpoint holds state of it: put it back, or add \
                 `--allow-unmapped` to drop its state"
            ),
        }
    }
}
