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

/// The key of the documents in examples.
const KEY: &str = "example";

/// The outer `None`: nothing is said of it.
fn find(documents: &Documents, class: ClassId) -> Option<Option<&Fields>> {
    documents
        .iter()
        .find(|(c, _)| *c == class)
        .map(|(_, fields)| fields.as_ref())
}

fn same(a: Option<&Fields>, b: Option<&Fields>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.same_as(b),
        (a, b) => a.is_none() && b.is_none(),
    }
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
        let shared = |class: ClassId, key: &str| {
            let mut shared = example.shared.iter();
            let found = shared.find(|(of, named, _)| *of == class && named == key);
            found.map_or(Shared::Missing, |(_, _, fields)| Shared::Live(fields))
        };
        let others = Others {
            before: None,
            shared: &shared,
        };
        let way = ["from new to old", "from old to new"][usize::from(to == Direction::Up)];
        let inputs: Vec<Option<&Fields>> = near.iter().map(|&class| find(sources, class).flatten()).collect();
        let mut got = Vec::new();
        for &target in far {
            let fields = self
                .make(to, target, &inputs, find(&example.had, target).flatten(), &others)
                .map_err(|error| format!("{way}: {error}"))?;
            if let Some(expected) = find(expected, target)
                && !same(fields.as_ref(), expected)
            {
                let diff = Diff(expected, fields.as_ref());
                return Err(format!("{way} (- expected, + made)\n{diff}"));
            }
            got.push(fields);
        }
        let got: Vec<Option<&Fields>> = got.iter().map(Option::as_ref).collect();
        // Who puts it back has seen it.
        let others = Others {
            before: got.first().copied().flatten(),
            ..others
        };
        for &class in near {
            let Some(source) = find(sources, class) else { continue };
            let again = self
                .make(to.reverse(), class, &got, source, &others)
                .map_err(|error| format!("putting back what was got {way}: {error}"))?;
            if !same(again.as_ref(), source) {
                let diff = Diff(source, again.as_ref());
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
