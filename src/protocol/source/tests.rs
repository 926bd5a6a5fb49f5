use piton_actors::host::HostedSource;
use piton_actors::{Batch, Feed, Rows, Source, WATERMARK_MIN};

use super::*;
use crate::protocol::drift::Slowest;

/// A source that is only handed around: the test answers for it.
struct Nothing;

impl Source for Nothing {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, _position: Option<u64>, _subtask: &Subtask) -> UserResult {
        Ok(())
    }

    async fn poll(&mut self, _feed: &mut Feed<u64>) -> UserResult<Progress> {
        Ok(Progress::Done)
    }

    fn position(&self) -> u64 {
        0
    }
}

fn hosted() -> Box<dyn AnySource> {
    Box::new(HostedSource::new(Nothing, 10))
}

/// Returns a source that is open.
fn open(max_drift: Option<i64>) -> SourceHead {
    let event_time = EventTime { max_drift, ..EventTime::default() };
    let mut head = SourceHead::new("numbers".into(), hosted(), Subtask::single("numbers"), event_time);
    head.open(None, Kept::default());
    let Some((SourceCall::Open(..), source)) = head.next_call(0, true) else { panic!("it is opened first") };
    head.answered(Some(source), Ok(SourceAnswer::Opened(Ok(()))), 0).map_err(|failure| failure.to_string()).unwrap();
    head
}

fn polled(times: &[Timestamp], progress: UserResult<Progress>) -> Polled {
    let batch: Batch = std::sync::Arc::new(Rows::with_times(vec![0_u64; times.len()], times.to_vec()));
    Polled { batches: vec![batch], position: vec![7], progress, marks: Vec::new() }
}

/// Polls it, with this answer.
fn poll(head: &mut SourceHead, answer: Polled) -> Result<SourceNews, Failure> {
    let Some((SourceCall::Poll, source)) = head.next_call(0, true) else { panic!("it is to be polled") };
    head.answered(Some(source), Ok(SourceAnswer::Polled(Ok(answer))), 0)
}

#[test]
fn what_came_ahead_of_a_failure_was_not_seen_and_what_came_before_it_was_away_was() {
    let mut head = open(None);
    assert!(poll(&mut head, polled(&[50], Err(Error::failed("broken")))).is_err());
    assert_eq!((head.kept_times().0, &head.position), (Some(WATERMARK_MIN), &None), "it is read again");
    head.renew(hosted());
    let Some((SourceCall::Open(None, _), source)) = head.next_call(0, true) else { panic!("a fresh one is opened") };
    assert!(head.answered(Some(source), Ok(SourceAnswer::Opened(Ok(()))), 0).is_ok());
    let away = poll(&mut head, polled(&[40], Err(Error::unavailable("away"))));
    let Ok(SourceNews::Polled(reading)) = away else { panic!("what came before is kept") };
    assert_eq!((reading.behind, head.kept_times().0, &head.position), (39, Some(40), &Some(vec![7])));
}

#[test]
fn a_source_that_is_ahead_of_others_is_told_of_commits_and_reads_again_but_is_not_polled() {
    let mut head = open(Some(10));
    assert!(poll(&mut head, polled(&[50], Ok(Progress::More))).is_ok());
    assert!(head.next_call(0, true).is_none() && head.wake_at(true).is_none(), "nobody knows how far others are");
    let hear = |head: &mut SourceHead, other: Timestamp| {
        let own = head.say_pace(false, true);
        assert_eq!(own, Pace::At(49));
        head.drift.hear(Slowest::of([own, Pace::At(other)].into_iter()));
    };
    hear(&mut head, 38);
    assert!(head.next_call(0, true).is_none());
    head.cut(WindowId(1));
    head.committed(WindowId(1));
    let Some((SourceCall::Tell(..), source)) = head.next_call(0, true) else { panic!("it is told") };
    assert!(head.answered(Some(source), Ok(SourceAnswer::Told(Ok(()))), 0).is_ok());
    hear(&mut head, 39);
    assert!(poll(&mut head, polled(&[45], Ok(Progress::More))).is_ok(), "the other has caught up");

    hear(&mut head, 0);
    head.read_again(hosted(), None);
    let Some((SourceCall::Open(..), source)) = head.next_call(0, false) else { panic!("a fresh one is opened") };
    assert!(head.answered(Some(source), Ok(SourceAnswer::Opened(Ok(()))), 0).is_ok());
    let Some((SourceCall::Tell(..), source)) = head.next_call(0, false) else { panic!("it is told again") };
    assert!(head.answered(Some(source), Ok(SourceAnswer::Told(Ok(()))), 0).is_ok());
    assert!(matches!(head.again(1), Again::NotYet));
    assert!(matches!(head.next_call(0, false), Some((SourceCall::Poll, _))), "that was read before");
}

#[test]
fn who_gives_no_event_times_or_has_ended_is_not_waited_for() {
    let mut head = open(None);
    assert_eq!(head.say_pace(false, false), Pace::At(WATERMARK_MIN), "it may give some yet");
    assert_eq!(head.say_pace(true, false), Pace::Apart, "it is idle");
    let untimed =
        Polled { batches: vec![std::sync::Arc::new(Rows::new(vec![1_u64]))], ..polled(&[], Ok(Progress::More)) };
    assert!(poll(&mut head, untimed).is_ok());
    assert_eq!(head.say_pace(false, true), Pace::Apart);
    assert!(poll(&mut head, polled(&[20], Ok(Progress::More))).is_ok());
    assert_eq!(head.say_pace(false, true), Pace::At(19));
    assert!(poll(&mut head, polled(&[30], Ok(Progress::Done))).is_ok());
    assert_eq!(head.say_pace(false, true), Pace::Apart);
}

#[test]
fn between_two_closes_a_source_that_can_be_polled_is() {
    let mut head = open(None);
    assert!(head.is_owed_turn(0, true));
    assert!(!head.is_owed_turn(0, false), "there is no room for what it reads");
    assert!(poll(&mut head, polled(&[1], Ok(Progress::More))).is_ok());
    assert!(!head.is_owed_turn(0, true));
    head.closed();
    assert!(head.is_owed_turn(0, true));
    assert!(poll(&mut head, polled(&[], Ok(Progress::Idle(10)))).is_ok());
    head.closed();
    assert!(!head.is_owed_turn(9, true), "a marker does not wait for a pause");
    assert!(head.is_owed_turn(10, true));
    let Some((SourceCall::Poll, source)) = head.next_call(10, true) else { panic!("it is to be polled") };
    let away = polled(&[], Err(Error::unavailable("the line is down")));
    assert!(head.answered(Some(source), Ok(SourceAnswer::Polled(Ok(away))), 10).is_ok());
    head.closed();
    assert!(!head.is_owed_turn(10, true), "nor for what is unavailable");
}
