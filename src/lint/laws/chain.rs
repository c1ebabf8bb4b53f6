//! What has to hold of lenses together: from the oldest versions to the newest and back, by the proxy's own code.

use super::{Broken, Side, listed};
use crate::{
    couch::{Diff, Fields},
    lens::{Lens, example::KEY},
    rehearsal::Rehearsal,
    schema::{ClassId, Registry, Rule, bare},
};

/// The classes of an entity to which no lens leads from older ones.
pub fn oldest(registry: &Registry, class: ClassId) -> Vec<ClassId> {
    let is_oldest = |class: &&ClassId| !registry.steps().iter().any(|step| step.new.contains(class));
    registry.entity(class).iter().filter(is_oldest).copied().collect()
}

/// Whether the oldest documents stay as they are when the newest are written as they are. Where a lens refuses, that is told of
/// the lens.
pub fn holds(registry: &Registry, lenses: &[Lens], oldest: &Side) -> Result<(), Broken> {
    let Some(changed) = changed(registry, lenses, oldest) else {
        return Ok(());
    };
    let (class, was, is, newest) = changed;
    let name = &registry.class(class).name;
    let what = format!(
        "writing the newest version as it is changes {name} (- was, + is)\n{}\n{}",
        Diff(was.as_ref(), is.as_ref()),
        listed(registry, "of", &newest)
    );
    Err((Rule::ThereAndBack, what))
}

/// A document that has changed: its class, what it was and what it is, and what was written in between.
type Changed = (ClassId, Option<Fields>, Option<Fields>, Side);

fn changed(registry: &Registry, lenses: &[Lens], oldest: &Side) -> Option<Changed> {
    let (first, _) = oldest.first()?;
    let mut rehearsal = Rehearsal::new(registry, lenses, *first, KEY).ok()?;
    rehearsal.write(oldest).ok()?;
    let newest = registry
        .entity(*first)
        .iter()
        .filter(|class| registry.is_finest(**class));
    let newest: Side = newest
        .map(|class| (*class, rehearsal.shown(*class).map(bare)))
        .collect();
    rehearsal.write(&newest).ok()?;
    let now = |class: ClassId| rehearsal.shown(class).map(bare);
    let (class, was) = oldest
        .iter()
        .find(|(class, was)| !Diff(was.as_ref(), now(*class).as_ref()).is_empty())?;
    Some((*class, was.clone(), now(*class), newest))
}
