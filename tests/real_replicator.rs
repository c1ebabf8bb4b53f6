//! CouchDB's own replicator runs jobs that an app version gave through the proxy: at `COUCHDB_URL` (with an admin's name and
//! password); skipped without.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use chesterfield::{
    proxy::{Databases, Settings},
    upstream::{self, Timeouts},
};
use serde_json::{Value, json};
use support::{PATIENCE, Running, SELECTOR, Wire, todo_apps};
use tokio::sync::{Mutex, MutexGuard};

const V1: &str = "app-version: todo-app@1.0.0\r\n";
const V2: &str = "app-version: todo-app@2.0.0\r\n";
/// One at a time: it takes all the longer to run jobs of several tests at once.
static TURN: Mutex<()> = Mutex::const_new(());
/// How often a feed is awaited: a database of jobs that is new to CouchDB is noticed after a minute or so.
const TIMES: u32 = 10;

/// A CouchDB, the proxy before it, and another server: the same CouchDB at an address that no job of ours knows to be here.
struct Couch {
    client: Wire,
    proxy: Running,
    phone: Running,
    authorization: String,
    name: String,
    databases: Vec<String>,
    _turn: MutexGuard<'static, ()>,
}

impl Couch {
    /// With the source `s`, and an empty database `t`.
    async fn with(name: &str) -> Option<Self> {
        let Ok(url) = std::env::var("COUCHDB_URL") else {
            #[allow(clippy::print_stderr, reason = "who runs the tests should know")]
            {
                eprintln!("skipped: COUCHDB_URL names no CouchDB");
            }
            return None;
        };
        let turn = TURN.lock().await;
        let upstream = upstream::http(&url, Timeouts::default()).unwrap();
        let authorization = format!(
            "authorization: {}\r\n",
            upstream.account.clone().unwrap().to_str().unwrap()
        );
        let settings = Settings {
            databases: Databases::new(["rpl_*"]).unwrap(),
            apps: todo_apps(),
            ..Settings::default()
        };
        let phone = Running::start(Settings::default(), upstream.clone()).await;
        let proxy = Running::start(settings, upstream).await;
        let mut couch = Self {
            client: proxy.connect().await,
            proxy,
            phone,
            authorization,
            name: format!("rpl_{name}_{}", std::process::id()),
            databases: Vec::new(),
            _turn: turn,
        };
        couch.make("s").await;
        couch.make("t").await;
        couch
            .write("s", &["todo-item:a:v:1", "todo-item:a:v:2", "plain", "todo-item:b:v:2"])
            .await;
        Some(couch)
    }

    /// `db` is short for one of this test; the host is as the client calls the proxy.
    async fn ask(&mut self, method: &str, path: &str, headers: &str, body: &str) -> (u16, Value) {
        let host = format!("x-forwarded-host: {}\r\n", self.proxy.address);
        let path = path.replacen('~', &self.name, 1);
        let headers = format!("{host}{}{headers}", self.authorization);
        self.client.ask_with(method, &path, &headers, body).await;
        let (head, body) = self.client.message().await;
        (head.status(), serde_json::from_str(&body).unwrap_or(Value::Null))
    }

