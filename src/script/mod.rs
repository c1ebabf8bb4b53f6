//! Lenses written in JavaScript: modules that export `up` and `down`, run by QuickJS, the engine that CouchDB itself uses.
//!
//! A script is pure: of the same documents it makes the same, on every machine, at any time. The realm it runs in has no clock, no chance
//! and no way out, and nothing in it can be changed (`realm.js`); its modules are run anew for each call, unless nothing in them can change ([`module`]). What it asks
//! of time and memory is bounded ([`Limits`]).
//!
//! Each thread keeps one realm, in which every script is compiled once (`engine`). Documents are not turned to text and back:
//! values are read when a script looks at them, and what it passes on unseen keeps its source text (`bridge`).

mod answer;
mod bridge;
mod engine;
mod fault;
mod held;
mod layout;
pub mod link;
pub mod module;
mod pieces;
pub mod place;
mod reader;
mod still;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{couch::Fields, schema::Direction};
pub use fault::Fault;
use link::Linked;
pub use link::{FileFlaw, Read};
pub use place::Place;

/// A compiled script.
#[derive(Clone, Debug)]
pub struct Script(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// No other script of this process has it.
    id: u64,
    limits: Limits,
    /// What is imported stands before what imports it; the script's own file is the last.
    modules: Vec<Linked>,
}

/// What one call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of the thread's CPU time.
    pub time: Duration,
    /// In bytes: what the realm holds, and what the answer's text takes.
    pub memory: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            time: Duration::from_millis(50),
            memory: 64 << 20,
        }
    }
}

/// What a script is called with.
#[derive(Clone, Copy, Debug)]
pub struct Call<'a> {
    /// `up` makes new of old, `down` old of new.
    pub way: Direction,
    /// The key that all documents at hand share.
    pub key: &'a str,
    /// The documents on the near side, by the names of their classes; a missing one is left out.
    pub docs: &'a [(&'a str, &'a Fields)],
    /// The document to be made, by the name of its class.
    pub target: &'a str,
    /// What it was.
    pub existing: Option<&'a Fields>,
}

/// What a script makes of a call.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The fields of the document that was asked for.
    Document(Fields),
    /// `null` for that document: there is none.
    Nothing,
    /// `null` as a whole.
    NotReady,
}

impl Script {
    /// Reads a script and all that it imports, and tries whether it can be run. `file` and the names that `read` is asked for are
    /// paths within the folder of schemas, with `/` between their parts.
    pub fn load(file: &str, read: &Read, limits: Limits) -> Result<Self, Vec<FileFlaw>> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let script = Self(Arc::new(Inner {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            limits,
            modules: link::link(file, read)?,
        }));
        match engine::check(&script.0) {
            Ok(()) => Ok(script),
            Err(fault) => Err(vec![fault.into_flaw()]),
        }
    }

    /// The text of each module as it is run, what is imported first.
    pub fn modules(&self) -> impl Iterator<Item = &str> {
        self.0.modules.iter().map(|module| &*module.function)
    }

    /// A fault of the script as a whole.
    pub fn fault(&self, what: impl Into<String>) -> Fault {
        Fault::of(&self.0, what)
    }

    /// Runs `up` or `down`.
    pub fn call(&self, call: &Call) -> Result<Answer, Fault> {
        engine::call(&self.0, call)
    }

    /// Runs it in a realm of its own, that nothing has run in before.
    pub fn call_afresh(&self, call: &Call) -> Result<Answer, Fault> {
        engine::call_afresh(&self.0, call)
    }
}

#[cfg(test)]
mod tests;
