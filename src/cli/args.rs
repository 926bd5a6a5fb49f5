//! What can be written on the command line. The comments here are the help.

mod faults;
mod serve;
mod top;

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::cli::deadletters::is_letter;
use crate::cli::logs::{Log, LogFormat};
use crate::config::Overrides;
use crate::error::{Error, Result};
use crate::topology::{Format, Plan, Registry, load};

pub(super) use faults::{ChaosArgs, SimArgs};
pub(super) use serve::ServeArgs;
pub(super) use top::TopArgs;

/// The topology file that is meant when none is named.
pub(super) const DEFAULT_JOB: &str = "config.toml";

/// Runs stream-processing jobs that lose nothing and repeat nothing, whatever crashes.
#[derive(Debug, Parser)]
#[command(
    version,
    disable_help_subcommand = true,
    after_help = "Example:\n  piton run job.toml        run a job; a second run continues where the first one ended"
)]
pub(super) struct Cli {
    /// How lines on stderr are written, instead of as PITON_LOG_FORMAT says [default: text]
    #[arg(long, global = true, value_enum, hide_possible_values = true, value_name = "text|json")]
    pub(super) log_format: Option<LogFormat>,
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Runs a job, from its latest committed window on
    Run(RunArgs),
    /// Runs many jobs in one process, each for itself: those of a folder, of files, and those submitted over HTTP
    Serve(ServeArgs),
    /// Simulates a job under faults: crashes, power cuts, panics and more, all from a seed
    Sim(SimArgs),
    /// Shows everything that is wrong with a topology file; starts nothing and creates nothing
    Check(CheckArgs),
    /// Shows the plan of a job, and what is guaranteed from each source to each sink
    Explain(ExplainArgs),
    /// Lists the types a topology file can name, or the options of one
    List(ListArgs),
    /// Makes a project with an operator of its own, a job, and a test that crashes it
    New(NewArgs),
    /// Writes completions for a shell to stdout
    Completions(CompletionsArgs),
    /// Writes a manual page for each command into a folder
    Man(ManArgs),
    /// Shows what the state directory of a job holds, without running it
    #[command(subcommand, after_help = "Example:\n  piton checkpoints list job.toml")]
    Checkpoints(CheckpointsCommand),
    /// Shows the records that were set aside as poison (`recovery.on_poison = "dead-letter"`), without running the job
    #[command(subcommand, after_help = "Example:\n  piton deadletters list job.toml")]
    Deadletters(DeadLettersCommand),
    /// Makes, lists and drops savepoints: checkpoints with a name, kept until they are dropped
    #[command(subcommand, after_help = "Example:\n  piton savepoint create job.toml before-upgrade")]
    Savepoint(SavepointCommand),
    /// Stops a running job with a last checkpoint
    Stop(StopArgs),
    /// Shows what a running job does, again each second: its rates, its operators, its checkpoints
    Top(TopArgs),
    /// Breaks a real run of a job on purpose, and compares it with one without faults
    Chaos(ChaosArgs),
    /// Shows what operators remember, as a checkpoint holds it, without running the job
    #[command(subcommand, after_help = "Example:\n  piton state export job.toml counts")]
    State(StateCommand),
}

impl Command {
    /// Returns whether jobs run in this very process, and not for a trial.
    pub(super) fn runs_jobs(&self) -> bool {
        matches!(self, Command::Run(RunArgs { supervise: false, .. }) | Command::Serve(_))
    }

