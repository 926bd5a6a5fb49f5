//! The kinds that the broken files are about.

use std::sync::Arc;

use piton::Registry;
use piton_actors::blueprint::{
    Fault, KindDoc, OptionDoc, Options, Site, SourceBlueprint, SourceKind, read_options, source_blueprint,
};
use piton_actors::{
    Context, Either, Feed, InputRef, Key, Operator, Progress, Result, Rows, SideOutput, SideOutputDeclared, Sink,
    Source, Subtask, WindowId,
};
use serde::Deserialize;

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Numbers {
    limit: u64,
    #[serde(default)]
    start: Start,
}

#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    #[serde(default)]
    offset: u64,
}

impl Source for Numbers {
    type Out = u64;
    type Position = u64;

    async fn open(&mut self, _position: Option<u64>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn poll(&mut self, _feed: &mut Feed<u64>) -> Result<Progress> {
        Ok(Progress::Done)
    }

    fn position(&self) -> u64 {
        self.limit + self.start.offset
    }
}

/// A kind with options of its own, which checks more than their types.
struct Files;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FilesOptions {
    path: String,
    #[serde(default)]
    columns: Vec<String>,
    #[serde(default)]
    delimiter: Option<String>,
}

impl SourceKind for Files {
    fn doc(&self) -> KindDoc {
        let option = |name, doc| OptionDoc { name, default: None, doc };
        let options = vec![option("path", "The file."), option("columns", "What to read."), option("delimiter", "…")];
        KindDoc { doc: "Reads a file.", options }
    }

    fn plan(&self, options: &mut Options<'_>, _site: &Site) -> Result<SourceBlueprint, Vec<Fault>> {
        let options: FilesOptions = read_options(options)?;
        let mut faults = Vec::new();
        for (index, column) in options.columns.iter().enumerate() {
            if column.contains('?') {
                faults.push(Fault::new(format!("columns[{index}]"), format!("there is no column \"{column}\"")));
            }
        }
        if options.path.is_empty() {
            faults.push(Fault::new("path", "the path is empty; name a file"));
        }
        if options.delimiter.is_some_and(|delimiter| delimiter.len() != 1) {
            faults.push(Fault::new("delimiter", "a delimiter is one character"));
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut blueprint = source_blueprint(|| Ok(Numbers { limit: 0, start: Start::default() }))?;
        blueprint.max_parallelism = Some(2);
        Ok(blueprint)
    }
}

/// Its options do not refuse unknown ones: the engine does.
#[derive(Clone, Deserialize)]
struct Split {
    separator: String,
    #[serde(default = "at_most")]
    at_most: u32,
    #[serde(default)]
    stops: Vec<Stop>,
}

#[derive(Clone, Deserialize)]
struct Stop {
    word: String,
}

fn at_most() -> u32 {
    10
}

impl Operator for Split {
    type In = u64;
    type Out = String;

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, _record: &u64, ctx: &mut Context<String>) -> Result {
        for _ in 0..self.at_most {
            ctx.emit(self.stops.iter().map(|stop| stop.word.as_str()).chain([&*self.separator]).collect());
        }
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Count;

const RARE: SideOutput<String> = SideOutput::new("rare");

impl Operator for Count {
    type In = String;
    type Out = u64;

    fn side_outputs(&self) -> Vec<SideOutputDeclared> {
        vec![RARE.into()]
    }

    fn key(&self, record: &String) -> Key {
        Key::from(record)
    }

    fn is_keyed(&self) -> bool {
        true
    }

    fn process(&mut self, _record: &String, ctx: &mut Context<u64>) -> Result {
        ctx.emit(1);
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Match;

impl Operator for Match {
    type In = Either<u64, String>;
    type Out = u64;

    fn is_keyed(&self) -> bool {
        false
    }

    fn process(&mut self, _record: InputRef<'_, Self>, _ctx: &mut Context<u64>) -> Result {
        Ok(())
    }
}

#[derive(Clone, Deserialize)]
struct Print;

impl Sink for Print {
    type In = u64;
    type Pending = ();

    async fn open(&mut self, _pending: Vec<()>, _subtask: &Subtask) -> Result {
        Ok(())
    }

    async fn write(&mut self, _batch: Arc<Rows<u64>>) -> Result {
        Ok(())
    }

    async fn prepare(&mut self, _window: WindowId) -> Result<Option<()>> {
        Ok(None)
    }
}

/// Returns a registry of the kinds above.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.source::<Numbers>("numbers").add_source_kind("files", Arc::new(Files));
    registry.operator::<Split>("split").operator::<Count>("count").operator::<Match>("match");
    registry.sink::<Print>("print");
    registry
}
