//! What a checkpoint remembers of the topology that took it, and whether another topology can go on from there.
//!
//! State belongs to names. A name that is gone, or that now means something else, would silently lose its state: such
//! a start is refused, in words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::{DidYouMean, nearest};
use crate::topology::plan::Plan;
use crate::topology::spec::Role;

/// What a checkpoint remembers of the topology of its region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Into how many groups keys are divided.
    pub key_groups: u32,
    /// The nodes of the region, by name.
    pub operators: BTreeMap<String, OperatorPrint>,
}

/// What a checkpoint remembers of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorPrint {
    /// What it does.
    pub role: Role,
    /// Its `type` in the file.
    pub type_name: String,
    /// Whether it has keyed state.
    pub keyed: bool,
    /// How many subtasks it has.
    pub parallelism: u32,
    /// What its state was made for, if that follows from more than its type; older checkpoints do not say it.
    #[serde(default)]
    pub state: Option<String>,
}

impl Fingerprint {
    /// Encodes it for a manifest.
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("numbers, texts and maps of texts can always be encoded")
    }

    /// Reads what a manifest holds.
    ///
    /// # Errors
    /// If it is not a fingerprint.
    pub fn decode(bytes: &[u8]) -> Result<Fingerprint, String> {
        rmp_serde::from_slice(bytes).map_err(|error| format!("the topology in the checkpoint cannot be read: {error}"))
    }

    /// Returns whether this topology can go on from a checkpoint of `stored`.
    ///
    /// New nodes are fine: they begin with nothing.
    ///
    /// # Errors
    /// One line for everything that does not fit.
    pub fn fits(&self, stored: &Fingerprint) -> Result<(), Vec<String>> {
        let mut misfits = Vec::new();
        if self.key_groups != stored.key_groups {
            misfits.push(format!(
                "job.key_groups is {}, but the state was made with {}; it is fixed at the first start: set it back",
                self.key_groups, stored.key_groups
            ));
        }
        for (name, was) in &stored.operators {
            match self.operators.get(name) {
                None => misfits.push(self.missing(name, was, stored)),
                Some(is) => misfits.extend(is.misfits(name, was)),
            }
        }
        if misfits.is_empty() { Ok(()) } else { Err(misfits) }
    }

    fn missing(&self, name: &str, was: &OperatorPrint, stored: &Fingerprint) -> String {
        let new = self.operators.keys().map(String::as_str).filter(|name| !stored.operators.contains_key(*name));
        let alike = new.clone().filter(|name| self.operators[*name].type_name == was.type_name);
        let renamed = nearest(name, new).or_else(|| alike.into_iter().next());
        match renamed {
            Some(new) => format!(
                "{} \"{name}\" is gone from this region, and \"{new}\" is new: names are ids, so name it \"{name}\" again",
                was.role
            ),
            None => format!(
                "{} \"{name}\" is gone from this region, but the checkpoint holds state of it; put it back",
                was.role
            ),
        }
    }
}

impl OperatorPrint {
    fn misfits(&self, name: &str, was: &OperatorPrint) -> Vec<String> {
        let mut misfits = Vec::new();
        if self.role != was.role {
            misfits.push(format!("\"{name}\" was a {} and now is a {}; choose another name", was.role, self.role));
            return misfits;
        }
        if self.type_name != was.type_name {
            misfits.push(format!(
                "{} \"{name}\" was of type \"{}\" and now is of type \"{}\"; give it another name, or its type back",
                self.role, was.type_name, self.type_name
            ));
        } else if self.keyed != was.keyed {
            let (had, has) = if was.keyed { ("a key", "none") } else { ("no key", "one") };
            misfits.push(format!("{} \"{name}\" had {had} and now has {has}: its state does not fit", self.role));
        }
        if self.type_name == was.type_name
            && let (Some(was), Some(is)) = (&was.state, &self.state)
            && was != is
        {
            misfits.push(format!(
                "{} \"{name}\" has state for {was}, and now is for {is}: put its options, or the types of its input, back",
                self.role
            ));
        }
        if self.parallelism != was.parallelism {
            misfits.push(format!(
                "{} \"{name}\" has parallelism {}, but the checkpoint was made with {}: set it back",
                self.role, self.parallelism, was.parallelism
            ));
        }
        misfits
    }
}

impl Plan {
    /// Returns what a checkpoint of a region remembers of the topology.
    pub fn fingerprint(&self, region: usize) -> Fingerprint {
        let nodes = self.regions[region].chains.iter().flat_map(|chain| &self.chains[*chain].nodes);
        let operators = nodes.map(|node| {
            let node = &self.nodes[*node];
            let print = OperatorPrint {
                role: node.role(),
                type_name: node.type_name.clone(),
                keyed: node.is_keyed(),
                parallelism: node.parallelism,
                state: node.state().map(str::to_string),
            };
            (node.name.to_string(), print)
        });
        Fingerprint { key_groups: self.settings.job.key_groups, operators: operators.collect() }
    }

    /// Returns whether this plan can go on from what a store holds: for each region its name and its fingerprint.
    ///
    /// # Errors
    /// One line for everything that does not fit.
    pub fn fits(&self, stored: &BTreeMap<String, Fingerprint>) -> Result<(), Vec<String>> {
        let mut misfits = Vec::new();
        for (name, stored) in stored {
            match self.regions.iter().position(|region| *region.name == **name) {
                Some(region) => misfits.extend(self.fingerprint(region).fits(stored).err().unwrap_or_default()),
                None => {
                    let names = self.regions.iter().map(|region| &*region.name);
                    let hint = DidYouMean(nearest(name, names));
                    misfits.push(format!(
                        "the state holds a region that begins with \"{name}\", but no region of this topology does{hint}"
                    ));
                }
            }
        }
        if misfits.is_empty() { Ok(()) } else { Err(misfits) }
    }
}
