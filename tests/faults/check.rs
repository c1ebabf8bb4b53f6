//! What must hold once the network has healed: every edit is where it must be, versions agree, and nobody has a conflict that no person made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    device::Edit,
    past::ids,
    stage::Asking,
    tree::{Tree, hash},
};

/// So much of a revision's hash tells which edit it carries.
const EDIT: usize = 12;

/// Every document of a database with all its revisions.
pub struct Seen(BTreeMap<String, Tree>);

/// The key that a todo's documents share.
pub fn key(id: &str) -> &str {
    id.split(':').nth(1).unwrap_or_default()
}

/// The documents that an edit has to reach, beside its own.
pub fn reached(id: &str) -> Vec<String> {
    let [one, two, three, status] = ids(key(id));
    match id {
        id if id == one => vec![two, three, status],
        id if id == two => vec![one, three],
        id if id == three => vec![one, two],
        _ => vec![one],
    }
}

/// Whether an edit is among these revisions, its own or one that carries it.
pub fn tells<'a>(revs: impl IntoIterator<Item = &'a str>, edit: &str) -> bool {
    let edit = &hash(edit)[..EDIT];
    revs.into_iter().any(|rev| hash(rev).starts_with(edit))
}

/// The documents that a version replicates.
pub fn replicated(version: u64, key: &str) -> Vec<String> {
    let [one, two, three, status] = ids(key);
    match version {
        1 => vec![one, two, three, status],
        2 => vec![two, three, status],
        _ => vec![three, status],
    }
}

impl Seen {
    pub async fn read(couch: &Asking) -> Self {
        let listed = couch.ask("GET", "_changes", "").await.body;
        let mut trees = BTreeMap::new();
        for row in listed["results"].as_array().unwrap() {
            let id = row["id"].as_str().unwrap();
            let path = format!("{id}?open_revs=all&revs=true");
            let json = [("accept", "application/json")];
            let leaves = couch.ask_with("GET", &path, &json, "").await.body;
            let mut tree = Tree::default();
            for leaf in leaves.as_array().unwrap() {
                tree.insert(&leaf["ok"]);
            }
            trees.insert(id.to_owned(), tree);
        }
        Self(trees)
    }

    pub fn tree(&self, id: &str) -> Option<&Tree> {
        self.0.get(id)
    }

    pub fn keys(&self) -> BTreeSet<&str> {
        self.0.keys().map(|id| key(id)).collect()
    }

    /// Acknowledged edits that are missing somewhere.
    pub fn lost<'a>(&self, edits: impl IntoIterator<Item = &'a Edit>) -> Vec<String> {
        let mut lost = Vec::new();
        for Edit { id, rev, .. } in edits.into_iter().filter(|edit| edit.is_acknowledged) {
            if !self.tree(id).is_some_and(|tree| tree.has(rev)) {
                lost.push(format!("{id} has lost {rev}"));
            }
            for target in reached(id) {
                if !self.tree(&target).is_some_and(|tree| tells(tree.revs(), rev)) {
                    lost.push(format!("{target} lacks {rev} of {id}"));
                }
            }
        }
        lost
    }

    /// Whether a todo's status has never arrived, for which version 1 waits.
    pub fn is_waiting(&self, key: &str) -> bool {
        let [.., status] = ids(key);
        self.tree(&status).is_none()
    }

    /// Where versions show what does not go together.
    pub fn disagreements(&self) -> Vec<String> {
        let mut told = Vec::new();
        for key in self.keys() {
            let shown = ids(key).map(|id| self.tree(&id).and_then(Tree::shown));
            let [one, two, three, status] = shown;
            let title = |body: Option<&Value>| body.map(|body| body["title"].clone());
            if (title(one) != title(two) && !self.is_waiting(key)) || title(two) != title(three) {
                told.push(format!("titles of {key}: {one:?} {two:?} {three:?}"));
            }
            if let (Some(todo), Some(status)) = (one, status)
                && (todo["isDone"] == true) != (status["status"] == "done")
            {
                told.push(format!("status of {key}: {todo} {status}"));
            }
        }
        told
    }

    /// Conflicts among documents on which nobody has worked at the same time as somebody else.
    pub fn conflicts(&self, is_calm: impl Fn(&str) -> bool) -> Vec<String> {
        let conflicts = self.0.iter().filter(|(id, tree)| is_calm(id) && tree.live().len() > 1);
        conflicts
            .map(|(id, tree)| format!("{id} is in conflict: {:?}{}", tree.live(), self.entity(key(id))))
            .collect()
    }

    /// All that is known of a todo's documents.
    fn entity(&self, key: &str) -> String {
        let trees = ids(key).into_iter().filter_map(|id| Some((self.tree(&id)?, id)));
        trees.map(|(tree, id)| format!("\n  {id}{tree}")).collect()
    }
}
