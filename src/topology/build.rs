//! Makes the plan: asks every kind in the order of the stream, decides parallelism and edges, and notes all that is
//! wrong instead of stopping at the first.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use piton_actors::blueprint::{Fault, KindDoc, OperatorBlueprint, Site, conversion};
use piton_actors::{Delivery, RecordType, SideOutputDeclared};

use crate::config::{DidYouMean, Layered, Mode, Problems, Settings, join, nearest};
use crate::topology::graph::Graph;
use crate::topology::options::ask;
use crate::topology::plan::{Edge, EventTime, Node, NodeKind, Partition};
use crate::topology::registry::Registry;
use crate::topology::spec::{Asked, Input, NodeSpec, Role, is_name, no_such_output};

/// Nodes and edges as they came out.
#[derive(Default)]
pub(crate) struct Built {
    pub(crate) nodes: Vec<Node>,
    pub(crate) edges: Vec<Edge>,
}

/// Plans every node. What comes back is complete only if no error was noted.
pub(crate) fn build(
    specs: &[NodeSpec],
    layered: &Layered<'_>,
    settings: &Settings,
    folder: &Path,
    registry: &Registry,
    problems: &mut Problems,
) -> Built {
    let graph = Graph::new(specs, problems);
    graph.check_ends(specs, problems);
    let order = graph.order(specs, problems);
    let mut builder = Builder { specs, layered, settings, folder, registry, planned: BTreeMap::new(), problems };
    let mut built = Built::default();
    for index in &order {
        builder.plan(*index, &graph.inputs[*index], &mut built);
    }
    for (index, spec) in specs.iter().enumerate() {
        if !order.contains(&index) {
            builder.check_options(spec);
        }
    }
    built
}

/// What an input reads.
struct Producer {
    /// A node that is planned.
    node: usize,
    /// Its side output, if it is one.
    output: Option<Arc<str>>,
    emits: RecordType,
}

struct Builder<'b, 'l> {
    specs: &'b [NodeSpec],
    layered: &'b Layered<'l>,
    settings: &'b Settings,
    folder: &'b Path,
    registry: &'b Registry,
    /// For each spec that could be planned its index among the nodes.
    planned: BTreeMap<usize, usize>,
    problems: &'b mut Problems,
}

impl Builder<'_, '_> {
    fn plan(&mut self, index: usize, inputs: &[Option<Input>], built: &mut Built) {
        let spec = &self.specs[index];
        let mut read = Vec::with_capacity(inputs.len());
        for (number, input) in inputs.iter().enumerate() {
            let found = input.as_ref().and_then(|input| self.find(spec, number, input, built));
            read.push(found);
        }
        let producers: Option<Vec<Producer>> = read.into_iter().collect();
        let Some(producers) = producers.filter(|producers| spec.role == Role::Source || !producers.is_empty()) else {
            // What it reads is not known: its own options can be checked nevertheless.
            self.check_options(spec);
            return;
        };
        let Some(producers) = self.converted(spec, producers, built) else {
            self.check_options(spec);
            return;
        };
        let inherited = producers.iter().map(|producer| built.nodes[producer.node].parallelism).max();
        let fallback = match (spec.role, inherited) {
            (Role::Sink, Some(inherited)) => inherited,
            _ => self.settings.job.parallelism.max(1),
        };
        let parallelism = spec.parallelism.unwrap_or(fallback).max(1);
        let types: Vec<RecordType> = producers.iter().map(|producer| producer.emits.clone()).collect();
        let planned = match spec.role {
            Role::Source => self.plan_source(spec, parallelism),
            Role::Operator => self.plan_operator(spec, &types, parallelism).map(|kind| (kind, parallelism)),
            Role::Sink => self.plan_sink(spec, &types, parallelism).map(|kind| (kind, parallelism)),
        };
        let Some((kind, parallelism)) = planned else { return };
        let node = Node {
            name: Arc::from(spec.name.as_str()),
            type_name: spec.type_name.clone().unwrap_or_default(),
            kind,
            parallelism,
            dedicated: spec.dedicated,
            renamed_from: spec.renamed_from.clone(),
        };
        self.check_key_groups(spec, &node);
        let to = built.nodes.len();
        for (port, Producer { node: from, output, .. }) in producers.into_iter().enumerate() {
            if let Some(partition) = self.partition(spec, &built.nodes[from], &node, port) {
                built.edges.push(Edge { from, output, to, port, partition });
            }
        }
        self.planned.insert(index, to);
        built.nodes.push(node);
    }

