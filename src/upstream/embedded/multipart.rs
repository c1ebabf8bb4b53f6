//! Documents and their attachments as MIME parts: what CouchDB's replicator sends and asks for.

use std::collections::VecDeque;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    attachments::Input,
    database::Shown,
    edit::Edit,
    request::{Call, gunzip, parse_json},
    respond::{self, Failure},
    store::new_uuid,
};
use crate::upstream::Body;

/// Whether the client takes this type. One that says nothing takes all (documents 45, attachments 38); `q` is not weighed.
pub fn accepted(call: &Call, kind: &str) -> bool {
    let Some(accept) = call.header(header::ACCEPT) else {
        return true;
    };
    let group = kind.split('/').next().unwrap_or("");
    let matches = |entry: &str| match entry.split(';').next().unwrap_or("").trim() {
        "*/*" => true,
        any if any.strip_suffix("/*") == Some(group) => true,
        exact => exact == kind,
    };
    accept.split(',').any(matches)
}

/// One document and its attachments.
pub fn related(shown: &Shown) -> Response<Body> {
    let boundary = new_uuid();
    let mut body = Vec::new();
    write_related(&mut body, &boundary, shown);
    respond::bytes(
        StatusCode::OK,
        &format!("multipart/related; boundary=\"{boundary}\""),
        body,
    )
}

