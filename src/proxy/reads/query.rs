//! What a client asks of a listing: where it begins, and which window of it is wanted.

use std::{borrow::Cow, fmt};

use http::{Uri, uri::PathAndQuery};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::super::Error;
use crate::couch::route::{decode, query_pairs};

/// What CouchDB takes for no limit, one from its configuration heeded (`?MAX_VIEW_LIMIT`).
const UNLIMITED: u64 = 0x7FF_FFFF_FFFF_FFFF;

/// The parameters that count here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) skip: u64,
    pub(super) limit: Option<u64>,
    /// The last `startkey`, `start_key` or `key`, as JSON.
    pub(super) start: Option<String>,
    pub(super) descending: bool,
    /// Rows are asked for one by one, with `keys`.
    pub(super) is_keyed: bool,
    /// CouchDB will refuse it.
    pub(super) is_refused: bool,
}

/// The members of an object in their order, which counts between `key` and `startkey`.
struct Parameters<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl Query {
    /// Takes the parameters of a URL; those given later count (`couch_mrview_http:parse_params`). In a partition they are
    /// sorted before, and the first of a name counts (`chttpd_db:handle_partition_req`).
    pub(super) fn read_url(&mut self, uri: &Uri) {
        let mut pairs: Vec<_> = query_pairs(uri.query().unwrap_or_default()).collect();
        if partition(uri.path()).is_some() {
            pairs.sort_by(|(name, _), (other, _)| name.cmp(other));
            pairs.dedup_by(|(name, _), (first, _)| name == first);
        }
        for (name, value) in pairs {
            self.set(&name, &value);
        }
    }

    /// Takes the members of a posted object.
    pub(super) fn read_posted(&mut self, posted: &[u8]) -> Result<(), Error> {
        let unreadable = |_| Error::BadRequest("Request body must be a JSON object");
        let Parameters(members) = serde_json::from_slice(posted).map_err(unreadable)?;
        for (name, value) in members {
            self.set(&name, value.get());
        }
        Ok(())
    }

    /// Values that CouchDB refuses mean nothing: they reach it, and it does.
    fn set(&mut self, name: &str, value: &str) {
        match name {
            "skip" => {
                self.is_refused |= number(value).is_none();
                self.skip = number(value).unwrap_or_default();
            }
            "limit" => {
                self.is_refused |= number(value).is_none();
                self.limit = number(value);
            }
            "startkey" | "start_key" | "key" => self.start = Some(value.to_owned()),
            "descending" => self.descending = value.trim_matches('"').eq_ignore_ascii_case("true"),
            "keys" => self.is_keyed = true,
            _ => {}
        }
    }

    /// Whether CouchDB would leave rows out that are to be counted here.
    pub(super) fn has_window(&self) -> bool {
        self.skip > 0 || self.limit.is_some()
    }

    /// What is to be asked for instead: all rows, as hidden ones must not count. Nothing is left as nothing.
    fn widest(&self) -> (u64, u64) {
        (
            0,
            self.limit
                .map_or(UNLIMITED, |limit| if limit == 0 { 0 } else { UNLIMITED }),
        )
    }

    /// The target with the window opened, whatever a body says: the URL counts more.
    pub(super) fn open_url(&self, uri: &Uri) -> Option<Uri> {
        let (skip, limit) = self.widest();
        let mut target = format!("{}?skip={skip}&limit={limit}", uri.path());
        for pair in uri.query().unwrap_or_default().split(['&', ';']) {
            let name = pair.split_once('=').map_or(pair, |(name, _)| name);
            if !matches!(&*decode(name), "" | "skip" | "limit") {
                target.push('&');
                target.push_str(pair);
            }
        }
        PathAndQuery::from_maybe_shared(target).ok().map(Uri::from)
    }

    /// One of several queries with the window opened: of a doubled member the last counts.
    pub(super) fn open_object(&self, object: &str) -> Option<String> {
        let (skip, limit) = self.widest();
        with_members(object, &format!("\"skip\":{skip},\"limit\":{limit}"))
    }
}

