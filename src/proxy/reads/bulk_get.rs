//! `_bulk_get`: what is hidden is asked for under a name that no document has.
//!
//! So the answer says of it what CouchDB says of a missing document, in whatever form it was asked for; only the names are put back
//! as it streams by. No result is left out and none moves: replicators count on their places.

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use http::{Method, header::CONTENT_LENGTH};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Frame;
use memchr::memmem::Finder;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::{
    super::{
        Answer, Call, Error,
        encoding::{Members, is_json, members, repost},
        service::pass,
    },
    in_plain, posted,
};
use crate::{
    schema::Filter,
    upstream::{Body, BoxError, Upstream},
};

/// A document that is asked for.
struct Asked {
    id: String,
    has_rev: bool,
}

/// Names that no document has, in place of those that are hidden.
struct Names {
    /// Told apart from all text by chance alone: 74 bits of it.
    prefix: String,
    /// The hidden ids, as they were written.
    hidden: Vec<String>,
}

/// Puts the names back into a text that comes in pieces.
struct Unveiled {
    names: Names,
    finder: Finder<'static>,
    /// The end of what has come, if a name may begin there.
    held: BytesMut,
}

/// Forwards the request. A document that is asked for with its revision is a replicator's, which knows it from `_changes`: it is hidden
/// only if that hides it too.
pub(super) async fn forward(
    upstream: &Upstream,
    mut call: Call,
    reads: &Filter,
    replicates: Option<&Filter>,
) -> Answer {
    if call.method != Method::POST || !is_json(&call.parts.headers) {
        return pass(upstream, call).await;
    }
    let Some(text) = posted(&mut call).await? else {
        return pass(upstream, call).await;
    };
    let is_hidden = |asked: &Asked| {
        let is_replicated = asked.has_rev && replicates.is_none_or(|filter| filter.admits(&asked.id));
        !is_replicated && !reads.admits(&asked.id)
    };
    let Some((text, names)) = renamed(&text, is_hidden)? else {
        return pass(upstream, call).await;
    };
    repost(&mut call, text);
    in_plain(&mut call);
    let mut answer = pass(upstream, call).await?;
    answer.headers_mut().remove(CONTENT_LENGTH);
    Ok(answer.map(|body| unveiled(body, names)))
}

/// The body with other names for what is hidden; none if nothing is, or CouchDB will refuse it.
fn renamed(text: &[u8], is_hidden: impl Fn(&Asked) -> bool) -> Result<Option<(Vec<u8>, Names)>, Error> {
    let unreadable = |_| Error::BadRequest("invalid UTF-8 JSON");
    let mut body = members(text)?;
    let docs = body.get("docs").and_then(|docs| serde_json::from_str(docs.get()).ok());
    let Some::<Vec<&RawValue>>(docs) = docs else {
        return Ok(None);
    };
    let mut names = Names {
        prefix: format!("hidden:{}:", Uuid::now_v7().simple()),
        hidden: Vec::new(),
    };
    let mut texts = Vec::with_capacity(docs.len());
    for doc in docs {
        let asked: Option<Members<'_>> = serde_json::from_str(doc.get()).ok();
        let hidden = asked.and_then(|members| {
            let id = serde_json::from_str(members.get("id")?.get()).ok()?;
            let has_rev = members.contains_key("rev");
            is_hidden(&Asked { id, has_rev }).then_some(())?;
            let name = RawValue::from_string(names.veil(members.get("id")?.get())).ok()?;
            let mut members = members;
            members.insert("id".into(), &name);
            serde_json::to_string(&members).ok()
        });
        texts.push(hidden.unwrap_or_else(|| doc.get().to_owned()));
    }
    if names.hidden.is_empty() {
        return Ok(None);
    }
    let docs = RawValue::from_string(format!("[{}]", texts.join(","))).map_err(unreadable)?;
    body.insert("docs".into(), &docs);
    Ok(Some((serde_json::to_vec(&body).map_err(unreadable)?, names)))
}

impl Names {
    /// The name, in quotes, under which a hidden id is asked for.
    fn veil(&mut self, id: &str) -> String {
        self.hidden.push(id.to_owned());
        format!("\"{}{}\"", self.prefix, self.hidden.len() - 1)
    }
}

impl Unveiled {
    fn new(names: Names) -> Self {
        // With its quote, as ids stand in all answers.
        let finder = Finder::new(&format!("\"{}", names.prefix)).into_owned();
        Self {
            names,
            finder,
            held: BytesMut::new(),
        }
    }

