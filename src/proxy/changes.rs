//! `_changes`, seen through the selector of an app version.

use http::Response;

use super::{Call, Error, service::pass};
use crate::{
    couch::Selector,
    schema::AppManifest,
    upstream::{Body, Upstream},
};

pub(super) async fn forward(
    upstream: &Upstream,
    call: Call,
    _app: &AppManifest,
    _selector: &Selector,
    _limit: usize,
) -> Result<Response<Body>, Error> {
    pass(upstream, call).await
}
