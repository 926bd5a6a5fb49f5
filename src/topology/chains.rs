//! Which nodes share an actor, and which parts of the topology share a fate.

use std::sync::Arc;

use crate::config::Chaining;
use crate::topology::plan::{Chain, Edge, Node, NodeKind, Partition, Region};

/// Divides the nodes into chains.
///
/// A node joins its producer's chain if it reads nothing else, nothing else reads the producer's main output, and record
/// by record they are on the same subtask anyway. Side outputs leave a chain, wherever in it they are emitted: what reads
/// one is in a subtask of its own. An operator that makes requests to the outside is followed by a sink at most.
pub(crate) fn chains(nodes: &[Node], edges: &[Edge], chaining: Chaining) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    // Producers come before their consumers, so that the chain to join is there already.
    for (index, node) in nodes.iter().enumerate() {
        let producer = match chaining {
            Chaining::Auto => joins(index, nodes, edges),
            Chaining::Off => None,
        };
        let chain = producer.and_then(|producer| chains.iter_mut().find(|chain| chain.tail() == producer));
        match chain {
            Some(chain) => chain.nodes.push(index),
            None => chains.push(Chain { nodes: vec![index], parallelism: node.parallelism }),
        }
    }
    chains
}

/// Returns the producer whose chain a node joins.
fn joins(node: usize, nodes: &[Node], edges: &[Edge]) -> Option<usize> {
    let mut inputs = edges.iter().filter(|edge| edge.to == node);
    let (Some(edge), None) = (inputs.next(), inputs.next()) else { return None };
    let is_main = |other: &Edge| other.from == edge.from && other.output.is_none();
    let is_only_output = edge.output.is_none() && edges.iter().filter(|other| is_main(other)).count() == 1;
    let is_forward = edge.partition == Partition::Forward;
    let is_dedicated = nodes[edge.from].dedicated || nodes[node].dedicated;
    // What waits for answers holds watermarks back from those behind it; a sink takes none.
    let waits = matches!(&nodes[edge.from].kind, NodeKind::Operator(operator) if operator.asks)
        && !matches!(nodes[node].kind, NodeKind::Sink(_));
    (is_forward && is_only_output && !is_dedicated && !waits).then_some(edge.from)
}

/// Divides the chains into regions: those that an edge connects are in the same one.
pub(crate) fn regions(nodes: &[Node], edges: &[Edge], chains: &[Chain]) -> Vec<Region> {
    // For each node the first node of its region, as far as it is known.
    let mut first: Vec<usize> = (0..nodes.len()).collect();
    for edge in edges {
        let (left, right) = (first[edge.from], first[edge.to]);
        let (into, from) = (left.min(right), left.max(right));
        for node in &mut first {
            if *node == from {
                *node = into;
            }
        }
    }
    let mut regions = Vec::new();
    for root in 0..nodes.len() {
        if first[root] != root {
            continue;
        }
        let own = (0..chains.len()).filter(|chain| first[chains[*chain].head()] == root).collect();
        regions.push(Region { name: Arc::clone(&nodes[root].name), chains: own });
    }
    regions
}
