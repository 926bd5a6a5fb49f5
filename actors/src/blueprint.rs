//! How a kind of operator, source or sink (a `type` of the topology file) is described and made.
//!
//! A kind is asked once, when the plan is made: it reads its options, looks at what its inputs carry, and answers
//! with a blueprint: what it emits, and how to make instances. A mistake is answered with [`Fault`]s that name the
//! option, so that the engine can point at the line.

use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::batch::Batch;
use crate::host::{AnyOperator, AnySink, AnySource, Factory, Hooks, Hosted, HostedSink, HostedSource};
use crate::ids::Subtask;
use crate::operator::{Delivery, Operator, Sink, Source};
use crate::record::{Inputs, RecordType};
use crate::side::SideOutputDeclared;
use crate::state::Declared;
use crate::{Error, Key, Result, feed::Feed};

/// The options of one table of the topology file, without those the engine itself reads.
pub type Options<'a> = dyn erased_serde::Deserializer<'a> + 'a;

/// Something wrong with the options or the inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which option: `where`, `columns[1]`, `window.sliding`; empty for the table as a whole.
    pub option: String,
    /// What is wrong and what to do, lower case, without a full stop.
    pub message: String,
}

impl Fault {
    /// Makes a fault of one option.
    pub fn new(option: impl Into<String>, message: impl Into<String>) -> Fault {
        Fault { option: option.into(), message: message.into() }
    }
}

/// Where in which topology a blueprint is to stand.
#[derive(Clone, Debug)]
pub struct Site {
    /// The name of the job.
    pub job: String,
    /// The name of the operator, source or sink.
    pub name: String,
    /// The folder that relative paths start from.
    pub folder: PathBuf,
    /// How many instances there will be.
    pub parallelism: u32,
}

/// One option of a kind, for `piton list` and for the reference.
#[derive(Clone, Debug)]
pub struct OptionDoc {
    /// Its name.
    pub name: &'static str,
    /// Its default as it would stand in the file; nothing if it must be given.
    pub default: Option<&'static str>,
    /// One sentence.
    pub doc: &'static str,
}

/// What `piton list` says of a kind.
#[derive(Clone, Debug, Default)]
pub struct KindDoc {
    /// One sentence.
    pub doc: &'static str,
    /// Its options.
    pub options: Vec<OptionDoc>,
}

/// A planned source.
#[derive(Clone)]
pub struct SourceBlueprint {
    /// What it emits.
    pub output: RecordType,
    /// Whether it can go back to an earlier position.
    pub replayable: bool,
    /// Whether it is known never to end by itself.
    pub endless: bool,
    /// Whether its records may have event times.
    pub gives_event_time: bool,
    /// How many instances it can have at most; nothing if any number.
    pub max_parallelism: Option<u32>,
    /// Makes an instance whose batches hold up to so many rows.
    pub make: Arc<dyn Fn(usize) -> Result<Box<dyn AnySource>> + Send + Sync>,
    /// Shares positions out among another number of subtasks.
    pub redistribute: Redistribute,
}

/// Shares the encoded positions of all subtasks of a source out among another number of them; see
/// [`Source::redistribute`].
pub type Redistribute = Arc<dyn Fn(&[Option<Vec<u8>>], u32) -> Result<Vec<Option<Vec<u8>>>> + Send + Sync>;

/// Returns how a type of source shares its positions out.
pub fn redistribute_by<S: Source>() -> Redistribute {
    Arc::new(|positions, parallelism| {
        let mut decoded = Vec::with_capacity(positions.len());
        for position in positions {
            let position = position.as_deref().map(rmp_serde::from_slice::<S::Position>).transpose();
            decoded.push(position.map_err(|error| Error::invalid(format!("a position cannot be read: {error}")))?);
        }
        let shares = S::redistribute(decoded, parallelism)?;
        if shares.len() != parallelism as usize {
            return Err(Error::invalid(format!("it has made {} shares for {parallelism} subtasks", shares.len())));
        }
        let encode = |share: &Option<S::Position>| Ok(share.as_ref().map(rmp_serde::to_vec_named).transpose()?);
        shares.iter().map(encode).collect()
    })
}

/// Decodes a batch that was under way to an input port; see [`Inputs::unpack`].
pub type Unpack = fn(usize, &[u8]) -> Result<Batch>;

