//! `piton list`: the types that a topology file can name.

use piton_actors::blueprint::KindDoc;

use crate::cli::table::{Table, print};
use crate::config::{DidYouMean, nearest};
use crate::error::{Error, Result};
use crate::topology::{Registry, Role};

/// Prints all types, or the options of one.
///
/// # Errors
/// If there is no such type.
pub(super) fn list(type_name: Option<&str>, registry: &Registry) -> Result {
    match type_name {
        Some(name) => print(&one(name, registry)?),
        None => print(&all(registry)),
    }
}

/// Returns every registered type: sources, operators, sinks, each in the order of their names.
fn types(registry: &Registry) -> Vec<(Role, &str, KindDoc)> {
    let sources = registry.sources().iter().map(|(name, kind)| (Role::Source, &**name, kind.doc()));
    let operators = registry.operators().iter().map(|(name, kind)| (Role::Operator, &**name, kind.doc()));
    let sinks = registry.sinks().iter().map(|(name, kind)| (Role::Sink, &**name, kind.doc()));
    sources.chain(operators).chain(sinks).collect()
}

fn all(registry: &Registry) -> String {
    let mut table = Table::new(&["KIND", "TYPE", "WHAT IT DOES"]);
    for (role, name, doc) in types(registry) {
        table.row([role.to_string(), name.to_string(), doc.doc.to_string()]);
    }
    table.to_text("")
}

fn one(name: &str, registry: &Registry) -> Result<String> {
    let types = types(registry);
    let mut parts = Vec::new();
    for (role, _, doc) in types.iter().filter(|(_, other, _)| *other == name) {
        let kind = registry.operators().get(name).filter(|_| *role == Role::Operator);
        let aside = kind.map(|kind| kind.side_outputs()).unwrap_or_default();
        parts.push(describe(*role, name, doc, &aside));
    }
    if parts.is_empty() {
        let hint = DidYouMean(nearest(name, types.iter().map(|(_, name, _)| *name)));
        return Err(Error::config(format!("there is no type \"{name}\"{hint} (`piton list` shows all of them)")));
    }
    Ok(parts.join("\n"))
}

fn describe(role: Role, name: &str, doc: &KindDoc, aside: &[&str]) -> String {
    let mut text = format!("{role} {name}");
    if !doc.doc.is_empty() {
        text.push_str(&format!(": {}", doc.doc));
    }
    text.push('\n');
    if !doc.options.is_empty() {
        let mut table = Table::new(&["OPTION", "DEFAULT", "MEANING"]);
        for option in &doc.options {
            let default = option.default.unwrap_or("(required)");
            table.row([option.name.to_string(), default.to_string(), option.doc.to_string()]);
        }
        text.push_str(&table.to_text("  "));
    }
    if !aside.is_empty() {
        let inputs: Vec<String> = aside.iter().map(|output| format!("\"NAME.{output}\"")).collect();
        text.push_str(&format!("  side outputs, read as inputs = [{}]\n", inputs.join(", ")));
    }
    let is_told = |name: &str| name == "type" || doc.options.iter().any(|option| option.name == name);
    let engine: Vec<&str> = role.engine_options().iter().copied().filter(|option| !is_told(option)).collect();
    text.push_str(&format!("  and, as for every {role}: {}\n", engine.join(", ")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_that_there_is_not_is_told_with_the_nearest() {
        let registry = Registry::stock();
        let error = one("genrate", &registry).unwrap_err();
        assert_eq!(error.kind().exit_code(), 2);
        assert!(error.to_string().contains("there is no type \"genrate\""), "{error}");
    }

    #[test]
    fn side_outputs_are_told() {
        let told = one("part", &crate::topology::testing::registry()).unwrap();
        assert!(told.contains("side outputs, read as inputs = [\"NAME.large\", \"NAME.odd\"]"), "{told}");
    }
}
