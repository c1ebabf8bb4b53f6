//! ETags of answers that are not the same for every app version.

use http::{
    HeaderMap, HeaderValue,
    header::{ETAG, IF_NONE_MATCH},
};

use super::{
    Call,
    headers::names,
    service::{Answer, pass},
};
use crate::upstream::Upstream;

/// Forwards with ETags that hold for one filter: CouchDB's is the database's, the same for all of them (transcripts,
/// changes 56-58).
pub(super) async fn conditional(upstream: &Upstream, mut call: Call, tag: &str) -> Answer {
    untag(&mut call.parts.headers, tag);
    let mut answer = pass(upstream, call).await?;
    let tagged = answer.headers().get(ETAG).and_then(|etag| {
        let opaque = etag.to_str().ok()?.strip_suffix('"')?;
        HeaderValue::from_str(&format!("{opaque}-{tag}\"")).ok()
    });
    if let Some(tagged) = tagged {
        answer.headers_mut().insert(ETAG, tagged);
    }
    Ok(answer)
}

/// Leaves of `If-None-Match` what was answered under this filter, as CouchDB named it.
fn untag(headers: &mut HeaderMap, tag: &str) {
    if !headers.contains_key(IF_NONE_MATCH) {
        return;
    }
    let suffix = format!("-{tag}\"");
    let ours: Vec<String> = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .flat_map(names)
        .filter_map(|etag| Some(format!("{}\"", etag.strip_suffix(&suffix)?)))
        .collect();
    match HeaderValue::from_str(&ours.join(", ")) {
        Ok(list) if !ours.is_empty() => headers.insert(IF_NONE_MATCH, list),
        _ => headers.remove(IF_NONE_MATCH),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_etags_of_this_filter_are_left() {
        let mut headers = HeaderMap::new();
        headers.insert(
            IF_NONE_MATCH,
            HeaderValue::from_static(r#""A-12345678", W/"B-12345678","C", "D-87654321""#),
        );
        untag(&mut headers, "12345678");
        assert_eq!(headers[IF_NONE_MATCH], r#""A", W/"B""#);
        untag(&mut headers, "12345678");
        assert!(!headers.contains_key(IF_NONE_MATCH));
    }
}
