//! Whether merging fields is asked for where it is done: in the newest classes.

use crate::schema::{ClassId, Flaw, Place, Registry, Rule};

/// Every class that asks in vain.
pub fn lint(registry: &Registry) -> Vec<(Place, Flaw)> {
    let asking = registry.classes().filter(|(_, class)| class.merges_fields);
    let flaws = asking.filter_map(|(id, class)| {
        let name = &class.name;
        let flaw = |what, mend| Some((Place::Class(id), Rule::NotMerged.flaw("/merge", what, mend)));
        if registry.entity(id).len() < 2 {
            let what = format!("no lens ties {name} to another class, so conflicts of it are left to clients");
            return flaw(what, "remove it, or add a lens".to_owned());
        }
        let newest = newest(registry, id);
        let silent = newest.into_iter().filter(|&class| !registry.class(class).merges_fields);
        let silent: Vec<String> = silent.map(|class| registry.class(class).name.to_string()).collect();
        if silent.is_empty() {
            return None;
        }
        let what = format!(
            "conflicts are merged in the newest classes, and {} does not ask for it",
            silent.join(", ")
        );
        flaw(
            what,
            format!(
                "write `\"merge\": \"fields\"` into {}, or remove it here",
                silent.join(" and ")
            ),
        )
    });
    flaws.collect()
}

/// The newest classes that follow a class over lenses; itself if it is one.
fn newest(registry: &Registry, class: ClassId) -> Vec<ClassId> {
    let steps = registry.steps().iter();
    let next: Vec<ClassId> = steps
        .filter(|step| step.old.contains(&class))
        .flat_map(|step| step.new.iter().copied())
        .collect();
    if next.is_empty() {
        return vec![class];
    }
    next.into_iter().flat_map(|class| newest(registry, class)).collect()
}
