//! What happens to every request, outermost first: one layer a line.

use std::{convert::Infallible, sync::Arc};

use futures_util::{
    FutureExt, TryFutureExt,
    future::{BoxFuture, Either, ready},
};
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tower::{Service, ServiceBuilder, service_fn};
use tracing::{Instrument, Span};

use super::{
    Call, Error, Proxy,
    cors::{self, Met},
    headers,
    headers::Peer,
    live, respond, service, shape, trace, version,
};
use crate::upstream::Body;

/// The future of an answer; boxed once, here, so that what holds it need not know the layers.
pub(super) type Answering = BoxFuture<'static, Result<Response<Body>, Infallible>>;

/// The service for the requests of one connection.
pub(super) fn stack(
    proxy: Arc<Proxy>,
    peer: Peer,
    stop: CancellationToken,
) -> impl FnMut(Request<Body>) -> Answering + Clone + Send + 'static {
    let (dispatch, shared_by) = (proxy.clone(), proxy.clone());
    let mut stack = ServiceBuilder::new()
        .layer_fn(traced)
        .layer_fn(move |inner| shared(inner, shared_by.clone()))
        .layer_fn(answered)
        .layer_fn(admitted)
        .layer_fn(move |inner| forwarded(inner, peer.clone()))
        .layer_fn(move |inner| understood(inner, proxy.clone()))
        .layer_fn(move |inner| ended(inner, stop.clone()))
        .service(service_fn(move |call: Call| service::dispatch(dispatch.clone(), call)));
    move |request| stack.call(request).boxed()
}

/// A layer: every one of them is ready at any time. They chain futures, so that none is held by an `async` block.
trait Layer<Request, Error>:
    Service<Request, Response = Response<Body>, Error = Error, Future: Send + 'static> + Clone + Send + 'static
{
}

impl<S, Request, Error> Layer<Request, Error> for S where
    S: Service<Request, Response = Response<Body>, Error = Error, Future: Send + 'static> + Clone + Send + 'static
{
}

/// A span around the request, see [`trace`].
fn traced(mut inner: impl Layer<Request<Body>, Infallible>) -> impl Layer<Request<Body>, Infallible> {
    service_fn(move |request: Request<Body>| {
        let span = trace::span(&request);
        let answer = span.in_scope(|| inner.call(request));
        let recorded = answer.inspect_ok(|answer| {
            Span::current().record("status", answer.status().as_u16());
        });
        recorded.instrument(span)
    })
}

/// Web apps of other origins get answers they may read, errors too; preflights end here.
fn shared(
    mut inner: impl Layer<Request<Body>, Infallible>,
    proxy: Arc<Proxy>,
) -> impl Layer<Request<Body>, Infallible> {
    service_fn(move |mut request| match proxy.cors.meet(&mut request) {
        Met::Indifferent => Either::Left(Either::Left(inner.call(request))),
        Met::Noted(note) => {
            let proxy = proxy.clone();
            Either::Left(Either::Right(inner.call(request).map_ok(move |mut answer| {
                proxy.cors.finish(note, answer.headers_mut());
                answer
            })))
        }
        Met::Answered(answer) => Either::Right(ready(Ok(answer))),
    })
}

/// Every error becomes an answer.
fn answered(mut inner: impl Layer<Request<Body>, Error>) -> impl Layer<Request<Body>, Infallible> {
    service_fn(move |request| {
        inner
            .call(request)
            .map(|answer| Ok(answer.unwrap_or_else(|error| respond::error(&error))))
    })
}

/// What may be read in several ways ends here.
fn admitted(mut inner: impl Layer<Request<Body>, Error>) -> impl Layer<Request<Body>, Error> {
    service_fn(move |request| match shape::admit(&request) {
        Ok(()) => Either::Left(inner.call(request)),
        Err(error) => Either::Right(ready(Err(error))),
    })
}

/// Hop-by-hop headers end here, the peer is named.
fn forwarded(mut inner: impl Layer<Request<Body>, Error>, peer: Peer) -> impl Layer<Request<Body>, Error> {
    service_fn(move |request| inner.call(headers::forward(request, &peer)).map_ok(headers::backward))
}

/// Route and app version are found out.
fn understood(mut inner: impl Layer<Call, Error>, proxy: Arc<Proxy>) -> impl Layer<Request<Body>, Error> {
    service_fn(move |request: Request<Body>| {
        let preflight = cors::is_preflight(&request);
        let mut remarks = version::Remarks::default();
        match version::understand(&proxy, request, preflight, &mut remarks) {
            Ok(call) if remarks.is_empty() => Either::Left(inner.call(call)),
            Ok(call) => {
                let proxy = proxy.clone();
                let answer = inner.call(call).map(move |answer| {
                    let mut answer = answer.unwrap_or_else(|error| respond::error(&error));
                    remarks.add(&proxy, &mut answer);
                    Ok(answer)
                });
                Either::Right(Either::Left(answer))
            }
            Err(error) => {
                let mut answer = respond::error(&error);
                remarks.add(&proxy, &mut answer);
                Either::Right(Either::Right(ready(Ok(answer))))
            }
        }
    })
}

/// Live feeds end with the server.
fn ended(mut inner: impl Layer<Call, Error>, stop: CancellationToken) -> impl Layer<Call, Error> {
    service_fn(move |mut call: Call| {
        if live::mark(&mut call) {
            let stop = stop.clone();
            let answer = inner.call(call).map_ok(move |answer| live::end_with(stop, answer));
            return Either::Left(answer);
        }
        Either::Right(inner.call(call))
    })
}
