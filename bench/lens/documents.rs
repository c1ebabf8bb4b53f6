//! Todos as text, a small one and one of 4 KB.

use serde_json::{Map, Value, json};

/// The `_id` of all of them.
pub const ID: &str = "todo-item:0191b7c4:v:1";

/// How much a document holds.
#[derive(Clone, Copy)]
pub enum Size {
    /// The fields that the todo app works with, some 150 bytes.
    Small,
    /// Those and a mix of others, some 4,000 bytes.
    Large,
}

impl Size {
    pub const ALL: [Self; 2] = [Size::Small, Size::Large];

    pub fn name(self) -> &'static str {
        match self {
            Size::Small => "150 bytes",
            Size::Large => "4 KB",
        }
    }

    /// As a client of version 1 wrote it; with the hashes of its revisions, newest first, as `_bulk_get?revs=true` answers it.
    pub fn text(self, history: &[&str]) -> String {
        let mut document = Map::from_iter([("_id".to_owned(), json!(ID))]);
        let mut add = |members: Value| document.extend(members.as_object().cloned().unwrap());
        if let Some(hash) = history.first() {
            let start = history.len();
            add(json!({"_rev": format!("{start}-{hash}"), "_revisions": {"start": start, "ids": history}}));
        }
        add(json!({
            "schema": "todo-item", "version": 1, "title": "Buy milk", "isDone": false, "isImportant": true,
            "createdAt": "2025-03-01T08:30:00.000Z",
        }));
        if matches!(self, Size::Large) {
            add(others());
        }
        Value::Object(document).to_string()
    }
}

/// Long and short strings, numbers, a nested object, lists of strings and of objects.
fn others() -> Value {
    let comment = |n: u32| {
        json!({
            "id": format!("c-{n}"), "author": {"key": "u-0191", "name": "Zoë Example"}, "at": "2025-03-02T09:00:00.000Z",
            "text": "The shop at the corner has \"oat\" and plain,\nboth on sale until Saturday.", "likes": n * 3,
        })
    };
    json!({
        "updatedAt": "2025-03-04T10:15:30.500Z",
        "author": "u-0191b7c4",
        "color": "#3366cc",
        "position": 1024.5,
        "estimate": 15,
        "progress": 0.25,
        "isPinned": false,
        "parent": null,
        "note": "Two litres, the one with the blue cap. If it is sold out, take what there is and write it down here. ".repeat(16),
        "tags": ["groceries", "weekly", "kitchen", "shared", "errand"],
        "place": {
            "name": "Market", "street": "Main street 12", "city": "Potsdam", "zip": "14482",
            "position": {"latitude": 52.391842, "longitude": 13.127361},
        },
        "prices": (1..=40).map(|n| f64::from(n) * 0.75).collect::<Vec<_>>(),
        "reminders": [
            {"at": "2025-03-05T08:00:00.000Z", "by": "push", "isSent": true},
            {"at": "2025-03-06T08:00:00.000Z", "by": "mail", "isSent": false},
        ],
        "comments": (1..=8).map(comment).collect::<Vec<_>>(),
    })
}
