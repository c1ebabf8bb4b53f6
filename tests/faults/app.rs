//! An app in several versions, as worlds know it: which documents belong together and who replicates them is told by its schemas, what
//! people do with it and what they must see in each version by its [`Model`].

use std::{path::PathBuf, sync::Arc};

use chesterfield::{
    config::Config,
    schema::{AppManifest, ClassId, Registry},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::check::Seen;

/// Where schemas are.
pub enum Schemas {
    /// In the repository.
    Kept(PathBuf),
    /// Made for this test.
    Made(TempDir),
}

/// What somebody does to an entity.
#[derive(Clone, Debug)]
pub struct Doing {
    /// Of the app that is used, from 1.
    pub version: usize,
    pub key: String,
    /// One that nobody else gives.
    pub title: String,
    pub choice: u8,
    /// Whatever comes of it when others do something at the same time; else only what all others can see has been done.
    pub is_free: bool,
}

/// Documents as they are shown where something is done.
pub type Shown<'a> = &'a dyn Fn(&str) -> Option<Value>;

/// A document with what is written into it; none: it is deleted.
pub type Written = (String, Option<Value>);

pub trait Model: Sync {
    fn name(&self) -> &'static str;

    fn schemas(&self) -> Schemas;

    /// What each version says it is.
    fn versions(&self) -> &'static [&'static str];

    /// The documents that a version writes of an entity, the one that it is about first.
    fn works_on(&self, version: usize, key: &str) -> Vec<String>;

    /// The documents in which somebody with a version resolves conflicts, of an entity on which all work.
    fn resolves(&self, version: usize, key: &str) -> Vec<String> {
        self.works_on(version, key)
    }

    /// One thing at a time, as people do, in the order in which it is written.
    fn done(&self, doing: &Doing, shown: Shown<'_>) -> Vec<Written>;

    /// Where versions of an entity show what does not go together.
    fn disagreements(&self, seen: &Seen, key: &str) -> Vec<String>;

    /// A document that is not always there, so that an edit of others need not reach it.
    fn is_optional(&self, _id: &str) -> bool {
        false
    }

    /// Whether the losing sides of a conflict are brought in step before they come to win, or are edited.
    fn losers_follow(&self) -> bool {
        true
    }

    /// Whether a document has never arrived, for which another one waits.
    fn is_waiting(&self, _seen: &Seen, _key: &str) -> bool {
        false
    }
}

#[derive(Clone)]
pub struct App {
    pub model: &'static dyn Model,
    registry: Arc<Registry>,
    manifests: Vec<Arc<AppManifest>>,
}

impl Schemas {
    pub fn of(path: &str) -> Self {
        Self::Kept(path.into())
    }

    pub fn path(&self) -> PathBuf {
        match self {
            Self::Kept(path) => path.clone(),
            Self::Made(folder) => folder.path().to_owned(),
        }
    }
}

impl App {
    pub fn new(model: &'static dyn Model, config: &Config) -> Self {
        let apps = &config.proxy.apps;
        let manifests = model.versions().iter().map(|said| apps.resolve(said).unwrap().clone());
        Self {
            model,
            registry: config.schemas.registry.clone(),
            manifests: manifests.collect(),
        }
    }

    /// What one says of its version.
    pub fn says(&self, version: usize) -> String {
        self.model.versions()[version - 1].to_owned()
    }

    pub fn versions(&self) -> usize {
        self.manifests.len()
    }

    fn class(&self, id: &str) -> Option<(ClassId, String)> {
        let (class, key) = self.registry.classify(id)?;
        Some((class, key.to_owned()))
    }

    /// What the documents of an entity share.
    pub fn key(&self, id: &str) -> Option<String> {
        Some(self.class(id)?.1)
    }

    /// The document that a version is about.
    pub fn main(&self, version: usize, key: &str) -> String {
        self.model.works_on(version, key).swap_remove(0)
    }

    /// That of each version.
    pub fn mains(&self, key: &str) -> Vec<String> {
        (1..=self.versions()).map(|version| self.main(version, key)).collect()
    }

    /// The documents that an edit has to reach, beside its own.
    pub fn reached(&self, id: &str) -> Vec<String> {
        let Some((class, key)) = self.class(id) else {
            return Vec::new();
        };
        let mut others = self.registry.entity_ids(class, &key).unwrap_or_default();
        others.retain(|other| {
            let (target, _) = self.registry.classify(other).unwrap();
            other != id && self.registry.via(class, target).is_some() && !self.model.is_optional(other)
        });
        others
    }

    pub fn replicates(&self, version: usize, id: &str) -> bool {
        let filter = &self.manifests[version - 1].replicates;
        !id.starts_with('_') && filter.as_ref().is_none_or(|filter| filter.admits(id))
    }
}
