//! Examples beside a lens: documents that belong together, tried by `chesterfield check`.

use super::{Lens, Made, Put, PutError};
use crate::{
    couch::{Diff, Fields},
    schema::{ClassId, Direction, Flaw, Rule},
};

/// Documents on both sides that belong together.
#[derive(Clone, Debug)]
pub struct Example {
    /// What it shows.
    pub name: String,
    /// Documents on the old side.
    pub old: Vec<(ClassId, Fields)>,
    /// Documents on the new side.
    pub new: Vec<(ClassId, Fields)>,
    /// What the target documents were before.
    pub had: Vec<(ClassId, Fields)>,
    /// Tried one way only.
    pub way: Option<Direction>,
}

/// The key of the documents in examples.
const KEY: &str = "example";

fn find(documents: &[(ClassId, Fields)], class: ClassId) -> Option<&Fields> {
    documents.iter().find(|(c, _)| *c == class).map(|(_, fields)| fields)
}

impl Lens {
    /// Tries every example, and on each the law GetPut: what was just got changes nothing when put back.
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
        let inputs: Vec<Option<&Fields>> = near.iter().map(|&class| find(sources, class)).collect();
        let mut got = Vec::new();
        for &target in far {
            let fields = self
                .make(to, target, &inputs, find(&example.had, target))
                .map_err(|error| format!("{way}: {error}"))?;
            if let Some(expected) = find(expected, target)
                && !fields.as_ref().is_some_and(|fields| fields.same_as(expected))
            {
                let diff = Diff(Some(expected), fields.as_ref());
                return Err(format!("{way} (- expected, + made)\n{diff}"));
            }
            got.push(fields);
        }
        let got: Vec<Option<&Fields>> = got.iter().map(Option::as_ref).collect();
        for (&class, source) in near.iter().zip(&inputs) {
            let Some(source) = source else { continue };
            let again = self
                .make(to.reverse(), class, &got, Some(source))
                .map_err(|error| format!("putting back what was got {way}: {error}"))?;
            if !again.as_ref().is_some_and(|again| again.same_as(source)) {
                let diff = Diff(Some(source), again.as_ref());
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
    ) -> Result<Option<Fields>, PutError> {
        let put = Put {
            to,
            target,
            key: KEY,
            sources,
            old,
        };
        let made = match &self.script {
            Some(script) => script.put_surely(self, &put),
            None => self.put(&put),
        };
        made.map(Made::document)
    }
}
