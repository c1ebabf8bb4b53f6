//! The web server that web apps are loaded from: an origin of its own, where pages tell how they are getting on.

use std::{
    fs,
    path::Path,
    sync::mpsc::{Receiver, Sender, channel},
};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, runtime::Runtime};

use super::npm;

/// What is heard of a browser.
#[derive(Debug)]
pub enum Event {
    /// A page has come as far as this.
    Step(String),
    /// A page has seen all it wanted to see.
    Done,
    /// A page has failed.
    Failed(String),
    /// The browser wrote this line of log, the pages' own consoles among it.
    Said(String),
    /// The browser is gone.
    Ended,
}

/// A web server of its own.
pub struct Pages {
    /// As browsers write it: `http://127.0.0.1:12345`
    pub origin: String,
    /// What is heard of its pages.
    pub events: Receiver<Event>,
    /// Where the browser tells.
    pub tell: Sender<Event>,
    _runtime: Runtime,
}

impl Pages {
    pub fn serve() -> Self {
        npm::node_modules();
        let runtime = Runtime::new().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let (tell, events) = channel();
        let told = tell.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let told = told.clone();
                let service = service_fn(move |request| answer(request, told.clone()));
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            origin,
            events,
            tell,
            _runtime: runtime,
        }
    }
}

async fn answer(request: Request<Incoming>, tell: Sender<Event>) -> hyper::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    if head.method == Method::POST {
        let text = String::from_utf8_lossy(&body.collect().await?.to_bytes()).into_owned();
        let _ = tell.send(match head.uri.path() {
            "/done" => Event::Done,
            "/failed" => Event::Failed(text),
            _ => Event::Step(text),
        });
        return Ok(Response::default());
    }
    let file = match head.uri.path() {
        "/pouchdb.js" => npm::folder().join("node_modules/pouchdb/dist/pouchdb.min.js"),
        path => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/browser")
            .join(path.trim_start_matches('/')),
    };
    let mut answer = Response::new(Full::default());
    match fs::read(&file) {
        Ok(text) => *answer.body_mut() = text.into(),
        Err(_) => *answer.status_mut() = StatusCode::NOT_FOUND,
    }
    let kind = match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        _ => "text/javascript; charset=utf-8",
    };
    answer.headers_mut().insert(CONTENT_TYPE, kind.parse().unwrap());
    Ok(answer)
}
