use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;
use crate::harness::Harness;
use crate::{Key, Operator as _, Timestamp, WATERMARK_MAX, WATERMARK_MIN};

/// Number and key of a row; key 0 is no key.
type Row = (u32, u64);
type Pair = (u32, Option<u32>);
/// Late rows of the left input and of the right one.
type LateRows = (Vec<Row>, Vec<Row>);

#[derive(Clone)]
struct Matched(How);

impl Join for Matched {
    type Left = Row;
    type Right = Row;
    type Out = Pair;

    fn how(&self) -> How {
        self.0
    }

    fn left_key(&self, left: &Row) -> Key {
        if left.1 == 0 { Key::None } else { left.1.into() }
    }

    fn right_key(&self, right: &Row) -> Key {
        self.left_key(right)
    }

    fn join(&self, left: &Row, right: Option<&Row>) -> Pair {
        (left.0, right.map(|right| right.0))
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Left(Row, Timestamp),
    Right(Row, Timestamp),
    Watermark(Timestamp),
    Checkpoint,
    Crash,
}

fn harness(how: How) -> Harness<Joining<Matched>> {
    Harness::new(move || Joining(Matched(how)))
}

fn push(harness: &mut Harness<Joining<Matched>>, step: Step) {
    match step {
        Step::Left(row, at) => harness.push_left_at(at, row),
        Step::Right(row, at) => harness.push_right_at(at, row),
        Step::Watermark(at) => harness.watermark(at),
        Step::Checkpoint => harness.checkpoint(),
        Step::Crash => harness.crash(),
    }
    .unwrap();
}

/// Takes all steps. After a crash, what followed the last checkpoint is pushed again.
fn run(harness: &mut Harness<Joining<Matched>>, steps: &[Step]) {
    let mut since: Vec<Step> = Vec::new();
    for step in steps {
        push(harness, *step);
        match step {
            Step::Checkpoint => since.clear(),
            Step::Crash => since.iter().for_each(|step| push(harness, *step)),
            _ => since.push(*step),
        }
    }
}

fn emitted(harness: &Harness<Joining<Matched>>) -> Vec<(Pair, Timestamp)> {
    let mut emitted = Vec::new();
    for batch in harness.output_batches() {
        let rows = crate::rows::<Pair>(batch).unwrap();
        emitted.extend(rows.iter().copied().zip(batch.times().unwrap().iter().copied()));
    }
    emitted.sort_unstable();
    emitted
}

fn steps(rng: &mut Pcg64Mcg, count: u32) -> Vec<Step> {
    let (mut now, mut steps) = (0, Vec::new());
    for number in 0..count {
        now += rng.random_range(0..4);
        let row = (number, rng.random_range(0..4));
        // Some come late.
        let at = now - rng.random_range(0..25);
        steps.push(match rng.random_range(0..20) {
            0..8 => Step::Left(row, at),
            8..16 => Step::Right(row, at),
            16 | 17 => Step::Watermark(now - 15),
            18 => Step::Checkpoint,
            _ => Step::Crash,
        });
    }
    steps
}

/// What all rows together give, by looking at each with each; and the left and right rows that are late, as they come.
fn model(how: How, steps: &[Step]) -> (Vec<(Pair, Timestamp)>, LateRows) {
    let How { pairing, outer } = how;
    let mut late = LateRows::default();
    let (mut watermark, mut lefts, mut rights) = (WATERMARK_MIN, Vec::new(), Vec::new());
    let ends = steps.iter().copied().chain([Step::Watermark(WATERMARK_MAX)]);
    // When each row came, and when the watermark reached it.
    let mut watermarks = Vec::new();
    for (moment, step) in ends.enumerate() {
        let on_time = |at: Timestamp| at > watermark;
        match step {
            Step::Left(row, at) if pairing == Pairing::Whole || on_time(at) => lefts.push((row, at, moment)),
            Step::Right(row, at) if !pairing.is_timed() || on_time(at) => rights.push((row, at, moment)),
            Step::Left(row, _) => late.0.push(row),
            Step::Right(row, _) => late.1.push(row),
            Step::Watermark(at) => {
                watermark = watermark.max(at);
                watermarks.push((watermark, moment));
            }
            _ => {}
        }
    }
    let mut pairs = Vec::new();
    for (left, at, _) in lefts {
        let partner = |(right, of_right, _): &&(Row, Timestamp, usize)| {
            left.1 != 0 && left.1 == right.1 && pairing.rights_of(at).contains(of_right)
        };
        let mut partners: Vec<_> = rights.iter().filter(partner).copied().collect();
        let mut alone_at = pairing.left_until(at);
        if pairing == Pairing::Newest {
            let due = watermarks.iter().find(|(watermark, _)| *watermark >= at).unwrap().1;
            partners.retain(|(_, _, moment)| *moment < due);
            partners.sort_by_key(|(_, at, moment)| (*at, *moment));
            partners.drain(..partners.len().saturating_sub(1));
        }
        if pairing == Pairing::Whole || left.1 == 0 {
            alone_at = at;
        }
        if partners.is_empty() && outer {
            pairs.push(((left.0, None), alone_at));
        }
        for (right, of_right, _) in partners {
            let time = if pairing == Pairing::Newest { at } else { at.max(of_right) };
            pairs.push(((left.0, Some(right.0)), time));
        }
    }
    pairs.sort_unstable();
    (pairs, late)
}

fn ways() -> Vec<How> {
    let inner = [
        How::within(5),
        How::within(0),
        How::interval(2, 9),
        How::interval(-1, 6),
        How::interval(8, -3),
        How::tumbling(10),
        How::tumbling_from(7, 3),
        How::newest(),
        How::whole(),
    ];
    inner.iter().flat_map(|how| [*how, how.left()]).collect()
}

#[test]
fn every_way_gives_what_a_plain_loop_gives_whatever_crashes() {
    for seed in 0..60 {
        let steps = steps(&mut Pcg64Mcg::seed_from_u64(seed), 150);
        for how in ways() {
            let mut harness = harness(how);
            run(&mut harness, &steps);
            harness.close().unwrap();
            let (pairs, late) = model(how, &steps);
            assert_eq!(emitted(&harness), pairs, "seed {seed}, {how:?}");
            let aside = (
                harness.take_side_output(Joining::<Matched>::LATE_LEFT),
                harness.take_side_output(Joining::<Matched>::LATE_RIGHT),
            );
            assert_eq!(aside, late, "seed {seed}, {how:?}");
        }
    }
}

#[test]
fn nothing_is_emitted_behind_the_watermark() {
    for seed in 0..30 {
        let steps = steps(&mut Pcg64Mcg::seed_from_u64(seed), 150);
        for how in ways().into_iter().filter(|how| how.pairing != Pairing::Whole) {
            let (mut harness, mut watermark) = (harness(how), WATERMARK_MIN);
            for step in &steps {
                let passed_on = watermark;
                if let Step::Watermark(at) = step {
                    watermark = watermark.max(*at);
                }
                if !matches!(step, Step::Crash) {
                    push(&mut harness, *step);
                }
                let late = emitted(&harness).into_iter().find(|(_, at)| *at <= passed_on);
                assert_eq!(late, None, "seed {seed}, {how:?}, {step:?} behind {passed_on}");
                harness.take_output();
            }
        }
    }
}

#[test]
fn without_late_rows_the_interleaving_changes_nothing() {
    for seed in 0..20 {
        let mut rng = Pcg64Mcg::seed_from_u64(seed);
        let row = |rng: &mut Pcg64Mcg, number| ((number, rng.random_range(0..3)), i64::from(number) % 50);
        let lefts: Vec<_> = (0..60).map(|number| row(&mut rng, number)).collect();
        // Of right rows of one time and key the last counts: there is one.
        let rights: Vec<_> = (0..50).map(|number| row(&mut rng, number)).collect();
        for how in ways() {
            let of_order = |left_first: bool| {
                let mut harness = harness(how);
                for (row, at) in lefts.iter().filter(|_| left_first) {
                    push(&mut harness, Step::Left(*row, *at));
                }
                rights.iter().for_each(|(row, at)| push(&mut harness, Step::Right(*row, *at)));
                for (row, at) in lefts.iter().filter(|_| !left_first) {
                    push(&mut harness, Step::Left(*row, *at));
                }
                harness.close().unwrap();
                emitted(&harness)
            };
            assert_eq!(of_order(true), of_order(false), "seed {seed}, {how:?}");
        }
    }
}

#[test]
fn state_is_dropped_as_the_watermark_advances() {
    for how in ways() {
        let mut harness = harness(how);
        for number in 0..100 {
            let row = (number, 7);
            push(&mut harness, Step::Left(row, i64::from(number)));
            push(&mut harness, Step::Right(row, i64::from(number)));
        }
        push(&mut harness, Step::Watermark(90));
        let kept = |harness: &mut Harness<Joining<Matched>>, name: &'static str| {
            let ctx = harness.context().unwrap();
            ctx.enter(Key::from(7u64), None);
            match name {
                "versions" => ctx.map_state(crate::MapState::<Timestamp, Row>::new("versions")).len().unwrap(),
                _ => ctx.map_state(crate::MapState::<store::Place, Row>::new(name)).len().unwrap(),
            }
        };
        let (left, right) = match how.pairing {
            Pairing::Whole => (100, 100),
            Pairing::Newest => (9, 0),
            pairing => (
                (0..100).filter(|at| pairing.left_until(*at) > 90).count(),
                (0..100).filter(|at| pairing.right_until(*at) > 90).count(),
            ),
        };
        assert_eq!(kept(&mut harness, "left"), left, "{how:?}");
        if how.pairing == Pairing::Newest {
            assert_eq!(kept(&mut harness, "versions"), 10, "91 to 99, and what was valid at 90");
        } else {
            assert_eq!(kept(&mut harness, "right"), right, "{how:?}");
        }
        harness.close().unwrap();
        let keys = harness.context().unwrap().keys().len();
        let stays = how.pairing == Pairing::Newest || how == How::whole();
        assert_eq!(keys, usize::from(stays), "{how:?}");
    }
}

