//! Bytes as they are, to a server and back.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpStream},
    thread,
    time::Duration,
};

use base64::Engine as _;

/// Longer than any answer takes; a server that says nothing at all fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that is spoken to without HTTP in between.
pub struct Peer {
    address: String,
    authorization: String,
}

impl Peer {
    /// At `http://[name:password@]host:port`.
    pub fn at(url: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap().trim_end_matches('/');
        let (account, address) = rest.rsplit_once('@').unwrap_or(("", rest));
        Self {
            address: address.to_owned(),
            authorization: authorization(account),
        }
    }

    /// At another address, with the same account.
    pub fn instead(&self, url: &str) -> Self {
        Self {
            address: Self::at(url).address,
            authorization: self.authorization.clone(),
        }
    }

    /// The line that says who asks; nothing where anybody may.
    pub fn authorization(&self) -> &str {
        &self.authorization
    }

    /// All that is answered until the server closes the connection. What it does not want to read it need not.
    pub fn ask(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut sender = stream.try_clone().unwrap();
        let mut answer = Vec::new();
        thread::scope(|scope| {
            scope.spawn(move || sender.write_all(request));
            let mut piece = [0; 64 << 10];
            loop {
                match stream.read(&mut piece) {
                    Ok(0) => break,
                    Ok(length) => answer.extend_from_slice(&piece[..length]),
                    // Reset: it had not read everything.
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
                    Err(error) => panic!("{error}, after {:?}", String::from_utf8_lossy(&answer)),
                }
            }
            let _ = stream.shutdown(Shutdown::Both);
        });
        answer
    }
}

/// The CouchDB of `COUCHDB_URL`.
pub fn couch() -> Option<Peer> {
    let url = env::var("COUCHDB_URL").ok().filter(|url| !url.is_empty())?;
    Some(Peer::at(&url))
}

fn authorization(account: &str) -> String {
    if account.is_empty() {
        return String::new();
    }
    let encoded = base64::engine::general_purpose::STANDARD.encode(account);
    format!("Authorization: Basic {encoded}\r\n")
}

/// The status of every answer; those that only say "go on" do not count.
pub fn statuses(answer: &[u8]) -> Vec<u16> {
    let text = String::from_utf8_lossy(answer);
    let lines = text.match_indices("HTTP/1.").map(|(at, _)| &text[at..]);
    let codes = lines.filter_map(|line| line.split(' ').nth(1)?.get(..3)?.parse().ok());
    codes.filter(|code| *code != 100).collect()
}

/// The body of the first answer.
pub fn body(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    text.split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default()
}
