//! A feed from which rows are dropped on their way, however many requests it takes to fill it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use http::{
    Method, Response, StatusCode,
    header::{ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, IF_NONE_MATCH},
    request,
};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::time::{Instant, sleep_until};

use super::{
    super::{Call, Error, Proxy, encoding::forget_body, service::Answer},
    conditional,
    pages::{Page, Progress},
    query::{Kind, Query, instead},
};
use crate::{
    couch::{
        feed::{Malformed, Sieve, Tail},
        route::METHOD_OVERRIDE,
    },
    schema::Filter,
    upstream::{self, Body, BoxError, LiveFeed, Upstream, body},
};

/// CouchDB's own default, `#changes_args.limit`: none.
const NO_LIMIT: &str = "1000000000000000";

/// The most that is read of an answer that tells no more than where it stands.
const POSITION: usize = 64 << 10;

/// Why a feed breaks off. The client must see that it did: a feed that ends early looks like one that is complete.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the upstream answered {0} in the middle of a feed")]
    Refused(StatusCode),
    #[error("the target of a request grew too long")]
    Target,
    #[error("the upstream did not say how many changes are left: {0}")]
    Uncounted(#[source] serde_json::Error),
}

/// What is asked again for more of the same feed.
struct Source {
    upstream: Upstream,
    head: request::Parts,
    /// What a filter is posted with; none if CouchDB does not look at it.
    posted: Option<Bytes>,
}

/// A feed on its way to the client.
struct Rows {
    source: Source,
    filter: Filter,
    query: Query,
    sieve: Sieve,
    page: Page,
    /// The rows of all pages before this one.
    seen_before: u64,
    /// Where the page before this one ended.
    after: Option<String>,
    begun: Instant,
    sent: Instant,
    /// When the client has to be told that the feed still stands; none while what it is sent tells.
    sign_due: Option<Instant>,
    step: Step,
}

enum Step {
    Reading(Body),
    /// For the next page.
    Asking(BoxFuture<'static, Result<Response<Body>, upstream::Error>>),
    /// How many changes are left after the last row.
    Counting(BoxFuture<'static, Result<Option<i64>, BoxError>>),
    Done,
}

/// Forwards the request and drops rows from its answer. A posted filter is read whole, it may have to be posted again.
pub(super) async fn forward(proxy: &Proxy, mut call: Call, query: Query, filter: &Filter) -> Answer {
    let posted = if call.method == Method::POST && !query.filter.is_empty() {
        let posted = std::mem::replace(&mut call.body, body::empty());
        let posted = body::read(posted, proxy.settings.filter_limit).await?;
        call.body = body::full(posted.clone());
        Some(posted)
    } else {
        None
    };
    // What is packed cannot be looked into.
    call.parts.headers.remove(ACCEPT_ENCODING);
    let page = Page::first(&query);
    if page.limit != query.limit {
        let unlimited = instead(&call.parts.uri, &[("limit", NO_LIMIT), ("seq_interval", "1")]);
        call.parts.uri = unlimited.ok_or(Error::BadRequest("invalid_url_encoding"))?;
    }
    let source = Source {
        upstream: proxy.upstream.clone(),
        head: call.parts.clone(),
        posted,
    };
    let mut answer = conditional(&proxy.upstream, call, filter.tag()).await?;
    if answer.status() != StatusCode::OK {
        return Ok(answer);
    }
    answer.headers_mut().remove(CONTENT_LENGTH);
    Ok(answer.map(|body| {
        let now = Instant::now();
        let rows = Rows {
            sieve: Sieve::new(query.kind.framing(), query.limit),
            source,
            filter: filter.clone(),
            query,
            page,
            seen_before: 0,
            after: None,
            begun: now,
            sent: now,
            sign_due: None,
            step: Step::Reading(body),
        };
        let frames = stream::try_unfold(Box::new(rows), |mut rows| async move {
            let next = rows.next().await;
            if let Err(error) = &next {
                tracing::warn!(error, "a feed of changes breaks off");
            }
            next.map(|bytes| bytes.map(|bytes| (Frame::data(bytes), rows)))
        });
        StreamBody::new(frames).boxed_unsync()
    }))
}

impl Rows {
    /// What the client is sent next; none at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            let sign_due = self.sign_due;
            // Far away, and never waited for.
            let sign = sleep_until(sign_due.unwrap_or_else(|| self.begun + Duration::from_secs(3600)));
            let bytes = match &mut self.step {
                Step::Reading(body) => tokio::select! {
                    biased;
                    frame = body.frame() => match frame.transpose()?.map(Frame::into_data) {
                        Some(Ok(piece)) => self.sift(&piece)?,
                        // Trailers, of which a feed has none.
                        Some(Err(_)) => continue,
                        None => self.ended()?,
                    },
                    () = sign, if sign_due.is_some() => self.sign(),
                },
                Step::Asking(asked) => tokio::select! {
                    biased;
                    answer = asked => {
                        let answer = answer?;
                        if answer.status() != StatusCode::OK {
                            return Err(Broken::Refused(answer.status()).into());
                        }
                        self.step = Step::Reading(answer.into_body());
                        continue;
                    }
                    () = sign, if sign_due.is_some() => self.sign(),
                },
                Step::Counting(count) => {
                    let pending = count.await?;
                    self.step = Step::Done;
                    self.tail(pending)
                }
                Step::Done => return Ok(None),
            };
            if !bytes.is_empty() {
                self.sent = Instant::now();
                self.sign_due = None;
                return Ok(Some(bytes));
            }
        }
    }

