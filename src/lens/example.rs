//! Examples beside a lens: documents that belong together, tried by `chesterfield check`.

use super::Lens;
use crate::{
    couch::Fields,
    schema::{ClassId, Direction, Flaw},
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

fn find(documents: &[(ClassId, Fields)], class: ClassId) -> Option<&Fields> {
    documents.iter().find(|(c, _)| *c == class).map(|(_, fields)| fields)
}

fn text(fields: &Fields) -> String {
    serde_json::to_string(fields).unwrap_or_default()
}

impl Lens {
    /// Tries every example, and on each the law GetPut: what was just got changes nothing when put back.
    pub fn run_examples(&self) -> Vec<Flaw> {
        let mut flaws = Vec::new();
        for (n, example) in self.examples.iter().enumerate() {
            for to in Direction::BOTH {
                if example.way.is_none_or(|way| way == to)
                    && let Err(what) = self.run(example, to)
                {
                    let what = format!("example “{}”: {what}", example.name);
                    flaws.push(Flaw::new(
                        format!("/examples/{n}"),
                        what,
                        "mend the steps or the example",
                    ));
                }
            }
        }
        flaws
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
                .put(to, target, &inputs, find(&example.had, target))
                .map_err(|error| format!("{way}: {error}"))?;
            if let Some(expected) = find(expected, target)
                && !fields.same_as(expected)
            {
                return Err(format!("{way}: expected {}, got {}", text(expected), text(&fields)));
            }
            got.push(fields);
        }
        let got: Vec<Option<&Fields>> = got.iter().map(Some).collect();
        for (&class, source) in near.iter().zip(&inputs) {
            let Some(source) = source else { continue };
            let again = self
                .put(to.reverse(), class, &got, Some(source))
                .map_err(|error| format!("putting back what was got {way}: {error}"))?;
            if !again.same_as(source) {
                let (was, is) = (text(source), text(&again));
                return Err(format!("putting back what was got {way} changes {was} to {is}"));
            }
        }
        Ok(())
    }
}
