//! What becomes of a job, for every kind of source.
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    proxy::{Databases, Undeclared},
    schema::{Apps, Class, ClassName, IdPattern, Registry, Scope, pattern::DEFAULT},
};

/// Version 1 sees everything, every later one nothing older than itself.
fn settings() -> Settings {
    let class = |major: u64| {
        let name: ClassName = format!("todo@{major}").parse().unwrap();
        let pattern = IdPattern::new(DEFAULT, &name).unwrap();
        Class::new(name, semver::Version::new(major, 0, 0), pattern)
    };
    let registry = Arc::new(Registry::new((1..=3).map(class).collect(), vec![]).unwrap());
    let app = |major: u64| {
        let manifest = json!({ "name": "app", "version": format!("{major}.0.0"), "dependencies": { "todo": format!("^{major}") } });
        AppManifest::new(&registry, serde_json::from_value(manifest).unwrap(), Scope::All)
    };
    Settings {
        databases: Databases::new(["todos", "user/*"]).unwrap(),
        apps: Apps::new((1..=3).map(app)).unwrap(),
        ..Settings::default()
    }
}

fn app(settings: &Settings, version: u64) -> Arc<AppManifest> {
    settings.apps.resolve(&format!("app@{version}.0.0")).unwrap().clone()
}

fn ours(version: u64) -> String {
    app(&settings(), version)
        .replicates
        .as_ref()
        .unwrap()
        .selector()
        .to_string()
}

/// The job as it goes on; none if it stays.
fn restricted(settings: &Settings, version: u64, job: &str) -> Result<Option<String>, Refusal> {
    restricted_for(settings, Some(&app(settings, version)), job)
}

fn restricted_for(settings: &Settings, app: Option<&Arc<AppManifest>>, job: &str) -> Result<Option<String>, Refusal> {
    let fallback = Fallback::new(settings, &settings.undeclared).unwrap();
    let giver = Giver {
        settings,
        fallback: &|_| &fallback,
        app,
        here: Here::new(Some("http://couch:5984"), Some("proxy.example")),
    };
    let mut members: Job = serde_json::from_str(job).unwrap();
    let changed = giver.restrict(&mut members)?;
    let text = serde_json::to_string(&members).unwrap();
    assert!(changed || text == job, "{job} -> {text}");
    Ok(changed.then_some(text))
}

fn given(version: u64, job: &str) -> Result<Option<String>, Refusal> {
    restricted(&settings(), version, job)
}

