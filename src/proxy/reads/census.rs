//! How many documents are hidden from an app version, so that `_all_docs` counts as if they were not there.
//!
//! CouchDB counts documents in no time, but not by class: the version stands at the end of an id. So ids are counted once, in
//! buckets, and then `_changes` tells which of these to count anew. Nothing is held of a document but what begins a bucket.

use std::{
    borrow::Cow,
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use http::{HeaderMap, Request, StatusCode, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{
    super::{Call, Error, encoding::forget_body},
    query::{Query, partition},
    rows::Rows,
};
use crate::{
    couch::{listing::Piece, route::METHOD_OVERRIDE},
    schema::Filter,
    upstream::{Body, Upstream, body},
};

/// Ids in a bucket when it is counted: a few milliseconds of CouchDB's time.
const BUCKET: u64 = 500;
/// Changes that are asked for at once.
const CHANGES: usize = 1000;
/// Databases, as one filter sees them, that are remembered; kilobytes each.
const REMEMBERED: usize = 256;
/// The most that is read of an answer that is no listing.
const LIMIT: usize = 16 << 20;

/// Counts that were taken, by database and filter.
#[derive(Default)]
pub(in super::super) struct Censuses(Mutex<HashMap<(String, String), Arc<Remembered>>>);

struct Remembered {
    census: Mutex<Option<Arc<Census>>>,
    /// One counts, whoever else comes waits for it.
    turn: Semaphore,
}

/// The hidden documents of one database at one time.
#[derive(Clone, Debug)]
pub(super) struct Census {
    database: Identity,
    seq: String,
    buckets: Vec<Bucket>,
}

/// What tells a database from one that was made anew or purged: neither shows in `_changes`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Identity {
    #[serde(default)]
    instance_start_time: Value,
    #[serde(default)]
    purge_seq: Value,
}

#[derive(Clone, Debug)]
struct Bucket {
    range: Range,
    hidden: u64,
}

/// From one id up to, without it, another.
#[derive(Clone, Debug)]
struct Range {
    start: String,
    end: Option<String>,
}

/// Asks the database of a request on behalf of its client.
pub(super) struct Asker {
    upstream: Upstream,
    headers: HeaderMap,
    db: String,
    partition: Option<String>,
}

#[derive(Deserialize)]
struct Info {
    update_seq: Value,
    #[serde(flatten)]
    database: Identity,
}

#[derive(Deserialize)]
struct Feed {
    results: Vec<Changed>,
    last_seq: Value,
}

#[derive(Deserialize)]
struct Changed {
    id: String,
}

impl Default for Remembered {
    fn default() -> Self {
        Self {
            census: Mutex::default(),
            turn: Semaphore::new(1),
        }
    }
}

impl Censuses {
    /// What is hidden now.
    pub(super) async fn hidden(&self, asker: &Asker, filter: &Filter) -> Result<Arc<Census>, Error> {
        let remembered = self.of(&asker.db, filter.tag());
        let info: Info = asker.json("").await?;
        if let Some(census) = remembered.as_of(&info) {
            return Ok(census);
        }
        // Never closed.
        let _turn = remembered.turn.acquire().await.map_err(|_| Error::Lost)?;
        if let Some(census) = remembered.as_of(&info) {
            return Ok(census);
        }
        let known = remembered.lock().clone();
        let census = Arc::new(Census::renewed(known, info, asker, filter).await?);
        *remembered.lock() = Some(census.clone());
        Ok(census)
    }

    fn of(&self, db: &str, tag: &str) -> Arc<Remembered> {
        let mut censuses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (db.to_owned(), tag.to_owned());
        if censuses.len() >= REMEMBERED && !censuses.contains_key(&key) {
            // Any: whoever needs it counts again.
            let other = censuses.keys().next().cloned();
            other.map(|other| censuses.remove(&other));
        }
        censuses.entry(key).or_default().clone()
    }
}

impl Remembered {
    fn lock(&self) -> MutexGuard<'_, Option<Arc<Census>>> {
        self.census.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn as_of(&self, info: &Info) -> Option<Arc<Census>> {
        let is_now =
            |census: &&Arc<Census>| census.database == info.database && census.seq == text_of(&info.update_seq);
        self.lock().as_ref().filter(is_now).cloned()
    }
}

impl Census {
    /// As of `info` at least: what changes meanwhile is counted, and told by `_changes` again.
    async fn renewed(known: Option<Arc<Self>>, info: Info, asker: &Asker, filter: &Filter) -> Result<Self, Error> {
        let followed = match known.filter(|known| known.database == info.database) {
            // That CouchDB no longer knows the sequence is no reason to fail.
            Some(known) => known.followed(asker, filter).await.ok(),
            None => None,
        };
        let mut buckets = followed.unwrap_or_default();
        if buckets.is_empty() {
            for (start, end) in filter.ranges() {
                buckets.extend(asker.count(Range { start, end }, filter).await?);
            }
        }
        Ok(Self {
            seq: text_of(&info.update_seq),
            database: info.database,
            buckets,
        })
    }

    /// The buckets, those counted anew in which something has changed.
    async fn followed(&self, asker: &Asker, filter: &Filter) -> Result<Vec<Bucket>, Error> {
        let mut changed = BTreeSet::new();
        let mut since = self.seq.clone();
        loop {
            let seq = utf8_percent_encode(&since, NON_ALPHANUMERIC);
            let feed: Feed = asker.json(&format!("/_changes?since={seq}&limit={CHANGES}")).await?;
            changed.extend(feed.results.iter().filter_map(|change| self.bucket(&change.id)));
            if feed.results.len() < CHANGES {
                break;
            }
            since = text_of(&feed.last_seq);
        }
        let mut buckets = Vec::with_capacity(self.buckets.len());
        for (n, bucket) in self.buckets.iter().enumerate() {
            if changed.contains(&n) {
                buckets.extend(asker.count(bucket.range.clone(), filter).await?);
            } else {
                buckets.push(bucket.clone());
            }
        }
        Ok(buckets)
    }

    /// In which bucket an id is.
    fn bucket(&self, id: &str) -> Option<usize> {
        let behind = self.buckets.partition_point(|bucket| *bucket.range.start <= *id);
        let n = behind.checked_sub(1)?;
        self.buckets[n].range.holds(id).then_some(n)
    }

    /// How many there are; in a partition, in it.
    pub(super) async fn total(&self, asker: &Asker, filter: &Filter) -> Result<u64, Error> {
        let Some(partition) = &asker.partition else {
            return Ok(self.buckets.iter().map(|bucket| bucket.hidden).sum());
        };
        let end = self.up_to(&format!("{partition};"), asker, filter).await?;
        let start = self.up_to(&format!("{partition}:"), asker, filter).await?;
        // What is written between the two counts must not matter.
        Ok(end.saturating_sub(start))
    }

    /// How many stand before the first row of a query.
    pub(super) async fn before(&self, asker: &Asker, filter: &Filter, query: &Query) -> Result<u64, Error> {
        let start = query
            .start
            .as_deref()
            .and_then(|start| serde_json::from_str::<String>(start).ok());
        let Some(start) = start else { return Ok(0) };
        let total = self.total(asker, filter).await?;
        let first = match &asker.partition {
            Some(partition) => self.up_to(&format!("{partition}:"), asker, filter).await?,
            None => 0,
        };
        if query.descending {
            let end = self.up_to(&format!("{start}\0"), asker, filter).await?;
            Ok((first + total).saturating_sub(end))
        } else {
            let end = self.up_to(&start, asker, filter).await?;
            Ok(end.saturating_sub(first).min(total))
        }
    }

    /// How many stand before an id.
    async fn up_to(&self, id: &str, asker: &Asker, filter: &Filter) -> Result<u64, Error> {
        let mut hidden = 0;
        for bucket in self.buckets.iter().take_while(|bucket| *bucket.range.start < *id) {
            hidden += if bucket.range.holds(id) {
                let part = Range {
                    start: bucket.range.start.clone(),
                    end: Some(id.to_owned()),
                };
                let counted = asker.count(part, filter).await?;
                counted.iter().map(|bucket| bucket.hidden).sum()
            } else {
                bucket.hidden
            };
        }
        Ok(hidden)
    }
}

impl Range {
    fn holds(&self, id: &str) -> bool {
        *self.start <= *id && self.end.as_ref().is_none_or(|end| *id < **end)
    }
}

impl Asker {
    pub(super) fn of(upstream: &Upstream, call: &Call) -> Self {
        let mut headers = call.parts.headers.clone();
        forget_body(&mut headers);
        for theirs in [
            header::CONTENT_TYPE,
            header::ACCEPT,
            header::ACCEPT_ENCODING,
            header::IF_NONE_MATCH,
            header::HeaderName::from_static(METHOD_OVERRIDE),
        ] {
            headers.remove(theirs);
        }
        Self {
            upstream: upstream.clone(),
            headers,
            db: call.route.db().unwrap_or_default().to_owned(),
            partition: partition(call.parts.uri.path()).map(Cow::into_owned),
        }
    }

    /// Counts the hidden ones of a range, in buckets.
    async fn count(&self, range: Range, filter: &Filter) -> Result<Vec<Bucket>, Error> {
        let key = |id: &str| utf8_percent_encode(&Value::from(id).to_string(), NON_ALPHANUMERIC).to_string();
        let end = range.end.as_deref().map(|end| format!("&endkey={}", key(end)));
        let query = format!(
            "/_all_docs?inclusive_end=false&startkey={}{}",
            key(&range.start),
            end.unwrap_or_default()
        );
        let mut rows = Rows::new(&self.upstream, self.ask(&query).await?);
        let Range { mut start, end } = range;
        let (mut buckets, mut ids, mut hidden) = (Vec::new(), 0, 0);
        loop {
            match rows.piece().await? {
                Piece::Row(Some(id)) => {
                    if ids == BUCKET {
                        let end = Some(id.clone());
                        let range = Range {
                            start: std::mem::replace(&mut start, id.clone()),
                            end,
                        };
                        buckets.push(Bucket { range, hidden });
                        (ids, hidden) = (0, 0);
                    }
                    ids += 1;
                    hidden += u64::from(!filter.admits(&id));
                }
                Piece::End => break rows.drain().await,
                Piece::Head(_) | Piece::Row(None) | Piece::Text(_) => {}
            }
        }
        buckets.push(Bucket {
            range: Range { start, end },
            hidden,
        });
        Ok(buckets)
    }

    async fn json<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        let text = body::read(self.ask(path).await?, LIMIT).await;
        let text = text.map_err(|error| self.upstream.broken(error))?;
        Ok(serde_json::from_slice(&text).map_err(|error| self.upstream.broken(error))?)
    }

    async fn ask(&self, path: &str) -> Result<Body, Error> {
        let db = utf8_percent_encode(&self.db, NON_ALPHANUMERIC);
        let request = Request::get(format!("/{db}{path}")).body(body::empty());
        let mut request = request.map_err(|error| self.upstream.broken(error))?;
        *request.headers_mut() = self.headers.clone();
        let answer = self.upstream.send(request).await?;
        match answer.status() {
            StatusCode::OK => Ok(answer.into_body()),
            status => {
                let refused = format!("hidden documents cannot be counted: {status}");
                Err(self.upstream.broken(refused).into())
            }
        }
    }
}

/// Sequences are texts, and numbers in a database that is not sharded.
fn text_of(seq: &Value) -> String {
    seq.as_str().map_or_else(|| seq.to_string(), str::to_owned)
}
