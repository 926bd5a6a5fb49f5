//! Every engine gives the answers of the loop by hand.

use std::process::Command;

use clap::ValueEnum;

use super::*;

const EVENTS: usize = 20_000;

/// Each engine has one set of events and one total in a process, so each task is a process of its own: this test,
/// started again for one task alone.
const TASK: &str = "BENCH_TEST_TASK";

fn answer_apart(task: &Task) -> Answer {
    let folder = tempfile::tempdir().unwrap();
    let answer = folder.path().join("answer");
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::all_engines_agree", "--quiet"])
        .env(TASK, serde_json::to_string(&(task, &answer)).unwrap())
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "{} of {}: {status}", task.query.name(), task.engine.name());
    serde_json::from_slice(&std::fs::read(answer).unwrap()).unwrap()
}

#[test]
fn all_engines_agree() {
    if let Ok(told) = std::env::var(TASK) {
        let (task, path): (Task, PathBuf) = serde_json::from_str(&told).unwrap();
        let measured = measure::here(&task).unwrap();
        std::fs::write(path, serde_json::to_string(&measured.answer).unwrap()).unwrap();
        return;
    }
    let cache = tempfile::tempdir().unwrap();
    for query in Query::value_variants().iter().copied() {
        let of = |engine| {
            answer_apart(&Task { engine, query, events: EVENTS, cache: cache.path().to_path_buf(), set: Vec::new() })
        };
        let expected = of(Engine::Hand);
        assert!(expected.rows > 0, "{} has no answer", query.name());
        for engine in Engine::value_variants().iter().copied().filter(|engine| engine.answers(query)) {
            assert_eq!(of(engine), expected, "{} of {}", query.name(), engine.name());
        }
    }
}

#[test]
fn what_was_measured_is_told_by_query_and_engine() {
    let measured = |processor_seconds: f64| measure::Measured {
        answer: Answer { rows: 7, sum: 1 },
        seconds: processor_seconds,
        processor_seconds,
        peak_mb: 3.0,
        commits: 2,
    };
    let rounds = [1.0, 3.0, 2.0].map(|ratio| (measured(ratio * 0.5), Some(ratio))).to_vec();
    let cells = [Cell { query: Query::Q5, engine: Engine::Piton, rounds }];
    let table = report::table(&cells, 2_000_000);
    let row = "| q5 | piton | 0.5000 | 0.2500–0.7500 | 2.00 | 1.00–3.00 | 2.0 | 3 | 2 | 7 |";
    assert_eq!(table.lines().last(), Some(row));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("chart.svg");
    report::chart(&cells, &path).unwrap();
    let drawn = std::fs::read_to_string(path).unwrap();
    assert!(drawn.contains("q5 piton") && drawn.contains("2.00"), "{drawn}");
}
