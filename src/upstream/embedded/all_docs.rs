//! `_all_docs` and its narrower sister `_design_docs`: rows by id, streamed in pages.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use http::{Method, StatusCode};
use rouchdb_core::document::{AllDocsOptions, AllDocsRow};
use serde_json::{Map, Value, json};

use super::{
    attachments::Form,
    database::{Database, View},
    request::Call,
    respond::{self, Answer, Failure},
};

/// Rows read at once.
const PAGE: u64 = 500;

/// The ids an endpoint lists.
#[derive(Clone, Copy)]
pub struct Range {
    first: Option<&'static str>,
    last: Option<&'static str>,
}

impl Range {
    pub const ALL: Self = Self {
        first: None,
        last: None,
    };
    pub const DESIGN: Self = Self {
        first: Some("_design/"),
        last: Some("_design0"),
    };
}

struct Query {
    keys: Option<Vec<Value>>,
    /// The lower and the upper end, whatever the direction. `None`: no row can be between them.
    bounds: Option<Bounds>,
    inclusive_end: bool,
    descending: bool,
    skip: u64,
    limit: u64,
    update_seq: bool,
    /// How documents are shown with `include_docs`.
    docs: Option<View>,
}

#[derive(Clone, Default)]
struct Bounds {
    low: Option<String>,
    high: Option<String>,
}

/// What is left to list.
enum Left {
    Keys(VecDeque<Value>),
    Rows { options: AllDocsOptions, limit: u64 },
}

pub async fn answer(database: Arc<Database>, call: Call, range: Range) -> Answer {
    let body = match call.method {
        Method::GET | Method::HEAD => Map::new(),
        Method::POST => {
            let mut body = call.json_object()?;
            // The URL counts more (`couch_mrview_http:parse_body_and_query`).
            body.retain(|name, _| call.query.get(name).is_none());
            body
        }
        _ => return Err(Failure::method("GET,HEAD,POST")),
    };
    let query = Query::parse(&call, body, range)?;
    let rows = listing(database, query, range).await?;
    Ok(respond::stream("application/json", rows.chain(end("\n"))))
}

/// Several listings in one answer.
pub async fn queries(database: Arc<Database>, call: Call, range: Range) -> Answer {
    if call.method != Method::POST {
        return Err(Failure::method("POST"));
    }
    let Some(Value::Array(queries)) = call.json_object()?.remove("queries") else {
        return Err(Failure::bad_request("`queries` must be an array."));
    };
    let mut listings = Vec::with_capacity(queries.len());
    for (n, query) in queries.into_iter().enumerate() {
        let Value::Object(query) = query else {
            return Err(Failure::bad_request("`queries` must be objects."));
        };
        let query = Query::parse(&call, query, range)?;
        let separator = if n == 0 { "" } else { ",\n" };
        listings.push(end(separator).chain(listing(database.clone(), query, range).await?));
    }
    let last = if listings.is_empty() { "]}\n" } else { "\n]}\n" };
    let listings = end("{\"results\":[\n")
        .chain(stream::iter(listings).flatten())
        .chain(end(last));
    Ok(respond::stream("application/json", listings))
}

impl Query {
    /// From the URL, or with more weight from one of several queries.
    fn parse(call: &Call, mut body: Map<String, Value>, range: Range) -> Result<Self, Failure> {
        let mut json = |names: &[&str]| -> Result<Option<Value>, Failure> {
            match names.iter().find_map(|name| body.remove(*name)) {
                Some(value) => Ok(Some(value)),
                None => Ok(names
                    .iter()
                    .find_map(|name| call.query.json(name).transpose())
                    .transpose()?),
            }
        };
        let keys = match json(&["keys"])? {
            Some(Value::Array(keys)) => Some(keys),
            Some(_) => return Err(Failure::bad_request("`keys` body member must be an array.")),
            None => None,
        };
        let key = json(&["key"])?;
        let start = json(&["start_key", "startkey"])?.or_else(|| key.clone());
        let end = json(&["end_key", "endkey"])?.or(key);
        let mut flag = |name: &str| {
            body.remove(name)
                .map_or_else(|| call.query.is_true(name), |value| value == true)
        };
        let descending = flag("descending");
        let (low, high) = if descending { (end, start) } else { (start, end) };
        let include_docs = flag("include_docs");
        let view = View {
            conflicts: flag("conflicts"),
            attachments: if flag("attachments") { Form::Data } else { Form::Stubs },
            ..View::default()
        };
        let update_seq = flag("update_seq");
        let number = |name: &str, otherwise: u64| match body.get(name) {
            Some(value) => value.as_u64().ok_or_else(|| not_positive(&value.to_string())),
            None => call.query.get(name).map_or(Ok(otherwise), positive),
        };
        Ok(Self {
            keys,
            bounds: Bounds::new(low, high, range),
            inclusive_end: body
                .get("inclusive_end")
                .map_or(call.query.get("inclusive_end") != Some("false"), |v| v == true),
            descending,
            skip: number("skip", 0)?,
            limit: number("limit", u64::MAX)?,
            update_seq,
            docs: include_docs.then_some(view),
        })
    }

