//! A revision id as CouchDB writes it: generation and hash.

use std::{fmt, str::FromStr, sync::Arc};

/// A revision id, `3-917fa2381192822767f010b95b45325b`.
///
/// Ordered as CouchDB orders leaves of the same liveness: by generation, then by hash as bytes (measured on 3.5.2).
/// The hash need not be hex: CouchDB accepts `1-x y/z` in replicated writes (transcripts, bulk 52-62).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rev {
    generation: u64,
    hash: Arc<str>,
}

/// The text is no revision id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no revision: expected a positive number, a dash and a hash")]
pub struct InvalidRev(String);

impl Rev {
    /// `hash` is taken as CouchDB stores it: 32 hex digits in any case become lower case, all else stays.
    pub fn new(generation: u64, hash: &str) -> Self {
        let is_digest = hash.len() == 32 && hash.bytes().all(|b| b.is_ascii_hexdigit());
        let hash = if is_digest && hash.bytes().any(|b| b.is_ascii_uppercase()) {
            hash.to_ascii_lowercase().into()
        } else {
            hash.into()
        };
        Self { generation, hash }
    }

    /// The length of the path from the root, from 1.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// What stands behind the dash.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.generation, self.hash)
    }
}

impl fmt::Debug for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Rev {
    type Err = InvalidRev;

    fn from_str(text: &str) -> Result<Self, InvalidRev> {
        let invalid = || InvalidRev(text.to_owned());
        let (generation, hash) = text.split_once('-').ok_or_else(invalid)?;
        let generation = generation.parse().map_err(|_| invalid())?;
        if generation == 0 || hash.is_empty() {
            return Err(invalid());
        }
        Ok(Self::new(generation, hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        for text in ["1-abc", "12-917fa2381192822767f010b95b45325b", "1-x y/z"] {
            assert_eq!(text.parse::<Rev>().unwrap().to_string(), text);
        }
        assert_eq!(
            "1-917FA2381192822767F010B95B45325B".parse::<Rev>().unwrap().hash(),
            "917fa2381192822767f010b95b45325b"
        );
    }

    #[test]
    fn refuses_what_is_no_revision() {
        for text in ["", "abc", "-abc", "x-abc", "1-", "0-abc", "-1-abc"] {
            assert!(text.parse::<Rev>().is_err(), "{text}");
        }
    }

    #[test]
    fn orders_by_generation_first() {
        let rev = |text: &str| text.parse::<Rev>().unwrap();
        assert!(rev("10-a") > rev("9-b"));
        assert!(rev("2-b") > rev("2-a"));
    }
}
