//! The configuration reference, made of what the code says: the documentation of the settings, their defaults, and the
//! names that serde knows.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use piton::config::Settings;
use serde_json::Value;

/// The sources that define what a topology file may hold.
const SETTINGS: [&str; 4] = [
    include_str!("../../src/config/settings.rs"),
    include_str!("../../src/config/checkpoint.rs"),
    include_str!("../../src/config/recovery.rs"),
    include_str!("../../src/config/chaos.rs"),
];
const NODES: &str = include_str!("../../src/topology/spec.rs");

/// Where what depends on the feature `sql` begins.
pub(crate) const STOCK: &str = "## Stock types\n";

const HEAD: &str = "\
# Configuration reference

Every key of a topology file. **This page is made from the code**: the names, the defaults and the sentences are those of the
program, and `tests/guide.rs` fails if it is not what the code says. To write it anew:

```console
$ PITON_WRITE_REFERENCE=1 cargo test --test guide
```

A key that is not here is an error, which names the nearest one that is. Durations and sizes carry a unit: `\"100ms\"`,
`\"1m30s\"`, `\"64MiB\"`; so does a rate: `\"5000/s\"`. Relative paths start from the folder of the file. `${NAME}` and
`${NAME:-default}` in a text are replaced by the environment's variable.

What is set later wins: the default, the file, the environment (`PITON__CHECKPOINT__INTERVAL=200ms`), the command line
(`--set checkpoint.interval=200ms`).
";

/// A type as its source has it.
struct Type {
    doc: String,
    fields: Vec<Field>,
}

struct Field {
    name: String,
    of: String,
    doc: String,
}

/// Reads the structs of some sources, by name.
fn types(sources: &[&str]) -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    for source in sources {
        let (mut doc, mut within) = (String::new(), None::<(String, Type)>);
        for line in source.lines().take_while(|line| !line.starts_with("#[cfg(test)]")) {
            let (text, depth) = (line.trim(), line.len() - line.trim_start().len());
            if let Some(sentence) = text.strip_prefix("///") {
                doc = format!("{doc} {}", sentence.trim()).trim().to_string();
                continue;
            }
            if text.starts_with("#[") {
                continue;
            }
            let named = text.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            if let (0, Some(name)) = (depth, named.strip_prefix("struct ").and_then(|rest| rest.strip_suffix(" {"))) {
                within = Some((name.to_string(), Type { doc: doc.clone(), fields: Vec::new() }));
            } else if (depth, text) == (0, "}") {
                types.extend(within.take());
            } else if let (4, Some((_, made)), Some((name, of))) = (depth, &mut within, named.split_once(": ")) {
                let (name, of) = (name.to_string(), of.trim_end_matches(',').to_string());
                made.fields.push(Field { name, of, doc: doc.clone() });
            }
            doc.clear();
        }
    }
    types
}

/// Writes the page; what depends on the feature `sql` is left out without it.
pub(crate) fn page() -> String {
    let types = types(&SETTINGS);
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let mut page = HEAD.to_string();
    for field in &types["Settings"].fields {
        table(&field.of, &field.name, &defaults[&field.name], &types, &mut page);
    }
    nodes(&mut page);
    #[cfg(feature = "sql")]
    stock::write(&mut page);
    page
}

/// Writes the keys of a table of settings, and then the tables below it.
fn table(name: &str, path: &str, defaults: &Value, types: &BTreeMap<String, Type>, page: &mut String) {
    let made = types.get(name).unwrap_or_else(|| panic!("{name}, of {path}, is not in the sources that are read"));
    let known = known_keys(path);
    let named: Vec<&str> = made.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(named, known, "[{path}]: what the source documents is not what can be set");

    let is_list = path == "chaos.at";
    let (open, close) = if is_list { ("[[", "]]") } else { ("[", "]") };
    let doc = made.doc.split_once(": ").filter(|(start, _)| start.starts_with('`')).map_or(&*made.doc, |split| split.1);
    write!(page, "\n## `{open}{path}{close}`\n\n{}\n\n", capital(doc)).unwrap();
    page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
    let (mut below, mut rows) = (Vec::new(), 0);
    for Field { name, of, doc } in &made.fields {
        assert!(!doc.is_empty(), "{path}.{name} is not documented");
        let key = format!("{path}.{name}");
        if let Some(inner) = inner_type(of, types) {
            below.push((inner.to_string(), key, defaults[name].clone()));
            continue;
        }
        let (meaning, said) = apart(doc);
        let default = match (said, &defaults[name]) {
            (Some(said), _) => said,
            // Of a list, and of a table that may be left out, nothing stands there by itself.
            _ if is_list || defaults.is_null() => "(required)".to_string(),
            (None, Value::Null) => "none".to_string(),
            // A limit that is a number is written as one.
            (None, Value::String(number)) if of == "Limit" && number != "unlimited" => format!("`{number}`"),
            (None, value) => format!("`{value}`"),
        };
        row(page, &[format!("`{name}`"), type_in_words(of, &key), default, meaning]);
        rows += 1;
    }
    assert!(rows > 0 || !below.is_empty(), "[{path}] has nothing in it");
    for (of, path, defaults) in below {
        table(&of, &path, &defaults, types, page);
    }
}

