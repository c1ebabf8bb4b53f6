//! Requests that have one meaning only: what the next server may read in another way ends here.

use http::{HeaderMap, Method, Request, header::TRANSFER_ENCODING};

use super::Error;

/// Refuses a target that is no path (CouchDB closes the connection), and a body in codings that CouchDB does not know: taken off by
/// none and told to nobody, they would be taken for what was written.
pub(super) fn admit<B>(request: &Request<B>) -> Result<(), Error> {
    let is_path = request.uri().path().starts_with('/');
    if !is_path || request.method() == Method::CONNECT {
        return Err(Error::BadRequest(
            "The target of a request has to be a path, as in /db/doc.",
        ));
    }
    if !is_plainly_chunked(request.headers()) {
        return Err(Error::BadRequest(
            "Transfer-Encoding has to be `chunked`, once, and nothing else.",
        ));
    }
    Ok(())
}

fn is_plainly_chunked(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let is_chunked = codings
        .next()
        .is_none_or(|coding| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"));
    is_chunked && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_admitted(request: http::request::Builder) -> bool {
        admit(&request.body(()).unwrap()).is_ok()
    }

    #[test]
    fn a_target_is_a_path() {
        for target in ["/", "/db/doc?x=*", "//db", "http://couch", "http://couch/db"] {
            assert!(is_admitted(Request::get(target)), "{target}");
        }
        for target in ["*", "couch", "couch:5984"] {
            assert!(!is_admitted(Request::get(target)), "{target}");
        }
        assert!(!is_admitted(Request::connect("couch:5984")));
    }

    #[test]
    fn a_body_is_chunked_or_not() {
        for (codings, is_so) in [
            (&[][..], true),
            (&["Chunked "], true),
            (&["chunked, chunked"], false),
            (&["chunked", "chunked"], false),
            (&["gzip, chunked"], false),
            (&["identity"], false),
            (&[""], false),
        ] {
            let begun = Request::put("/db/doc");
            let request = codings
                .iter()
                .fold(begun, |request, coding| request.header(TRANSFER_ENCODING, *coding));
            assert_eq!(is_admitted(request), is_so, "{codings:?}");
        }
    }
}
