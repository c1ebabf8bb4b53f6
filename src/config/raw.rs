//! The configuration file as it is written: every key, none required, texts not yet understood.

use std::{fmt, path::PathBuf};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};

use crate::schema::Scope;

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
    pub(super) scope: Option<Scope>,
    pub(super) timeouts: Option<TimeoutsFile>,
    pub(super) log: Option<LogFile>,
    pub(super) metrics: Option<String>,
    pub(super) limits: Option<LimitsFile>,
    pub(super) cors: Option<CorsFile>,
    pub(super) validate: Option<ByPattern>,
    pub(super) parked: Option<ParkedFile>,
    pub(super) follower: Option<FollowerFile>,
}

/// How clients say which version of which app they are.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct AppVersionFile {
    pub(super) header: Option<String>,
    pub(super) undeclared: Option<ByPattern>,
    pub(super) retired: Option<RetiredFile>,
}

/// A word that counts everywhere, or one for each pattern of names, in the order of the file.
#[derive(Debug)]
pub(super) enum ByPattern {
    Everywhere(String),
    Each(Vec<(String, String)>),
}

impl<'de> Deserialize<'de> for ByPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = ByPattern;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, or texts by pattern")
            }

            fn visit_str<E>(self, text: &str) -> Result<ByPattern, E> {
                Ok(ByPattern::Everywhere(text.to_owned()))
            }

            fn visit_bool<E>(self, is_on: bool) -> Result<ByPattern, E> {
                Ok(ByPattern::Everywhere(Word::from(is_on).0))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ByPattern, A::Error> {
                let mut entries = Vec::new();
                while let Some((pattern, Word(text))) = map.next_entry()? {
                    entries.push((pattern, text));
                }
                Ok(ByPattern::Each(entries))
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// A text. In YAML `off` is a way to write `false`.
struct Word(String);

impl From<bool> for Word {
    fn from(is_on: bool) -> Self {
        Self(if is_on { "on" } else { "off" }.to_owned())
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Word;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E>(self, text: &str) -> Result<Word, E> {
                Ok(Word(text.to_owned()))
            }

            fn visit_bool<E>(self, is_on: bool) -> Result<Word, E> {
                Ok(is_on.into())
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
    pub(super) body: Option<String>,
    pub(super) drain: Option<String>,
}

/// Pauses like `10m` between attempts at what is parked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ParkedFile {
    pub(super) first: Option<String>,
    pub(super) longest: Option<String>,
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

/// Sizes like `64MB`, and a number.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct LimitsFile {
    pub(super) body: Option<String>,
    pub(super) held: Option<String>,
    pub(super) headers: Option<u16>,
    pub(super) script: Option<ScriptLimitsFile>,
}

/// What one call of a script may take: a duration and a size.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct ScriptLimitsFile {
    pub(super) time: Option<String>,
    pub(super) memory: Option<String>,
}

/// Whether there is a follower, or how it is to be.
#[derive(Debug)]
pub(super) enum FollowerFile {
    Word(String),
    Options(FollowerOptions),
}

/// How databases are followed.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(super) struct FollowerOptions {
    pub(super) sweep: Option<String>,
    pub(super) pause: Option<String>,
    pub(super) databases: Option<usize>,
    pub(super) backfill_rate: Option<u32>,
    pub(super) lease: Option<String>,
}

impl<'de> Deserialize<'de> for FollowerFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = FollowerFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`on`, `off` or options")
            }

            fn visit_str<E>(self, text: &str) -> Result<FollowerFile, E> {
                Ok(FollowerFile::Word(text.to_owned()))
            }

            fn visit_bool<E>(self, is_on: bool) -> Result<FollowerFile, E> {
                Ok(FollowerFile::Word(Word::from(is_on).0))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FollowerFile, A::Error> {
                let options = FollowerOptions::deserialize(MapAccessDeserializer::new(map))?;
                Ok(FollowerFile::Options(options))
            }
        }
        deserializer.deserialize_any(Either)
    }
}
