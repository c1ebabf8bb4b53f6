//! How several proxies share the databases: each that is alive has a lease, and each database is followed by one of those who have.
//!
//! A lease is a document in the proxies' own database, which its proxy alone renews. Whoever sees one unchanged for a whole term takes its
//! proxy for dead; that is measured with the watcher's own clock, so no two clocks have to agree. Who follows a database follows from
//! its name and from who is alive, by rendezvous hashing: all have the same share, and when one comes or goes, no database moves
//! between two others. No lease is ever taken from another, so nothing is compared and swapped but one's own.
//!
//! While proxies differ in who is alive, which they do for less than a term, a database may be followed by two, who do the same work
//! twice, or by none, and is then looked at when they agree.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Error, queue::Pauses};
use crate::upstream::{
    Upstream,
    account::{self, Ask, DATABASE, encoded, ensure_database, path},
};

/// Renewals within a term.
const BEATS: u32 = 3;

/// For how long the lease of a dead proxy is kept, whoever it shared with: people may look at it, and who has only been cut off is not
/// bothered.
const KEPT: Duration = Duration::from_secs(3600);

/// The most leases that are read, in bytes.
const LIMIT: usize = 8 << 20;

/// A proxy's lease, and who else has one.
pub struct Leases {
    upstream: Upstream,
    /// Those with the same share the databases.
    group: String,
    me: String,
    term: Duration,
    state: Mutex<State>,
    members: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    /// Everybody who is alive, this proxy included; none before the first look.
    members: Vec<String>,
    /// The revision of each other lease, by its id, and since when it is there.
    seen: HashMap<String, (String, Instant)>,
    /// Of this proxy's own lease.
    rev: Option<String>,
}

/// A lease as it is kept.
#[derive(Serialize)]
struct Lease<'a> {
    #[serde(rename = "_rev", skip_serializing_if = "Option::is_none")]
    rev: Option<&'a str>,
    proxy: &'a str,
    /// For people.
    renewed: String,
    term_ms: u128,
}

#[derive(Deserialize)]
struct Listed {
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
    value: Value,
}

#[derive(Deserialize)]
struct Value {
    rev: String,
}

#[derive(Deserialize)]
struct Written {
    rev: String,
}

#[derive(Deserialize)]
struct Kept {
    #[serde(rename = "_rev")]
    rev: String,
}

