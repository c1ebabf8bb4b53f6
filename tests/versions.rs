//! How a version is declared, and what it is told of its end.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use chesterfield::{
    proxy::{Changes, Databases, Retirement, Settings, Undeclared},
    schema::{AppManifest, Apps, Manifest},
};
use http::StatusCode;
use serde_json::{Value, json};
use support::{Head, Running, Scripted, Wire, settings, todo_apps};

const V1: &str = "app-version: todo-app@1.0.0\r\n";
const V2: &str = "app-version: todo-app@2.0.0\r\n";

/// A proxy, a client, and what stands upstream.
struct World {
    upstream: Scripted,
    proxy: Running,
}

impl World {
    async fn with(settings: Settings) -> Self {
        let upstream = Scripted::listen().await;
        // Whether a filter is in force shows in what goes upstream.
        let changes = Changes::Selector;
        let proxy = Running::with(Settings { changes, ..settings }, &upstream.url()).await;
        Self { upstream, proxy }
    }

    /// What reaches the upstream, and the answer to it, given these of its headers.
    async fn passes(&self, method: &str, target: &str, headers: &str, answer: &str) -> (Head, Head) {
        let mut client = self.proxy.connect().await;
        client.ask(method, target, headers).await;
        let mut couch = self.upstream.accept().await;
        let (asked, _) = couch.message().await;
        couch.answer("200 OK", answer, "{}").await;
        (asked, client.message().await.0)
    }

    /// The answer of the proxy itself.
    async fn refused(&self, method: &str, target: &str, headers: &str) -> (Head, Value) {
        let mut client: Wire = self.proxy.connect().await;
        client.ask(method, target, headers).await;
        let (head, body) = client.message().await;
        (head, serde_json::from_str(&body).unwrap())
    }
}

/// The todo app, with another life for its first version.
fn ending(change: impl Fn(&mut Manifest), retirement: Retirement) -> Settings {
    let apps = todo_apps();
    let changed = apps.iter().map(|app| {
        let mut app = AppManifest::clone(app);
        if app.manifest.version.major == 1 {
            change(&mut app.manifest);
        }
        app
    });
    Settings {
        apps: Apps::new(changed).unwrap(),
        retirement,
        ..settings()
    }
}

#[tokio::test]
async fn a_path_declares_what_a_header_declares() {
    let world = World::with(settings()).await;
    for (target, upstream) in [
        (
            "/_app/todo-app@2.0.0/todo/_changes?since=1",
            "POST /todo/_changes?since=1&filter=_selector HTTP/1.1",
        ),
        (
            "//%5fapp/todo-app%402.7.1//todo/_changes",
            "POST //todo/_changes?filter=_selector HTTP/1.1",
        ),
        ("/_app/todo-app@1.0.0/todo/_changes", "GET /todo/_changes HTTP/1.1"),
        (
            "/_app/todo-app@2.0.0/todo/a%2Fb?rev=1-a",
            "GET /todo/a%2Fb?rev=1-a HTTP/1.1",
        ),
        ("/_app/todo-app@2.0.0", "GET / HTTP/1.1"),
        ("/_app/todo-app@2.0.0/", "GET / HTTP/1.1"),
        ("/_app/todo-app@2.0.0/_session", "GET /_session HTTP/1.1"),
        ("/_app/2.0.0/other/doc", "GET /other/doc HTTP/1.1"),
    ] {
        let (asked, _) = world.passes("GET", target, "", "").await;
        assert_eq!(asked.line, upstream, "{target}");
    }
    // Said twice is no contradiction.
    let (asked, _) = world.passes("GET", "/_app/todo-app@2.0.1/todo/_changes", V2, "").await;
    assert!(asked.line.starts_with("POST") && asked.get("app-version").is_none());
}

