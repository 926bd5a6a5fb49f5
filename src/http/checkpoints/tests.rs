use super::*;

const NOW: i64 = 50_000;

fn checkpoints() -> Checkpoints {
    Checkpoints::new([("flights".to_string(), 3), ("ticks".to_string(), 1)].into_iter().collect())
}

fn started(region: &str, window: u64) -> Event {
    Event::CheckpointStarted { region: region.into(), window }
}

fn committed(region: &str, window: u64, bytes: u64, took_ms: i64) -> Event {
    Event::Committed { region: region.into(), window, bytes, took_ms }
}

/// A part that heard of the checkpoint after 10 ms, waited for 5, took its snapshot in 2 and kept it in `kept`.
fn part(operator: &str, subtask: u32, triggered: i64, kept: i64) -> Part {
    Part {
        operator: operator.into(),
        subtask,
        heard_ms: triggered + 10,
        aligned_ms: triggered + 15,
        taken_ms: triggered + 17,
        acknowledged_ms: triggered + 17 + kept,
        state: vec![(operator.into(), 100), ("behind".into(), 20)],
        fresh: 30,
        under_way: (4, 400),
        unaligned: false,
        watermark: 7,
    }
}

fn acknowledged(window: u64, part: Part) -> Event {
    Event::Acknowledged { region: "flights".into(), window, part: Box::new(part) }
}

/// One checkpoint of three subtasks, the last of which was slow to make its snapshot durable.
fn slow() -> Checkpoints {
    let mut checkpoints = checkpoints();
    checkpoints.on(&started("flights", 7), NOW);
    for (operator, subtask, kept) in [("count", 1, 40), ("count", 0, 1), ("flights", 0, 2)] {
        checkpoints.on(&acknowledged(7, part(operator, subtask, NOW, kept)), NOW + 60);
    }
    checkpoints.on(&committed("flights", 7, 360, 62), NOW + 62);
    checkpoints
}

#[test]
fn what_has_completed_is_counted_listed_and_summarised() {
    let said = slow().overview(NOW + 100);
    assert_eq!(said["counts"], json!({"restored": 0, "total": 1, "in_progress": 0, "completed": 1, "failed": 0}));
    let item = &said["history"][0];
    for (name, value) in [
        ("id", json!(7)),
        ("region", json!("flights")),
        ("className", json!("completed")),
        ("status", json!("COMPLETED")),
        ("trigger_timestamp", json!(NOW)),
        ("latest_ack_timestamp", json!(NOW + 57)),
        ("end_to_end_duration", json!(62)),
        ("state_size", json!(360)),
        ("checkpointed_size", json!(90)),
        ("persisted_data", json!(1200)),
        ("num_subtasks", json!(3)),
        ("num_acknowledged_subtasks", json!(3)),
    ] {
        assert_eq!(item[name], value, "{name}");
    }
    assert_eq!(said["latest"]["completed"], *item);
    assert_eq!(said["latest"]["failed"], Value::Null);
    assert_eq!(said["summary"]["end_to_end_duration"]["p99"], json!(62));
    assert_eq!(checkpoints().overview(NOW)["summary"]["state_size"]["avg"], json!(0));
}

#[test]
fn the_verdict_names_what_took_most_of_the_time_and_whom() {
    let verdict = |checkpoints: &Checkpoints, now| {
        let said = checkpoints.overview(now);
        said["history"][0]["verdict"].as_str().unwrap().to_string()
    };
    assert_eq!(verdict(&slow(), NOW + 100), "62 ms, 40 of them to make the snapshot of \"count\" #1 durable");
    let mut checkpoints = checkpoints();
    checkpoints.on(&started("flights", 8), NOW);
    assert_eq!(verdict(&checkpoints, NOW + 30), "under way for 30 ms; nobody has acknowledged it yet");
    checkpoints.on(&acknowledged(8, part("count", 0, NOW, 1)), NOW + 18);
    assert!(verdict(&checkpoints, NOW + 30).ends_with("the last to acknowledge it so far was \"count\" #0"));
    let (reason, operator) = ("it expired".to_string(), Some("count".to_string()));
    checkpoints.on(&Event::CheckpointFailed { region: "flights".into(), window: 8, reason, operator }, NOW + 40);
    assert_eq!(verdict(&checkpoints, NOW + 99), "failed at \"count\": it expired");
    let said = checkpoints.overview(NOW + 99);
    assert_eq!(said["latest"]["failed"]["failure_message"], json!("it expired"));
    assert_eq!(said["history"][0]["end_to_end_duration"], json!(40));
    assert_eq!(said["counts"]["failed"], json!(1));
}

#[test]
fn each_subtask_tells_where_its_time_went() {
    let checkpoints = slow();
    let checkpoint = checkpoints.find(None, 7).unwrap();
    let said = checkpoint.operator("behind", "count", 3, NOW + 100);
    assert_eq!(said["state_size"], json!(40), "of the operator alone");
    let expected = json!({
        "index": 1,
        "status": "completed",
        "ack_timestamp": NOW + 57,
        "end_to_end_duration": 57,
        "checkpointed_size": 30,
        "state_size": 20,
        "checkpoint": { "sync": 2, "async": 40 },
        "alignment": { "buffered": 0, "processed": 0, "persisted": 400, "records": 4, "duration": 5 },
        "start_delay": 10,
        "unaligned_checkpoint": false,
        "aborted": false,
        "watermark": 7,
    });
    assert_eq!(said["subtasks"][1], expected);
    assert_eq!(said["subtasks"][2], json!({ "index": 2, "status": "pending_or_failed" }));
    assert_eq!(said["summary"]["checkpoint_duration"]["async"]["max"], json!(40));
    let tasks = checkpoint.details(NOW + 100);
    assert_eq!(tasks["tasks"]["count"]["num_acknowledged_subtasks"], json!(2));
    assert_eq!(tasks["tasks"].as_object().unwrap().len(), 2);
}

