//! What has to hold of one lens, crossed in one direction.

use super::{Broken, Side, generate, listed};
use crate::{
    couch::{Diff, Fields},
    lens::{Embedded, Lens, Made, Others, Put, PutError, Shared, example::KEY},
    schema::{ClassId, Direction, Registry, Rule},
};

/// A lens in one direction.
pub struct Crossing<'a> {
    pub registry: &'a Registry,
    pub lens: &'a Lens,
    /// [`Lens::lawful`]: the laws are asked of this one.
    pub lawful: &'a Lens,
    pub to: Direction,
}

impl Crossing<'_> {
    /// What fits is carried, what is made fits, and the laws: GetPut, and with documents `before` on the far side PutGet. Sources
    /// that do not suffice to make anything prove nothing.
    pub fn holds(&self, sources: &Side, before: Option<&Side>) -> Result<(), Broken> {
        let (_, far) = self.lens.step().sides(self.to);
        let none: Side = far.iter().map(|class| (*class, None)).collect();
        let had = before.unwrap_or(&none);
        let tell = |rule, what: String, put: &Side| {
            let mut lines = vec![what, listed(self.registry, "of", sources)];
            lines.extend(before.map(|before| listed(self.registry, "into", before)));
            lines.push(listed(self.registry, "made", put));
            Err((rule, lines.join("\n")))
        };
        let created = self.created(sources)?;
        let crossed = |to, sources, old| {
            let made = put(self.lens, to, sources, old, &created);
            made.map_err(|error| self.refused(sources, &error))
        };
        let Some(made) = crossed(self.to, sources, had)? else {
            return Ok(());
        };
        for (class, fields) in &made {
            let class = self.registry.class(*class);
            if let Some(violation) = fields.as_ref().and_then(|fields| generate::violation(class, fields)) {
                let what = format!("what is valid becomes an invalid {}: {violation}", class.name);
                return tell(Rule::Misfit, what, &made);
            }
        }
        for shared in &created {
            let class = self.registry.class(shared.class);
            if let Some(violation) = generate::violation(class, &shared.fields) {
                let what = format!("what is embedded becomes an invalid {}: {violation}", class.name);
                return tell(Rule::Misfit, what, &made);
            }
        }
        crossed(self.to.reverse(), &made, sources)?;
        crossed(self.to, sources, &made)?;
        // What only the lawful lens cannot carry proves nothing: nobody asks it to.
        let lawful = |to, sources, old| put(self.lawful, to, sources, old, &created).ok().flatten();
        let Some(made) = lawful(self.to, sources, had) else {
            return Ok(());
        };
        let back = lawful(self.to.reverse(), &made, sources);
        if let Some(change) = back.and_then(|back| self.change(sources, &back)) {
            let (rule, what) = match before {
                None => (Rule::GetPut, "putting back what was just got changes"),
                Some(_) => (Rule::PutGet, "what was put cannot be got again: it changes"),
            };
            return tell(rule, format!("{what} {change}"), &made);
        }
        let again = lawful(self.to, sources, &made);
        match again.and_then(|again| self.change(&made, &again)) {
            Some(change) => tell(Rule::GetPut, format!("putting the same twice changes {change}"), &made),
            None => Ok(()),
        }
    }

    /// The shared documents that are made of what the sources embed.
    fn created(&self, sources: &Side) -> Result<Vec<Embedded>, Broken> {
        let primary = sources.first().and_then(|(_, fields)| fields.as_ref());
        match primary.filter(|_| self.to == Direction::Up && !self.lens.shares().is_empty()) {
            Some(fields) => self
                .lens
                .embedded(fields)
                .map_err(|error| self.refused(sources, &error)),
            None => Ok(Vec::new()),
        }
    }

    fn refused(&self, sources: &Side, error: &PutError) -> Broken {
        let what = format!(
            "what is valid cannot be carried: {error}\n{}",
            listed(self.registry, "of", sources)
        );
        (Rule::NotCarried, what)
    }

    /// The first document that has changed.
    fn change(&self, was: &Side, is: &Side) -> Option<String> {
        let mut diffs = was
            .iter()
            .zip(is)
            .map(|((class, was), (_, is))| (*class, Diff(was.as_ref(), is.as_ref())));
        let (class, diff) = diffs.find(|(_, diff)| !diff.is_empty())?;
        let name = &self.registry.class(class).name;
        Some(format!("{name} (- was, + is)\n{diff}"))
    }
}

/// Every document of the side that `to` leads to. None where the sources do not suffice. Of what is referred to and neither created nor
/// in examples, one of the examples stands in.
fn put(lens: &Lens, to: Direction, sources: &Side, old: &Side, created: &[Embedded]) -> Result<Option<Side>, PutError> {
    let examples = || lens.examples().iter().flat_map(|example| &example.shared);
    let shared = |class: ClassId, key: &str| {
        let made = created.iter().find(|made| made.class == class && made.key == key);
        let named = examples().find(|(of, named, _)| *of == class && named == key);
        let found = made.map(|made| &made.fields).or(named.map(|(_, _, fields)| fields));
        let any = || examples().find(|(of, ..)| *of == class).map(|(_, _, fields)| fields);
        found.or_else(any).map_or(Shared::Missing, Shared::Live)
    };
    let others = Others {
        before: None,
        shared: &shared,
    };
    let given: Vec<Option<&Fields>> = sources.iter().map(|(_, fields)| fields.as_ref()).collect();
    let mut made = Side::new();
    for (target, old) in old {
        let put = Put {
            to,
            target: *target,
            key: KEY,
            sources: &given,
            old: old.as_ref(),
        };
        match lens.put_among(&put, &others)? {
            Made::Document(fields) => made.push((*target, Some(fields))),
            Made::Nothing => made.push((*target, None)),
            Made::NotReady => return Ok(None),
        }
    }
    Ok(Some(made))
}
