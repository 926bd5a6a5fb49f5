//! Kinds of sources and sinks whose options are the fields of the type itself.

use std::marker::PhantomData;

use piton_actors::blueprint::{
    Fault, KindDoc, Options, SinkBlueprint, SinkKind, Site, SourceBlueprint, SourceKind, TypedOutput, check_inputs,
    read_options, sink_blueprint, source_blueprint,
};
use piton_actors::{Feed, Inputs, RecordType, Sink, Source};
use serde::de::DeserializeOwned;

/// The kind of source whose options are the fields of `S`.
pub(crate) struct SourceOf<S>(PhantomData<fn() -> S>);

impl<S> Default for SourceOf<S> {
    fn default() -> Self {
        SourceOf(PhantomData)
    }
}

impl<S: Source + DeserializeOwned + Clone + Sync> SourceKind for SourceOf<S>
where
    S::Out: TypedOutput,
    Feed<S::Out>: Send,
{
    fn doc(&self) -> KindDoc {
        KindDoc::default()
    }

    fn plan(&self, options: &mut Options<'_>, _site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let prototype: S = read_options(options)?;
        source_blueprint(move || Ok(prototype.clone()))
    }
}

/// The kind of sink whose options are the fields of `S`.
pub(crate) struct SinkOf<S>(PhantomData<fn() -> S>);

impl<S> Default for SinkOf<S> {
    fn default() -> Self {
        SinkOf(PhantomData)
    }
}

impl<S: Sink + DeserializeOwned + Clone + Sync> SinkKind for SinkOf<S>
where
    <S::In as Inputs>::Batch: Send,
{
    fn doc(&self) -> KindDoc {
        KindDoc::default()
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<SinkBlueprint, Vec<Fault>> {
        let prototype: S = read_options(options)?;
        check_inputs::<S::In>(inputs)?;
        sink_blueprint(move || Ok(prototype.clone()))
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        S::In::ports()
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read_options::<S>(options).err().unwrap_or_default()
    }
}
