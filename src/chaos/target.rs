//! Whom faults can hit: the operators, sources and sinks of a topology, and the calls they have.

use crate::chaos::fragile::Hook;
use crate::topology::{Plan, Role, fits};

/// An operator, source or sink that may be hit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// How many subtasks it has.
    pub parallelism: u32,
    /// The head of its chain, by which its subtasks go.
    pub head: String,
    /// The region that it is part of.
    pub region: String,
}

impl Target {
    /// Returns all that a topology has.
    pub fn all(plan: &Plan) -> Vec<Target> {
        let of = |(index, node): (usize, &crate::topology::Node)| {
            let chain = plan.chain_of(index);
            Target {
                name: node.name.to_string(),
                role: node.role(),
                parallelism: node.parallelism,
                head: plan.nodes[plan.chains[chain].head()].name.to_string(),
                region: plan.regions[plan.region_of(chain)].name.to_string(),
            }
        };
        plan.nodes.iter().enumerate().map(of).collect()
    }

    /// Returns those whose names fit one of the patterns.
    pub fn matching(plan: &Plan, patterns: &[String]) -> Vec<Target> {
        let mut targets = Target::all(plan);
        targets.retain(|target| patterns.iter().any(|pattern| fits(pattern, &target.name)));
        targets
    }
}

/// Returns the calls that an operator, a source or a sink has, with their names.
pub(crate) fn points(role: Role) -> &'static [(&'static str, Hook)] {
    match role {
        Role::Operator => &[
            ("open", Hook::Open),
            ("restore", Hook::Restore),
            ("process", Hook::Process),
            ("watermark", Hook::Watermark),
            ("begin_window", Hook::BeginWindow),
            ("end_window", Hook::EndWindow),
            ("before_checkpoint", Hook::BeforeCheckpoint),
            ("cut", Hook::Cut),
            ("checkpointed", Hook::Checkpointed),
            ("committed", Hook::Committed),
            ("close", Hook::Close),
        ],
        Role::Source => &[("open", Hook::SourceOpen), ("poll", Hook::SourcePoll), ("committed", Hook::SourceCommitted)],
        Role::Sink => &[
            ("open", Hook::SinkOpen),
            ("write", Hook::SinkWrite),
            ("prepare", Hook::SinkPrepare),
            ("commit", Hook::SinkCommit),
            ("abort", Hook::SinkAbort),
        ],
    }
}

/// Returns the call of a name.
pub(crate) fn point(role: Role, name: &str) -> Option<Hook> {
    points(role).iter().find(|(known, _)| *known == name).map(|(_, hook)| *hook)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_calls_are_those_that_a_topology_file_may_name() {
        for role in [Role::Operator, Role::Source, Role::Sink] {
            let names: Vec<&str> = points(role).iter().map(|(name, _)| *name).collect();
            assert_eq!(names, crate::topology::points(role), "{role}");
        }
    }
}