    fn sift(&mut self, piece: &Bytes) -> Result<Bytes, BoxError> {
        let passed = self
            .sieve
            .sift(piece, |id| self.filter.admits(id))
            .map_err(Broken::from)?;
        if self.page.is_generous && self.sieve.last_seq().is_some() && !self.is_worth_reading() {
            self.cut()?;
            return Ok(if self.step.is_done() {
                [passed, self.tail(None)].concat().into()
            } else {
                passed
            });
        }
        if !passed.is_empty() {
            return Ok(passed);
        }
        // CouchDB's own heartbeats come when it has no rows. While rows are dropped there are none, so that the client hears nothing.
        let now = Instant::now();
        let due = self.query.heartbeat.map(|often| self.sent + often);
        self.sign_due = self.sign_due.or(due);
        Ok(match self.sign_due {
            Some(due) if due <= now => self.sign(),
            _ => passed,
        })
    }

    /// Whether the rest of a page is read when there are rows enough. It tells how many changes are left, if its rows are all of
    /// them; where CouchDB filters, or waits, or goes backwards, it would take long and tell less.
    fn is_worth_reading(&self) -> bool {
        self.query.filter.is_empty() && self.page.limit.is_some() && self.page.kind == Kind::Normal
    }

    /// Leaves a page when there are rows enough.
    fn cut(&mut self) -> Result<(), Broken> {
        let last_seq = self.sieve.last_seq().unwrap_or("null");
        self.step = match self.query.kind {
            Kind::EventSource => Step::Done,
            // Which changes come before a row cannot be asked; CouchDB, too, says null where it does not know.
            _ if self.query.descending => Step::Done,
            _ => Step::Counting(self.source.count(last_seq)?),
        };
        Ok(())
    }

    /// A page has ended: what comes of it, or of its end.
    fn ended(&mut self) -> Result<Bytes, Broken> {
        self.step = Step::Done;
        let Some((tail, text)) = self.sieve.end()? else {
            return Ok(Bytes::new());
        };
        if self.sieve.beyond() > 0 {
            let beyond = i64::try_from(self.sieve.beyond()).unwrap_or(i64::MAX);
            return Ok(self.tail(tail.pending.map(|pending| pending.saturating_add(beyond))));
        }
        let seen_in_all = self.seen_before + self.sieve.seen();
        let progress = Progress {
            seen: self.sieve.seen(),
            seen_in_all,
            kept: self.sieve.kept(),
            pending: tail.pending,
        };
        let Some(page) = self.page.next(&self.query, progress) else {
            return Ok(text);
        };
        // An upstream that does not move on would be asked for ever.
        if self.after.as_ref() == Some(&tail.last_seq) {
            return Ok(text);
        }
        let wait = self
            .query
            .timeout
            .map(|timeout| timeout.saturating_sub(self.begun.elapsed()));
        if page.kind == Kind::Longpoll && wait.is_some_and(|wait| wait.is_zero()) {
            return Ok(text);
        }
        self.step = Step::Asking(self.source.ask(&tail, &page, wait)?);
        self.page = page;
        self.seen_before = seen_in_all;
        self.after = Some(tail.last_seq);
        self.sieve.turn();
        Ok(Bytes::new())
    }

