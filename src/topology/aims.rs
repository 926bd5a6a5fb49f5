//! What `[chaos]` says about the topology: that everybody whom it names is there.

use crate::config::{ChaosSettings, DidYouMean, Problems, nearest};
use crate::topology::plan::Node;
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

/// Notes everybody whom `[chaos]` names and who is not there. `nodes`: those that could be planned.
pub(crate) fn check(chaos: &ChaosSettings, specs: &[NodeSpec], nodes: &[Node], problems: &mut Problems) {
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
        let (name, subtask) = match whom(&at.operator) {
            Ok(whom) => whom,
            Err(message) => {
                problems.value(path("operator"), message);
                continue;
            }
        };
        let Some(spec) = specs.iter().find(|spec| spec.name == name) else {
            let hint = DidYouMean(nearest(name, names()));
            let message = format!("there is no \"{name}\" in the topology{hint} (there are: {})", there_are());
            problems.value(path("operator"), message);
            continue;
        };
        let parallelism = nodes.iter().find(|node| *node.name == *name).map(|node| node.parallelism);
        if let (Some(subtask), Some(parallelism)) = (subtask, parallelism)
            && subtask >= parallelism
        {
            let message = format!("\"{name}\" has no subtask {subtask}: there are {parallelism}, counted from 0");
            problems.value(path("operator"), message);
        }
        let known = points(spec.role);
        if !known.contains(&at.point.as_str()) {
            let hint = DidYouMean(nearest(&at.point, known.iter().copied()));
            let (role, point) = (spec.role, &at.point);
            let message = format!("{role} \"{name}\" has no call \"{point}\"{hint} (it has: {})", known.join(", "));
            problems.value(path("point"), message);
        }
    }
    let sinks = || specs.iter().filter(|spec| spec.role == Role::Sink).map(|spec| spec.name.as_str());
    for name in chaos.expect.sinks.keys().filter(|name| sinks().all(|known| known != name.as_str())) {
        let hint = DidYouMean(nearest(name, sinks()));
        let known = sinks().collect::<Vec<_>>().join(", ");
        let message = format!("the topology has no sink \"{name}\"{hint} (there are: {known})");
        problems.key(format!("chaos.expect.sinks.{name}"), message);
    }
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