/// A planned operator.
#[derive(Clone)]
pub struct OperatorBlueprint {
    /// What it emits.
    pub output: RecordType,
    /// What it emits beside that.
    pub side_outputs: Vec<SideOutputDeclared>,
    /// Whether records are partitioned by a key on their way to it.
    pub keyed: bool,
    /// The input ports whose records all go to every subtask.
    pub broadcast: &'static [usize],
    /// What its state was made for, in words, if that follows from more than its type: state is refused by an operator
    /// that says something else.
    pub state: Option<String>,
    /// What state it keeps, as far as it declares it.
    pub states: Vec<Declared>,
    /// If not every row that it emits follows from its input alone, as those of running values do not, which also depend
    /// on how rows were cut into batches: the columns for each value of which the last row does. Whoever compares two runs
    /// compares that row, then.
    pub latest_by: Option<Vec<String>>,
    /// The columns that it passes on unchanged, with their names before and behind it, if it makes exactly one row of
    /// each; nothing if it does otherwise.
    pub passes: Option<Vec<(String, String)>>,
    /// What becomes of its rows if records come to it again, as they may with at-least-once.
    pub again: Again,
    /// By what its rows vary although what it reads does not. Whoever compares two runs does not compare those.
    pub varies: Varies,
    /// The option because of which it waits for event time to pass, if it does: without any it gets nowhere.
    pub waits_for_event_time: Option<&'static str>,
    /// Whether it makes requests to the outside, so that it waits for answers: it ends its chain.
    pub asks: bool,
    /// Whether what it emits may have event times although what it reads has none.
    pub gives_event_time: bool,
    /// Decodes what was under way to it.
    pub unpack: Unpack,
    /// Shows a key of its state, if that says more than the key itself.
    pub show_key: Option<ShowKey>,
    /// Shows a value of its state, if that says more than the value itself.
    pub show_state: Option<ShowState>,
    /// Makes an instance whose batches hold up to so many rows.
    pub make: MakeOperator,
}

/// What becomes of the rows of an operator if records come to it again that its state has counted already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Again {
    /// Each row is there that there would have been, and there may be more.
    Rows,
    /// A row for each value of these columns is there; what else is in it may have been counted twice.
    Keys(Vec<String>),
    /// Nothing is known: it keeps state, and does not say what becomes of that.
    Unknown,
}

/// What else than which records come to an operator decides what it emits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Varies {
    /// Nothing.
    #[default]
    No,
    /// In which order records arrive that come by different ways.
    WithArrival,
    /// When they arrive.
    WithTime,
}

/// Shows a key as JSON; nothing if it is not one of the operator's.
pub type ShowKey = Arc<dyn Fn(&Key) -> Option<String> + Send + Sync>;

/// Shows a value of state as JSON, by its name and as it is written (MessagePack); nothing if it is not one of the
/// operator's.
pub type ShowState = Arc<dyn Fn(&str, &[u8]) -> Option<String> + Send + Sync>;

/// Makes an instance of an operator whose batches hold up to so many rows.
pub type MakeOperator = Arc<dyn Fn(Subtask, usize) -> Result<Box<dyn AnyOperator>> + Send + Sync>;

/// A planned sink.
#[derive(Clone)]
pub struct SinkBlueprint {
    /// How its output becomes visible.
    pub delivery: Delivery,
    /// Whether it cannot see that a window was shown already: the last one may repeat after the process was killed.
    pub repeats: bool,
    /// The folder its files go to, if it makes files: a start from nothing refuses while files of this sink are there.
    pub folder: Option<PathBuf>,
    /// Decodes what was under way to it.
    pub unpack: Unpack,
    /// Makes an instance.
    pub make: Arc<dyn Fn() -> Result<Box<dyn AnySink>> + Send + Sync>,
}

/// A kind of source.
pub trait SourceKind: Send + Sync {
    /// Describes it.
    fn doc(&self) -> KindDoc;

    /// Reads the options and plans one.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    fn plan(&self, options: &mut Options<'_>, site: &Site) -> Result<SourceBlueprint, Vec<Fault>>;
}

/// A kind of operator.
pub trait OperatorKind: Send + Sync {
    /// Describes it.
    fn doc(&self) -> KindDoc;

