//! Examples beside a lens: documents that belong together, tried by `chesterfield check`.

use super::{Lens, Made, Others, Put, PutError, Shared};
use crate::{
    couch::{Diff, Fields},
    schema::{ClassId, Direction, Flaw, Rule},
};

/// Documents, each by its class; none where there is no such document.
pub type Documents = Vec<(ClassId, Option<Fields>)>;

/// Documents on both sides that belong together.
#[derive(Clone, Debug)]
pub struct Example {
    /// What it shows.
    pub name: String,
    /// Documents on the old side.
    pub old: Documents,
    /// Documents on the new side.
    pub new: Documents,
    /// What the target documents were before.
    pub had: Documents,
    /// Documents that the new side refers to, with their keys.
    pub shared: Vec<(ClassId, String, Fields)>,
    /// Tried one way only.
    pub way: Option<Direction>,
}

/// The key of documents that are examples: beside lenses, in stories, and wherever a document has no `_id`.
pub const KEY: &str = "example";

/// The outer `None`: nothing is said of it.
fn find(documents: &Documents, class: ClassId) -> Option<Option<&Fields>> {
    documents
        .iter()
        .find(|(c, _)| *c == class)
        .map(|(_, fields)| fields.as_ref())
}

impl Lens {
    /// Tries every example, and on each a law: what was just got, or put, changes nothing when it is put back.
    pub fn run_examples(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        for (n, example) in self.examples.iter().enumerate() {
            for what in self.run_example(example) {
                let what = format!("example “{}”: {what}", example.name);
                flaws.push(Rule::Example.flaw(format!("/examples/{n}"), what, "mend the steps or the example"));
            }
        }
        flaws
    }

    /// What does not hold of one example, in each direction in which it is tried.
    pub fn run_example(&self, example: &Example) -> Vec<String> {
        let ways = Direction::BOTH.into_iter();
        let ways = ways.filter(|to| example.way.is_none_or(|way| way == *to));
        ways.filter_map(|to| self.run(example, to).err()).collect()
    }

    fn run(&self, example: &Example, to: Direction) -> Result<(), String> {
        let (near, far) = self.step.sides(to);
        let (sources, expected) = match to {
            Direction::Up => (&example.old, &example.new),
            Direction::Down => (&example.new, &example.old),
        };
        let way = ["from new to old", "from old to new"][usize::from(to == Direction::Up)];
        let inputs: Vec<Option<&Fields>> = near.iter().map(|&class| find(sources, class).flatten()).collect();
        let shared = |class: ClassId, key: &str| {
            let mut shared = example.shared.iter();
            let found = shared.find(|(of, named, _)| *of == class && named == key);
            found.map_or(Shared::Missing, |(_, _, fields)| Shared::Live(fields))
        };
        let others = Others {
            before: None,
            shared: &shared,
        };
        let there = |lens: &Self| -> Result<Vec<Option<Fields>>, PutError> {
            let had = |target| find(&example.had, target).flatten();
            let each = far
                .iter()
                .map(|&target| lens.make(to, target, &inputs, had(target), &others));
            each.collect()
        };
        let back = |lens: &Self, got: &[Option<Fields>]| -> Result<Vec<Option<Fields>>, PutError> {
            let got: Vec<Option<&Fields>> = got.iter().map(Option::as_ref).collect();
            let named = near.iter().filter_map(|&class| Some((class, find(sources, class)?)));
            // Who puts it back has seen it.
            let before = got.first().copied().flatten();
            let others = Others { before, ..others };
            named
                .map(|(class, source)| lens.make(to.reverse(), class, &got, source, &others))
                .collect()
        };
        let got = there(self).map_err(|error| format!("{way}: {error}"))?;
        for (&target, fields) in far.iter().zip(&got) {
            let diff = find(expected, target).map(|expected| Diff(expected, fields.as_ref()));
            if let Some(diff) = diff.filter(|diff| !diff.is_empty()) {
                return Err(format!("{way} (- expected, + made)\n{diff}"));
            }
        }
        back(self, &got).map_err(|error| format!("putting back what was got {way}: {error}"))?;
        // What a step makes an exception for is no flaw.
        let lawful = self.lawful();
        let again = there(&lawful).and_then(|got| back(&lawful, &got)).unwrap_or_default();
        let named = near.iter().filter_map(|&class| find(sources, class));
        for (source, again) in named.zip(&again) {
            let diff = Diff(source, again.as_ref());
            if !diff.is_empty() {
                return Err(format!("putting back what was got {way} changes\n{diff}"));
            }
        }
        Ok(())
    }

    fn make(
        &self,
        to: Direction,
        target: ClassId,
        sources: &[Option<&Fields>],
        old: Option<&Fields>,
        others: &Others,
    ) -> Result<Option<Fields>, PutError> {
        let put = Put {
            to,
            target,
            key: KEY,
            sources,
            old,
        };
        let made = match &self.script {
            Some(script) => {
                let surely = |put: &Put| script.put_surely(self, put).map(|made| self.kept(put, made));
                self.put_by(&put, others, &surely)
            }
            None => self.put_among(&put, others),
        };
        made.map(Made::document)
    }
}
