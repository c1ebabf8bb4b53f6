//! What there is to be looked at: databases that the server's feed of updates names, all of them as a net below it, and what failed in
//! this process.

use std::time::Duration;

use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use super::{Error, Settings, Shared, names::Names};
use crate::upstream::account::{self, Ask, encoded};

/// How long CouchDB keeps a feed of updates open in which nothing happens: the longest it does (`chttpd/changes_timeout`).
const SILENCE: Duration = Duration::from_secs(60);

/// The most that is read of names, in bytes.
const LIMIT: usize = 16 << 20;

#[derive(Deserialize)]
struct Updates {
    results: Vec<Update>,
    last_seq: serde_json::Value,
}

#[derive(Deserialize)]
struct Update {
    db_name: String,
    r#type: String,
}

/// Names the databases in which something happens, for ever. Where CouchDB does not tell, that is said once.
pub async fn updates(shared: &Shared) {
    let mut since = "now".to_owned();
    let (mut failures, mut is_told) = (0, false);
    loop {
        match read_updates(shared, &since).await {
            Ok(updates) => {
                (failures, is_told) = (0, false);
                since = match updates.last_seq {
                    serde_json::Value::String(seq) => seq,
                    other => other.to_string(),
                };
                for update in updates.results {
                    if update.r#type != "deleted" && shared.is_ours(&update.db_name) {
                        shared.queue.room().await;
                        shared.queue.wake(&update.db_name, false);
                    }
                }
            }
            Err(account::Error::Refused { status, reason, .. }) if status != StatusCode::SERVICE_UNAVAILABLE => {
                // The embedded store, past which nobody writes, says that it has no such feed.
                if !is_told && status != StatusCode::NOT_IMPLEMENTED {
                    tracing::warn!(
                        %status,
                        reason,
                        every = ?shared.settings.sweep,
                        "CouchDB does not tell which databases change, so all are looked through: it does for a server admin, if there is \
                         a database `_global_changes`"
                    );
                    is_told = true;
                }
                sleep(shared.settings.sweep).await;
            }
            Err(error) => {
                failures += 1;
                tracing::debug!(%error, "the feed of updates broke");
                sleep(shared.settings.pauses.after(failures)).await;
            }
        }
    }
}

async fn read_updates(shared: &Shared, since: &str) -> Result<Updates, account::Error> {
    // Where the end is, is answered at once.
    let feed = if since == "now" { "normal" } else { "longpoll" };
    let silence = SILENCE.as_millis();
    let path = format!("/_db_updates?feed={feed}&timeout={silence}&since={}", encoded(since));
    let ask = Ask::new(Method::GET, "_db_updates", path).limit(LIMIT).live();
    let reply = timeout(SILENCE * 2, ask.send(shared.upstream())).await;
    let reply = reply.map_err(|_| account::Error::Unreadable {
        request: "_db_updates",
        source: "it is silent for too long".into(),
    })??;
    reply.expect(&[StatusCode::OK])?.json()
}

/// Names every database, again and again: now, whenever that is asked for, and after each pause.
pub async fn sweeps(shared: &Shared) {
    let mut failures = 0;
    loop {
        let begun = Instant::now();
        let pause = match sweep(shared).await {
            Ok(()) => {
                failures = 0;
                shared.settings.sweep.saturating_sub(begun.elapsed())
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(
                    %error,
                    "the databases cannot be listed: the account of the upstream's URL has to be a server admin, or `databases` has to name \
                     them without `*` and `?`"
                );
                shared.settings.pauses.after(failures).min(shared.settings.sweep)
            }
        };
        // Asked for while it was under way, it is made again.
        _ = timeout(pause, shared.sweep.notified()).await;
    }
}

async fn sweep(shared: &Shared) -> Result<(), Error> {
    let Settings {
        databases, patterns, ..
    } = &shared.settings;
    let mut names = Names::new(shared.upstream().clone(), databases.clone(), patterns);
    while let Some(page) = names.next().await? {
        for name in page.iter().filter(|name| shared.is_ours(name)) {
            shared.queue.room().await;
            shared.queue.wake(name, true);
        }
    }
    Ok(())
}

/// Makes up for fan-outs of this process that failed, for ever: whoever follows the database, the entities are known here.
pub async fn missed(shared: &Shared) {
    let fan_out = &shared.fan_out;
    let mut failures = 0;
    loop {
        let (db, keys) = fan_out.missed().next().await;
        let mut failed = Vec::new();
        let done = fan_out.look_at(&db, &keys, |key, _| failed.push(key.clone())).await;
        match done {
            Ok(report) if report.lost > 0 => fan_out.missed().add(&db, &keys),
            Ok(_) if failed.is_empty() => {
                failures = 0;
                continue;
            }
            Ok(_) => fan_out.missed().add(&db, &failed),
            // The database is gone, and what was to be carried with it.
            Err(account::Error::Refused {
                status: StatusCode::NOT_FOUND,
                ..
            }) => continue,
            Err(error) => {
                tracing::debug!(db, %error, "a fan-out cannot be made up for yet");
                fan_out.missed().add(&db, &keys);
            }
        }
        failures += 1;
        sleep(shared.settings.pauses.after(failures)).await;
    }
}
