//! A migrating proxy of the todo app before a database, and the database seen directly: in the embedded store, or on the server
//! that `COUCHDB_URL` names.
#![allow(dead_code, reason = "every test file uses its own part")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use chesterfield::{
    config::{Config, Given, Overrides, Schemas},
    fanout::{FanOut, Retrying, Which},
    follower::{self, Follower},
    parked::{Parked, Pauses},
    proxy::{
        self, Databases, Passing, Proxy, Settings, Writes,
        validate::{Validate, Validating},
        writes::{FanningOut, Limits},
    },
    schema::{AppManifest, Apps, Scope},
    upstream::{self, Timeouts, Upstream, UpstreamService, embedded::Embedded},
};
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinHandle},
};
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes: a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

/// A database with a name of its own.
pub struct Stage {
    pub upstream: Upstream,
    pub db: String,
    direct: Server,
    servers: Vec<Server>,
    followers: CancellationToken,
    kept: Vec<CancellationToken>,
    config: Config,
    pauses: Option<Pauses>,
}

/// A proxy on a port of its own.
pub struct Server {
    url: String,
    stop: CancellationToken,
    served: JoinHandle<()>,
    writes: Option<Arc<FanningOut>>,
    retrying: Option<Retrying>,
}

/// What a server answered.
#[derive(Debug)]
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    /// What it was parsed from, or was not if it is no JSON.
    pub bytes: Bytes,
}

/// Asks one server, with the credentials of `COUCHDB_URL`.
#[derive(Clone)]
pub struct Asking {
    url: String,
    db: String,
    upstream: Upstream,
    client: Client<HttpConnector, Full<Bytes>>,
}

static NAMES: AtomicUsize = AtomicUsize::new(0);

/// The repository's configuration, with these schemas.
fn configured(schemas: &Path) -> Config {
    let given = |path: &Path| {
        Some(Given {
            value: Path::new(env!("CARGO_MANIFEST_DIR")).join(path),
            by: "test".into(),
        })
    };
    let overrides = Overrides {
        config: given(Path::new("config.yaml")),
        schemas: given(schemas),
        ..Overrides::default()
    };
    Config::load(&overrides).unwrap()
}

impl Stage {
    pub async fn new() -> Self {
        Self::behind(|service| service).await
    }

    /// With other schemas than the todo app's.
    pub async fn of(schemas: &Path) -> Self {
        Self::build(schemas, |service| service).await
    }

    /// `wrap` puts something between the migrating proxies and the database.
    pub async fn behind(wrap: impl FnOnce(UpstreamService) -> UpstreamService) -> Self {
        Self::build(Path::new("schemas"), wrap).await
    }

    /// Of each branch of a document so many revisions are kept.
    pub async fn stemming(revs_limit: u64) -> Self {
        let stage = Self::on(Embedded::stemming(revs_limit), Path::new("schemas"), |service| service).await;
        let answer = stage.direct().ask("PUT", "_revs_limit", revs_limit.to_string()).await;
        assert!(answer.status.is_success(), "{answer:?}");
        stage
    }

    /// Both.
    pub async fn build(schemas: &Path, wrap: impl FnOnce(UpstreamService) -> UpstreamService) -> Self {
        Self::on(Embedded::memory(), schemas, wrap).await
    }

    /// Without `COUCHDB_URL` the database is in this store.
    async fn on(embedded: Embedded, schemas: &Path, wrap: impl FnOnce(UpstreamService) -> UpstreamService) -> Self {
        let mut upstream = match std::env::var("COUCHDB_URL") {
            Ok(url) => upstream::http(&url, Timeouts::default()).unwrap(),
            Err(_) => Upstream {
                service: UpstreamService::new(embedded),
                account: None,
                name: "embedded".into(),
            },
        };
        let config = configured(schemas);
        let direct = Server::start(
            Settings::default(),
            upstream.clone(),
            Arc::new(Passing(upstream.clone())),
            None,
        )
        .await;
        upstream.service = wrap(upstream.service);
        let db = format!(
            "chesterfield-{}-{}",
            std::process::id(),
            NAMES.fetch_add(1, Ordering::Relaxed)
        );
        let stage = Self {
            upstream,
            db,
            direct,
            servers: Vec::new(),
            followers: CancellationToken::new(),
            kept: Vec::new(),
            config,
            pauses: None,
        };
        assert!(stage.direct().ask("PUT", "", "").await.status.is_success());
        stage
    }

