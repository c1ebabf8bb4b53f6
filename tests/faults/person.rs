//! What somebody does on a device, and what is to be seen there.

use crate::{
    app::{Doing, Written},
    check::Seen,
    device::Device,
    tree::Tree,
};

/// Of the choices, those above it delete what may be deleted.
const DELETING: u8 = 240;

impl Device {
    /// What somebody would write who does this here.
    pub fn planned(&self, doing: &Doing) -> Vec<Written> {
        let main = self.app.main(self.version, &doing.key);
        if doing.is_free && doing.choice > DELETING && self.shown(&main).is_some() {
            return vec![(main, None)];
        }
        let shown = |id: &str| self.shown(id).cloned();
        self.app.model.done(doing, &shown)
    }

    pub fn work(&mut self, doing: &Doing) {
        for (id, body) in self.planned(doing) {
            self.write(&id, body);
        }
    }

    /// Where it holds something else than the server.
    pub fn differences(&self, seen: &Seen) -> Vec<String> {
        let mut told = Vec::new();
        let replicated = seen.ids().filter(|id| self.app.replicates(self.version, id));
        for id in replicated {
            let [here, there] = [self.trees.get(id), seen.tree(id)].map(|tree| tree.map(Tree::leaves));
            if here != there {
                let version = self.version;
                told.push(format!(
                    "a device in version {version} has {here:?} of {id}, the server {there:?}"
                ));
            }
        }
        told
    }
}
