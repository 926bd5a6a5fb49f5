//! Whatever happens to a file of a state directory, the job ends with the right output or refuses to start and says what
//! is damaged. It never starts from something older, or from nothing, without a word.
//!
//! `PITON_ROUNDS=1000 cargo test --test damaged_state` tries that many damages, as far as there are so many.

#[path = "support/binary/mod.rs"]
mod binary;

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use binary::chaos::{rng, rounds};
use binary::folder::Folder;
use binary::generate::{Row, Totals, add, read_rows, read_totals, row};
use binary::process::{Ended, Job, count};
use binary::tree::{copy, files, listing, scratch};
use rand::RngExt as _;
use rand_pcg::Pcg64Mcg;

const ROWS: u64 = 10_000;
/// So many that the state of a subtask is too long for the catalogue.
const KEYS: u64 = 700;

fn topology() -> String {
    format!(
        r#"
        [job]
        name = "damaged"
        [window]
        interval = "20ms"
        [checkpoint]
        interval = "60ms"
        [store]
        path = "state"
        [sources.numbers]
        type = "generate"
        rows = {ROWS}
        keys = {KEYS}
        rate = "10000/s"
        [sinks.rows]
        type = "csv"
        inputs = ["numbers"]
        path = "out/rows"
        [operators.counted]
        type = "aggregate"
        inputs = ["numbers"]
        parallelism = 2
        by = ["key"]
        columns = ["count(*) AS n", "sum(value) AS total"]
        [sinks.counts]
        type = "csv"
        inputs = ["counted"]
        path = "out/counts"
        "#
    )
}

#[derive(Clone, Copy, Debug)]
enum Damage {
    Remove,
    Truncate(u64),
    Flip { byte: u64, bit: u8 },
}

impl Damage {
    fn inflict(self, path: &Path) {
        match self {
            Damage::Remove => fs::remove_file(path).unwrap(),
            Damage::Truncate(length) => OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap(),
            Damage::Flip { byte, bit } => {
                let mut content = fs::read(path).unwrap();
                content[byte as usize] ^= 1 << bit;
                fs::write(path, content).unwrap();
            }
        }
    }
}

/// Returns ways to damage a file: to remove it, to cut it off at its ends and within, to flip bits where something stands.
fn damages(path: &Path, rng: &mut Pcg64Mcg) -> Vec<Damage> {
    let content = fs::read(path).unwrap();
    let length = content.len() as u64;
    let mut damages = vec![Damage::Remove];
    let used: Vec<u64> = (0..length).filter(|byte| content[*byte as usize] != 0).collect();
    let Some(last) = used.last().copied() else { return damages };
    damages.extend([0, 1, length / 2, last, length - 1].map(Damage::Truncate));
    damages.extend([used[0], last].map(|byte| Damage::Flip { byte, bit: rng.random_range(0..8) }));
    for _ in 0..20 {
        let byte = used[rng.random_range(0..used.len())];
        damages.push(Damage::Truncate(byte));
        damages.push(Damage::Flip { byte, bit: rng.random_range(0..8) });
    }
    damages
}

/// Returns every damage to every file: one of each file first, then another of each, in an order of chance.
fn cases(state: &Path, rng: &mut Pcg64Mcg) -> Vec<(PathBuf, Damage)> {
    let mut of_files: Vec<(PathBuf, Vec<Damage>)> = Vec::new();
    for file in files(state) {
        let mut damages = damages(&state.join(&file), rng);
        for at in (1..damages.len()).rev() {
            damages.swap(at, rng.random_range(0..=at));
        }
        of_files.push((file, damages));
    }
    let mut cases = Vec::new();
    while of_files.iter().any(|(_, damages)| !damages.is_empty()) {
        for (file, damages) in &mut of_files {
            cases.extend(damages.pop().map(|damage| (file.clone(), damage)));
        }
    }
    cases
}

/// Panics unless both sinks hold everything once.
fn assert_complete(job: &Job, context: &str) {
    let golden: Vec<Row> = (0..ROWS).map(|id| row(0, KEYS, id)).collect();
    let mut golden_totals = Totals::new();
    golden.iter().for_each(|row| add(&mut golden_totals, *row));
    let mut rows = Vec::new();
    for (_, text) in Folder::new(job.path("out/rows"), "rows").look() {
        rows.extend(read_rows(&text).into_iter().map(|(row, _)| row));
    }
    assert!(rows == golden, "{context}: {} rows instead of {ROWS}, each once", rows.len());
    let mut totals = Totals::new();
    for (_, text) in Folder::new(job.path("out/counts"), "counts").look() {
        for (key, (n, total)) in read_totals(&text) {
            let before = totals.insert(key, (n, total)).map_or(0, |(before, _)| before);
            assert!(n > before, "{context}: {n} of key {key} after {before}");
        }
    }
    assert!(totals == golden_totals, "{context}: the counts are not what was to be counted");
}

/// Panics unless a refusal names what is damaged, in plain lines.
fn assert_named(ended: &Ended, state: &Path, context: &str) {
    let error = ended.stderr.lines().find(|line| line.starts_with("error: "));
    let error = error.unwrap_or_else(|| panic!("{context}: refused without a word:\n{}", ended.stderr));
    assert!(error.contains(state.to_str().unwrap()), "{context}: it does not say where: {error}");
    assert!(!error.contains("internal error"), "{context}: {error}");
}

#[test]
fn damage_is_mended_or_refused_by_name() {
    let mut rng = rng("damaged_state");
    let folder = scratch();
    let whole = Job::new(&folder.path().join("whole"), &topology());
    let mut life = whole.start(&[]);
    whole.wait_for(&mut life, "some commits", |events| count(events, "committed", "numbers") >= 4);
    life.signal("TERM");
    life.wait().expect(0);

    let cases = cases(&whole.path("state"), &mut rng);
    let (mut right, mut refused) = (0, 0);
    for (number, (file, damage)) in cases.iter().take(rounds(40) as usize).enumerate() {
        let context = format!("case {number}, {damage:?} of {}", file.display());
        let job = Job::new(&folder.path().join("damaged"), &topology());
        copy(&whole.path("state"), &job.path("state"));
        copy(&whole.path("out"), &job.path("out"));
        damage.inflict(&job.path("state").join(file));
        let out = listing(&job.path("out"));
        let ended = job.run(&["--set", "sources.numbers.rate=1000000000/s"]);
        assert!(!ended.stderr.contains("panicked at"), "{context}:\n{}", ended.stderr);
        assert!(!ended.stderr.contains("stack backtrace"), "{context}:\n{}", ended.stderr);
        match ended.code {
            Some(0) => {
                assert_complete(&job, &context);
                right += 1;
            }
            Some(3) => {
                assert_named(&ended, &job.path("state"), &context);
                assert_eq!(listing(&job.path("out")), out, "{context}: a refusal touches no output");
                refused += 1;
            }
            _ => panic!("{context}: {:?}\n{}", ended.code, ended.stderr),
        }
        fs::remove_dir_all(job.path("")).unwrap();
    }
    println!(
        "{} of {} damages: {right} with the right output, {refused} refused by name",
        right + refused,
        cases.len()
    );
    assert!(right > 0 && refused > 0, "{right} right, {refused} refused: too few kinds of damage");
}
