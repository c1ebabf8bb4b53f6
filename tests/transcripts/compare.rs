//! What counts as the same answer: all but the values that servers make up.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::{
    record::Exchange,
    target::{Adapted, Answer},
};

/// Headers that say something about the protocol. Lengths follow from bodies, and whether an answer is chunked is the
/// transport's business.
const HEADERS: [&str; 7] = [
    "content-type",
    "etag",
    "location",
    "allow",
    "accept-ranges",
    "content-range",
    "content-encoding",
];

/// Members whose values differ from one server to the next.
const MADE_UP: [&str; 16] = [
    "uuid",
    "version",
    "git_sha",
    "features",
    "vendor",
    "instance_start_time",
    "sizes",
    "purge_seq",
    "ref",
    "uuids",
    "session_id",
    "start_time",
    "end_time",
    "recorded_start_time",
    "execution_time_ms",
    "bookmark",
];

/// What the target made up in the place of what the recorded server did.
#[derive(Default)]
pub struct Comparison {
    /// The bodies of earlier answers, by number.
    answers: BTreeMap<usize, String>,
    /// Revisions, ids and digests that differ: recorded → the target's.
    learned: BTreeMap<String, String>,
    /// By database of the target, the numbers of its sequences.
    seqs: BTreeMap<String, BTreeMap<u64, u64>>,
}

impl Comparison {
    pub fn adapt(&self, exchange: &Exchange) -> Adapted {
        let mut replaced: BTreeMap<String, String> = self.learned.clone();
        for used in &exchange.uses {
            if let Some(own) = self.answers.get(&used.n).and_then(|body| point(body, &used.pointer)) {
                replaced.insert(used.value.clone(), own);
            }
        }
        let text = |text: &str| {
            replaced
                .iter()
                .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
        };
        let request = &exchange.request;
        let path = text(&request.path);
        let path = path.strip_prefix("http://127.0.0.1:5984").unwrap_or(&path).to_owned();
        let body = request.bytes().map(|bytes| match String::from_utf8(bytes) {
            Ok(body) => text(&body).into_bytes(),
            Err(bytes) => bytes.into_bytes(),
        });
        Adapted {
            path,
            headers: request.headers.iter().map(|(n, v)| (n.clone(), text(v))).collect(),
            body,
        }
    }

