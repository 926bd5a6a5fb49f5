//! An aggregate in time windows as a `type` of the topology file.
//!
//! Its options are those of the aggregate's own type and those of time windows, in one table.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _, MapAccess};
use serde::{Deserialize, Deserializer};

use super::aggregate::Aggregate;
use super::descriptor::TimeWindows;
use super::rules::{Timing, option_docs};
use super::windowed::Windowed;
use crate::apart::{Apart, Shared};
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
        let aggregate = A::deserialize(Apart::new(deserializer, &mut found))?;
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

impl Shared for Found {
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
