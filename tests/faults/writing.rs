//! The writes at which proxies are killed: one of each kind that takes a way of its own through the proxy.

use serde_json::{Value, json};

use crate::{
    app::Model,
    apps::{
        AddressBook, Chat, Planner, Todo,
        address_book::contact,
        chat::{message, said},
        planner::{group, task},
    },
    device::Edit,
    line::Sending,
    past::{ids, todo},
};

/// The winning revision of a document that is there.
pub type Revs<'a> = &'a dyn Fn(&str) -> String;

pub struct Writing {
    pub name: &'static str,
    pub model: &'static dyn Model,
    /// What was there before of an entity with this key.
    pub before: fn(&str) -> Vec<Value>,
    pub request: fn(&str, Revs<'_>) -> Asked,
    /// It makes a conflict, and is no less a good write for that.
    pub is_conflict: bool,
}

/// A request for one entity, and perhaps for another one whose key has an `n` before.
pub struct Asked {
    method: &'static str,
    path: String,
    kind: String,
    body: Vec<u8>,
}

pub const ALL: [Writing; 17] = [
    Writing::new(
        "a new todo",
        &Todo,
        |_| Vec::new(),
        |key, _| {
            let [one, ..] = ids(key);
            Asked::json("PUT", one, todo("new"))
        },
    ),
    Writing::new("an edit", &Todo, a_todo, |key, rev| {
        let [.., three, _] = ids(key);
        let body = json!({"_rev": rev(&three), "schema": "todo-item", "version": 3, "title": "edited", "group": "x"});
        Asked::json("PUT", three, body)
    }),
    Writing::new("a deletion", &Todo, a_todo, |key, rev| {
        let [one, ..] = ids(key);
        Asked::json("DELETE", format!("{one}?rev={}", rev(&one)), Value::Null)
    }),
    Writing::new("a batch", &Todo, a_todo, |key, rev| {
        let [one, ..] = ids(key);
        let [fresh, ..] = ids(&format!("n{key}"));
        let edited = with(todo("edited"), json!({"_id": one, "_rev": rev(&one)}));
        let docs = [edited, with(todo("new"), json!({"_id": fresh}))];
        Asked::json("POST", "_bulk_docs".into(), json!({"docs": docs}))
    }),
    Writing::new("what a replicator brings", &Todo, a_todo, |key, rev| {
        let [_, two, _, status] = ids(key);
        let body = json!({"schema": "todo-item", "version": 2, "title": "edited"});
        let done = json!({"schema": "todo-item-status", "version": 1, "status": "done"});
        Asked::replicated(&[
            on_top(&two, &rev(&two), "d", body),
            on_top(&status, &rev(&status), "e", done),
        ])
    }),
    Writing {
        is_conflict: true,
        ..Writing::new("a conflict that a replicator brings", &Todo, a_todo, |key, _| {
            let [one, ..] = ids(key);
            let hash = "c".repeat(32);
            let revisions = json!({"start": 1, "ids": [hash]});
            let beside = json!({"_id": one, "_rev": format!("1-{hash}"), "_revisions": revisions});
            Asked::replicated(&[with(todo("beside"), beside)])
        })
    },
    Writing::new("a status", &Todo, a_todo, |key, rev| {
        let [.., status] = ids(key);
        let body = json!({"_rev": rev(&status), "schema": "todo-item-status", "version": 1, "status": "done"});
        Asked::json("PUT", status, body)
    }),
    Writing::new(
        "a todo and its status",
        &Todo,
        |_| Vec::new(),
        |key, _| {
            let [.., three, status] = ids(key);
            let docs = json!([
                {"_id": status, "schema": "todo-item-status", "version": 1, "status": "done"},
                {"_id": three, "schema": "todo-item", "version": 3, "title": "new", "group": "x"},
            ]);
            Asked::json("POST", "_bulk_docs".into(), json!({"docs": docs}))
        },
    ),
    Writing::new(
        "a new shared document",
        &Planner,
        |_| Vec::new(),
        |key, _| {
            let [one, ..] = task(key);
            let body = json!({"schema": "task", "version": 1, "text": "Dig", "group": {"name": key, "color": "red"}});
            Asked::json("PUT", one, body)
        },
    ),
    Writing::new("an edit of a shared document", &Planner, two_tasks, |key, rev| {
        let id = group(key);
        let body = json!({"_rev": rev(&id), "schema": "group", "version": 1, "name": key, "color": "blue"});
        Asked::json("PUT", id, body)
    }),
    Writing::new("another shared document", &Planner, two_tasks, |key, rev| {
        let [_, two, _] = task(key);
        let body = json!({"_rev": rev(&two), "schema": "task", "version": 2, "title": "Mow",
            "group": {"name": format!("other-{key}"), "color": "green"}});
        Asked::json("PUT", two, body)
    }),
    Writing::new("a whole with a new part", &AddressBook, a_contact, |key, rev| {
        let [one, ..] = contact(key);
        let body = json!({"_rev": rev(&one), "schema": "contact", "version": 1, "name": "Ada King", "city": "London"});
        Asked::json("PUT", one, body)
    }),
    Writing::new("a part", &AddressBook, a_contact, |key, _| {
        let [.., address] = contact(key);
        Asked::json(
            "PUT",
            address,
            json!({"schema": "contact-address", "version": 1, "city": "London"}),
        )
    }),
    Writing::new(
        "a whole without its part",
        &AddressBook,
        |key| vec![ada(key, Some("London"))],
        |key, rev| {
            let [_, two, ..] = contact(key);
            let body =
                json!({"_rev": rev(&two), "schema": "contact", "version": 2, "firstName": "Ada", "lastName": "King"});
            Asked::json("PUT", two, body)
        },
    ),
    Writing::new("an attachment", &Chat, a_message, |key, rev| {
        let [one, ..] = message(key);
        Asked {
            method: "PUT",
            path: format!("{one}/image?rev={}", rev(&one)),
            kind: "image/png".into(),
            body: image(key),
        }
    }),
    Writing::new("an attachment in parts", &Chat, a_message, |key, rev| {
        let [_, two, _] = message(key);
        let image = image(key);
        let follows = json!({"image": {"content_type": "image/png", "follows": true, "length": image.len()}});
        let body = with(said(2, "with"), json!({"_rev": rev(&two), "_attachments": follows}));
        let head = format!("--abc\r\ncontent-type: application/json\r\n\r\n{body}\r\n--abc\r\n\r\n");
        Asked {
            method: "PUT",
            path: two,
            kind: "multipart/related; boundary=\"abc\"".into(),
            body: [head.as_bytes(), &image, b"\r\n--abc--"].concat(),
        }
    }),
    Writing::new("an attachment less", &Chat, a_message, |key, rev| {
        let [.., three] = message(key);
        Asked::json("DELETE", format!("{three}/notes?rev={}", rev(&three)), Value::Null)
    }),
];

fn with(mut body: Value, more: Value) -> Value {
    let more = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(more);
    body
}

fn on_top(id: &str, base: &str, hash: &str, body: Value) -> Value {
    let (generation, parent) = base.split_once('-').unwrap();
    let start = generation.parse::<u64>().unwrap() + 1;
    let hash = hash.repeat(32);
    let revisions = json!({"start": start, "ids": [hash, parent]});
    with(
        body,
        json!({"_id": id, "_rev": format!("{start}-{hash}"), "_revisions": revisions}),
    )
}

fn a_todo(key: &str) -> Vec<Value> {
    let [one, ..] = ids(key);
    vec![with(todo("before"), json!({"_id": one}))]
}

fn two_tasks(key: &str) -> Vec<Value> {
    let of = |entity: String| {
        let [one, ..] = task(&entity);
        json!({"_id": one, "schema": "task", "version": 1, "text": "Dig", "group": {"name": key, "color": "red"}})
    };
    vec![of(key.to_owned()), of(format!("n{key}"))]
}

fn ada(key: &str, city: Option<&str>) -> Value {
    let [one, ..] = contact(key);
    let mut body = json!({"_id": one, "schema": "contact", "version": 1, "name": "Ada Lovelace"});
    if let Some(city) = city {
        body["city"] = json!(city);
    }
    body
}

fn a_contact(key: &str) -> Vec<Value> {
    vec![ada(key, None)]
}

fn a_message(key: &str) -> Vec<Value> {
    let [one, ..] = message(key);
    let notes = json!({"notes": {"content_type": "text/plain", "data": "aGVsbG8gaGVsbG8gaGVsbG8="}});
    vec![with(said(1, "before"), json!({"_id": one, "_attachments": notes}))]
}

/// Too long for one piece.
fn image(key: &str) -> Vec<u8> {
    key.as_bytes().repeat(40_000)
}

impl Writing {
    const fn new(
        name: &'static str,
        model: &'static dyn Model,
        before: fn(&str) -> Vec<Value>,
        request: fn(&str, Revs<'_>) -> Asked,
    ) -> Self {
        Self {
            name,
            model,
            before,
            request,
            is_conflict: false,
        }
    }
}

impl Asked {
    fn json(method: &'static str, path: String, body: Value) -> Self {
        let body = match body {
            Value::Null => Vec::new(),
            body => body.to_string().into_bytes(),
        };
        Self {
            method,
            path,
            kind: "application/json".into(),
            body,
        }
    }

    fn replicated(docs: &[Value]) -> Self {
        let batch = json!({"new_edits": false, "docs": docs});
        Self::json("POST", "_bulk_docs".into(), batch)
    }

    pub fn sending(&self) -> Sending<'_> {
        Sending {
            method: self.method,
            path: &self.path,
            kind: &self.kind,
            body: self.body.clone().into(),
        }
    }

    /// The edits of which an answer says that they are written.
    pub fn acknowledged(&self, answer: &Value) -> Vec<Edit> {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        let rows = match answer {
            Value::Array(_) if body["new_edits"] == false => body["docs"].as_array().unwrap().clone(),
            Value::Array(rows) => rows.clone(),
            row => vec![row.clone()],
        };
        let edit = |row: &Value| {
            row.get("error").is_none().then_some(())?;
            let [id, rev] = ["id", "rev"].map(|name| row.get(name).or_else(|| row.get(format!("_{name}"))));
            Some(Edit {
                id: id.unwrap().as_str().unwrap().to_owned(),
                rev: rev.unwrap().as_str().unwrap().to_owned(),
                is_acknowledged: true,
            })
        };
        rows.iter().filter_map(edit).collect()
    }
}