    /// What migrating proxies that are started from now on show to apps that do not say.
    pub fn scope(&mut self, scope: Scope) {
        let Schemas { registry, apps, .. } = &self.config.schemas;
        let scoped = |app: &Arc<AppManifest>| AppManifest::new(registry, app.manifest.clone(), scope);
        self.config.proxy.apps = Apps::new(apps.iter().map(scoped)).unwrap();
    }

    /// Migrating proxies that are started from now on park what is stuck, and try it again after these pauses.
    pub fn park(&mut self, pauses: Pauses) {
        self.pauses = Some(pauses);
    }

    /// What migrating proxies that are started from now on do with documents that do not fit a class, and with those of all others.
    pub fn validate(&mut self, class: &str, mode: Validate, others: Validate) {
        let classes = self.config.schemas.registry.classes();
        let mode = |name: String| if name == class { mode } else { others };
        self.config.validate = classes.map(|(_, class)| mode(class.name.to_string())).collect();
    }

    /// What proxies that are started from now on are configured with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The manifest of a version.
    pub fn app(&self, version: &str) -> Arc<AppManifest> {
        self.config.proxy.apps.resolve(version).unwrap().clone()
    }

    /// Starts a migrating proxy.
    pub async fn proxy(&mut self) -> Asking {
        self.proxy_with(Limits::default()).await
    }

    pub async fn proxy_with(&mut self, limits: Limits) -> Asking {
        let fan_out = self.fan_out();
        self.proxy_of(fan_out, limits).await
    }

    /// A migrating proxy, and what follows the database in the same process.
    pub async fn proxy_that_follows(&mut self, change: impl FnOnce(&mut follower::Settings)) -> (Asking, Follower) {
        let fan_out = self.fan_out();
        let follower = self.follow_with(fan_out.clone(), change);
        (self.proxy_of(fan_out, Limits::default()).await, follower)
    }

    fn fan_out(&self) -> FanOut {
        let schemas = &self.config.schemas;
        let fan_out = FanOut::new(
            self.upstream.clone(),
            schemas.registry.clone(),
            schemas.lenses.clone().into(),
        );
        match self.pauses {
            Some(pauses) => {
                let parked = Parked::new(self.upstream.clone(), schemas.fingerprints.clone(), pauses);
                fan_out.parking(parked)
            }
            None => fan_out,
        }
    }

    async fn proxy_of(&mut self, fan_out: FanOut, limits: Limits) -> Asking {
        let fanning_out = Arc::new(FanningOut::new(self.upstream.clone(), fan_out.clone(), limits));
        let writes = Validating::before(fanning_out.clone(), self.config.judge(), limits.held);
        let mut server = Server::start(
            self.config.proxy.clone(),
            self.upstream.clone(),
            writes,
            Some(fanning_out),
        )
        .await;
        server.retrying = Retrying::start(fan_out);
        let asking = self.asking(&server);
        self.servers.push(server);
        asking
    }

    /// Follows the database, as a process of its own would; `change` says how it is otherwise than by default. It is told to stop when the
    /// stage ends.
    pub fn follow(&self, change: impl FnOnce(&mut follower::Settings)) -> Follower {
        self.follow_with(self.fan_out(), change)
    }

    fn follow_with(&self, fan_out: FanOut, change: impl FnOnce(&mut follower::Settings)) -> Follower {
        let mut settings = follower::Settings {
            databases: Databases::new([&self.db]).unwrap(),
            patterns: vec![self.db.clone()],
            lease: None,
            ..follower::Settings::default()
        };
        settings.pauses.rest = Duration::from_millis(1);
        settings.pauses.retry = Duration::from_millis(10);
        change(&mut settings);
        let prints = &self.config.schemas.fingerprints;
        Follower::start(fan_out, prints, settings, self.followers.child_token())
    }

