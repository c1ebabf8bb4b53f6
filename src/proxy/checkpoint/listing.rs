//! `_local_docs` shows a client the documents of its filter, under its own names, and no others.

use http::{Method, header::ACCEPT_ENCODING};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use super::{
    super::{
        Answer, Call, Error,
        encoding::{Members, repost},
        service::pass,
    },
    PLAIN, edited,
    json::{
        self,
        Step::{self, Each, Member},
    },
    names::Names,
    read, retarget,
};
use crate::{couch::route::decode, upstream::Upstream};

/// Parameters that are a place in the list.
const PLACES: [&str; 4] = ["startkey", "start_key", "endkey", "end_key"];

/// What a request asks for.
#[derive(Default)]
struct Asks {
    /// A part of the list.
    part: bool,
    /// The list from its end.
    descending: bool,
}

/// Forwards a request for the list.
pub(super) async fn forward(upstream: &Upstream, mut call: Call, names: &Names<'_>) -> Answer {
    stored(&mut call, names).await?;
    call.parts.headers.insert(ACCEPT_ENCODING, PLAIN);
    let answer = pass(upstream, call).await?;
    edited(upstream, answer, |text| shown(text, names)).await
}

/// Puts the names of CouchDB into what is asked for; if no part is, their range, so that `limit` counts the client's own.
async fn stored(call: &mut Call, names: &Names<'_>) -> Result<(), Error> {
    let (mut pairs, mut asks) = query(call.parts.uri.query().unwrap_or_default(), names);
    if call.method == Method::POST
        && let Some(text) = read(call).await?
    {
        let members: Members<'_> = serde_json::from_slice(&text).unwrap_or_default();
        // Of several queries each may ask for its own part.
        asks.part |= ["queries", "key", "keys"]
            .iter()
            .chain(&PLACES)
            .any(|name| members.contains_key(*name));
        asks.descending |= members.get("descending").is_some_and(|value| value.get() == "true");
        repost(call, body(&text, names));
    }
    if !asks.part {
        let (mut start, mut end) = names.range();
        if asks.descending {
            std::mem::swap(&mut start, &mut end);
        }
        pairs.extend([("startkey", start), ("endkey", end)].map(|(name, key)| pair(name, &format!("\"{key}\""))));
    }
    retarget(call, call.parts.uri.path().to_owned(), Some(pairs.join("&")))
}

/// The parameters of a query, with the names of CouchDB.
fn query(query: &str, names: &Names<'_>) -> (Vec<String>, Asks) {
    let mut asks = Asks::default();
    let given = query.split(['&', ';']).filter(|given| !given.is_empty());
    let pairs = given.map(|given| {
        let (name, value) = given.split_once('=').unwrap_or((given, ""));
        let (name, value) = (decode(name), decode(value));
        let value = value.as_bytes();
        let renamed = match &*name {
            "key" => json::replace(value, &[], |id| names.stored(id)),
            "keys" => json::replace(value, &[Each], |id| names.stored(id)),
            name if PLACES.contains(&name) => json::replace(value, &[], |key| Some(names.place(key))),
            name => {
                asks.descending |= name == "descending" && value == b"true";
                return given.to_owned();
            }
        };
        asks.part = true;
        let renamed = renamed.and_then(|renamed| String::from_utf8(renamed).ok());
        renamed.map_or_else(|| given.to_owned(), |renamed| pair(&name, &renamed))
    });
    (pairs.collect(), asks)
}

fn pair(name: &str, value: &str) -> String {
    format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC))
}

/// A posted body with the names of CouchDB.
fn body(text: &[u8], names: &Names<'_>) -> Vec<u8> {
    let mut body = text.to_vec();
    for to in [&[][..], &[Member("queries"), Each]] {
        let mut rename = |step: &[Step], other: &dyn Fn(&str) -> Option<String>| {
            if let Some(renamed) = json::replace(&body, &[to, step].concat(), other) {
                body = renamed;
            }
        };
        rename(&[Member("key")], &|id| names.stored(id));
        rename(&[Member("keys"), Each], &|id| names.stored(id));
        for name in PLACES {
            rename(&[Member(name)], &|key| Some(names.place(key)));
        }
    }
    body
}

