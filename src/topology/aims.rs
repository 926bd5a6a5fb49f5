//! What `[chaos]` says about the topology: that everybody whom it names is there.

use std::collections::BTreeMap;

use crate::config::{ChaosSettings, Compare, DidYouMean, Problems, nearest};
use crate::topology::build::Built;
use crate::topology::plan::NodeKind;
use crate::topology::spec::{NodeSpec, Role};

/// Returns the names of the calls that an operator, a source or a sink has, as `[[chaos.at]]` knows them.
pub(crate) fn points(role: Role) -> &'static [&'static str] {
    match role {
        Role::Operator => &[
            "open",
            "restore",
            "process",
            "watermark",
            "begin_window",
            "end_window",
            "before_checkpoint",
            "cut",
            "checkpointed",
            "committed",
            "close",
        ],
        Role::Source => &["open", "poll", "committed"],
        Role::Sink => &["open", "write", "prepare", "commit", "abort"],
    }
}

/// Returns whether a name fits a pattern, in which `*` stands for any part.
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|start| name.strip_prefix(start)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(end) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(end)
}

/// Splits what `operator` of `[[chaos.at]]` says: a name, and a subtask of it in brackets.
///
/// # Errors
/// If what is in brackets is no number.
pub(crate) fn whom(text: &str) -> Result<(&str, Option<u32>), String> {
    match text.strip_suffix(']').and_then(|whom| whom.split_once('[')) {
        None => Ok((text, None)),
        Some((name, index)) => match index.parse() {
            Ok(index) => Ok((name, Some(index))),
            Err(_) => Err(format!("\"{text}\" names no subtask; write \"{name}[0]\"")),
        },
    }
}

/// Notes everybody whom `[chaos]` names and who is not there. `built`: what could be planned.
pub(crate) fn check(chaos: &ChaosSettings, specs: &[NodeSpec], built: &Built, problems: &mut Problems) {
    let nodes = &built.nodes;
    let names = || specs.iter().map(|spec| spec.name.as_str());
    if specs.is_empty() {
        // That nobody is there at all has been noted.
        return;
    }
    let there_are = || names().collect::<Vec<_>>().join(", ");
    for (index, pattern) in chaos.targets.iter().enumerate() {
        let planned = nodes.iter().map(|node| &*node.name);
        if !names().chain(planned).any(|name| fits(pattern, name)) {
            let message = format!("chaos.targets names nobody with \"{pattern}\" (there are: {})", there_are());
            problems.value(format!("chaos.targets[{index}]"), message);
        }
    }
    for (index, at) in chaos.at.iter().enumerate() {
        let path = |option: &str| format!("chaos.at[{index}].{option}");
        // What stands there as nothing has been noted: what is left may be wrong, too.
        let is_named = !at.operator.is_empty();
        let (name, subtask) = whom(&at.operator).unwrap_or_else(|message| {
            problems.value(path("operator"), message);
            (at.operator.split('[').next().unwrap_or_default(), None)
        });
        let spec = specs.iter().find(|spec| spec.name == name);
        if spec.is_none() && is_named {
            let hint = DidYouMean(nearest(name, names()));
            let message = format!("there is no \"{name}\" in the topology{hint} (there are: {})", there_are());
            problems.value(path("operator"), message);
        }
        let parallelism = nodes.iter().find(|node| *node.name == *name).map(|node| node.parallelism);
        if let (Some(subtask), Some(parallelism)) = (subtask, parallelism)
            && subtask >= parallelism
        {
            let message = format!("\"{name}\" has no subtask {subtask}: there are {parallelism}, counted from 0");
            problems.value(path("operator"), message);
        }
        check_point(&at.point, spec, path("point"), problems);
    }
    check_sinks(&chaos.expect.sinks, specs, built, problems);
}

/// Notes a call that there is not; of somebody who is not known, one that nobody has.
fn check_point(point: &str, of: Option<&NodeSpec>, path: String, problems: &mut Problems) {
    let roles = of.map_or_else(|| vec![Role::Source, Role::Operator, Role::Sink], |spec| vec![spec.role]);
    let known: Vec<&str> = roles.into_iter().flat_map(points).copied().collect();
    if point.is_empty() || known.contains(&point) {
        return;
    }
    let hint = DidYouMean(nearest(point, known.iter().copied()));
    let message = match of {
        Some(NodeSpec { role, name, .. }) => {
            format!("{role} \"{name}\" has no call \"{point}\"{hint} (it has: {})", known.join(", "))
        }
        None => format!("no source, operator or sink has a call \"{point}\"{hint}"),
    };
    problems.value(path, message);
}

/// Notes sinks that are not there, and columns that they do not have.
fn check_sinks(sinks: &BTreeMap<String, Compare>, specs: &[NodeSpec], built: &Built, problems: &mut Problems) {
    let names = || specs.iter().filter(|spec| spec.role == Role::Sink).map(|spec| spec.name.as_str());
    for (name, compare) in sinks {
        let path = format!("chaos.expect.sinks.{name}");
        if names().all(|known| known != name.as_str()) {
            let hint = DidYouMean(nearest(name, names()));
            let known = names().collect::<Vec<_>>().join(", ");
            problems.key(path, format!("the topology has no sink \"{name}\"{hint} (there are: {known})"));
            continue;
        }
        let Compare::Latest(columns) = compare else { continue };
        if columns.is_empty() {
            let message = "this names no column: write those of which the last row counts for each value, or \"rows\"";
            problems.value(path.as_str(), message);
        }
        let Some(known) = columns_of(name, built) else { continue };
        for (index, column) in columns.iter().enumerate().filter(|(_, column)| !known.contains(&column.as_str())) {
            let hint = DidYouMean(nearest(column, known.iter().copied()));
            let message =
                format!("sink \"{name}\" takes no column \"{column}\"{hint} (there are: {})", known.join(", "));
            problems.value(format!("{path}[{index}]"), message);
        }
    }
}

/// Returns the columns that a sink takes, if they are known.
fn columns_of<'b>(sink: &str, built: &'b Built) -> Option<Vec<&'b str>> {
    let sink = built.nodes.iter().position(|node| *node.name == *sink)?;
    // All that a sink reads has the same columns.
    let edge = built.edges.iter().find(|edge| edge.to == sink)?;
    let carries = match (&built.nodes[edge.from].kind, &edge.output) {
        (NodeKind::Source(blueprint, _), None) => &blueprint.output,
        (NodeKind::Operator(blueprint), None) => &blueprint.output,
        (NodeKind::Operator(blueprint), Some(output)) => {
            blueprint.side_outputs.iter().find(|declared| *declared.name() == **output)?.carries()
        }
        (NodeKind::Source(..) | NodeKind::Sink(_), _) => return None,
    };
    carries.columns()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_part_of_a_name() {
        for (pattern, name, is_fit) in [
            ("*", "count", true),
            ("count", "count", true),
            ("count", "counts", false),
            ("count*", "counts", true),
            ("*count", "account", true),
            ("*count", "accounts", false),
            ("c*t", "count", true),
            ("c*n*t", "count", true),
            ("c*x*t", "count", false),
            ("a*a", "a", false),
            ("", "count", false),
        ] {
            assert_eq!(fits(pattern, name), is_fit, "{pattern} and {name}");
        }
    }
}