/// The partition that a path is in.
pub(super) fn partition(path: &str) -> Option<Cow<'_, str>> {
    let mut segments = path
        .split('/')
        .filter(|segment| !segment.is_empty())
        .skip(1)
        .map(decode);
    segments.next().filter(|segment| segment == "_partition")?;
    segments.next()
}

/// Adds members to the text of an object.
pub(super) fn with_members(object: &str, members: &str) -> Option<String> {
    let inner = object.trim().strip_prefix('{')?.strip_suffix('}')?;
    let comma = if inner.trim_ascii().is_empty() { "" } else { "," };
    Some(format!("{{{inner}{comma}{members}}}"))
}

/// A whole number as Erlang reads it, none if it is negative.
fn number(text: &str) -> Option<u64> {
    if text
        .strip_prefix('-')
        .is_some_and(|zeros| !zeros.is_empty() && zeros.bytes().all(|byte| byte == b'0'))
    {
        return Some(0);
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    // Longer ones are more than there can be rows.
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

impl<'de: 'a, 'a> Deserialize<'de> for Parameters<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Ordered;

        impl<'de> Visitor<'de> for Ordered {
            type Value = Parameters<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Parameters(members))
            }
        }

        from.deserialize_map(Ordered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(query: &str) -> Query {
        let mut read = Query::default();
        read.read_url(&format!("/d/_all_docs?{query}").parse().unwrap());
        read
    }

    fn posted(text: &str) -> Query {
        let mut read = Query::default();
        read.read_posted(text.as_bytes()).unwrap();
        read
    }

    #[test]
    fn what_is_given_last_counts() {
        let read = url("limit=1&skip=3&limit=+2;skip=%31&startkey=%22a%22&key=%22b%22&descending=TRUE");
        let expected = Query {
            skip: 1,
            limit: None,
            start: Some("\"b\"".into()),
            descending: true,
            is_keyed: false,
            is_refused: true,
        };
        // A plus is a space, which CouchDB refuses.
        assert_eq!(read, expected);
        assert_eq!(url("limit=%2B2").limit, Some(2));
        assert_eq!(url("limit=99999999999999999999").limit, Some(u64::MAX));
        let read = posted(r#"{"key":"a","start_key":["b"],"limit":2,"skip":1,"descending":"true","keys":[]}"#);
        assert_eq!(
            (read.start.as_deref(), read.limit, read.skip),
            (Some(r#"["b"]"#), Some(2), 1)
        );
        assert!(read.descending && read.is_keyed && read.has_window());
        assert_eq!(posted(r#"{"start_key":"b","key":"a"}"#).start.as_deref(), Some("\"a\""));
        assert!(!posted("{}").has_window());
    }

    #[test]
    fn in_a_partition_the_first_counts() {
        let mut read = Query::default();
        let query = "skip=1&skip=2&startkey=%22a%22&key=%22b%22&limit=3&limit=x";
        read.read_url(&format!("//d/_partition/p%3a/_all_docs?{query}").parse().unwrap());
        let start = read.start.as_deref();
        assert_eq!(
            (read.skip, read.limit, start, read.is_refused),
            (1, Some(3), Some("\"a\""), false)
        );
        assert_eq!(partition("//d/%5fpartition/p%3a/_all_docs").as_deref(), Some("p:"));
        assert_eq!(partition("/d/_all_docs/_partition/p"), None);
    }

    #[test]
    fn a_window_is_opened_in_place_of_what_is_written() {
        let target = |query: &str| {
            let uri: Uri = format!("/d/_all_docs{query}").parse().unwrap();
            let mut read = Query::default();
            read.read_url(&uri);
            read.open_url(&uri).unwrap().to_string()
        };
        assert_eq!(
            target("?skip=1&x=%7b;y&&%6cimit=5"),
            "/d/_all_docs?skip=0&limit=576460752303423487&x=%7b&y"
        );
        assert_eq!(target("?limit=0"), "/d/_all_docs?skip=0&limit=0");
        let open = |text: &str| posted(text).open_object(text).unwrap();
        assert_eq!(open("{ }"), r#"{ "skip":0,"limit":576460752303423487}"#);
        assert_eq!(open(r#"{"limit":0}"#), r#"{"limit":0,"skip":0,"limit":0}"#);
    }
}
