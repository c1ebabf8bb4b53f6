//! Preflights: CouchDB refuses one that names a header it does not know (405; transcripts, security 127, 134).

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_REQUEST_HEADERS},
};

use super::headers::{append, names};

/// Takes `name` from what a preflight asks for; false if it is no preflight that asks for it.
pub(super) fn hide(request: &mut Request<impl Sized>, name: &HeaderName) -> bool {
    if request.method() != Method::OPTIONS {
        return false;
    }
    let Some(asked) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) else {
        return false;
    };
    let others: Vec<&str> = names(asked)
        .filter(|asked| !asked.eq_ignore_ascii_case(name.as_str()))
        .collect();
    if others.len() == names(asked).count() {
        return false;
    }
    match HeaderValue::from_str(&others.join(", ")) {
        Ok(others) if !others.is_empty() => request.headers_mut().insert(ACCESS_CONTROL_REQUEST_HEADERS, others),
        _ => request.headers_mut().remove(ACCESS_CONTROL_REQUEST_HEADERS),
    };
    true
}

/// Allows `name` too, if CouchDB allowed the rest.
pub(super) fn show<B>(mut response: Response<B>, name: &HeaderName) -> Response<B> {
    let headers: &mut HeaderMap = response.headers_mut();
    if headers.contains_key(ACCESS_CONTROL_ALLOW_METHODS) {
        append(headers, ACCESS_CONTROL_ALLOW_HEADERS, &HeaderValue::from(name.clone()));
    }
    response
}
