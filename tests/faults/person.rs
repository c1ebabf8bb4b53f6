//! What somebody does on a device, and what is to be seen there.

use serde_json::{Value, json};

use crate::{
    check::{Seen, replicated},
    device::Device,
    past::ids,
    tree::Tree,
};

impl Device {
    /// The documents that its app writes of a todo.
    pub fn works_on(&self, key: &str) -> Vec<String> {
        let [one, two, three, status] = ids(key);
        match self.version {
            1 => vec![one],
            2 => vec![two, status],
            _ => vec![three, status],
        }
    }

    pub fn new_todo(&self) -> Value {
        let mut body = json!({"schema": "todo-item", "version": self.version, "title": ""});
        match self.version {
            1 => body["isDone"] = json!(false),
            3 => body["group"] = json!("default"),
            _ => {}
        }
        body
    }

    /// One thing at a time, as people do.
    pub fn work(&mut self, key: &str, title: String, choice: u8, may_delete: bool) {
        let documents = self.works_on(key);
        let main = &documents[0];
        let is_there = self.shown(main).is_some();
        if let Some(status) = documents.get(1) {
            let shown = self.shown(status).cloned();
            let is_new = shown.is_none();
            if is_new || (is_there && choice.is_multiple_of(4)) {
                let mut body =
                    shown.unwrap_or_else(|| json!({"schema": "todo-item-status", "version": 1, "status": "active"}));
                if !is_new {
                    body["status"] = json!(["active", "blocked", "done"][usize::from(choice / 4) % 3]);
                }
                self.write(status, Some(body));
                if !is_new {
                    return;
                }
            }
        }
        if may_delete && is_there && choice > 240 {
            return self.write(main, None);
        }
        let mut body = self.shown(main).cloned().unwrap_or_else(|| self.new_todo());
        match self.version {
            1 if choice.is_multiple_of(3) => body["isDone"] = json!(body["isDone"] == false),
            3 if choice.is_multiple_of(3) => body["group"] = json!(title),
            _ => body["title"] = json!(title),
        }
        self.write(main, Some(body));
    }

    /// Where it holds something else than the server.
    pub fn differences(&self, seen: &Seen) -> Vec<String> {
        let mut told = Vec::new();
        for key in seen.keys() {
            for id in replicated(self.version, key) {
                let [here, there] = [self.trees.get(&id), seen.tree(&id)].map(|tree| tree.map(Tree::leaves));
                if here != there {
                    let version = self.version;
                    told.push(format!(
                        "a device in version {version} has {here:?} of {id}, the server {there:?}"
                    ));
                }
            }
        }
        told
    }
}
