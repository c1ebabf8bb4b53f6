//! Headers that end at the proxy, and those it adds.

use std::net::SocketAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri, Version,
    header::{
        CONNECTION, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
    },
    uri::PathAndQuery,
};

use crate::upstream::http::{FORWARDED_HOST, FORWARDED_PROTO};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Hop-by-hop whether or not `Connection` names them (RFC 9110 7.6.1). `Trailer` stays, as trailers do.
const HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Who is at the other end of a connection, as a header value.
#[derive(Clone, Debug)]
pub(super) struct Peer(HeaderValue);

impl Peer {
    pub(super) fn new(address: SocketAddr) -> Self {
        let address = address.ip().to_canonical().to_string();
        Self(HeaderValue::from_str(&address).unwrap_or(HeaderValue::from_static("unknown")))
    }
}

/// Puts a client's request into the form in which it goes on: origin form, without what ends here, with what only
/// this hop knows.
pub(super) fn forward<B>(mut request: Request<B>, peer: &Peer) -> Request<B> {
    let host = request.uri().authority().map_or_else(
        || request.headers().get(HOST).cloned(),
        |authority| HeaderValue::from_str(authority.as_str()).ok(),
    );
    if request.uri().scheme().is_some() || request.uri().authority().is_some() {
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from(path.unwrap_or_else(|| PathAndQuery::from_static("/")));
    }
    let crumbled = request.version() == Version::HTTP_2;
    let headers = request.headers_mut();
    let trailers = headers
        .get_all(TE)
        .iter()
        .any(|value| names(value).any(|name| name == "trailers"));
    remove_hop_by_hop(headers);
    // The client is told to go on when its body is first asked for, and not by the upstream a second time.
    headers.remove(EXPECT);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("te"));
    }
    if crumbled {
        join_cookies(headers);
    }
    // CouchDB locks a name after failed logins per address, and takes the last one (transcripts, security 159-160).
    append(headers, FORWARDED_FOR, &peer.0);
    // What a proxy before this one said stands: it is nearer to the client.
    if let Some(host) = host
        && !headers.contains_key(FORWARDED_HOST)
    {
        headers.insert(FORWARDED_HOST, host);
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    request
}

/// Takes what ends here off an answer.
pub(super) fn backward<B>(mut response: Response<B>) -> Response<B> {
    remove_hop_by_hop(response.headers_mut());
    response
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Mostly there is none, and looking at the few names there are is cheaper than asking for every one there may be.
    if !headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        return;
    }
    let mut named = Vec::new();
    for value in headers.get_all(CONNECTION) {
        let others = names(value).filter(|name| !matches!(*name, "close" | "keep-alive" | ""));
        named.extend(others.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()));
    }
    for name in named.iter().chain(&HOP_BY_HOP) {
        headers.remove(name);
    }
}

/// The members of a comma-separated list.
pub(super) fn names(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value
        .to_str()
        .unwrap_or_default()
        .split(',')
        .map(|name| name.trim_matches([' ', '\t']))
}

/// Adds a member to a comma-separated list.
pub(super) fn append(headers: &mut HeaderMap, name: HeaderName, member: &HeaderValue) {
    if !headers.contains_key(&name) {
        headers.insert(name, member.clone());
        return;
    }
    let mut list = Vec::new();
    for value in headers.get_all(&name).iter().chain([member]) {
        if !list.is_empty() {
            list.extend_from_slice(b", ");
        }
        list.extend_from_slice(value.as_bytes());
    }
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

/// HTTP/2 may send a cookie in pieces; HTTP/1.1 knows one header only (RFC 9113 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn forwarded(request: http::request::Builder) -> Request<()> {
        forward(request.body(()).unwrap(), &Peer::new("192.0.2.7:1234".parse().unwrap()))
    }

    #[test]
    fn what_belongs_to_one_hop_ends_here() {
        let request = Request::get("/db")
            .header("connection", "keep-alive, X-Secret , te")
            .header("connection", "x-other")
            .header("x-secret", "1")
            .header("x-other", "2")
            .header("keep-alive", "5")
            .header("proxy-connection", "x")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "h2c")
            .header("expect", "100-continue")
            .header("te", "gzip")
            .header("x-stays", "3");
        let request = forwarded(request);
        let mut left: Vec<_> = request.headers().keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["x-forwarded-for", "x-forwarded-proto", "x-stays"]);
    }

    #[test]
    fn a_client_cannot_have_the_peer_removed() {
        let request = forwarded(Request::get("/").header("connection", "x-forwarded-for"));
        assert_eq!(request.headers()["x-forwarded-for"], "192.0.2.7");
    }

    #[test]
    fn the_peer_is_the_last_address() {
        let request = forwarded(
            Request::get("/")
                .header("x-forwarded-for", "a")
                .header("x-forwarded-for", "b, c"),
        );
        assert_eq!(request.headers()["x-forwarded-for"], "a, b, c, 192.0.2.7");
        let mapped = Peer::new("[::ffff:192.0.2.8]:1".parse().unwrap());
        assert_eq!(mapped.0, "192.0.2.8");
    }

    #[test]
    fn every_form_of_target_becomes_origin_form() {
        for target in ["http://todo.example/db/%61?x", "/db/%61?x"] {
            let request = forwarded(Request::get(target).header("host", "todo.example"));
            assert_eq!(request.uri(), "/db/%61?x");
            assert_eq!(request.headers()["x-forwarded-host"], "todo.example");
        }
        assert_eq!(forwarded(Request::get("//db/a")).uri(), "//db/a");
    }

    #[test]
    fn trailers_are_asked_for_anew() {
        let request = forwarded(
            Request::get("/")
                .header("te", "deflate, trailers")
                .header("connection", "te"),
        );
        assert_eq!(request.headers()["te"], "trailers");
        assert_eq!(request.headers()["connection"], "te");
    }

    #[test]
    fn a_crumbled_cookie_is_whole_again() {
        let request = Request::get("/")
            .version(Version::HTTP_2)
            .header("cookie", "a=1")
            .header("cookie", "b=2");
        assert_eq!(forwarded(request).headers()["cookie"], "a=1; b=2");
    }
}
