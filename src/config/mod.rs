//! From files, options and environment to one checked value, or to all that is wrong at once.

mod against;
mod clients;
mod compile;
mod earlier;
mod folder;
mod following;
mod manifests;
mod next;
mod problem;
mod raw;
mod read;
mod schemas;
mod validate;

use std::{net::SocketAddr, path::PathBuf};

use tracing::level_filters::LevelFilter;

use crate::{
    follower,
    parked::Pauses,
    proxy::{
        self,
        validate::{Judge, Validate},
        writes::Limits,
    },
    upstream::Upstream,
};

pub use against::{Changed, Level};
pub use earlier::{Earlier, NoEarlier};
pub use next::{NewFile, Next, NoNext};
pub use problem::{Problem, Problems};
pub use schemas::Schemas;

/// Everything that is configured, checked.
#[derive(Clone)]
pub struct Config {
    /// The file that was read; none if there is none and none was asked for.
    pub file: Option<PathBuf>,
    /// Where clients connect.
    pub listen: SocketAddr,
    /// What stands behind the proxy.
    pub upstream: UpstreamConfig,
    /// What the proxy has to know: header, databases, manifests, timeouts towards clients.
    pub proxy: proxy::Settings,
    /// The version header as it was written: for people.
    pub header: String,
    /// The database patterns as they were written.
    pub databases: Vec<String>,
    /// How long a write waits until it is carried into all versions, and how much it may take.
    pub limits: Limits,
    /// What becomes of documents that do not fit their class, in the order of the registry's classes.
    pub validate: Vec<Validate>,
    /// When entities that could not be carried whole are tried again.
    pub pauses: Pauses,
    /// How databases are followed; none if they are not.
    pub follower: Option<follower::Settings>,
    /// What is logged, and how.
    pub log: Log,
    /// Where Prometheus fetches metrics.
    pub metrics: Option<SocketAddr>,
    /// The folder of schemas.
    pub schemas_folder: PathBuf,
    /// What stands in it.
    pub schemas: Schemas,
}

/// What stands behind the proxy.
#[derive(Clone)]
pub enum UpstreamConfig {
    /// The store inside the binary, with its files in this folder.
    Embedded(PathBuf),
    /// A CouchDB.
    Http(Upstream),
}

/// What is logged, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log {
    /// Its form.
    pub format: LogFormat,
    /// The least severe level.
    pub level: LevelFilter,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What options and environment say instead of the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The file itself. Without it `config.yaml` is read if it is there.
    pub config: Option<Given<PathBuf>>,
    /// `listen`
    pub listen: Option<Given<String>>,
    /// `upstream`
    pub upstream: Option<Given<String>>,
    /// `data`
    pub data: Option<Given<PathBuf>>,
    /// `schemas`
    pub schemas: Option<Given<PathBuf>>,
}

/// A value and what gave it: `--listen` or `CHESTERFIELD_LISTEN`, named when it is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given<T> {
    /// What was given.
    pub value: T,
    /// The option or the environment variable.
    pub by: String,
}

impl Config {
    /// Reads and checks everything. Warnings are left to those who [`examine`](Self::examine).
    pub fn load(overrides: &Overrides) -> Result<Self, Problems> {
        match compile::load(overrides) {
            (Some(config), problems) if problems.errors() == 0 => Ok(config),
            (_, problems) => Err(problems),
        }
    }

    /// Reads what can be read, and tells everything that is wrong with it.
    pub fn examine(overrides: &Overrides) -> (Option<Self>, Problems) {
        compile::load(overrides)
    }

    /// Reads everything, whatever rules are broken: for those who try out what is not finished yet.
    pub fn load_as_is(overrides: &Overrides) -> Result<Self, Problems> {
        let (config, problems) = compile::load(overrides);
        config.ok_or(problems)
    }

    /// Who looks at the documents of clients; none if nobody does.
    pub fn judge(&self) -> Option<Judge> {
        Judge::new(self.schemas.registry.clone(), &self.validate)
    }
}