    /// Puts conversions between producers and a node that reads something else than they emit; nothing if there is none,
    /// which is noted.
    fn converted(&mut self, spec: &NodeSpec, producers: Vec<Producer>, built: &mut Built) -> Option<Vec<Producer>> {
        let type_name = spec.type_name.as_deref().unwrap_or_default();
        let ports = match spec.role {
            Role::Source => Vec::new(),
            Role::Operator => self.registry.operators().get(type_name).map(|kind| kind.ports()).unwrap_or_default(),
            Role::Sink => self.registry.sinks().get(type_name).map(|kind| kind.ports()).unwrap_or_default(),
        };
        let mut converted = Vec::with_capacity(producers.len());
        for (number, producer) in producers.into_iter().enumerate() {
            let Some(port) = ports.get(number).or(ports.last()).map(Option::as_ref) else {
                converted.push(Some(producer));
                continue;
            };
            match conversion(&producer.emits, port) {
                Ok(None) => converted.push(Some(producer)),
                Ok(Some(blueprint)) => {
                    let reader = port.map(|_| spec.name.as_str());
                    converted.push(Some(put_between(producer, reader, blueprint, built)));
                }
                Err(why) => {
                    let path = format!("{}[{number}]", join(&spec.path, "inputs"));
                    self.problems.value(path, format!("{}: \"{}\" {why}", spec.title(), spec.inputs[number]));
                    converted.push(None);
                }
            }
        }
        converted.into_iter().collect()
    }

    /// Returns what an input reads, or nothing if that is not known; notes an output that there is not.
    fn find(&mut self, spec: &NodeSpec, number: usize, input: &Input, built: &Built) -> Option<Producer> {
        let node = *self.planned.get(&input.node)?;
        let (emits, aside) = match &built.nodes[node].kind {
            NodeKind::Source(blueprint, _) => (&blueprint.output, &[][..]),
            NodeKind::Operator(blueprint) => (&blueprint.output, &blueprint.side_outputs[..]),
            NodeKind::Sink(_) => return None,
        };
        let Some(output) = &input.output else { return Some(Producer { node, output: None, emits: emits.clone() }) };
        if let Some(declared) = aside.iter().find(|declared| declared.name() == output) {
            let (output, emits) = (Some(Arc::from(output.as_str())), declared.carries().clone());
            return Some(Producer { node, output, emits });
        }
        let known: Vec<&str> = aside.iter().map(SideOutputDeclared::name).collect();
        let why = no_such_output(&self.specs[input.node], output, &known);
        let path = format!("{}[{number}]", join(&spec.path, "inputs"));
        self.problems.value(path, format!("{} reads \"{}\", {why}", spec.title(), spec.inputs[number]));
        None
    }

    fn plan_source(&mut self, spec: &NodeSpec, parallelism: u32) -> Option<(NodeKind, u32)> {
        let kind = self.kind(spec, self.registry.sources())?;
        let known = documented(&kind.doc());
        let plan = |parallelism, problems: &mut Problems| {
            let site = self.site(spec, parallelism);
            ask(spec, self.layered, &known, problems, |options| kind.plan(options, &site))
        };
        let mut found = Problems::default();
        let mut blueprint = plan(parallelism, &mut found);
        let mut bounded = parallelism;
        if let Some(most) = blueprint.as_ref().and_then(|blueprint| blueprint.max_parallelism)
            && most < parallelism
        {
            bounded = most.max(1);
            if spec.parallelism.is_some() {
                let message =
                    format!("{}: parallelism {parallelism} is more than the {most} that there can be", spec.title());
                found.value(join(&spec.path, "parallelism"), message);
            } else {
                // The job's parallelism is a wish; the source is planned again for what it can have.
                blueprint = plan(bounded, &mut found);
            }
        }
        self.problems.append(found);
        if blueprint.as_ref().is_some_and(|blueprint| !blueprint.replayable) {
            self.weakens(spec, "cannot go back: what it gave after the last committed window is lost in a crash");
        }
        let event_time = EventTime {
            out_of_order: spec.out_of_order.unwrap_or_default(),
            idle_timeout: spec.idle_timeout,
            max_drift: spec.max_drift,
        };
        blueprint.map(|blueprint| (NodeKind::Source(blueprint, event_time), bounded))
    }

