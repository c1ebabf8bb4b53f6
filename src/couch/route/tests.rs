//! The spellings of the transcripts, and all others.

use proptest::prelude::*;

use super::*;

fn get(path: &str) -> Route {
    Route::parse(&Method::GET, path)
}

fn document(db: &str, id: &str) -> Route {
    Route::Document {
        db: db.into(),
        id: id.into(),
    }
}

#[test]
fn spellings_from_the_transcripts() {
    let a = document("tr_root", "a");
    for path in [
        "/tr_root/a",
        "//tr_root/a",
        "/%74r_root/a",
        "/tr_root//a/",
        "/tr_root/%61",
    ] {
        assert_eq!(get(path), a, "{path}");
    }
    assert_eq!(get("/tr_root/%5Fall_docs"), Route::AllDocs { db: "tr_root".into() });
    assert_eq!(get("/tr_root/_bulk_docs/"), Route::BulkDocs { db: "tr_root".into() });
    assert_eq!(
        get("/tr_root/_local%2Fx"),
        Route::Local {
            db: "tr_root".into(),
            id: "_local/x".into()
        }
    );
    assert_eq!(
        get("/tr_root/_local/x"),
        Route::Local {
            db: "tr_root".into(),
            id: "_local/x".into()
        }
    );
    assert_eq!(get("/tr_docs/un+enc"), document("tr_docs", "un enc"));
    assert_eq!(get("/tr_docs/un%2Benc"), document("tr_docs", "un+enc"));
    assert_eq!(get("/tr_docs/with%2Fslash"), document("tr_docs", "with/slash"));
    assert_eq!(
        get("/tr_docs/with/slash"),
        Route::Attachment {
            db: "tr_docs".into(),
            id: "with".into()
        }
    );
    assert_eq!(get("/a%2Fb/x"), document("a/b", "x"));
    // CouchDB resolves no dots: this is the attachment `tr_root/a` of the document `..`.
    assert_eq!(
        get("/tr_root/../tr_root/a"),
        Route::Attachment {
            db: "tr_root".into(),
            id: "..".into()
        }
    );
}

#[test]
fn changes_ignores_the_rest_of_its_path() {
    for path in [
        "/d/_changes",
        "/d/_changes/",
        "/d/_changes/foo/bar",
        "/d/%5fchanges",
        "//d//_chan%67es",
    ] {
        assert_eq!(get(path), Route::Changes { db: "d".into() }, "{path}");
    }
    assert_eq!(get("/d/_changes%2F"), Route::Other { db: "d".into() });
}

#[test]
fn design_documents_and_their_functions() {
    let db = || "d".to_owned();
    for path in ["/d/_design/x", "/d/_design%2Fx", "/d/%5Fdesign%2fx/"] {
        assert_eq!(
            get(path),
            Route::DesignDocument {
                db: db(),
                id: "_design/x".into()
            },
            "{path}"
        );
    }
    let update = |id: Option<&str>| Route::UpdateHandler {
        db: db(),
        id: id.map(Into::into),
    };
    assert_eq!(get("/d/_design/x/_update/f"), update(None));
    assert_eq!(get("/d/_design/x/_update/f/id"), update(Some("id")));
    assert_eq!(get("/d/_design/x/_update/f/a%2Fb/c"), update(Some("a/b/c")));
    assert_eq!(get("/d/_partition/p/_design/x/_update/f/id"), update(Some("id")));
    assert_eq!(get("/d/_design/x/_update"), Route::Other { db: db() });
    let (design, view) = ("_design/x".to_owned(), "v".to_owned());
    assert_eq!(
        get("/d/_partition/p/_design/x/_view/v/queries"),
        Route::ViewQueries {
            db: db(),
            design: design.clone(),
            view: view.clone()
        }
    );
    assert_eq!(get("/d/_design/x/_view/v"), Route::View { db: db(), design, view });
    assert_eq!(get("/d/_design/x/_view"), Route::Other { db: db() });
    assert_eq!(
        get("/d/_design/x/logo.png"),
        Route::Attachment {
            db: db(),
            id: "_design/x".into()
        }
    );
}