    /// Returns what is logged if nobody says: a simulation is full of what would worry anybody.
    pub(super) fn log(&self) -> Log {
        match self {
            Command::Sim(args) if !args.verbose => Log::Nothing,
            _ => Log::Usual,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  piton new my-job && cd my-job && cargo test")]
pub(super) struct NewArgs {
    /// Its folder, which must be new or empty
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  piton completions bash > ~/.local/share/bash-completion/completions/piton")]
pub(super) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum)]
    pub(super) shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  piton man ~/.local/share/man/man1 && man piton-run")]
pub(super) struct ManArgs {
    /// The folder; made if it is not there
    #[arg(value_name = "DIR")]
    pub(super) dir: PathBuf,
}

/// Which job, and what is set over its file.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
    /// The topology file [default: config.toml in the current folder]
    #[arg(value_name = "JOB.toml")]
    pub(super) job: Option<PathBuf>,
    #[command(flatten)]
    pub(super) over: OverrideArgs,
}

/// What is set over a topology file.
#[derive(Clone, Debug, Args)]
pub(super) struct OverrideArgs {
    /// Sets an option over the file, as in checkpoint.interval=200ms; may be repeated
    #[arg(long, value_name = "OPTION=VALUE")]
    pub(super) set: Vec<String>,
    /// The state directory, instead of the one that the file names
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  piton run job.toml\n  piton run job.toml --set checkpoint.interval=200ms --events events.ndjson\n  \
                  piton run job.toml --resume none --discard-state --discard-output     begin anew"
)]
pub(super) struct RunArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// From where to start: "latest", "none", the number of a window or the name of a savepoint [default: recovery.resume]
    #[arg(long, value_name = "latest|none|ID")]
    pub(super) resume: Option<String>,
    /// Starts the job again whenever its process is killed or aborted
    #[arg(long)]
    pub(super) supervise: bool,
    /// Drops the state of operators that are gone from the topology
    #[arg(long)]
    pub(super) allow_unmapped: bool,
    /// With --resume none: removes the checkpoints that the state directory holds
    #[arg(long)]
    pub(super) discard_state: bool,
    /// With --resume none or an ID: removes the files that earlier runs of the job have written
    #[arg(long)]
    pub(super) discard_output: bool,
    /// Starts from an older checkpoint if the newest is damaged; rows after it may be written again
    #[arg(long)]
    pub(super) allow_rollback: bool,
    /// Appends what happens to a file, one JSON object on each line ("-" for stdout)
    #[arg(long, value_name = "FILE|-")]
    pub(super) events: Option<PathBuf>,
    /// Keeps a file with the metrics of the job, as Prometheus reads them; written anew every second
    #[arg(long, value_name = "FILE")]
    pub(super) metrics: Option<PathBuf>,
    /// Answers HTTP with a page, an API and the metrics, over what http.listen says; "8080" is loopback, "0" any free port
    #[arg(long, value_name = "ADDR")]
    pub(super) http: Option<String>,
}

impl RunArgs {
    /// Plans the job.
    pub(super) fn plan(&self, registry: &Registry) -> Result<Plan> {
        let mut over = self.job.over.clone();
        over.set.extend(self.http.iter().map(|address| format!("http.listen={}", toml::Value::from(address.as_str()))));
        over.plan(self.job.file(), registry)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  piton check job.toml")]
pub(super) struct CheckArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "Example:\n  piton explain job.toml --format dot | dot -Tsvg > job.svg")]
pub(super) struct ExplainArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// How the plan is written
    #[arg(long, value_enum, default_value_t = FormatArg::Text)]
    pub(super) format: FormatArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum FormatArg {
    /// For reading
    Text,
    /// For Graphviz
    Dot,
    /// For Markdown
    Mermaid,
}

