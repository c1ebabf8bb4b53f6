//! The filters of `_changes`: by id, by selector. Functions are not run here.

use std::collections::HashSet;

use rouchdb_query::{CompiledSelector, get_nested_field};
use serde_json::Value;

use super::{request::Call, respond::Failure};

/// Which changes are shown.
pub enum Filter {
    None,
    DocIds(HashSet<String>),
    Design,
    Selector {
        selector: Box<CompiledSelector>,
        fields: Option<Vec<String>>,
    },
}

impl Filter {
    pub fn parse(call: &Call, body: Option<&Value>) -> Result<Self, Failure> {
        match call.query.get("filter") {
            None | Some("") => Ok(Self::None),
            Some("_design") => Ok(Self::Design),
            Some("_doc_ids") => {
                let in_query = || call.query.json("doc_ids");
                let ids = match body {
                    Some(body) => Some(body["doc_ids"].clone()),
                    None => in_query()?,
                };
                let ids = ids
                    .as_ref()
                    .and_then(Value::as_array)
                    .map(|ids| ids.iter().map(|id| id.as_str().map(str::to_owned)));
                let ids = ids.and_then(|ids| ids.collect::<Option<HashSet<_>>>());
                ids.map(Self::DocIds)
                    .ok_or_else(|| Failure::bad_request("`doc_ids` filter parameter is not a list of doc ids."))
            }
            Some("_selector") => {
                let body = body.ok_or_else(|| Failure::bad_request("Selector must be specified in POST payload"))?;
                if !body["selector"].is_object() {
                    return Err(Failure::bad_request("Selector error: expected a JSON object"));
                }
                let selector = Box::new(CompiledSelector::new(&body["selector"])?);
                let field = |field: &Value| field.as_str().map(str::to_owned);
                let fields = body["fields"]
                    .as_array()
                    .map(|fields| fields.iter().filter_map(field).collect());
                Ok(Self::Selector { selector, fields })
            }
            Some("_view") if call.query.get("view").is_none() => {
                Err(Failure::bad_request("`view` filter parameter is not provided."))
            }
            Some("_view") => Err(Failure::lacks("views")),
            Some(builtin) if builtin.starts_with('_') => Err(Failure::bad_request("unknown builtin filter name")),
            Some(function) if function.contains('/') => Err(Failure::lacks("filter functions")),
            Some(_) => Err(Failure::bad_request(
                "`filter` must be of the form `designname/filtername`",
            )),
        }
    }

    /// Whether a document's changes are shown, as far as its id tells.
    pub fn passes(&self, id: &str) -> bool {
        match self {
            Self::DocIds(ids) => ids.contains(id),
            Self::Design => id.starts_with("_design/"),
            Self::None | Self::Selector { .. } => true,
        }
    }

    /// The part of a document that a selector's `fields` name.
    pub fn project(&self, doc: Value) -> Value {
        let Self::Selector {
            fields: Some(fields), ..
        } = self
        else {
            return doc;
        };
        let kept = fields
            .iter()
            .filter_map(|field| Some((field.clone(), get_nested_field(&doc, field)?.clone())));
        Value::Object(kept.collect())
    }
}
