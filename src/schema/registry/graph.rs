//! What is read off the graph whose nodes are classes and steps.

use super::{Class, ClassId, Direction, Flaw, Place, Step};

/// Finds the trees of the graph whose nodes are classes and steps; answers for each class the number of its tree.
pub(super) fn tie(classes: &[Class], steps: &[Step], flaws: &mut Vec<(Place, Flaw)>) -> Vec<usize> {
    let mut tree: Vec<usize> = (0..classes.len()).collect();
    let mut ended: Vec<(usize, ClassId)> = Vec::new();
    for (n, step) in steps.iter().enumerate() {
        let mut flaw = |what, mend| flaws.push((Place::Step(n), Flaw::new("", what, mend)));
        if step.is_end() {
            ended.extend(step.old.iter().map(|&class| (n, class)));
            continue;
        }
        let members: Vec<ClassId> = step.old.iter().chain(&step.new).copied().collect();
        let first = members[0];
        for &class in &members[1..] {
            let (a, b) = (tree[first.0], tree[class.0]);
            if a == b {
                flaw(
                    format!("lenses reach {} twice", classes[class.0].name),
                    "lenses form a tree: between two classes there is exactly one way",
                );
            }
            tree.iter_mut().filter(|t| **t == b).for_each(|t| *t = a);
            let (a, b) = (&classes[first.0], &classes[class.0]);
            if a.pattern.is_keyed() != b.pattern.is_keyed() {
                flaw(
                    format!(
                        "a lens ties {} and {}, but only one of them has a key in its id",
                        a.name, b.name
                    ),
                    "documents tied by a lens share their key: put `{key}` into both patterns or into none",
                );
            }
        }
    }
    for (n, class) in ended {
        let mut others = steps.iter().enumerate().filter(|(other, _)| *other != n);
        if others.any(|(_, step)| step.old.contains(&class)) {
            let what = format!(
                "{} ends here, but another lens has it on its old side",
                classes[class.0].name
            );
            let mend = "keep the one that is meant: a class has one successor or none";
            flaws.push((Place::Step(n), Flaw::new("", what, mend)));
        }
    }
    tree
}

/// `reach(origin, …)[target]`: through which neighbour an edit authored in `origin` arrives at `target`.
pub(super) fn reach(origin: ClassId, classes: usize, steps: &[Step]) -> Vec<Option<ClassId>> {
    let mut via = vec![None; classes];
    let mut frontier = vec![(origin, None)];
    while let Some((at, arrived_by)) = frontier.pop() {
        for (n, step) in steps.iter().enumerate().filter(|(n, _)| Some(*n) != arrived_by) {
            for direction in Direction::BOTH {
                let (near, far) = step.sides(direction);
                if near.contains(&at) {
                    for &target in far {
                        via[target.0] = Some(at);
                        frontier.push((target, Some(n)));
                    }
                }
            }
        }
    }
    via
}

/// How many steps lead on from a class to the newest. They form a tree, so this ends.
pub(super) fn age(class: ClassId, steps: &[Step]) -> usize {
    let next = steps
        .iter()
        .filter(|step| step.old.contains(&class))
        .flat_map(|step| &step.new);
    next.map(|&next| 1 + age(next, steps)).max().unwrap_or(0)
}

/// See [`Registry::flow`](super::Registry::flow).
pub(super) fn flows(steps: &[Step]) -> Vec<Option<Direction>> {
    let merging = |step: &Step| match (step.old.len(), step.new.len()) {
        (1, 1) | (_, 0) => None,
        (1, _) => Some(Direction::Down),
        (_, 1) => Some(Direction::Up),
        _ => None,
    };
    let mut flows: Vec<Option<Direction>> = steps.iter().map(merging).collect();
    let is_plain = |step: &Step| step.old.len() == 1 && step.new.len() == 1;
    let mut merged: Vec<ClassId> = steps
        .iter()
        .zip(&flows)
        .filter_map(|(step, flow)| Some(step.sides((*flow)?).1[0]))
        .collect();
    while let Some(class) = merged.pop() {
        for (step, flow) in steps
            .iter()
            .zip(&mut flows)
            .filter(|(step, flow)| is_plain(step) && flow.is_none())
        {
            let from_here = Direction::BOTH
                .into_iter()
                .find(|&direction| step.sides(direction).0 == [class]);
            if let Some(direction) = from_here {
                *flow = Some(direction);
                merged.push(step.sides(direction).1[0]);
            }
        }
    }
    for (step, flow) in steps.iter().zip(&mut flows) {
        *flow = flow.or(is_plain(step).then_some(Direction::Down));
    }
    flows
}