/// Several revisions of a document; those with attachments are `multipart/related` inside.
pub fn mixed(found: &[Shown], missing: &[String]) -> Response<Body> {
    let boundary = new_uuid();
    let mut body = Vec::new();
    for shown in found {
        write_part(&mut body, &boundary, shown, |inner| format!("boundary=\"{inner}\""));
        body.extend(b"\r\n");
    }
    for rev in missing {
        write_error(&mut body, &boundary, &json!({"missing": rev}));
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--").as_bytes());
    streamed(&format!("multipart/mixed; boundary=\"{boundary}\""), body)
}

/// The answer of `_bulk_get` in parts: `Err` is an error row. Its boundaries begin with two dashes of their own.
pub fn bulk(kind: &str, rows: &[Result<Shown, Value>]) -> Response<Body> {
    let boundary = format!("--{}", new_uuid());
    let mut body = b"\r\n".to_vec();
    for row in rows {
        match row {
            Ok(shown) if shown.document.attachments.is_empty() => {
                write_part(&mut body, &boundary, shown, str::to_owned)
            }
            Ok(shown) => {
                let rev = shown.document.rev.as_ref().map(ToString::to_string).unwrap_or_default();
                let inner = format!("--{}", new_uuid());
                let head = format!(
                    "--{boundary}\r\nX-Doc-Id: {}\r\nX-Rev-Id: {rev}\r\nContent-Type: multipart/related; boundary={inner}\r\n\r\n",
                    shown.document.id
                );
                body.extend(head.as_bytes());
                write_related(&mut body, &inner, shown);
            }
            Err(error) => write_error(&mut body, &boundary, error),
        }
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--\r\n").as_bytes());
    streamed(&format!("{kind}; boundary=\"{boundary}\""), body)
}

/// The ranges of an attachment a client asked for at once.
pub fn byte_ranges(content_type: &str, bytes: &Bytes, ranges: &[(usize, usize)]) -> Response<Body> {
    let boundary = new_uuid();
    let mut body = Vec::new();
    for (from, to) in ranges {
        let range = format!("bytes {from}-{to}/{}", bytes.len());
        body.extend(
            format!("--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {range}\r\n\r\n").as_bytes(),
        );
        body.extend(&bytes[*from..=*to]);
        body.extend(b"\r\n");
    }
    body.extend(format!("--{boundary}--").as_bytes());
    let mut response = streamed(&format!("multipart/byteranges; boundary=\"{boundary}\""), body);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    response
}

/// A `multipart/related` request body: the document, then the attachments its `follows` members announce, in their order.
pub fn document(content_type: &str, body: Bytes) -> Result<Edit, Failure> {
    let boundary = content_type
        .split(';')
        .find_map(|p| p.trim().strip_prefix("boundary="))
        .map(|b| b.trim_matches('"'));
    let mut parts = boundary.map_or_else(VecDeque::new, |boundary| split(&body, boundary));
    let text = parts.pop_front().ok_or_else(Failure::invalid_json)?;
    let mut edit = Edit::from_json(parse_json(text)?)?;
    for (_, input) in &mut edit.attachments {
        let Input::Follows {
            content_type,
            length,
            revpos,
            gzipped,
        } = input
        else {
            continue;
        };
        let bytes = parts
            .pop_front()
            .filter(|part| length.is_none_or(|length| part.len() as u64 == length));
        let bytes = bytes.ok_or_else(|| Failure::bad_request("attachment shorter than expected"))?;
        let bytes = if *gzipped { gunzip(&bytes)? } else { bytes };
        *input = Input::Data {
            content_type: std::mem::take(content_type),
            bytes: bytes.to_vec(),
            revpos: *revpos,
        };
    }
    Ok(edit)
}

/// The bodies of the parts.
fn split(body: &Bytes, boundary: &str) -> VecDeque<Bytes> {
    let delimiter = format!("\r\n--{boundary}");
    let mut parts = VecDeque::new();
    // The first delimiter may stand at the very beginning, without a line before it.
    let mut from = match find(body, &delimiter.as_bytes()[2..]) {
        Some(at) => at + delimiter.len() - 2,
        None => return parts,
    };
    while let Some(length) = find(&body[from..], delimiter.as_bytes()) {
        let part = body.slice(from..from + length);
        if let Some(head) = find(&part, b"\r\n\r\n") {
            parts.push_back(part.slice(head + 4..));
        }
        from += length + delimiter.len();
    }
    parts
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

fn write_part(body: &mut Vec<u8>, boundary: &str, shown: &Shown, parameter: impl Fn(&str) -> String) {
    if shown.document.attachments.is_empty() {
        body.extend(format!("--{boundary}\r\nContent-Type: application/json\r\n\r\n").as_bytes());
        body.extend(text(shown));
        return;
    }
    let inner = new_uuid();
    let parameter = parameter(&inner);
    body.extend(format!("--{boundary}\r\nContent-Type: multipart/related; {parameter}\r\n\r\n").as_bytes());
    write_related(body, &inner, shown);
}

fn write_related(body: &mut Vec<u8>, boundary: &str, shown: &Shown) {
    body.extend(format!("--{boundary}\r\nContent-Type: application/json\r\n\r\n").as_bytes());
    body.extend(text(shown));
    let attachments = shown.json.get("_attachments").and_then(Value::as_object);
    for (name, _) in attachments
        .into_iter()
        .flatten()
        .filter(|(_, shown)| shown["follows"] == true)
    {
        let Some(meta) = shown.document.attachments.get(name) else {
            continue;
        };
        let head = format!(
            "\r\n--{boundary}\r\nContent-Disposition: attachment; filename=\"{name}\"\r\nContent-Type: {}\r\n\
             Content-Length: {}\r\n\r\n",
            meta.content_type, meta.length
        );
        body.extend(head.as_bytes());
        body.extend(meta.data.as_deref().unwrap_or_default());
    }
    body.extend(format!("\r\n--{boundary}--").as_bytes());
}

fn write_error(body: &mut Vec<u8>, boundary: &str, error: &Value) {
    let head = format!("--{boundary}\r\nContent-Type: application/json; error=\"true\"\r\n\r\n");
    body.extend(head.as_bytes());
    body.extend(error.to_string().as_bytes());
}

fn text(shown: &Shown) -> Vec<u8> {
    serde_json::to_vec(&shown.json).unwrap_or_default()
}

fn streamed(content_type: &str, body: Vec<u8>) -> Response<Body> {
    respond::stream(
        content_type,
        futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(body))]),
    )
}
