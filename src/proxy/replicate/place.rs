//! Where the ends of a replication job are: here, as far as that can be known, or elsewhere.

use std::{borrow::Cow, net::IpAddr};

use serde_json::value::RawValue;

use super::super::{encoding::Members, prefix::SEGMENT};
use crate::couch::route::decode;

const LOOPBACK: &str = "localhost";

/// A host and its port. Every name of the loopback is the same one, and so are the ports of `http` and `https`: which of them
/// a `Host` means cannot be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: Option<u16>,
}

/// By what CouchDB and this proxy are known to a job.
#[derive(Clone, Debug, Default)]
pub struct Here {
    /// The upstream's address, and the path before its databases.
    upstream: Option<(Address, String)>,
    /// As the client calls the proxy.
    proxy: Option<Address>,
}

/// What answers at one end of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// CouchDB itself, past the proxy.
    Upstream,
    /// This proxy.
    Proxy,
    /// Another server, or one of these under a name nobody told us.
    Elsewhere,
}

/// One end of a job: a name, a URL, or a URL and headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// None for a bare name.
    address: Option<Address>,
    /// Before the name of the database.
    base: String,
    /// The database: what the path ends with.
    pub db: String,
    headers: Vec<(String, String)>,
}

impl Address {
    /// Of an authority, as in `Host`: a name and a password before it do not count.
    pub fn new(authority: &str) -> Self {
        let bare = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = match bare.rsplit_once(':').map(|(host, port)| (host, port.parse())) {
            Some((host, Ok(port))) => (host, Some(port).filter(|port| !matches!(port, 80 | 443))),
            _ => (bare, None),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        let is_loopback = host == LOOPBACK || host.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback());
        let host = if is_loopback { LOOPBACK.to_owned() } else { host };
        Self { host, port }
    }
}

/// Authority and path of a URL, if it is one to CouchDB, which heeds the case (`couch_replicator_parse:parse_rep_db`).
/// Nothing is refused, lest CouchDB should read what we could not.
fn split(url: &str) -> Option<(&str, &str)> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let rest = rest.split('?').next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    // Before the path it may stand in a password (`ibrowse_lib:parse_url`).
    Some((authority, path.split('#').next().unwrap_or_default()))
}

impl Here {
    /// `upstream` is its URL, `host` what the client calls the proxy.
    pub fn new(upstream: Option<&str>, host: Option<&str>) -> Self {
        let upstream = upstream.and_then(split);
        Self {
            upstream: upstream
                .map(|(authority, base)| (Address::new(authority), base.trim_end_matches('/').to_owned())),
            proxy: host.map(Address::new),
        }
    }

    /// What answers there.
    pub fn place(&self, end: &End) -> Place {
        let Some(address) = &end.address else {
            // CouchDB makes it a URL of its own, without the headers that were with it (`chttpd:fix_uri`).
            return Place::Upstream;
        };
        let is_upstream = self.upstream.as_ref().is_some_and(|(upstream, base)| {
            // It is CouchDB that runs the job: its loopback is its own.
            let is_own = address.host == LOOPBACK && address.port.is_some() && address.port == upstream.port;
            is_own || (address == upstream && end.base == *base)
        });
        if is_upstream {
            Place::Upstream
        } else if self.proxy.as_ref() == Some(address) {
            Place::Proxy
        } else {
            Place::Elsewhere
        }
    }
}

