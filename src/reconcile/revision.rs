//! What a revision hash tells: which edit stands there, and whether a client or Chesterfield wrote it.
//!
//! ```text
//! derived hash = edit id (12 hex) ++ ancestry (8 hex) ++ tag (12 hex)
//! ```
//!
//! The leading edit id keeps CouchDB's order of winners the same in every version. The ancestry is made of all that made
//! the revision, its parent and what the lens was given: one revision id never stands under two parents, and never for two
//! bodies, however proxies race. The tag cannot be met by chance (2^-48), so a derived revision is told from an authored one by
//! document id and hash alone: no marker in documents, no look-up, no loop.

use std::fmt;

use sha2::{Digest, Sha256};

use crate::couch::Rev;

/// Names one change made by a client, in every document that it reaches: the first 12 hex digits of the hash it was
/// authored under.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EditId(u64);

/// Who wrote a revision, and to what end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A client.
    Authored,
    /// Chesterfield, for an edit made in another class. Never carried further.
    Mirror,
    /// Chesterfield, to tidy this document alone. Never carried further.
    Local,
    /// Chesterfield, as an edit of its own that is carried like a client's.
    Merge,
}

impl Kind {
    const DERIVED: [(Kind, &'static str); 3] =
        [(Kind::Mirror, "mirror"), (Kind::Local, "local"), (Kind::Merge, "merge")];

    /// Reads the kind off a revision of the document `doc_id`.
    pub fn of(doc_id: &str, rev: &Rev) -> Self {
        let hash = rev.hash();
        if !is_digest(hash) {
            return Kind::Authored;
        }
        let (head, given) = hash.split_at(20);
        let given = number(given.bytes());
        let derived = Self::DERIVED
            .into_iter()
            .find(|(_, name)| tag(name, doc_id, head) == given);
        derived.map_or(Kind::Authored, |(kind, _)| kind)
    }

    fn name(self) -> &'static str {
        Self::DERIVED
            .iter()
            .find(|(kind, _)| *kind == self)
            .map_or("authored", |(_, name)| name)
    }
}

impl EditId {
    /// The edit that stands at a revision. A hash that is not 32 lower-case hex digits counts by its SHA-256.
    pub fn of(rev: &Rev) -> Self {
        if is_digest(rev.hash()) {
            Self(number(rev.hash().bytes().take(12)))
        } else {
            Self(leading(&digest(&[rev.hash()])))
        }
    }

    /// The id of an edit that Chesterfield makes itself, the same wherever it is made for the same reason.
    pub fn made(reason: &str, doc_id: &str, revs: &[&Rev]) -> Self {
        let revs: Vec<String> = revs.iter().map(|rev| rev.to_string()).collect();
        let parts: Vec<&str> = [reason, doc_id]
            .into_iter()
            .chain(revs.iter().map(String::as_str))
            .collect();
        Self(leading(&digest(&parts)))
    }
}

/// The revision under which `edit` is written to the document `doc_id`, on top of `parent`, with a body made from `sources`.
///
/// `kind` is one of Chesterfield's: asking for an authored revision makes one that nobody recognises.
pub fn derived(doc_id: &str, edit: EditId, parent: Option<&Rev>, sources: &[Rev], kind: Kind) -> Rev {
    let made_of: Vec<String> = parent.into_iter().chain(sources).map(Rev::to_string).collect();
    let made_of: Vec<&str> = std::iter::once("ancestry")
        .chain(made_of.iter().map(String::as_str))
        .collect();
    let ancestry = digest(&made_of);
    let [a, b, c, d, ..] = ancestry;
    let head = format!("{edit}{:08x}", u32::from_be_bytes([a, b, c, d]));
    let tag = tag(kind.name(), doc_id, &head);
    Rev::new(parent.map_or(0, Rev::generation) + 1, &format!("{head}{tag:012x}"))
}

/// Puts the edits on top of a path, which is oldest first, as mirrors. The last one has the body, made from `sources`; the others
/// are its bodiless ancestors.
pub fn mirrored(doc_id: &str, path: &mut Vec<Rev>, edits: &[EditId], sources: &[Rev]) {
    for (n, &edit) in edits.iter().enumerate() {
        let sources = if n + 1 == edits.len() { sources } else { &[] };
        path.push(derived(doc_id, edit, path.last(), sources, Kind::Mirror));
    }
}

fn tag(kind: &str, doc_id: &str, head: &str) -> u64 {
    leading(&digest(&[kind, doc_id, head]))
}

fn is_digest(hash: &str) -> bool {
    hash.len() == 32 && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// SHA-256 of the parts. Parts are kept apart by a byte that no UTF-8 text holds.
fn digest(parts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0xff]);
    }
    hash.finalize().into()
}

/// The first 12 hex digits of a digest. Every revision that is read is asked for its kind: the number is compared without
/// writing the digits.
fn leading(digest: &[u8; 32]) -> u64 {
    digest[..6]
        .iter()
        .fold(0, |number, &byte| number << 8 | u64::from(byte))
}

fn number(hex: impl Iterator<Item = u8>) -> u64 {
    hex.fold(0, |number, digit| {
        number << 4 | u64::from((digit as char).to_digit(16).unwrap_or(0))
    })
}

impl fmt::Display for EditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for EditId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_derived_revision_tells_its_kind_and_its_edit() {
        let authored: Rev = "3-917fa2381192822767f010b95b45325b".parse().unwrap();
        let edit = EditId::of(&authored);
        assert_eq!(edit.to_string(), "917fa2381192");
        assert_eq!(Kind::of("a", &authored), Kind::Authored);
        for kind in [Kind::Mirror, Kind::Local, Kind::Merge] {
            let rev = derived("a", edit, Some(&authored), &[], kind);
            assert_eq!(rev.generation(), 4);
            assert_eq!((EditId::of(&rev), Kind::of("a", &rev)), (edit, kind));
            assert_eq!(Kind::of("b", &rev), Kind::Authored, "another document's");
        }
    }

    #[test]
    fn the_format_stays() {
        let authored: Rev = "1-0123456789abcdef0123456789abcdef".parse().unwrap();
        let edit = EditId::of(&authored);
        let root = derived(
            "todo-item:k:v:2",
            edit,
            None,
            std::slice::from_ref(&authored),
            Kind::Mirror,
        );
        let next = derived("todo-item:k:v:2", edit, Some(&root), &[], Kind::Local);
        assert_eq!(root.to_string(), "1-0123456789ab4d351c331274e3f5ba56");
        assert_eq!(next.to_string(), "2-0123456789ab64783a1c54c26828fb31");
    }

    #[test]
    fn a_hash_of_another_form_has_an_edit_id_too() {
        let rev: Rev = "1-x y/z".parse().unwrap();
        assert_eq!(EditId::of(&rev).to_string().len(), 12);
        assert_eq!(Kind::of("a", &rev), Kind::Authored);
    }
}
