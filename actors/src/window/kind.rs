//! An aggregate in time windows as a `type` of the topology file.
//!
//! Its options are those of the aggregate's own type and those of time windows, in one table. They are taken apart while
//! they are read, so that a mistake in any of them is told with its name and its place.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::value::StringDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

use super::aggregate::Aggregate;
use super::descriptor::TimeWindows;
use super::rules::{Timing, option_docs};
use super::windowed::Windowed;
use crate::blueprint::{
    Fault, KindDoc, OperatorBlueprint, OperatorKind, OptionDoc, Options, Site, check_inputs, operator_blueprint,
    read_options,
};
use crate::duration::Span;
use crate::late::LATE;
use crate::record::{Inputs, RecordType};

/// The kind of operator that computes an [`Aggregate`] in time windows: its options are the fields of `A`, and `window`,
/// `allowed_lateness`, `early` and `time`.
pub struct WindowedOf<A> {
    doc: KindDoc,
    marker: PhantomData<fn() -> A>,
}

impl<A> WindowedOf<A> {
    /// Makes the kind, with what `piton list` should say of it; the options of time windows are added.
    pub fn new(mut doc: KindDoc) -> Self {
        let window = OptionDoc { name: "window", default: None, doc: WINDOW_DOC };
        doc.options.extend(option_docs(window));
        WindowedOf { doc, marker: PhantomData }
    }
}

const WINDOW_DOC: &str = "How time is cut: \"60s\", { tumbling = \"1h\", offset = \"15m\" }, { sliding = \"10s\", every = \"2s\" }, { session = \"30m\" } or { count = 100 }.";

impl<A: Aggregate + DeserializeOwned + Clone + Sync> OperatorKind for WindowedOf<A> {
    fn doc(&self) -> KindDoc {
        self.doc.clone()
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let settings: Settings<A> = read_options(options)?;
        let rules = settings.timing.rules()?;
        check_inputs::<A::In>(inputs)?;
        let state = format!("window {}", settings.timing.described());
        let aggregate = settings.aggregate;
        let blueprint = operator_blueprint(Arc::new(move || Ok(Windowed::of(aggregate.clone(), rules))))?;
        let waits_for_event_time = rules.is_of_time().then_some("window");
        Ok(OperatorBlueprint { state: Some(state), varies: rules.varies(), waits_for_event_time, ..blueprint })
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        A::In::ports()
    }

    fn side_outputs(&self) -> Vec<&'static str> {
        vec![LATE]
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        match read_options::<Settings<A>>(options) {
            Ok(settings) => settings.timing.rules().err().unwrap_or_default(),
            Err(faults) => faults,
        }
    }
}

/// The options of an aggregate and of its windows.
struct Settings<A> {
    aggregate: A,
    timing: Timing,
}

impl<'de, A: Deserialize<'de>> Deserialize<'de> for Settings<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Settings<A>, D::Error> {
        let mut found = Found::default();
        let aggregate = A::deserialize(Apart { deserializer, found: &mut found })?;
        let window = found.window.ok_or_else(|| D::Error::missing_field("window"))?;
        let timing = Timing::written(window, found.allowed_lateness, found.early, found.time);
        Ok(Settings { aggregate, timing })
    }
}

/// The options of time windows that have come up so far.
#[derive(Default)]
struct Found {
    window: Option<TimeWindows>,
    allowed_lateness: Option<Span>,
    early: Option<Span>,
    time: Option<super::clock::Time>,
}

impl Found {
    /// Reads the value of an option, if it is one of time windows.
    fn take<'de, M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<bool, M::Error> {
        match name {
            "window" => self.window = Some(map.next_value()?),
            "allowed_lateness" => self.allowed_lateness = Some(map.next_value()?),
            "early" => self.early = Some(map.next_value()?),
            "time" => self.time = Some(map.next_value()?),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A table of which the options of time windows are taken out while it is read. It serves as deserializer, visitor and
/// map, one inside the other.
struct Apart<'f, D> {
    deserializer: D,
    found: &'f mut Found,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Apart<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.deserializer.deserialize_map(Apart { deserializer: visitor, found: self.found })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserializer.deserialize_struct(name, fields, Apart { deserializer: visitor, found: self.found })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map enum identifier ignored_any
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Apart<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.deserializer.expecting(f)
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<V::Value, M::Error> {
        self.deserializer.visit_map(Apart { deserializer: map, found: self.found })
    }
}

impl<'de, M: MapAccess<'de>> MapAccess<'de> for Apart<'_, M> {
    type Error = M::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, M::Error> {
        while let Some(name) = self.deserializer.next_key::<String>()? {
            if !self.found.take(&name, &mut self.deserializer)? {
                let name: StringDeserializer<M::Error> = name.into_deserializer();
                return seed.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, M::Error> {
        self.deserializer.next_value_seed(seed)
    }
}
