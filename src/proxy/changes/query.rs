//! What CouchDB reads of a query for `_changes`, and what may be asked of it instead.

use std::time::Duration;

use http::{Uri, uri::PathAndQuery};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::couch::{feed::Framing, route::query_pairs};

/// CouchDB's `changes_timeout`: how long a feed waits that says neither `timeout` nor `heartbeat`.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a normal feed that has no row for long says so (`fabric_view_changes:go`).
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// The kinds of feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What there is.
    Normal,
    /// What there is, or else the first that comes.
    Longpoll,
    /// What there is and what comes, a row a line.
    Continuous,
    /// The same as events.
    EventSource,
}

/// A query, as `chttpd_db:parse_changes_query` reads it: the case of keys does not count, the last of several does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) kind: Kind,
    pub(super) filter: String,
    /// Rows wanted. None without a limit, and for one below zero, which is none to CouchDB.
    pub(super) limit: Option<u64>,
    pub(super) descending: bool,
    /// How long the feed may be silent; none if it may be for any time.
    pub(super) heartbeat: Option<Duration>,
    /// How long to wait for a row; none if it is for any time.
    pub(super) timeout: Option<Duration>,
}

impl Kind {
    pub(super) fn framing(self) -> Framing {
        match self {
            Self::Normal | Self::Longpoll => Framing::Array,
            Self::Continuous => Framing::Lines,
            Self::EventSource => Framing::Events,
        }
    }
}

impl Query {
    /// What CouchDB refuses may be read as anything.
    pub(super) fn parse(query: &str) -> Self {
        let mut read = Self {
            kind: Kind::Normal,
            filter: String::new(),
            limit: None,
            descending: false,
            heartbeat: None,
            timeout: None,
        };
        let millis = |text: &str| text.parse().ok().map(Duration::from_millis);
        for (key, value) in query_pairs(query) {
            match (key.to_ascii_lowercase().as_str(), &*value) {
                ("feed", "longpoll") => read.kind = Kind::Longpoll,
                ("feed", "continuous" | "live") => read.kind = Kind::Continuous,
                ("feed", "eventsource") => read.kind = Kind::EventSource,
                ("feed", _) => read.kind = Kind::Normal,
                ("filter", filter) => read.filter = filter.to_owned(),
                ("limit", limit) => read.limit = limit.parse().ok(),
                ("descending", "true") => read.descending = true,
                ("heartbeat", "true") => read.heartbeat = Some(TIMEOUT),
                ("heartbeat", often) => read.heartbeat = millis(often),
                ("timeout", long) => read.timeout = millis(long),
                _ => {}
            }
        }
        // With a heartbeat there is no timeout (transcripts, changes 141).
        read.timeout = match read.heartbeat {
            Some(_) => None,
            None => Some(read.timeout.unwrap_or(TIMEOUT)),
        };
        if read.kind == Kind::Normal {
            read.heartbeat = Some(SIGN_OF_LIFE);
        }
        read
    }

    /// Whether the rows of a filter are counted here up to the limit, and CouchDB is asked without one.
    ///
    /// With one it loses rows of databases in shards: while it waits for all shards to say how much is left, a row that comes from
    /// one is not told, and the next of the same shard that the filter hides moves `last_seq` behind both
    /// (`fabric_view_changes:handle_message`, `no_pass` with `limit = 0`, 3.5.0). Only who goes back does not go on from there.
    pub(super) fn is_counted_here(&self) -> bool {
        !self.filter.is_empty() && self.limit.is_some_and(|limit| limit > 0) && !self.descending
    }
}

/// The same target with more parameters; they come last, and so they count. None if it grows too long for a URI.
pub(super) fn with(uri: &Uri, more: &[(&str, &str)]) -> Option<Uri> {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~')
        .remove(b':')
        .remove(b',');
    let path = uri.path_and_query()?;
    let mut target = path.to_string();
    for (n, (key, value)) in more.iter().enumerate() {
        target.push(if n == 0 && path.query().is_none() { '?' } else { '&' });
        target.push_str(key);
        target.push('=');
        target.extend(utf8_percent_encode(value, ESCAPED));
    }
    PathAndQuery::from_maybe_shared(target).ok().map(Uri::from)
}

