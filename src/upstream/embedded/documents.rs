//! One document: read, put, delete, copy.

use bytes::Bytes;
use http::{Method, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    attachments::{Form, Input},
    database::{Database, Shown, View},
    edit::{Edit, Revs, check_id},
    multipart,
    request::Call,
    respond::{self, Answer, Failure, not_modified, with_etag, with_location},
    rev_hash::new_rev_hash,
    write::Row,
};
use crate::upstream::Body;

pub async fn answer(database: &Database, id: &str, call: Call) -> Answer {
    match call.method.as_str() {
        "GET" | "HEAD" if call.query.get("open_revs").is_some() => open_revs(database, id, &call).await,
        "GET" | "HEAD" => get(database, id, &call).await,
        "PUT" => put(database, id, call).await,
        "DELETE" => delete(database, id, &call).await,
        "COPY" => copy(database, id, &call).await,
        _ => Err(Failure::method("DELETE,GET,HEAD,POST,PUT,COPY")),
    }
}

/// `POST /db`: a document that brings its id or gets one.
pub async fn post(database: &Database, call: Call) -> Answer {
    call.require_json()?;
    let edit = Edit::parse(call.body()?)?;
    let row = database.edit_one(edit).await?;
    Ok(written(database, &call, &row, StatusCode::CREATED, None))
}

async fn get(database: &Database, id: &str, call: &Call) -> Answer {
    let view = view(call)?;
    let query = &call.query;
    let shown = match query.get("rev") {
        Some(rev) => database.revision(id, rev, query.is_true("latest"), &view).await?,
        None => database.winner(id, &view).await?,
    };
    let etag = etag_of(&shown);
    if call.has_etag(&etag) && !shown.has_meta {
        return Ok(not_modified(&etag));
    }
    let sends_files = view.attachments.needs_data() && !shown.document.attachments.is_empty();
    let response = if sends_files && multipart::accepted(call, "multipart/related") {
        let view = View {
            attachments: view.attachments.following(),
            ..view
        };
        multipart::related(&database.revision(id, &rev_of(&shown), false, &view).await?)
    } else {
        respond::json(StatusCode::OK, &shown.json)
    };
    Ok(if shown.has_meta {
        response
    } else {
        with_etag(response, &etag)
    })
}

/// Some or all leaves. CouchDB answers in parts unless the client asks for JSON alone (documents 45).
async fn open_revs(database: &Database, id: &str, call: &Call) -> Answer {
    let in_parts = multipart::accepted(call, "multipart/mixed");
    let mut view = view(call)?;
    if in_parts {
        view.attachments = view.attachments.following();
    }
    let leaves = database.leaves_of(id).await?;
    let wanted = match call.query.get("open_revs") {
        Some("all") if leaves.is_empty() => return Err(Failure::missing()),
        Some("all") => leaves,
        _ => {
            let list = call.query.json("open_revs")?;
            let list = list
                .as_ref()
                .and_then(Value::as_array)
                .ok_or_else(Failure::invalid_rev)?;
            let rev =
                |rev: &Value| Revs::parse(rev.as_str().unwrap_or_default()).map(|r| r.newest().unwrap_or_default());
            list.iter().map(rev).collect::<Result<_, _>>()?
        }
    };
    let mut found: Vec<Shown> = Vec::new();
    let mut missing: Vec<String> = Vec::new();
    for rev in wanted {
        let grown = if call.query.is_true("latest") {
            database.latest(id, &rev).await?
        } else {
            vec![rev.clone()]
        };
        let mut any = false;
        for leaf in grown {
            if let Ok(shown) = database.revision(id, &leaf, false, &view).await {
                any = true;
                found.push(shown);
            }
        }
        if !any {
            missing.push(rev);
        }
    }
    found.sort_by(|a, b| a.document.rev.cmp(&b.document.rev));
    missing.sort();
    if in_parts {
        return Ok(multipart::mixed(&found, &missing));
    }
    let rows = found
        .iter()
        .map(|shown| json!({"ok": shown.json}))
        .chain(missing.iter().map(|rev| json!({"missing": rev})));
    let rows: Vec<String> = rows.map(|row| row.to_string()).collect();
    let text = Bytes::from(format!("[{}]", rows.join(",")));
    Ok(respond::stream(
        "application/json",
        futures_util::stream::iter([Ok::<_, std::io::Error>(text)]),
    ))
}

