//! State with a time to live, as an operator sees it: over checkpoints, crashes and calls that are taken back.

use std::sync::Arc;
use std::time::Duration;

use piton_actors::harness::Harness;
use piton_actors::host::{AnyOperator, Hosted};
use piton_actors::prelude::*;
use piton_actors::state::Declared;
use piton_actors::{Batch, Rows, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);
const SEEN: ValueState<u64> = ValueState::new("seen").ttl(Ttl::event_time(MINUTE));
const RECENT: MapState<u64, u64> = MapState::new("recent").ttl(Ttl::processing_time(MINUTE));

/// Counts what each key has seen lately, by both clocks, and again when a timer of the record's time and a minute fires.
struct Count;

impl Count {
    fn say(ctx: &mut Context<(u64, u64, usize)>) -> Result {
        let key = ctx.key().as_u64().unwrap_or_default();
        let seen = ctx.state(SEEN).get()?.copied().unwrap_or_default();
        let recent = ctx.map_state(RECENT).len()?;
        ctx.emit((key, seen, recent));
        Ok(())
    }
}

impl Operator for Count {
    type In = (u64, u64);
    type Out = (u64, u64, usize);

    fn key(&self, record: &(u64, u64)) -> Key {
        Key::from(record.0)
    }

    fn states(&self) -> Vec<Declared> {
        vec![SEEN.into(), RECENT.into()]
    }

    fn process(&mut self, record: &(u64, u64), ctx: &mut Context<Self::Out>) -> Result {
        ctx.state(SEEN).update(|seen| *seen += 1)?;
        ctx.map_state(RECENT).insert(record.1, record.1)?;
        if let Some(time) = ctx.timestamp() {
            ctx.timer_at(time + 60_000)?;
        }
        Count::say(ctx)
    }

    fn on_timer(&mut self, _: Timer, ctx: &mut Context<Self::Out>) -> Result {
        Count::say(ctx)
    }
}

#[test]
fn a_restart_shows_nothing_that_has_expired_meanwhile() -> Result {
    let mut harness = Harness::new(|| Count);
    harness.at(1_000)?.watermark(0)?.push((1, 1))?.push((1, 2))?.checkpoint()?;
    assert_eq!(harness.take_output(), [(1, 1, 1), (1, 2, 2)]);
    // The clock goes on while nobody runs; the watermark does not.
    harness.at(40_000)?.push((1, 3))?.checkpoint()?.at(61_000)?.crash()?.push((1, 4))?;
    assert_eq!(harness.take_output(), [(1, 3, 3), (1, 4, 2)]);
    harness.watermark(60_000)?.crash()?.push((1, 5))?;
    assert_eq!(harness.output(), [(1, 4, 2)], "the watermark of before the crash is not known");
    harness.watermark(60_000)?.push((1, 6))?;
    assert_eq!(harness.take_output(), [(1, 4, 2), (1, 1, 3)]);
    Ok(())
}

#[test]
fn a_timer_sees_what_was_there_at_its_time() -> Result {
    let mut harness = Harness::new(|| Count);
    harness.watermark(0)?.push_at(500, (1, 1))?.watermark(59_999)?.push_at(59_999, (1, 2))?;
    harness.take_output();
    // Written at the watermarks 0 and 59 999: the timers are of 60 500 and 119 999.
    harness.watermark(200_000)?;
    assert_eq!(harness.take_output(), [(1, 2, 2), (1, 0, 2)]);
    assert_eq!(harness.context()?.keys().len(), 1, "entries by the other clock are left");
    harness.at(60_000)?.push((2, 1))?.at(70_000)?;
    assert_eq!(harness.context()?.keys(), [Key::from(2u64)], "the clean-up has come to it");
    Ok(())
}

#[test]
fn the_end_of_the_input_lets_nothing_expire() -> Result {
    let mut harness = Harness::new(|| Count);
    harness.watermark(0)?.push_at(500, (1, 1))?.watermark(59_999)?.push_at(0, (1, 2))?.close()?;
    let output = harness.output();
    assert_eq!(output[2..], [(1, 2, 2), (1, 2, 2)]);
    Ok(())
}

/// A watermark, the engine's time, and what is processed.
type Entry<'a> = (Timestamp, Timestamp, &'a [(u64, u64)]);

fn batch(records: &[(u64, u64)]) -> Batch {
    Arc::new(Rows::new(records.to_vec()))
}

#[test]
fn a_call_that_is_taken_back_has_cleaned_up_nothing() -> Result {
    let hosted = || Hosted::new(Arc::new(|| Ok(Count)), Subtask::single("count"), 100);
    let entries: [Entry<'_>; 4] = [
        (10, 1_000, &[(1, 1), (2, 2), (3, 3)]),
        (30_000, 20_000, &[(2, 4), (4, 4)]),
        (61_000, 70_000, &[(5, 5), (1, 6)]),
        (95_000, 90_000, &[(6, 7), (2, 1), (7, 7)]),
    ];
    let (mut one, mut other) = (hosted()?, hosted()?);
    let run = |operator: &mut Hosted<Count>, watermark, now, records: &[(u64, u64)]| {
        operator.begin_entry(now);
        operator.process(0, &batch(records))?;
        operator.begin_entry(now);
        operator.advance_watermark(watermark)
    };
    let emitted = |operator: &mut Hosted<Count>| {
        let mut batches = Vec::new();
        operator.drain(&mut batches);
        let rows = |batch: &Batch| piton_actors::rows::<(u64, u64, usize)>(batch).map(|rows| rows.to_vec());
        batches.iter().filter_map(rows).collect::<Vec<_>>().concat()
    };
    for (watermark, now, records) in entries {
        run(&mut one, watermark, now, records)?;
        other.begin();
        run(&mut other, watermark + 100_000, now + 100_000, &[(1, 9), (8, 8)])?;
        assert!(other.undo()?);
        run(&mut other, watermark, now, records)?;
        assert_eq!(emitted(&mut one), emitted(&mut other));
        assert_eq!(one.context().keys(), other.context().keys());
    }
    assert_eq!(one.cut()?.write()?, other.cut()?.write()?);
    Ok(())
}
