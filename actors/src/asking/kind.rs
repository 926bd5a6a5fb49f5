//! An asynchronous operator as a `type` of the topology file.

use std::marker::PhantomData;
use std::sync::Arc;

use serde::de::{DeserializeOwned, MapAccess};
use serde::{Deserialize, Deserializer};

use super::{Asked, Asking, AsyncOperator};
use crate::apart::{Apart, Shared};
use crate::blueprint::{
    Again, Fault, KindDoc, OperatorBlueprint, OperatorKind, OptionDoc, Options, Site, Varies, check_inputs,
    operator_blueprint, read_options,
};
use crate::duration::Span;
use crate::record::{Inputs, RecordType};

/// The kind of operator that an [`AsyncOperator`] makes: its options are the fields of `A`, and those of [`Asked`].
pub struct AsyncOf<A> {
    doc: KindDoc,
    marker: PhantomData<fn() -> A>,
}

impl<A> AsyncOf<A> {
    /// Makes the kind, with what `piton list` should say of it; the options of requests are added.
    pub fn new(mut doc: KindDoc) -> Self {
        doc.options.extend(OPTIONS.iter().cloned());
        AsyncOf { doc, marker: PhantomData }
    }
}

const OPTIONS: &[OptionDoc] = &[
    OptionDoc {
        name: "in_flight",
        default: Some("100"),
        doc: "How many requests of one subtask are under way at most.",
    },
    OptionDoc {
        name: "buffer",
        default: Some("8192"),
        doc: "How many records of one subtask may wait at most, those under way among them; checkpoints do not wait for these.",
    },
    OptionDoc {
        name: "ordered",
        default: Some("true"),
        doc: "Whether what comes of records is emitted in their order; otherwise as answers come in.",
    },
    OptionDoc { name: "timeout", default: Some("\"10s\""), doc: "How long one attempt may take." },
    OptionDoc {
        name: "retries",
        default: Some("5"),
        doc: "How often a request that has failed is made again; whoever is away for longer than all attempts take is given up, record by record.",
    },
    OptionDoc {
        name: "retry_pause",
        default: Some("\"100ms\""),
        doc: "How long after the first failure; twice as long after each further one, up to a minute.",
    },
];

impl<A: AsyncOperator + DeserializeOwned> OperatorKind for AsyncOf<A> {
    fn doc(&self) -> KindDoc {
        self.doc.clone()
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let Settings::<A> { asker, asked } = read_options(options)?;
        asked.check().map_err(|(option, message)| vec![Fault::new(option, message)])?;
        check_inputs::<A::In>(inputs)?;
        let asker = Arc::new(asker);
        let blueprint = operator_blueprint(Arc::new(move || Ok(Asking::of(Arc::clone(&asker), asked))))?;
        let varies = if asked.ordered { Varies::No } else { Varies::WithArrival };
        // Its state is that of key groups, but records come to it without a key.
        Ok(OperatorBlueprint { keyed: false, asks: true, again: Again::Rows, varies, ..blueprint })
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        A::In::ports()
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        match read_options::<Settings<A>>(options) {
            Ok(Settings { asked, .. }) => match asked.check() {
                Ok(()) => Vec::new(),
                Err((option, message)) => vec![Fault::new(option, message)],
            },
            Err(faults) => faults,
        }
    }
}

/// The options of an asynchronous operator and of its requests.
struct Settings<A> {
    asker: A,
    asked: Asked,
}

impl<'de, A: Deserialize<'de>> Deserialize<'de> for Settings<A> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Settings<A>, D::Error> {
        let mut asked = Asked::default();
        let asker = A::deserialize(Apart::new(deserializer, &mut asked))?;
        Ok(Settings { asker, asked })
    }
}

impl Shared for Asked {
    fn take<'de, M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<bool, M::Error> {
        match name {
            "in_flight" => self.in_flight = map.next_value()?,
            "buffer" => self.buffer = map.next_value()?,
            "ordered" => self.ordered = map.next_value()?,
            "timeout" => self.timeout = map.next_value::<Span>()?.0,
            "retries" => self.retries = map.next_value()?,
            "retry_pause" => self.retry_pause = map.next_value::<Span>()?.0,
            _ => return Ok(false),
        }
        Ok(true)
    }
}
