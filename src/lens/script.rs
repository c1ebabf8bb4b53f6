//! Lenses whose steps are a script.

use super::{Lens, Made, Put, PutError};
use crate::{
    couch::Fields,
    schema::{ClassId, ClassName},
    script::{Answer, Call, Fault, Script},
};

/// A script, and how it calls the classes of the lens.
#[derive(Clone, Debug)]
pub struct Scripted {
    script: Script,
    names: Vec<(ClassId, String)>,
}

impl Scripted {
    /// The script of a lens between these classes.
    pub fn new(script: Script, names: impl Iterator<Item = (ClassId, ClassName)>) -> Self {
        let names = names.map(|(class, name)| (class, name.to_string())).collect();
        Self { script, names }
    }

    /// The texts of its modules.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.script.modules()
    }

    fn name(&self, class: ClassId) -> &str {
        let found = self.names.iter().find(|(id, _)| *id == class);
        found.map_or("", |(_, name)| name)
    }

    /// Makes one document of those on the other side.
    pub fn put(&self, lens: &Lens, put: &Put) -> Result<Made, PutError> {
        self.run(lens, put, Script::call)
    }

    /// Makes it in the thread's realm and twice where no script has run before: one that is pure makes the same each time.
    pub fn put_surely(&self, lens: &Lens, put: &Put) -> Result<Made, PutError> {
        let made = self.put(lens, put)?;
        for _ in 0..2 {
            let again = self.run(lens, put, Script::call_afresh)?;
            if !made.same_as(&again) {
                let what = "makes something else of the same documents when it is run again";
                return Err(self.script.fault(what).into());
            }
        }
        Ok(made)
    }

    fn run(
        &self,
        lens: &Lens,
        put: &Put,
        call: impl Fn(&Script, &Call) -> Result<Answer, Fault>,
    ) -> Result<Made, PutError> {
        let (near, _) = lens.step.sides(put.to);
        let mut docs: Vec<(&str, &Fields)> = Vec::with_capacity(near.len());
        for (&class, source) in near.iter().zip(put.sources) {
            if let Some(fields) = source.or(lens.default_of(class)) {
                docs.push((self.name(class), fields));
            }
        }
        let call_with = Call {
            way: put.to,
            key: put.key,
            docs: &docs,
            target: self.name(put.target),
            existing: put.old,
        };
        Ok(match call(&self.script, &call_with)? {
            Answer::Document(fields) => Made::Document(fields),
            Answer::Nothing => Made::Nothing,
            Answer::NotReady => Made::NotReady,
        })
    }
}
