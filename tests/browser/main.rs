//! Real PouchDB in a real browser: web apps that are loaded from another origin than the proxy's.
//!
//! Behind the proxy stands the embedded store, or the CouchDB that `COUCHDB_URL` names, with an admin's credentials: there apps
//! have a session by cookie. `COUCHDB_CORS=1` allows to turn that server's own CORS on for a moment, too.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "../support/binary.rs"]
mod binary;
mod chromium;
mod couch;
#[path = "../support/npm.rs"]
mod npm;
mod pages;

use std::{
    fmt::Write,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use binary::{Server, chesterfield};
use chromium::Chromium;
use couch::Couch;
use pages::{Event, Pages};
use tempfile::TempDir;

/// Far longer than any story takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// A proxy before what the tests run on.
struct Proxy {
    server: Server,
    _folder: TempDir,
}

impl Proxy {
    /// With the configuration of the repository, except for `cors`; others use the same CouchDB, and theirs is not followed.
    fn serve(cors: &str, couch: Option<&Couch>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        let config = format!(
            "listen: 127.0.0.1:0\nschemas: {}\nlog: {{ level: warn }}\ncors: {cors}\nfollower: off\n",
            schemas.display()
        );
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        let mut command = chesterfield(folder.path());
        command.arg("serve");
        if let Some(couch) = couch {
            command.env("CHESTERFIELD_UPSTREAM", &couch.url);
        }
        Self {
            server: Server::start(&mut command),
            _folder: folder,
        }
    }
}

/// Shows a page, and waits until it is done.
fn shown(browser: &Path, pages: &Pages, parameters: &[(&str, &str)]) {
    let encoded =
        |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
    let query = parameters.iter().fold(String::new(), |mut query, (name, value)| {
        write!(query, "{name}={}&", encoded(value)).unwrap();
        query
    });
    let url = format!("{}/page.html?{query}", pages.origin);
    // Of another browser before.
    pages.events.try_iter().for_each(drop);
    let _chromium = Chromium::open(browser, &url, pages.tell.clone());
    let deadline = Instant::now() + PATIENCE;
    let (mut step, mut said) = ("the page is loaded".to_owned(), String::new());
    let failure = loop {
        match pages
            .events
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            Ok(Event::Done) => return,
            Ok(Event::Step(next)) => step = next,
            Ok(Event::Said(line)) => said = said + &line + "\n",
            Ok(Event::Failed(why)) => break why,
            Ok(Event::Ended) => break "the browser ended".to_owned(),
            Err(_) => break "nothing happened any more".to_owned(),
        }
    };
    panic!("until {step}: {failure}\nThe browser said:\n{said}");
}

/// Two versions of the app sync with this proxy.
fn synced(browser: &Path, pages: &Pages, proxy: &Proxy, couch: Option<&Couch>, refusals: &str) {
    let db = couch::unique();
    let (name, password) = couch.map(Couch::login).unwrap_or_default();
    let parameters = [
        ("story", "sync"),
        ("proxy", &proxy.server.url),
        ("db", &db),
        ("name", &name),
        ("password", &password),
        ("refusals", refusals),
    ];
    let _deleted = couch.map(|couch| couch.deletes(&db));
    shown(browser, pages, &parameters);
}

#[test]
fn two_versions_sync_from_another_origin() {
    let Some(browser) = chromium::find() else { return };
    let couch = Couch::given();
    let pages = Pages::serve();
    let proxy = Proxy::serve(&format!("{{ origins: [{:?}] }}", pages.origin), couch.as_ref());
    synced(&browser, &pages, &proxy, couch.as_ref(), "yes");
}

#[test]
fn any_origin_may_be_allowed() {
    let Some(browser) = chromium::find() else { return };
    let couch = Couch::given();
    let pages = Pages::serve();
    let proxy = Proxy::serve(r#"{ origins: ["*"] }"#, couch.as_ref());
    synced(&browser, &pages, &proxy, couch.as_ref(), "yes");
}

#[test]
fn others_are_refused() {
    let Some(browser) = chromium::find() else { return };
    let couch = Couch::given();
    let pages = Pages::serve();
    let db = couch::unique();
    for cors in [r#"{ origins: ["http://127.0.0.1"] }"#, "{}"] {
        let proxy = Proxy::serve(cors, couch.as_ref());
        let parameters = [("story", "refused"), ("proxy", &*proxy.server.url), ("db", &*db)];
        shown(&browser, &pages, &parameters);
    }
}

#[test]
fn couchdbs_own_cors_may_be_on() {
    let Some(browser) = chromium::find() else { return };
    let Some(couch) = Couch::given().filter(|_| std::env::var_os("COUCHDB_CORS").is_some()) else {
        return chromium::skipped("it turns CORS on in the CouchDB of COUCHDB_URL, which COUCHDB_CORS=1 has to allow");
    };
    let pages = Pages::serve();
    let _on = couch.shares(&pages.origin);
    let own = format!("{{ origins: [{:?}] }}", pages.origin);
    for (cors, refusals) in [("{}", ""), (own.as_str(), "yes")] {
        let proxy = Proxy::serve(cors, Some(&couch));
        synced(&browser, &pages, &proxy, Some(&couch), refusals);
    }
}