    async fn make(&mut self, db: &str) {
        let (status, said) = self.ask("PUT", &format!("/~_{db}?q=1"), "", "").await;
        assert_eq!(status, 201, "{said}");
        // Anybody's, so that jobs need no password, with which the replicator logs in first.
        let (status, said) = self
            .ask("PUT", &format!("/~_{db}/_security"), "", r#"{"members":{}}"#)
            .await;
        assert_eq!(status, 200, "{said}");
        if !self.databases.iter().any(|made| made == db) {
            self.databases.push(db.to_owned());
        }
    }

    async fn write(&mut self, db: &str, ids: &[&str]) {
        let docs: Vec<Value> = ids.iter().map(|id| json!({ "_id": id, "n": 1 })).collect();
        let (status, said) = self
            .ask(
                "POST",
                &format!("/~_{db}/_bulk_docs"),
                "",
                &json!({ "docs": docs }).to_string(),
            )
            .await;
        assert_eq!(status, 201, "{said}");
    }

    /// What is in a database, design documents and all.
    async fn ids(&mut self, db: &str) -> Vec<String> {
        let (_, all) = self.ask("GET", &format!("/~_{db}/_all_docs"), "", "").await;
        all["rows"]
            .as_array()
            .unwrap()
            .iter()
            .map(|row| row["id"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until a document is in a database.
    async fn arrived(&mut self, db: &str, id: &str) {
        let timeout = PATIENCE.as_millis() / 2;
        for _ in 0..TIMES {
            let (_, info) = self.ask("GET", &format!("/~_{db}"), "", "").await;
            if self.ids(db).await.iter().any(|there| there == id) {
                return;
            }
            let since = info["update_seq"].as_str().unwrap();
            let feed = format!("/~_{db}/_changes?feed=longpoll&timeout={timeout}&since={since}");
            self.ask("GET", &feed, "", "").await;
        }
        panic!("{id} never arrived in {db}");
    }

    /// Of the database, at CouchDB itself.
    fn url(&self, db: &str) -> String {
        let (url, name) = (std::env::var("COUCHDB_URL").unwrap(), &self.name);
        let address = url.trim_end_matches('/').rsplit(['@', '/']).next().unwrap();
        format!("http://{address}/{name}_{db}")
    }

    /// At one of the proxies.
    fn at(&self, proxy: &Running, db: &str) -> String {
        format!("http://{}/{}_{db}", proxy.address, self.name)
    }

    fn bare(&self, db: &str) -> String {
        format!("{}_{db}", self.name)
    }

    async fn replicate(&mut self, headers: &str, job: &Value) -> (u16, Value) {
        loop {
            let answer = self.ask("POST", "/_replicate", headers, &job.to_string()).await;
            // Busy, CouchDB closes connections to itself that its replicator still counts on, and gives the job up.
            if !answer.1["reason"]
                .as_str()
                .is_some_and(|reason| reason.contains("sel_conn_closed"))
            {
                return answer;
            }
        }
    }

    async fn emptied(&mut self, db: &str) {
        self.ask("DELETE", &format!("/~_{db}"), "", "").await;
        self.make(db).await;
    }

    /// Replicates into an empty target and answers what has come there.
    async fn pulled(&mut self, headers: &str, mut job: Value) -> Vec<String> {
        self.emptied("t").await;
        job["target"] = json!(self.url("t"));
        let (status, said) = self.replicate(headers, &job).await;
        assert_eq!(status, 200, "{job}: {said}");
        self.ids("t").await
    }

    async fn gone(mut self) {
        for db in std::mem::take(&mut self.databases) {
            assert_eq!(self.ask("DELETE", &format!("/~_{db}"), "", "").await.0, 200);
        }
    }
}

#[tokio::test]
async fn a_pull_reads_what_its_version_is_to_see() {
    let Some(mut couch) = Couch::with("pull").await else {
        return;
    };
    let seen = ["plain", "todo-item:a:v:2", "todo-item:b:v:2"];
    let declared = json!({ "url": couch.at(&couch.proxy, "s"), "headers": { "App-Version": "todo-app@2.0.0" } });
    for source in [
        json!(couch.bare("s")),
        json!(couch.url("s")),
        json!(couch.at(&couch.proxy, "s")),
        declared.clone(),
    ] {
        assert_eq!(couch.pulled(V2, json!({ "source": source })).await, seen, "{source}");
    }
    // A job whose source declares the version works as it is, whoever gives it.
    for version in ["todo-app@2.0.0", "todo-app%402.0.0"] {
        let in_path = format!("http://{}/_app/{version}/{}", couch.proxy.address, couch.bare("s"));
        assert_eq!(couch.pulled("", json!({ "source": in_path })).await, seen, "{version}");
    }
    assert_eq!(couch.pulled("", json!({ "source": declared })).await, seen);
    assert_eq!(couch.pulled(V1, json!({ "source": declared })).await, seen);
    let source = json!(couch.url("s"));
    for headers in ["", V1] {
        assert_eq!(couch.pulled(headers, json!({ "source": source })).await.len(), 4);
    }

    // Their own filters stay in force, also where the proxy combines them.
    let some = json!({ "_id": { "$regex": ":a:" } });
    for source in [source.clone(), declared] {
        let job = json!({ "source": source, "selector": some });
        assert_eq!(couch.pulled(V2, job).await, ["todo-item:a:v:2"], "{source}");
    }
    assert_eq!(
        couch.pulled(V2, json!({ "source": source, "selector": {} })).await,
        seen
    );
    let job = json!({ "source": source, "doc_ids": ["todo-item:a:v:1", "plain", "todo-item%3Ab%3Av:2"] });
    assert_eq!(couch.pulled(V2, job).await, ["plain", "todo-item:b:v:2"]);
    let none = json!({ "source": source, "doc_ids": ["todo-item:a:v:1"] });
    assert!(couch.pulled(V2, none).await.is_empty());
    couch.gone().await;
}

#[tokio::test]
async fn a_push_loses_nothing() {
    let Some(mut couch) = Couch::with("push").await else {
        return;
    };
    let phone = couch.at(&couch.phone, "s");
    for target in [couch.bare("t"), couch.url("t"), couch.at(&couch.proxy, "t")] {
        couch.emptied("t").await;
        let (status, said) = couch.replicate(V2, &json!({ "source": phone, "target": target })).await;
        assert_eq!(status, 200, "{said}");
        assert_eq!(couch.ids("t").await.len(), 4, "{target}");
    }
    // From one phone to another: nobody can tell.
    let (status, said) = couch
        .replicate(V2, &json!({ "source": phone, "target": couch.at(&couch.phone, "t") }))
        .await;
    assert_eq!((status, said["error"].as_str()), (400, Some("bad_request")));
    couch.gone().await;
}

#[tokio::test]
async fn a_continuous_job_is_cancelled_as_it_was_started() {
    let Some(mut couch) = Couch::with("cancel").await else {
        return;
    };
    let job = json!({ "source": couch.bare("s"), "target": couch.url("t"), "continuous": true });
    let mut cancel = job.clone();
    cancel["cancel"] = json!(true);
    let (status, started) = couch.replicate(V2, &job).await;
    assert_eq!(status, 202, "{started}");
    couch.arrived("t", "plain").await;
    couch.write("s", &["todo-item:c:v:1", "todo-item:c:v:2"]).await;
    couch.arrived("t", "todo-item:c:v:2").await;
    assert!(!couch.ids("t").await.iter().any(|id| id.ends_with("v:1")));
    // It is another job to who sees everything.
    assert_eq!(couch.replicate(V1, &cancel).await.0, 404);
    let (status, cancelled) = couch.replicate(V2, &cancel).await;
    assert_eq!((status, &cancelled["_local_id"]), (200, &started["_local_id"]));

    assert_eq!(couch.replicate(V2, &job).await.0, 202);
    let by_id = json!({ "cancel": true, "_local_id": started["_local_id"] });
    assert_eq!(couch.replicate(V2, &by_id).await.0, 200);
    assert_eq!(couch.replicate(V2, &by_id).await.0, 404);
    couch.gone().await;
}

#[tokio::test]
async fn stored_jobs_are_restricted_and_run() {
    let Some(mut couch) = Couch::with("stored").await else {
        return;
    };
    let jobs = "x%2F_replicator";
    for db in ["u", "v", jobs] {
        couch.make(db).await;
    }
    let selector: Value = serde_json::from_str(SELECTOR).unwrap();
    let source = couch.url("s");
    let job = json!({ "source": source, "target": couch.url("t"), "continuous": true });
    let path = format!("/~_{jobs}/pull");
    let (status, said) = couch.ask("PUT", &path, V2, &job.to_string()).await;
    assert_eq!(status, 201, "{said}");
    let theirs = json!({ "_id": { "$regex": ":a:" } });
    let many = json!({ "docs": [
        { "_id": "u", "source": source, "target": couch.url("u"), "selector": theirs },
        { "_id": "v", "source": couch.at(&couch.phone, "s"), "target": couch.url("v") },
    ]});
    let (status, said) = couch
        .ask("POST", &format!("/~_{jobs}/_bulk_docs"), V2, &many.to_string())
        .await;
    assert_eq!(status, 201, "{said}");

    couch.arrived("t", "plain").await;
    couch.arrived("u", "todo-item:a:v:2").await;
    couch.arrived("v", "todo-item:a:v:1").await;
    couch.write("s", &["todo-item:c:v:1", "todo-item:c:v:2"]).await;
    couch.arrived("t", "todo-item:c:v:2").await;
    assert!(!couch.ids("t").await.iter().any(|id| id.ends_with("v:1")));
    assert_eq!(couch.ids("u").await, ["todo-item:a:v:2"]);

    let (_, mut stored) = couch.ask("GET", &path, V2, "").await;
    assert_eq!(stored["selector"], selector);
    // As CouchDB rewrites its text, so it is known again when it is written back.
    stored["x"] = json!(1);
    let (status, said) = couch.ask("PUT", &path, V2, &stored.to_string()).await;
    assert_eq!(status, 201, "{said}");
    let (_, stored) = couch.ask("GET", &path, V2, "").await;
    assert_eq!(stored["selector"], selector);
    let (_, u) = couch.ask("GET", &format!("/~_{jobs}/u"), V2, "").await;
    assert_eq!(u["selector"], json!({ "$and": [selector, theirs] }));
    let (_, v) = couch.ask("GET", &format!("/~_{jobs}/v"), V2, "").await;
    assert!(v.get("selector").is_none());
    couch.gone().await;
}

#[tokio::test]
async fn what_is_left_to_couchdb_it_refuses() {
    let Some(mut couch) = Couch::with("words").await else {
        return;
    };
    let jobs = "x%2F_replicator";
    couch.make(jobs).await;
    let (source, target) = (couch.url("s"), couch.url("t"));
    let both = json!({ "source": source, "target": target });
    let with = |name: &str, value: Value| {
        let mut job = both.clone();
        job[name] = value;
        job.to_string()
    };
    let exclusive = json!({ "source": source, "target": target, "selector": {}, "doc_ids": ["plain"] }).to_string();
    for body in [
        with("selector", json!(null)),
        with("selector", json!([])),
        with("selector", json!({ "$no": 1 })),
        with("doc_ids", json!("plain")),
        with("continuous", json!(1)),
        exclusive,
        "[1]".to_owned(),
        "{".to_owned(),
        String::new(),
    ] {
        for (method, path) in [("POST", "/_replicate"), ("PUT", "/~_x%2F_replicator/a")] {
            let plain = couch.ask(method, path, "", &body).await;
            let ours = couch.ask(method, path, V2, &body).await;
            assert!(plain.0 >= 400, "{path} {body}: {plain:?}");
            assert_eq!(
                (ours.0, &ours.1["error"], &ours.1["reason"]),
                (plain.0, &plain.1["error"], &plain.1["reason"]),
                "{path} {body}"
            );
        }
    }
    couch.gone().await;
}
