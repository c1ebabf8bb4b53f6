//! One document: it is read before any of it is sent.

use std::borrow::Cow;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{
    HeaderMap,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use memchr::memmem;

use super::{
    super::{
        Answer, Call, Error,
        encoding::decompress,
        writes::room::{FREE, Place},
    },
    Unseen, Validate, Validating,
};
use crate::upstream::{
    Body, BoxError,
    body::{self, Peeked, ReadError, full},
};

/// The most that is read of a document whose length is not told, or of one in parts: CouchDB's default `max_document_size`.
const UNTOLD: usize = 8 << 20;

/// `id` is the URL's.
pub(super) async fn forward(validating: &Validating, mut call: Call, id: Option<String>) -> Answer {
    let mode = id.as_deref().map(|id| validating.judge.mode(id));
    let enforces = mode.map_or(validating.judge.enforces(), |mode| mode == Validate::Enforce);
    let refused = match read(validating, &mut call).await {
        Ok((text, _place)) => {
            let db = call.route.db().unwrap_or_default();
            validating.judge.refuse(db, id.as_deref(), &text)
        }
        Err(Error::Unseen(unseen)) if enforces => return Err(unseen.into()),
        Err(Error::Unseen(_)) => None,
        Err(error) => return Err(error),
    };
    match refused {
        None => validating.writes.forward(call).await,
        Some(refused) => {
            body::discard(call.body);
            Err(Error::Forbidden(refused.reason))
        }
    }
}

/// The document's text; the body is put back.
async fn read(validating: &Validating, call: &mut Call) -> Result<(Bytes, Place), Error> {
    let headers = &call.parts.headers;
    let parts = boundary(headers);
    let is_plain = !headers.contains_key(CONTENT_ENCODING);
    let announced = call.body.size_hint().exact().filter(|_| is_plain && parts.is_none());
    let longest = match announced {
        Some(length) => usize::try_from(length).unwrap_or(usize::MAX),
        None => UNTOLD.min(validating.held.longest),
    };
    if longest > validating.held.longest {
        return Err(Unseen::TooLong(validating.held.longest).into());
    }
    // Whoever sends slowly holds no room for what has not come.
    let mut size = FREE.min(longest);
    loop {
        let place = validating.held.take(size)?;
        let body = std::mem::replace(&mut call.body, body::empty());
        let (read, body) = begin(&call.parts.headers, body, parts.as_deref(), size).await?;
        call.body = body;
        match read {
            Some(text) => return Ok((text, place)),
            None if size == longest => return Err(Unseen::TooLong(longest).into()),
            None => size = (2 * size).min(longest),
        }
    }
}

/// The document's text in plain, if neither it nor what was sent of it is longer than `limit`; the body that comes back is whole.
async fn begin(
    headers: &HeaderMap,
    body: Body,
    boundary: Option<&[u8]>,
    limit: usize,
) -> Result<(Option<Bytes>, Body), Error> {
    if let Some(boundary) = boundary {
        return Ok(first_part(body, boundary, limit).await?);
    }
    let body = if limit > FREE { body::unannounced(body) } else { body };
    let sent = match body::peek(body, limit).await? {
        Peeked::Whole(sent) => sent,
        Peeked::Longer(body) => return Ok((None, body)),
    };
    let read = match decompress(headers, sent.clone(), limit) {
        Ok(text) => Some(text),
        Err(Error::Body(ReadError::TooLong(_))) => None,
        // CouchDB says so itself.
        Err(_) => Some(Bytes::new()),
    };
    Ok((read, full(sent)))
}

/// What stands between parts, if the document is the first of several. Whatever CouchDB does not call so it takes for JSON, and to the
/// letter (measured on 3.5.0): `Multipart/Related` and `multipart/mixed` are.
fn boundary(headers: &HeaderMap) -> Option<Vec<u8>> {
    let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?.trim_start();
    // Of several boundaries the first counts (measured on 3.5.0).
    let given = kind
        .strip_prefix("multipart/related;")?
        .split(';')
        .find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let is_it = name.trim_matches(' ').eq_ignore_ascii_case("boundary");
            is_it.then(|| unquoted(value.trim_matches(' ')))
        })?;
    Some(format!("--{given}").into())
}

