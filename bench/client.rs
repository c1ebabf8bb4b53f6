//! A blocking HTTP/1.1 client that costs little: what the machine spends on asking, it cannot spend on answering.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use base64::Engine as _;
use http::Uri;

/// Where requests go, and as whom.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub authorization: Option<String>,
    /// The app version that is declared.
    pub app: &'static str,
}

/// One kept-alive connection.
pub struct Connection {
    target: Target,
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

impl Target {
    /// From `http://name:password@127.0.0.1:5984`. Only loopback: a network in between would be all that is measured.
    pub fn parse(url: &str) -> Self {
        let uri: Uri = url.parse().expect("a URL");
        let authority = uri.authority().expect("a host").as_str();
        let (account, host) = authority
            .rsplit_once('@')
            .map_or((None, authority), |(account, host)| (Some(account), host));
        let address: SocketAddr = host
            .replace("localhost", "127.0.0.1")
            .parse()
            .expect("an IP address and a port");
        assert!(address.ip().is_loopback(), "{address} is not on this machine");
        let authorization = account.map(|account| {
            let account: Vec<u8> = percent_encoding::percent_decode_str(account).collect();
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(account))
        });
        Self {
            address,
            authorization,
            app: "todo-app@1.2.0",
        }
    }

    /// The same account on another server.
    pub fn at(&self, address: SocketAddr) -> Self {
        Self {
            address,
            ..self.clone()
        }
    }

    pub fn connect(&self) -> Connection {
        let stream = TcpStream::connect(self.address).expect("the server listens");
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        Connection {
            target: self.clone(),
            stream,
            buffer: Vec::new(),
        }
    }

    pub fn connections(&self, count: usize) -> Vec<Connection> {
        (0..count).map(|_| self.connect()).collect()
    }
}

impl Connection {
    /// Asks and insists on success; answers the body.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let authorization = self.target.authorization.as_ref();
        let authorization = authorization.map_or(String::new(), |value| format!("Authorization: {value}\r\n"));
        let length = match method {
            "GET" => String::new(),
            _ => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len()),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{authorization}Accept: application/json\r\nApp-Version: {}\r\n\
             {length}\r\n{body}",
            self.target.address, self.target.app
        );
        self.stream.write_all(request.as_bytes()).expect("the request is taken");
        self.buffer.clear();
        let head = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            self.more();
        };
        let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
        let status = text.split(' ').nth(1).unwrap_or_default().to_owned();
        let body = match text.split("\r\ncontent-length:").nth(1) {
            Some(rest) => {
                let length: usize = rest
                    .split("\r\n")
                    .next()
                    .unwrap_or_default()
                    .trim()
                    .parse()
                    .expect("a length");
                while self.buffer.len() < head + length {
                    self.more();
                }
                self.buffer[head..].to_vec()
            }
            None => self.chunks(head),
        };
        assert!(status.starts_with('2'), "{status}: {}", String::from_utf8_lossy(&body));
        body
    }

    fn chunks(&mut self, mut at: usize) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let end = loop {
                if let Some(length) = find(&self.buffer[at..], b"\r\n") {
                    break at + length;
                }
                self.more();
            };
            let size = std::str::from_utf8(&self.buffer[at..end]).expect("a chunk's size");
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk's size");
            at = end + 2;
            while self.buffer.len() < at + size + 2 {
                self.more();
            }
            body.extend_from_slice(&self.buffer[at..at + size]);
            at += size + 2;
            if size == 0 {
                return body;
            }
        }
    }

    fn more(&mut self) {
        let mut piece = [0; 64 << 10];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => panic!("the server closed the connection"),
                Ok(length) => return self.buffer.extend_from_slice(&piece[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("no answer: {error}"),
            }
        }
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}
