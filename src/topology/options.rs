//! Hands the options of a node to its kind, and turns the faults that come back into problems with a place.
//!
//! A kind stops at the first option it cannot read. Such an option is taken out and the kind asked again, so that one
//! check names them all. Options that a kind silently ignores are noted as unknown: a typo must not go unnoticed
//! because a struct of options does not refuse it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use piton_actors::blueprint::{Fault, Options};
use serde::Deserializer;
use serde::de::Visitor;
use serde::forward_to_deserialize_any;
use toml::{Table, Value};

use crate::config::{Layered, Mistake, Problems, join, note, remove, remove_exactly, replace};
use crate::topology::spec::NodeSpec;

/// Asks a kind to plan (or only to check) a node. Returns what it answered if nothing was wrong.
pub(crate) fn ask<B>(
    spec: &NodeSpec,
    layered: &Layered<'_>,
    documented: &[&str],
    problems: &mut Problems,
    kind: impl Fn(&mut Options<'_>) -> Result<B, Vec<Fault>>,
) -> Option<B> {
    let mut asking = Asking { spec, layered, documented, options: spec.options.clone(), removed: Vec::new() };
    // Whether nothing was wrong; and whether what is left is what the user asked for, save options that do not exist.
    let (mut clean, mut intact) = (true, true);
    loop {
        let mut seen = Seen::default();
        let reading = Reading { table: asking.options.clone(), seen: &mut seen };
        let answer = catch_unwind(AssertUnwindSafe(|| kind(&mut <Options<'_>>::erase(reading))));
        let Ok(answer) = answer else {
            problems.key(&spec.path, format!("{}: its type panicked over the options", spec.title()));
            return None;
        };
        for key in &seen.ignored {
            asking.note_ignored(key, seen.fields, problems);
            clean = false;
        }
        let faults = match answer {
            Ok(answer) => return clean.then_some(answer),
            Err(faults) => faults,
        };
        let [fault] = faults.as_slice() else {
            asking.note_all(&faults, intact, problems);
            return None;
        };
        let mistake = Mistake::of(&fault.message);
        if asking.read_otherwise(fault, &mistake) {
            continue;
        }
        asking.note(fault, &mistake, intact, problems);
        if !asking.take_out(fault, &mistake) {
            return None;
        }
        clean = false;
        intact &= matches!(mistake, Mistake::UnknownField { .. });
    }
}

struct Asking<'a, 'l> {
    spec: &'a NodeSpec,
    layered: &'a Layered<'l>,
    documented: &'a [&'a str],
    options: Table,
    removed: Vec<String>,
}

impl Asking<'_, '_> {
    /// An override that looks like a number may be meant as text, and the other way round for a variable.
    fn read_otherwise(&mut self, fault: &Fault, mistake: &Mistake) -> bool {
        let other = self.layered.alternative(&join(&self.spec.path, &fault.option));
        matches!(mistake, Mistake::Type(_))
            && other.is_some_and(|other| replace(&mut self.options, &fault.option, other))
    }

    fn take_out(&mut self, fault: &Fault, mistake: &Mistake) -> bool {
        let option = match mistake {
            Mistake::UnknownField { name, .. } if fault.option.rsplit('.').next() != Some(name) => {
                join(&fault.option, name)
            }
            _ => fault.option.clone(),
        };
        let is_unknown = matches!(mistake, Mistake::UnknownField { .. });
        if is_unknown && remove_exactly(&mut self.options, &option) {
            // Nobody misses what nobody reads.
            return true;
        }
        self.removed.push(option.split(['.', '[']).next().unwrap_or_default().to_string());
        !option.is_empty() && remove(&mut self.options, &option)
    }

    fn note_all(&self, faults: &[Fault], intact: bool, problems: &mut Problems) {
        for fault in faults {
            self.note(fault, &Mistake::of(&fault.message), intact, problems);
        }
    }

    /// Notes a fault, unless it only comes from an option having been taken out.
    fn note(&self, fault: &Fault, mistake: &Mistake, intact: bool, problems: &mut Problems) {
        let is_own_making = match mistake {
            Mistake::MissingField(name) => self.removed.contains(name),
            Mistake::Other(_) => !intact,
            _ => false,
        };
        if is_own_making {
            return;
        }
        let who = format!("{}: ", self.spec.title());
        if let Some(index) = input_index(&fault.option) {
            let input = self.spec.inputs.get(index).map_or("", String::as_str);
            let message = format!("{who}input \"{input}\" {}", fault.message);
            problems.value(join(&self.spec.path, &fault.option), message);
            return;
        }
        let path = if fault.option.is_empty() { self.spec.path.clone() } else { join(&self.spec.path, &fault.option) };
        note(mistake, path, self.spec.role.engine_options(), &who, problems);
    }

    fn note_ignored(&mut self, key: &str, fields: &[&str], problems: &mut Problems) {
        let known = match (key.contains('.'), fields) {
            (true, _) => &[],
            (false, []) => self.documented,
            (false, fields) => fields,
        };
        let known = known.iter().map(|name| name.to_string()).collect();
        let mistake = Mistake::UnknownField { name: key.rsplit('.').next().unwrap_or(key).to_string(), known };
        let who = format!("{}: ", self.spec.title());
        note(&mistake, join(&self.spec.path, key), self.spec.role.engine_options(), &who, problems);
        remove(&mut self.options, key);
    }
}

/// Returns *i* of `inputs[i]`.
fn input_index(option: &str) -> Option<usize> {
    option.strip_prefix("inputs[")?.strip_suffix(']')?.parse().ok()
}

/// Writes a path as faults do: `a.?.0.b`, in which the mark stands for an `Option`, becomes `a[0].b`.
fn path_of(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Map { parent, key } => join(&path_of(parent), key),
        Path::Seq { parent, index } => format!("{}[{index}]", path_of(parent)),
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => path_of(parent),
    }
}

/// What a kind did with its options.
#[derive(Default)]
struct Seen {
    fields: &'static [&'static str],
    ignored: Vec<String>,
}

/// The table of options as a kind reads it.
struct Reading<'s> {
    table: Table,
    seen: &'s mut Seen,
}

impl<'de> Deserializer<'de> for Reading<'_> {
    type Error = toml::de::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let ignored = &mut self.seen.ignored;
        let mut callback = |path: serde_ignored::Path<'_>| ignored.push(path_of(&path));
        serde_ignored::Deserializer::new(Value::Table(self.table), &mut callback).deserialize_any(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.seen.fields = fields;
        self.deserialize_any(visitor)
    }

    /// `struct Count;` is an operator without options: every key is one too many.
    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        self.seen.ignored.extend(self.table.keys().cloned());
        visitor.visit_unit()
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        self.deserialize_unit_struct("", visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf seq tuple tuple_struct map
        enum identifier ignored_any
    }
}
