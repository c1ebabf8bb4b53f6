//! The configuration file as it is written: every key, none required, texts not yet understood.

use std::{fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

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
    pub(super) timeouts: Option<TimeoutsFile>,
    pub(super) log: Option<LogFile>,
    pub(super) metrics: Option<String>,
    pub(super) cors: Option<CorsFile>,
}

/// How clients say which version of which app they are.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AppVersionFile {
    pub(super) header: Option<String>,
    pub(super) undeclared: Option<UndeclaredFile>,
    pub(super) retired: Option<RetiredFile>,
}

/// What becomes of clients that declare nothing: the same everywhere, or by database, in the order of the file.
#[derive(Debug)]
pub(super) enum UndeclaredFile {
    Everywhere(String),
    ByDatabase(Vec<(String, String)>),
}

impl<'de> Deserialize<'de> for UndeclaredFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = UndeclaredFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or texts by database")
            }

            fn visit_str<E>(self, text: &str) -> Result<UndeclaredFile, E> {
                Ok(UndeclaredFile::Everywhere(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UndeclaredFile, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(UndeclaredFile::ByDatabase(entries))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What becomes of versions past their end.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct RetiredFile {
    pub(super) status: Option<u16>,
    pub(super) writes: Option<String>,
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

/// What web apps of other origins may do.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct CorsFile {
    pub(super) origins: Option<Vec<String>>,
    pub(super) credentials: Option<bool>,
    pub(super) headers: Option<Vec<String>>,
}
