//! Several listings in one answer: `_all_docs/queries`, and the same for views.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use futures_util::{TryStreamExt, stream};
use http::{Method, Request, Response, StatusCode, header::CONTENT_LENGTH, request};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::value::RawValue;

use super::{
    super::{
        Answer, Call, Error,
        encoding::{is_json, members, repost},
        service::pass,
    },
    LIMIT,
    census::{Asker, Census, Censuses},
    in_plain,
    listing::Listing,
    posted,
    query::{Query, with_members},
    rows::Rows,
};
use crate::{
    couch::Route,
    schema::Filter,
    upstream::{Body, BoxError, Upstream, body},
};

/// What is left of the answer.
struct Listings {
    upstream: Upstream,
    parts: request::Parts,
    filter: Filter,
    /// For `_all_docs`: who counts, and what is hidden.
    counts: Option<(Asker, Arc<Census>)>,
    queries: VecDeque<(Query, String)>,
    current: Option<Listing>,
    /// What stands before the next listing.
    separator: &'static str,
}

/// Asks for all listings without their rows first, which CouchDB answers or refuses as a whole; then for one after the other,
/// so that each can end where its own window does.
pub(super) async fn forward(upstream: &Upstream, censuses: &Censuses, mut call: Call, filter: &Filter) -> Answer {
    let is_view = matches!(call.route, Route::ViewQueries { .. });
    if call.method != Method::POST || (is_view && !is_json(&call.parts.headers)) {
        return pass(upstream, call).await;
    }
    let Some(text) = posted(&mut call).await? else {
        return pass(upstream, call).await;
    };
    let read = members(&text)?;
    let Some(texts) = read.get("queries").and_then(|text| texts(text)) else {
        return pass(upstream, call).await;
    };
    let mut queries = VecDeque::with_capacity(texts.len());
    let mut emptied = Vec::with_capacity(texts.len());
    for text in texts {
        // Here a query counts more than the URL.
        let mut query = Query::default();
        query.read_url(&call.parts.uri);
        query.read_posted(text.as_bytes())?;
        if query.is_refused {
            return pass(upstream, call).await;
        }
        let empty = with_members(text, "\"limit\":0");
        let opened = if query.has_window() {
            query.open_object(text)
        } else {
            Some(text.to_owned())
        };
        let (Some(empty), Some(opened)) = (empty, opened) else {
            return pass(upstream, call).await;
        };
        emptied.push(empty);
        queries.push_back((query, opened));
    }
    in_plain(&mut call);
    repost(&mut call, format!("{{\"queries\":[{}]}}", emptied.join(",")));
    let asker = Asker::of(upstream, &call);
    let parts = call.parts.clone();
    let answer = pass(upstream, call).await?;
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    let (mut head, heads) = answer.into_parts();
    body::read(heads, LIMIT).await.map_err(|error| upstream.broken(error))?;
    let counts = if is_view {
        None
    } else {
        let hidden = censuses.hidden(&asker, filter).await?;
        Some((asker, hidden))
    };
    let listings = Listings {
        upstream: upstream.clone(),
        parts,
        filter: filter.clone(),
        counts,
        queries,
        current: None,
        separator: "\r\n",
    };
    head.headers.remove(CONTENT_LENGTH);
    Ok(Response::from_parts(head, streamed(listings)))
}

/// The texts of the queries; none if CouchDB will refuse them.
fn texts(queries: &RawValue) -> Option<Vec<&str>> {
    let queries: Vec<&RawValue> = serde_json::from_str(queries.get()).ok()?;
    let texts = queries.into_iter().map(RawValue::get);
    texts
        .map(|text| Some(text).filter(|text| text.starts_with('{')))
        .collect()
}

impl Listings {
    /// The next part of the text; none at the end.
    async fn text(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(listing) = &mut self.current {
            if let Some(text) = listing.text().await? {
                return Ok(Some(text));
            }
            self.current = None;
        }
        let Some((query, text)) = self.queries.pop_front() else {
            return Ok(None);
        };
        self.current = Some(self.open(&query, &text).await?);
        let separator = std::mem::replace(&mut self.separator, ",\r\n");
        Ok(Some(Bytes::from_static(separator.as_bytes())))
    }

    async fn open(&mut self, query: &Query, text: &str) -> Result<Listing, Error> {
        let posted = body::full(format!("{{\"queries\":[{text}]}}"));
        let answer = self
            .upstream
            .send(Request::from_parts(self.parts.clone(), posted))
            .await?;
        if answer.status() != StatusCode::OK {
            return Err(self.upstream.broken("a query was refused that was not before").into());
        }
        let rows = Rows::new(&self.upstream, answer.into_body());
        let mut listing = Listing::open(rows, self.filter.clone(), query).await?;
        match &self.counts {
            Some((asker, hidden)) => listing.place(query, asker, hidden).await?,
            None => listing.place_of_index(query),
        }
        Ok(listing)
    }
}

fn streamed(listings: Listings) -> Body {
    let begin = stream::iter([Ok(Bytes::from_static(b"{\"results\":["))]);
    let texts = stream::try_unfold(Some(listings), |listings| async move {
        let Some(mut listings) = listings else { return Ok(None) };
        Ok(Some(match listings.text().await? {
            Some(text) => (text, Some(listings)),
            None => (Bytes::from_static(b"\r\n]}\n"), None),
        }))
    });
    let frames = futures_util::StreamExt::chain(begin, texts)
        .map_ok(Frame::data)
        .map_err(|error: Error| BoxError::from(error));
    StreamBody::new(frames).boxed_unsync()
}
