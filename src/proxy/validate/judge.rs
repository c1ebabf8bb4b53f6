//! Whether a document fits its class, and what is done about it if not.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{super::encoding::Members, Validate};
use crate::{couch::Rev, schema::Registry};

/// What becomes of documents of each class.
#[derive(Clone)]
pub struct Judge {
    registry: Arc<Registry>,
    /// In the order of the registry's classes.
    modes: Arc<[Validate]>,
}

/// A document that is not written, as a row of `_bulk_docs` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Refused {
    pub(super) id: String,
    /// Of replicated documents only (transcripts, bulk 4 and 63).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rev: Option<String>,
    error: &'static str,
    pub(super) reason: String,
}

/// The end of a history.
#[derive(Deserialize)]
struct Newest<'a> {
    start: u64,
    #[serde(borrow)]
    ids: Vec<Cow<'a, str>>,
}

impl Refused {
    /// How much memory it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        // The queue it stands in grows by doubling.
        let texts = self.id.len() + self.reason.len() + self.rev.as_ref().map_or(0, String::len);
        texts + 2 * size_of::<(usize, Self)>()
    }
}

impl Judge {
    /// `modes` are in the order of the registry's classes. None if there is nothing to look at.
    pub fn new(registry: Arc<Registry>, modes: &[Validate]) -> Option<Self> {
        let modes: Arc<[Validate]> = registry
            .classes()
            .zip(modes)
            .map(|((_, class), mode)| match class.validator.is_open() {
                true => Validate::Off,
                false => *mode,
            })
            .collect();
        let looks = modes.iter().any(|mode| *mode > Validate::Off);
        looks.then_some(Self { registry, modes })
    }

    /// Whether any document may be refused.
    pub(super) fn enforces(&self) -> bool {
        self.modes.contains(&Validate::Enforce)
    }

    /// What becomes of this document if it does not fit.
    pub(super) fn mode(&self, id: &str) -> Validate {
        let class = self.registry.classify(id);
        class.map_or(Validate::Off, |(class, _)| self.modes[class.0])
    }

    /// Looks at a document: none if it is to be written. `id` is the URL's, which wins over the document's own (transcripts,
    /// documents 25).
    ///
    /// What is no JSON is for CouchDB to refuse.
    pub(super) fn refuse(&self, db: &str, id: Option<&str>, text: &[u8]) -> Option<Refused> {
        let members: Members<'_> = serde_json::from_slice(text).ok()?;
        let read = |name| members.get(name).map(|value| value.get());
        let id = match id {
            Some(id) => id.to_owned(),
            None => serde_json::from_str(read("_id")?).ok()?,
        };
        let (class, _) = self.registry.classify(&id)?;
        let mode = self.modes[class.0];
        if mode == Validate::Off || read("_deleted") == Some("true") {
            return None;
        }
        let class = self.registry.class(class);
        let fields = members.iter().map(|(name, value)| (&**name, *value));
        let violation = class.validator.check(&id, fields).err()?;
        let name = class.name.to_string();
        let (place, is_refused) = (violation.place(), mode == Validate::Enforce);
        // Who is refused is told; who is not has nobody else to tell.
        let done = if is_refused {
            tracing::info!(db, document = id, %place, "a client's document does not fit its class, and is refused");
            "refused"
        } else {
            tracing::warn!(db, document = id, %place, "a client's document does not fit its class, and is written");
            "written"
        };
        metrics::counter!("chesterfield_invalid_documents_total", "class" => name.clone(), "done" => done).increment(1);
        is_refused.then(|| Refused {
            rev: rev(&members),
            id: id.clone(),
            error: "forbidden",
            reason: format!("{name}: {violation}"),
        })
    }
}

/// What `_revisions` says comes before what `_rev` says (measured on 3.5.0).
fn rev(members: &Members<'_>) -> Option<String> {
    let newest = members.get("_revisions").and_then(|value| {
        let Newest { start, ids } = serde_json::from_str(value.get()).ok()?;
        Some(Rev::new(start, ids.first()?).to_string())
    });
    newest.or_else(|| serde_json::from_str(members.get("_rev")?.get()).ok())
}
