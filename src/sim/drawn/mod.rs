//! Made-up jobs: a random topology of operators chosen so that a mistake of the engine shows in what they give, with
//! the knowledge of what that must be.

mod data;
mod describe;
mod drawing;
mod flow;
mod golden;
mod operators;
mod oracle;
mod topology;

use std::collections::BTreeMap;
use std::sync::Arc;

use piton_actors::blueprint::{OperatorBlueprint, SinkBlueprint, SourceBlueprint, source_blueprint};
use piton_actors::{Batch, Delivery, Inputs, WindowId};

use self::data::{Data, Position, SimSource};
use self::operators::OperatorKind;
use self::operators::{ASIDE, Row};
use self::oracle::Oracle;
use self::topology::{Edge, OperatorNode, RegionPlan, SinkNode, SourceNode, Topology, Vertex};
use crate::chaos::invariants::{InvariantId, Verdict};
use crate::config::{Mode, OnPoison};
use crate::ids::SubtaskId;
use crate::protocol::chain::{SideExit, Wire};
use crate::protocol::ladder::LadderSettings;
use crate::protocol::manifest::Manifest;
use crate::protocol::source::EventTime;
use crate::runtime::build::{ChainBlueprint, Link, RegionBlueprint};
use crate::sim::history::History;
use crate::sim::job::{Job, Poison};
use crate::sim::judge::Judge;
use crate::sim::outside::Outside;
use crate::sim::recorder::recorder;
use crate::topology::{Fingerprint, Mapping, OperatorPrint, Role};

/// See the module.
pub(crate) struct Drawn {
    topology: Topology,
    data: Data,
    mode: Mode,
    history: Option<History>,
}

/// Describes the job that a seed stands for, one line for each chain.
pub(crate) fn describe(seed: u64) -> String {
    Topology::draw(seed).to_string()
}

impl Drawn {
    /// Makes up the job of a seed.
    pub(crate) fn new(seed: u64, mode: Mode) -> Drawn {
        let topology = Topology::draw(seed);
        let data = Data::new(Oracle::new(&topology, mode));
        let fickle = |vertex: &Vertex| vertex.operators.iter().any(|node| node.kind == OperatorKind::Fickle);
        let regions = topology.regions.iter().enumerate();
        let chains =
            regions.flat_map(|(number, region)| std::iter::repeat(number).zip(region.vertices.iter().enumerate()));
        let fickle =
            chains.filter(|(_, (_, vertex))| fickle(vertex)).map(|(region, (chain, _))| (region, chain)).collect();
        let history = (mode == Mode::ExactlyOnce).then(|| History::new(mode, fickle));
        Drawn { topology, data, mode, history }
    }

    pub(crate) fn regions(&self) -> usize {
        self.topology.regions.len()
    }

    /// Returns whether a chain may have another parallelism: it loses no rows with it, and nobody counts on it.
    pub(crate) fn may_rescale(&self, chain: &ChainBlueprint) -> bool {
        let mut vertices = self.topology.regions.iter().flat_map(|region| &region.vertices);
        let vertex = vertices.find(|vertex| vertex.name == chain.name);
        let keeps = |node: &OperatorNode| {
            !matches!(node.kind, OperatorKind::Linger | OperatorKind::Dice | OperatorKind::Fickle)
        };
        vertex.is_some_and(|vertex| vertex.operators.iter().all(keeps))
    }

    /// Plans it.
    pub(crate) fn job(&self, outside: &Outside) -> Job {
        let plan = |region: &RegionPlan| {
            let chain = |vertex: &Vertex| ChainBlueprint {
                name: Arc::clone(&vertex.name),
                parallelism: vertex.parallelism,
                source: vertex.source.as_ref().map(|node| {
                    let SourceNode { disorder: out_of_order, idle_timeout, max_drift, .. } = *node;
                    let event_time = EventTime { out_of_order, idle_timeout, max_drift, is_untimed: false };
                    (node.name.clone(), self.source(node), event_time)
                }),
                operators: vertex.operators.iter().map(|node| (node.name.clone(), self.operator(node))).collect(),
                wires: wires(vertex),
                sides: vertex.sides.iter().map(|operator| side_exit(*operator)).collect(),
                sink: vertex.sink.as_ref().map(|node| (node.name.clone(), self.sink(node, outside))),
                dedicated: false,
            };
            let links = region.edges.iter();
            RegionBlueprint {
                name: region.name.clone(),
                chains: region.vertices.iter().map(chain).collect(),
                links: links
                    .map(|edge| {
                        let Edge { from, exit, to, port, kind: route } = *edge;
                        Link { from, to, exit, port, route }
                    })
                    .collect(),
                topology: Fingerprint {
                    key_groups: self.topology.key_groups,
                    operators: region.vertices.iter().flat_map(prints).collect(),
                    edges: Vec::new(),
                },
                mapping: Mapping::default(),
            }
        };
        let regions = self.topology.regions.iter().map(plan).collect();
        let poison = if self.topology.poisoned { Poison::Drawn } else { Poison::None };
        Job::new(self.topology.key_groups, 0, regions, poison)
    }

