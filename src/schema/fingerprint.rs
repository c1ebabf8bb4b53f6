//! What tells a class that has changed, or whose lenses have, from what it was.

use sha2::{Digest, Sha256};

use super::{ClassId, Registry};

/// For each class of a registry a digest of all that decides what its documents are in step with: every class that lenses tie to
/// it, and these lenses. 16 hex digits.
#[derive(Clone, Debug, Default)]
pub struct Fingerprints(Vec<String>);

impl Fingerprints {
    /// `lenses` holds for each of the registry's steps what is written of it, in the order of the steps.
    pub fn new(registry: &Registry, lenses: &[String]) -> Self {
        let of = |class: ClassId| {
            let tied = registry.entity(class);
            let mut digest = Sha256::new();
            // No UTF-8 text holds the byte that keeps parts apart.
            let mut add = |part: &str| {
                digest.update(part);
                digest.update([0xff]);
            };
            for &class in tied {
                let class = registry.class(class);
                add(&class.name.to_string());
                add(&class.pattern.id("\0"));
                add(&class.definition.to_string());
                if class.omits_attachments {
                    add("attachments: omit");
                }
                // What is in conflict already is merged once it is asked for.
                if class.merges_fields {
                    add("merge");
                }
            }
            for (step, written) in registry.steps().iter().zip(lenses) {
                if !step.is_end() && step.old.iter().any(|class| tied.contains(class)) {
                    add(written);
                }
            }
            let digest = digest.finalize();
            digest[..8].iter().map(|byte| format!("{byte:02x}")).collect()
        };
        Self(registry.classes().map(|(class, _)| of(class)).collect())
    }

    /// A class's.
    pub fn of(&self, class: ClassId) -> &str {
        self.0.get(class.0).map_or("", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{Class, ClassName, IdPattern, Step, pattern};

    fn registry(names: &[&str], steps: &[(usize, usize)]) -> Registry {
        let class = |name: &&str| {
            let name: ClassName = name.parse().unwrap();
            let pattern = IdPattern::new(pattern::DEFAULT, &name).unwrap();
            let version = semver::Version::new(name.major, 0, 0);
            Class::new(name, version, pattern)
        };
        let step = |&(old, new): &(usize, usize)| Step {
            old: vec![ClassId(old)],
            new: vec![ClassId(new)],
            ..Step::default()
        };
        Registry::new(names.iter().map(class).collect(), steps.iter().map(step).collect()).unwrap()
    }

    #[test]
    fn a_change_is_seen_in_all_classes_that_are_tied_and_in_no_other() {
        let lenses = |lenses: &[&str]| lenses.iter().map(|lens| (*lens).to_owned()).collect::<Vec<_>>();
        let before = registry(&["a@1", "a@2", "b@1", "b@2"], &[(0, 1), (2, 3)]);
        let was = Fingerprints::new(&before, &lenses(&["x", "y"]));
        assert_eq!(was.of(ClassId(0)), was.of(ClassId(1)));
        assert_eq!(was.of(ClassId(0)).len(), 16);
        let changed = Fingerprints::new(&before, &lenses(&["x", "z"]));
        let is_same = [0, 1, 2, 3].map(|n| was.of(ClassId(n)) == changed.of(ClassId(n)));
        assert_eq!(is_same, [true, true, false, false]);
        let merging = before.classes().map(|(id, class)| Class {
            merges_fields: id.0 == 1,
            ..class.clone()
        });
        let merging = Registry::new(merging.collect(), before.steps().to_vec()).unwrap();
        let merging = Fingerprints::new(&merging, &lenses(&["x", "y"]));
        let is_same = [0, 1, 2, 3].map(|n| was.of(ClassId(n)) == merging.of(ClassId(n)));
        assert_eq!(is_same, [false, false, true, true]);
        let after = registry(&["a@1", "a@2", "a@3", "b@1", "b@2"], &[(0, 1), (1, 2), (3, 4)]);
        let added = Fingerprints::new(&after, &lenses(&["x", "n", "y"]));
        assert_ne!(added.of(ClassId(0)), was.of(ClassId(0)));
        assert_eq!(added.of(ClassId(3)), was.of(ClassId(2)));
    }
}
