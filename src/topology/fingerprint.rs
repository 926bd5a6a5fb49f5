//! What a checkpoint remembers of the topology that took it.

use std::collections::BTreeMap;

use piton_actors::types_in_words;
use serde::{Deserialize, Serialize};

use crate::topology::plan::Plan;
use crate::topology::spec::Role;

/// What a checkpoint remembers of the topology of its region.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    /// Into how many groups keys are divided.
    pub key_groups: u32,
    /// The nodes of the region, by name.
    pub operators: BTreeMap<String, OperatorPrint>,
    /// Who reads whom, in the order of the plan; older checkpoints do not say it.
    #[serde(default)]
    pub edges: Vec<EdgePrint>,
}

/// What a checkpoint remembers of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgePrint {
    /// The node that emits.
    pub from: String,
    /// The side output that it emits to, if it is one; checkpoints of earlier versions know none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// The node that reads.
    pub to: String,
    /// Which of the reader's inputs it is.
    pub port: usize,
    /// How records are spread, as the file calls it.
    pub partition: String,
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
}

impl OperatorPrint {
    /// Returns why this node, called `name`, cannot take over the state of what it `was`.
    ///
    /// Another parallelism is none of it: state is shared out anew.
    pub(crate) fn misfits(&self, name: &str, was: &OperatorPrint) -> Vec<String> {
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
            let words = [was, is].map(|what| types_in_words(what));
            // Two types may have one name.
            let [was, is] = if words[0] == words[1] { [was.clone(), is.clone()] } else { words };
            misfits.push(format!(
                "{} \"{name}\" has state for {was}, and now is for {is}: put its options, or the types of its input, back",
                self.role
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
        let operators: BTreeMap<String, OperatorPrint> = operators.collect();
        let name = |node: usize| self.nodes[node].name.to_string();
        let edges = self.edges.iter().filter(|edge| operators.contains_key(&*self.nodes[edge.to].name));
        let edges = edges.map(|edge| EdgePrint {
            from: name(edge.from),
            output: edge.output.as_deref().map(String::from),
            to: name(edge.to),
            port: edge.port,
            partition: edge.partition.name().to_string(),
        });
        Fingerprint { key_groups: self.settings.job.key_groups, edges: edges.collect(), operators }
    }
}