#[test]
fn regions_do_not_mix() {
    let mut checkpoints = slow();
    checkpoints.on(&started("ticks", 7), NOW + 70);
    checkpoints.on(&committed("ticks", 7, 5, 1), NOW + 71);
    assert_eq!(checkpoints.find(Some("flights"), 7).unwrap().region, "flights");
    assert_eq!(checkpoints.find(None, 7).unwrap().region, "ticks", "the newest, if nobody says which");
    assert_eq!(checkpoints.newest("flights").unwrap().state(), 360);
    assert!(checkpoints.find(Some("ticks"), 8).is_none() && checkpoints.newest("others").is_none());
}

#[test]
fn only_so_much_is_kept() {
    let mut checkpoints = checkpoints();
    for window in 0..3 * KEPT as u64 {
        checkpoints.on(&started("flights", window), NOW);
        (0..30).for_each(|subtask| checkpoints.on(&acknowledged(window, part("count", subtask, NOW, 1)), NOW));
        checkpoints.on(&committed("flights", window, 10, 5), NOW);
        let parts: usize = checkpoints.kept.iter().map(|checkpoint| checkpoint.parts.len()).sum();
        assert!(checkpoints.kept.len() <= KEPT && parts == checkpoints.parts && parts <= PARTS, "{window}: {parts}");
    }
    let said = checkpoints.overview(NOW);
    assert_eq!(said["counts"]["completed"], json!(3 * KEPT));
    assert_eq!(said["history"].as_array().unwrap().len(), LISTED);
    let oldest = checkpoints.kept.front().unwrap().details(NOW);
    assert_eq!((&oldest["is_abridged"], &oldest["num_acknowledged_subtasks"]), (&json!(true), &json!(30)));
}

#[test]
fn what_was_written_down_is_there_after_a_restart_and_not_when_the_job_begins_anew() {
    let mut before = slow();
    let lines = before.concluded();
    assert_eq!((lines.len(), before.concluded().len()), (1, 0));
    assert_eq!(before.all_concluded(), lines);
    let mut checkpoints = checkpoints();
    checkpoints.add_past(lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect());
    let started = |windows: &[(&str, u64)]| {
        let resumed_from = windows.iter().map(|(region, window)| (region.to_string(), *window)).collect();
        Event::Started { job: "job".into(), resumed_from, incarnation: 2 }
    };
    checkpoints.on(&started(&[("flights", 7)]), NOW + 500);
    let (was, is) = (before.overview(NOW + 900), checkpoints.overview(NOW + 900));
    assert_eq!((&is["history"], &is["summary"]), (&was["history"], &was["summary"]));
    assert_eq!(is["counts"]["completed"], json!(1));
    let details = checkpoints.find(None, 7).unwrap().details(NOW + 900);
    assert_eq!((&details["is_abridged"], &details["tasks"]), (&json!(true), &json!({})));
    checkpoints.on(&started(&[]), NOW + 1_000);
    assert_eq!(checkpoints.overview(NOW)["history"], json!([]));
}

#[test]
fn restarts_and_savepoints_are_told() {
    let mut checkpoints = checkpoints();
    let resumed_from = [("flights".to_string(), 5)].into_iter().collect();
    checkpoints.on(&Event::Started { job: "job".into(), resumed_from, incarnation: 2 }, NOW);
    checkpoints.on(
        &Event::Savepoint { name: "before".into(), window: 9, regions: [("flights".to_string(), 9)].into() },
        NOW + 5,
    );
    let said = checkpoints.overview(NOW + 9);
    assert_eq!(said["counts"]["restored"], json!(1));
    assert_eq!(said["latest"]["restored"]["id"], json!(5));
    assert_eq!(said["latest"]["savepoint"]["name"], json!("before"));
}

#[test]
fn a_checkpoint_that_became_a_savepoint_is_marked_in_this_run_and_the_next() {
    let mut checkpoints = slow();
    assert_eq!(checkpoints.overview(NOW + 80)["history"][0]["is_savepoint"], json!(false));
    let mut written = checkpoints.concluded();
    let regions = [("flights".to_string(), 7), ("ticks".to_string(), 9)].into();
    checkpoints.on(&Event::Savepoint { name: "before".into(), window: 9, regions }, NOW + 90);
    written.extend(checkpoints.concluded());
    let mut next = self::checkpoints();
    next.add_past(written.iter().map(|line| serde_json::from_str(line).unwrap()).collect());
    for checkpoints in [checkpoints, next] {
        let said = checkpoints.overview(NOW + 100);
        assert_eq!(said["counts"]["completed"], json!(1));
        assert_eq!(said["history"].as_array().unwrap().len(), 1);
        let item = &said["history"][0];
        assert_eq!((&item["is_savepoint"], &item["savepoint"]), (&json!(true), &json!("before")));
    }
}
