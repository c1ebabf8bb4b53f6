//! A revision id as CouchDB writes it: generation and hash.

use std::{borrow::Cow, cmp::Ordering, fmt, str::FromStr, sync::Arc};

/// A revision id, `3-917fa2381192822767f010b95b45325b`.
///
/// Ordered as CouchDB orders leaves of the same liveness: by generation, then by hash as the bytes it keeps (measured on
/// 3.5.0): of 32 hex digits, the sixteen bytes they stand for. The hash need not be hex: CouchDB accepts `1-x y/z` in
/// replicated writes (transcripts, bulk 52-62).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Rev {
    generation: u64,
    hash: Arc<str>,
    /// Whether the hash is 32 lower-case hex digits: asked for whenever two are compared.
    is_digest: bool,
}

/// The text is no revision id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no revision: expected a positive number below 2^53, a dash and a hash")]
pub struct InvalidRev(String);

impl Rev {
    /// The highest generation. CouchDB, whose integers have no end, takes higher ones from a client that asks for it; no history
    /// of edits gets there, and a revision on top of any that are read can be counted.
    pub const LAST_GENERATION: u64 = (1 << 53) - 1;

    /// `hash` is taken as CouchDB gives it back.
    pub fn new(generation: u64, hash: &str) -> Self {
        let hash: Arc<str> = as_stored(hash).as_ref().into();
        Self {
            generation,
            is_digest: is_digest(&hash),
            hash,
        }
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

/// CouchDB reads 32 characters as a hexadecimal number, in any case and with a sign, and keeps its sixteen bytes; any other sixteen
/// bytes are the same to it (measured on 3.5.0). All else stays.
fn as_stored(hash: &str) -> Cow<'_, str> {
    if hash.len() == 16 {
        return hash
            .bytes()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>()
            .into();
    }
    if hash.len() != 32 || is_digest(hash) {
        return hash.into();
    }
    let (is_negative, digits) = match hash.as_bytes()[0] {
        b'-' => (true, &hash[1..]),
        b'+' => (false, &hash[1..]),
        _ => (false, hash),
    };
    match u128::from_str_radix(digits, 16) {
        Ok(number) if is_negative => format!("{:032x}", number.wrapping_neg()).into(),
        Ok(number) => format!("{number:032x}").into(),
        Err(_) => hash.into(),
    }
}

/// 32 lower-case hex digits.
fn is_digest(hash: &str) -> bool {
    hash.len() == 32 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

impl Ord for Rev {
    fn cmp(&self, other: &Self) -> Ordering {
        let bytes = |hash: &str| -> Vec<u8> {
            match u128::from_str_radix(hash, 16) {
                Ok(number) if is_digest(hash) => number.to_be_bytes().into(),
                _ => hash.into(),
            }
        };
        self.generation
            .cmp(&other.generation)
            .then_with(|| match (self.is_digest, other.is_digest) {
                (true, false) | (false, true) => bytes(&self.hash).cmp(&bytes(&other.hash)),
                _ => self.hash.cmp(&other.hash),
            })
    }
}

impl PartialOrd for Rev {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
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
        if !(1..=Self::LAST_GENERATION).contains(&generation) || hash.is_empty() {
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
        for text in [
            "",
            "abc",
            "-abc",
            "x-abc",
            "1-",
            "0-abc",
            "-1-abc",
            "9007199254740992-abc",
        ] {
            assert!(text.parse::<Rev>().is_err(), "{text}");
        }
    }

    #[test]
    fn orders_by_generation_first() {
        let rev = |text: &str| text.parse::<Rev>().unwrap();
        assert!(rev("10-a") > rev("9-b"));
        assert!(rev("2-b") > rev("2-a"));
    }

    #[test]
    fn orders_hashes_by_the_bytes_that_couchdb_keeps() {
        let rev = |text: &str| text.parse::<Rev>().unwrap();
        assert!(rev("1-ffffffffffffffffffffffffffffffff") > rev("1-x"));
        assert!(rev("1-x") > rev("1-00000000000000000000000000000000"));
        assert!(rev("1-7a000000000000000000000000000000") > rev("1-z"));
        assert!(rev("1-7a000000000000000000000000000000") > rev("1-7a"));
        assert!(rev("1-zz") < rev("1-7a7a7a00000000000000000000000000"));
        assert!(rev("1-b") > rev("1-abc"));
    }

    #[test]
    fn takes_a_hash_as_couchdb_gives_it_back() {
        for (given, kept) in [
            ("abcdefghijklmnop", "6162636465666768696a6b6c6d6e6f70"),
            ("+0000000000000000000000000000001", "00000000000000000000000000000001"),
            ("-0000000000000000000000000000001", "ffffffffffffffffffffffffffffffff"),
            ("zz17fa2381192822767f010b95b45325", "zz17fa2381192822767f010b95b45325"),
            ("ABC", "ABC"),
        ] {
            assert_eq!(Rev::new(1, given).hash(), kept);
        }
    }
}
