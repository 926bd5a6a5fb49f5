//! q4: the mean of the winning bids of each category.
//!
//! Chosen: an answer comes once, when the input ends, and is that of all auctions: the SQL says it anew with each of them.
//! Means are whole numbers, rounded down. An auction that is still open when the input ends counts with its best bid.

use piton::prelude::*;
use serde::{Deserialize, Serialize};

use super::winning::Won;

/// Computes the mean of the prices of each category.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MeanOfCategory {}

/// The mean of the winning bids of a category.
#[derive(Clone, Debug, Serialize, Deserialize, Record)]
pub(crate) struct CategoryMean {
    id: u64,
    #[serde(rename = "final")]
    mean: u64,
}

/// How many auctions, and their prices added up.
const PRICES: ValueState<(u64, u64)> = ValueState::new("prices");

impl Operator for MeanOfCategory {
    type In = Won;
    type Out = CategoryMean;

    fn key(&self, won: &Won) -> Key {
        won.category.into()
    }

    fn process(&mut self, won: &Won, ctx: &mut Context<CategoryMean>) -> Result {
        ctx.state(PRICES).update(|(auctions, total)| {
            *auctions += 1;
            *total += won.price;
        })
    }

    fn close(&mut self, ctx: &mut Context<CategoryMean>) -> Result {
        for key in ctx.keys() {
            let id = key.as_u64().expect("the keys are numbers of categories");
            ctx.enter_key(key);
            if let Some(&(auctions, total)) = ctx.state(PRICES).get()? {
                ctx.emit(CategoryMean { id, mean: total / auctions });
            }
        }
        Ok(())
    }
}
