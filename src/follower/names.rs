//! The names of the databases that hold documents in versions, a page at a time.

use http::{Method, StatusCode};

use super::Error;
use crate::{
    proxy::Databases,
    upstream::{
        Upstream,
        account::{Ask, encoded},
    },
};

/// Names in one page.
const PAGE: usize = 500;

/// The most that is read of a page, in bytes.
const LIMIT: usize = 4 << 20;

/// What is left of all names.
pub struct Names {
    upstream: Upstream,
    databases: Databases,
    /// Patterns that are names.
    named: Vec<String>,
    at: At,
}

enum At {
    Beginning,
    After(String),
    End,
}

impl Names {
    /// Those that match any of the patterns, of which `databases` is made.
    pub fn new(upstream: Upstream, databases: Databases, patterns: &[String]) -> Self {
        let is_name = |pattern: &&String| !pattern.contains(['*', '?']);
        Self {
            upstream,
            databases,
            named: patterns.iter().filter(is_name).cloned().collect(),
            at: At::Beginning,
        }
    }

    /// The next of them, if any are left. A page may be empty.
    pub async fn next(&mut self) -> Result<Option<Vec<String>>, Error> {
        let start = match &self.at {
            At::Beginning => String::new(),
            // Nothing stands between a name and the same with a zero behind it.
            At::After(name) => {
                let next = serde_json::Value::from(format!("{name}\0"));
                format!("&start_key={}", encoded(&next.to_string()))
            }
            At::End => return Ok(None),
        };
        let path = format!("/_all_dbs?limit={PAGE}{start}");
        let ask = Ask::new(Method::GET, "_all_dbs", path).limit(LIMIT);
        let reply = ask.send(&self.upstream).await?;
        let mut names: Vec<String> = match reply.status {
            // By default only server admins may list databases (`chttpd/admin_only_all_dbs`): those that are named can be had.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !self.named.is_empty() => {
                self.at = At::End;
                self.named.clone()
            }
            _ => {
                let names: Vec<String> = reply.expect(&[StatusCode::OK])?.json()?;
                self.at = match names.last() {
                    Some(last) if names.len() >= PAGE => At::After(last.clone()),
                    _ => At::End,
                };
                names
            }
        };
        names.retain(|name| self.databases.contains(name));
        Ok(Some(names))
    }
}
