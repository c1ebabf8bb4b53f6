//! From a request to its endpoint: CouchDB's routing table.

use http::{Method, Request, Response};

use super::{
    all_docs, bulk, changes, documents, files, find,
    request::Call,
    respond::{Answer, Failure, without_body},
    server,
    store::Store,
};
use crate::upstream::Body;

/// The one place where failures become answers.
pub async fn answer(store: &Store, request: Request<Body>) -> Response<Body> {
    let head = request.method() == Method::HEAD;
    let answer = match Call::read(request).await {
        Ok(call) => route(store, call).await,
        Err(failure) => Err(failure),
    };
    let response = answer.unwrap_or_else(|failure| failure.to_response());
    if head { without_body(response) } else { response }
}

async fn route(store: &Store, call: Call) -> Answer {
    let segments = call.path.clone();
    let Some((first, rest)) = segments.split_first() else {
        return server::root(store, &call);
    };
    let db = first.text()?;
    if rest.is_empty() {
        return match db {
            "_all_dbs" => server::all_dbs(store, &call),
            "_up" => server::up(&call),
            "_uuids" => server::uuids(&call),
            "_session" => server::session(&call),
            "_dbs_info" => server::dbs_info(store, call).await,
            "_active_tasks" => Err(Failure::lacks("task list")),
            "_replicate" => Err(Failure::lacks("replicator")),
            "_db_updates" => Err(Failure::lacks("feed of database updates")),
            "_membership" | "_cluster_setup" => Err(Failure::lacks("cluster")),
            _ => server::database(store, db, call).await,
        };
    }
    if matches!(db, "_node" | "_scheduler" | "_utils" | "_reshard") {
        return Err(Failure::lacks(db));
    }
    let database = store.get(db)?;
    let endpoint = rest[0].text()?;
    match (endpoint, rest.len()) {
        ("_all_docs", 1) => all_docs::answer(database, call, all_docs::Range::ALL).await,
        ("_all_docs", 2) if rest[1].text()? == "queries" => {
            all_docs::queries(database, call, all_docs::Range::ALL).await
        }
        ("_design_docs", 1) => all_docs::answer(database, call, all_docs::Range::DESIGN).await,
        ("_design_docs", 2) if rest[1].text()? == "queries" => {
            all_docs::queries(database, call, all_docs::Range::DESIGN).await
        }
        ("_local_docs", _) => Err(Failure::lacks("list of _local documents")),
        ("_bulk_docs", 1) => bulk::bulk_docs(&database, call).await,
        ("_bulk_get", 1) => bulk::bulk_get(&database, call).await,
        ("_revs_diff", 1) => bulk::revs_diff(&database, call).await,
        ("_missing_revs", 1) => bulk::missing_revs(&database, call).await,
        ("_changes", 1) => changes::answer(database, call).await,
        ("_find", 1) => find::find(&database, call).await,
        ("_index", _) => find::index(&call),
        ("_explain", 1) => Err(Failure::lacks("query planner")),
        ("_security", 1) => server::security(&database, call).await,
        ("_ensure_full_commit", 1) => server::ensure_full_commit(&database, &call),
        ("_revs_limit", 1) => server::revs_limit(store, &call),
        ("_compact", _) => server::compact(&database, &call).await,
        ("_view_cleanup", 1) => server::view_cleanup(&call),
        ("_purge" | "_purged_infos" | "_purged_infos_limit", 1) => Err(Failure::lacks("purge")),
        ("_shards" | "_sync_shards", _) => Err(Failure::lacks("shards")),
        ("_partition", _) => Err(Failure::lacks("partitions")),
        ("_search_analyze" | "_nouveau_analyze", _) => Err(Failure::lacks("full-text search")),
        ("_local", 1) => Err(Failure::bad_request("Invalid _local document id.")),
        ("_local", 2) => documents::answer(&database, &format!("_local/{}", rest[1].text()?), call).await,
        ("_local", _) => Err(Failure::bad_request("_local documents do not accept attachments.")),
        ("_design", 2..) => {
            let id = format!("_design/{}", rest[1].text()?);
            match &rest[2..] {
                [] => documents::answer(&database, &id, call).await,
                [function, ..] if function.text()?.starts_with('_') => Err(Failure::lacks(&format!(
                    "design-document function {}",
                    function.text()?
                ))),
                name => files::answer(&database, &id, name, call).await,
            }
        }
        (design, 1) if call.method == Method::GET && design.starts_with("_design/") => {
            Ok(server::moved(&call.location(db, ""), design))
        }
        (id, 1) => documents::answer(&database, id, call).await,
        (id, _) => files::answer(&database, id, &rest[1..], call).await,
    }
}
