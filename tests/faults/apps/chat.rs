//! The messages of `examples/chat`, which have attachments, and a script between versions 2 and 3.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value, json};

use crate::{
    app::{Doing, Model, Schemas, Shown, Written},
    check::Seen,
};

pub struct Chat;

pub fn message(key: &str) -> [String; 3] {
    [1, 2, 3].map(|version| format!("message:{key}:v:{version}"))
}

/// A message without any mark in it.
pub fn said(version: usize, text: &str) -> Value {
    let mut body = json!({"schema": "message", "version": version, "room": "kitchen", "author": "ada",
        "sentAt": "2026-03-01T12:00:00Z"});
    match version {
        3 => body["body"] = json!([{ "text": text }]),
        _ => body["text"] = json!(text),
    }
    match version {
        1 => body["deleted"] = json!(false),
        _ => {
            body["status"] = json!("sent");
            body["reactions"] = json!({});
        }
    }
    body
}

/// An image of many bytes, and a text that CouchDB compresses.
fn attached(doing: &Doing) -> (&'static str, Value) {
    let bytes = doing.title.repeat(300);
    let (name, kind) = match doing.choice / 4 % 2 {
        0 => ("image", "image/png"),
        _ => ("notes", "text/plain"),
    };
    (
        name,
        json!({"content_type": kind, "data": BASE64_STANDARD.encode(bytes)}),
    )
}

impl Model for Chat {
    fn name(&self) -> &'static str {
        "chat"
    }

    fn schemas(&self) -> Schemas {
        Schemas::of("examples/chat/schemas")
    }

    fn versions(&self) -> &'static [&'static str] {
        &["chat@1.0.0", "chat@2.0.0", "chat@3.0.0"]
    }

    fn works_on(&self, version: usize, key: &str) -> Vec<String> {
        vec![message(key)[version - 1].clone()]
    }

    fn done(&self, doing: &Doing, shown: Shown<'_>) -> Vec<Written> {
        let [id] = self.works_on(doing.version, &doing.key).try_into().unwrap();
        let Some(mut body) = shown(&id) else {
            return vec![(id, Some(said(doing.version, &doing.title)))];
        };
        let (name, attachment) = attached(doing);
        match (doing.choice % 4, doing.version) {
            (0, _) => body["_attachments"][name] = attachment,
            (1, _) => drop(body.as_object_mut().unwrap().remove("_attachments")),
            (2, 2 | 3) => body["reactions"]["👍"] = json!([doing.title]),
            (_, 3) => body["body"] = json!([{ "text": doing.title }]),
            _ => body["text"] = json!(doing.title),
        }
        vec![(id, Some(body))]
    }

    fn disagreements(&self, seen: &Seen, key: &str) -> Vec<String> {
        let documents = message(key);
        let shown = documents.each_ref().map(|id| seen.shown(id));
        let [one, two, three] = shown;
        let text = |body: Option<&Value>| body.map(|body| body["text"].clone());
        let mut told = Vec::new();
        let spans = three.map(|three| three["body"][0]["text"].clone());
        if text(one) != text(two) || text(two) != spans {
            told.push(format!("texts of {key}: {one:?} {two:?} {three:?}"));
        }
        let liked = |body: Option<&Value>| body.map(|body| body["reactions"].clone());
        if liked(two) != liked(three) {
            told.push(format!("reactions to {key}: {two:?} {three:?}"));
        }
        let digests = shown.map(|body| {
            let attachments = body.and_then(|body| body["_attachments"].as_object());
            let digests = attachments.into_iter().flatten();
            digests
                .map(|(name, attachment)| (name.clone(), attachment["digest"].clone()))
                .collect::<Map<_, _>>()
        });
        if digests[0] != digests[1] || digests[1] != digests[2] {
            told.push(format!("attachments of {key}: {digests:?}"));
        }
        told
    }
}