    /// Brings the whole database in step, as `chesterfield backfill` does; answers how many revisions were written.
    pub async fn backfill(&self) -> usize {
        let mut written = 0;
        let prints = &self.config.schemas.fingerprints;
        follower::backfill(self.fan_out(), prints, &self.db, |page| written += page.report.written)
            .await
            .unwrap();
        written
    }

    /// Tells the followers to stop, but for those that are kept and those that are started later.
    pub fn stop_following(&mut self) {
        std::mem::take(&mut self.followers).cancel();
    }

    /// Those who follow now are told to stop when the stage ends, and not before.
    pub fn keep_following(&mut self) {
        self.kept.push(std::mem::take(&mut self.followers));
    }

    /// The address of the database's server for a process of its own, with the credentials of `COUCHDB_URL`.
    pub fn address(&self) -> String {
        let url = std::env::var("COUCHDB_URL").unwrap_or_default();
        let credentials = url
            .split_once("://")
            .and_then(|(_, rest)| Some(rest.rsplit_once('@')?.0));
        match credentials {
            Some(credentials) => self.direct.url.replace("://", &format!("://{credentials}@")),
            None => self.direct.url.clone(),
        }
    }

    /// Reads other schemas from now on.
    pub fn schemas(&mut self, schemas: &Path) {
        self.config = configured(schemas);
    }

    /// Starts another server before a proxy; `wrap` puts something between them.
    pub async fn before(&mut self, proxy: &Asking, wrap: impl FnOnce(UpstreamService) -> UpstreamService) -> Asking {
        let mut upstream = upstream::http(&proxy.url, Timeouts::default()).unwrap();
        upstream.service = wrap(upstream.service);
        let server = Server::start(Settings::default(), upstream.clone(), Arc::new(Passing(upstream)), None).await;
        let asking = self.asking(&server);
        // It ends before what is behind it does.
        self.servers.insert(0, server);
        asking
    }

    /// The database itself.
    pub fn direct(&self) -> Asking {
        self.asking(&self.direct)
    }

    fn asking(&self, server: &Server) -> Asking {
        self.asking_at(&server.url)
    }

    /// Asks a server that is none of the stage's.
    pub fn asking_at(&self, url: &str) -> Asking {
        Asking {
            url: url.to_owned(),
            db: self.db.clone(),
            upstream: self.upstream.clone(),
            client: Client::builder(TokioExecutor::new()).build_http(),
        }
    }

    /// The tag of what this app version replicates.
    pub fn tag(&self, app: &str) -> String {
        let app = self.config.proxy.apps.resolve(app).unwrap();
        app.replicates.as_ref().unwrap().tag().to_owned()
    }

    /// Waits until every fan-out is done, which is when every server has ended; then the database goes.
    pub async fn end(mut self) {
        self.followers.cancel();
        self.kept.iter().for_each(CancellationToken::cancel);
        self.ended().await;
        self.direct().ask("DELETE", "", "").await;
        self.direct.end().await;
    }

    /// What breaks off a migrating proxy's connections, as the end of its process does. What it has under way goes on, unless its upstream
    /// is cut off first. Then it is to be [buried](Self::bury).
    pub fn process(&self, proxy: &Asking) -> AbortHandle {
        let server = self.servers.iter().find(|server| server.url == proxy.url);
        server.unwrap().served.abort_handle()
    }

    /// Forgets a migrating proxy that has been cut off.
    pub fn bury(&mut self, proxy: &Asking) {
        self.servers.retain(|server| server.url != proxy.url);
    }

    /// Tries again whatever of the database is parked.
    pub async fn retry(&self) {
        let all = Which::All(Some(self.db.clone()));
        self.fan_out().retry(&all, &mut |_, _| ()).await.unwrap();
    }

    /// Ends the migrating proxies, and with them every fan-out.
    pub async fn ended(&mut self) {
        for server in self.servers.drain(..) {
            server.end().await;
        }
    }
}