    /// The text with its names, as far as they are known to be whole.
    fn feed(&mut self, text: &[u8]) -> Bytes {
        self.held.extend_from_slice(text);
        let mut told = BytesMut::with_capacity(self.held.len());
        while let Some(at) = self.finder.find(&self.held) {
            let number = &self.held[at + self.finder.needle().len()..];
            let Some(digits) = number.iter().position(|byte| !byte.is_ascii_digit()) else {
                told.extend_from_slice(&self.held.split_to(at));
                return told.freeze();
            };
            let id = str::from_utf8(&number[..digits])
                .ok()
                .and_then(|n| n.parse::<usize>().ok());
            let id = id.and_then(|n| self.names.hidden.get(n)).map_or("null", String::as_str);
            told.extend_from_slice(&self.held.split_to(at));
            told.extend_from_slice(id.as_bytes());
            // The closing quote, too.
            let _ = self.held.split_to(self.finder.needle().len() + digits + 1);
        }
        // No more than what a name begins with is kept.
        let kept = (1..self.finder.needle().len().min(self.held.len() + 1))
            .rev()
            .find(|&length| self.held.ends_with(&self.finder.needle()[..length]));
        told.extend_from_slice(&self.held.split_to(self.held.len() - kept.unwrap_or(0)));
        told.freeze()
    }

    fn end(&mut self) -> Bytes {
        self.held.split().freeze()
    }
}

fn unveiled(body: Body, names: Names) -> Body {
    let end = stream::iter([None]);
    let pieces = BodyStream::new(body).map(Some).chain(end);
    let frames = pieces.scan(Unveiled::new(names), |unveiled, piece| {
        let frame = match piece {
            None => Ok(Frame::data(unveiled.end())),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(text) => Ok(Frame::data(unveiled.feed(&text))),
                Err(trailers) => Ok(trailers),
            },
            Some(Err(error)) => Err(error),
        };
        std::future::ready(Some::<Result<Frame<Bytes>, BoxError>>(frame))
    });
    StreamBody::new(frames.filter(|frame| {
        let is_empty = matches!(frame, Ok(frame) if frame.data_ref().is_some_and(Bytes::is_empty));
        std::future::ready(!is_empty)
    }))
    .boxed_unsync()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(ids: &[&str]) -> Names {
        Names {
            prefix: "hidden:1:".into(),
            hidden: ids.iter().map(|id| format!("\"{id}\"")).collect(),
        }
    }

    proptest! {
        #[test]
        fn names_are_put_back_wherever_the_text_is_cut(
            parts in proptest::collection::vec(proptest::sample::select(vec![
                "\"hidden:1:0\"", "\"hidden:1:10\"", "\"", "\"hidden:1", "\"hidden:2:0\"", "x", "{\"id\":", "}",
            ]), 0..9),
            cuts in proptest::collection::vec(1..20_usize, 1..5),
        ) {
            let ids = ["a", "", "", "", "", "", "", "", "", "", "b\\\"c"];
            let text = parts.concat();
            let expected = text.replace("\"hidden:1:0\"", "\"a\"").replace("\"hidden:1:10\"", "\"b\\\"c\"");
            let mut unveiled = Unveiled::new(names(&ids));
            let (mut told, mut rest) = (Vec::new(), text.as_bytes());
            for cut in cuts.iter().cycle() {
                let (piece, left) = rest.split_at(rest.len().min(*cut));
                told.extend_from_slice(&unveiled.feed(piece));
                prop_assert!(unveiled.held.len() < "\"hidden:1:10\"".len());
                rest = left;
                if rest.is_empty() {
                    break;
                }
            }
            told.extend_from_slice(&unveiled.end());
            prop_assert_eq!(String::from_utf8(told).unwrap(), expected);
        }
    }

    #[test]
    fn only_what_is_hidden_is_renamed() {
        let text = br#"{"docs":[{"id":"a"},{"rev":"1-a","id":"b","x":1.0},{"id":"\u0062"},5,{"id":5}],"y":1e2}"#;
        let (renamed, names) = renamed(text, |asked| asked.id == "b" && !asked.has_rev)
            .unwrap()
            .unwrap();
        let renamed = String::from_utf8(renamed).unwrap().replace(&names.prefix, "PREFIX");
        assert_eq!(
            renamed,
            r#"{"docs":[{"id":"a"},{"rev":"1-a","id":"b","x":1.0},{"id":"PREFIX0"},5,{"id":5}],"y":1e2}"#
        );
        assert_eq!(names.hidden, [r#""\u0062""#]);
        assert!(super::renamed(text, |_| false).unwrap().is_none());
        assert!(super::renamed(br#"{"docs":5}"#, |_| true).unwrap().is_none());
    }
}
