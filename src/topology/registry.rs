//! Which types a topology file can name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use piton_actors::blueprint::{KindDoc, OperatorKind, OperatorOf, SinkKind, SourceKind, TypedOutput};
use piton_actors::join::{Join, JoinOf};
use piton_actors::{Aggregate, AsyncOf, AsyncOperator, Feed, Inputs, Operator, Sink, Source, WindowedOf};
use serde::de::DeserializeOwned;

use crate::topology::kinds::{SinkOf, SourceOf};
use crate::topology::spec::Role;

/// The kinds of sources, operators and sinks that a topology file can name by `type = "…"`.
///
/// The same name may be that of a source and of a sink. Registering a name twice for the same role is a mistake of the
/// program, not of its user: it panics. A name of a kind that comes with piton may be taken, so that a program goes on to
/// mean what it meant when more of these come.
#[derive(Clone, Default)]
pub struct Registry {
    sources: BTreeMap<String, Arc<dyn SourceKind>>,
    operators: BTreeMap<String, Arc<dyn OperatorKind>>,
    sinks: BTreeMap<String, Arc<dyn SinkKind>>,
    /// Which of them come with piton.
    stock: BTreeSet<(Role, String)>,
}

impl Registry {
    /// Returns a registry without any kind.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Returns a registry of the kinds that come with piton: those of the feature `sql`, none without it.
    pub fn stock() -> Registry {
        #[cfg_attr(not(feature = "sql"), expect(unused_mut, reason = "without the feature there is nothing to add"))]
        let mut registry = Registry::new();
        #[cfg(feature = "sql")]
        {
            use piton_actors::stock;
            for (name, kind) in stock::sources() {
                registry.add_source_kind(name, kind);
            }
            for (name, kind) in stock::operators() {
                registry.add_operator_kind(name, kind);
            }
            for (name, kind) in stock::sinks() {
                registry.add_sink_kind(name, kind);
            }
            let names = registry.sources.keys().map(|name| (Role::Source, name));
            let names = names.chain(registry.operators.keys().map(|name| (Role::Operator, name)));
            let names = names.chain(registry.sinks.keys().map(|name| (Role::Sink, name)));
            registry.stock = names.map(|(role, name)| (role, name.clone())).collect();
        }
        registry
    }

    /// Registers an operator whose options are its own fields.
    ///
    /// # Panics
    /// If there is an operator of this name.
    pub fn operator<O>(&mut self, name: &str) -> &mut Registry
    where
        O: Operator + DeserializeOwned + Clone + Sync,
        O::Out: TypedOutput,
    {
        self.add_operator_kind(name, Arc::new(OperatorOf::<O>::new(KindDoc::default())))
    }

    /// Registers an aggregate in time windows: its options are its own fields, and those that say how time is cut into
    /// windows (`window`, `allowed_lateness`, `early`, `time`).
    ///
    /// # Panics
    /// If there is an operator of this name.
    pub fn aggregate<A>(&mut self, name: &str) -> &mut Registry
    where
        A: Aggregate + DeserializeOwned + Clone + Sync,
    {
        self.add_operator_kind(name, Arc::new(WindowedOf::<A>::new(KindDoc::default())))
    }

    /// Registers an operator that makes requests to the outside: its options are its own fields, and those that say how
    /// requests are made (`in_flight`, `ordered`, `timeout`, `retries`, `retry_pause`; see [`Asked`](crate::Asked)).
    ///
    /// # Panics
    /// If there is an operator of this name.
    pub fn async_operator<A>(&mut self, name: &str) -> &mut Registry
    where
        A: AsyncOperator + DeserializeOwned,
    {
        self.add_operator_kind(name, Arc::new(AsyncOf::<A>::new(KindDoc::default())))
    }

    /// Registers a join of two inputs whose options are its own fields.
    ///
    /// # Panics
    /// If there is an operator of this name.
    pub fn join<J>(&mut self, name: &str) -> &mut Registry
    where
        J: Join + DeserializeOwned + Clone + Sync,
    {
        self.add_operator_kind(name, Arc::new(JoinOf::<J>::new(KindDoc::default())))
    }

