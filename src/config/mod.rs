//! Configuration: settings as data, read from layers, with every mistake named at once.
//!
//! A value comes from the defaults, the topology file, the environment and the command line, each over the one
//! before. Nothing here acts on a setting; what belongs to the topology itself is left to the module of that name.

mod chaos;
mod check;
mod checkpoint;
mod document;
mod layers;
mod problem;
mod reader;
mod recovery;
mod settings;
mod units;
mod variables;

pub use chaos::{ChaosAction, ChaosExpectation, ChaosPoint, ChaosSettings, ChaosWeights, Compare, Nth};
pub use checkpoint::{Alignment, CheckpointSettings, Mode, OnCancel};
pub use layers::Overrides;
pub use recovery::{OnPoison, RecoverySettings, RestartStrategy, Resume, Scope, Strategy};
pub use settings::{
    Chaining, HttpSettings, JobSettings, Listen, MailboxSettings, Settings, StoreSettings, TlsSettings, WindowSettings,
};
pub use units::{Bytes, Duration, Limit, Rate};

pub(crate) use document::join;
pub(crate) use layers::Layered;
pub(crate) use problem::{DidYouMean, Place, Problem, Problems, Severity, nearest};
pub(crate) use reader::{Mistake, note, read, remove, remove_exactly, replace};

use std::path::Path;

use toml::Table;

/// Reads the settings out of the tables that are not part of the topology, and checks them.
pub(crate) fn read_settings(
    layered: &Layered<'_>,
    mut tables: Table,
    path: &Path,
    problems: &mut Problems,
) -> Settings {
    let points = chaos::take_points(layered, &mut tables, problems);
    let mut settings: Settings = read(layered, tables, "", problems);
    settings.chaos.at = points.unwrap_or(settings.chaos.at);
    if settings.job.name.is_empty() {
        settings.job.name = check::default_name(path);
    }
    check::check(&settings, layered, problems);
    settings
}
