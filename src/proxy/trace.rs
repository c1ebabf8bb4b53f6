//! One span for each request; what is in bodies is never recorded.

use http::Request;
use tracing::{Span, field::Empty};

/// A span for this request. What is found out on the way is recorded later: `db`, `route`, `app`, `status`, and
/// `fan_out`, the number of revisions derived from a write.
pub(super) fn span<B>(request: &Request<B>) -> Span {
    tracing::info_span!(
        "request",
        method = %request.method(),
        db = Empty,
        route = Empty,
        app = Empty,
        status = Empty,
        fan_out = Empty,
    )
}
