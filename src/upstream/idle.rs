//! How long a peer may be silent: an upstream before its answer and between the bytes of it, a client between those of its request.

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep, sleep};

use super::{Body as RequestBody, BoxError};

pin_project! {
    /// Only waiting counts: time the reader takes does not.
    pub(super) struct Idle<B> {
        #[pin]
        body: B,
        who: Sender,
        after: Duration,
        // Made when the body first makes us wait: most small answers never do.
        deadline: Option<Pin<Box<Sleep>>>,
        waiting: bool,
    }
}

/// Whose body it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    Client,
    Upstream,
}

/// Nothing came for this long.
#[derive(Debug, thiserror::Error)]
#[error("the {} sent nothing for {after:?}", match .who { Sender::Client => "client", Sender::Upstream => "upstream" })]
pub(super) struct Silence {
    who: Sender,
    after: Duration,
}

/// For how long the client sent nothing, if that is what went wrong.
pub fn client_was_silent(error: &(dyn std::error::Error + 'static)) -> Option<Duration> {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let mut silences = causes.filter_map(|error| error.downcast_ref::<Silence>());
    silences
        .find(|silence| silence.who == Sender::Client)
        .map(|silence| silence.after)
}

/// When a request's body last moved: an upstream need not answer before it has read what it was sent.
#[derive(Clone)]
pub(super) struct Moved(Arc<Mutex<Instant>>);

pin_project! {
    /// A request's body that notes when it moves.
    struct Moving<B> {
        #[pin]
        body: B,
        moved: Moved,
    }
}

/// Waits for `future`, as long as no `limit` passes without it and without the request's body moving.
pub(super) async fn within<F: Future>(limit: Duration, moved: Option<Moved>, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut deadline = pin!(sleep(limit));
    loop {
        tokio::select! {
            biased;
            output = &mut future => return Some(output),
            () = &mut deadline => {
                let due = moved.as_ref()?.last() + limit;
                if due <= Instant::now() {
                    return None;
                }
                deadline.as_mut().reset(due);
            }
        }
    }
}

/// The same body, watched; one that is empty need not be.
pub(super) fn watch(body: RequestBody) -> (RequestBody, Option<Moved>) {
    if body.is_end_stream() {
        return (body, None);
    }
    let moved = Moved(Arc::new(Mutex::new(Instant::now())));
    (
        Moving {
            body,
            moved: moved.clone(),
        }
        .boxed_unsync(),
        Some(moved),
    )
}

impl Moved {
    fn last(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }
}

impl<B> Body for Moving<B>
where
    B: Body<Data = Bytes, Error = BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(cx));
        this.moved.now();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Idle<B> {
    pub(super) fn new(body: B, who: Sender, after: Duration) -> Self {
        Self {
            body,
            who,
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
        let (who, after) = (*this.who, *this.after);
        Poll::Ready(Some(Err(Silence { who, after }.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};
    use tokio::{sync::mpsc, time::advance};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A body whose frames come when the test sends them.
    fn scripted() -> (mpsc::UnboundedSender<Bytes>, RequestBody) {
        let (sender, mut frames) = mpsc::unbounded_channel();
        let stream = futures_util::stream::poll_fn(move |cx| {
            frames
                .poll_recv(cx)
                .map(|bytes| bytes.map(|bytes| Ok::<_, BoxError>(Frame::data(bytes))))
        });
        (sender, StreamBody::new(stream).boxed_unsync())
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_is_awaited_for_the_limit() {
        assert_eq!(within(SECOND, None, async { 7 }).await, Some(7));
        let begun = Instant::now();
        assert_eq!(within(SECOND, None, std::future::pending::<()>()).await, None);
        assert_eq!(begun.elapsed(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_upload_is_no_silence() {
        let (sender, body) = scripted();
        let (mut body, moved) = watch(body);
        let upload = async {
            for _ in 0..10 {
                advance(SECOND * 9 / 10).await;
                sender.send(Bytes::from_static(b"x")).unwrap();
                body.frame().await.unwrap().unwrap();
            }
        };
        assert_eq!(within(SECOND, moved.clone(), upload).await, Some(()));
        assert_eq!(within(SECOND, moved, std::future::pending::<()>()).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn only_silence_between_bytes_counts() {
        let (sender, body) = scripted();
        let mut body = Idle::new(body, Sender::Upstream, SECOND);
        for _ in 0..3 {
            sender.send(Bytes::from_static(b"x")).unwrap();
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "x");
            // A reader that takes its time, with nothing to wait for.
            advance(SECOND * 5).await;
        }
        let begun = Instant::now();
        assert!(body.frame().await.unwrap().unwrap_err().is::<Silence>());
        assert_eq!(begun.elapsed(), SECOND);
    }

    #[test]
    fn a_silent_client_is_told_from_a_silent_upstream() {
        #[derive(Debug, thiserror::Error)]
        #[error("it broke")]
        struct Broke(#[source] Silence);
        for (who, told) in [(Sender::Client, Some(SECOND)), (Sender::Upstream, None)] {
            assert_eq!(client_was_silent(&Broke(Silence { who, after: SECOND })), told);
        }
        assert_eq!(client_was_silent(&std::io::Error::other("else")), None);
    }

    #[test]
    fn wrappers_say_what_they_wrap() {
        let body = Full::new(Bytes::from_static(b"four"))
            .map_err(|never| match never {})
            .boxed_unsync();
        let (body, moved) = watch(body);
        assert_eq!(
            (body.size_hint().exact(), body.is_end_stream(), moved.is_some()),
            (Some(4), false, true)
        );
        let idle = Idle::new(body, Sender::Upstream, SECOND);
        assert_eq!((idle.size_hint().exact(), idle.is_end_stream()), (Some(4), false));
    }
}