impl From<FormatArg> for Format {
    fn from(format: FormatArg) -> Format {
        match format {
            FormatArg::Text => Format::Text,
            FormatArg::Dot => Format::Dot,
            FormatArg::Mermaid => Format::Mermaid,
        }
    }
}

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  piton list\n  piton list csv")]
pub(super) struct ListArgs {
    /// The type whose options are shown
    #[arg(value_name = "TYPE")]
    pub(super) type_name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum CheckpointsCommand {
    /// Lists the checkpoints that are kept
    #[command(after_help = "Example:\n  piton checkpoints list job.toml")]
    List(CheckpointsArgs),
    /// Shows what is in a checkpoint; the latest of each region unless windows are named
    #[command(after_help = "Example:\n  piton checkpoints show job.toml 42")]
    Show(CheckpointsArgs),
    /// Shows what lies between two checkpoints; savepoints go by their names
    #[command(after_help = "Example:\n  piton checkpoints diff job.toml 42 latest")]
    Diff(CheckpointsArgs),
    /// Reads checkpoints completely and names what is damaged; all of them unless windows are named
    #[command(after_help = "Example:\n  piton checkpoints verify job.toml")]
    Verify(CheckpointsArgs),
}

#[derive(Debug, Args)]
pub(super) struct CheckpointsArgs {
    /// The topology file [default: config.toml in the current folder], then windows by their numbers, or "latest"
    // The brackets in the middle make the usage say `[JOB.toml] [ID]...`; clap itself cannot tell the two apart.
    #[arg(value_name = "JOB.toml] [ID")]
    targets: Vec<String>,
    #[command(flatten)]
    over: OverrideArgs,
}

#[derive(Debug, Subcommand)]
pub(super) enum SavepointCommand {
    /// Makes a savepoint of a running job, which goes on
    #[command(after_help = "Example:\n  piton savepoint create job.toml before-upgrade")]
    Create(SavepointArgs),
    /// Lists the savepoints of a job, whether it runs or not
    #[command(after_help = "Example:\n  piton savepoint list job.toml")]
    List(SavepointArgs),
    /// Removes a savepoint, whether the job runs or not
    #[command(after_help = "Example:\n  piton savepoint drop job.toml before-upgrade")]
    Drop(SavepointArgs),
}

#[derive(Debug, Args)]
pub(super) struct SavepointArgs {
    /// The topology file [default: config.toml in the current folder], then the name of the savepoint
    #[arg(value_name = "JOB.toml] [NAME", num_args = 0..=2)]
    targets: Vec<String>,
    #[command(flatten)]
    over: OverrideArgs,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  piton stop job.toml\n  piton stop job.toml --savepoint before-upgrade\n  piton stop job.toml --drain"
)]
pub(super) struct StopArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// Keeps the last checkpoint as a savepoint of this name
    #[arg(long, value_name = "NAME")]
    pub(super) savepoint: Option<String>,
    /// Ends the input first, where the sources are: event time runs to its end, and the job has finished
    #[arg(long)]
    pub(super) drain: bool,
    /// Stops at once, without a last checkpoint; `checkpoint.on_cancel` says what becomes of the others
    #[arg(long, conflicts_with_all = ["savepoint", "drain"])]
    pub(super) cancel: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum StateCommand {
    /// Lists what is kept under which names
    #[command(after_help = "Example:\n  piton state list job.toml")]
    List(StateArgs),
    /// Shows everything that an operator keeps for one key
    #[command(after_help = "Example:\n  piton state get job.toml counts tea")]
    Get(StateArgs),
    /// Writes all keyed state as JSON lines, of one operator or of all
    #[command(after_help = "Example:\n  piton state export job.toml counts --at before-upgrade")]
    Export(StateArgs),
}

#[derive(Debug, Args)]
pub(super) struct StateArgs {
    /// The topology file [default: config.toml in the current folder], then an operator, then a key
    #[arg(value_name = "JOB.toml] [OPERATOR] [KEY", num_args = 0..=3)]
    targets: Vec<String>,
    /// Which checkpoint: the number of its window, the name of a savepoint, or "latest"
    #[arg(long, value_name = "ID", default_value = "latest")]
    at: String,
    #[command(flatten)]
    over: OverrideArgs,
}

impl SavepointArgs {
    /// Plans the job.
    pub(super) fn plan(&self, registry: &Registry) -> Result<Plan> {
        self.over.plan(Path::new(split_file(&self.targets).0), registry)
    }

    /// Returns the name of the savepoint.
    pub(super) fn name(&self) -> Option<&str> {
        split_file(&self.targets).1.first().map(String::as_str)
    }
}

impl StateArgs {
    /// Plans the job.
    pub(super) fn plan(&self, registry: &Registry) -> Result<Plan> {
        self.over.plan(Path::new(split_file(&self.targets).0), registry)
    }

    /// Returns what stands behind the topology file.
    pub(super) fn names(&self) -> &[String] {
        split_file(&self.targets).1
    }

    /// Returns which checkpoint is asked for.
    pub(super) fn at(&self) -> &str {
        &self.at
    }
}

/// Splits the topology file off. Names of operators and savepoints have neither dots nor slashes.
fn split_file(targets: &[String]) -> (&str, &[String]) {
    match targets.split_first() {
        Some((first, rest)) if first.contains(['.', '/']) || Path::new(first).is_file() => (first, rest),
        _ => (DEFAULT_JOB, targets),
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum DeadLettersCommand {
    /// Lists the records that were set aside, and why
    #[command(after_help = "Example:\n  piton deadletters list job.toml")]
    List(JobArgs),
    /// Shows all there is to know of a record that was set aside
    #[command(
        after_help = "Examples:\n  piton deadletters show job.toml 7\n  piton deadletters show job.toml counts/0/7"
    )]
    Show(ShowLettersArgs),
    /// Writes all records that were set aside to stdout
    #[command(after_help = "Example:\n  piton deadletters export job.toml > letters.ndjson")]
    Export(ExportLettersArgs),
}

