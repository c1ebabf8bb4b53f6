//! Bodies of clients, read as CouchDB reads them.

use std::{borrow::Cow, collections::BTreeMap, io::Read as _};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};
use serde_json::value::RawValue;

use super::Error;
use crate::upstream::body::ReadError;

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