impl End {
    /// None if it is missing, or of a form that CouchDB refuses.
    pub fn read(end: &RawValue) -> Option<Self> {
        let text = |value: &RawValue| serde_json::from_str::<String>(value.get()).ok();
        let (url, headers) = match text(end) {
            Some(url) => (url, Vec::new()),
            None => {
                let members: Members<'_> = serde_json::from_str(end.get()).ok()?;
                let url = text(members.get("url")?)?;
                let headers = members.get("headers");
                let headers: Members<'_> = headers
                    .and_then(|headers| serde_json::from_str(headers.get()).ok())
                    .unwrap_or_default();
                let header = |(name, value): (Cow<'_, str>, &RawValue)| Some((name.into_owned(), text(value)?));
                (url, headers.into_iter().filter_map(header).collect())
            }
        };
        Some(Self::new(&url, headers))
    }

    fn new(url: &str, headers: Vec<(String, String)>) -> Self {
        let Some((authority, path)) = split(url) else {
            return Self {
                address: None,
                base: String::new(),
                db: url.to_owned(),
                headers,
            };
        };
        let path = path.trim_end_matches('/');
        let (base, db) = path.rsplit_once('/').unwrap_or_default();
        Self {
            address: Some(Address::new(authority)),
            base: base.trim_end_matches('/').to_owned(),
            db: decode(db).into_owned(),
            headers,
        }
    }

    /// The app version that requests to it declare: in this header, or in the path, as in `/_app/todo-app@2.0.0/todos`.
    pub fn declares(&self, header: &str) -> Option<Cow<'_, str>> {
        let mut segments = self.base.rsplit('/').filter(|segment| !segment.is_empty()).map(decode);
        let version = segments.next();
        let in_path = version.filter(|_| segments.next().is_some_and(|segment| segment == SEGMENT));
        let is_it = |(name, _): &&(String, String)| name.eq_ignore_ascii_case(header);
        let in_headers = || {
            self.headers
                .iter()
                .find(is_it)
                .map(|(_, value)| Cow::Borrowed(&**value))
        };
        in_path.or_else(in_headers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end(json: &str) -> Option<End> {
        End::read(&RawValue::from_string(json.to_owned()).unwrap())
    }

    fn url(url: &str) -> End {
        End::new(url, Vec::new())
    }

    #[test]
    fn an_end_names_a_database() {
        for (json, db) in [
            (r#""todos""#, "todos"),
            (r#""user/1""#, "user/1"),
            (r#""http://couch/todos""#, "todos"),
            (r#""https://n:p%2F@couch:1/base/user%2f1/?x=/y""#, "user/1"),
            (r#""http://n:p#w@couch/todos#x/y""#, "todos"),
            (r#"{"url":"http://a/x","\u0075rl":"http://couch//todos//"}"#, "todos"),
            (r#"{"url":"todos","headers":7}"#, "todos"),
            (r#""http://couch""#, ""),
            (r#""HTTP://couch/todos""#, "HTTP://couch/todos"),
        ] {
            assert_eq!(end(json).unwrap().db, db, "{json}");
        }
        for json in ["null", "7", "{}", r#"{"url":null}"#, r#"["http://couch/todos"]"#] {
            assert_eq!(end(json), None, "{json}");
        }
    }

    #[test]
    fn known_names_are_here() {
        let here = Here::new(Some("http://couch:5984/base"), Some("todo.example"));
        for (text, place) in [
            ("todos", Place::Upstream),
            ("http://n:p@Couch:5984/base/todos", Place::Upstream),
            ("http://couch:5984/base//todos/", Place::Upstream),
            ("http://n:p#w@couch:5984/base/todos", Place::Upstream),
            ("http://127.0.0.1:5984/todos", Place::Upstream),
            ("http://[::1]:5984/todos", Place::Upstream),
            ("https://todo.example:443/todos", Place::Proxy),
            ("http://todo.example/_app/todo-app@1.0.0/todos", Place::Proxy),
            ("http://couch:5984/todos", Place::Elsewhere),
            ("http://couch:5985/base/todos", Place::Elsewhere),
            ("http://localhost:3000/todos", Place::Elsewhere),
            ("http://todo.example:5984/todos", Place::Elsewhere),
            ("http://phone/todo.example/todos", Place::Elsewhere),
        ] {
            assert_eq!(here.place(&url(text)), place, "{text}");
        }
        let embedded = Here::new(None, Some("localhost:5985"));
        assert_eq!(embedded.place(&url("http://127.0.0.1:5985/todos")), Place::Proxy);
        assert_eq!(embedded.place(&url("http://localhost/todos")), Place::Elsewhere);
    }

    #[test]
    fn a_version_is_declared_by_header_or_path() {
        let declares = |json| end(json).unwrap().declares("app-version").map(Cow::into_owned);
        let header = r#"{"url":"http://a/todos","headers":{"X":1,"App-Version":"todo-app@2.0.0"}}"#;
        assert_eq!(declares(header).as_deref(), Some("todo-app@2.0.0"));
        let path = r#""http://a/any//%5Fapp//todo-app%402.0.0/todos/""#;
        assert_eq!(declares(path).as_deref(), Some("todo-app@2.0.0"));
        assert_eq!(declares(r#""http://a/todos""#), None);
        assert_eq!(declares(r#""http://a/_app/todos""#), None);
    }
}
