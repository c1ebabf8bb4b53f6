//! What sharing needs of the graph.

use super::{Class, Direction, Flaw, Place, Step};

/// Entities that embed others form no cycle, or an edit would go round for ever; and documents of the old side
/// follow those of the new, because only these refer.
pub(super) fn check(
    classes: &[Class],
    steps: &[Step],
    flows: &[Option<Direction>],
    entity_of: &[usize],
    flaws: &mut Vec<(Place, Flaw)>,
) {
    let embeds = |entity: usize| {
        let of_entity = steps
            .iter()
            .filter(move |step| step.old.first().is_some_and(|class| entity_of[class.0] == entity));
        of_entity.flat_map(|step| step.shared.iter().map(|class| entity_of[class.0]))
    };
    for (n, step) in steps.iter().enumerate().filter(|(_, step)| !step.shared.is_empty()) {
        let mut flaw = |what, mend| flaws.push((Place::Step(n), Flaw::new("/share", what, mend)));
        for class in &step.shared {
            let name = &classes[class.0].name;
            if !classes[class.0].pattern.is_keyed() {
                flaw(
                    format!("{name} has one document only: there is nothing to refer to"),
                    "name a class whose `documentId` holds `{key}`",
                );
            }
            if entity_of.iter().filter(|entity| **entity == entity_of[class.0]).count() > 1
                && step
                    .old
                    .first()
                    .is_none_or(|old| entity_of[old.0] != entity_of[class.0])
            {
                flaw(
                    format!("{name} is shared, and a lens ties it to other classes, which is not supported"),
                    "keep shared documents in one version, or refer to them in every version",
                );
            }
            let mut seen = vec![entity_of[class.0]];
            let mut next = 0;
            while let Some(&entity) = seen.get(next) {
                let new: Vec<usize> = embeds(entity).filter(|entity| !seen.contains(entity)).collect();
                seen.extend(new);
                next += 1;
            }
            if step.old.first().is_some_and(|old| seen.contains(&entity_of[old.0])) {
                flaw(
                    format!("documents of {name} embed, directly or through others, those that embed them"),
                    "embed one way only: keep the reference in all versions on the other",
                );
            }
        }
        if flows[n] != Some(Direction::Down) {
            flaw(
                "documents are shared by classes that an older lens has merged".to_owned(),
                "share in a chain of lenses that splits classes or keeps them: what merges and shares is not supported",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{ClassId, Registry, pattern::DEFAULT, registry::tests::class};

    #[test]
    fn refuses_documents_that_embed_each_other() {
        let classes = |settings: &str| {
            vec![
                class("a@1", DEFAULT),
                class("a@2", DEFAULT),
                class("b@1", DEFAULT),
                class("b@2", DEFAULT),
                class("settings@1", settings),
                class("c@1", DEFAULT),
            ]
        };
        let step = |old: &[usize], new: &[usize], shared: &[usize]| Step {
            old: old.iter().copied().map(ClassId).collect(),
            new: new.iter().copied().map(ClassId).collect(),
            shared: shared.iter().copied().map(ClassId).collect(),
        };
        let fine = Registry::new(classes(DEFAULT), vec![step(&[0], &[1], &[4]), step(&[2], &[3], &[4])]).unwrap();
        assert_eq!(fine.embedding(ClassId(4)).collect::<Vec<_>>(), [0, 1]);
        assert!(fine.is_shared(ClassId(4)) && !fine.is_shared(ClassId(2)));
        for (steps, settings, what) in [
            (vec![step(&[0], &[1], &[1])], DEFAULT, "those that embed them"),
            (
                vec![step(&[0], &[1], &[3]), step(&[2], &[3], &[1])],
                DEFAULT,
                "those that embed them",
            ),
            (vec![step(&[0], &[1], &[4])], "settings", "one document only"),
            (
                vec![step(&[0], &[1], &[3]), step(&[2], &[3], &[])],
                DEFAULT,
                "ties it to other classes",
            ),
            (
                vec![step(&[0, 2], &[1], &[]), step(&[1], &[5], &[4])],
                DEFAULT,
                "has merged",
            ),
        ] {
            let flaws = Registry::new(classes(settings), steps).unwrap_err();
            assert!(flaws.iter().any(|(_, flaw)| flaw.what.contains(what)), "{flaws:?}");
        }
    }
}
