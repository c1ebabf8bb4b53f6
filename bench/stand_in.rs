//! What Chesterfield is compared with on the wire: an upstream with one answer, a TCP relay, a proxy of nothing but hyper.

use std::{
    convert::Infallible,
    io::{self, Read, Write},
    net::SocketAddr,
};

use http::{Request, Uri};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
};

/// The size of the document, about what a CouchDB document of an app has.
pub const DOCUMENT: usize = 1024;

/// Plays a role until its standard input ends, which is when the run does. False if it is none.
pub fn play(role: &str, upstream: Option<&str>) -> bool {
    if !matches!(role, "fixed" | "relay" | "hyper") {
        return false;
    }
    std::thread::spawn(|| {
        let _ = io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    // As many threads as Chesterfield has.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("threads").block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("a port");
        let _ = writeln!(io::stdout(), "listens http://{address}");
        let upstream: Option<SocketAddr> = upstream.map(|address| address.parse().expect("an address"));
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("a socket option");
            match (role, upstream) {
                ("relay", Some(upstream)) => drop(tokio::spawn(relay(stream, upstream))),
                ("hyper", Some(upstream)) => drop(tokio::spawn(bare_hyper(stream, upstream, client.clone()))),
                _ => drop(tokio::spawn(fixed(stream))),
            }
        }
    });
    true
}

/// Answers every request without looking at it, with headers as CouchDB sends them.
async fn fixed(mut stream: TcpStream) -> io::Result<()> {
    let filling = "x".repeat(DOCUMENT - r#"{"_id":"a","text":""}"#.len());
    let answer = format!(
        "HTTP/1.1 200 OK\r\nCache-Control: must-revalidate\r\nContent-Length: {DOCUMENT}\r\nContent-Type: application/json\r\n\
         Date: Thu, 01 Jan 1970 00:00:00 GMT\r\nETag: \"1-917fa2381192822767f010b95b45325b\"\r\nServer: CouchDB\r\n\
         X-Couch-Request-ID: 917fa23811\r\nX-CouchDB-Body-Time: 0\r\n\r\n{{\"_id\":\"a\",\"text\":\"{filling}\"}}"
    );
    let mut buffer = Vec::with_capacity(8 << 10);
    while stream.read_buf(&mut buffer).await? > 0 {
        // The requests are `GET`s, one at a time.
        if buffer.ends_with(b"\r\n\r\n") {
            buffer.clear();
            stream.write_all(answer.as_bytes()).await?;
        }
    }
    Ok(())
}

async fn relay(mut client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    let mut upstream = TcpStream::connect(upstream).await?;
    upstream.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut upstream).await.map(drop)
}

/// Forwards requests and answers as they are.
async fn bare_hyper(stream: TcpStream, upstream: SocketAddr, client: Client<HttpConnector, Incoming>) {
    let forward = |mut request: Request<Incoming>| {
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let uri: Result<Uri, _> = format!("http://{upstream}{path}").parse();
        *request.uri_mut() = uri.expect("a URI");
        let answer = client.request(request);
        async move { Ok::<_, Infallible>(answer.await.expect("the upstream answers")) }
    };
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(forward))
        .await;
}
