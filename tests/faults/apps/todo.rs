//! The todo app of `schemas/`: since version 2 a todo's status has a document of its own, for which version 1 waits.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::{
    app::{Doing, Model, Schemas, Shown, Written},
    check::Seen,
    lot::copy,
    past::ids,
};

pub struct Todo;

/// The same, with `merge: fields`.
pub struct Merging;

impl Model for Todo {
    fn name(&self) -> &'static str {
        "todo"
    }

    fn schemas(&self) -> Schemas {
        Schemas::of("schemas")
    }

    fn versions(&self) -> &'static [&'static str] {
        &["todo-app@1.2.0", "todo-app@2.0.0", "todo-app@3.0.0"]
    }

    fn works_on(&self, version: usize, key: &str) -> Vec<String> {
        let [one, two, three, status] = ids(key);
        match version {
            1 => vec![one],
            2 => vec![two, status],
            _ => vec![three, status],
        }
    }

    fn done(&self, doing: &Doing, shown: Shown<'_>) -> Vec<Written> {
        let documents = self.works_on(doing.version, &doing.key);
        let main = shown(&documents[0]);
        let mut written = Vec::new();
        if let Some(id) = documents.get(1) {
            match shown(id) {
                None => {
                    let body = json!({"schema": "todo-item-status", "version": 1, "status": "active"});
                    written.push((id.clone(), Some(body)));
                }
                Some(mut body) if main.is_some() && doing.choice.is_multiple_of(4) => {
                    body["status"] = json!(["active", "blocked", "done"][usize::from(doing.choice / 4) % 3]);
                    return vec![(id.clone(), Some(body))];
                }
                Some(_) => {}
            }
        }
        let mut body = main.unwrap_or_else(|| {
            let mut body = json!({"schema": "todo-item", "version": doing.version, "title": ""});
            match doing.version {
                1 => body["isDone"] = json!(false),
                3 => body["group"] = json!("default"),
                _ => {}
            }
            body
        });
        match doing.version {
            1 if doing.choice.is_multiple_of(3) => body["isDone"] = json!(body["isDone"] == false),
            3 if doing.choice.is_multiple_of(3) => body["group"] = json!(doing.title),
            _ => body["title"] = json!(doing.title),
        }
        written.push((documents[0].clone(), Some(body)));
        written
    }

    fn disagreements(&self, seen: &Seen, key: &str) -> Vec<String> {
        let [one, two, three, status] = ids(key).map(|id| seen.shown(&id));
        let title = |body: Option<&Value>| body.map(|body| body["title"].clone());
        let mut told = Vec::new();
        if (title(one) != title(two) && !self.is_waiting(seen, key)) || title(two) != title(three) {
            told.push(format!("titles of {key}: {one:?} {two:?} {three:?}"));
        }
        if let (Some(todo), Some(status)) = (one, status)
            && (todo["isDone"] == true) != (status["status"] == "done")
        {
            told.push(format!("status of {key}: {todo} {status}"));
        }
        told
    }

    fn is_waiting(&self, seen: &Seen, key: &str) -> bool {
        let [.., status] = ids(key);
        seen.tree(&status).is_none()
    }
}

impl Model for Merging {
    fn name(&self) -> &'static str {
        "todo, merging"
    }

    fn schemas(&self) -> Schemas {
        let folder = tempfile::tempdir().unwrap();
        copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas"), folder.path());
        for class in ["todo-item@3", "todo-item-status@1"] {
            let file = folder.path().join("classes").join(format!("{class}.json"));
            let mut definition: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
            definition["merge"] = json!("fields");
            fs::write(file, definition.to_string()).unwrap();
        }
        Schemas::Made(folder)
    }

    fn versions(&self) -> &'static [&'static str] {
        Todo.versions()
    }

    fn works_on(&self, version: usize, key: &str) -> Vec<String> {
        Todo.works_on(version, key)
    }

    fn done(&self, doing: &Doing, shown: Shown<'_>) -> Vec<Written> {
        Todo.done(doing, shown)
    }

    fn disagreements(&self, seen: &Seen, key: &str) -> Vec<String> {
        Todo.disagreements(seen, key)
    }

    fn is_waiting(&self, seen: &Seen, key: &str) -> bool {
        Todo.is_waiting(seen, key)
    }
}
