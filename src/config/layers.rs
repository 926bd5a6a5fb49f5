//! The layers of configuration: the file, over it the environment (`PITON__CHECKPOINT__INTERVAL=200ms`), over that
//! what was given on the command line (`--set checkpoint.interval=200ms`).
//!
//! The `config` crate merges them and remembers of every value which layer it came from, so that a mistake can be
//! pointed at: by line and column if it is the file's, by name otherwise.

use std::collections::BTreeMap;

use config::{Config, ConfigError, Map, Source, ValueKind};
use toml::{Table, Value};

use crate::config::document::{Document, join, parent};
use crate::config::problem::{At, Place, Problem, Problems, nearest};
use crate::config::variables;

/// What is set over a topology file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The environment: `PITON__…` variables override options, any variable can be used in the file as `${NAME}`.
    pub environment: BTreeMap<String, String>,
    /// `checkpoint.interval=200ms`, as given after `--set`. Later ones win.
    pub set: Vec<String>,
}

impl Overrides {
    /// Adds one override as `--set` takes it.
    #[must_use]
    pub fn set(mut self, assignment: impl Into<String>) -> Overrides {
        self.set.push(assignment.into());
        self
    }
}

/// All layers in one.
pub(crate) struct Layered<'a> {
    text: &'a str,
    document: Document,
    pub(crate) values: Table,
    /// By path: from where a value comes that is not the file's.
    origins: BTreeMap<String, String>,
    /// By path: what else a value could mean. An override is text, and may be meant as text although it looks like a
    /// number; a variable's value may be meant as a number.
    alternatives: BTreeMap<String, Value>,
}

/// The origin of the values of the file.
const FILE: &str = "file";

/// How many parts the path of an override may have. A file is nested no deeper than its parser allows; of an override,
/// every part is a table in a table, and whoever walks through them needs room for each.
const DEEPEST: usize = 32;