#[tokio::test]
async fn a_path_that_declares_nothing_sound_is_refused() {
    let world = World::with(settings()).await;
    for (target, headers, reason) in [
        (
            "/_app",
            "",
            "/_app has to be followed by an app version, as in /_app/todo-app@2.0.0/db",
        ),
        (
            "/_app/todo-app/todo",
            "",
            "/_app/: `todo-app` is no app version; known are: todo-app@1.0.0, todo-app@2.0.0",
        ),
        (
            "/_app/blog@1.0.0/_session",
            "",
            "/_app/: there is no app `blog`; known are: todo-app@1.0.0, todo-app@2.0.0",
        ),
        (
            "/_app/todo-app@1.0.0/todo/doc",
            V2,
            "the path declares todo-app@1.0.0, the header todo-app@2.0.0: declare one of them",
        ),
    ] {
        let (head, said) = world.refused("GET", target, headers).await;
        assert_eq!(
            (head.status(), said),
            (400, json!({ "error": "bad_request", "reason": reason })),
            "{target}"
        );
    }
}

#[tokio::test]
async fn an_answer_leads_back_to_the_path_it_was_asked_by() {
    let world = World::with(settings()).await;
    let answer = "location: http://todo.example/todo/doc\r\n\
                  set-cookie: AuthSession=x; Version=1; Path=/; HttpOnly\r\nset-cookie: a=b; Path=/todo\r\n";
    let (asked, told) = world.passes("GET", "/_app/todo-app@2.0.0/todo/doc", "", answer).await;
    assert_eq!(asked.get("x-forwarded-host"), Some("todo.example"));
    assert_eq!(
        told.get("location"),
        Some("http://todo.example/_app/todo-app@2.0.0/todo/doc")
    );
    assert_eq!(
        told.all("set-cookie"),
        [
            "AuthSession=x; Version=1; Path=/; HttpOnly",
            "a=b; Path=/_app/todo-app@2.0.0/todo"
        ]
    );
    let (_, told) = world.passes("GET", "/todo/doc", V2, answer).await;
    assert_eq!(told.get("location"), Some("http://todo.example/todo/doc"));
}

#[tokio::test]
async fn each_database_may_have_a_version_of_its_own_for_those_who_declare_none() {
    let rule = |pattern: &str, undeclared| (Databases::new([pattern]).unwrap(), undeclared);
    let world = World::with(Settings {
        databases: Databases::new(["*"]).unwrap(),
        undeclared_in: vec![
            rule("old-*", Undeclared::Default("todo-app@1.0.0".parse().unwrap())),
            rule("*-2", Undeclared::Default("todo-app@2.0.0".parse().unwrap())),
            rule("strict", Undeclared::Reject),
        ],
        ..settings()
    })
    .await;
    for (db, headers, method) in [
        // The first that fits counts.
        ("old-2", "", "GET"),
        ("new-2", "", "POST"),
        ("other", "", "GET"),
        // What is declared counts more.
        ("old-2", V2, "POST"),
        ("new-2", V1, "GET"),
        ("strict", V2, "POST"),
    ] {
        let (asked, _) = world.passes("GET", &format!("/{db}/_changes"), headers, "").await;
        assert!(asked.line.starts_with(method), "{db} {headers}: {}", asked.line);
    }
    assert_eq!(world.refused("GET", "/strict/doc", "").await.0.status(), 400);
}

#[tokio::test]
async fn answers_that_depend_on_the_version_say_so() {
    let world = World::with(settings()).await;
    for (target, varies) in [
        ("/", true),
        ("/todo/_changes", true),
        ("/todo/_local/x", true),
        ("/todo/doc", false),
        ("/todo", false),
        ("/other/_changes", false),
        ("/_session", false),
    ] {
        for headers in ["", V1] {
            let (_, told) = world.passes("GET", target, headers, "").await;
            assert_eq!(told.get("vary"), varies.then_some("app-version"), "{target} {headers}");
        }
    }
    let (_, told) = world
        .passes("GET", "/todo/_changes", V2, "vary: accept-encoding\r\n")
        .await;
    assert_eq!(told.get("vary"), Some("accept-encoding, app-version"));
}