    /// An end of our own, after the last row.
    fn tail(&self, pending: Option<i64>) -> Bytes {
        let last_seq = self.sieve.last_seq().unwrap_or("null");
        let pending = pending.map_or_else(|| "null".to_owned(), |pending| pending.to_string());
        match self.query.kind {
            Kind::Normal | Kind::Longpoll => format!("\n],\n\"last_seq\":{last_seq},\"pending\":{pending}}}\n"),
            Kind::Continuous => format!("{{\"last_seq\":{last_seq},\"pending\":{pending}}}\n"),
            Kind::EventSource => String::new(),
        }
        .into()
    }

    /// What CouchDB sends when nothing happens.
    fn sign(&self) -> Bytes {
        Bytes::from_static(match self.query.kind {
            Kind::EventSource => b"event: heartbeat\ndata: \n\n",
            _ => b"\n",
        })
    }
}

impl Step {
    fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }
}

impl Source {
    /// The page after this one, as the client would ask for it: with its credentials and its filter.
    fn ask(
        &self,
        after: &Tail,
        page: &Page,
        wait: Option<Duration>,
    ) -> Result<BoxFuture<'static, Result<Response<Body>, upstream::Error>>, Broken> {
        let since = plain(&after.last_seq);
        let limit = page.limit.map(|limit| limit.to_string());
        let wait = wait.map(|wait| wait.as_millis().max(1).to_string());
        let mut more = vec![("since", since.as_str())];
        if let Some(limit) = &limit {
            // The last row needs its seq, wherever that may be.
            more.extend([("limit", limit.as_str()), ("seq_interval", "1")]);
        }
        match page.kind {
            Kind::Longpoll => more.extend(wait.as_deref().map(|wait| ("timeout", wait))),
            _ => more.push(("feed", "normal")),
        }
        self.send(&more, page.kind == Kind::Longpoll, self.posted.clone())
    }

    /// How many changes come after this one, those that are filtered out too, as everywhere (transcripts, changes 76).
    fn count(&self, last_seq: &str) -> Result<BoxFuture<'static, Result<Option<i64>, BoxError>>, Broken> {
        let since = plain(last_seq);
        let more = [
            ("since", since.as_str()),
            ("limit", "0"),
            ("feed", "normal"),
            ("filter", ""),
        ];
        let answer = self.send(&more, false, None)?;
        Ok(Box::pin(async move {
            let answer = answer.await?;
            if answer.status() != StatusCode::OK {
                return Err(Broken::Refused(answer.status()).into());
            }
            let text = body::read(answer.into_body(), POSITION).await?;
            let tail: Tail = serde_json::from_slice(&text).map_err(Broken::Uncounted)?;
            Ok(tail.pending)
        }))
    }

    fn send(
        &self,
        more: &[(&str, &str)],
        is_live: bool,
        posted: Option<Bytes>,
    ) -> Result<BoxFuture<'static, Result<Response<Body>, upstream::Error>>, Broken> {
        let mut head = self.head.clone();
        head.uri = instead(&head.uri, more).ok_or(Broken::Target)?;
        if !is_live {
            head.extensions.remove::<LiveFeed>();
        }
        // The answer has begun.
        head.headers.remove(IF_NONE_MATCH);
        let body = match posted {
            Some(posted) => body::full(posted),
            None => {
                head.method = Method::GET;
                head.headers.remove(METHOD_OVERRIDE);
                head.headers.remove(CONTENT_TYPE);
                forget_body(&mut head.headers);
                body::empty()
            }
        };
        Ok(self.upstream.send(http::Request::from_parts(head, body)))
    }
}

/// A seq as it stands in a query.
fn plain(seq: &str) -> String {
    serde_json::from_str(seq).unwrap_or_else(|_| seq.to_owned())
}