/// Returns the struct that is the type of a field, or of the elements of its list.
fn inner_type<'t>(of: &'t str, types: &BTreeMap<String, Type>) -> Option<&'t str> {
    let inner = ["Vec<", "Option<"]
        .iter()
        .find_map(|start| of.strip_prefix(start))
        .and_then(|rest| rest.strip_suffix('>'))
        .unwrap_or(of);
    types.contains_key(inner).then_some(inner)
}

/// Takes "Default: …." out of what is said of a key.
fn apart(doc: &str) -> (String, Option<String>) {
    let Some((before, rest)) = doc.split_once("Default: ") else { return (doc.to_string(), None) };
    // A full stop within a name, as in `.piton/NAME`, has no space behind it.
    let (said, after) = rest.split_once(". ").unwrap_or((rest.trim_end_matches('.'), ""));
    (format!("{before}{after}").trim().to_string(), Some(said.to_string()))
}

/// Returns which keys a table of the file may have, as serde says it when there is another one.
fn known_keys(path: &str) -> Vec<String> {
    let message = refusal(&format!("{path}.no_such_key"), "1");
    names_behind(&message, "(known: ")
}

/// Returns what the type of a key is called in the file; the choices, if it is one of some.
fn type_in_words(of: &str, key: &str) -> String {
    let of = of.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>')).unwrap_or(of);
    let words = match of {
        "Duration" => "duration",
        "Bytes" => "size",
        "u32" | "u64" | "usize" => "whole number",
        "f64" => "number",
        "bool" => "true or false",
        "Limit" => "whole number or `\"unlimited\"`",
        "PathBuf" => "path",
        "Vec<String>" => "list of texts",
        // What it may be is said of each.
        "String" | "Resume" | "Listen" | "Nth" => "text",
        "BTreeMap<String, Compare>" => "table: `\"rows\"`, `\"no\"` or a list of columns for each name",
        _ => {
            let choices = names_behind(&refusal(key, "\"no such choice\""), "(choices: ");
            return choices.iter().map(|choice| format!("`\"{choice}\"`")).collect::<Vec<_>>().join(", ");
        }
    };
    words.to_string()
}

/// Returns what is said of a file in which a key has a value that it cannot have.
fn refusal(key: &str, value: &str) -> String {
    let text = match key.strip_prefix("chaos.at.") {
        Some(key) => format!("[[chaos.at]]\n{key} = {value}\n"),
        None => format!("{key} = {value}\n"),
    };
    let file = std::path::Path::new("job.toml");
    let loaded = piton::topology::load_text(&text, file, &piton::Overrides::default(), &piton::Registry::new());
    loaded.err().unwrap_or_else(|| panic!("{key} = {value} is accepted")).to_string()
}

fn names_behind(message: &str, start: &str) -> Vec<String> {
    let names = message.split_once(start).and_then(|(_, rest)| rest.split_once(')'));
    let (names, _) = names.unwrap_or_else(|| panic!("nothing behind \"{start}\" in: {message}"));
    names.split(", ").map(str::to_string).collect()
}

/// Writes what the engine reads of every source, operator and sink.
fn nodes(page: &mut String) {
    let types = types(&[NODES]);
    for (role, plural) in [("source", "sources"), ("operator", "operators"), ("sink", "sinks")] {
        write!(page, "\n## `[{plural}.NAME]`\n\n").unwrap();
        let article = if role == "operator" { "an" } else { "a" };
        writeln!(page, "What {article} {role} of any type takes, beside the options of its own.\n").unwrap();
        page.push_str("| key | type | default | meaning |\n|---|---|---|---|\n");
        for option in engine_options(role) {
            let field = if option == "type" { "type_name" } else { &option };
            let field = types["NodeSpec"].fields.iter().find(|other| other.name == field);
            let field = field.unwrap_or_else(|| panic!("{option} is not a field of what is read of a node"));
            let (meaning, said) = apart(&field.doc);
            let said = said.unwrap_or_else(|| panic!("{option} does not say what holds if it is left out"));
            let words = match &*field.of {
                "Vec<String>" => "list of names".to_string(),
                of => type_in_words(of, &format!("{plural}.any.{option}")),
            };
            row(page, &[format!("`{option}`"), words, said, meaning]);
        }
    }
}

