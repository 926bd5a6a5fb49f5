//! What holds for a record on its way from a source to a sink when something crashes, and why.

use std::collections::VecDeque;
use std::fmt;

use piton_actors::Delivery;
use piton_actors::blueprint::SinkBlueprint;

use crate::config::Mode;
use crate::topology::plan::{NodeKind, Plan};

/// How often the effect of a record is seen in a sink after any number of crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guarantee {
    /// Exactly once.
    ExactlyOnce,
    /// Once or more often.
    AtLeastOnce,
    /// Once or not at all.
    AtMostOnce,
    /// Any number of times, or not at all.
    BestEffort,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Guarantee::ExactlyOnce => "exactly-once",
            Guarantee::AtLeastOnce => "at-least-once",
            Guarantee::AtMostOnce => "at-most-once",
            Guarantee::BestEffort => "best-effort",
        })
    }
}

/// A way from a source to a sink, with what holds on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// The nodes of a shortest way. What holds depends on its two ends and on the settings only.
    pub nodes: Vec<usize>,
    /// The edges between them, as indexes into those of the plan.
    pub edges: Vec<usize>,
    /// What holds.
    pub guarantee: Guarantee,
    /// Why.
    pub reason: String,
}

impl Plan {
    /// Returns for each source and each sink that it reaches what holds between them.
    pub fn guarantees(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        for (source, node) in self.nodes.iter().enumerate() {
            let NodeKind::Source(blueprint, _) = &node.kind else { continue };
            for (sink, way) in self.ways_from(source).into_iter().enumerate() {
                let (NodeKind::Sink(into), Some(edges)) = (&self.nodes[sink].kind, way) else { continue };
                let nodes = edges.iter().map(|edge| self.edges[*edge].from).chain([sink]).collect();
                let names = (&*node.name, &*self.nodes[sink].name);
                let mode = self.settings.checkpoint.mode;
                let (guarantee, reason) = explain(names, blueprint.replayable, mode, into);
                paths.push(Path { nodes, edges, guarantee, reason });
            }
        }
        paths
    }

    /// Returns for each node the edges of a shortest way to it.
    fn ways_from(&self, source: usize) -> Vec<Option<Vec<usize>>> {
        let mut ways: Vec<Option<Vec<usize>>> = vec![None; self.nodes.len()];
        ways[source] = Some(Vec::new());
        let mut next = VecDeque::from([source]);
        while let Some(node) = next.pop_front() {
            let way = ways[node].clone().unwrap_or_default();
            for (number, edge) in self.edges.iter().enumerate().filter(|(_, edge)| edge.from == node) {
                if ways[edge.to].is_none() {
                    let mut longer = way.clone();
                    longer.push(number);
                    ways[edge.to] = Some(longer);
                    next.push_back(edge.to);
                }
            }
        }
        ways
    }
}

fn explain(
    (source, sink): (&str, &str),
    replayable: bool,
    mode: Mode,
    SinkBlueprint { delivery, repeats, .. }: &SinkBlueprint,
) -> (Guarantee, String) {
    let mut reasons = Vec::new();
    if !replayable {
        reasons.push(format!(
            "source \"{source}\" cannot go back, so what it gave after the last committed window is lost in a crash"
        ));
    }
    if mode == Mode::AtLeastOnce {
        reasons.push(
            "checkpoint.mode = \"at-least-once\" lets a checkpoint hold records that are read again after a crash"
                .to_string(),
        );
    }
    if *delivery == Delivery::Immediate {
        reasons.push(format!(
            "sink \"{sink}\" shows rows at once, so those since the last committed window show again after a crash"
        ));
    }
    if *repeats {
        reasons.push(format!(
            "sink \"{sink}\" shows rows once they are committed, but if the process is killed just then, its last window may repeat"
        ));
    }
    let repeats = mode == Mode::AtLeastOnce || *delivery == Delivery::Immediate || *repeats;
    let guarantee = match (replayable, repeats) {
        (true, false) => Guarantee::ExactlyOnce,
        (true, true) => Guarantee::AtLeastOnce,
        (false, false) => Guarantee::AtMostOnce,
        (false, true) => Guarantee::BestEffort,
    };
    if guarantee == Guarantee::ExactlyOnce {
        let how = match delivery {
            Delivery::Joined => "writes its rows in the same step that commits the checkpoint",
            _ => "shows rows only after the checkpoint that covers them is durable",
        };
        reasons.push(format!("source \"{source}\" goes back to the committed position, and sink \"{sink}\" {how}"));
    }
    (guarantee, reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use piton_actors::{Error, Inputs};

    use super::*;

    #[test]
    fn both_ends_and_the_mode_decide() {
        let guarantee = |replayable, mode, delivery| explain(("in", "out"), replayable, mode, &sink(delivery, false)).0;
        use Delivery::{Immediate, Joined, Staged};
        use Mode::{AtLeastOnce, ExactlyOnce};
        assert_eq!(guarantee(true, ExactlyOnce, Staged), Guarantee::ExactlyOnce);
        assert_eq!(guarantee(true, ExactlyOnce, Joined), Guarantee::ExactlyOnce);
        assert_eq!(guarantee(true, AtLeastOnce, Staged), Guarantee::AtLeastOnce);
        assert_eq!(guarantee(true, ExactlyOnce, Immediate), Guarantee::AtLeastOnce);
        assert_eq!(guarantee(false, ExactlyOnce, Staged), Guarantee::AtMostOnce);
        assert_eq!(guarantee(false, ExactlyOnce, Immediate), Guarantee::BestEffort);
        assert_eq!(guarantee(false, AtLeastOnce, Staged), Guarantee::BestEffort);
    }

    #[test]
    fn the_reason_names_the_culprit() {
        let (_, reason) = explain(("in", "out"), false, Mode::ExactlyOnce, &sink(Delivery::Immediate, false));
        assert!(reason.contains("source \"in\" cannot go back") && reason.contains("sink \"out\" shows rows at once"));
    }
    #[test]
    fn a_sink_that_may_repeat_its_last_window_says_so() {
        let (guarantee, reason) = explain(("in", "out"), true, Mode::ExactlyOnce, &sink(Delivery::Staged, true));
        assert_eq!(guarantee, Guarantee::AtLeastOnce);
        assert!(reason.contains("its last window may repeat"), "{reason}");
    }

    fn sink(delivery: Delivery, repeats: bool) -> SinkBlueprint {
        let make = Arc::new(|| Err(Error::failed("a blueprint of nothing")));
        SinkBlueprint { delivery, repeats, folder: None, unpack: <u64 as Inputs>::unpack, make }
    }
}
