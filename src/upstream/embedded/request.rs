//! A request taken apart as CouchDB does it: decoded path segments, the query, a body of limited size.

use std::io::Read;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use rouchdb_core::error::RouchError;
use serde_json::{Map, Value};

use super::respond::Failure;
use crate::upstream::{Body, client_was_silent};

/// The largest request body read; CouchDB's default `max_http_request_size` is 4 GiB, far too much to hold.
const BODY_LIMIT: usize = 64 << 20;

/// The deepest envelope a document stands in: `{"docs":[…]}`.
const ENVELOPE: usize = 2;

pub struct Call {
    pub method: Method,
    /// The path's segments, decoded. Empty ones are dropped, so `//db/_all_docs/` is `/db/_all_docs`.
    pub path: Vec<Segment>,
    pub query: Query,
    pub headers: HeaderMap,
    /// As it was sent, still encoded. No endpoint works on less than all of it.
    sent: Bytes,
}

/// A decoded path segment. Not every segment is text: a document's id must be, and is refused by name if it is not.
#[derive(Clone)]
pub struct Segment(Vec<u8>);

/// The query's pairs, decoded. Of a name given twice the last counts.
pub struct Query(Vec<(String, String)>);

impl Segment {
    pub fn text(&self) -> Result<&str, Failure> {
        str::from_utf8(&self.0).map_err(|_| Failure::illegal_docid("Document id must be valid UTF-8"))
    }
}

impl Query {
    fn parse(query: &str) -> Result<Self, Failure> {
        let pair = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((
                String::from_utf8(unquote(name)?).ok()?,
                String::from_utf8(unquote(value)?).ok()?,
            ))
        };
        query
            .split('&')
            .filter(|p| !p.is_empty())
            .map(pair)
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| {
                // mochiweb's word for it (transcripts, root_and_db 102).
                Failure::bad_request("invalid_url_encoding")
            })
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }

    pub fn json(&self, name: &str) -> Result<Option<Value>, Failure> {
        self.get(name)
            .map(|text| serde_json::from_str(text).map_err(|_| Failure::invalid_json()))
            .transpose()
    }
}

impl Call {
    pub async fn read(request: Request<Body>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let query = Query::parse(parts.uri.query().unwrap_or(""))?;
        let path = parts.uri.path().split('/').filter(|s| !s.is_empty());
        let path = path
            .map(|s| Segment(unquote(s).unwrap_or_else(|| s.as_bytes().to_vec())))
            .collect();
        let overridden = parts
            .headers
            .get("x-http-method-override")
            .filter(|_| parts.method == Method::POST);
        let method = overridden
            .and_then(|m| Method::from_bytes(m.as_bytes()).ok())
            .unwrap_or(parts.method);
        let sent = collect(body).await?;
        Ok(Self {
            method,
            path,
            query,
            headers: parts.headers,
            sent,
        })
    }

    pub fn header(&self, name: impl header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    pub fn is_read(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// Whether one of the client's ETags is this one; CouchDB compares weakly and knows no `*` (documents 11-17).
    pub fn has_etag(&self, etag: &str) -> bool {
        let matches = |tag: &str| tag.trim().trim_start_matches("W/") == format!("\"{etag}\"");
        self.header(header::IF_NONE_MATCH)
            .is_some_and(|tags| tags.split(',').any(matches))
    }

    /// Where the client finds what it made: CouchDB builds the URL from `Host`.
    pub fn location(&self, db: &str, id: &str) -> String {
        let host = self.header(header::HOST).unwrap_or("localhost");
        let id = if id.is_empty() {
            String::new()
        } else {
            format!("/{}", quote(id))
        };
        format!("http://{host}/{}{id}", quote(db))
    }

    /// Most POSTs insist on it, PUTs never look (documents 122-127).
    pub fn require_json(&self) -> Result<(), Failure> {
        let kind = self
            .header(header::CONTENT_TYPE)
            .unwrap_or("")
            .split(';')
            .next()
            .unwrap_or("")
            .trim();
        if kind == "application/json" {
            return Ok(());
        }
        let reason = "Content-Type must be application/json";
        Err(Failure::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "bad_content_type",
            reason,
        ))
    }

    /// The body, decoded if it was gzipped.
    pub fn body(&self) -> Result<Bytes, Failure> {
        match self.header(header::CONTENT_ENCODING) {
            None | Some("identity") => Ok(self.sent.clone()),
            Some("gzip") => gunzip(&self.sent),
            Some(other) => {
                let reason = format!("{other} is not a supported content encoding.");
                Err(Failure::new(
                    StatusCode::UNSUPPORTED_MEDIA_TYPE,
                    "bad_content_type",
                    reason,
                ))
            }
        }
    }

    pub fn json(&self) -> Result<Value, Failure> {
        parse_json(self.body()?)
    }

    pub fn json_object(&self) -> Result<Map<String, Value>, Failure> {
        self.require_json()?;
        match self.json()? {
            Value::Object(object) => Ok(object),
            _ => Err(Failure::bad_request("Request body must be a JSON object")),
        }
    }
}

fn broken_off(error: &(dyn std::error::Error + 'static)) -> Failure {
    match client_was_silent(error) {
        Some(after) => Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            "request_timeout",
            format!("nothing came of the request's body for {after:?}"),
        ),
        None => Failure::bad_request(format!("the request body broke off: {error}")),
    }
}

async fn collect(mut body: Body) -> Result<Bytes, Failure> {
    let mut sent = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| broken_off(&*error))?;
        if let Ok(data) = frame.into_data() {
            sent.extend_from_slice(&data);
        }
        if sent.len() > BODY_LIMIT {
            return Err(too_large());
        }
    }
    Ok(sent.into())
}

/// Deep nesting is accepted as far as the storage takes it.
pub fn parse_json(body: Bytes) -> Result<Value, Failure> {
    rouchdb_core::json::from_input(&body, ENVELOPE).map_err(|error| match error {
        RouchError::BadRequest(reason) => Failure::bad_request(reason),
        _ => Failure::invalid_json(),
    })
}

/// `encodeURIComponent`, but for what CouchDB leaves alone in a Location header (documents 159-182).
pub fn quote(text: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b':');
    utf8_percent_encode(text, KEPT).to_string()
}

/// mochiweb's `unquote`: `%xx` and `+`. `None` where the percent-encoding is none.
fn unquote(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: Option<u8>| b.and_then(|b| (b as char).to_digit(16));
                (digit(bytes.next())? * 16 + digit(bytes.next())?) as u8
            }
            other => other,
        });
    }
    Some(out)
}

pub fn gunzip(raw: &[u8]) -> Result<Bytes, Failure> {
    let mut out = Vec::new();
    let limit = BODY_LIMIT as u64 + 1;
    match flate2::read::GzDecoder::new(raw).take(limit).read_to_end(&mut out) {
        Ok(_) if out.len() > BODY_LIMIT => Err(too_large()),
        Ok(_) => Ok(out.into()),
        Err(_) => Err(Failure::bad_request("Request body is not properly gzipped.")),
    }
}

fn too_large() -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        "the request entity is too large",
    )
}