    fn options(&self) -> Option<AllDocsOptions> {
        let Bounds { low, high } = self.bounds.clone()?;
        let (start_key, end_key) = if self.descending { (high, low) } else { (low, high) };
        Some(AllDocsOptions {
            start_key,
            end_key,
            descending: self.descending,
            inclusive_end: self.inclusive_end,
            skip: self.skip,
            ..AllDocsOptions::new()
        })
    }

    fn into_left(self) -> (Left, Option<View>) {
        let left = match (&self.keys, self.options()) {
            (Some(keys), _) => {
                let keys = keys.iter().cloned();
                let keys: Vec<_> = if self.descending {
                    keys.rev().collect()
                } else {
                    keys.collect()
                };
                let count = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
                Left::Keys(
                    keys.into_iter()
                        .skip(count(self.skip))
                        .take(count(self.limit))
                        .collect(),
                )
            }
            (None, Some(options)) => Left::Rows {
                options,
                limit: self.limit,
            },
            (None, None) => Left::Keys(VecDeque::new()),
        };
        (left, self.docs)
    }
}

impl Bounds {
    /// Ids are text; in CouchDB's order numbers and null come before, arrays and objects after all of them.
    fn new(low: Option<Value>, high: Option<Value>, range: Range) -> Option<Self> {
        let low = match low {
            None | Some(Value::Null | Value::Bool(_) | Value::Number(_)) => None,
            Some(Value::String(id)) => Some(id),
            Some(Value::Array(_) | Value::Object(_)) => return None,
        };
        let high = match high {
            None | Some(Value::Array(_) | Value::Object(_)) => None,
            Some(Value::String(id)) => Some(id),
            Some(Value::Null | Value::Bool(_) | Value::Number(_)) => return None,
        };
        let low = low.max(range.first.map(str::to_owned));
        let last = range.last.map(str::to_owned);
        let high = if high.is_some() && last.is_some() {
            high.min(last)
        } else {
            high.or(last)
        };
        Some(Self { low, high })
    }
}

async fn listing(
    database: Arc<Database>,
    query: Query,
    range: Range,
) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + 'static, Failure> {
    let total = match range.first {
        Some(first) => {
            let (start_key, end_key) = (Some(first.to_owned()), range.last.map(str::to_owned));
            let options = AllDocsOptions {
                start_key,
                end_key,
                inclusive_end: false,
                ..AllDocsOptions::new()
            };
            database.adapter.all_docs(options).await?.rows.len() as u64
        }
        None => database.adapter.info().await?.doc_count,
    };
    let offset = match query.keys {
        Some(_) => Value::Null,
        None => offset(&database, &query, total).await?.into(),
    };
    let seq = match query.update_seq {
        true => format!("\"update_seq\":\"{}\",", database.seq(database.update_seq().await?)),
        false => String::new(),
    };
    let head = format!("{{\"total_rows\":{total},\"offset\":{offset},{seq}\"rows\":[\n");
    let (left, docs) = query.into_left();
    let rows = stream::try_unfold((Some(left), false), move |(left, any)| {
        let (database, docs) = (database.clone(), docs.clone());
        async move {
            let Some(left) = left else { return Ok(None) };
            let (rows, left) = page(&database, left, docs.as_ref()).await?;
            let separator = if any && !rows.is_empty() { ",\n" } else { "" };
            let any = any || !rows.is_empty();
            Ok(Some((
                Bytes::from(format!("{separator}{}", rows.join(",\n"))),
                (left, any),
            )))
        }
    });
    Ok(stream::iter([Ok(Bytes::from(head))])
        .chain(rows.into_stream())
        .chain(end("\n]}")))
}