impl Server {
    async fn start(
        settings: Settings,
        upstream: Upstream,
        writes: Arc<dyn Writes>,
        fanning: Option<Arc<FanningOut>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let proxy = Arc::new(Proxy::new(settings, upstream, writes).unwrap());
        let served = tokio::spawn(proxy::serve(listener, proxy, stop.clone()));
        Self {
            url,
            stop,
            served,
            writes: fanning,
            retrying: None,
        }
    }

    async fn end(self) {
        self.stop.cancel();
        self.served.await.unwrap();
        if let Some(retrying) = self.retrying {
            retrying.finish().await;
        }
        if let Some(writes) = self.writes {
            writes.finish().await;
        }
    }
}

impl Asking {
    /// The address of the database, without credentials.
    pub fn url(&self) -> String {
        format!("{}/{}", self.url, self.db)
    }

    /// The credentials of `COUCHDB_URL`.
    pub fn authorization(&self) -> Option<&str> {
        self.upstream.account.as_ref().and_then(|account| account.to_str().ok())
    }

    /// `path` is below the database; a body is JSON.
    pub async fn ask(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Answered {
        self.ask_with(method, path, &[], body).await
    }

    /// `path` is below the server.
    pub async fn ask_server(&self, method: &str, path: &str, body: impl Into<Bytes>) -> Answered {
        let uri = format!("{}/{path}", self.url);
        self.request(method, uri, &[], body).await
    }

    pub async fn ask_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answered {
        let slash = if path.is_empty() || path.starts_with('?') {
            ""
        } else {
            "/"
        };
        let uri = format!("{}/{}{slash}{path}", self.url, self.db);
        self.request(method, uri, headers, body).await
    }

    async fn request(&self, method: &str, uri: String, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answered {
        let mut request = Request::builder()
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .uri(uri);
        if !headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
        {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(account) = &self.upstream.account {
            request = request.header(header::AUTHORIZATION, account);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).unwrap();
        let (head, body) = self.client.request(request).await.unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Answered {
            status: head.status,
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
            bytes: body,
        }
    }

    /// Writes and insists; answers the new revision.
    pub async fn put(&self, id: &str, body: Value) -> String {
        let answer = self.ask("PUT", id, body.to_string()).await;
        assert!(answer.status.is_success(), "PUT {id}: {answer:?}");
        answer.body["rev"].as_str().unwrap().to_owned()
    }

    /// A document as it is shown, without its revision; `Null` if there is none.
    pub async fn get(&self, id: &str) -> Value {
        let mut answer = self.ask("GET", id, "").await;
        if answer.status == StatusCode::NOT_FOUND {
            return Value::Null;
        }
        let document = answer.body.as_object_mut().unwrap();
        document.remove("_rev");
        document.remove("_id");
        answer.body
    }

    pub async fn rev(&self, id: &str) -> String {
        self.ask("GET", id, "").await.body["_rev"].as_str().unwrap().to_owned()
    }

    /// Waits until something is as it should be: it is looked at again whenever the database changes.
    pub async fn until(&self, mut is_so: impl AsyncFnMut() -> bool) {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let seen = self.ask("GET", "_changes?limit=1&since=now", "").await;
                if is_so().await {
                    return;
                }
                let end = seen.body["last_seq"].as_str().unwrap();
                let next = format!("_changes?feed=longpoll&timeout=500&since={end}");
                self.ask("GET", &next, "").await;
            }
        });
        waited.await.expect("it does not become so");
    }

    /// Every live leaf of a document.
    pub async fn leaves(&self, id: &str) -> Vec<Value> {
        let answer = self
            .ask_with(
                "GET",
                &format!("{id}?open_revs=all"),
                &[("accept", "application/json")],
                "",
            )
            .await;
        let rows = answer.body.as_array().cloned().unwrap_or_default();
        let live = rows.into_iter().filter_map(|mut row| Some(row.get_mut("ok")?.take()));
        live.filter(|document| document["_deleted"] != true).collect()
    }
}