#[test]
fn what_lies_outside_databases() {
    for path in ["/_all_dbs", "/%5Fsession", "/_up/", "/_replicate/x"] {
        assert_eq!(get(path), Route::Server, "{path}");
    }
    for path in ["/", "", "//"] {
        assert_eq!(get(path), Route::Root, "{path}");
    }
    assert_eq!(get("/_replicate/"), Route::Replicate);
    assert_eq!(get("*"), Route::Database { db: "*".into() });
    assert_eq!(
        get("/_users/org.couchdb.user:a"),
        document("_users", "org.couchdb.user:a")
    );
    assert_eq!(
        Route::parse(&Method::POST, "/d/"),
        Route::PostDocument { db: "d".into() }
    );
    assert_eq!(get("/d/_local"), Route::Other { db: "d".into() });
    for path in [
        "/d/_bulk_docs/x",
        "/d/_find/x",
        "/d/_all_docs/x",
        "/d/_local_docs/x",
        "/d/_partition/p",
    ] {
        assert_eq!(get(path), Route::Other { db: "d".into() }, "{path}");
    }
    for path in ["/d/_local_docs", "/d/%5flocal_docs/queries/"] {
        assert_eq!(get(path), Route::LocalDocs { db: "d".into() }, "{path}");
    }
    for path in ["/d/_find", "/d/_partition/p/_find/"] {
        assert_eq!(get(path), Route::Find { db: "d".into() }, "{path}");
    }
}

#[test]
fn only_a_post_is_overridden() {
    let effective = |method: Method, values: &str| {
        let headers = values
            .split('|')
            .map(|value| (METHOD_OVERRIDE.parse().unwrap(), value.parse().unwrap()));
        effective_method(&method, &headers.collect())
    };
    assert_eq!(effective(Method::POST, "PUT"), Method::PUT);
    assert_eq!(effective(Method::POST, "GET; x"), Method::GET);
    assert_eq!(effective(Method::POST, "HEAD"), Method::GET);
    assert_eq!(effective(Method::POST, "put"), Method::POST);
    assert_eq!(effective(Method::GET, "PUT"), Method::GET);
    assert_eq!(effective(Method::POST, "GET|GET"), Method::POST);
}

#[test]
fn a_query_is_split_at_semicolons_too() {
    let pairs: Vec<_> = query_pairs("limit=1;filter=_design&a+b=%2Bc&d").collect();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| (key.as_ref(), value.as_ref()))
        .collect();
    assert_eq!(pairs, [("limit", "1"), ("filter", "_design"), ("a b", "+c"), ("d", "")]);
}

/// A segment in one of the ways a client may spell it.
fn spelling(segment: String) -> impl Strategy<Value = String> {
    prop::collection::vec((any::<bool>(), any::<bool>(), 1..3usize), segment.len()).prop_map(move |choices| {
        let mut spelt = String::new();
        for (byte, (escape, upper, _)) in segment.bytes().zip(&choices) {
            match byte {
                b' ' if !escape => spelt.push('+'),
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b':' if !escape => {
                    spelt.push(byte.into())
                }
                _ if *upper => spelt.push_str(&format!("%{byte:02X}")),
                _ => spelt.push_str(&format!("%{byte:02x}")),
            }
        }
        spelt + &"/".repeat(choices.first().map_or(1, |choice| choice.2))
    })
}

fn segments() -> impl Strategy<Value = Vec<String>> {
    let word = prop_oneof![
        Just("_changes".to_owned()),
        Just("_bulk_docs".to_owned()),
        Just("_design".to_owned()),
        Just("_local".to_owned()),
        Just("_update".to_owned()),
        Just("_partition".to_owned()),
        Just("_design/x".to_owned()),
        "[a-z]{1,4}",
        "\\PC{1,4}",
    ];
    ("[a-z][a-z0-9_/]{0,5}", prop::collection::vec(word, 0..5)).prop_map(|(db, rest)| {
        let mut segments = vec![db];
        segments.extend(rest);
        segments
    })
}

proptest! {
    #[test]
    fn every_spelling_reaches_the_same_route(
        (one, other) in segments().prop_flat_map(|segments| {
            let spell = || segments.iter().cloned().map(spelling).collect::<Vec<_>>();
            (spell(), spell())
        }),
        lead in 1..4usize,
    ) {
        let plain = format!("/{}", one.concat());
        let odd = format!("{}{}", "/".repeat(lead), other.concat());
        prop_assert_eq!(get(&plain), get(&odd));
    }
}