    /// Reads the options, checks what the inputs carry (in the order of `inputs = […]`) and plans one.
    ///
    /// # Errors
    /// Everything that is wrong, at once. A fault of input *i* has the option `inputs[i]`.
    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>>;

    /// Returns what each input port reads, the last of them for all further inputs, too; any Arrow schema is written as
    /// none. What an input carries becomes that on its way, where that is possible: [`plan`](OperatorKind::plan) is asked
    /// with what arrives. Without ports, as here, it arrives as it is.
    fn ports(&self) -> Vec<Option<RecordType>> {
        Vec::new()
    }

    /// Returns the names of the side outputs that operators of this kind have, for `piton list`; those that a plan has are
    /// in its [`OperatorBlueprint`].
    fn side_outputs(&self) -> Vec<&'static str> {
        Vec::new()
    }

    /// Returns what is wrong with the options alone. Asked instead of [`plan`](OperatorKind::plan) when what the
    /// inputs carry is not known, because something upstream is wrong: its mistakes are then told all the same.
    fn check(&self, options: &mut Options<'_>, site: &Site) -> Vec<Fault> {
        let _ = (options, site);
        Vec::new()
    }
}

/// A kind of sink.
pub trait SinkKind: Send + Sync {
    /// Describes it.
    fn doc(&self) -> KindDoc;

    /// Reads the options, checks what the inputs carry and plans one.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    fn plan(&self, options: &mut Options<'_>, inputs: &[RecordType], site: &Site) -> Result<SinkBlueprint, Vec<Fault>>;

    /// Returns what each input reads, like [`OperatorKind::ports`].
    fn ports(&self) -> Vec<Option<RecordType>> {
        Vec::new()
    }

    /// Returns what is wrong with the options alone, like [`OperatorKind::check`].
    fn check(&self, options: &mut Options<'_>, site: &Site) -> Vec<Fault> {
        let _ = (options, site);
        Vec::new()
    }
}

/// Reads the options of a kind into its settings.
///
/// # Errors
/// One fault that names the option.
pub fn read_options<C: DeserializeOwned>(options: &mut Options<'_>) -> Result<C, Vec<Fault>> {
    serde_path_to_error::deserialize(options).map_err(|error| {
        let option = match error.path().to_string() {
            root if root == "." => String::new(),
            path => path,
        };
        vec![Fault::new(option, error.into_inner().to_string())]
    })
}

