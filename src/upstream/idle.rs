//! A response body that fails when its next bytes take too long.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use super::BoxError;

pin_project! {
    /// Only waiting counts: time the reader takes does not.
    pub(super) struct Idle<B> {
        #[pin]
        body: B,
        after: Duration,
        // Made when the body first makes us wait: most small answers never do.
        deadline: Option<Pin<Box<Sleep>>>,
        waiting: bool,
    }
}

/// Nothing came for this long.
#[derive(Debug, thiserror::Error)]
#[error("the upstream sent nothing for {0:?}")]
pub(super) struct Silence(Duration);

impl<B> Idle<B> {
    pub(super) fn new(body: B, after: Duration) -> Self {
        Self {
            body,
            after,
            deadline: None,
            waiting: false,
        }
    }
}

impl<B> Body for Idle<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        if let Poll::Ready(frame) = this.body.poll_frame(cx) {
            *this.waiting = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = this.deadline.get_or_insert_with(|| {
            *this.waiting = true;
            Box::pin(sleep(*this.after))
        });
        if !*this.waiting {
            *this.waiting = true;
            deadline.as_mut().reset(Instant::now() + *this.after);
        }
        ready!(deadline.as_mut().poll(cx));
        Poll::Ready(Some(Err(Silence(*this.after).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
