//! `_changes`: what a client asks of the feed, and the rows that answer it.

use std::{sync::Arc, time::Duration};

use http::{Method, StatusCode};
use rouchdb_core::document::{ChangeEvent, ChangesOptions, ChangesStyle, Seq};
use serde_json::{Map, Value, json};

use super::{
    attachments::Form,
    database::{Database, View},
    feed::{Feed, Kind},
    filter::Filter,
    request::Call,
    respond::{self, Answer, Failure, not_modified, with_etag},
};

/// Changes read at once.
const PAGE: u64 = 500;

/// CouchDB counts rows down from here when there is no limit, which decides which rows `seq_interval` leaves a seq.
const NO_LIMIT: u64 = 1_000_000_000_000_000;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// A position in the changes and what to make of those after it.
pub struct Source {
    database: Arc<Database>,
    filter: Filter,
    style: ChangesStyle,
    descending: bool,
    docs: Option<View>,
    seq_interval: Option<u64>,
    /// Rows still wanted.
    limit: u64,
    /// Where the client started, and the last change looked at.
    since: u64,
    pub position: u64,
    shown: u64,
    /// How many changes, and up to which, count as seen in `pending`.
    seen: u64,
    seen_to: u64,
}

pub struct Page {
    /// Each with the text of its `seq`, for event streams.
    pub rows: Vec<(String, String)>,
    /// There is nothing more to read now, or nothing more is wanted.
    pub last: bool,
    pub full: bool,
}

pub async fn answer(database: Arc<Database>, call: Call) -> Answer {
    let body = match call.method {
        Method::GET | Method::HEAD => None,
        Method::POST => {
            call.require_json()?;
            let body = call.body()?;
            let body = if body.is_empty() {
                Value::Object(Map::new())
            } else {
                super::request::parse_json(body)?
            };
            Some(body)
        }
        _ => return Err(Failure::method("GET,POST,HEAD")),
    };
    let kind = match call.query.get("feed") {
        None | Some("normal") => Kind::Normal,
        Some("longpoll") => Kind::Longpoll,
        Some("continuous" | "live") => Kind::Continuous,
        Some("eventsource") => Kind::EventSource,
        Some(_) => {
            let reason = "Supported `feed` types: normal, continuous, live, longpoll, eventsource";
            return Err(Failure::bad_request(reason));
        }
    };
    let (heartbeat, timeout) = patience(&call)?;
    // Before anything is read: a change that comes in between is announced.
    let notices = database.adapter.subscribe().filter(|_| kind != Kind::Normal);
    let source = Source::parse(database, &call, kind, body.as_ref()).await?;
    // The database's ETag, whatever the filter (changes 56, 57).
    let etag = source.database.seq(source.database.update_seq().await?);
    if kind == Kind::Normal && call.has_etag(&etag) {
        return Ok(not_modified(&etag));
    }
    let response = respond::stream(
        kind.content_type(),
        Feed::new(source, kind, notices, heartbeat, timeout).into_stream(),
    );
    Ok(if kind == Kind::Normal {
        with_etag(response, &etag)
    } else {
        response
    })
}

/// `heartbeat` and `timeout`: with the one the other never comes (changes 141).
fn patience(call: &Call) -> Result<(Option<Duration>, Duration), Failure> {
    let heartbeat = match call.query.get("heartbeat") {
        None => None,
        Some("true") => Some(DEFAULT_TIMEOUT),
        Some("false") => None,
        Some(number) => match number.parse::<i64>() {
            Ok(0) => {
                let reason = "The heartbeat value should be a positive integer (in milliseconds).";
                return Err(Failure::bad_request(reason));
            }
            Ok(millis) if millis > 0 => Some(Duration::from_millis(millis.unsigned_abs())),
            _ => {
                let reason = "Invalid heartbeat value. Expecting a positive integer value (in milliseconds).";
                return Err(Failure::bad_request(reason));
            }
        },
    };
    let timeout = call
        .query
        .get("timeout")
        .map_or(Ok(DEFAULT_TIMEOUT), |t| t.parse().map(Duration::from_millis));
    let timeout = timeout.map_err(|_| Failure::bad_request("`timeout` must be a number of milliseconds"))?;
    Ok((heartbeat, timeout.min(DEFAULT_TIMEOUT)))
}

impl Source {
    async fn parse(database: Arc<Database>, call: &Call, kind: Kind, body: Option<&Value>) -> Result<Self, Failure> {
        let query = &call.query;
        let number = |name: &str| {
            let reason = || Failure::bad_request(format!("`{name}` must be a number"));
            query
                .get(name)
                .map(|text| text.parse::<u64>().map_err(|_| reason()))
                .transpose()
        };
        let style = match query.get("style") {
            None | Some("main_only") => ChangesStyle::MainOnly,
            Some("all_docs") => ChangesStyle::AllDocs,
            Some(_) => return Err(Failure::bad_request("`style` must be `main_only` or `all_docs`")),
        };
        let last_event = call.header("last-event-id").or(query.get("last-event-id"));
        let since = last_event.filter(|_| kind == Kind::EventSource).or(query.get("since"));
        let descending = query.is_true("descending");
        let since = match since {
            // Backwards, CouchDB starts at the end and ignores `since` (changes 38).
            _ if descending => 0,
            None => 0,
            Some("now") => database.update_seq().await?,
            Some(seq) => database.parse_seq(seq)?,
        };
        let view = View {
            conflicts: query.is_true("conflicts"),
            attachments: if query.is_true("attachments") {
                Form::Data
            } else {
                Form::Stubs
            },
            ..View::default()
        };
        Ok(Self {
            filter: Filter::parse(call, body)?,
            style,
            descending,
            docs: query.is_true("include_docs").then_some(view),
            seq_interval: number("seq_interval")?.filter(|interval| *interval > 0),
            limit: number("limit")?.unwrap_or(NO_LIMIT),
            since,
            position: since,
            shown: 0,
            seen: 0,
            seen_to: since,
            database,
        })
    }

