//! What can be set, and what holds if it is not. The comments here are the manual.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::config::chaos::ChaosSettings;
use crate::config::checkpoint::CheckpointSettings;
use crate::config::recovery::RecoverySettings;
use crate::config::units::Duration;

/// Everything in a topology file but the topology.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The job as a whole.
    pub job: JobSettings,
    /// The streaming windows that the stream is cut into.
    pub window: WindowSettings,
    /// When and how state is made durable.
    pub checkpoint: CheckpointSettings,
    /// What happens after a failure.
    pub recovery: RecoverySettings,
    /// The queues between subtasks.
    pub mailbox: MailboxSettings,
    /// Where checkpoints are kept.
    pub store: StoreSettings,
    /// The web page, the metrics and the API.
    pub http: HttpSettings,
    /// What `piton chaos` and `piton sim` may do.
    pub chaos: ChaosSettings,
}

impl Settings {
    /// Returns how often a window is closed: the smaller of `window.interval` and `checkpoint.interval`, since a
    /// checkpoint closes a window.
    pub fn window_interval(&self) -> Duration {
        self.window.interval.min(self.checkpoint.interval)
    }

    /// Returns how many windows there are from one checkpoint to the next, at least one.
    pub fn windows_per_checkpoint(&self) -> u64 {
        self.checkpoint.interval.millis().div_ceil(self.window_interval().millis().max(1)).max(1)
    }

    /// Returns how often a checkpoint is taken: `checkpoint.interval`, rounded up to a multiple of the window's.
    pub fn checkpoint_interval(&self) -> Duration {
        Duration::from_millis(self.window_interval().millis() * self.windows_per_checkpoint())
    }
}

/// `[job]`: the job as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JobSettings {
    /// The name of the job. Default: the name of the file without `.toml`.
    pub name: String,
    /// How many subtasks a source or an operator has that does not say otherwise.
    pub parallelism: u32,
    /// Into how many groups keys are divided: the unit in which keyed state is spread over subtasks, and so the most
    /// subtasks that a keyed operator can ever have. Fixed at the first start.
    pub key_groups: u32,
    /// Whether operators that follow each other one to one, also on ways that part and come together again, share an actor
    /// (`"auto"`) or none does (`"off"`).
    pub chaining: Chaining,
    /// What everything random in an operator comes from.
    pub seed: u64,
}

impl Default for JobSettings {
    fn default() -> Self {
        JobSettings {
            name: String::new(),
            parallelism: 1,
            key_groups: piton_actors::DEFAULT_KEY_GROUPS,
            chaining: Chaining::Auto,
            seed: 0,
        }
    }
}

/// Whether operators may share an actor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chaining {
    /// If they follow each other one to one, on one way or on several that come together again.
    #[default]
    Auto,
    /// Never: each has its own.
    Off,
}

/// `[window]`: the streaming windows, numbered slices of the stream. Not to be confused with time windows, which are
/// options of operators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowSettings {
    /// How often a window is closed. `checkpoint.interval` is used instead if that is shorter.
    pub interval: Duration,
}

impl Default for WindowSettings {
    fn default() -> Self {
        WindowSettings { interval: Duration::from_millis(100) }
    }
}

/// `[mailbox]`: the queues between subtasks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MailboxSettings {
    /// How many batches wait in a queue before its sender has to.
    pub capacity: usize,
    /// How many rows a batch has at most. Fewer travel when a source is idle, and at the end of a window.
    pub batch: usize,
}

impl Default for MailboxSettings {
    fn default() -> Self {
        MailboxSettings { capacity: 32, batch: 1024 }
    }
}

/// `[store]`: where checkpoints are kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// The folder of the job's checkpoints. Default: `.piton/NAME` beside the file. The folder of a stopped job may be
    /// copied or moved, together with the folders of its sinks.
    pub path: PathBuf,
}

/// `[http]`: the web page, the metrics and the API.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Where to listen: `"8080"` (loopback), `"127.0.0.1:8080"`, `"0.0.0.0:8080"`. Default: nowhere.
    pub listen: Option<Listen>,
    /// What requests have to show. Needed to listen anywhere but on loopback.
    pub token: Option<String>,
    /// The certificate that the server shows, and its key. Without it there is no TLS.
    pub tls: Option<TlsSettings>,
}

/// `[http.tls]`: TLS 1.2 and 1.3 for the page, the metrics and the API; nothing is answered without it then. Both files are
/// read at the start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// A file with the certificate in PEM, and behind it those it rests on, but for the root.
    pub certificate: PathBuf,
    /// A file with the private key in PEM: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
}

/// An address to listen on; loopback unless it names a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        let port = text.strip_prefix("localhost:").or(text.strip_prefix(':')).unwrap_or(text);
        if let Ok(port) = port.parse() {
            return Ok(Listen(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        text.parse()
            .map(Listen)
            .map_err(|_| format!("`{text}` is not an address to listen on; write \"8080\" or \"127.0.0.1:8080\""))
    }
}

impl TryFrom<String> for Listen {
    type Error = String;

    fn try_from(text: String) -> Result<Listen, String> {
        text.parse()
    }
}

impl From<Listen> for String {
    fn from(listen: Listen) -> String {
        listen.0.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn intervals(window: u64, checkpoint: u64) -> (u64, u64) {
        let mut settings = Settings::default();
        settings.window.interval = Duration::from_millis(window);
        settings.checkpoint.interval = Duration::from_millis(checkpoint);
        (settings.window_interval().millis(), settings.checkpoint_interval().millis())
    }

    #[test]
    fn the_checkpoint_interval_is_a_multiple_of_the_window() {
        assert_eq!(intervals(100, 1000), (100, 1000));
        assert_eq!(intervals(100, 250), (100, 300));
        assert_eq!(intervals(1000, 200), (200, 200));
        assert_eq!(intervals(300, 1000), (300, 1200));
    }

    #[test]
    fn defaults_survive_a_round_trip_through_toml() {
        let settings = Settings::default();
        let text = toml::to_string(&settings).unwrap();
        assert_eq!(toml::from_str::<Settings>(&text).unwrap(), settings);
    }

    #[test]
    fn loopback_is_where_one_listens_unless_told_otherwise() {
        let listen = |text: &str| text.parse::<Listen>().unwrap().0.to_string();
        assert_eq!(listen("8080"), "127.0.0.1:8080");
        assert_eq!(listen(":8080"), "127.0.0.1:8080");
        assert_eq!(listen("localhost:0"), "127.0.0.1:0");
        assert_eq!(listen("0.0.0.0:8080"), "0.0.0.0:8080");
        assert!("here".parse::<Listen>().is_err());
    }
}
