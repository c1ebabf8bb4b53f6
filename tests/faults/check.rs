//! What must hold once the network has healed: every edit is where it must be, versions agree, and nobody has a conflict that no person made.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    app::App,
    device::Edit,
    stage::{Asking, Stage},
    tree::{Tree, hash},
};

/// So much of a revision's hash tells which edit it carries.
const EDIT: usize = 12;

/// Every document of a database with all its revisions.
pub struct Seen(BTreeMap<String, Tree>);

/// Whether an edit is among these revisions, its own or one that carries it.
pub fn tells<'a>(revs: impl IntoIterator<Item = &'a str>, edit: &str) -> bool {
    let edit = &hash(edit)[..EDIT];
    revs.into_iter().any(|rev| hash(rev).starts_with(edit))
}

impl Seen {
    /// Brings the whole database in step; answers what was missing, and nothing told of it.
    pub async fn missed(stage: &Stage, app: &App) -> Vec<String> {
        let before = Self::read(&stage.direct()).await;
        if stage.backfill().await == 0 {
            return Vec::new();
        }
        let after = Self::read(&stage.direct()).await;
        let new = after.since(&before, app.model.losers_follow());
        let mut told: Vec<String> = new
            .into_iter()
            .map(|new| format!("nothing told that these were missing: {new}"))
            .collect();
        told.extend(after.disagreements(app));
        told
    }

    pub async fn read(couch: &Asking) -> Self {
        let listed = couch.ask("GET", "_changes", "").await.body;
        let mut trees = BTreeMap::new();
        for row in listed["results"].as_array().unwrap() {
            let id = row["id"].as_str().unwrap();
            // Indexes are not replicated, and nobody's.
            if id.starts_with('_') {
                continue;
            }
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

    /// What wins, if it is no deletion.
    pub fn shown(&self, id: &str) -> Option<&Value> {
        self.tree(id)?.shown()
    }

    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The entities of which there is a document.
    pub fn keys(&self, app: &App) -> BTreeSet<String> {
        self.ids().filter_map(|id| app.key(id)).collect()
    }

    /// Acknowledged edits that are missing somewhere.
    pub fn lost<'a>(&self, app: &App, edits: impl IntoIterator<Item = &'a Edit>) -> Vec<String> {
        let mut lost = Vec::new();
        for Edit { id, rev, .. } in edits.into_iter().filter(|edit| edit.is_acknowledged) {
            if !self.tree(id).is_some_and(|tree| tree.has(rev)) {
                lost.push(format!("{id} has lost {rev}"));
            }
            for target in app.reached(id) {
                if !self.tree(&target).is_some_and(|tree| tells(tree.revs(), rev)) {
                    lost.push(format!("{target} lacks {rev} of {id}"));
                }
            }
        }
        lost
    }

    /// Where versions show what does not go together.
    pub fn disagreements(&self, app: &App) -> Vec<String> {
        let keys = self.keys(app);
        keys.iter().flat_map(|key| app.model.disagreements(self, key)).collect()
    }

    /// Whether a document of one version has another number of live leaves than that of another.
    pub fn uneven(&self, app: &App, key: &str) -> Option<String> {
        let live = |id: &String| self.tree(id).map_or(0, |tree| tree.live().len());
        let mains = app.mains(key);
        let live: Vec<usize> = mains.iter().map(live).collect();
        let is_even = live.windows(2).all(|pair| pair[0] == pair[1]);
        let is_uneven = !is_even && !app.model.is_waiting(self, key);
        is_uneven.then(|| format!("{mains:?} have so many leaves: {live:?}"))
    }

    /// What is here and was not there before. Where losing sides need not follow, it counts only if it is of no conflict, or shows something else:
    /// one that follows late lengthens its side, and the winner has to be lengthened with it.
    fn since(&self, before: &Self, losers_follow: bool) -> Vec<String> {
        let told = self.0.iter().filter_map(|(id, tree)| {
            let is_new = |rev: &&str| !before.tree(id).is_some_and(|tree| tree.has(rev));
            let new: Vec<&str> = tree.revs().filter(is_new).collect();
            let counts = losers_follow || tree.live().len() < 2 || self.shown(id) != before.shown(id);
            (counts && !new.is_empty()).then(|| format!("{id}: {new:?}"))
        });
        told.collect()
    }

    /// All that is known of the entities whose documents findings name, and what was done to them.
    pub fn told<'a>(&self, app: &App, findings: &[String], edits: impl IntoIterator<Item = &'a Edit>) -> String {
        let names = |id: &str| findings.iter().any(|found| found.contains(id));
        let keys: BTreeSet<String> = self.ids().filter(|id| names(id)).filter_map(|id| app.key(id)).collect();
        let is_named = |id: &str| app.key(id).is_some_and(|key| keys.contains(&key));
        let trees = self.0.iter().filter(|(id, _)| is_named(id));
        let trees = trees.map(|(id, tree)| format!("\n  {id}{tree}"));
        let edits = edits.into_iter().filter(|edit| is_named(&edit.id));
        trees.chain(edits.map(|edit| format!("\n  {edit:?}"))).collect()
    }

    /// Conflicts among documents on which nobody has worked at the same time as somebody else.
    pub fn conflicts(&self, app: &App, is_calm: impl Fn(&str) -> bool) -> Vec<String> {
        let of_app = |id: &str| app.key(id).is_some();
        let conflicts = self
            .0
            .iter()
            .filter(|(id, tree)| of_app(id) && is_calm(id) && tree.live().len() > 1);
        conflicts
            .map(|(id, tree)| format!("{id} is in conflict: {:?}", tree.live()))
            .collect()
    }
}
