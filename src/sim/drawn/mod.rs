//! Made-up jobs: a random topology of operators chosen so that a mistake of the engine shows in what they give, with
//! the knowledge of what that must be.

mod data;
mod golden;
mod operators;
mod oracle;
mod topology;

use std::collections::BTreeMap;
use std::sync::Arc;

use piton_actors::blueprint::{OperatorBlueprint, SinkBlueprint, SourceBlueprint, sink_blueprint, source_blueprint};
use piton_actors::{Delivery, WindowId};

use self::data::{Data, SimPending, SimSink, SimSource};
use self::oracle::Oracle;
use self::topology::{OperatorKind, OperatorNode, RegionPlan, SinkNode, SourceNode, Topology, Vertex};
use crate::chaos::invariants::{InvariantId, Verdict};
use crate::config::{Mode, OnPoison};
use crate::ids::SubtaskId;
use crate::protocol::ladder::LadderSettings;
use crate::protocol::manifest::{JoinedOutput, Manifest};
use crate::runtime::build::{ChainBlueprint, Link, RegionBlueprint};
use crate::sim::job::Job;
use crate::sim::judge::Judge;
use crate::sim::outside::Outside;
use crate::sim::random::Random;
use crate::topology::{Fingerprint, Mapping};

/// See the module.
pub(crate) struct Drawn {
    topology: Topology,
    data: Data,
    mode: Mode,
}

/// Describes the job that a seed stands for, one line for each chain.
pub(crate) fn describe(seed: u64) -> String {
    Topology::draw(&mut Random::new(seed, "topology")).to_string()
}

impl Drawn {
    /// Makes up the job of a seed.
    pub(crate) fn new(seed: u64, mode: Mode) -> Drawn {
        let topology = Topology::draw(&mut Random::new(seed, "topology"));
        let data = Data::new(Oracle::new(&topology, mode));
        Drawn { topology, data, mode }
    }

    pub(crate) fn regions(&self) -> usize {
        self.topology.regions.len()
    }

    /// Plans it.
    pub(crate) fn job(&self, outside: &Outside) -> Job {
        let plan = |(number, region): (usize, &RegionPlan)| {
            let chain = |vertex: &Vertex| ChainBlueprint {
                name: Arc::clone(&vertex.name),
                parallelism: vertex.parallelism,
                source: vertex.source.as_ref().map(|node| (node.name.clone(), self.source(node), node.disorder)),
                operators: vertex.operators.iter().map(|node| (node.name.clone(), self.operator(node))).collect(),
                sink: vertex.sink.as_ref().map(|node| (node.name.clone(), self.sink(number, node, outside))),
                dedicated: false,
            };
            let links = region.edges.iter();
            RegionBlueprint {
                name: region.name.clone(),
                chains: region.vertices.iter().map(chain).collect(),
                links: links
                    .map(|edge| Link { from: edge.from, to: edge.to, port: edge.port, route: edge.kind })
                    .collect(),
                topology: Fingerprint {
                    key_groups: self.topology.key_groups,
                    operators: BTreeMap::new(),
                    edges: Vec::new(),
                },
                mapping: Mapping::default(),
            }
        };
        let regions = self.topology.regions.iter().enumerate().map(plan).collect();
        Job::new(self.topology.key_groups, regions, self.topology.poisoned)
    }

    fn source(&self, node: &SourceNode) -> SourceBlueprint {
        let rows: Arc<Vec<u64>> = Arc::new(self.topology.partitions.iter().map(|partition| partition.rows).collect());
        let (first_partition, disorder) = (node.first_partition, node.disorder);
        let (keys, poisoned, data) = (self.topology.keys, self.topology.poisoned, self.data.clone());
        let make = move || {
            let (rows, data) = (Arc::clone(&rows), data.clone());
            Ok(SimSource { first_partition, rows, keys, disorder, partition: 0, next: 0, poisoned, data })
        };
        source_blueprint(make).expect("a factory that never fails")
    }

