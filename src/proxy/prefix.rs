//! `/_app/todo-app@2.0.0/db/…`: a version declared in the path, for clients that can set no header.
//!
//! No database can be in the way: their names do not begin with an underscore. The rest of the path goes upstream; what
//! the answer says of paths is put right on its way back.

use http::{
    HeaderMap, HeaderName, HeaderValue, Uri,
    header::{HOST, LOCATION, SET_COOKIE},
    uri::PathAndQuery,
};

use super::Error;
use crate::{couch::route::decode, upstream::http::FORWARDED_HOST};

/// The first segment of such a path.
pub(super) const SEGMENT: &str = "_app";

/// What was taken off a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// As the client spelt it, without a slash at its end.
    path: String,
    /// The app version.
    pub(super) declared: String,
    /// Where the client believes it is.
    host: Option<HeaderValue>,
}

/// Takes the prefix off a target in origin form. None if there is none, an error if it names no version.
pub(super) fn strip(uri: &mut Uri, headers: &HeaderMap) -> Result<Option<Prefix>, Error> {
    let path = uri.path();
    let Some((segment, rest)) = segment(path) else {
        return Ok(None);
    };
    if decode(segment) != SEGMENT {
        return Ok(None);
    }
    let (declared, rest) = self::segment(rest).ok_or(Error::NoVersionInPath)?;
    let prefix = Prefix {
        path: path[..path.len() - rest.len()].to_owned(),
        declared: decode(declared).into_owned(),
        host: headers.get(FORWARDED_HOST).or_else(|| headers.get(HOST)).cloned(),
    };
    let slash = if rest.starts_with('/') { "" } else { "/" };
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let target = PathAndQuery::from_maybe_shared(format!("{slash}{rest}{query}"));
    *uri = Uri::from(target.map_err(|_| Error::NoVersionInPath)?);
    Ok(Some(prefix))
}

/// The first segment of a path that is not empty, and what follows it.
fn segment(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_start_matches('/');
    let end = path.find('/').unwrap_or(path.len());
    (end > 0).then(|| path.split_at(end))
}

impl Prefix {
    /// Puts the prefix before the paths of an answer: where something is, and where a cookie is to be sent.
    pub(super) fn restore(&self, headers: &mut HeaderMap) {
        self.each(headers, &LOCATION, |location| self.location(location));
        self.each(headers, &SET_COOKIE, |cookie| self.cookie(cookie));
    }

    fn each(&self, headers: &mut HeaderMap, name: &HeaderName, change: impl Fn(&str) -> Option<String>) {
        if !headers.contains_key(name) {
            return;
        }
        let changed = |value: &HeaderValue| {
            let text = value.to_str().ok().and_then(&change);
            text.and_then(|text| HeaderValue::from_str(&text).ok())
                .unwrap_or_else(|| value.clone())
        };
        let values: Vec<HeaderValue> = headers.get_all(name).iter().map(changed).collect();
        headers.remove(name);
        for value in values {
            headers.append(name, value);
        }
    }

    /// A path, or a URL of this host; what leads elsewhere stays. A client that named the target itself (`next` of `_session`)
    /// knows its prefix.
    fn location(&self, location: &str) -> Option<String> {
        let path = if location.starts_with('/') && !location.starts_with("//") {
            0
        } else {
            let authority = location.find("://")? + 3;
            let path = location[authority..].find(['/', '?', '#'])? + authority;
            let is_here = |host: &HeaderValue| {
                host.as_bytes()
                    .eq_ignore_ascii_case(&location.as_bytes()[authority..path])
            };
            self.host.as_ref().filter(|host| is_here(host))?;
            path
        };
        let (origin, path) = location.split_at(path);
        if segment(path).is_some_and(|(first, _)| decode(first) == SEGMENT) {
            return None;
        }
        Some(format!("{origin}{}{path}", self.path))
    }