    /// The differences, in words.
    pub fn compare(&mut self, exchange: &Exchange, answer: Answer) -> Vec<String> {
        let recorded = &exchange.response;
        let text = |body: &[u8]| String::from_utf8_lossy(body).into_owned();
        self.answers.insert(exchange.n, text(&answer.body));
        let mut differences = Vec::new();
        if recorded.status != answer.status {
            differences.push(format!(
                "status {} became {}: {}",
                recorded.status,
                answer.status,
                text(&answer.body)
            ));
            return differences;
        }
        let headers = |name: &str| {
            answer
                .headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        if exchange.request.method != "HEAD" {
            let kind = recorded.headers.get("content-type").map_or("", String::as_str);
            let recorded = without_boundaries(&text(&recorded.bytes()), kind);
            let own = without_boundaries(&text(&answer.body), headers("content-type").as_deref().unwrap_or(""));
            let (recorded, own) = (pieces(&recorded, exchange.stream), pieces(&own, exchange.stream));
            if recorded.len() != own.len() {
                differences.push(format!("{} pieces became {}: {own:?}", recorded.len(), own.len()));
            }
            for (recorded, own) in recorded.iter().zip(&own) {
                self.value("", recorded, own, &mut differences);
            }
        }
        for name in HEADERS {
            self.header(
                name,
                exchange,
                recorded.headers.get(name),
                headers(name).as_ref(),
                &mut differences,
            );
        }
        differences
    }

    fn header(
        &mut self,
        name: &str,
        exchange: &Exchange,
        recorded: Option<&String>,
        own: Option<&String>,
        differences: &mut Vec<String>,
    ) {
        let path = &exchange.request.path;
        // ETags of listings and local documents are hashes of whatever the server likes.
        let opaque = name == "etag"
            && ["/_local", "_changes", "/_all_dbs", "/_uuids", "/_db_updates"]
                .iter()
                .any(|e| path.contains(e));
        match (recorded, own) {
            (Some(recorded), Some(own)) if !opaque => {
                let strip = |value: &str| value.split("boundary=").next().unwrap_or("").to_owned();
                let host = |value: &str| {
                    value
                        .split_once("://")
                        .and_then(|(_, rest)| rest.split_once('/'))
                        .map(|(_, p)| p.to_owned())
                };
                let clean = |value: &str| match name {
                    "location" => host(value).unwrap_or_else(|| value.to_owned()),
                    "content-type" => strip(value),
                    "etag" => value.trim_matches('"').to_owned(),
                    _ => value.to_owned(),
                };
                self.text(name, &clean(recorded), &clean(own), differences);
            }
            (Some(recorded), Some(own)) => {
                self.learned
                    .insert(recorded.trim_matches('"').to_owned(), own.trim_matches('"').to_owned());
            }
            (None, None) => {}
            (recorded, own) => differences.push(format!("{name}: {recorded:?} became {own:?}")),
        }
    }

    fn value(&mut self, at: &str, recorded: &Value, own: &Value, differences: &mut Vec<String>) {
        match (recorded, own) {
            (Value::Object(recorded), Value::Object(own)) => self.object(at, recorded, own, differences),
            (Value::Array(recorded), Value::Array(own)) => {
                if recorded.len() != own.len() {
                    differences.push(format!("{at}: {} items became {}: {own:?}", recorded.len(), own.len()));
                }
                for (n, (recorded, own)) in recorded.iter().zip(own).enumerate() {
                    self.value(&format!("{at}/{n}"), recorded, own, differences);
                }
            }
            (Value::String(recorded), Value::String(own)) => self.text(at, recorded, own, differences),
            (recorded, own) if recorded == own => {}
            (recorded, own) => differences.push(format!("{at}: {recorded} became {own}")),
        }
    }

    fn object(
        &mut self,
        at: &str,
        recorded: &Map<String, Value>,
        own: &Map<String, Value>,
        differences: &mut Vec<String>,
    ) {
        let is_made_up = |key: &str| MADE_UP.contains(&key) && !at.contains("_attachments");
        let keys = |map: &Map<String, Value>| -> Vec<String> {
            map.keys()
                .filter(|key| !is_made_up(key))
                .map(|key| self.learned.get(key).unwrap_or(key).clone())
                .collect()
        };
        let (recorded_keys, own_keys) = (keys(recorded), keys(own));
        // The order of members is content, but for attachments, which are a set.
        let same = if at.ends_with("_attachments") {
            BTreeSet::from_iter(&recorded_keys) == BTreeSet::from_iter(&own_keys)
        } else {
            recorded_keys == own_keys
        };
        if !same {
            differences.push(format!("{at}: members {recorded_keys:?} became {own_keys:?}"));
        }
        for (key, recorded) in recorded.iter().filter(|(key, _)| !is_made_up(key)) {
            if let Some(own) = own.get(key) {
                self.value(&format!("{at}/{key}"), recorded, own, differences);
            }
        }
    }

    /// Servers count on their own, and leave gaps: a sequence has to be the same each time, and between its neighbours.
    fn is_same_seq(&mut self, recorded: u64, own: u64, database: &str) -> bool {
        let seqs = self
            .seqs
            .entry(database.trim_matches('"').to_owned())
            .or_insert_with(|| BTreeMap::from([(0, 0)]));
        let own = *seqs.entry(recorded).or_insert(own) == own;
        own && seqs.values().is_sorted_by(|a, b| a < b)
    }

    /// A revision, id or digest that differs is a difference once; from then
    /// on the target's own stands for the recorded one.
    fn text(&mut self, at: &str, recorded: &str, own: &str, differences: &mut Vec<String>) {
        if recorded == own || self.learned.get(recorded).is_some_and(|known| known == own) {
            return;
        }
        if let (Some(recorded), Some(own_number)) = (seq_number(recorded), seq_number(own)) {
            if !self.is_same_seq(recorded, own_number, own.split_once('-').map_or("", |(_, db)| db)) {
                differences.push(format!("{at}: seq {recorded} became {own_number}"));
            }
            return;
        }
        if is_id(recorded) && is_id(own) && !self.learned.contains_key(recorded) && at.ends_with("id") {
            self.learned.insert(recorded.to_owned(), own.to_owned());
            return;
        }
        if let (Some((from, old)), Some((to, new))) = (recorded.split_once('-'), own.split_once('-'))
            && from == to
            && (is_id(old) && is_id(new) || from == "md5")
            && !self.learned.contains_key(recorded)
        {
            self.learned.insert(recorded.to_owned(), own.to_owned());
            self.learned.insert(old.to_owned(), new.to_owned());
        }
        let replaced = self
            .learned
            .iter()
            .fold(recorded.to_owned(), |text, (from, to)| text.replace(from, to));
        if replaced != own || is_made(recorded) {
            differences.push(format!("{at}: {recorded} became {own}"));
        }
    }
}

/// A revision or digest: what `text` has just learned.
fn is_made(text: &str) -> bool {
    text.split_once('-')
        .is_some_and(|(head, tail)| is_id(tail) && head.parse::<u64>().is_ok() || head == "md5")
}

/// 32 hex digits.
fn is_id(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The number in front of a sequence, which is all that two servers' have in common.
fn seq_number(text: &str) -> Option<u64> {
    let (number, opaque) = text.trim_matches('"').split_once('-')?;
    let is_opaque = opaque.len() > 20 && opaque.starts_with('g');
    number.parse().ok().filter(|_| is_opaque)
}

/// A value of an earlier answer: a JSON pointer, into one of its lines if it says so.
fn point(body: &str, pointer: &str) -> Option<String> {
    let (text, pointer) = match pointer.strip_prefix("line ").and_then(|rest| rest.split_once('#')) {
        Some((line, pointer)) => (
            body.lines()
                .filter(|l| !l.is_empty())
                .nth(line.parse::<usize>().ok()? - 1)?,
            pointer,
        ),
        None => (body, pointer),
    };
    let value: Value = serde_json::from_str(text).ok()?;
    match value.pointer(pointer)? {
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

/// A multipart body with its boundaries numbered in the order they come.
fn without_boundaries(text: &str, content_type: &str) -> String {
    let mut boundaries = Vec::new();
    for named in content_type
        .split("boundary=")
        .skip(1)
        .chain(text.split("boundary=").skip(1))
    {
        let name: String = named
            .trim_matches('"')
            .chars()
            .take_while(|c| !c.is_whitespace() && *c != '"' && *c != ';')
            .collect();
        boundaries.push(name);
    }
    boundaries.iter().enumerate().fold(text.to_owned(), |text, (n, name)| {
        text.replace(name.as_str(), &format!("BOUNDARY{n}"))
    })
}

/// A body as JSON values: whole, or by line where it is a feed or parts. Blank lines of feeds are heartbeats.
fn pieces(text: &str, stream: bool) -> Vec<Value> {
    if let Ok(whole) = serde_json::from_str(text) {
        return vec![whole];
    }
    let lines = text.split('\n').map(|line| line.trim_end_matches('\r'));
    let parsed = |line: &str| {
        let line = line
            .strip_prefix("data: ")
            .or_else(|| line.strip_prefix("id: "))
            .unwrap_or(line);
        serde_json::from_str(line).unwrap_or_else(|_| Value::String(line.to_owned()))
    };
    let mut pieces: Vec<Value> = lines.filter(|line| !stream || !line.is_empty()).map(parsed).collect();
    if stream {
        // How many heartbeats came is chance.
        pieces.dedup_by(|a, b| a == b && a.is_string());
    }
    pieces
}
