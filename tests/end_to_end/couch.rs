//! What stands behind the proxies.

use std::env;

/// The CouchDB to use instead of the embedded store.
pub fn url() -> Option<String> {
    let url = env::var("COUCHDB_URL").ok().filter(|url| !url.is_empty())?;
    Some(url.trim_end_matches('/').to_owned())
}

/// The same server as it is spoken to by clients, who need credentials where CouchDB does.
pub fn credited(server: &str) -> String {
    let url = url().unwrap_or_default();
    let credentials = url
        .split_once("://")
        .and_then(|(_, rest)| Some(rest.rsplit_once('@')?.0));
    match (credentials, server.split_once("://")) {
        (Some(credentials), Some((scheme, address))) => format!("{scheme}://{credentials}@{address}"),
        _ => server.to_owned(),
    }
}