impl<'a> Layered<'a> {
    /// Parses the text and lays the overrides over it. `known` are the tables that there can be.
    pub(crate) fn read(
        text: &'a str,
        overrides: &Overrides,
        known: &[&str],
        problems: &mut Problems,
    ) -> Option<Layered<'a>> {
        let mut document = Document::parse(text, problems)?;
        let mut replaced = Vec::new();
        let mut file = Value::Table(std::mem::take(&mut document.table));
        variables::replace(&mut file, "", &overrides.environment, &mut replaced, problems);
        let mut layered =
            Layered { text, document, values: Table::new(), origins: BTreeMap::new(), alternatives: BTreeMap::new() };
        for path in replaced {
            if let Some(Value::String(text)) = get(&file, &path)
                && let Some(value) = parse_value(text)
            {
                layered.alternatives.insert(path, value);
            }
        }
        let mut layers = vec![Layer::new(&file, FILE)];
        for (name, value) in &overrides.environment {
            let Some(path) = name.strip_prefix("PITON__") else { continue };
            let path: Vec<String> = path.split("__").map(|part| part.to_lowercase()).collect();
            if path.len() > DEEPEST {
                problems.in_override(format!("environment variable {}", beginning_of(name)), too_deep(&path));
                continue;
            }
            let path = spell_as_in(&file, path);
            layers.push(layered.override_at(&path, value, format!("environment variable {name}")));
        }
        for assignment in &overrides.set {
            let Some((path, value)) = assignment.split_once('=') else {
                let message = "there is no \"=\"; write \"--set checkpoint.interval=1s\"";
                problems.in_override(format!("--set {assignment}"), message);
                continue;
            };
            let path: Vec<String> = path.trim().split('.').map(str::to_string).collect();
            if path.len() > DEEPEST {
                problems.in_override(format!("--set {}", beginning_of(assignment)), too_deep(&path));
                continue;
            }
            let value = layered.set_at(&path, value.trim(), &overrides.environment, problems);
            layers.push(Layer::new(&value, &format!("--set {}", path.join("."))));
        }
        layered.merge(layers, known, problems);
        Some(layered)
    }

    /// Turns `value` at `path` into a layer of its own.
    fn override_at(&mut self, path: &[String], value: &str, origin: String) -> Layer {
        Layer::new(&self.nested_at(path, value), &origin)
    }

    /// Turns what is given after `--set` into tables, with variables replaced as in the file.
    fn set_at(
        &mut self,
        path: &[String],
        value: &str,
        environment: &BTreeMap<String, String>,
        problems: &mut Problems,
    ) -> Value {
        let mut nested = self.nested_at(path, value);
        let mut replaced = Vec::new();
        variables::replace(&mut nested, "", environment, &mut replaced, problems);
        for path in replaced {
            let meant = get(&nested, &path).and_then(Value::as_str).and_then(parse_value);
            match meant {
                Some(value) => self.alternatives.insert(path, value),
                None => self.alternatives.remove(&path),
            };
        }
        nested
    }

    fn nested_at(&mut self, path: &[String], value: &str) -> Value {
        let text = Value::String(value.to_string());
        let value = match parse_value(value) {
            Some(value) => {
                self.alternatives.insert(path.join("."), text);
                value
            }
            None => {
                self.alternatives.remove(&path.join("."));
                text
            }
        };
        path.iter().rev().fold(value, |inner, key| Value::Table(Table::from_iter([(key.clone(), inner)])))
    }

    fn merge(&mut self, layers: Vec<Layer>, known: &[&str], problems: &mut Problems) {
        let mut builder = Config::builder();
        for layer in layers {
            let (layer, unknown) = layer.split(known);
            for (key, origin) in unknown {
                if origin != FILE {
                    self.origins.insert(key.clone(), origin);
                }
                let hint = match nearest(&key, known.iter().copied()) {
                    Some(name) => format!("did you mean \"{name}\"?"),
                    None => "remove it".to_string(),
                };
                problems.key(key.clone(), format!("unknown table \"{key}\"; {hint} (known: {})", known.join(", ")));
            }
            builder = builder.add_source(layer);
        }
        let merged = builder.build().and_then(|config| config.collect());
        let merged = merged.expect("the layers are values in memory, which can always be collected");
        for (key, value) in merged {
            let path = key.clone();
            if let Some(value) = self.take(value, &path) {
                self.values.insert(key, value);
            }
        }
    }

    /// Turns a merged value back into TOML and notes where it came from.
    fn take(&mut self, value: config::Value, path: &str) -> Option<Value> {
        if let Some(origin) = value.origin()
            && origin != FILE
        {
            self.origins.insert(path.to_string(), origin.to_string());
        }
        let value = match value.kind {
            ValueKind::Nil => return None,
            ValueKind::Boolean(boolean) => Value::Boolean(boolean),
            ValueKind::I64(integer) => Value::Integer(integer),
            ValueKind::I128(integer) => Value::Integer(i64::try_from(integer).ok()?),
            ValueKind::U64(integer) => Value::Integer(i64::try_from(integer).ok()?),
            ValueKind::U128(integer) => Value::Integer(i64::try_from(integer).ok()?),
            ValueKind::Float(float) => Value::Float(float),
            ValueKind::String(text) => Value::String(text),
            ValueKind::Array(values) => {
                let values = values.into_iter().enumerate();
                Value::Array(values.filter_map(|(i, value)| self.take(value, &format!("{path}[{i}]"))).collect())
            }
            ValueKind::Table(entries) => {
                let mut table = Table::new();
                for (key, value) in entries {
                    if let Some(value) = self.take(value, &join(path, &key)) {
                        table.insert(key, value);
                    }
                }
                Value::Table(table)
            }
        };
        Some(value)
    }

    /// Returns what else the value at a path could mean.
    pub(crate) fn alternative(&self, path: &str) -> Option<&Value> {
        self.alternatives.get(path)
    }

    /// Returns whether any layer says something at a path.
    pub(crate) fn is_given(&self, path: &str) -> bool {
        self.origins.contains_key(path) || self.document.position(path).is_some()
    }

    /// Returns where the table at a path begins in the file; what is not in the file comes last.
    pub(crate) fn order(&self, path: &str) -> usize {
        self.document.position(path).map_or(usize::MAX, |position| position.key)
    }

    /// Returns where a problem is. Of something that is not there, the nearest table around it.
    pub(crate) fn place(&self, problem: &Problem) -> Place {
        if let At::Offset(_) | At::Override(_) = problem.at {
            return Layered::place_in_text(self.text, problem);
        }
        let mut path = problem.path.as_str();
        loop {
            if let Some(origin) = self.origins.get(path) {
                return Place::Override(origin.clone());
            }
            if let Some(position) = self.document.position(path) {
                let exact = path.len() == problem.path.len();
                let at_value = exact && problem.at == At::Value && !position.is_table;
                return self.in_file(if at_value { position.value } else { position.key });
            }
            if path.is_empty() {
                return Place::WholeFile;
            }
            path = parent(path);
        }
    }

    /// Returns where a problem of the text itself is.
    pub(crate) fn place_in_text(text: &str, problem: &Problem) -> Place {
        match &problem.at {
            At::Offset(offset) => Place::of_offset(text, *offset),
            At::Override(what) => Place::Override(what.clone()),
            At::Key | At::Value => Place::WholeFile,
        }
    }

    fn in_file(&self, offset: usize) -> Place {
        Place::of_offset(self.text, offset)
    }
}

