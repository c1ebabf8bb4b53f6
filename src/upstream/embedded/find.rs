//! `_find`: Mango over all documents. There are no indexes; asking for one is answered as if it stood.

use http::{Method, StatusCode};
use rouchdb_core::document::AllDocsOptions;
use rouchdb_query::{FindOptions, SortField, find_in_docs};
use serde_json::{Map, Value, json};

use super::{
    database::{Database, View},
    request::Call,
    respond::{self, Answer, Failure},
};

/// CouchDB's default.
const LIMIT: u64 = 25;

pub async fn find(database: &Database, call: Call) -> Answer {
    if call.method != Method::POST {
        return Err(Failure::method("POST"));
    }
    let request = call.json_object()?;
    let options = options(&request)?;
    let conflicts = request.get("conflicts") == Some(&Value::Bool(true));
    let view = View {
        conflicts,
        ..View::default()
    };
    let mut docs = Vec::new();
    for row in database.adapter.all_docs(AllDocsOptions::new()).await?.rows {
        let rev = row.rev().unwrap_or_default();
        docs.push(database.revision(&row.key, rev, false, &view).await?.json.into());
    }
    let found = find_in_docs(docs, &options).map_err(|error| {
        let failure = Failure::from(error);
        let error = if failure.reason.starts_with("Invalid operator") {
            "invalid_operator"
        } else {
            "bad_arg"
        };
        Failure::new(StatusCode::BAD_REQUEST, error, failure.reason)
    })?;
    let bookmark = match found.docs.len() as u64 {
        0 => "nil".to_owned(),
        shown => (options.skip.unwrap_or(0) + shown).to_string(),
    };
    let rows: Vec<String> = found.docs.iter().map(Value::to_string).collect();
    let newline = if rows.is_empty() { "" } else { "\n" };
    let warning = "No matching index found, create an index to optimize query time.";
    let text = format!(
        "{{\"docs\":[\n{}{newline}],\n\"bookmark\": \"{bookmark}\",\n\"warning\": \"{warning}\"}}\n",
        rows.join(",\n")
    );
    Ok(respond::bytes(StatusCode::OK, "application/json", text))
}

/// `GET _index` knows the one that needs no making.
pub fn index(call: &Call) -> Answer {
    if call.method != Method::GET || call.path.len() > 2 {
        return Err(Failure::lacks("indexes"));
    }
    let all_docs = json!({"ddoc": null, "name": "_all_docs", "type": "special", "def": {"fields": [{"_id": "asc"}]}});
    Ok(respond::json(
        StatusCode::OK,
        &json!({"total_rows": 1, "indexes": [all_docs]}),
    ))
}

fn options(request: &Map<String, Value>) -> Result<FindOptions, Failure> {
    const KNOWN: [&str; 14] = [
        "selector",
        "fields",
        "sort",
        "limit",
        "skip",
        "bookmark",
        "conflicts",
        "execution_stats",
        "use_index",
        "r",
        "stable",
        "stale",
        "update",
        "allow_fallback",
    ];
    let invalid = |error: &'static str, reason: String| Failure::new(StatusCode::BAD_REQUEST, error, reason);
    if let Some(key) = request.keys().find(|key| !KNOWN.contains(&key.as_str())) {
        return Err(invalid("invalid_key", format!("Invalid key {key} for this request.")));
    }
    let selector = request.get("selector").cloned();
    let selector = selector.ok_or_else(|| invalid("missing_required_key", "Missing required key: selector".into()))?;
    let number = |name: &str| match request.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or_else(|| {
            invalid(
                "invalid_non_neg_integer",
                format!("{value} is not an integer greater than or equal to zero"),
            )
        }),
    };
    let fields = match request.get("fields") {
        None => None,
        Some(fields) => {
            let names = serde_json::from_value::<Vec<String>>(fields.clone());
            let names = names.map_err(|_| {
                invalid(
                    "invalid_fields",
                    format!("Fields must be an array of strings, not: {fields}"),
                )
            })?;
            Some(names).filter(|names| !names.is_empty())
        }
    };
    let sort = match request.get("sort") {
        None => None,
        Some(sort) => {
            let fields = serde_json::from_value::<Vec<SortField>>(sort.clone());
            Some(fields.map_err(|error| invalid("invalid_sort_field", error.to_string()))?)
        }
    };
    // A bookmark is the number of documents the client has seen; CouchDB's is the last key it has seen.
    let seen = match request.get("bookmark") {
        None => 0,
        Some(Value::String(none)) if none.is_empty() => 0,
        Some(bookmark) => bookmark
            .as_str()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| invalid("invalid_bookmark", format!("Invalid bookmark value: {bookmark}")))?,
    };
    Ok(FindOptions {
        selector,
        fields,
        sort,
        limit: Some(number("limit")?.unwrap_or(LIMIT)),
        skip: Some(number("skip")?.unwrap_or(0).saturating_add(seen)),
    })
}
