//! Whether the classes that apps need hang together.

use std::collections::HashSet;

use crate::schema::{Apps, Class, ClassId, Flaw, Place, Registry, Rule};

/// Every class that lenses or apps forgot.
pub fn lint(registry: &Registry, apps: &Apps) -> Vec<(Place, Flaw)> {
    let needed: HashSet<ClassId> = registry
        .classes()
        .filter(|(_, class)| is_needed(class, apps))
        .map(|(id, _)| id)
        .collect();
    let mut flaws = Vec::new();
    for (id, class) in registry.classes() {
        let flaw = loose(registry, &needed, id, class).or_else(|| unused(registry, &needed, id, class));
        flaws.extend(flaw.map(|flaw| (Place::Class(id), flaw)));
    }
    flaws
}

/// Whether an app works with this class.
pub fn is_needed(class: &Class, apps: &Apps) -> bool {
    apps.iter().any(|app| app.manifest.works_with(class))
}

/// A class that no older one of its schema is tied to.
fn loose(registry: &Registry, needed: &HashSet<ClassId>, id: ClassId, class: &Class) -> Option<Flaw> {
    let name = &class.name;
    let others = || {
        let others = registry.classes();
        others.filter(|(_, other)| other.name.schema == name.schema && other.name != *name)
    };
    let tied = registry.entity(id);
    let older = others().filter(|(_, other)| other.name.major < name.major);
    let (nearest_id, nearest) = older.max_by_key(|(_, other)| other.name.major)?;
    if others().any(|(other, class)| class.name.major < name.major && tied.contains(&other)) {
        return None;
    }
    if registry.is_ended(nearest_id) {
        return None;
    }
    let is_here = others().any(|(other, _)| tied.contains(&other) && needed.contains(&other)) || needed.contains(&id);
    let is_there = others().any(|(other, _)| !tied.contains(&other) && needed.contains(&other));
    let rule = if is_here && is_there {
        Rule::NoLens
    } else {
        Rule::LooseClass
    };
    let older = &nearest.name;
    Some(rule.flaw(
        "",
        format!("no lens leads from {older} to {name}: what is written in one never reaches the other"),
        format!("add a lens with `old: {older}` and `new: {name}`; without `steps` documents travel as they are"),
    ))
}

/// A class that no app reads or writes, in its own version or in another.
fn unused(registry: &Registry, needed: &HashSet<ClassId>, id: ClassId, class: &Class) -> Option<Flaw> {
    let is_needed = registry.entity(id).iter().any(|class| needed.contains(class));
    (!is_needed && !needed.is_empty() && !registry.is_ended(id)).then(|| {
        let what = format!(
            "no app works with {}, nor with a class that a lens ties to it",
            class.name
        );
        Rule::UnusedClass.flaw("", what, "name it in the `dependencies` of an app, or take it out")
    })
}
