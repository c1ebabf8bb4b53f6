//! Bodies of clients, read as CouchDB reads them, and others in their place.

use std::{borrow::Cow, collections::BTreeMap, io::Read as _};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRAILER, TRANSFER_ENCODING},
};
use serde_json::value::RawValue;

use super::{Call, Error};
use crate::upstream::body::{ReadError, full};

pub(super) const JSON: &str = "application/json";

/// The members of an object, each as it was written. Of a doubled one the last counts, as in CouchDB.
pub(super) type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The body in plain, if it is no longer than `limit` bytes. CouchDB knows gzip only, and refuses others in these words.
pub(super) fn decompress(headers: &HeaderMap, posted: Bytes, limit: usize) -> Result<Bytes, Error> {
    match headers.get(CONTENT_ENCODING).map(HeaderValue::as_bytes) {
        None | Some(b"identity") => Ok(posted),
        Some(b"gzip") => {
            let mut plain = Vec::new();
            let mut decoder = MultiGzDecoder::new(&*posted).take(limit as u64 + 1);
            decoder
                .read_to_end(&mut plain)
                .map_err(|_| Error::BadRequest("Request body is not properly gzipped."))?;
            if plain.len() > limit {
                Err(ReadError::TooLong(limit).into())
            } else {
                Ok(plain.into())
            }
        }
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(Error::BadContentType(format!(
                "{other} is not a supported content encoding."
            )))
        }
    }
}

/// CouchDB compares what stands before a `;` and nothing else.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    content_type.split(|byte| *byte == b';').find(|part| !part.is_empty()) == Some(JSON.as_bytes())
}

/// The members of the object that is posted; what is none is refused in CouchDB's words.
pub(super) fn members(posted: &[u8]) -> Result<Members<'_>, Error> {
    serde_json::from_slice::<Members<'_>>(posted).map_err(|_| {
        // What CouchDB's own parser might yet accept must not reach it: it could name another selector.
        let is_json = serde_json::from_slice::<&RawValue>(posted).is_ok();
        Error::BadRequest(if is_json {
            "Request body must be a JSON object"
        } else {
            "invalid UTF-8 JSON"
        })
    })
}

/// Puts another body, in plain, in place of the one that was sent.
pub(super) fn repost(call: &mut Call, text: impl Into<Bytes>) {
    call.body = full(text);
    forget_body(&mut call.parts.headers);
}

/// Takes out what is true of the body that was sent alone; not its type, which another one may share.
pub(super) fn forget_body(headers: &mut HeaderMap) {
    for stale in [CONTENT_LENGTH, CONTENT_ENCODING, TRANSFER_ENCODING, TRAILER] {
        headers.remove(stale);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_kept_as_they_were_written() {
        let members = members(br#" {"limit": 1.0,"\u0073elector":{ "a":1e2 },"x":[1, 2]} "#).unwrap();
        assert_eq!(
            serde_json::to_string(&members).unwrap(),
            r#"{"limit":1.0,"selector":{ "a":1e2 },"x":[1, 2]}"#
        );
    }

    #[test]
    fn bodies_are_refused_in_the_words_of_couchdb() {
        let reason = |posted: &[u8]| members(posted).unwrap_err().to_string();
        assert_eq!(reason(b"[]"), "Request body must be a JSON object");
        for posted in [&b"{"[..], b"{}x", b"\xff", b"{\"a\":\"\xff\"}"] {
            assert_eq!(reason(posted), "invalid UTF-8 JSON");
        }
    }
}