    fn plan_operator(&mut self, spec: &NodeSpec, inputs: &[RecordType], parallelism: u32) -> Option<NodeKind> {
        let kind = self.kind(spec, self.registry.operators())?;
        let site = self.site(spec, parallelism);
        let known = documented(&kind.doc());
        let plan = ask(spec, self.layered, &known, self.problems, |options| kind.plan(options, inputs, &site));
        self.check_side_outputs(spec, plan.as_ref().map(|plan| &plan.side_outputs[..]).unwrap_or_default());
        plan.map(NodeKind::Operator)
    }

    fn plan_sink(&mut self, spec: &NodeSpec, inputs: &[RecordType], parallelism: u32) -> Option<NodeKind> {
        let kind = self.kind(spec, self.registry.sinks())?;
        let site = self.site(spec, parallelism);
        let known = documented(&kind.doc());
        let plan = ask(spec, self.layered, &known, self.problems, |options| kind.plan(options, inputs, &site));
        if plan.as_ref().is_some_and(|blueprint| blueprint.delivery == Delivery::Immediate) {
            self.weakens(spec, "shows rows at once: those since the last committed window show again after a crash");
        }
        plan.map(NodeKind::Sink)
    }

    /// Notes that a node cannot give what exactly-once promises: an error where the file asks for it, and a warning
    /// where it is only what a job has by default.
    fn weakens(&mut self, spec: &NodeSpec, what: &str) {
        const MODE: &str = "checkpoint.mode";
        if self.settings.checkpoint.mode != Mode::ExactlyOnce {
            return;
        }
        let title = spec.title();
        if self.layered.is_given(MODE) {
            let message = format!(
                "{title} {what}, so the job cannot be exactly-once: set \"at-least-once\", or leave the mode out to be \
                 warned only"
            );
            self.problems.value(MODE, message);
        } else {
            let message = format!("{title} {what}, in spite of checkpoint.mode = \"exactly-once\"");
            self.problems.warn(&spec.path, message);
        }
    }

    /// Checks what can be checked of a node whose inputs are not known.
    fn check_options(&mut self, spec: &NodeSpec) {
        let site = self.site(spec, spec.parallelism.unwrap_or(self.settings.job.parallelism));
        let faults = |faults: Vec<Fault>| if faults.is_empty() { Ok(()) } else { Err(faults) };
        match spec.role {
            Role::Source => {}
            Role::Operator => {
                let Some(kind) = self.kind(spec, self.registry.operators()) else { return };
                let known = documented(&kind.doc());
                ask(spec, self.layered, &known, self.problems, |options| faults(kind.check(options, &site)));
            }
            Role::Sink => {
                let Some(kind) = self.kind(spec, self.registry.sinks()) else { return };
                let known = documented(&kind.doc());
                ask(spec, self.layered, &known, self.problems, |options| faults(kind.check(options, &site)));
            }
        }
    }

    fn site(&self, spec: &NodeSpec, parallelism: u32) -> Site {
        Site {
            job: self.settings.job.name.clone(),
            name: spec.name.clone(),
            folder: self.folder.to_path_buf(),
            parallelism,
        }
    }

