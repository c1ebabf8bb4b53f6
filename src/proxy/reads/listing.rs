//! `_all_docs` and views: hidden rows are dropped before `skip` and `limit` count, so that pages are as long as they are asked for.
//!
//! The window is opened upstream and cut out here, from one answer: a page costs as many rows as stand before its end, hidden ones
//! included, and no more. CouchDB stops as soon as nobody reads on.

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{TryStreamExt, stream};
use http::{Method, Response, StatusCode, header::CONTENT_LENGTH, response};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Map, Value, json};

use super::{
    super::{
        Answer, Call, Error,
        encoding::{is_json, members},
        etag,
        service::pass,
    },
    census::{Asker, Census, Censuses},
    in_plain, posted,
    query::Query,
    rows::Rows,
};
use crate::{
    couch::{Route, listing::Piece},
    schema::Filter,
    upstream::{Body, BoxError, Upstream},
};

/// One listing, as far as it is to be shown.
pub(super) struct Listing {
    rows: Rows,
    filter: Filter,
    head: Option<Map<String, Value>>,
    skip: u64,
    left: u64,
    /// Rows were asked for by key: one that is hidden is answered as if its document did not exist.
    by_key: bool,
    any: bool,
    shown: bool,
    is_done: bool,
}

pub(super) async fn forward(upstream: &Upstream, censuses: &Censuses, mut call: Call, filter: &Filter) -> Answer {
    let mut query = Query::default();
    match call.method {
        Method::GET => {}
        Method::POST if is_json(&call.parts.headers) => {
            let Some(text) = posted(&mut call).await? else {
                return pass(upstream, call).await;
            };
            members(&text)?;
            query.read_posted(&text)?;
        }
        // Only the head is asked for, or CouchDB refuses.
        _ => return pass(upstream, call).await,
    }
    query.read_url(&call.parts.uri);
    let asker = Asker::of(upstream, &call);
    let is_view = matches!(call.route, Route::View { .. });
    // Rows that are asked for by key are all answered, hidden or not.
    let by_key = query.is_keyed && !is_view;
    if by_key {
        (query.skip, query.limit) = (0, None);
    }
    if query.has_window() && !query.is_refused {
        let opened = query.open_url(&call.parts.uri);
        call.parts.uri = opened.ok_or(Error::BadRequest("invalid_url_encoding"))?;
    }
    in_plain(&mut call);
    let answer = etag::conditional(upstream, call, filter.tag()).await?;
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    let (mut head, body) = answer.into_parts();
    let mut listing = Listing::open(Rows::new(upstream, body), filter.clone(), &query).await?;
    if is_view {
        listing.place_of_index(&query);
    } else {
        let hidden = censuses.hidden(&asker, filter).await?;
        listing.place(&query, &asker, &hidden).await?;
    }
    head.headers.remove(CONTENT_LENGTH);
    Ok(streamed(head, listing))
}

impl Listing {
    /// Reads up to the first row.
    pub(super) async fn open(mut rows: Rows, filter: Filter, query: &Query) -> Result<Self, Error> {
        let head = match rows.piece().await? {
            Piece::Head(head) => head,
            _ => Map::new(),
        };
        Ok(Self {
            rows,
            filter,
            // Without an `offset` rows are asked for by key (`fabric_view_all_docs:go`); those of a view have one.
            by_key: head.get("offset") == Some(&Value::Null),
            head: Some(head),
            skip: query.skip,
            left: query.limit.unwrap_or(u64::MAX),
            any: false,
            shown: false,
            is_done: false,
        })
    }

    /// Counts as if hidden documents were not there.
    pub(super) async fn place(&mut self, query: &Query, asker: &Asker, hidden: &Census) -> Result<(), Error> {
        let Some(head) = &mut self.head else { return Ok(()) };
        let count = |head: &Map<String, Value>, name| head.get(name).and_then(Value::as_u64);
        let Some(total) = count(head, "total_rows") else {
            return Ok(());
        };
        let visible = total.saturating_sub(hidden.total(asker, &self.filter).await?);
        head.insert("total_rows".into(), visible.into());
        if let Some(offset) = count(head, "offset") {
            let before = match offset {
                0 => 0,
                offset if offset == total => visible,
                offset => offset.saturating_sub(hidden.before(asker, &self.filter, query).await?),
            };
            head.insert("offset".into(), before.saturating_add(query.skip).min(visible).into());
        }
        Ok(())
    }

    /// Those of a view stay what they are, places in its index: nothing tells them apart short of reading all of it.
    pub(super) fn place_of_index(&mut self, query: &Query) {
        self.by_key = false;
        let Some(head) = &mut self.head else { return };
        let count = |name| head.get(name).and_then(Value::as_u64);
        if let (Some(total), Some(offset)) = (count("total_rows"), count("offset")) {
            head.insert("offset".into(), offset.saturating_add(query.skip).min(total).into());
        }
    }

    /// The next part of the text; none at the end.
    pub(super) async fn text(&mut self) -> Result<Option<Bytes>, Error> {
        let mut text = BytesMut::new();
        if let Some(head) = self.head.take() {
            text.put(opened(&head).as_bytes());
            self.is_done = self.left == 0;
            if self.is_done {
                text.put(&b"\r\n]}"[..]);
                return Ok(Some(text.freeze()));
            }
        }
        while !self.is_done {
            match self.rows.ready()? {
                Some(Piece::Row(id)) => self.row(id, &mut text),
                Some(Piece::Text(row)) if self.shown => text.put(row),
                Some(Piece::End) => {
                    self.end(&mut text);
                    self.rows.drain().await;
                }
                Some(Piece::Text(_) | Piece::Head(_)) => {}
                None if text.is_empty() => self.rows.more().await?,
                None => break,
            }
        }
        Ok(Some(text.freeze()).filter(|text| !text.is_empty()))
    }

    fn row(&mut self, id: Option<String>, text: &mut BytesMut) {
        let is_hidden = id.as_deref().is_some_and(|id| !self.filter.admits(id));
        self.shown = false;
        if self.left == 0 {
            return self.end(text);
        }
        if is_hidden && !self.by_key {
            return;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.left -= 1;
        if std::mem::replace(&mut self.any, true) {
            text.put(&b",\r\n"[..]);
        }
        self.shown = !is_hidden;
        if is_hidden {
            text.put(json!({"key": id, "error": "not_found"}).to_string().as_bytes());
        }
    }

    fn end(&mut self, text: &mut BytesMut) {
        self.is_done = true;
        text.put(&b"\r\n]}"[..]);
    }
}

/// The text of a listing up to its first row.
fn opened(head: &Map<String, Value>) -> String {
    let members: Vec<String> = head
        .iter()
        .map(|(name, value)| format!("{}:{value},", Value::from(name.as_str())))
        .collect();
    format!("{{{}\"rows\":[\r\n", members.concat())
}

/// Answers with the rest of a listing.
fn streamed(head: response::Parts, listing: Listing) -> Response<Body> {
    let texts = stream::try_unfold(Some(listing), |listing| async move {
        let Some(mut listing) = listing else { return Ok(None) };
        Ok(Some(match listing.text().await? {
            Some(text) => (text, Some(listing)),
            None => (Bytes::from_static(b"\n"), None),
        }))
    });
    let frames = texts.map_ok(Frame::data).map_err(|error: Error| BoxError::from(error));
    Response::from_parts(head, StreamBody::new(frames).boxed_unsync())
}