/// The rows that are the client's, under its names; the others are left out.
fn shown(text: &[u8], names: &Names<'_>) -> Option<Vec<u8>> {
    let name = |id: &str| names.shown(id);
    let own = |row: &RawValue| {
        // A row that says a document is missing has nothing but its key.
        let mut row = json::replace(row.get().as_bytes(), &[Member("key")], name)?;
        for way in [&[Member("id")][..], &[Member("doc"), Member("_id")]] {
            row = json::replace(&row, way, name).unwrap_or(row);
        }
        String::from_utf8(row).ok()
    };
    let rows = |rows: &RawValue| {
        let rows: Vec<&RawValue> = serde_json::from_str(rows.get()).ok()?;
        let own: Vec<String> = rows.into_iter().filter_map(own).collect();
        Some(format!("[\r\n{}\r\n]", own.join(",\r\n")))
    };
    json::edit(text, &[Member("rows")], rows)
        .or_else(|| json::edit(text, &[Member("results"), Each, Member("rows")], rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names<'static> {
        Names::tagged("12345678")
    }

    fn asked(given: &str) -> (String, bool, bool) {
        let (pairs, asks) = query(given, &names());
        let pairs: Vec<String> = pairs.iter().map(|pair| decode(pair).into_owned()).collect();
        (pairs.join("&"), asks.part, asks.descending)
    }

    #[test]
    fn places_in_a_query_are_those_of_couchdb() {
        for (given, expected) in [
            ("", ("", false, false)),
            ("limit=2;descending=true", ("limit=2&descending=true", false, true)),
            (
                "k%65y=%22_local/a%22&include_docs=true",
                (r#"key="_local/filter-12345678-a"&include_docs=true"#, true, false),
            ),
            (
                r#"keys=["_local/a","b"]"#,
                (r#"keys=["_local/filter-12345678-a","b"]"#, true, false),
            ),
            (
                r#"start_key="_local/a"&endkey="_local0""#,
                (
                    r#"start_key="_local/filter-12345678-a"&endkey="_local/filter-12345678.""#,
                    true,
                    false,
                ),
            ),
            ("startkey=x", ("startkey=x", true, false)),
        ] {
            let (pairs, part, descending) = expected;
            assert_eq!(asked(given), (pairs.to_owned(), part, descending), "{given}");
        }
    }

    #[test]
    fn so_are_those_in_a_body() {
        let given = r#"{"keys":["_local/a"],"limit":1,"queries":[{"startkey":"_local/","key":"_local/b"}]}"#;
        let expected = r#"{"keys":["_local/filter-12345678-a"],"limit":1,"queries":[{"startkey":"_local/filter-12345678-","key":"_local/filter-12345678-b"}]}"#;
        assert_eq!(body(given.as_bytes(), &names()), expected.as_bytes());
        assert_eq!(body(b"junk", &names()), b"junk");
    }

    #[test]
    fn a_list_has_the_rows_of_one_client() {
        let row = |prefix: &str, id: &str| {
            let id = format!("_local/{prefix}{id}");
            format!(r#"{{"id":"{id}","key":"{id}","value":{{"rev":"0-1"}},"doc":{{"_id":"{id}","v":1.0}}}}"#)
        };
        let list = |rows: &[String]| format!("{{\"total_rows\":null,\"rows\":[\r\n{}\r\n]}}\n", rows.join(",\r\n"));
        let (ours, theirs) = ("filter-12345678-", "filter-87654321-");
        let missing = |prefix: &str| format!(r#"{{"key":"_local/{prefix}c","error":"not_found"}}"#);
        let stored = list(&[
            row(theirs, "a"),
            row(ours, "a"),
            row("", "a"),
            row(ours, "b"),
            missing(ours),
        ]);
        let own = list(&[row("", "a"), row("", "b"), missing("")]);
        assert_eq!(shown(stored.as_bytes(), &names()).unwrap(), own.as_bytes());
        let both = |one: &str| format!("{{\"results\":[\r\n{one},\r\n{one}\r\n]}}");
        assert_eq!(
            shown(both(&stored).as_bytes(), &names()).unwrap(),
            both(&own).as_bytes()
        );
        assert_eq!(shown(b"{}", &names()), None);
    }
}
