//! Stories in `tests/*.yaml`: what clients write, one after another, and what every version then shows.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Rehearsal, Sent};
use crate::{
    couch::{Diff, Fields},
    lens::{Lens, Lookup, example, file::Documents},
    schema::{Flaw, Registry, bare},
};

/// One story, as it is written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScenarioFile {
    /// What it shows.
    pub name: String,
    /// What clients send, one write after another: documents by class, `null` for one that is deleted.
    pub writes: Vec<Documents>,
    /// What is there in the end: documents by class, `null` for none.
    pub expect: Documents,
}

/// One story, whose classes are known.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it shows.
    pub name: String,
    writes: Vec<Vec<Sent>>,
    expect: Vec<Sent>,
}

impl ScenarioFile {
    /// Looks up the classes. `at` is its place in the file.
    pub fn compile(&self, at: &str, look_up: &Lookup) -> Result<Scenario, Vec<Flaw>> {
        let mut flaws = Vec::new();
        let mut documents = |at: &str, documents: &Documents| -> Vec<Sent> {
            let mut known = Vec::new();
            for (name, fields) in documents {
                match look_up(name) {
                    Some(class) => known.push((class, fields.as_ref().map(Fields::from))),
                    None => {
                        let what = format!("there is no class {name}");
                        let mend = format!("add a schema named {name} to `classes/`, or mend the name");
                        flaws.push(Flaw::new(at, what, mend));
                    }
                }
            }
            known
        };
        let writes = self.writes.iter().enumerate();
        let scenario = Scenario {
            name: self.name.clone(),
            writes: writes
                .map(|(n, write)| documents(&format!("{at}/writes/{n}"), write))
                .collect(),
            expect: documents(&format!("{at}/expect"), &self.expect),
        };
        for (member, is_empty) in [
            ("writes", self.writes.iter().all(BTreeMap::is_empty)),
            ("expect", self.expect.is_empty()),
        ] {
            if is_empty {
                let mend = "name documents by class, as in `todo-item@1: { title: Buy milk }`";
                flaws.push(Flaw::new(format!("{at}/{member}"), "there is no document", mend));
            }
        }
        if flaws.is_empty() { Ok(scenario) } else { Err(flaws) }
    }
}

impl Scenario {
    /// Writes and carries everything, and tells what is not as expected.
    pub fn run(&self, registry: &Registry, lenses: &[Lens]) -> Result<(), String> {
        let name = |class| &registry.class(class).name;
        let sent = || self.writes.iter().flatten().chain(&self.expect);
        let Some((first, _)) = sent().next() else {
            return Ok(());
        };
        let mut rehearsal =
            Rehearsal::new(registry, lenses, *first, example::KEY).map_err(|error| error.to_string())?;
        if let Some((stray, _)) = sent().find(|(class, _)| !rehearsal.has(*class)) {
            return Err(format!("no lens leads from {} to {}", name(*first), name(*stray)));
        }
        // What is refused on the way may be mended by a later write: only the end counts.
        let mut stuck = None;
        for write in &self.writes {
            stuck = rehearsal.write(write).err();
        }
        let mut failures = Vec::new();
        for (class, expected) in &self.expect {
            // A story need not name what the engine sets.
            let (expected, shown) = (expected.as_ref().map(bare), rehearsal.shown(*class).map(bare));
            let diff = Diff(expected.as_ref(), shown.as_ref());
            if !diff.is_empty() {
                failures.push(format!("{} (- expected, + made)\n{diff}", name(*class)));
            }
        }
        failures.extend(stuck.filter(|_| !failures.is_empty()).map(|stuck| stuck.to_string()));
        if failures.is_empty() {
            Ok(())
        } else {
            Err(failures.join("\n"))
        }
    }
}