    /// Registers a source whose options are its own fields.
    ///
    /// # Panics
    /// If there is a source of this name.
    pub fn source<S>(&mut self, name: &str) -> &mut Registry
    where
        S: Source + DeserializeOwned + Clone + Sync,
        S::Out: TypedOutput,
        Feed<S::Out>: Send,
    {
        self.add_source_kind(name, Arc::new(SourceOf::<S>::default()))
    }

    /// Registers a sink whose options are its own fields.
    ///
    /// # Panics
    /// If there is a sink of this name.
    pub fn sink<S>(&mut self, name: &str) -> &mut Registry
    where
        S: Sink + DeserializeOwned + Clone + Sync,
        <S::In as Inputs>::Batch: Send,
    {
        self.add_sink_kind(name, Arc::new(SinkOf::<S>::default()))
    }

    /// Registers a kind of operator.
    ///
    /// # Panics
    /// If there is an operator of this name.
    pub fn add_operator_kind(&mut self, name: &str, kind: Arc<dyn OperatorKind>) -> &mut Registry {
        let earlier = self.operators.insert(name.to_string(), kind);
        assert!(earlier.is_none() || self.takes(Role::Operator, name), "operator type \"{name}\" is registered twice");
        self
    }

    /// Registers a kind of source.
    ///
    /// # Panics
    /// If there is a source of this name.
    pub fn add_source_kind(&mut self, name: &str, kind: Arc<dyn SourceKind>) -> &mut Registry {
        let earlier = self.sources.insert(name.to_string(), kind);
        assert!(earlier.is_none() || self.takes(Role::Source, name), "source type \"{name}\" is registered twice");
        self
    }

    /// Registers a kind of sink.
    ///
    /// # Panics
    /// If there is a sink of this name.
    pub fn add_sink_kind(&mut self, name: &str, kind: Arc<dyn SinkKind>) -> &mut Registry {
        let earlier = self.sinks.insert(name.to_string(), kind);
        assert!(earlier.is_none() || self.takes(Role::Sink, name), "sink type \"{name}\" is registered twice");
        self
    }

    /// Returns whether a name was that of a kind that comes with piton, and is so no more.
    fn takes(&mut self, role: Role, name: &str) -> bool {
        self.stock.remove(&(role, name.to_string()))
    }

    /// Returns for what a type is registered; the first, if it is for several.
    pub(crate) fn role_of(&self, type_name: &str) -> Option<Role> {
        if self.sources.contains_key(type_name) {
            return Some(Role::Source);
        }
        if self.operators.contains_key(type_name) {
            return Some(Role::Operator);
        }
        self.sinks.contains_key(type_name).then_some(Role::Sink)
    }

    /// Returns the kinds of sources, by name.
    pub fn sources(&self) -> &BTreeMap<String, Arc<dyn SourceKind>> {
        &self.sources
    }

    /// Returns the kinds of operators, by name.
    pub fn operators(&self) -> &BTreeMap<String, Arc<dyn OperatorKind>> {
        &self.operators
    }

    /// Returns the kinds of sinks, by name.
    pub fn sinks(&self) -> &BTreeMap<String, Arc<dyn SinkKind>> {
        &self.sinks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::testing::{Count, Numbers};

    #[test]
    fn a_name_may_be_that_of_a_source_and_of_an_operator() {
        let mut registry = Registry::new();
        registry.source::<Numbers>("x").operator::<Count>("x");
        assert!(registry.sources().contains_key("x") && registry.operators().contains_key("x"));
    }

    #[cfg(feature = "sql")]
    #[test]
    fn a_name_that_comes_with_piton_may_be_taken_once() {
        let mut registry = Registry::stock();
        let stock = Arc::clone(&registry.operators()["split"]);
        registry.operator::<Count>("split");
        assert!(!Arc::ptr_eq(&registry.operators()["split"], &stock));
        let again = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| _ = registry.operator::<Count>("split")));
        assert!(again.is_err());
    }

    #[test]
    #[should_panic(expected = "operator type \"count\" is registered twice")]
    fn registering_twice_is_a_mistake_of_the_program() {
        Registry::new().operator::<Count>("count").operator::<Count>("count");
    }
}