async fn put(database: &Database, id: &str, call: Call) -> Answer {
    check_id(id)?;
    let kind = call.header(header::CONTENT_TYPE).unwrap_or("").to_owned();
    let unsent =
        !call.headers.contains_key(header::CONTENT_LENGTH) && !call.headers.contains_key(header::TRANSFER_ENCODING);
    let body = call.body()?;
    if body.is_empty() && unsent {
        return Err(Failure::bad_request("Missing request body"));
    }
    let mut edit = if kind.starts_with("multipart/related") {
        multipart::document(&kind, body)?
    } else {
        Edit::parse(body)?
    };
    edit.id = id.to_owned();
    edit.revs = revs_of(&call, edit.revs)?;
    let status = if edit.deleted {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let etag = edit.is_local().then(|| edit.body.clone());
    let row = if call.query.get("new_edits") == Some("false") {
        database
            .replicate(vec![edit])
            .await?
            .pop()
            .ok_or_else(Failure::conflict)?
    } else {
        database.edit_one(edit).await?
    };
    let etag = etag.map_or_else(|| row.rev.clone(), |body| local_etag(&row.rev, &body));
    Ok(written(database, &call, &row, status, Some(etag)))
}

async fn delete(database: &Database, id: &str, call: &Call) -> Answer {
    database.winner(id, &View::default()).await?;
    let edit = Edit {
        deleted: true,
        revs: revs_of(call, None)?,
        ..Edit::new(id)
    };
    let etag = edit.is_local().then(|| edit.body.clone());
    let row = database.edit_one(edit).await?;
    let etag = etag.map_or_else(|| row.rev.clone(), |body| local_etag(&row.rev, &body));
    Ok(with_etag(
        respond::json(StatusCode::OK, &json!({"ok": true, "id": row.id, "rev": row.rev})),
        &etag,
    ))
}

async fn copy(database: &Database, id: &str, call: &Call) -> Answer {
    let destination = call
        .header("destination")
        .ok_or_else(|| Failure::bad_request("Destination header is mandatory for COPY."))?;
    let (target, rev) = destination
        .split_once("?rev=")
        .map_or((destination, None), |(target, rev)| (target, Some(rev)));
    let target = percent_encoding::percent_decode_str(target).decode_utf8();
    let target = target
        .map_err(|_| Failure::illegal_docid("Document id must be valid UTF-8"))?
        .into_owned();
    check_id(&target)?;
    let view = View {
        attachments: Form::Data,
        ..View::default()
    };
    let source = match call.query.get("rev") {
        Some(rev) => database.revision(id, rev, false, &view).await?,
        None => database.winner(id, &view).await?,
    };
    let mut body = source.json;
    body.retain(|key, _| !key.starts_with('_'));
    let attachments = source.document.attachments.into_iter().map(|(name, meta)| {
        let bytes = meta.data.unwrap_or_default();
        (
            name,
            Input::Data {
                content_type: meta.content_type,
                bytes,
                revpos: None,
            },
        )
    });
    let attachments = attachments.collect();
    let edit = Edit {
        body,
        attachments,
        revs: rev.map(Revs::parse).transpose()?,
        ..Edit::new(&target)
    };
    let row = database.edit_one(edit).await?;
    Ok(written(
        database,
        call,
        &row,
        StatusCode::CREATED,
        Some(row.rev.clone()),
    ))
}

fn view(call: &Call) -> Result<View, Failure> {
    let query = &call.query;
    let meta = query.is_true("meta");
    let form = if query.is_true("attachments") {
        Form::Data
    } else {
        Form::Stubs
    };
    let attachments = match query.json("atts_since")? {
        Some(Value::Array(known)) => {
            let known = known.iter().filter_map(Value::as_str).map(str::to_owned).collect();
            Form::Since(known, Box::new(Form::Data))
        }
        _ => form,
    };
    Ok(View {
        revs: query.is_true("revs"),
        revs_info: meta || query.is_true("revs_info"),
        conflicts: meta || query.is_true("conflicts"),
        deleted_conflicts: meta || query.is_true("deleted_conflicts"),
        local_seq: query.is_true("local_seq"),
        attachments,
    })
}

/// The revision a write names: in the body, `?rev` or `If-Match`, which must not disagree.
pub fn revs_of(call: &Call, body: Option<Revs>) -> Result<Option<Revs>, Failure> {
    let in_body = body.as_ref().and_then(Revs::newest);
    let named = |rev: &str, differ: &str| {
        let revs = Revs::parse(rev)?;
        if in_body.as_ref().is_some_and(|rev| revs.newest().as_ref() != Some(rev)) {
            return Err(Failure::bad_request(differ));
        }
        Ok(revs)
    };
    let query = call.query.get("rev").map(|rev| {
        named(
            rev,
            "Document rev from request body and query string have different values",
        )
    });
    let header = call
        .header(header::IF_MATCH)
        .map(|rev| named(rev.trim_matches('"'), "Document rev and etag have different values"));
    let (query, header) = (query.transpose()?, header.transpose()?);
    Ok(body.or(query).or(header))
}

fn written(database: &Database, call: &Call, row: &Row, status: StatusCode, etag: Option<String>) -> Response<Body> {
    if call.query.get("batch") == Some("ok") && matches!(call.method, Method::PUT | Method::POST) {
        return respond::json(StatusCode::ACCEPTED, &json!({"ok": true, "id": row.id}));
    }
    let response = respond::json(status, &json!({"ok": true, "id": row.id, "rev": row.rev}));
    let response = with_location(response, &call.location(&database.name, &row.id));
    etag.into_iter()
        .fold(response, |response, etag| with_etag(response, &etag))
}

fn rev_of(shown: &Shown) -> String {
    shown.document.rev.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn etag_of(shown: &Shown) -> String {
    let rev = rev_of(shown);
    if !shown.document.id.starts_with("_local/") {
        return rev;
    }
    let mut body = shown.json.clone();
    body.retain(|key, _| !key.starts_with('_'));
    local_etag(&rev, &body)
}

/// A `_local` document's revision says nothing about its body, so its ETag is made of both.
fn local_etag(rev: &str, body: &serde_json::Map<String, Value>) -> String {
    new_rev_hash(false, Some((0, rev)), body, &[])
}
