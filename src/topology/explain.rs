//! `piton explain`: the plan as text, or as a drawing in dot or mermaid.

use std::fmt::{self, Write};
use std::str::FromStr;

use crate::topology::plan::{Edge, Node, NodeKind, Partition, Plan};
use crate::topology::spec::Role;

/// How a plan is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For reading.
    #[default]
    Text,
    /// For Graphviz.
    Dot,
    /// For Markdown.
    Mermaid,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "text" => Ok(Format::Text),
            "dot" => Ok(Format::Dot),
            "mermaid" => Ok(Format::Mermaid),
            _ => Err(format!("unknown format \"{text}\" (known: text, dot, mermaid)")),
        }
    }
}

impl Plan {
    /// Writes the plan down.
    pub fn explain(&self, format: Format) -> String {
        let mut out = String::new();
        let written = match format {
            Format::Text => self.write_text(&mut out),
            Format::Dot => self.write_dot(&mut out),
            Format::Mermaid => self.write_mermaid(&mut out),
        };
        written.expect("writing to a text cannot fail");
        out
    }

    fn write_text(&self, out: &mut String) -> fmt::Result {
        let settings = &self.settings;
        writeln!(out, "job {}", settings.job.name)?;
        let subtasks = count(self.subtask_count(), "subtask");
        let regions = count(self.regions.len() as u32, "region");
        writeln!(out, "  {subtasks} in {regions}, {} key groups", settings.job.key_groups)?;
        writeln!(
            out,
            "  a window closes every {}, a checkpoint is taken every {}",
            settings.window_interval(),
            settings.checkpoint_interval()
        )?;
        for region in &self.regions {
            writeln!(out, "\nregion {}", region.name)?;
            for chain in &region.chains {
                self.write_chain(*chain, out)?;
            }
        }
        writeln!(out, "\nguarantees")?;
        for path in self.guarantees() {
            let mut names: Vec<String> = path.edges.iter().map(|edge| self.emitter(&self.edges[*edge])).collect();
            names.extend(path.nodes.last().map(|sink| self.nodes[*sink].name.to_string()));
            writeln!(out, "  {}: {}", names.join(" -> "), path.guarantee)?;
            writeln!(out, "    {}", path.reason)?;
        }
        if !self.warnings.is_empty() {
            writeln!(out, "\nwarnings")?;
            for warning in &self.warnings {
                writeln!(out, "  {warning}")?;
            }
        }
        Ok(())
    }

    fn write_chain(&self, chain: usize, out: &mut String) -> fmt::Result {
        let chain = &self.chains[chain];
        let read = |node: usize| -> Vec<usize> { self.inputs(node).map(|edge| edge.from).collect() };
        write!(out, "  {}", self.nodes[chain.head()].name)?;
        for pair in chain.nodes.windows(2) {
            // Of several ways none leads to the next.
            let follows = read(pair[1]).contains(&pair[0]);
            write!(out, " {} {}", if follows { "=>" } else { "+" }, self.nodes[pair[1]].name)?;
        }
        writeln!(out, " ({})", count(chain.parallelism, "subtask"))?;
        for (place, index) in chain.nodes.iter().enumerate() {
            let node = &self.nodes[*index];
            write!(out, "    {} {}: {}{}", node.role(), node.name, node.type_name, details(node, self))?;
            let read = read(*index);
            // Where it does not follow from the line above.
            if place > 0 && read != chain.nodes[place - 1..place] {
                let names: Vec<&str> = read.iter().map(|from| &*self.nodes[*from].name).collect();
                write!(out, ", reads {}", names.join(", "))?;
            }
            writeln!(out)?;
        }
        for edge in self.inputs(chain.head()) {
            writeln!(out, "    reads {} by {}", self.emitter(edge), route(edge, self))?;
        }
        Ok(())
    }

