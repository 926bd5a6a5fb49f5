//! q7: the highest bids of each ten seconds.
//!
//! Chosen: all bids that share the highest price are answers, as in the SQL; but a window is `[start, end)`, where the SQL
//! also takes a bid with the same price that comes exactly when the window ends.

use piton::prelude::*;

use super::events::Bid;
use super::highest::Ranked;
use super::q0::Offer;

const WINDOW: i64 = 10_000;

impl Ranked for Bid {
    type Answer = Offer;

    fn rank(&self) -> u64 {
        self.price
    }

    fn window(&self) -> TimeWindow {
        let start = self.date_time - self.date_time.rem_euclid(WINDOW);
        TimeWindow { start, end: start + WINDOW }
    }

    fn answer(&self) -> Offer {
        Offer::from(self)
    }
}