/// One layer, as the `config` crate takes it.
#[derive(Clone, Debug)]
struct Layer(Map<String, config::Value>);

impl Layer {
    fn new(value: &Value, origin: &str) -> Layer {
        match to_config(value, origin).kind {
            ValueKind::Table(entries) => Layer(entries),
            _ => Layer(Map::new()),
        }
    }

    /// Takes out the entries whose key is not known: returns their names, in order, with their origins.
    fn split(self, known: &[&str]) -> (Layer, BTreeMap<String, String>) {
        let is_known = |(key, _): &(String, config::Value)| known.contains(&key.as_str());
        let (known, unknown): (Map<_, _>, Map<_, _>) = self.0.into_iter().partition(is_known);
        let origin = |value: config::Value| value.origin().unwrap_or(FILE).to_string();
        (Layer(known), unknown.into_iter().map(|(key, value)| (key, origin(value))).collect())
    }
}

impl Source for Layer {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, config::Value>, ConfigError> {
        Ok(self.0.clone())
    }
}

fn to_config(value: &Value, origin: &str) -> config::Value {
    let kind = match value {
        Value::String(text) => ValueKind::String(text.clone()),
        Value::Integer(integer) => ValueKind::I64(*integer),
        Value::Float(float) => ValueKind::Float(*float),
        Value::Boolean(boolean) => ValueKind::Boolean(*boolean),
        // Kinds read a time as text; the `config` crate knows no times.
        Value::Datetime(datetime) => ValueKind::String(datetime.to_string()),
        Value::Array(values) => ValueKind::Array(values.iter().map(|value| to_config(value, origin)).collect()),
        Value::Table(table) => {
            ValueKind::Table(table.iter().map(|(key, value)| (key.clone(), to_config(value, origin))).collect())
        }
    };
    config::Value::new(Some(&origin.to_string()), kind)
}

/// Reads the text of an override as TOML, unless it is just text.
fn parse_value(text: &str) -> Option<Value> {
    let mut document: Table = toml::from_str(&format!("value = {text}")).ok()?;
    if document.len() != 1 {
        return None;
    }
    document.remove("value")
}

/// Says that the path of an override has too many parts.
fn too_deep(path: &[String]) -> String {
    format!("the path has {} parts, and no option has more than {DEEPEST}; write \"table.option\"", path.len())
}

/// Returns as much of a long text as tells which one it is.
fn beginning_of(text: &str) -> String {
    let beginning: String = text.chars().take(40).collect();
    format!("{beginning}…")
}

/// Spells the parts of an environment variable's path as the file does: an environment has no lower case and no `-`.
fn spell_as_in(file: &Value, path: Vec<String>) -> Vec<String> {
    let same = |left: &str, right: &str| left.replace('-', "_").eq_ignore_ascii_case(&right.replace('-', "_"));
    let mut at = Some(file);
    let mut spelt = Vec::with_capacity(path.len());
    for part in path {
        let table = at.and_then(Value::as_table);
        let key = table.and_then(|table| table.keys().find(|key| same(key, &part))).cloned().unwrap_or(part);
        at = table.and_then(|table| table.get(&key));
        spelt.push(key);
    }
    spelt
}

/// Returns the value at a path.
fn get<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split(['.', '[']).try_fold(value, |value, part| match part.strip_suffix(']') {
        Some(index) => value.get(index.parse::<usize>().ok()?),
        None => value.get(part),
    })
}
