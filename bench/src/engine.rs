//! Who answers queries: the loop by hand, piton in several ways, and its peers.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;
use crate::by_piton::{self, Chaining, Checkpoints, Form, Way};
use crate::event::Event;
use crate::hand;
use crate::query::Query;

/// Who answers a query, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Engine {
    /// One loop on one thread.
    Hand,
    /// piton on one core, without checkpoints and restarts of single operators.
    PitonOff,
    /// piton on one core, exactly-once with a checkpoint every second; batches can be taken back.
    Piton,
    /// As `piton-off`, with an actor for each operator.
    PitonOffUnchained,
    /// As `piton`, with an actor for each operator.
    PitonUnchained,
    /// As `piton-off`, on two cores.
    PitonOffTwo,
    /// As `piton`, on two cores.
    PitonTwo,
    /// As `piton-off`, with the stock operators, on columns.
    PitonArrowOff,
    /// As `piton`, with the stock operators, on columns.
    PitonArrow,
    /// timely, one worker.
    Timely,
    /// renoir, one worker.
    Renoir,
}

impl Engine {
    /// Returns its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Engine::Hand => "hand",
            Engine::PitonOff => "piton-off",
            Engine::Piton => "piton",
            Engine::PitonOffUnchained => "piton-off-unchained",
            Engine::PitonUnchained => "piton-unchained",
            Engine::PitonOffTwo => "piton-off-two",
            Engine::PitonTwo => "piton-two",
            Engine::PitonArrowOff => "piton-arrow-off",
            Engine::PitonArrow => "piton-arrow",
            Engine::Timely => "timely",
            Engine::Renoir => "renoir",
        }
    }

    /// Whether it is built in, and has a query.
    pub(crate) fn answers(self, query: Query) -> bool {
        match self {
            #[cfg(feature = "arrow")]
            Engine::PitonArrowOff | Engine::PitonArrow => by_piton::in_columns(query),
            #[cfg(not(feature = "arrow"))]
            Engine::PitonArrowOff | Engine::PitonArrow => false,
            #[cfg(feature = "peers")]
            Engine::Timely => crate::by_timely::answers(query),
            #[cfg(feature = "peers")]
            Engine::Renoir => crate::by_renoir::answers(query),
            #[cfg(not(feature = "peers"))]
            Engine::Timely | Engine::Renoir => {
                let _ = query;
                false
            }
            _ => true,
        }
    }

    fn way(self) -> Option<Way> {
        let (checkpoints, chaining, cores) = match self {
            Engine::PitonOff => (Checkpoints::Off, Chaining::On, 1),
            Engine::Piton => (Checkpoints::EverySecond, Chaining::On, 1),
            Engine::PitonOffUnchained => (Checkpoints::Off, Chaining::Off, 1),
            Engine::PitonUnchained => (Checkpoints::EverySecond, Chaining::Off, 1),
            Engine::PitonOffTwo => (Checkpoints::Off, Chaining::On, 2),
            Engine::PitonTwo => (Checkpoints::EverySecond, Chaining::On, 2),
            Engine::PitonArrowOff => (Checkpoints::Off, Chaining::On, 1),
            Engine::PitonArrow => (Checkpoints::EverySecond, Chaining::On, 1),
            Engine::Hand | Engine::Timely | Engine::Renoir => return None,
        };
        let form = match self {
            Engine::PitonArrowOff | Engine::PitonArrow => Form::Columns,
            _ => Form::Rows,
        };
        Some(Way { checkpoints, chaining, form, cores })
    }

    /// Does what takes no part in the measurement, and returns what does: it answers, and says how often it committed.
    pub(crate) fn prepare(
        self,
        query: Query,
        events: Vec<Event>,
        set: Vec<String>,
    ) -> Box<dyn FnOnce() -> (Answer, u64)> {
        if let Some(way) = self.way() {
            by_piton::prepare(events);
            return Box::new(move || by_piton::run(query, way, &set));
        }
        match self {
            #[cfg(feature = "peers")]
            Engine::Timely => Box::new(move || (crate::by_timely::run(query, events), 0)),
            #[cfg(feature = "peers")]
            Engine::Renoir => Box::new(move || (crate::by_renoir::run(query, events), 0)),
            _ => Box::new(move || (hand::run(query, &events), 0)),
        }
    }
}