    /// Returns the kind that a node names, or notes that there is none.
    fn kind<'k, K: ?Sized>(&mut self, spec: &NodeSpec, kinds: &'k BTreeMap<String, Arc<K>>) -> Option<&'k K> {
        let type_name = spec.type_name.as_deref()?;
        if let Some(kind) = kinds.get(type_name) {
            return Some(kind);
        }
        let registered = match kinds.keys().map(String::as_str).collect::<Vec<_>>() {
            names if names.is_empty() => "none".to_string(),
            names => names.join(", "),
        };
        let hint = match self.registry.role_of(type_name) {
            Some(other) => format!(" for {}, only for {}", spec.role.table(), other.table()),
            None => DidYouMean(nearest(type_name, kinds.keys().map(String::as_str))).to_string(),
        };
        let title = spec.title();
        let message =
            format!("{title} has type \"{type_name}\", which is not registered{hint} (registered: {registered})");
        self.problems.value(join(&spec.path, "type"), message);
        None
    }

    /// Notes side outputs that could not be told apart, or not be written in a file.
    fn check_side_outputs(&mut self, spec: &NodeSpec, declared: &[SideOutputDeclared]) {
        for (number, name) in declared.iter().map(SideOutputDeclared::name).enumerate() {
            if !is_name(name) {
                let message = format!(
                    "{}: its type declares the side output \"{name}\", a name that is not made of letters, digits, \"_\" \
                     and \"-\"",
                    spec.title()
                );
                self.problems.value(join(&spec.path, "type"), message);
            }
            if declared[..number].iter().any(|earlier| earlier.name() == name) {
                let message = format!("{}: its type declares the side output \"{name}\" twice", spec.title());
                self.problems.value(join(&spec.path, "type"), message);
            }
        }
    }

    fn check_key_groups(&mut self, spec: &NodeSpec, node: &Node) {
        let groups = self.settings.job.key_groups;
        if node.is_keyed() && node.parallelism > groups && spec.parallelism.is_some() {
            let message = format!(
                "{}: parallelism {} is more than job.key_groups ({groups}), so some subtasks would own no key",
                spec.title(),
                node.parallelism
            );
            self.problems.value(join(&spec.path, "parallelism"), message);
        }
    }

    /// Decides how records travel on an edge; notes a `partition` that cannot be.
    fn partition(&mut self, spec: &NodeSpec, from: &Node, to: &Node, port: usize) -> Option<Partition> {
        if let NodeKind::Operator(blueprint) = &to.kind
            && blueprint.broadcast.contains(&port)
        {
            return Some(Partition::Broadcast);
        }
        let path = join(&spec.path, "partition");
        if let Some(asked) = spec.partition
            && to.is_keyed()
        {
            let asked = match asked {
                Asked::Forward => "forward",
                Asked::Rebalance => "rebalance",
                Asked::Broadcast => "broadcast",
            };
            let message = format!(
                "{} has a key, so records come to it by their key; remove partition = \"{asked}\"",
                spec.title()
            );
            self.problems.value(path, message);
            return None;
        }
        match spec.partition {
            Some(Asked::Forward) if from.parallelism != to.parallelism => {
                let message = format!(
                    "{}: partition = \"forward\" needs equal parallelism, but \"{}\" has {} and \"{}\" has {}",
                    spec.title(),
                    from.name,
                    from.parallelism,
                    to.name,
                    to.parallelism
                );
                self.problems.value(path, message);
                None
            }
            Some(Asked::Forward) => Some(Partition::Forward),
            Some(Asked::Rebalance) => Some(Partition::Rebalance),
            Some(Asked::Broadcast) => Some(Partition::Broadcast),
            // From one subtask to one: the owner of every key is known without looking at it.
            None if to.is_keyed() && from.parallelism == 1 && to.parallelism == 1 => Some(Partition::Forward),
            None if to.is_keyed() => Some(Partition::Keyed),
            None if from.parallelism == to.parallelism => Some(Partition::Forward),
            None => Some(Partition::Rebalance),
        }
    }
}

/// Adds a node that makes of what a producer emits what its reader reads: Arrow batches if no reader is named, which all
/// readers of Arrow batches then share.
fn put_between(producer: Producer, reader: Option<&str>, blueprint: OperatorBlueprint, built: &mut Built) -> Producer {
    let from = &built.nodes[producer.node];
    let output = producer.output.as_deref().map(|output| format!(".{output}")).unwrap_or_default();
    let (name, type_name) = match reader {
        None => (format!("{}{output}.table", from.name), "as_table"),
        Some(reader) => (format!("{}{output}.for.{reader}", from.name), "as_rows"),
    };
    let emits = blueprint.output.clone();
    if let Some(node) = built.nodes.iter().position(|node| *node.name == *name) {
        return Producer { node, output: None, emits };
    }
    let node = Node {
        name: Arc::from(name),
        type_name: type_name.to_owned(),
        kind: NodeKind::Operator(blueprint),
        parallelism: from.parallelism,
        dedicated: false,
        renamed_from: None,
    };
    let to = built.nodes.len();
    built.edges.push(Edge { from: producer.node, output: producer.output, to, port: 0, partition: Partition::Forward });
    built.nodes.push(node);
    Producer { node: to, output: None, emits }
}

fn documented(doc: &KindDoc) -> Vec<&'static str> {
    doc.options.iter().map(|option| option.name).collect()
}
