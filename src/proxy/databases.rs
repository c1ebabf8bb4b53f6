//! Which databases hold documents in versions, by patterns of their names.

use regex::Regex;

use crate::upstream::account::DATABASE;

/// Glob patterns: `*` stands for any text, `?` for one character.
#[derive(Clone, Debug, Default)]
pub struct Databases(Option<Regex>);

/// The patterns are too long.
#[derive(Debug, thiserror::Error)]
#[error("the patterns of database names are too long: {0}")]
pub struct InvalidPattern(#[source] regex::Error);

impl Databases {
    /// Those that match any of the patterns.
    pub fn new(patterns: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, InvalidPattern> {
        let patterns: Vec<String> = patterns
            .into_iter()
            .map(|pattern| regex::escape(pattern.as_ref()).replace(r"\*", ".*").replace(r"\?", "."))
            .collect();
        if patterns.is_empty() {
            return Ok(Self(None));
        }
        Regex::new(&format!("^(?s:{})$", patterns.join("|")))
            .map(|regex| Self(Some(regex)))
            .map_err(InvalidPattern)
    }

    /// Whether this one is among them. CouchDB's own never are: those of a server, and `any/_users`, `any/_replicator`
    /// (`couch_db:is_system_db_name`); nor is the proxies' own.
    pub fn contains(&self, db: &str) -> bool {
        let is_system =
            db.starts_with('_') || db.ends_with("/_users") || db.ends_with("/_replicator") || db == DATABASE;
        !db.is_empty() && !is_system && self.0.as_ref().is_some_and(|regex| regex.is_match(db))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_whole_names() {
        let databases = Databases::new(["todo-*", "user/?", "a.b"]).unwrap();
        for name in ["todo-", "todo-x/y", "user/1", "a.b"] {
            assert!(databases.contains(name), "{name}");
        }
        for name in ["todo", "xtodo-1", "user/12", "axb", "a.bc", ""] {
            assert!(!databases.contains(name), "{name}");
        }
        assert!(!Databases::default().contains("todo"));
        let all = Databases::new(["*"]).unwrap();
        assert!(all.contains("anything"));
        for name in ["", "_users", "mine/_users", "mine/_replicator", "chesterfield"] {
            assert!(!all.contains(name), "{name}");
        }
    }
}