#[test]
fn late_rows_are_counted() {
    let late = |how: How| {
        let mut harness = harness(how);
        push(&mut harness, Step::Watermark(10));
        for at in [9, 10, 11] {
            push(&mut harness, Step::Left((1, 1), at));
            push(&mut harness, Step::Right((1, 1), at));
        }
        push(&mut harness, Step::Checkpoint);
        push(&mut harness, Step::Crash);
        *harness.context().unwrap().local(crate::LocalState::<u64>::new("late")).get().unwrap()
    };
    assert_eq!(late(How::within(5)), 4);
    assert_eq!(late(How::tumbling(5)), 4);
    assert_eq!(late(How::newest()), 2, "a right row counts for the left rows that are still to come");
    assert_eq!(late(How::whole()), 0);
}

#[test]
fn only_inputs_whose_rows_may_be_late_have_an_output_for_them() {
    let outputs = |how: How| {
        let declared = Joining(Matched(how)).side_outputs();
        declared.iter().map(|declared| declared.name().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(outputs(How::within(5)), ["late_left", "late_right"]);
    assert_eq!(outputs(How::tumbling(5).left()), ["late_left", "late_right"]);
    assert_eq!(outputs(How::newest()), ["late_left"]);
    assert!(outputs(How::whole()).is_empty());
}

#[test]
fn rows_without_event_time_are_joined_as_they_come_or_refused() {
    let mut harness = harness(How::newest().left());
    harness.push_left((1, 7)).unwrap().push_right((10, 7)).unwrap().push_left((2, 7)).unwrap();
    harness.push_right((11, 7)).unwrap().checkpoint().unwrap().crash().unwrap().push_left((3, 7)).unwrap();
    assert_eq!(harness.output(), [(1, None), (2, Some(10)), (3, Some(11))]);

    let mut harness = self::harness(How::whole().left());
    harness.push_left((1, 7)).unwrap().push_right((10, 7)).unwrap().push_left((2, 8)).unwrap().close().unwrap();
    assert_eq!(harness.output(), [(1, Some(10)), (2, None)]);
    assert!(harness.output_batches().iter().all(|batch| batch.times().is_none()));

    let error = self::harness(How::within(5)).push_right((1, 7)).err().unwrap();
    assert_eq!(error.kind(), crate::ErrorKind::Invalid);
    assert!(error.message().contains("right (second) input has no event time"), "{error}");
}

#[test]
fn a_join_that_can_find_nothing_does_not_open() {
    let error = harness(How::tumbling(0)).open().err().unwrap();
    assert_eq!(error.kind(), crate::ErrorKind::Invalid);
}