/// Checks what the inputs carry against what `I` reads.
///
/// A kind with one port takes any number of inputs of that type (a union); one with two ports takes two inputs.
///
/// # Errors
/// One fault for each input that does not fit.
pub fn check_inputs<I: Inputs>(inputs: &[RecordType]) -> Result<(), Vec<Fault>> {
    let ports = I::ports();
    if ports.len() > 1 && ports.len() != inputs.len() {
        let message = format!("takes {} inputs, not {}", ports.len(), inputs.len());
        return Err(vec![Fault::new("inputs", message)]);
    }
    let mut faults = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let Some(port) = ports.get(index).or(ports.first()) else { continue };
        let agrees = match port {
            Some(port) => input.agrees_with(port),
            None => !matches!(input, RecordType::Rows { .. }),
        };
        if !agrees {
            let wanted = port.as_ref().map_or_else(|| "Arrow batches".to_string(), ToString::to_string);
            faults.push(Fault::new(format!("inputs[{index}]"), format!("carries {input}, but {wanted} is needed")));
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// Plans what stands between the two ends of an edge, so that a reader of rows of one type, or of Arrow batches (none),
/// can read it; nothing if it can without, or if there is nothing that would help.
///
/// # Errors
/// Why what is carried cannot become what is read: which column, and of which type.
pub fn conversion(carried: &RecordType, read: Option<&RecordType>) -> Result<Option<OperatorBlueprint>, String> {
    #[cfg(feature = "sql")]
    match (carried, read) {
        (RecordType::Rows { joint, .. }, None) => return joint.to_tables().map(Some),
        (RecordType::Table(schema), Some(RecordType::Rows { joint, .. })) => return joint.to_rows(schema).map(Some),
        _ => {}
    }
    let (_, _) = (carried, read);
    Ok(None)
}

/// The kind of operator whose options are the fields of `O` itself.
pub struct OperatorOf<O> {
    doc: KindDoc,
    marker: std::marker::PhantomData<fn() -> O>,
}

impl<O> OperatorOf<O> {
    /// Makes the kind, with what `piton list` should say of it.
    pub fn new(doc: KindDoc) -> Self {
        OperatorOf { doc, marker: std::marker::PhantomData }
    }
}

impl<O: Operator + DeserializeOwned + Clone + Sync> OperatorKind for OperatorOf<O>
where
    O::Out: TypedOutput,
{
    fn doc(&self) -> KindDoc {
        self.doc.clone()
    }

    fn plan(
        &self,
        options: &mut Options<'_>,
        inputs: &[RecordType],
        _site: &Site,
    ) -> Result<OperatorBlueprint, Vec<Fault>> {
        let prototype: O = read_options(options)?;
        check_inputs::<O::In>(inputs)?;
        operator_blueprint(Arc::new(move || Ok(prototype.clone())))
    }

    fn ports(&self) -> Vec<Option<RecordType>> {
        O::In::ports()
    }

    /// Asks an operator with made-up options, if they can be made up.
    fn side_outputs(&self) -> Vec<&'static str> {
        crate::probe::side_outputs::<O>()
    }

    fn check(&self, options: &mut Options<'_>, _site: &Site) -> Vec<Fault> {
        read_options::<O>(options).err().unwrap_or_default()
    }
}

/// Plans an operator that a factory makes.
///
/// # Errors
/// If the factory cannot make one.
pub fn operator_blueprint<O: Operator>(factory: Factory<O>) -> Result<OperatorBlueprint, Vec<Fault>>
where
    O::Out: TypedOutput,
{
    let prototype = factory().map_err(|error| vec![Fault::new("", error.to_string())])?;
    let hooks = Arc::<Hooks>::default();
    let (keyed, states) = (prototype.is_keyed(), prototype.states());
    let again = if keyed || !states.is_empty() { Again::Unknown } else { Again::Rows };
    Ok(OperatorBlueprint {
        output: O::Out::record_type(),
        side_outputs: prototype.side_outputs(),
        keyed,
        broadcast: O::BROADCAST,
        state: None,
        states,
        latest_by: None,
        passes: None,
        again,
        varies: if O::BROADCAST.is_empty() { Varies::No } else { Varies::WithArrival },
        waits_for_event_time: None,
        asks: false,
        gives_event_time: true,
        show_key: None,
        show_state: None,
        unpack: O::In::unpack,
        make: Arc::new(move |subtask, rows| {
            Ok(Box::new(Hosted::new(Arc::clone(&factory), subtask, rows)?.sharing(&hooks)))
        }),
    })
}

/// An output whose type is known without looking at the options: rows, but not Arrow batches.
pub trait TypedOutput {
    /// Returns what it carries.
    fn record_type() -> RecordType;
}

impl<T: crate::Record> TypedOutput for T {
    fn record_type() -> RecordType {
        RecordType::rows::<T>()
    }
}

/// Plans a source that a factory makes.
///
/// # Errors
/// If the factory cannot make one.
pub fn source_blueprint<S: Source>(
    factory: impl Fn() -> Result<S> + Send + Sync + 'static,
) -> Result<SourceBlueprint, Vec<Fault>>
where
    S::Out: TypedOutput,
    Feed<S::Out>: Send,
{
    let replayable = factory().map_err(|error| vec![Fault::new("", error.to_string())])?.replayable();
    Ok(SourceBlueprint {
        output: S::Out::record_type(),
        replayable,
        endless: false,
        gives_event_time: true,
        max_parallelism: None,
        make: Arc::new(move |rows| Ok(Box::new(HostedSource::new(factory()?, rows)))),
        redistribute: redistribute_by::<S>(),
    })
}

/// Plans a sink that a factory makes.
///
/// # Errors
/// If the factory cannot make one.
pub fn sink_blueprint<S: Sink>(
    factory: impl Fn() -> Result<S> + Send + Sync + 'static,
) -> Result<SinkBlueprint, Vec<Fault>>
where
    <S::In as Inputs>::Batch: Send,
{
    let delivery = factory().map_err(|error| vec![Fault::new("", error.to_string())])?.delivery();
    Ok(SinkBlueprint {
        delivery,
        repeats: false,
        folder: None,
        unpack: S::In::unpack,
        make: Arc::new(move || Ok(Box::new(HostedSink(factory()?)))),
    })
}
