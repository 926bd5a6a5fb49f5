//! Which nodes share an actor, and which parts of the topology share a fate.

use std::sync::Arc;

use crate::config::{Chaining, OnPoison, Settings};
use crate::topology::plan::{Chain, Edge, Node, NodeKind, Partition, Region};

/// Divides the nodes into chains.
///
/// Nodes become one chain if record by record they are on the same subtask anyway, all but the first one read nothing but
/// each other, and nothing else reads any but the last one: they follow each other, or several read the same and come
/// together again. Ways that never meet again stay apart, so that one may wait, or fail, without the other; and so do all
/// ways if records may be set aside, because a chain sets aside what comes to it, for all that is in it. Side outputs
/// leave a chain, wherever in it they are emitted: what reads one is in a subtask of its own. An operator that makes
/// requests to the outside is followed by a sink at most.
pub(crate) fn chains(nodes: &[Node], edges: &[Edge], settings: &Settings) -> Vec<Chain> {
    let single = |(index, node): (usize, &Node)| Chain { nodes: vec![index], parallelism: node.parallelism };
    let mut chains: Vec<Chain> = nodes.iter().enumerate().map(single).collect();
    if settings.job.chaining == Chaining::Off {
        return chains;
    }
    let of = |node: usize, end: fn(&Edge) -> usize| edges.iter().filter(move |edge| end(edge) == node).collect();
    let inputs = (0..nodes.len()).map(|node| of(node, |edge| edge.to)).collect();
    let outputs = (0..nodes.len()).map(|node| of(node, |edge| edge.from)).collect();
    let graph = Graph { nodes, inputs, outputs, forks: settings.recovery.on_poison == OnPoison::Fail };
    let mut first = 0;
    while first < chains.len() {
        // Producers come before their consumers: what a chain grows by is behind it.
        match graph.grow(&chains[first..]) {
            Some(parts) => {
                for part in parts.into_iter().rev() {
                    let mut part = chains.remove(first + part);
                    chains[first].nodes.append(&mut part.nodes);
                }
                chains[first].nodes.sort_unstable();
            }
            None => first += 1,
        }
    }
    chains
}

/// Who reads whom.
struct Graph<'a> {
    nodes: &'a [Node],
    /// For each node the edges into it.
    inputs: Vec<Vec<&'a Edge>>,
    /// For each node the edges out of it.
    outputs: Vec<Vec<&'a Edge>>,
    /// Whether a chain may have several ways.
    forks: bool,
}

impl Graph<'_> {
    /// Returns the fewest of the chains that the first one of them can become one with.
    fn grow(&self, chains: &[Chain]) -> Option<Vec<usize>> {
        let mut members = vec![false; self.nodes.len()];
        chains[0].nodes.iter().for_each(|node| members[*node] = true);
        let mut parts = Vec::new();
        for (number, chain) in chains.iter().enumerate().skip(1) {
            let inputs = &self.inputs[chain.head()];
            if !inputs.iter().any(|edge| members[edge.from] && edge.output.is_none()) {
                continue;
            }
            let joins = inputs.iter().all(|edge| members[edge.from] && self.may_share(edge));
            let is_sink = matches!(self.nodes[chain.head()].kind, NodeKind::Sink(_));
            // A sink takes what comes out at the end, and that is one thing.
            if !joins || (inputs.len() > 1 && (is_sink || !self.forks)) {
                return None;
            }
            parts.push(number);
            chain.nodes.iter().for_each(|node| members[*node] = true);
            let mut all = chains[0].nodes.iter().chain(parts.iter().flat_map(|part| &chains[*part].nodes));
            if all.all(|node| *node == chain.tail() || self.is_read_by(*node, &members)) {
                return Some(parts);
            }
            if is_sink || !self.forks {
                return None;
            }
        }
        None
    }

    /// Returns whether a node is read, and by nobody but these.
    fn is_read_by(&self, node: usize, members: &[bool]) -> bool {
        let mut readers = self.outputs[node].iter().filter(|edge| edge.output.is_none()).peekable();
        readers.peek().is_some() && readers.all(|edge| members[edge.to])
    }

    /// Returns whether the two ends of an edge may be in the same chain.
    fn may_share(&self, edge: &Edge) -> bool {
        let (from, to) = (&self.nodes[edge.from], &self.nodes[edge.to]);
        // What waits for answers holds watermarks back from those behind it; a sink takes none.
        let waits = matches!(&from.kind, NodeKind::Operator(operator) if operator.asks);
        edge.output.is_none()
            && edge.partition == Partition::Forward
            && !from.dedicated
            && !to.dedicated
            && (!waits || matches!(to.kind, NodeKind::Sink(_)))
    }
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
