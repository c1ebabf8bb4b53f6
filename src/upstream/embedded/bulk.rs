//! Many documents in one request: `_bulk_docs`, `_bulk_get`, `_revs_diff`, `_missing_revs`.

use std::collections::{BTreeMap, HashMap};

use http::{Method, StatusCode};
use rouchdb_core::document::RevsDiffResult;
use serde_json::{Map, Value, json};

use super::{
    attachments::Form,
    database::{Database, Shown, View},
    edit::Edit,
    multipart,
    request::Call,
    respond::{self, Answer, Failure},
    write::Row,
};

pub async fn bulk_docs(database: &Database, call: Call) -> Answer {
    let mut request = posted(&call)?;
    let docs = request
        .remove("docs")
        .ok_or_else(|| Failure::bad_request("POST body must include `docs` parameter."))?;
    let Value::Array(docs) = docs else {
        return Err(Failure::bad_request("`docs` parameter must be an array."));
    };
    if request.get("all_or_nothing") == Some(&Value::Bool(true)) {
        return Err(Failure::lacks("all_or_nothing"));
    }
    // One document that cannot be read refuses the request, before anything is written (bulk 13-18, 50).
    let edits = docs.into_iter().map(Edit::from_json).collect::<Result<Vec<_>, _>>()?;
    edits.iter().try_for_each(Edit::check_size)?;
    // The query's `new_edits` is not looked at (bulk 29).
    let rows = match request.get("new_edits") {
        Some(Value::Bool(false)) => {
            let rows = database.replicate(edits).await?;
            rows.into_iter()
                .filter_map(|row| Some((row.failure?, row.id, row.rev)))
                .map(refused)
                .collect()
        }
        Some(Value::Bool(true)) | None => database.edit(edits).await?.into_iter().map(edited).collect::<Vec<_>>(),
        Some(_) => return Err(Failure::bad_request("`new_edits` must be a boolean")),
    };
    Ok(respond::json(StatusCode::CREATED, &rows))
}

fn edited(row: Row) -> Value {
    match row.failure {
        None => json!({"ok": true, "id": row.id, "rev": row.rev}),
        Some(failure) => json!({"id": row.id, "error": failure.error, "reason": failure.reason}),
    }
}

fn refused((failure, id, rev): (Failure, String, String)) -> Value {
    json!({"id": id, "rev": rev, "error": failure.error, "reason": failure.reason})
}

/// What `_bulk_get` found for one row of its question.
struct Found {
    id: Value,
    docs: Vec<Result<Shown, Value>>,
}

pub async fn bulk_get(database: &Database, call: Call) -> Answer {
    let mut request = posted(&call)?;
    let Some(Value::Array(docs)) = request.remove("docs") else {
        return Err(Failure::bad_request("Missing JSON list of 'docs'."));
    };
    let named = |kind: &str| {
        call.header(http::header::ACCEPT)
            .is_some_and(|accept| accept.contains(kind))
    };
    let in_parts = ["multipart/mixed", "multipart/related"]
        .into_iter()
        .find(|kind| named(kind));
    let mut results = Vec::with_capacity(docs.len());
    for row in docs {
        results.push(bulk_get_row(database, &call, row, in_parts.is_some()).await?);
    }
    if let Some(kind) = in_parts {
        let rows: Vec<Result<Shown, Value>> = results.into_iter().flat_map(|found| found.docs).collect();
        return Ok(multipart::bulk(kind, &rows));
    }
    let shown = |doc: Result<Shown, Value>| match doc {
        Ok(shown) => json!({"ok": shown.json}),
        Err(error) => json!({"error": error}),
    };
    let row = |found: Found| json!({"id": found.id, "docs": found.docs.into_iter().map(shown).collect::<Vec<_>>()});
    let results: Vec<Value> = results.into_iter().map(row).collect();
    Ok(respond::json(StatusCode::OK, &json!({"results": results})))
}