/// The same target with other values of these parameters, in whatever case they were.
///
/// Appending would do for CouchDB, but filter functions see the query too, and positions may be long.
pub(super) fn instead(uri: &Uri, others: &[(&str, &str)]) -> Option<Uri> {
    let query = uri.query().unwrap_or_default();
    let is_other = |key: &str| {
        let names = |name: &str| others.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        names(key) || (key.eq_ignore_ascii_case("last-event-id") && names("since"))
    };
    let kept = query
        .split(['&', ';'])
        .filter(|pair| query_pairs(pair).any(|(key, _)| !is_other(&key)));
    let kept: Vec<&str> = kept.collect();
    let target = match kept.is_empty() {
        true => uri.path().to_owned(),
        false => format!("{}?{}", uri.path(), kept.join("&")),
    };
    with(&Uri::from(PathAndQuery::from_maybe_shared(target).ok()?), others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_filter_counts_whatever_its_spelling() {
        for (query, expected) in [
            ("", ""),
            ("since=0", ""),
            ("filter=_design", "_design"),
            ("FILTER=_design", "_design"),
            ("limit=1;filter=_design", "_design"),
            ("filter=a/b&Filter=_selector", "_selector"),
            ("filter=_design&filter=", ""),
            ("f%69lter=%5Fdoc_ids", "_doc_ids"),
        ] {
            assert_eq!(Query::parse(query).filter, expected, "{query}");
        }
    }

    #[test]
    fn a_query_is_read_as_couchdb_reads_it() {
        let read = Query::parse("feed=normal&Feed=live&limit=2&limit=%2B3&descending=true&descending=false");
        assert_eq!(
            (read.kind, read.limit, read.descending),
            (Kind::Continuous, Some(3), true)
        );
        assert_eq!(Query::parse("limit=-1").limit, None);
        assert_eq!(Query::parse("limit=x&feed=bogus").kind, Kind::Normal);
        let waits = |query: &str| {
            let read = Query::parse(query);
            let millis = |duration: Option<Duration>| duration.map(|duration| duration.as_millis());
            (millis(read.heartbeat), millis(read.timeout))
        };
        assert_eq!(waits("feed=longpoll"), (None, Some(60_000)));
        assert_eq!(waits("feed=longpoll&timeout=5"), (None, Some(5)));
        assert_eq!(waits("feed=longpoll&timeout=5&heartbeat=7"), (Some(7), None));
        assert_eq!(waits("feed=continuous&heartbeat=true"), (Some(60_000), None));
        assert_eq!(waits(""), (Some(5_000), Some(60_000)));
    }

    #[test]
    fn parameters_are_appended_to_the_query_as_it_was() {
        for (from, more, to) in [
            ("/d/_changes", ("filter", "_selector"), "/d/_changes?filter=_selector"),
            (
                "/d/_changes?since=3-g%22+&filter=",
                ("since", "4-g+/\"ä"),
                "/d/_changes?since=3-g%22+&filter=&since=4-g%2B%2F%22%C3%A4",
            ),
        ] {
            assert_eq!(with(&Uri::from_static(from), &[more]).unwrap(), to);
        }
    }

    #[test]
    fn parameters_are_replaced_whatever_their_spelling() {
        for (from, to) in [
            ("/d/_changes", "/d/_changes?since=4-g&limit=3"),
            ("/d/_changes?since=3-g", "/d/_changes?since=4-g&limit=3"),
            (
                "/d/_changes?a=%22;LIMIT=1&s%69nce=3-g&&Last-Event-ID=2&filter=a/b",
                "/d/_changes?a=%22&filter=a/b&since=4-g&limit=3",
            ),
        ] {
            let replaced = instead(&Uri::from_static(from), &[("since", "4-g"), ("limit", "3")]);
            assert_eq!(replaced.unwrap(), to);
        }
    }
}
