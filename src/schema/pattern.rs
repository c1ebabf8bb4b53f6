//! How a class names its documents: `{schema}:{key}:v:{version}` with the key as the part that all versions share.

use super::ClassName;

/// What stands in a pattern for the key.
const KEY: &str = "{key}";

/// The pattern of a class that declares none.
pub const DEFAULT: &str = "{schema}:{key}:v:{version}";

/// A document id with a place for the key, or a whole id for a class of one document (`settings`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPattern {
    prefix: String,
    /// `None`: the class has one document, `prefix`, whose key is empty.
    suffix: Option<String>,
}

/// The pattern cannot name documents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPattern {
    /// More than one `{key}`.
    #[error("`{0}` has more than one `{{key}}`")]
    ManyKeys(String),
    /// A placeholder other than `{schema}`, `{key}`, `{version}`.
    #[error("`{0}` has braces that are none of `{{schema}}`, `{{key}}`, `{{version}}`")]
    UnknownPlaceholder(String),
    /// It would name design, local or no documents.
    #[error("`{0}` names no ordinary document: an `_id` is not empty and does not start with an underscore")]
    Reserved(String),
    /// It would claim every document of a database.
    #[error("`{{key}}` alone would claim every document of a database")]
    Everything,
}

impl IdPattern {
    /// Reads a pattern, putting the class's own names in place.
    pub fn new(text: &str, class: &ClassName) -> Result<Self, InvalidPattern> {
        let filled = text
            .replace("{schema}", &class.schema)
            .replace("{version}", &class.major.to_string());
        let (prefix, suffix) = match filled.split_once(KEY) {
            Some((prefix, suffix)) => (prefix.to_owned(), Some(suffix.to_owned())),
            None => (filled, None),
        };
        let rest = suffix.as_deref().unwrap_or_default();
        if rest.contains(KEY) {
            return Err(InvalidPattern::ManyKeys(text.to_owned()));
        }
        if prefix.contains(['{', '}']) || rest.contains(['{', '}']) {
            return Err(InvalidPattern::UnknownPlaceholder(text.to_owned()));
        }
        if prefix.is_empty() && rest.is_empty() {
            return Err(if suffix.is_some() {
                InvalidPattern::Everything
            } else {
                InvalidPattern::Reserved(text.to_owned())
            });
        }
        if prefix.starts_with('_') {
            return Err(InvalidPattern::Reserved(text.to_owned()));
        }
        Ok(Self { prefix, suffix })
    }

    /// The key in `id`; none if the id is not of this pattern. The key of a class of one document is empty.
    pub fn key<'a>(&self, id: &'a str) -> Option<&'a str> {
        let rest = id.strip_prefix(&self.prefix)?;
        match &self.suffix {
            Some(suffix) => rest.strip_suffix(suffix.as_str()).filter(|key| !key.is_empty()),
            None => rest.is_empty().then_some(rest),
        }
    }

    /// The document id of `key`.
    pub fn id(&self, key: &str) -> String {
        match &self.suffix {
            Some(suffix) => [&self.prefix, key, suffix].concat(),
            None => self.prefix.clone(),
        }
    }

    /// The class has many documents, one a key.
    pub fn is_keyed(&self) -> bool {
        self.suffix.is_some()
    }

    /// Every id of this pattern is one of `other` too.
    pub fn is_within(&self, other: &Self) -> bool {
        match (&self.suffix, &other.suffix) {
            (None, _) => other.key(&self.prefix).is_some(),
            (Some(_), None) => false,
            (Some(suffix), Some(others)) => self.prefix.starts_with(&other.prefix) && suffix.ends_with(others),
        }
    }

    /// Some id is of both patterns.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (&self.suffix, &other.suffix) {
            (None, _) => other.key(&self.prefix).is_some(),
            (_, None) => self.key(&other.prefix).is_some(),
            (Some(a), Some(b)) => {
                (self.prefix.starts_with(&other.prefix) || other.prefix.starts_with(&self.prefix))
                    && (a.ends_with(b.as_str()) || b.ends_with(a.as_str()))
            }
        }
    }

    /// From the first id that may be of this pattern up to, without it, one that stands behind all of them; none if nothing
    /// does. In the order of bytes, which is that of `_all_docs`.
    pub fn range(&self) -> (String, Option<String>) {
        let end = match &self.suffix {
            Some(_) => successor(&self.prefix),
            None => Some(format!("{}\0", self.prefix)),
        };
        (self.prefix.clone(), end)
    }

    /// A regular expression without anchors for the ids of this pattern, in the common ground of PCRE (CouchDB's `$regex`) and the
    /// `regex` crate (the embedded upstream's).
    pub fn regex(&self) -> String {
        match &self.suffix {
            Some(suffix) => format!("{}.+{}", regex::escape(&self.prefix), regex::escape(suffix)),
            None => regex::escape(&self.prefix),
        }
    }
}

/// The first text behind all that begin with `prefix`.
fn successor(prefix: &str) -> Option<String> {
    let mut kept = prefix.to_owned();
    while let Some(last) = kept.pop() {
        // Surrogates, which are no characters, are stepped over.
        if let Some(next) = (last..=char::MAX).nth(1) {
            kept.push(next);
            return Some(kept);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> IdPattern {
        IdPattern::new(text, &"todo-item@2".parse().unwrap()).unwrap()
    }

    #[test]
    fn finds_the_key_and_makes_the_id() {
        let default = pattern(DEFAULT);
        assert_eq!(default.key("todo-item:abc:v:2"), Some("abc"));
        assert_eq!(default.key("todo-item:a:v:2:v:2"), Some("a:v:2"));
        assert_eq!(default.id("abc"), "todo-item:abc:v:2");
        for other in [
            "todo-item:abc:v:1",
            "todo-item:abc:v:22",
            "todo-item::v:2",
            "todo-item:v:2",
            "x",
            "",
        ] {
            assert_eq!(default.key(other), None, "{other}");
        }
    }

    #[test]
    fn a_pattern_without_a_key_names_one_document() {
        let settings = pattern("settings");
        assert_eq!(settings.key("settings"), Some(""));
        assert_eq!(settings.key("settings2"), None);
        assert_eq!(settings.id(""), "settings");
        assert!(!settings.is_keyed());
    }

    #[test]
    fn a_range_has_all_ids_of_a_pattern() {
        let range = |text: &str| pattern(text).range();
        assert_eq!(range(DEFAULT), ("todo-item:".into(), Some("todo-item;".into())));
        assert_eq!(range("settings"), ("settings".into(), Some("settings\0".into())));
        assert_eq!(range("{key}:b"), (String::new(), None));
        assert_eq!(range("a\u{d7ff}{key}").1.unwrap(), "a\u{e000}");
        assert_eq!(range("a\u{10ffff}{key}").1.unwrap(), "b");
        assert_eq!(range("\u{10ffff}{key}").1, None);
    }

    #[test]
    fn tells_what_lies_within_what() {
        let bare = pattern("todo-item:{key}");
        assert!(pattern(DEFAULT).is_within(&bare));
        assert!(!bare.is_within(&pattern(DEFAULT)));
        assert!(bare.overlaps(&pattern("{key}:b")) && !bare.is_within(&pattern("{key}:b")));
        assert!(!bare.overlaps(&pattern("settings")));
    }

    #[test]
    fn refuses_what_names_no_documents() {
        let class = "a@1".parse().unwrap();
        for text in ["{key}", "", "_design/{key}", "{key}{key}", "a:{id}"] {
            assert!(IdPattern::new(text, &class).is_err(), "{text}");
        }
    }
}
