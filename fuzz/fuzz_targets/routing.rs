//! However a path is spelt, it reaches the same endpoint: CouchDB decodes segments and drops empty ones before it looks.
#![no_main]

use chesterfield::couch::{
    Route,
    route::{decode, effective_method, query_pairs},
};
use http::{HeaderMap, HeaderValue, Method, header::HeaderName};
use libfuzzer_sys::fuzz_target;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

const METHODS: [Method; 5] = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::HEAD];

fuzz_target!(|data: &[u8]| {
    let [method, rest @ ..] = data else { return };
    let Ok(target) = std::str::from_utf8(rest) else { return };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(query) {
        headers.insert(HeaderName::from_static("x-http-method-override"), value);
    }
    let method = effective_method(&METHODS[usize::from(*method) % METHODS.len()], &headers);
    let route = Route::parse(&method, path);

    let segments = || path.split('/').filter(|segment| !segment.is_empty());
    let encoded = segments().map(|segment| format!("/{}", utf8_percent_encode(&decode(segment), NON_ALPHANUMERIC)));
    assert_eq!(
        route,
        Route::parse(&method, &encoded.collect::<String>()),
        "encoded: {path:?}"
    );
    let doubled: String = segments().map(|segment| format!("//{segment}/")).collect();
    assert_eq!(route, Route::parse(&method, &doubled), "with more slashes: {path:?}");
    // A database is asked for by one name, and never by one of the server's own.
    match route.db() {
        Some(db) => assert!(!db.starts_with('_') || matches!(db, "_users" | "_replicator" | "_global_changes")),
        None => assert!(!route.writes(&method), "a write outside of a database: {path:?}"),
    }
    query_pairs(query).for_each(drop);
});