    fn write_dot(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "digraph \"{}\" {{\n  rankdir = LR;\n  node [shape = box];", quoted(&self.settings.job.name))?;
        for (index, chain) in self.chains.iter().enumerate() {
            writeln!(out, "  subgraph cluster_{index} {{")?;
            writeln!(out, "    label = \"{}\";", count(chain.parallelism, "subtask"))?;
            for node in &chain.nodes {
                let shape = match self.nodes[*node].role() {
                    Role::Source => "cds",
                    Role::Operator => "box",
                    Role::Sink => "note",
                };
                let node = &self.nodes[*node];
                let label = format!("{}\\n{}", quoted(&node.name), quoted(&node.type_name));
                writeln!(out, "    \"{}\" [label = \"{label}\", shape = {shape}];", quoted(&node.name))?;
            }
            writeln!(out, "  }}")?;
        }
        for edge in &self.edges {
            let (from, to) = (&self.nodes[edge.from].name, &self.nodes[edge.to].name);
            writeln!(out, "  \"{}\" -> \"{}\" [label = \"{}\"];", quoted(from), quoted(to), self.label(edge))?;
        }
        writeln!(out, "}}")
    }

    fn write_mermaid(&self, out: &mut String) -> fmt::Result {
        writeln!(out, "flowchart LR")?;
        for (index, chain) in self.chains.iter().enumerate() {
            writeln!(out, "  subgraph chain{index} [\"{}\"]", count(chain.parallelism, "subtask"))?;
            for node in &chain.nodes {
                let (open, close) = match self.nodes[*node].role() {
                    Role::Source => ("([", "])"),
                    Role::Operator => ("[", "]"),
                    Role::Sink => ("[(", ")]"),
                };
                let label = format!("{}<br/>{}", self.nodes[*node].name, self.nodes[*node].type_name);
                writeln!(out, "    n{node}{open}\"{}\"{close}", label.replace('"', "#quot;"))?;
            }
            writeln!(out, "  end")?;
        }
        for edge in &self.edges {
            writeln!(out, "  n{} -->|{}| n{}", edge.from, self.label(edge), edge.to)?;
        }
        Ok(())
    }

    fn label(&self, edge: &Edge) -> String {
        let is_chained = self.chain_of(edge.from) == self.chain_of(edge.to);
        let how = if is_chained { "chained" } else { edge.partition.name() };
        edge.output.as_ref().map_or_else(|| how.to_string(), |output| format!("{output}: {how}"))
    }
}

fn details(node: &Node, plan: &Plan) -> String {
    let mut details = match &node.kind {
        NodeKind::Source(blueprint, event_time) => {
            let mut details = format!(", emits {}", blueprint.output);
            if !blueprint.replayable {
                details.push_str(", cannot go back");
            }
            if !event_time.out_of_order.is_zero() {
                details.push_str(&format!(", up to {} out of order", event_time.out_of_order));
            }
            if let Some(timeout) = event_time.idle_timeout {
                details.push_str(&format!(", not waited for after {timeout} without rows"));
            }
            if let Some(drift) = event_time.max_drift {
                details.push_str(&format!(", at most {drift} ahead of other sources"));
            }
            details
        }
        NodeKind::Operator(blueprint) => {
            let groups = plan.settings.job.key_groups;
            let (least, most) = (groups / node.parallelism, groups.div_ceil(node.parallelism));
            let keyed = match blueprint.keyed {
                true if least == most => format!(", keyed ({most} key groups each)"),
                true => format!(", keyed ({least} or {most} key groups each)"),
                false => String::new(),
            };
            let aside = blueprint.side_outputs.iter();
            let aside = aside.map(|output| format!(", to \"{}\" {}", output.name(), output.carries()));
            format!(", emits {}{}{keyed}", blueprint.output, aside.collect::<String>())
        }
        NodeKind::Sink(blueprint) => match &blueprint.folder {
            Some(folder) => format!(", into {}", folder.display()),
            None => String::new(),
        },
    };
    if node.dedicated {
        details.push_str(", on threads of its own");
    }
    details
}

fn route(edge: &Edge, plan: &Plan) -> String {
    let (from, to) = (plan.nodes[edge.from].parallelism, plan.nodes[edge.to].parallelism);
    let how = match edge.partition {
        Partition::Forward => "each to its own".to_string(),
        Partition::Keyed => format!("{from} to {to}, by key"),
        Partition::Rebalance => format!("{from} to {to}, in turn"),
        Partition::Broadcast => format!("{from} to all {to}"),
    };
    format!("{} ({how})", edge.partition.name())
}

fn count(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}
