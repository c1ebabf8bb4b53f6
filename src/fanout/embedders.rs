//! Who embeds a shared document: looked up in the documents that refer to it, page by page, by an index that is made where it is missing.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{EntityKey, Error, FanOut, entities::AT_ONCE};
use crate::{
    lens::Share,
    schema::{Class, ClassId},
    upstream::account::{Ask, path},
};

/// The most that is read of a page: ids alone, of a few hundred bytes.
const LIMIT: usize = 16 << 20;

/// A look-up under way.
#[derive(Debug)]
pub struct Embedders {
    class: ClassId,
    /// The field that refers.
    field: String,
    /// What it holds.
    key: String,
    bookmark: Option<String>,
    has_ended: bool,
}

/// An index on the field that refers, in the documents of one class.
#[derive(Debug)]
struct Index {
    name: String,
    definition: Value,
}

#[derive(Deserialize)]
struct Page {
    docs: Vec<Row>,
    bookmark: Option<String>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "_id")]
    id: String,
}

impl Embedders {
    /// Of a document with this key; `class` is the one that refers.
    pub fn new(class: ClassId, share: &Share, key: &str) -> Self {
        Self {
            class,
            field: share.reference().to_owned(),
            key: key.to_owned(),
            bookmark: None,
            has_ended: false,
        }
    }

    /// The next entities, as many as are reconciled at once; none at the end.
    pub async fn next(&mut self, fan_out: &FanOut, db: &str) -> Result<Vec<EntityKey>, Error> {
        if self.has_ended {
            return Ok(Vec::new());
        }
        let class = fan_out.registry.class(self.class);
        let ids = json!({"$regex": format!(r"(?s)^(?:{})\z", class.pattern.regex())});
        let field = escaped(&self.field);
        let mut query = json!({
            "selector": {"_id": ids, &field: {"$eq": self.key}},
            "fields": ["_id"],
            "limit": AT_ONCE,
        });
        match &self.bookmark {
            Some(bookmark) => query["bookmark"] = bookmark.as_str().into(),
            None => self.index(class, ids).make(fan_out, db).await?,
        }
        let index = self.index(class, Value::Null);
        query["use_index"] = json!([index.name, index.name]);
        let ask = Ask::new(Method::POST, "_find", path([db, "_find"])).with(query.to_string());
        let reply = ask.limit(LIMIT).send(&fan_out.upstream).await?;
        let page: Page = reply.expect(&[StatusCode::OK])?.json()?;
        self.has_ended = page.docs.len() < AT_ONCE || page.bookmark.is_none() || page.bookmark == self.bookmark;
        self.bookmark = page.bookmark;
        let mut keys: Vec<EntityKey> = page.docs.iter().filter_map(|row| fan_out.entity_of(&row.id)).collect();
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }

    /// Nothing more is to be found.
    pub fn has_ended(&self) -> bool {
        self.has_ended
    }

    fn index(&self, class: &Class, ids: Value) -> Index {
        let name = format!("chesterfield-{}-{}", class.name, self.field);
        let definition = json!({
            "index": {"fields": [escaped(&self.field)], "partial_filter_selector": {"_id": ids}},
            "ddoc": name,
            "name": name,
            "type": "json",
        });
        Index { name, definition }
    }
}

impl Index {
    /// Makes the index, unless it is there. Without it the same is found by a look at every document.
    async fn make(&self, fan_out: &FanOut, db: &str) -> Result<(), Error> {
        let ask = Ask::new(Method::POST, "_index", path([db, "_index"])).with(self.definition.to_string());
        let reply = ask.send(&fan_out.upstream).await?;
        // The embedded upstream has no indexes.
        if !reply.status.is_success() && reply.status != StatusCode::NOT_IMPLEMENTED {
            let error = reply.refused();
            tracing::warn!(
                db, index = self.name, %error,
                "no index could be made: every document is looked at; let the service account administer the database, or make it yourself"
            );
        }
        Ok(())
    }
}

/// A dot in a name leads into an object otherwise.
fn escaped(field: &str) -> String {
    field.replace('.', r"\.")
}
