//! The CouchDB that `COUCHDB_URL` names, as its admin sees it.

use std::{
    env, process,
    sync::atomic::{AtomicUsize, Ordering},
};

use chesterfield::upstream::{self, Timeouts, Upstream, body};
use http::{Request, StatusCode, header};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// A CouchDB.
pub struct Couch {
    /// With an admin's credentials.
    pub url: String,
    upstream: Upstream,
    runtime: Runtime,
}

/// What is undone at the end: a path, and what is put there, or that it is deleted.
pub struct Undone<'a> {
    couch: &'a Couch,
    paths: Vec<(String, Option<Value>)>,
}

/// A name for a database of one's own.
pub fn unique() -> String {
    static NAMES: AtomicUsize = AtomicUsize::new(0);
    format!("browser-{}-{}", process::id(), NAMES.fetch_add(1, Ordering::Relaxed))
}

impl Couch {
    /// None without `COUCHDB_URL`.
    pub fn given() -> Option<Self> {
        let url = env::var("COUCHDB_URL").ok().filter(|url| !url.is_empty())?;
        Some(Self {
            upstream: upstream::http(&url, Timeouts::default()).unwrap(),
            runtime: Runtime::new().unwrap(),
            url,
        })
    }

    /// The name and the password in the URL.
    pub fn login(&self) -> (String, String) {
        let credentials = self.url.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@'));
        let (name, password) = credentials
            .and_then(|(credentials, _)| credentials.split_once(':'))
            .unwrap();
        let decoded = |text| percent_decode_str(text).decode_utf8().unwrap().into_owned();
        (decoded(name), decoded(password))
    }

    /// The database is deleted at the end.
    pub fn deletes(&self, db: &str) -> Undone<'_> {
        let paths = vec![(format!("/{db}"), None)];
        Undone { couch: self, paths }
    }

    /// Turns CORS on for apps of this origin alone, until the end.
    pub fn shares(&self, origin: &str) -> Undone<'_> {
        let mut undone = Undone {
            couch: self,
            paths: Vec::new(),
        };
        for (key, value) in [
            ("cors/origins", origin),
            ("cors/credentials", "true"),
            ("chttpd/enable_cors", "true"),
        ] {
            let path = format!("/_node/_local/_config/{key}");
            let (status, before) = self.ask("GET", &path, None);
            undone
                .paths
                .push((path.clone(), (status == StatusCode::OK).then_some(before)));
            assert_eq!(self.ask("PUT", &path, Some(&json!(value))).0, StatusCode::OK, "{key}");
        }
        undone
    }

    fn ask(&self, method: &str, path: &str, json: Option<&Value>) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(account) = &self.upstream.account {
            request = request.header(header::AUTHORIZATION, account);
        }
        let request = match json {
            Some(json) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body::full(json.to_string())),
            None => request.body(body::empty()),
        };
        self.runtime.block_on(async {
            let answer = self.upstream.send(request.unwrap()).await.unwrap();
            let status = answer.status();
            let said = body::read(answer.into_body(), 1 << 16).await.unwrap();
            (status, serde_json::from_slice(&said).unwrap_or_default())
        })
    }
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        // What was done last is undone first.
        for (path, before) in self.paths.iter().rev() {
            let method = if before.is_some() { "PUT" } else { "DELETE" };
            self.couch.ask(method, path, before.as_ref());
        }
    }
}