/// As `mochiweb_util:unquote_header` has it: the quote at the end goes only with one at the begin.
fn unquoted(value: &str) -> Cow<'_, str> {
    let Some(quoted) = value.strip_prefix('"') else {
        return value.into();
    };
    let mut text = String::new();
    let mut rest = quoted.chars();
    while let Some(char) = rest.next() {
        match char {
            '"' if rest.as_str().is_empty() => {}
            '\\' => text.extend(rest.next().or(Some('\\'))),
            char => text.push(char),
        }
    }
    text.into()
}

/// Reads up to the end of the first part, and no further than `limit`: then there is none. The body that comes back is whole.
async fn first_part(mut body: Body, boundary: &[u8], limit: usize) -> Result<(Option<Bytes>, Body), ReadError> {
    // The document itself may hold what stands between parts, but not behind the end of a line.
    let end_of_part = [b"\r\n", boundary].concat();
    let mut seen = Vec::new();
    let mut begin = None;
    let mut searched = 0;
    let part = loop {
        if begin.is_none() {
            begin = document_begin(&seen, boundary);
            searched = begin.unwrap_or_default();
        }
        let end = begin.and_then(|_| memmem::find(&seen[searched..], &end_of_part));
        if let (Some(begin), Some(end)) = (begin, end) {
            break Some(Bytes::copy_from_slice(&seen[begin..searched + end]));
        }
        if begin.is_some() {
            searched = searched.max(seen.len().saturating_sub(end_of_part.len()));
        }
        if seen.len() > limit {
            break None;
        }
        match body.frame().await {
            Some(frame) => {
                if let Ok(piece) = frame.map_err(ReadError::Broken)?.into_data() {
                    seen.extend_from_slice(&piece);
                }
            }
            // CouchDB will not take it either.
            None => break Some(Bytes::new()),
        }
    };
    let seen = stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from(seen)))]);
    let body = Body::new(StreamBody::new(seen.chain(BodyStream::new(body))));
    Ok((part, body))
}

/// Behind the first boundary and the headers of its part.
fn document_begin(text: &[u8], boundary: &[u8]) -> Option<usize> {
    const BLANK: &[u8] = b"\r\n\r\n";
    let part = memmem::find(text, boundary)? + boundary.len();
    Some(part + memmem::find(&text[part..], BLANK)? + BLANK.len())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_boundary_is_read_as_couchdb_reads_it() {
        for (kind, given) in [
            ("multipart/related;boundary=a;boundary=b", Some("--a")),
            ("multipart/related; x=y; Boundary=\"a b\"", Some("--a b")),
            (r#"multipart/related;x="y;boundary=b";boundary=a"#, Some("--b\"")),
            (r#"multipart/related;boundary="a\"b""#, Some("--a\"b")),
            ("multipart/related", None),
            ("multipart/mixed;boundary=a", None),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(kind).unwrap())]);
            assert_eq!(
                boundary(&headers),
                given.map(|given| given.as_bytes().to_vec()),
                "{kind}"
            );
        }
    }

    #[tokio::test]
    async fn the_first_of_several_parts_is_the_document() {
        let text = "--b\r\ncontent-type: application/json\r\n\r\n{\"a\":1}\r\n--b\r\n\r\nhello\r\n--b--";
        for cut in 0..text.len() {
            let pieces = [&text[..cut], &text[cut..]]
                .map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(piece.as_bytes()))));
            let body = Body::new(StreamBody::new(stream::iter(pieces)));
            let (part, body) = first_part(body, b"--b", 1000).await.unwrap();
            assert_eq!(part.unwrap().trim_ascii(), b"{\"a\":1}", "cut at {cut}");
            assert_eq!(body.collect().await.unwrap().to_bytes(), text);
        }
        let (part, body) = first_part(full(text), b"--b", 10).await.unwrap();
        assert!(part.is_some(), "what has come in one piece is read");
        assert_eq!(body.collect().await.unwrap().to_bytes(), text);
        let long = text.replace("{\"a\":1}", &"x".repeat(100));
        let (head, tail) = long.split_at(90);
        let pieces = [head, tail].map(|piece| Ok::<_, BoxError>(Frame::data(Bytes::copy_from_slice(piece.as_bytes()))));
        let (part, body) = first_part(Body::new(StreamBody::new(stream::iter(pieces))), b"--b", 50)
            .await
            .unwrap();
        assert_eq!(part, None);
        assert_eq!(body.collect().await.unwrap().to_bytes(), long);
    }
}
