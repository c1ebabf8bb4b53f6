//! What tells whether documents are carried as they were before.

use std::{fs, path::Path};

use sha2::{Digest, Sha256};

use super::{folder, problem::Report};
use crate::script;

/// A fingerprint of all that decides what is made of a document: classes, lenses with their scripts, what scripts may take, and this
/// very version of the code. Files are told apart by their names and texts; sixteen hexadecimal digits.
pub(super) fn fingerprint(root: &Path, limits: script::Limits) -> String {
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    };
    add(env!("CARGO_PKG_VERSION").as_bytes());
    add(format!("{limits:?}").as_bytes());
    for part in ["classes", "lenses"] {
        // What cannot be read has been told, and nothing is carried by it.
        for path in folder::paths(&root.join(part), &mut Report::default()) {
            add(path.strip_prefix(root).unwrap_or(&path).as_os_str().as_encoded_bytes());
            add(&fs::read(&path).unwrap_or_default());
        }
    }
    hash.finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lenses_are_made_of_counts_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limits = script::Limits::default();
        let mut seen = vec![fingerprint(root, limits)];
        for (name, text) in [
            ("classes/a@1.json", "{}"),
            ("classes/a@1.json", "{ }"),
            ("lenses/a.js", "{ }"),
            ("lenses/b.js", ""),
        ] {
            write(name, text);
            let now = fingerprint(root, limits);
            assert!(!seen.contains(&now), "{name}");
            seen.push(now);
        }
        let last = seen.pop().unwrap();
        for name in [
            "apps/a-1.0.0.json",
            "tests/a.yaml",
            "lenses/README.md",
            "classes/a@1.json~",
        ] {
            write(name, "{}");
            assert_eq!(fingerprint(root, limits), last, "{name}");
        }
        let memory = limits.memory + 1;
        assert_ne!(fingerprint(root, script::Limits { memory, ..limits }), last);
        let elsewhere = tempfile::tempdir().unwrap();
        fs::rename(root, elsewhere.path().join("moved")).unwrap();
        assert_eq!(fingerprint(&elsewhere.path().join("moved"), limits), last);
    }
}