#[test]
fn a_source_here_is_read_through_the_selector() {
    for source in [
        r#""todos""#,
        r#""user/1""#,
        r#""http://n:p@couch:5984/todos""#,
        r#""http://localhost:5984/user%2F1/""#,
        r#"{"url":"http://couch:5984/todos","auth":{}}"#,
        r#"{"headers":{"X":"y"},"url":"todos"}"#,
        r#""https://proxy.example/todos""#,
    ] {
        let job = format!(r#"{{"_id":"a","source":{source},"n":1.0,"target":"http://phone/todos"}}"#);
        let expected = format!(r#"{},"selector":{}}}"#, job.trim_end_matches('}'), ours(2));
        assert_eq!(given(2, &job).unwrap(), Some(expected), "{source}");
        // It sees everything.
        assert_eq!(given(1, &job).unwrap(), None, "{source}");
    }
}

#[test]
fn other_sources_are_left_alone() {
    for job in [
        // No database in versions.
        r#"{"source":"other","target":"http://phone/x","filter":"a/b"}"#,
        r#"{"source":"http://phone/other","target":"http://phone/x"}"#,
        // A push must not lose what older versions wrote.
        r#"{"source":"http://phone/todos","target":"todos","filter":"a/b"}"#,
        r#"{"source":"http://phone/todos","target":"http://couch:5984/todos"}"#,
        r#"{"source":"http://localhost:3000/todos","target":{"url":"http://proxy.example/todos"}}"#,
        // A proxy filters by itself.
        r#"{"source":{"url":"http://proxy.example/todos","headers":{"app-version":"app@3.0.0"}},"target":"http://phone/x","filter":"a/b"}"#,
        r#"{"source":{"url":"http://proxy-2/todos","headers":{"App-Version":"x"}},"target":"http://phone/x"}"#,
        r#"{"source":"http://proxy-2/_app/app@2.0.0/todos","target":"http://phone/x"}"#,
        // CouchDB refuses these.
        r#"{"target":"todos"}"#,
        r#"{"source":null}"#,
        r#"{"source":"todos","target":"x","selector":null}"#,
        r#"{"source":"todos","target":"x","selector":[]}"#,
        r#"{"source":"todos","target":"x","selector":{},"doc_ids":[]}"#,
        r#"{"source":"todos","target":"x","doc_ids":"todo:a:v:1"}"#,
    ] {
        assert_eq!(given(2, job).unwrap(), None, "{job}");
    }
}

#[test]
fn both_selectors_are_in_force() {
    for theirs in [r#"{ "n":1e2 }"#, r#"{"$and":[{"a":1},{"b":2}]}"#, r#"{"$and":[]}"#] {
        let job = format!(r#"{{"source":"todos","selector":{theirs},"target":"x","doc_ids":null}}"#);
        let both = format!(r#"{{"$and":[{},{theirs}]}}"#, ours(2));
        let restricted = given(2, &job).unwrap().unwrap();
        assert!(restricted.contains(&both), "{theirs}: {restricted}");
    }
}

#[test]
fn ids_that_are_not_to_be_seen_are_taken_out() {
    let job = |ids: &str| format!(r#"{{"source":"todos","doc_ids":{ids},"target":"x"}}"#);
    for (ids, left) in [
        (
            r#"["todo:a:v:1", "todo:a:v:2","\u0078"]"#,
            Some(r#"["todo:a:v:2","\u0078"]"#),
        ),
        (
            r#"["todo%3Aa%3Av%3A1","todo%3Aa%3Av%3A2"]"#,
            Some(r#"["todo%3Aa%3Av%3A2"]"#),
        ),
        // None, not all: CouchDB replicates nothing then.
        (r#"["todo:a:v:1"]"#, Some("[]")),
        (r#"["x"]"#, None),
        ("[]", None),
    ] {
        assert_eq!(given(2, &job(ids)).unwrap(), left.map(job), "{ids}");
    }
    // CouchDB would take it for the text "todo:…".
    assert_eq!(given(2, &job("[[116,111,100,111]]")), Err(Refusal::DocIds));
}

#[test]
fn what_cannot_be_combined_is_refused() {
    let refusal = |job| given(2, job).unwrap_err().to_string();
    assert_eq!(
        refusal(r#"{"source":"http://couch:5984/todos","target":"x","filter":"app/mine"}"#),
        "filter=app/mine cannot be combined with what app@2.0.0 is to see of todos; use a selector or doc_ids, or this proxy's URL \
         as the source, with app-version in its headers"
    );
    for filter in [r#""_design""#, r#""_view""#, "null", "[97,47,98]"] {
        let job = format!(r#"{{"source":"todos","target":"x","filter":{filter}}}"#);
        assert!(matches!(given(2, &job), Err(Refusal::Filter { .. })), "{filter}");
        assert_eq!(given(1, &job).unwrap(), None);
    }
    let elsewhere = r#"{"source":"http://a/todos","target":"http://b/todos"}"#;
    assert_eq!(
        refusal(elsewhere),
        "neither end of the job is known to be here, so it cannot be told what app@2.0.0 is to see of todos; use this proxy's URL \
         for the end that is here, or set app-version in the source's headers"
    );
    assert_eq!(given(1, elsewhere).unwrap(), None);
}

#[test]
fn a_version_with_the_source_wins() {
    let job = |version: &str| {
        format!(r#"{{"source":{{"url":"todos","headers":{{"App-Version":"{version}"}}}},"target":"x"}}"#)
    };
    assert_eq!(given(2, &job("app@1.0.0")).unwrap(), None);
    assert!(given(1, &job("app@3.0.0")).unwrap().unwrap().contains(&ours(3)));
    let refusal = given(2, &job("app@9.0.0")).unwrap_err().to_string();
    assert!(
        refusal.starts_with("source.headers: app-version: `app` has no major version 9"),
        "{refusal}"
    );
}

#[test]
fn this_proxy_has_to_be_told_who_reads() {
    let job = r#"{"source":"http://proxy.example/todos","target":"http://phone/todos"}"#;
    let with = |undeclared| {
        restricted(
            &Settings {
                undeclared,
                ..settings()
            },
            2,
            job,
        )
    };
    assert!(with(Undeclared::Pass).unwrap().is_some());
    let default = |text: &str| Undeclared::Default(text.parse().unwrap());
    assert_eq!(with(default("app@2.0.0")).unwrap(), None);
    for undeclared in [Undeclared::Reject, default("app@1.0.0"), default("app@3.0.0")] {
        assert!(matches!(with(undeclared), Err(Refusal::Unsaid { .. })));
    }
}

#[test]
fn who_declares_nothing_is_taken_for_what_the_database_of_the_source_says() {
    let settings = |undeclared| Settings {
        undeclared,
        ..settings()
    };
    let default = settings(Undeclared::Default("app@2.0.0".parse().unwrap()));
    let job = r#"{"source":"todos","target":"http://phone/todos"}"#;
    let two = given(2, job).unwrap().unwrap();
    assert_eq!(restricted_for(&default, None, job).unwrap(), Some(two.clone()));
    let other = r#"{"source":"other","target":"http://phone/x"}"#;
    assert_eq!(restricted_for(&default, None, other).unwrap(), None);
    // Who sees everything may write back what others have stored.
    for job in [job, &two] {
        assert_eq!(restricted_for(&settings(Undeclared::Pass), None, job).unwrap(), None);
    }
}

#[test]
fn a_stored_job_is_given_anew_for_whoever_writes_it_back() {
    let job = r#"{"source":"todos","target":"http://phone/todos","selector":{"n":1e2},"x":1}"#;
    let two = given(2, job).unwrap().unwrap();
    let as_one = given(1, &two).unwrap().unwrap();
    assert_eq!(as_one, job);
    // Turned round it is a push, and whole.
    let push = two.replace(
        r#""source":"todos","target":"http://phone/todos""#,
        r#""source":"http://phone/todos","target":"todos""#,
    );
    assert!(!given(2, &push).unwrap().unwrap().contains("$and"));
    // With ids in place of the selector that nobody wrote.
    let ours = given(2, r#"{"source":"todos","target":"x"}"#).unwrap().unwrap();
    let ids = ours.replace(r#","selector""#, r#","doc_ids":["x"],"selector""#);
    assert_eq!(
        given(2, &ids).unwrap().unwrap(),
        r#"{"source":"todos","target":"x","doc_ids":["x"]}"#
    );
}

/// Anything a client might write for a selector.
fn selectors() -> impl Strategy<Value = Option<String>> {
    let plain = prop_oneof![
        Just(r#"{"a":1.0}"#.to_owned()),
        Just(r#"{"$or":[{"a":1},{"_id":{"$gt":null}}]}"#.to_owned()),
        Just(r#"{"$and":[{"a":1},{"b":1}]}"#.to_owned()),
        Just(r#"{"$and":[{"a":1}]}"#.to_owned()),
    ];
    proptest::option::of(plain)
}

proptest! {
    /// Whatever versions have written a job before, it is as if the last one had written it alone.
    #[test]
    fn only_the_last_version_counts(theirs in selectors(), versions in proptest::collection::vec(1..=3u64, 1..5)) {
        let selector = theirs.map(|theirs| format!(r#","selector":{theirs}"#)).unwrap_or_default();
        let first = format!(r#"{{"source":"todos","a":1.0,"target":"x"{selector}}}"#);
        let pass = |job: String, version: u64| given(version, &job).unwrap().unwrap_or(job);
        let last = *versions.last().unwrap();
        let alone = pass(first.clone(), last);
        let all = versions.into_iter().fold(first.clone(), pass);
        prop_assert_eq!(&all, &alone);
        // The others stay as they are.
        let others = r#"{"source":"todos","a":1.0,"target":"x""#;
        prop_assert!(all.starts_with(others), "{}", all);
    }
}
