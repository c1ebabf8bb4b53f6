//! The accept loop, and how it ends.

use std::{
    io,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Proxy, Timeouts, headers::Peer, stack::stack};
use crate::upstream::body;

/// So many headers hyper reads without allocating.
pub(super) const HEADERS: usize = 100;

/// Serves HTTP/1.1, and HTTP/2 to clients that begin with it, until told to stop.
///
/// Then no connection is accepted any more, idle ones are closed, live feeds are cut as soon as they have nothing to say, and other
/// open requests have [`Timeouts::drain`] to end. Returns when every connection is gone.
pub async fn serve(listener: TcpListener, proxy: Arc<Proxy>, stop: CancellationToken) {
    let timeouts = proxy.settings.timeouts;
    let mut connections = JoinSet::new();
    let server = server(timeouts, proxy.settings.headers);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(connection(server.clone(), stream, peer, proxy.clone(), stop.clone()));
                }
                Err(error) => refused(&error).await,
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if timeout(timeouts.drain, drained).await.is_err() {
        tracing::info!(open = connections.len(), "cutting what is still open");
        connections.shutdown().await;
    }
}

fn server(timeouts: Timeouts, headers: usize) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    server
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(timeouts.head)
        .writev(true);
    if headers != HEADERS {
        server.http1().max_headers(headers);
    }
    server
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)));
    server
}

/// One client, from its first byte to its last.
async fn connection(
    server: Builder<TokioExecutor>,
    stream: TcpStream,
    peer: SocketAddr,
    proxy: Arc<Proxy>,
    stop: CancellationToken,
) {
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a socket option could not be set");
    }
    let Timeouts {
        head, body: patience, ..
    } = proxy.settings.timeouts;
    let stack = stack(proxy, Peer::new(peer), stop.clone());
    let begun = Arc::new(AtomicBool::new(false));
    let service = {
        let begun = begun.clone();
        // hyper calls through a shared reference; cloning the layers only counts references.
        service_fn(move |request: Request<Incoming>| {
            begun.store(true, Ordering::Relaxed);
            stack.clone()(request.map(|body| body::incoming(body, patience)))
        })
    };
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service));
    // Neither the wait for the first bytes, which tell HTTP/1.1 from HTTP/2, nor HTTP/2 itself has a timeout of its own.
    let mut first_request = pin!(sleep(head));
    let (mut stopping, mut waited) = (false, false);
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a client's connection broke");
                }
                return;
            }
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut first_request, if !waited => {
                waited = true;
                if !begun.load(Ordering::Relaxed) {
                    return;
                }
            }
        }
    }
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // The only way to notice that the reader of a silent feed has vanished.
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    // Out of file descriptors, most likely: trying again at once would only burn the processor.
    sleep(Duration::from_millis(50)).await;
}
