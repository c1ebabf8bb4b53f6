//! Live feeds: they may stay silent for any time, and never end by themselves.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Method, Response};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{Call, changes};
use crate::{
    couch::Route,
    upstream::{Body, BoxError, LiveFeed},
};

pin_project! {
    /// A body that is cut when the server stops and it has nothing to say.
    struct Live<B> {
        #[pin]
        body: B,
        #[pin]
        stopped: WaitForCancellationFutureOwned,
    }
}

/// The server stops.
#[derive(Debug, thiserror::Error)]
#[error("the server stops, and with it a live feed")]
struct Stopped;

/// Marks a call for a live feed, so that its upstream may be silent; false for any other. `_db_updates` has live feeds too.
pub(super) fn mark(call: &mut Call) -> bool {
    if call.route == Route::Replicate {
        // No feed, but CouchDB answers when the job is done, which may take hours.
        call.parts.extensions.insert(LiveFeed);
        return false;
    }
    if !matches!(call.route, Route::Changes { .. } | Route::Server) || call.method == Method::HEAD {
        return false;
    }
    let is_live = changes::is_live(call.parts.uri.query().unwrap_or_default());
    if is_live {
        call.parts.extensions.insert(LiveFeed);
    }
    is_live
}

/// Has a feed end with the server: by a cut, as when CouchDB itself is stopped. An orderly end would say that the feed is whole, which a
/// longpoll without its `last_seq` is not. Clients ask again from where they are.
pub(super) fn end_with(stop: CancellationToken, answer: Response<Body>) -> Response<Body> {
    answer.map(|body| {
        let stopped = stop.cancelled_owned();
        Live { body, stopped }.boxed_unsync()
    })
}

impl<B> HttpBody for Live<B>
where
    B: HttpBody<Data = Bytes, Error = BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(this.stopped.poll(cx));
        Poll::Ready(Some(Err(Stopped.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
