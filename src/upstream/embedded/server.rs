//! Endpoints of the server and of a database as a whole.

use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{
    database::Database,
    documents,
    request::{Call, quote},
    respond::{Answer, Failure, bytes, json, ok, with_location},
    store::{Store, new_uuid},
};
use crate::upstream::Body;

/// The CouchDB whose transcripts this store is held against.
const COUCHDB_VERSION: &str = "3.5.2";

/// CouchDB's limits.
const MAX_UUIDS: usize = 1000;

pub fn root(store: &Store, call: &Call) -> Answer {
    read_only(call, "GET,HEAD")?;
    let vendor = json!({"name": "chesterfield (embedded)", "version": env!("CARGO_PKG_VERSION")});
    let welcome = json!({
        "couchdb": "Welcome", "version": COUCHDB_VERSION, "uuid": store.uuid, "features": [], "vendor": vendor,
    });
    Ok(json(StatusCode::OK, &welcome))
}

pub fn up(call: &Call) -> Answer {
    read_only(call, "GET,HEAD")?;
    Ok(json(StatusCode::OK, &json!({"seeds": {}, "status": "ok"})))
}

pub fn all_dbs(store: &Store, call: &Call) -> Answer {
    read_only(call, "GET,HEAD")?;
    let bound = |names: [&str; 2]| -> Result<Option<String>, Failure> {
        let found = names
            .iter()
            .find_map(|name| call.query.json(name).transpose())
            .transpose()?;
        Ok(found.as_ref().and_then(Value::as_str).map(str::to_owned))
    };
    let number = |name: &str| call.query.get(name).and_then(|n| n.parse::<usize>().ok());
    let (start, end) = (bound(["start_key", "startkey"])?, bound(["end_key", "endkey"])?);
    let mut names = store.names();
    names.retain(|name| start.as_ref().is_none_or(|s| name >= s) && end.as_ref().is_none_or(|e| name <= e));
    if call.query.is_true("descending") {
        names.reverse();
    }
    let (skip, limit) = (number("skip").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
    let names: Vec<String> = names.into_iter().skip(skip).take(limit).collect();
    Ok(json(StatusCode::OK, &names))
}

pub fn uuids(call: &Call) -> Answer {
    if call.method != Method::GET {
        return Err(Failure::method("GET"));
    }
    let count = call.query.get("count").map_or(Ok(1), str::parse);
    let count: usize = count.map_err(|_| Failure::bad_request("count must be a positive integer"))?;
    if count > MAX_UUIDS {
        return Err(Failure::bad_request("count parameter too large"));
    }
    let uuids: Vec<String> = std::iter::repeat_with(new_uuid).take(count).collect();
    Ok(json(StatusCode::OK, &json!({"uuids": uuids})))
}

/// No users: everybody is an admin without a name, so clients that log in are let in.
pub fn session(call: &Call) -> Answer {
    match call.method {
        Method::GET | Method::HEAD => {
            let user = json!({"name": null, "roles": ["_admin"]});
            let info = json!({"authentication_handlers": ["cookie", "default"], "authenticated": "default"});
            Ok(json(
                StatusCode::OK,
                &json!({"ok": true, "userCtx": user, "info": info}),
            ))
        }
        Method::POST => Ok(json(
            StatusCode::OK,
            &json!({"ok": true, "name": null, "roles": ["_admin"]}),
        )),
        Method::DELETE => Ok(ok(StatusCode::OK)),
        _ => Err(Failure::method("GET,HEAD,POST,DELETE")),
    }
}

pub async fn dbs_info(store: &Store, call: Call) -> Answer {
    let keys = match call.method {
        Method::GET => store.names().into_iter().map(Value::from).collect(),
        Method::POST => match call.json_object()?.remove("keys") {
            Some(Value::Array(keys)) => keys,
            _ => return Err(Failure::bad_request("`keys` member must exist.")),
        },
        _ => return Err(Failure::method("GET,POST")),
    };
    let mut infos = Vec::with_capacity(keys.len());
    for key in keys {
        infos.push(match store.get(key.as_str().unwrap_or_default()) {
            Ok(database) => json!({"key": key, "info": info(&database).await?}),
            Err(_) => json!({"key": key, "error": "not_found"}),
        });
    }
    Ok(json(StatusCode::OK, &infos))
}

/// `/db` itself.
pub async fn database(store: &Store, name: &str, call: Call) -> Answer {
    match call.method {
        Method::PUT => {
            if call.query.get("q").is_some_and(|q| q.parse::<u32>().unwrap_or(0) == 0) {
                return Err(Failure::bad_request("The `q` value should be a positive integer."));
            }
            if call.query.is_true("partitioned") {
                return Err(Failure::lacks("partitions"));
            }
            store.create(name).await?;
            Ok(with_location(ok(StatusCode::CREATED), &call.location(name, "")))
        }
        Method::GET | Method::HEAD => Ok(json(StatusCode::OK, &info(&*store.get(name)?).await?)),
        Method::DELETE if call.query.get("rev").is_some() => {
            store.get(name)?;
            Err(Failure::bad_request(
                "You tried to DELETE a database with a ?=rev parameter. Did you mean to DELETE a document instead?",
            ))
        }
        Method::DELETE => store.delete(name).await.map(|()| ok(StatusCode::OK)),
        Method::POST => documents::post(&*store.get(name)?, call).await,
        _ => {
            store.get(name)?;
            Err(Failure::method("DELETE,GET,HEAD,POST"))
        }
    }
}

/// CouchDB's shape; sizes are not measured, and there is one shard.
async fn info(database: &Database) -> Result<Value, Failure> {
    let info = database.adapter.info().await?;
    Ok(json!({
        "instance_start_time": database.created.to_string(),
        "db_name": database.name,
        "purge_seq": database.seq(0),
        "update_seq": database.seq(info.update_seq.as_num()),
        "sizes": {"file": 0, "external": 0, "active": 0},
        "props": {},
        "doc_del_count": info.doc_del_count,
        "doc_count": info.doc_count,
        "disk_format_version": 8,
        "compact_running": false,
        "cluster": {"q": 1, "n": 1, "w": 1, "r": 1},
    }))
}

pub async fn security(database: &Database, call: Call) -> Answer {
    match call.method {
        Method::GET | Method::HEAD => Ok(json(StatusCode::OK, &database.security().await?)),
        Method::PUT => {
            let Value::Object(security) = call.json()? else {
                return Err(Failure::bad_request("Request body must be a JSON object"));
            };
            database.put_security(security.into()).await?;
            Ok(ok(StatusCode::OK))
        }
        _ => Err(Failure::method("PUT,GET")),
    }
}

/// Writes are durable before they are answered, so there is nothing left to do.
pub fn ensure_full_commit(database: &Database, call: &Call) -> Answer {
    posted(call)?;
    let start = database.created.to_string();
    Ok(json(
        StatusCode::CREATED,
        &json!({"ok": true, "instance_start_time": start}),
    ))
}

/// The storage's limit is fixed.
pub fn revs_limit(store: &Store, call: &Call) -> Answer {
    match call.method {
        Method::GET => Ok(json(StatusCode::OK, &store.revs_limit)),
        Method::PUT => match call.json()?.as_u64() {
            Some(limit) if limit == store.revs_limit => Ok(ok(StatusCode::OK)),
            Some(1..) => Err(Failure::lacks(&format!("revision limit but {}", store.revs_limit))),
            _ => Err(Failure::bad_request("`rev_limit` must be a positive integer")),
        },
        _ => Err(Failure::method("PUT,GET")),
    }
}

pub async fn compact(database: &Database, call: &Call) -> Answer {
    posted(call)?;
    if call.path.len() > 2 {
        return Err(Failure::lacks("views"));
    }
    database.adapter.compact().await?;
    Ok(ok(StatusCode::ACCEPTED))
}

pub fn view_cleanup(call: &Call) -> Answer {
    posted(call)?;
    Ok(ok(StatusCode::ACCEPTED))
}

/// `/db/_design%2Fname` is answered with the way CouchDB likes it spelt.
pub fn moved(db_url: &str, design: &str) -> Response<Body> {
    let name = design.trim_start_matches("_design/");
    let mut response = bytes(StatusCode::MOVED_PERMANENTLY, "application/json", "");
    response.headers_mut().remove(http::header::CONTENT_TYPE);
    with_location(response, &format!("{db_url}/_design/{}", quote(name)))
}

fn posted(call: &Call) -> Result<(), Failure> {
    if call.method != Method::POST {
        return Err(Failure::method("POST"));
    }
    call.require_json()
}

fn read_only(call: &Call, allow: &'static str) -> Result<(), Failure> {
    if call.is_read() {
        Ok(())
    } else {
        Err(Failure::method(allow))
    }
}