#[derive(Debug, Args)]
pub(super) struct ShowLettersArgs {
    /// The topology file [default: config.toml in the current folder], then letters, each by its number or as
    /// OPERATOR/SUBTASK/NUMBER
    // As for `CheckpointsArgs`.
    #[arg(value_name = "JOB.toml] [LETTER")]
    targets: Vec<String>,
    #[command(flatten)]
    over: OverrideArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExportLettersArgs {
    #[command(flatten)]
    pub(super) job: JobArgs,
    /// How they are written
    #[arg(long, value_enum, default_value_t = LettersFormatArg::Ndjson)]
    pub(super) format: LettersFormatArg,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LettersFormatArg {
    /// One JSON object on each line
    Ndjson,
}

impl ShowLettersArgs {
    /// Plans the job.
    pub(super) fn plan(&self, registry: &Registry) -> Result<Plan> {
        self.over.plan(Path::new(self.split().0.unwrap_or(DEFAULT_JOB)), registry)
    }

    /// Returns what stands behind the topology file.
    pub(super) fn ids(&self) -> &[String] {
        self.split().1
    }

    fn split(&self) -> (Option<&str>, &[String]) {
        match self.targets.split_first() {
            Some((first, rest)) if !is_letter(first) => (Some(first), rest),
            _ => (None, &self.targets),
        }
    }
}

impl JobArgs {
    /// Returns the topology file.
    pub(super) fn file(&self) -> &Path {
        self.job.as_deref().unwrap_or(Path::new(DEFAULT_JOB))
    }

    /// Plans the job.
    pub(super) fn plan(&self, registry: &Registry) -> Result<Plan> {
        self.over.plan(self.file(), registry)
    }
}

impl OverrideArgs {
    pub(super) fn plan(&self, file: &Path, registry: &Registry) -> Result<Plan> {
        // A variable that is not Unicode cannot be meant for us.
        let environment =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let overrides = Overrides { environment: environment.collect(), set: self.set.clone() };
        let mut plan = load(file, &overrides, registry)?;
        if let Some(state) = &self.state {
            // Unlike a path in the file, one on the command line starts from the current folder.
            plan.settings.store.path = std::path::absolute(state).map_err(|error| {
                Error::config(format!("cannot tell where the state directory \"{}\" is: {error}", state.display()))
            })?;
        }
        Ok(plan)
    }
}

impl CheckpointsArgs {
    /// Plans the job.
    pub(super) fn plan(&self, registry: &Registry) -> Result<Plan> {
        let file = self.split().0.unwrap_or(DEFAULT_JOB);
        self.over.plan(Path::new(file), registry)
    }

    /// Returns what stands behind the topology file.
    pub(super) fn ids(&self) -> &[String] {
        self.split().1
    }

    fn split(&self) -> (Option<&str>, &[String]) {
        match self.targets.split_first() {
            Some((first, _)) if is_id(first) => (None, &self.targets),
            Some((first, rest)) => (Some(first), rest),
            None => (None, &[]),
        }
    }
}

fn is_id(target: &str) -> bool {
    let is_number = !target.is_empty() && target.bytes().all(|byte| byte.is_ascii_digit());
    is_number || target == "latest"
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_file_may_be_left_out_before_windows() {
        let split = |targets: &[&str]| {
            let targets = targets.iter().map(ToString::to_string).collect();
            let args = CheckpointsArgs { targets, over: OverrideArgs { set: Vec::new(), state: None } };
            let (file, ids) = args.split();
            (file.map(str::to_string), ids.to_vec())
        };
        assert_eq!(split(&[]), (None, vec![]));
        assert_eq!(split(&["12", "13"]), (None, vec!["12".to_string(), "13".to_string()]));
        assert_eq!(split(&["latest"]), (None, vec!["latest".to_string()]));
        assert_eq!(split(&["job.toml", "12"]), (Some("job.toml".to_string()), vec!["12".to_string()]));
    }
}