/// How many documents stand before the first one shown, those of other kinds too.
async fn offset(database: &Database, query: &Query, total: u64) -> Result<u64, Failure> {
    let before = match query.options() {
        Some(AllDocsOptions {
            start_key: Some(first),
            descending,
            ..
        }) => {
            let options = AllDocsOptions {
                end_key: Some(first),
                descending,
                inclusive_end: false,
                ..AllDocsOptions::new()
            };
            database.adapter.all_docs(options).await?.rows.len() as u64
        }
        _ => 0,
    };
    Ok(before.saturating_add(query.skip).min(total))
}

async fn page(database: &Database, left: Left, docs: Option<&View>) -> Result<(Vec<String>, Option<Left>), Failure> {
    match left {
        Left::Keys(mut keys) => {
            let mut rows = Vec::new();
            for key in keys.drain(..keys.len().min(PAGE as usize)) {
                rows.push(key_row(database, key, docs).await?.to_string());
            }
            Ok((rows, (!keys.is_empty()).then_some(Left::Keys(keys))))
        }
        Left::Rows { mut options, limit } => {
            let asked = limit.min(PAGE);
            if asked == 0 {
                return Ok((Vec::new(), None));
            }
            options.limit = Some(asked);
            let found = database.adapter.all_docs(options.clone()).await?.rows;
            let last = found
                .last()
                .map(|row| row.key.clone())
                .filter(|_| found.len() as u64 == asked && limit > asked);
            let mut rows = Vec::with_capacity(found.len());
            for row in found {
                rows.push(show(database, row.key.clone().into(), row, docs).await?.to_string());
            }
            let left = last.map(|last| {
                let options = AllDocsOptions {
                    start_key: Some(last),
                    skip: 1,
                    ..options
                };
                Left::Rows {
                    options,
                    limit: limit - asked,
                }
            });
            Ok((rows, left))
        }
    }
}

async fn key_row(database: &Database, key: Value, docs: Option<&View>) -> Result<Value, Failure> {
    let not_found = json!({"key": key, "error": "not_found"});
    let Some(id) = key.as_str() else { return Ok(not_found) };
    if id.starts_with("_local/") {
        return Ok(match database.winner(id, docs.unwrap_or(&View::default())).await {
            Ok(shown) => {
                let mut row = json!({"id": id, "key": id, "value": {"rev": shown.json["_rev"]}});
                if docs.is_some() {
                    row["doc"] = shown.json.into();
                }
                row
            }
            Err(_) => not_found,
        });
    }
    let options = AllDocsOptions {
        keys: Some(vec![id.to_owned()]),
        ..AllDocsOptions::new()
    };
    match database.adapter.all_docs(options).await?.rows.pop() {
        Some(row) if !row.is_error() => show(database, key, row, docs).await,
        _ => Ok(not_found),
    }
}

async fn show(database: &Database, key: Value, row: AllDocsRow, docs: Option<&View>) -> Result<Value, Failure> {
    let rev = row.rev().unwrap_or_default();
    let mut shown = json!({"id": key, "key": key, "value": {"rev": rev}});
    if row.is_deleted() {
        shown["value"]["deleted"] = true.into();
    }
    if let Some(view) = docs {
        shown["doc"] = match row.is_deleted() {
            true => Value::Null,
            false => database.revision(&row.key, rev, false, view).await?.json.into(),
        };
    }
    Ok(shown)
}

fn positive(text: &str) -> Result<u64, Failure> {
    match text.parse::<i64>() {
        Ok(number) => u64::try_from(number).map_err(|_| not_positive(&format!("\"{text}\""))),
        Err(_) => Err(query_parse_error(format!("Invalid value for integer: \"{text}\""))),
    }
}

fn not_positive(shown: &str) -> Failure {
    query_parse_error(format!("Invalid value for positive integer: {shown}"))
}

fn query_parse_error(reason: String) -> Failure {
    Failure::new(StatusCode::BAD_REQUEST, "query_parse_error", reason)
}

fn end(text: &'static str) -> impl Stream<Item = Result<Bytes, Failure>> + Send + 'static {
    stream::iter([Ok(Bytes::from_static(text.as_bytes()))])
}