/// Returns the options that the engine reads of a kind of node, from where the code lists them.
fn engine_options(role: &str) -> Vec<String> {
    let (_, rest) = NODES.split_once("fn engine_options(").expect("the code lists what the engine reads");
    let (body, _) = rest.split_once("\n    }\n").expect("the list ends");
    let arm = |arm: &&str| arm.split("=>").next().unwrap_or_default().to_lowercase().contains(&format!("role::{role}"));
    let arms: Vec<&str> = body.split("            Role::").skip(1).collect();
    let arms: Vec<String> = arms.iter().map(|arm| format!("Role::{arm}")).collect();
    let arm = arms.iter().map(String::as_str).find(arm).unwrap_or_else(|| panic!("nothing is listed for {role}"));
    arm.split('"').skip(1).step_by(2).map(str::to_string).collect()
}

fn row(page: &mut String, cells: &[String]) {
    let cells: Vec<String> = cells.iter().map(|cell| plain(cell)).collect();
    writeln!(page, "| {} |", cells.join(" | ")).unwrap();
}

/// Keeps what means something in Markdown, or ends a cell, from meaning that; within code only the latter does.
fn plain(cell: &str) -> String {
    let parts = cell.split('`').enumerate().map(|(number, part)| match number % 2 {
        0 => part.replace('*', "\\*").replace('<', "&lt;"),
        _ => part.to_string(),
    });
    parts.collect::<Vec<_>>().join("`").replace('|', "\\|")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The options of the types that come with piton, and of those that a registry makes of a user's.
#[cfg(feature = "sql")]
mod stock {
    use piton::blueprint::{KindDoc, OperatorKind as _};
    use piton::prelude::*;
    use piton::{AsyncOf, Registry, WindowedOf};

    use super::{STOCK, plain, row};

    pub(super) fn write(page: &mut String) {
        let registry = Registry::stock();
        page.push('\n');
        page.push_str(STOCK);
        page.push_str("\nAs `piton list TYPE` shows them.\n");
        for (name, kind) in registry.sources() {
            describe(page, "Source", name, &kind.doc(), &[]);
        }
        for (name, kind) in registry.operators() {
            describe(page, "Operator", name, &kind.doc(), &kind.side_outputs());
        }
        for (name, kind) in registry.sinks() {
            describe(page, "Sink", name, &kind.doc(), &[]);
        }
        page.push_str("\n## Types of your own\n\nThe fields of the Rust type are its options. Two kinds have more:\n");
        let aggregate = WindowedOf::<Nothing>::new(KindDoc::default()).doc();
        options(page, "What `registry.aggregate` makes of an `Aggregate`", &aggregate);
        let asks = AsyncOf::<Nothing>::new(KindDoc::default()).doc();
        options(page, "What `registry.async_operator` makes of an `AsyncOperator`", &asks);
    }

    fn describe(page: &mut String, role: &str, name: &str, doc: &KindDoc, aside: &[&str]) {
        options(page, &format!("{role} `{name}`"), doc);
        if !aside.is_empty() {
            let outputs: Vec<String> = aside.iter().map(|output| format!("`\"NAME.{output}\"`")).collect();
            page.push_str(&format!("\nSide outputs, to be read as inputs: {}.\n", outputs.join(", ")));
        }
    }

    fn options(page: &mut String, title: &str, doc: &KindDoc) {
        page.push_str(&format!("\n### {title}\n\n"));
        if !doc.doc.is_empty() {
            page.push_str(&format!("{}\n\n", plain(doc.doc)));
        }
        if doc.options.is_empty() {
            page.push_str("It has no options of its own.\n");
            return;
        }
        page.push_str("| option | default | meaning |\n|---|---|---|\n");
        for option in &doc.options {
            let default = match option.default {
                None => "(required)".to_string(),
                Some("") => String::new(),
                Some(default) => format!("`{default}`"),
            };
            row(page, &[format!("`{}`", option.name), default, option.doc.to_string()]);
        }
    }

    /// Somebody's aggregate, and somebody's operator that asks.
    #[derive(Clone, serde::Deserialize)]
    struct Nothing {}

    impl Aggregate for Nothing {
        type In = u64;
        type Sum = u64;
        type Out = u64;

        fn key(&self, _: &u64) -> Key {
            Key::None
        }
        fn add(&self, _: &mut u64, _: &u64) {}
        fn merge(&self, _: &mut u64, _: &u64) {}
        fn result(&self, _: &Key, _: TimeWindow, sum: &u64) -> u64 {
            *sum
        }
    }

    impl AsyncOperator for Nothing {
        type In = u64;
        type Out = u64;

        async fn ask(&self, _: &u64) -> Result<Vec<u64>> {
            Ok(Vec::new())
        }
    }
}