    /// CouchDB's own cookie is for `/`, which is true of every prefix too: whoever has logged in stays so when the app is updated.
    fn cookie(&self, cookie: &str) -> Option<String> {
        let parts = cookie.split(';').map(|part| {
            let path = part
                .split_once('=')
                .filter(|(name, _)| name.trim().eq_ignore_ascii_case("path"));
            match path.map(|(_, path)| path.trim()) {
                Some(path) if path.len() > 1 && path.starts_with('/') => format!(" Path={}{path}", self.path),
                _ => part.to_owned(),
            }
        });
        Some(parts.collect::<Vec<_>>().join(";"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(target: &str) -> (Result<Option<Prefix>, Error>, String) {
        let mut uri: Uri = target.parse().unwrap();
        let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static("todo.example"))]);
        let prefix = strip(&mut uri, &headers);
        (prefix, uri.to_string())
    }

    #[test]
    fn what_follows_the_version_is_left_as_it_was() {
        for (target, path, rest) in [
            (
                "/_app/todo-app@2.0.0/db/a%2Fb?x=%2F",
                "/_app/todo-app@2.0.0",
                "/db/a%2Fb?x=%2F",
            ),
            ("/_app/todo-app@2.0.0/", "/_app/todo-app@2.0.0", "/"),
            ("/_app/todo-app@2.0.0", "/_app/todo-app@2.0.0", "/"),
            ("/_app/todo-app@2.0.0?x", "/_app/todo-app@2.0.0", "/?x"),
            ("//%5Fapp//todo-app%402.0.0//db", "//%5Fapp//todo-app%402.0.0", "//db"),
        ] {
            let (prefix, left) = stripped(target);
            let prefix = prefix.unwrap().unwrap();
            assert_eq!(
                (prefix.path.as_str(), prefix.declared.as_str()),
                (path, "todo-app@2.0.0")
            );
            assert_eq!(left, rest, "{target}");
        }
        let (scoped, _) = stripped("/_app/%40org%2Ftodo@1.0.0/db");
        assert_eq!(scoped.unwrap().unwrap().declared, "@org/todo@1.0.0");
    }

    #[test]
    fn other_paths_are_left_alone() {
        for target in ["/", "/db/_app/x", "/_apps/todo-app@2.0.0/db", "/db?x=/_app/"] {
            let (prefix, left) = stripped(target);
            assert_eq!((prefix.unwrap(), left.as_str()), (None, target));
        }
        for target in ["/_app", "/_app/", "//_app//"] {
            assert!(stripped(target).0.is_err(), "{target}");
        }
    }

    #[test]
    fn an_answer_leads_back_to_the_prefix() {
        let prefix = stripped("/_app/todo-app@2.0.0/db").0.unwrap().unwrap();
        for (given, restored) in [
            (
                "http://todo.example/db/a",
                "http://todo.example/_app/todo-app@2.0.0/db/a",
            ),
            (
                "https://Todo.example/db/a",
                "https://Todo.example/_app/todo-app@2.0.0/db/a",
            ),
            ("/_utils/", "/_app/todo-app@2.0.0/_utils/"),
            ("/_app/todo-app@2.0.0/db", "/_app/todo-app@2.0.0/db"),
            ("http://other.example/db/a", "http://other.example/db/a"),
            ("//other.example/db", "//other.example/db"),
            ("http://todo.example", "http://todo.example"),
            ("relative", "relative"),
        ] {
            let mut headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_static(given))]);
            prefix.restore(&mut headers);
            assert_eq!(headers[LOCATION], restored);
        }
    }

    #[test]
    fn cookies_are_sent_where_they_are_for() {
        let prefix = stripped("/_app/todo-app@2.0.0/db").0.unwrap().unwrap();
        for (given, restored) in [
            (
                "AuthSession=a; Version=1; Path=/; HttpOnly",
                "AuthSession=a; Version=1; Path=/; HttpOnly",
            ),
            ("a=b; path=/db;Secure", "a=b; Path=/_app/todo-app@2.0.0/db;Secure"),
            ("a=b", "a=b"),
        ] {
            let mut headers = HeaderMap::from_iter([(SET_COOKIE, HeaderValue::from_static(given))]);
            prefix.restore(&mut headers);
            assert_eq!(headers[SET_COOKIE], restored);
        }
    }
}
