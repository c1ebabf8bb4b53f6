//! The configuration file as it is written: every key, none required, texts not yet understood.

use std::path::PathBuf;

use serde::Deserialize;

/// `config.yaml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ConfigFile {
    pub(super) listen: Option<String>,
    pub(super) upstream: Option<String>,
    pub(super) data: Option<PathBuf>,
    pub(super) schemas: Option<PathBuf>,
    pub(super) databases: Option<Vec<String>>,
    pub(super) app_version: Option<AppVersionFile>,
    pub(super) changes: Option<String>,
    pub(super) timeouts: Option<TimeoutsFile>,
    pub(super) log: Option<LogFile>,
    pub(super) metrics: Option<String>,
}

/// How clients say which version of which app they are.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AppVersionFile {
    pub(super) header: Option<String>,
    pub(super) undeclared: Option<String>,
}

/// Durations like `10s`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct TimeoutsFile {
    pub(super) connect: Option<String>,
    pub(super) idle: Option<String>,
    pub(super) fan_out: Option<String>,
    pub(super) head: Option<String>,
    pub(super) drain: Option<String>,
}

/// What is logged, and how.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LogFile {
    pub(super) format: Option<String>,
    pub(super) level: Option<String>,
}
