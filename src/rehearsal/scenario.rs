//! Stories in `tests/*.yaml`: what clients write, one after another, and what every version then shows.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Rehearsal, Sent, SentShared};
use crate::{
    couch::{Diff, Fields},
    lens::{Lens, Lookup, example},
    schema::{ClassId, DocumentName, Flaw, Registry, bare},
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

/// Documents by class, those that are shared by class and key; none is no document.
pub type Documents = BTreeMap<DocumentName, Option<Map<String, Value>>>;

/// One story, whose classes are known.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it shows.
    pub name: String,
    writes: Vec<Named>,
    expect: Named,
}

/// Documents as a story names them.
#[derive(Clone, Debug, Default)]
struct Named {
    own: Vec<Sent>,
    shared: Vec<SentShared>,
}

impl ScenarioFile {
    /// Looks up the classes. `at` is its place in the file.
    pub fn compile(&self, at: &str, look_up: &Lookup) -> Result<Scenario, Vec<Flaw>> {
        let mut flaws = Vec::new();
        let mut documents = |at: &str, documents: &Documents| -> Named {
            let mut known = Named::default();
            for (DocumentName { class: name, key }, fields) in documents {
                let fields = fields.as_ref().map(Fields::from);
                match (look_up(name), key) {
                    (Some(class), None) => known.own.push((class, fields)),
                    (Some(class), Some(key)) => known.shared.push((class, key.clone(), fields)),
                    (None, _) => {
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
        let name = |class: ClassId| &registry.class(class).name;
        let all = || self.writes.iter().chain([&self.expect]);
        let Some((first, _)) = all().flat_map(|named| &named.own).next() else {
            let what = "every document is a shared one: name one that embeds it or refers to it, too";
            return Err(what.to_owned());
        };
        let mut rehearsal =
            Rehearsal::new(registry, lenses, *first, example::KEY).map_err(|error| error.to_string())?;
        let mut own = all().flat_map(|named| &named.own);
        if let Some((stray, _)) = own.find(|(class, _)| !rehearsal.has(*class)) {
            return Err(format!("no lens leads from {} to {}", name(*first), name(*stray)));
        }
        let mut shared = all().flat_map(|named| &named.shared);
        if let Some((stray, key, _)) = shared.find(|(class, ..)| !rehearsal.shares(*class)) {
            return Err(format!(
                "{}/{key} is shared by no lens of {}",
                name(*stray),
                name(*first)
            ));
        }
        // What is refused on the way may be mended by a later write: only the end counts.
        let mut stuck = None;
        for write in &self.writes {
            stuck = rehearsal.write_all(&write.own, &write.shared).err();
        }
        let own = self.expect.own.iter();
        let own = own.map(|(class, expected)| (name(*class).to_string(), expected, rehearsal.shown(*class)));
        let shared = self.expect.shared.iter();
        let shared = shared.map(|(class, key, expected)| {
            let shown = rehearsal.shown_shared(*class, key);
            (format!("{}/{key}", name(*class)), expected, shown)
        });
        let mut failures = Vec::new();
        for (called, expected, shown) in own.chain(shared) {
            // A story need not name what the engine sets.
            let (expected, shown) = (expected.as_ref().map(bare), shown.map(bare));
            let diff = Diff(expected.as_ref(), shown.as_ref());
            if !diff.is_empty() {
                failures.push(format!("{called} (- expected, + made)\n{diff}"));
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
