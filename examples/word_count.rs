//! Counts words: two operators of one's own, the second with keyed state that survives a crash.
//!
//! ```text
//! cargo run --example word_count -- run examples/word_count.toml
//! cat out/word_count/*                   # the last line of a word has its count: "rope 4"
//! ```

use std::fmt;
use std::process::ExitCode;
use std::sync::Arc;

use piton::files::{LineSinkKind, LineSourceKind};
use piton::prelude::*;
use serde::{Deserialize, Serialize};

/// Splits lines into words.
#[derive(Clone, Deserialize)]
struct Split {}

impl Operator for Split {
    type In = String;
    type Out = String;

    fn process(&mut self, line: &String, ctx: &mut Context<String>) -> Result {
        for word in line.split(|c: char| !c.is_alphabetic()).filter(|word| !word.is_empty()) {
            ctx.emit(word.to_lowercase());
        }
        Ok(())
    }
}

/// Counts how often each word was seen.
#[derive(Clone, Deserialize)]
struct Count {}

const SEEN: ValueState<u64> = ValueState::new("seen");

impl Operator for Count {
    type In = String;
    type Out = Seen;

    fn key(&self, word: &String) -> Key {
        Key::from(word)
    }

    fn process(&mut self, word: &String, ctx: &mut Context<Seen>) -> Result {
        let times = ctx.state(SEEN).update(|times| {
            *times += 1;
            *times
        })?;
        ctx.emit(Seen { word: word.clone(), times });
        Ok(())
    }
}

/// A word, and how often it was seen so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, Record)]
struct Seen {
    word: String,
    times: u64,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.word, self.times)
    }
}

fn registry() -> piton::Registry {
    let mut registry = piton::Registry::stock();
    registry.operator::<Split>("split").operator::<Count>("count");
    registry.add_source_kind("text", Arc::new(LineSourceKind::<String>::default()));
    registry.add_sink_kind("counts", Arc::new(LineSinkKind::<Seen>::default()));
    registry
}

fn main() -> ExitCode {
    piton::cli::main(registry())
}

#[cfg(test)]
mod tests {
    use piton::harness::Harness;

    use super::*;

    #[test]
    fn the_job_survives_whatever_a_seed_can_think_of() {
        piton::sim::check("examples/word_count.toml", &registry(), 200);
    }

    #[test]
    fn a_count_survives_a_crash() -> Result {
        let seen = Harness::new(|| Count {})
            .push("rope".into())?
            .checkpoint()?
            .push("rope".into())?
            .crash()?
            .push("rope".into())?
            .output();
        let times: Vec<u64> = seen.iter().map(|seen| seen.times).collect();
        assert_eq!(times, [1, 2]);
        Ok(())
    }
}