impl Leases {
    /// Shares the databases of these patterns with all who have the same.
    pub fn new(upstream: Upstream, patterns: &[String], term: Duration) -> Self {
        let mut patterns = patterns.to_vec();
        patterns.sort_unstable();
        let digest = Sha256::digest(patterns.join("\n"));
        Self {
            upstream,
            group: digest[..4].iter().map(|byte| format!("{byte:02x}")).collect(),
            me: uuid::Uuid::now_v7().simple().to_string(),
            term,
            state: Mutex::default(),
            members: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this proxy follows a database.
    pub fn holds(&self, db: &str) -> bool {
        let state = self.state();
        let holder = state.members.iter().max_by_key(|member| weight(member, db));
        holder.is_some_and(|holder| *holder == self.me)
    }

    /// How many are alive, whenever that changes.
    pub fn members(&self) -> watch::Receiver<usize> {
        self.members.subscribe()
    }

    /// Renews the lease for ever; `changed` is called whenever somebody has come or gone. Where that is refused, this proxy follows all.
    pub async fn keep(&self, pauses: Pauses, changed: impl Fn()) {
        let (mut failures, mut is_told) = (0, false);
        loop {
            let (members, pause) = match self.beat().await {
                Ok(members) => {
                    (failures, is_told) = (0, false);
                    (Some(members), self.term / BEATS)
                }
                Err(Error::Account(account::Error::Refused { status, reason, .. }))
                    if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
                {
                    if !is_told {
                        tracing::warn!(
                            %status,
                            reason,
                            "the databases are not shared with other proxies: the account of the upstream's URL needs a database \
                             `{DATABASE}` that it may write to, or has to be a server admin"
                        );
                        is_told = true;
                    }
                    (Some(vec![self.me.clone()]), self.term)
                }
                Err(error) => {
                    failures += 1;
                    tracing::warn!(%error, "the lease on a share of the databases is not renewed");
                    (None, pauses.after(failures).min(self.term / BEATS))
                }
            };
            if members.is_some_and(|members| self.is_news(members)) {
                changed();
            }
            sleep(pause).await;
        }
    }

    fn is_news(&self, members: Vec<String>) -> bool {
        let mut state = self.state();
        let is_news = state.members != members;
        state.members = members;
        let count = state.members.len();
        drop(state);
        if is_news {
            tracing::debug!(proxies = count, "who shares the databases has changed");
            self.members.send_replace(count);
        }
        is_news
    }

    fn id(&self, proxy: &str) -> String {
        format!("lease:{}:{proxy}", self.group)
    }

    /// Renews the lease and looks who else has one; answers who is alive.
    async fn beat(&self) -> Result<Vec<String>, Error> {
        self.renew().await?;
        let rows = self.list().await?;
        let (members, dead) = self.judge(rows);
        for (id, rev) in dead {
            let at = path([DATABASE, &id]);
            let ask = Ask::new(Method::DELETE, "a lease", format!("{at}?rev={rev}"));
            // Others are at it, too; and whoever comes back to life renews it.
            ask.send(&self.upstream).await?;
        }
        Ok(members)
    }

    async fn renew(&self) -> Result<(), Error> {
        let at = path([DATABASE, &self.id(&self.me)]);
        // Of a renewal whose answer was lost, or a lease that others removed, another revision is there; of a database that was made anew none.
        for _ in 0..3 {
            let rev = self.state().rev.clone();
            let lease = Lease {
                rev: rev.as_deref(),
                proxy: &self.me,
                renewed: Timestamp::now().to_string(),
                term_ms: self.term.as_millis(),
            };
            let body = serde_json::to_vec(&lease).unwrap_or_default();
            let reply = Ask::new(Method::PUT, "a lease", &*at)
                .with(body)
                .send(&self.upstream)
                .await?;
            match reply.status {
                StatusCode::NOT_FOUND => {
                    self.state().rev = None;
                    ensure_database(&self.upstream).await?;
                }
                StatusCode::CONFLICT => {
                    let there = self.there(&at).await?;
                    self.state().rev = there;
                }
                _ => {
                    let reply = reply.expect(&[StatusCode::CREATED, StatusCode::ACCEPTED])?;
                    self.state().rev = Some(reply.json::<Written>()?.rev);
                    return Ok(());
                }
            }
        }
        Err(account::Error::Unreadable {
            request: "a lease",
            source: "it is in conflict, and cannot be renewed".into(),
        }
        .into())
    }

    /// The revision of its own lease, if it is there.
    async fn there(&self, at: &str) -> Result<Option<String>, Error> {
        let ask = Ask::new(Method::GET, "a lease", at);
        let reply = ask.send(&self.upstream).await?;
        if reply.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        Ok(Some(reply.expect(&[StatusCode::OK])?.json::<Kept>()?.rev))
    }

    async fn list(&self) -> Result<Vec<Row>, Error> {
        let json = |id: &str| encoded(&serde_json::Value::from(id).to_string());
        let query = format!("?start_key={}&end_key={}", json("lease:"), json("lease;"));
        let ask = Ask::new(Method::GET, "_all_docs", path([DATABASE, "_all_docs"]) + &query).limit(LIMIT);
        let listed: Listed = ask.send(&self.upstream).await?.expect(&[StatusCode::OK])?.json()?;
        Ok(listed.rows)
    }

    /// Who is alive, in order, and the leases, with their revisions, of those who have been dead for so long that they can go.
    fn judge(&self, rows: Vec<Row>) -> (Vec<String>, Vec<(String, String)>) {
        let now = Instant::now();
        let mut state = self.state();
        let mut before = std::mem::take(&mut state.seen);
        let (mut members, mut dead) = (vec![self.me.clone()], Vec::new());
        let mine = self.id(&self.me);
        for row in rows.into_iter().filter(|row| row.id != mine) {
            let (id, rev) = (row.id, row.value.rev);
            let since = match before.remove(&id) {
                Some((seen, since)) if seen == rev => since,
                _ => now,
            };
            let silent = now - since;
            if silent > KEPT.max(self.term * 2) {
                dead.push((id.clone(), rev.clone()));
            } else if let Some(proxy) = id.strip_prefix(&self.id("")).filter(|_| silent < self.term) {
                members.push(proxy.to_owned());
            }
            state.seen.insert(id, (rev, since));
        }
        members.sort_unstable();
        (members, dead)
    }

    /// Gives the lease up, so that nobody waits for its end.
    pub async fn release(&self) {
        let Some(rev) = self.state().rev.take() else { return };
        let at = path([DATABASE, &self.id(&self.me)]);
        let ask = Ask::new(Method::DELETE, "a lease", format!("{at}?rev={rev}"));
        if let Err(error) = ask.send(&self.upstream).await {
            tracing::debug!(%error, "the lease is not given up, and ends by itself");
        }
    }
}

/// The one who weighs most follows the database.
fn weight(member: &str, db: &str) -> [u8; 32] {
    Sha256::new()
        .chain_update(member)
        .chain_update([0xff])
        .chain_update(db)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{UpstreamService, embedded::Embedded};

    const TERM: Duration = Duration::from_secs(30);

    fn leases() -> Leases {
        let upstream = Upstream {
            service: UpstreamService::new(Embedded::memory()),
            account: None,
            name: "embedded".into(),
        };
        Leases::new(upstream, &["*".into()], TERM)
    }

    fn row(leases: &Leases, proxy: &str, rev: &str) -> Row {
        let (id, rev) = (leases.id(proxy), rev.to_owned());
        let value = Value { rev };
        Row { id, value }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_silent_for_a_term_is_dead() {
        let leases = leases();
        let alive = |proxies: &[(&str, &str)]| {
            let rows = proxies.iter().map(|(proxy, rev)| row(&leases, proxy, rev));
            let (mut members, dead) = leases.judge(rows.collect());
            members.retain(|member| *member != leases.me);
            (members, dead)
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(alive(&[("a", "1-a"), ("b", "1-a")]).0, names(&["a", "b"]));
        tokio::time::advance(TERM / 2).await;
        assert_eq!(alive(&[("a", "2-a"), ("b", "1-a")]).0, names(&["a", "b"]));
        tokio::time::advance(TERM / 2).await;
        assert_eq!(alive(&[("a", "2-a"), ("b", "1-a")]), (names(&["a"]), vec![]));
        tokio::time::advance(KEPT).await;
        let (members, dead) = alive(&[("a", "3-a"), ("b", "1-a")]);
        assert_eq!((members, dead), (names(&["a"]), vec![(leases.id("b"), "1-a".into())]));
        assert_eq!(alive(&[("b", "2-a")]).0, names(&["b"]), "it came back to life");
    }

    #[test]
    fn shares_are_even_and_nothing_moves_between_those_who_stay() {
        let holder = |members: &[&str], db: &str| {
            let holder = members.iter().max_by_key(|member| weight(member, db));
            (*holder.unwrap()).to_owned()
        };
        let names: Vec<String> = (0..3000).map(|n| format!("user-{n}")).collect();
        let (three, two) = (["a", "b", "c"], ["a", "b"]);
        for member in three {
            let share = names.iter().filter(|db| holder(&three, db) == member).count();
            assert!((900..1100).contains(&share), "{member}: {share}");
        }
        for db in &names {
            let was = holder(&three, db);
            assert!(was == "c" || holder(&two, db) == was, "{db}");
        }
    }

    #[tokio::test]
    async fn a_lease_is_renewed_whatever_becomes_of_it() {
        let leases = leases();
        assert!(!leases.holds("db"), "nobody knows yet");
        assert_eq!(leases.beat().await.unwrap(), std::slice::from_ref(&leases.me));
        assert!(leases.is_news(leases.beat().await.unwrap()) && leases.holds("db"));
        // Somebody took it for dead.
        let rev = leases.state().rev.clone().unwrap();
        let at = path([DATABASE, &leases.id(&leases.me)]);
        let removed = Ask::new(Method::DELETE, "a lease", format!("{at}?rev={rev}"));
        assert_eq!(removed.send(&leases.upstream).await.unwrap().status, StatusCode::OK);
        leases.beat().await.unwrap();
        // The database was deleted.
        let removed = Ask::new(Method::DELETE, "the database", path([DATABASE]));
        assert_eq!(removed.send(&leases.upstream).await.unwrap().status, StatusCode::OK);
        leases.beat().await.unwrap();
        // The answers to a renewal, and to the first one, were lost.
        let before = leases.state().rev.clone();
        leases.beat().await.unwrap();
        leases.state().rev = before;
        leases.beat().await.unwrap();
        leases.state().rev = None;
        leases.beat().await.unwrap();
        leases.release().await;
        assert_eq!(leases.list().await.unwrap().len(), 0);
    }
}
