//! The planner of `examples/planner`: versions 1 and 2 embed a group in every task, version 3 refers to it.
//!
//! Where tasks may be in conflict they share two groups; every other task has one of its own.

use serde_json::{Value, json};

use crate::{
    app::{Doing, Model, Schemas, Shown, Written},
    check::Seen,
};

pub struct Planner;

pub fn task(key: &str) -> [String; 3] {
    [1, 2, 3].map(|version| format!("task:{key}:v:{version}"))
}

pub fn group(key: &str) -> String {
    format!("group:{key}:v:1")
}

/// The key of the group that a task is in, or comes into.
fn group_of(doing: &Doing) -> String {
    match doing.key.strip_prefix("any") {
        Some(_) => format!("any-{}", doing.choice / 8 % 2),
        None => doing.key.clone(),
    }
}

fn color(choice: u8) -> &'static str {
    ["red", "green", "blue"][usize::from(choice) % 3]
}

impl Model for Planner {
    fn name(&self) -> &'static str {
        "planner"
    }

    fn schemas(&self) -> Schemas {
        Schemas::of("examples/planner/schemas")
    }

    fn versions(&self) -> &'static [&'static str] {
        &["planner@1.0.0", "planner@2.0.0", "planner@3.0.0"]
    }

    fn works_on(&self, version: usize, key: &str) -> Vec<String> {
        vec![task(key)[version - 1].clone()]
    }

    fn resolves(&self, version: usize, key: &str) -> Vec<String> {
        let groups = (version == 3).then(|| group(key));
        self.works_on(version, key).into_iter().chain(groups).collect()
    }

    fn done(&self, doing: &Doing, shown: Shown<'_>) -> Vec<Written> {
        let [id] = self.works_on(doing.version, &doing.key).try_into().unwrap();
        let name = group_of(doing);
        let is_any = doing.key.starts_with("any");
        // The server puts back what is embedded of another color than the group has, and that may meet the next edit on the device: only where
        // conflicts may be.
        let embedded = json!({"name": name, "color": color(if is_any { doing.choice } else { 0 })});
        if doing.version == 3 && doing.is_free && doing.choice.is_multiple_of(4) {
            let id = group(&name);
            let mut body = shown(&id).unwrap_or_else(|| json!({"schema": "group", "version": 1, "name": name}));
            body["color"] = json!(color(doing.choice / 4));
            return vec![(id, Some(body))];
        }
        let mut body = shown(&id).unwrap_or_else(|| {
            let mut body = json!({"schema": "task", "version": doing.version});
            match doing.version {
                3 => body["groupId"] = json!(name),
                _ => body["group"] = embedded.clone(),
            }
            body
        });
        let title = if doing.version == 1 { "text" } else { "title" };
        match doing.version {
            3 if doing.is_free && doing.choice % 4 == 1 => body["groupId"] = json!(name),
            1 | 2 if is_any && doing.choice % 4 == 1 => body["group"] = embedded,
            _ => body[title] = json!(doing.title),
        }
        if body.get(title).is_none() {
            body[title] = json!(doing.title);
        }
        vec![(id, Some(body))]
    }

    /// Only what wins refers (`schemas/README.md`).
    fn losers_follow(&self) -> bool {
        false
    }

    fn disagreements(&self, seen: &Seen, key: &str) -> Vec<String> {
        let documents = task(key);
        let [one, two, three] = documents.each_ref().map(|id| seen.shown(id));
        let field = |body: Option<&Value>, name: &str| body.map(|body| body[name].clone());
        let mut told = Vec::new();
        if field(one, "text") != field(two, "title") || field(two, "title") != field(three, "title") {
            told.push(format!("titles of {key}: {one:?} {two:?} {three:?}"));
        }
        let referred = three.map(|three| {
            let group = seen.shown(&group(three["groupId"].as_str().unwrap_or_default()));
            let none = || json!({"name": "none", "color": "grey"});
            group.map_or_else(none, |group| json!({"name": group["name"], "color": group["color"]}))
        });
        if field(one, "group") != field(two, "group") || field(two, "group") != referred {
            told.push(format!("groups of {key}: {one:?} {two:?} {three:?} {referred:?}"));
        }
        told
    }
}
