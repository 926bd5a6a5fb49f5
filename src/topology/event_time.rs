//! Operators that wait for event time to pass, behind sources that have none: they would wait for the end.

use std::collections::BTreeSet;

use crate::config::{Problems, join};
use crate::topology::build::Built;
use crate::topology::plan::NodeKind;
use crate::topology::spec::NodeSpec;

/// Notes every operator that goes by event time which nothing that it reads has.
pub(crate) fn check(specs: &[NodeSpec], built: &Built, problems: &mut Problems) {
    for (index, node) in built.nodes.iter().enumerate() {
        let NodeKind::Operator(blueprint) = &node.kind else { continue };
        let Some(option) = blueprint.waits_for_event_time else { continue };
        let Some(spec) = specs.iter().find(|spec| spec.name == *node.name) else { continue };
        for edge in built.edges.iter().filter(|edge| edge.to == index) {
            let Some(sources) = sources_without(built, edge.from) else { continue };
            let named: Vec<String> = sources.iter().map(|source| format!("\"{source}\"")).collect();
            let message = format!(
                "{}: `{option}` goes by event time, but no row that comes from {} has one, so that nothing would come out \
                 before the end: set `event_time` there",
                spec.title(),
                named.join(", ")
            );
            problems.value(join(&spec.path, option), message);
        }
    }
}

/// Returns the sources that what a node emits comes from, if none of it can have an event time.
fn sources_without(built: &Built, node: usize) -> Option<BTreeSet<&str>> {
    let node_kind = &built.nodes[node].kind;
    let gives = match node_kind {
        NodeKind::Source(blueprint, _) => blueprint.gives_event_time,
        NodeKind::Operator(blueprint) => blueprint.gives_event_time,
        NodeKind::Sink(_) => false,
    };
    if gives {
        return None;
    }
    let mut sources = BTreeSet::new();
    if matches!(node_kind, NodeKind::Source(..)) {
        sources.insert(&*built.nodes[node].name);
    }
    for edge in built.edges.iter().filter(|edge| edge.to == node) {
        sources.extend(sources_without(built, edge.from)?);
    }
    Some(sources)
}