    fn operator(&self, node: &OperatorNode) -> OperatorBlueprint {
        operators::blueprint(node.id, node.kind, &self.data)
    }

    fn sink(&self, region: usize, node: &SinkNode, outside: &Outside) -> SinkBlueprint {
        let (id, data, outside) = (node.id, self.data.clone(), outside.clone());
        let delivery = self.topology.sinks[id].delivery;
        debug_assert!(delivery != Delivery::Immediate, "an immediate sink promises nothing that could be checked");
        let make = move || Ok(SimSink::new(id, region, delivery, data.clone(), outside.clone()));
        sink_blueprint(make).expect("a factory that never fails")
    }
}

impl Judge for Drawn {
    fn head_moved(&mut self, region: usize, manifest: &Manifest) {
        let under_way = manifest.subtasks.iter().any(|subtask| subtask.within.is_some());
        let positions = positions(&self.topology.regions[region], manifest);
        let oracle = &mut self.data.lock().oracle;
        oracle.positions_seen(&positions);
        oracle.under_way_seen(region, under_way);
    }

    fn joined(&mut self, window: WindowId, joined: &JoinedOutput) -> Verdict {
        let sinks = self.topology.regions.iter().flat_map(|region| &region.vertices);
        let sink = sinks.filter_map(|vertex| vertex.sink.as_ref()).find(|sink| sink.name == joined.operator);
        let (Some(sink), Ok((prepared, rows))) = (sink, SimPending::decode(&joined.output)) else {
            let message = format!("a joined output of \"{}\" is not what was given", joined.operator);
            return Err(InvariantId::EngineSound.broken(message));
        };
        if prepared > window {
            return Err(InvariantId::InvisibleUntilCommitted.broken(format!("window {prepared} joined {window}")));
        }
        self.data.lock().oracle.published(sink.id, joined.subtask.index, prepared, window, &rows)
    }

    fn settled(&mut self, region: usize) -> Verdict {
        self.data.lock().oracle.settled(region)
    }

    fn ended(&mut self, set_aside: &BTreeMap<String, u64>, ladder: &LadderSettings) -> Verdict {
        self.data.lock().oracle.ended()?;
        let wanted = match ladder.on_poison {
            OnPoison::DeadLetter if self.topology.poisoned => golden::poison(&self.topology),
            _ => BTreeMap::new(),
        };
        let is_right = match self.mode {
            Mode::ExactlyOnce => *set_aside == wanted,
            Mode::AtLeastOnce => {
                let missing = wanted.iter().find(|(letter, times)| set_aside.get(*letter) < Some(times));
                missing.is_none() && set_aside.keys().all(|letter| wanted.contains_key(letter))
            }
        };
        if !is_right {
            let message = format!("set aside were {set_aside:?}, not {wanted:?}");
            return Err(InvariantId::LettersExactlyOnce.broken(message));
        }
        Ok(())
    }

    fn visible(&self) -> (u64, u64) {
        self.data.lock().oracle.visible()
    }

    fn is_fickle(&self, region: usize, chain: usize) -> bool {
        let operators = &self.topology.regions[region].vertices[chain].operators;
        operators.iter().any(|node| node.kind == OperatorKind::Fickle)
    }
}

/// Returns how far each source partition of a region is in a checkpoint.
fn positions(plan: &RegionPlan, manifest: &Manifest) -> Vec<(u32, u64)> {
    let mut positions = Vec::new();
    for (vertex, source) in plan.vertices.iter().filter_map(|vertex| Some((vertex, vertex.source.as_ref()?))) {
        for index in 0..vertex.parallelism {
            let id = SubtaskId::new(Arc::clone(&vertex.name), index);
            let Some(snapshot) = manifest.subtask(&id) else { continue };
            let position = snapshot.operators.first().and_then(|operator| operator.position.as_ref());
            let position = position.and_then(|bytes| rmp_serde::from_slice(bytes).ok()).unwrap_or(0);
            positions.push((source.first_partition + index, position));
        }
    }
    positions
}
