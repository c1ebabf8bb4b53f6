//! The revisions of a document.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde_json::{Value, json};

/// A revision, as `3-abc`.
pub type Rev = String;

/// The revisions of a document, as far as they are known.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    nodes: BTreeMap<Rev, Node>,
}

#[derive(Clone, Debug)]
struct Node {
    parent: Option<Rev>,
    body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// An ancestor, of which only the name is known.
    Unknown,
    Deleted,
    Live(Value),
}

pub fn generation(rev: &str) -> u64 {
    rev.split_once('-').and_then(|(start, _)| start.parse().ok()).unwrap()
}

pub fn hash(rev: &str) -> &str {
    rev.split_once('-').unwrap().1
}

impl fmt::Display for Tree {
    /// A line for each revision, with what stands at it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rev, Node { parent, body }) in &self.nodes {
            let parent = parent.as_deref().unwrap_or_default();
            write!(f, "\n    {rev} on {parent} {body:?}")?;
        }
        Ok(())
    }
}

impl Tree {
    pub fn has(&self, rev: &str) -> bool {
        self.nodes.contains_key(rev)
    }

    pub fn revs(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    pub fn leaves(&self) -> BTreeSet<&str> {
        let parents: BTreeSet<&str> = self.nodes.values().filter_map(|node| node.parent.as_deref()).collect();
        self.revs().filter(|rev| !parents.contains(rev)).collect()
    }

    pub fn live(&self) -> BTreeSet<&str> {
        let is_live = |rev: &&str| matches!(self.nodes[*rev].body, Body::Live(_));
        self.leaves().into_iter().filter(is_live).collect()
    }

    /// By CouchDB's rule.
    pub fn winner(&self) -> Option<&str> {
        let order = |rev: &&str| {
            let is_live = self.nodes[*rev].body != Body::Deleted;
            (is_live, generation(rev), hash(rev).to_owned())
        };
        self.leaves().into_iter().max_by_key(order)
    }

    pub fn shown(&self) -> Option<&Value> {
        match &self.nodes[self.winner()?].body {
            Body::Live(body) => Some(body),
            Body::Deleted | Body::Unknown => None,
        }
    }

    /// From a revision to the first that is known.
    pub fn path<'a>(&'a self, rev: &'a str) -> Vec<&'a str> {
        std::iter::successors(Some(rev), |rev| self.nodes.get(*rev)?.parent.as_deref()).collect()
    }

    /// Puts in a document as it is replicated; answers whether its revision is new.
    pub fn insert(&mut self, document: &Value) -> bool {
        let start = document["_revisions"]["start"].as_u64().unwrap();
        let ids = document["_revisions"]["ids"].as_array().unwrap();
        let names = ids.iter().zip((1..=start).rev());
        let path: Vec<Rev> = names.map(|(id, n)| format!("{n}-{}", id.as_str().unwrap())).collect();
        let mut bare = document.clone();
        let is_deleted = bare["_deleted"] == true;
        let fields = bare.as_object_mut().unwrap();
        fields.retain(|name, _| !name.starts_with('_') || name == "_attachments");
        let body = if is_deleted { Body::Deleted } else { Body::Live(bare) };
        self.add(&path, body)
    }

    /// Answers whether the revision is new; the path begins with it.
    pub fn add(&mut self, path: &[Rev], body: Body) -> bool {
        for pair in path.windows(2) {
            let parent = Some(pair[1].clone());
            let node = self.nodes.entry(pair[0].clone()).or_insert(Node {
                parent: None,
                body: Body::Unknown,
            });
            node.parent = node.parent.take().or(parent);
        }
        if let Some(first) = path.last() {
            self.nodes.entry(first.clone()).or_insert(Node {
                parent: None,
                body: Body::Unknown,
            });
        }
        let node = self.nodes.get_mut(&path[0]).unwrap();
        let is_new = node.body == Body::Unknown;
        node.body = body;
        is_new
    }

    /// A leaf as it is replicated.
    pub fn document(&self, id: &str, rev: &str) -> Value {
        let path = self.path(rev);
        let ids: Vec<&str> = path.iter().map(|rev| hash(rev)).collect();
        let mut document = json!({"_id": id, "_rev": rev, "_revisions": {"start": generation(rev), "ids": ids}});
        match &self.nodes[rev].body {
            Body::Live(body) => {
                let fields = body.as_object().unwrap().clone();
                document.as_object_mut().unwrap().extend(fields);
            }
            Body::Deleted => document["_deleted"] = json!(true),
            Body::Unknown => unreachable!("leaves are known"),
        }
        document
    }
}
