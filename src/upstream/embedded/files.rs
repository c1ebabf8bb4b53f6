//! Attachments on their own: `/db/doc/name`.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use rouchdb_core::document::{AttachmentMeta, GetAttachmentOptions};
use serde_json::json;

use super::{
    attachments::{Input, check_name},
    database::{Database, Shown, View},
    documents::revs_of,
    edit::{Edit, check_id},
    multipart,
    request::{Call, Segment},
    respond::{self, Answer, Failure, not_modified, with_etag, with_location},
};

/// What CouchDB stores compressed by default, and therefore serves no ranges of.
const COMPRESSIBLE: [&str; 5] = [
    "text/",
    "application/javascript",
    "application/json",
    "application/xml",
    "application/graphql",
];

/// What a client asked of an attachment's bytes.
enum Ranges {
    All,
    Some(Vec<(usize, usize)>),
    Unsatisfiable,
}

pub async fn answer(database: &Database, id: &str, name: &[Segment], call: Call) -> Answer {
    let name = name.iter().map(Segment::text).collect::<Result<Vec<_>, _>>()?.join("/");
    match call.method.as_str() {
        "GET" | "HEAD" => get(database, id, &name, &call).await,
        "PUT" => put(database, id, name, call).await,
        "DELETE" => delete(database, id, &name, &call).await,
        _ => Err(Failure::method("GET,HEAD,PUT,DELETE")),
    }
}

async fn get(database: &Database, id: &str, name: &str, call: &Call) -> Answer {
    let shown = open(database, id, call).await?;
    let meta = shown.document.attachments.get(name).ok_or_else(no_attachment)?;
    let etag = meta.digest.trim_start_matches("md5-");
    if call.has_etag(etag) {
        return Ok(not_modified(etag));
    }
    let rev = shown.document.rev.as_ref().map(ToString::to_string);
    let bytes = Bytes::from(
        database
            .adapter
            .get_attachment(id, name, GetAttachmentOptions { rev })
            .await?,
    );
    let has_ranges = !is_compressible(meta);
    let ranges = call
        .header(header::RANGE)
        .filter(|_| has_ranges && call.method != http::Method::HEAD);
    let mut response = match ranges.map_or(Ranges::All, |ranges| parse_ranges(ranges, bytes.len())) {
        Ranges::All => respond::bytes(StatusCode::OK, &meta.content_type, bytes),
        Ranges::Some(ranges) if ranges.len() > 1 => {
            return Ok(multipart::byte_ranges(&meta.content_type, &bytes, &ranges));
        }
        Ranges::Some(ranges) => {
            let (from, to) = ranges.first().copied().unwrap_or_default();
            let content_range = format!("bytes {from}-{to}/{}", bytes.len());
            let part = bytes.slice(from..=to);
            let mut response = respond::bytes(StatusCode::PARTIAL_CONTENT, &meta.content_type, part);
            if let Ok(value) = HeaderValue::from_str(&content_range) {
                response.headers_mut().insert(header::CONTENT_RANGE, value);
            }
            response
        }
        Ranges::Unsatisfiable => {
            let reason = "Requested range not satisfiable";
            return Err(Failure::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "requested_range_not_satisfiable",
                reason,
            ));
        }
    };
    let accepts = HeaderValue::from_static(if has_ranges { "bytes" } else { "none" });
    response.headers_mut().insert(header::ACCEPT_RANGES, accepts);
    Ok(with_etag(response, etag))
}

async fn put(database: &Database, id: &str, name: String, call: Call) -> Answer {
    check_id(id)?;
    check_name(&name)?;
    let bytes = call.body()?.to_vec();
    let content_type = call
        .header(header::CONTENT_TYPE)
        .unwrap_or("application/octet-stream")
        .to_owned();
    let mut edit = on_revision(database, id, &call).await?;
    edit.attachments.retain(|(other, _)| *other != name);
    let location = call.location(&database.name, id);
    let location = format!("{location}/{}", super::request::quote(&name));
    edit.attachments.insert(
        0,
        (
            name,
            Input::Data {
                content_type,
                bytes,
                revpos: None,
            },
        ),
    );
    let row = database.edit_one(edit).await?;
    let answer = json!({"ok": true, "id": row.id, "rev": row.rev});
    Ok(with_location(respond::json(StatusCode::CREATED, &answer), &location))
}

async fn delete(database: &Database, id: &str, name: &str, call: &Call) -> Answer {
    let shown = open(database, id, call).await?;
    if !shown.document.attachments.contains_key(name) {
        return Err(no_attachment());
    }
    let mut edit = on_revision(database, id, call).await?;
    edit.attachments.retain(|(other, _)| other != name);
    let row = database.edit_one(edit).await?;
    Ok(respond::json(
        StatusCode::OK,
        &json!({"ok": true, "id": row.id, "rev": row.rev}),
    ))
}

async fn open(database: &Database, id: &str, call: &Call) -> Result<Shown, Failure> {
    match call.query.get("rev") {
        Some(rev) => database.revision(id, rev, false, &View::default()).await,
        None => database.winner(id, &View::default()).await,
    }
}

/// The edit that changes nothing of the revision it names; without one, a new document's.
async fn on_revision(database: &Database, id: &str, call: &Call) -> Result<Edit, Failure> {
    let Some(revs) = revs_of(call, None)? else {
        return Ok(Edit::new(id));
    };
    let rev = revs.newest().unwrap_or_default();
    let shown = database.revision(id, &rev, false, &View::default()).await;
    let shown = shown.map_err(|_| Failure::new(StatusCode::CONFLICT, "not_found", "missing_rev"))?;
    let mut names: Vec<(&String, u64)> = shown
        .document
        .attachments
        .iter()
        .map(|(n, meta)| (n, meta.revpos))
        .collect();
    names.sort_by_key(|(name, revpos)| (std::cmp::Reverse(*revpos), *name));
    let attachments = names
        .into_iter()
        .map(|(name, _)| (name.clone(), Input::Stub { revpos: None }))
        .collect();
    let mut body = shown.json;
    body.retain(|key, _| !key.starts_with('_'));
    Ok(Edit {
        revs: Some(revs),
        body,
        attachments,
        ..Edit::new(id)
    })
}

fn no_attachment() -> Failure {
    Failure::not_found("Document is missing attachment")
}

fn is_compressible(meta: &AttachmentMeta) -> bool {
    COMPRESSIBLE.iter().any(|kind| meta.content_type.starts_with(kind))
}

/// `bytes=2-5,250-,-3`; what is no range is ignored.
fn parse_ranges(header: &str, length: usize) -> Ranges {
    let Some(list) = header.strip_prefix("bytes=") else {
        return Ranges::All;
    };
    let mut ranges = Vec::new();
    for range in list.split(',') {
        let Some((from, to)) = range.trim().split_once('-') else {
            return Ranges::All;
        };
        let range = match (from.parse::<usize>(), to.parse::<usize>()) {
            (Ok(from), Ok(to)) => (from, to.min(length.saturating_sub(1))),
            (Ok(from), Err(_)) if to.is_empty() => (from, length.saturating_sub(1)),
            (Err(_), Ok(last)) if from.is_empty() => (length.saturating_sub(last), length.saturating_sub(1)),
            _ => return Ranges::All,
        };
        if range.0 > range.1 || range.0 >= length {
            return Ranges::Unsatisfiable;
        }
        ranges.push(range);
    }
    Ranges::Some(ranges)
}