/// Without a rev: all leaves, deleted ones too, winner first. Rows answer by position, so each has exactly one.
async fn bulk_get_row(database: &Database, call: &Call, row: Value, in_parts: bool) -> Result<Found, Failure> {
    let error = |id: &Value, rev: Value, error: &str, reason: &str| {
        Err(json!({"rev": rev, "reason": reason, "id": id, "error": error}))
    };
    let Some(id) = row["id"].as_str() else {
        let docs = vec![error(&row["id"], Value::Null, "bad_request", "document id missed")];
        return Ok(Found {
            id: row["id"].clone(),
            docs,
        });
    };
    let mut form = if call.query.is_true("attachments") {
        Form::Data
    } else {
        Form::Stubs
    };
    if let (Some(known), true) = (row["atts_since"].as_array(), form.needs_data()) {
        let known = known.iter().filter_map(Value::as_str).map(str::to_owned).collect();
        form = Form::Since(known, Box::new(Form::Data));
    }
    if in_parts && form.needs_data() {
        form = form.following();
    }
    let view = View {
        revs: call.query.is_true("revs"),
        attachments: form,
        ..View::default()
    };
    let mut docs = Vec::new();
    let asked = match &row["rev"] {
        Value::String(rev) => Some(rev.as_str()),
        _ => None,
    };
    let revs = match asked {
        None => database.leaves_of(id).await?,
        Some(rev) if rev.parse::<rouchdb_core::document::Revision>().is_err() => {
            let docs = vec![error(&row["id"], rev.into(), "bad_request", "Invalid rev format")];
            return Ok(Found { id: id.into(), docs });
        }
        Some(rev) if call.query.is_true("latest") => database.latest(id, rev).await?,
        Some(rev) => vec![rev.to_owned()],
    };
    for rev in revs {
        match database.revision(id, &rev, false, &view).await {
            Ok(shown) => docs.push(Ok(shown)),
            Err(failure) if failure.status == StatusCode::NOT_FOUND => {}
            Err(failure) => return Err(failure),
        }
    }
    if docs.is_empty() {
        // "undefined" is CouchDB's rev of a row that named none (bulk 94, 104).
        docs.push(error(
            &row["id"],
            asked.unwrap_or("undefined").into(),
            "not_found",
            "missing",
        ));
    }
    Ok(Found { id: id.into(), docs })
}

pub async fn revs_diff(database: &Database, call: Call) -> Answer {
    Ok(respond::json(StatusCode::OK, &diff(database, &call).await?))
}

pub async fn missing_revs(database: &Database, call: Call) -> Answer {
    let diff = diff(database, &call).await?.into_iter();
    let missing: BTreeMap<String, Vec<String>> = diff.map(|(id, diff)| (id, diff.missing)).collect();
    Ok(respond::json(StatusCode::OK, &json!({"missing_revs": missing})))
}

/// CouchDB sorts what a document lacks, but leaves the revisions of an unknown one as they were asked (replicator_wire 67).
async fn diff(database: &Database, call: &Call) -> Result<BTreeMap<String, RevsDiffResult>, Failure> {
    let question = revs_question(call)?;
    let mut diff: BTreeMap<_, _> = database
        .adapter
        .revs_diff(question.clone())
        .await?
        .results
        .into_iter()
        .collect();
    for (id, diff) in diff.iter_mut().filter(|(_, diff)| diff.possible_ancestors.is_empty()) {
        let asked = question.get(id).map_or(&[][..], Vec::as_slice);
        diff.missing
            .sort_by_key(|rev| asked.iter().position(|asked| asked == rev));
    }
    Ok(diff)
}

fn revs_question(call: &Call) -> Result<HashMap<String, Vec<String>>, Failure> {
    let revs = |(id, revs): (String, Value)| {
        let revs = revs
            .as_array()?
            .iter()
            .map(|rev| rev.as_str().map(str::to_owned))
            .collect::<Option<_>>()?;
        Some((id, revs))
    };
    let request = posted(call)?.into_iter().map(revs).collect::<Option<_>>();
    request.ok_or_else(|| Failure::bad_request("revisions must be lists of strings"))
}

fn posted(call: &Call) -> Result<Map<String, Value>, Failure> {
    if call.method != Method::POST {
        return Err(Failure::method("POST"));
    }
    call.json_object()
}