    /// The next rows. Some pages are empty: their changes are hidden.
    pub async fn page(&mut self) -> Result<Page, Failure> {
        let mut rows = Vec::new();
        if self.limit == 0 {
            self.step_over().await?;
            self.seen_to = self.position;
            return Ok(Page {
                rows,
                last: true,
                full: true,
            });
        }
        let size = self.page_size();
        let events = self.read(self.position, size).await?;
        let last = self.descending || (events.len() as u64) < size;
        for event in events {
            let seq = event.seq.as_num();
            let revs = self.visible(&event).await?;
            if !revs.is_empty() {
                rows.push(self.row(event, revs).await?);
                self.limit -= 1;
                self.shown += 1;
            }
            self.position = seq;
            self.seen += 1;
            self.seen_to = seq;
            if self.limit == 0 {
                self.step_over().await?;
                return Ok(Page {
                    rows,
                    last: true,
                    full: true,
                });
            }
        }
        Ok(Page {
            rows,
            last,
            // Backwards there is nothing to wait for.
            full: self.descending,
        })
    }

    pub fn seq(&self) -> String {
        self.database.seq(self.position)
    }

    /// The changes after the last one looked at, hidden ones too. Filters by id count what they left out (changes 119, 122).
    pub async fn pending(&self) -> Result<u64, Failure> {
        match self.filter {
            Filter::DocIds(_) | Filter::Design => {
                Ok(self.database.count_after(self.since).await?.saturating_sub(self.shown))
            }
            _ if self.descending => {
                let info = self.database.adapter.info().await?;
                Ok((info.doc_count + info.doc_del_count).saturating_sub(self.seen))
            }
            _ => self.database.count_after(self.seen_to).await,
        }
    }

    /// How many changes to read at once: of those that are all shown, no more than are wanted.
    fn page_size(&self) -> u64 {
        if matches!(self.filter, Filter::None) {
            PAGE.min(self.limit)
        } else {
            PAGE
        }
    }

    async fn read(&self, since: u64, limit: u64) -> Result<Vec<ChangeEvent>, Failure> {
        let options = ChangesOptions {
            since: Seq::Num(since),
            // Backwards there is no page after the first: the storage has no upper end.
            limit: (!self.descending).then_some(limit),
            descending: self.descending,
            style: self.style.clone(),
            ..ChangesOptions::default()
        };
        Ok(self.database.adapter.changes(options).await?.results)
    }

    /// With a selector, CouchDB has looked at one hidden change more when it stops at the limit, and does not count it as
    /// seen unless the limit was 0 (changes 76-79).
    async fn step_over(&mut self) -> Result<(), Failure> {
        if !matches!(self.filter, Filter::Selector { .. }) {
            return Ok(());
        }
        let events = self.read(if self.descending { 0 } else { self.position }, 1).await?;
        let next = events
            .into_iter()
            .find(|event| !self.descending || event.seq.as_num() < self.position);
        if let Some(event) = next
            && self.visible(&event).await?.is_empty()
        {
            self.position = event.seq.as_num();
        }
        Ok(())
    }

    /// The revisions the filter lets pass. `style=all_docs` asks it about each leaf (changes 59).
    async fn visible(&self, event: &ChangeEvent) -> Result<Vec<String>, Failure> {
        let revs = event.changes.iter().map(|change| change.rev.clone());
        let Filter::Selector { selector, .. } = &self.filter else {
            return Ok(revs.filter(|_| self.filter.passes(&event.id)).collect());
        };
        let mut visible = Vec::new();
        for rev in revs {
            let leaf = self.leaf(&event.id, &rev, &View::default()).await?;
            if leaf.is_some_and(|leaf| selector.matches(&leaf)) {
                visible.push(rev);
            }
        }
        Ok(visible)
    }

    /// `None` if it has been superseded and compacted since: its successor is a later change.
    async fn leaf(&self, id: &str, rev: &str, view: &View) -> Result<Option<Value>, Failure> {
        match self.database.revision(id, rev, false, view).await {
            Ok(leaf) => Ok(Some(leaf.json.into())),
            Err(failure) if failure.status == StatusCode::NOT_FOUND => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    async fn row(&self, event: ChangeEvent, revs: Vec<String>) -> Result<(String, String), Failure> {
        let seq = match self.seq_interval {
            Some(interval) if !self.limit.is_multiple_of(interval) => Value::Null,
            _ => self.database.seq(event.seq.as_num()).into(),
        };
        let revs: Vec<Value> = revs.into_iter().map(|rev| json!({"rev": rev})).collect();
        let mut row = json!({"seq": seq, "id": event.id, "changes": revs});
        if event.deleted {
            row["deleted"] = true.into();
        }
        if let Some(view) = &self.docs {
            // The first is the winner, whatever the style and the filter.
            let winner = event.changes.first().map_or("", |change| &change.rev);
            let doc = self.leaf(&event.id, winner, view).await?;
            row["doc"] = doc.map_or(Value::Null, |doc| self.filter.project(doc));
        }
        Ok((row.to_string(), seq.to_string()))
    }
}

impl Kind {
    fn content_type(self) -> &'static str {
        if self == Self::EventSource {
            "text/event-stream"
        } else {
            "application/json"
        }
    }
}