#[tokio::test]
async fn a_version_is_told_that_it_ends() {
    let life = |manifest: &mut Manifest| {
        manifest.deprecated = Some("2026-01-01".parse().unwrap());
        manifest.sunset = Some("2999-12-31T23:59:59Z".parse().unwrap());
        manifest.link = Some("https://todo.example/update".to_owned());
    };
    let world = World::with(ending(life, Retirement::default())).await;
    for target in ["/todo/doc", "/todo/_changes", "/", "/_app/1.0.0/todo"] {
        let headers = if target.starts_with("/_app") { "" } else { V1 };
        let (_, told) = world
            .passes("GET", target, headers, "link: <x>; rel=\"next\"\r\n")
            .await;
        assert_eq!(told.get("deprecation"), Some("@1767225600"), "{target}");
        assert_eq!(told.get("sunset"), Some("Tue, 31 Dec 2999 23:59:59 GMT"));
        assert_eq!(
            told.all("link"),
            [
                "<x>; rel=\"next\"",
                "<https://todo.example/update>; rel=\"deprecation\"",
                "<https://todo.example/update>; rel=\"sunset\"",
            ]
        );
        assert_eq!(told.get("vary"), Some("app-version"));
    }
    for (target, headers) in [
        ("/todo/doc", V2),
        ("/todo/doc", ""),
        ("/other/doc", V1),
        ("/_session", V1),
    ] {
        let (_, told) = world.passes("GET", target, headers, "").await;
        assert_eq!(
            (told.get("deprecation"), told.get("sunset")),
            (None, None),
            "{target} {headers}"
        );
    }
}

#[tokio::test]
async fn a_retired_version_is_told_to_update() {
    let sunset = |manifest: &mut Manifest| manifest.sunset = Some("2020-02-29".parse().unwrap());
    let world = World::with(ending(sunset, Retirement::default())).await;
    for (method, target) in [
        ("GET", "/todo/_changes"),
        ("GET", "/todo/doc"),
        ("GET", "/todo"),
        ("GET", "/"),
        ("PUT", "/todo/doc"),
        ("POST", "/todo/_bulk_docs"),
        ("GET", "/_app/todo-app@1.9.0/todo"),
    ] {
        let headers = if target.starts_with("/_app") { "" } else { V1 };
        let (head, said) = world.refused(method, target, headers).await;
        assert_eq!(head.status(), 426, "{target}");
        assert_eq!(
            said,
            json!({
                "error": "app_version_retired",
                "reason": "todo-app@1.0.0 was retired on 2020-02-29: please update to version 2.0.0 or newer",
                "minimum": "2.0.0",
            })
        );
        assert_eq!(head.get("sunset"), Some("Sat, 29 Feb 2020 00:00:00 GMT"));
    }
    // Others are served, and so is what needs no version.
    for (target, headers) in [("/todo/doc", V2), ("/todo/doc", ""), ("/_session", V1)] {
        world.passes("GET", target, headers, "").await;
    }
}

#[tokio::test]
async fn what_a_retired_version_pushes_may_be_taken() {
    let retired = |manifest: &mut Manifest| {
        manifest.retired = true;
        manifest.link = Some("https://todo.example/update".to_owned());
    };
    let retirement = Retirement {
        status: StatusCode::GONE,
        accepts_writes: true,
    };
    let world = World::with(ending(retired, retirement)).await;
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/todo"),
        ("GET", "/todo/_local/x"),
        ("PUT", "/todo/_local/x"),
        ("POST", "/todo/_revs_diff"),
        ("POST", "/todo/_bulk_docs"),
        ("PUT", "/todo/doc"),
        ("PUT", "/todo/doc/file"),
        ("POST", "/todo/_ensure_full_commit"),
    ] {
        let (asked, _) = world.passes(method, target, V1, "").await;
        assert_eq!(asked.line, format!("{method} {target} HTTP/1.1"));
    }
    for (method, target) in [
        ("GET", "/todo/_changes"),
        ("GET", "/todo/doc"),
        ("POST", "/todo/_bulk_get"),
        ("POST", "/todo/_find"),
        ("GET", "/todo/_all_docs"),
        ("PUT", "/todo"),
        ("DELETE", "/todo"),
        ("POST", "/_replicate"),
        ("PUT", "/_replicator/a"),
    ] {
        let (head, said) = world.refused(method, target, V1).await;
        assert_eq!(head.all("link"), ["<https://todo.example/update>; rel=\"sunset\""]);
        assert_eq!(
            (head.status(), said["minimum"].as_str()),
            (410, Some("2.0.0")),
            "{method} {target}"
        );
    }
}