    fn source(&self, node: &SourceNode) -> SourceBlueprint {
        let rows: Arc<Vec<u64>> = Arc::new(self.topology.partitions.iter().map(|partition| partition.rows).collect());
        let SourceNode { first_partition, width, disorder, idle_timeout, .. } = *node;
        let pauses = idle_timeout.is_some();
        let (keys, poisoned, data) = (self.topology.keys, self.topology.poisoned, self.data.clone());
        let make = move || {
            let (rows, data) = (Arc::clone(&rows), data.clone());
            Ok(SimSource {
                first_partition,
                rows,
                keys,
                disorder,
                width,
                partition: 0,
                next: Vec::new(),
                is_named: false,
                poisoned,
                pauses,
                paused: 0,
                data,
            })
        };
        source_blueprint(make).expect("a factory that never fails")
    }

    fn operator(&self, node: &OperatorNode) -> OperatorBlueprint {
        operators::blueprint(node.id, node.kind, &self.data)
    }

    fn sink(&self, node: &SinkNode, outside: &Outside) -> SinkBlueprint {
        let delivery = self.topology.sinks[node.id].delivery;
        debug_assert!(delivery != Delivery::Immediate, "an immediate sink promises nothing that could be checked");
        recorder(&node.name, delivery, <Row as Inputs>::unpack, outside)
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

    fn published(&mut self, region: usize, sink: &str, batches: &[Batch]) -> Verdict {
        let sinks = self.topology.regions[region].vertices.iter().filter_map(|vertex| vertex.sink.as_ref());
        let id = sinks.into_iter().find(|node| node.name == sink).map(|node| node.id);
        for batch in batches {
            let (Some(id), Some(rows)) = (id, piton_actors::rows::<Row>(batch)) else {
                let message = format!("what \"{sink}\" has shown is not what it was given");
                return Err(InvariantId::EngineSound.broken(message));
            };
            self.data.lock().oracle.published(id, &rows)?;
        }
        Ok(())
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

    fn rescaled(&mut self, heads: &[WindowId]) {
        self.data.lock().oracle.rescaled(heads);
    }

    fn history(&mut self) -> Option<&mut History> {
        self.history.as_mut()
    }

    fn is_fickle(&self, region: usize, chain: usize) -> bool {
        let operators = &self.topology.regions[region].vertices[chain].operators;
        operators.iter().any(|node| node.kind == OperatorKind::Fickle)
    }
}

/// Returns who of the operators of a chain reads whom. The first one of all has what comes in from elsewhere.
fn wires(vertex: &Vertex) -> Vec<Wire> {
    let inputs = vertex.operators.iter().enumerate().flat_map(|(to, node)| {
        node.reads.iter().enumerate().map(move |(input, from)| {
            let port = if node.kind == OperatorKind::Merge { input } else { 0 };
            Wire { from: *from, to, port }
        })
    });
    inputs.filter(|wire| wire.from.is_some() || vertex.source.is_some()).collect()
}

fn side_exit(operator: usize) -> SideExit {
    SideExit { operator, output: ASIDE.into() }
}

/// Returns what a checkpoint remembers of a chain: enough to see that it has another parallelism.
fn prints(vertex: &Vertex) -> impl Iterator<Item = (String, OperatorPrint)> {
    let sources = vertex.source.iter().map(|node| (node.name.clone(), Role::Source));
    let operators = vertex.operators.iter().map(|node| (node.name.clone(), Role::Operator));
    let sinks = vertex.sink.iter().map(|node| (node.name.clone(), Role::Sink));
    let print = |role| OperatorPrint {
        role,
        type_name: "drawn".into(),
        keyed: false,
        parallelism: vertex.parallelism,
        state: None,
    };
    sources.chain(operators).chain(sinks).map(move |(name, role)| (name, print(role)))
}

/// Returns how far each source partition of a region is in a checkpoint.
fn positions(plan: &RegionPlan, manifest: &Manifest) -> Vec<(u32, u64)> {
    let mut positions = Vec::new();
    for (vertex, source) in plan.vertices.iter().filter_map(|vertex| Some((vertex, vertex.source.as_ref()?))) {
        for index in 0..vertex.parallelism {
            let id = SubtaskId::new(Arc::clone(&vertex.name), index);
            let Some(snapshot) = manifest.subtask(&id) else { continue };
            let position = snapshot.operators.first().and_then(|operator| operator.position.as_ref());
            let position: Option<Position> = position.and_then(|bytes| rmp_serde::from_slice(bytes).ok());
            let first = source.first_partition + index * source.width;
            let position = position.map_or_else(|| vec![0; source.width as usize], Position::next);
            positions.extend((first..).zip(position));
        }
    }
    positions
}
