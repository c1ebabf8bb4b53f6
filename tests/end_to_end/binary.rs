//! The real binary, as people run it.

use std::{
    fs::{self, OpenOptions},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

use super::couch;

/// A running `chesterfield serve`, killed when dropped.
pub struct Chesterfield {
    process: Child,
    address: SocketAddr,
    upstream: String,
    schemas: PathBuf,
    /// Its data and what it logs.
    folder: TempDir,
}

impl Chesterfield {
    /// Serves on a port of its own.
    pub fn serve(upstream: &str) -> Self {
        Self::serve_with(upstream, Path::new("schemas"))
    }

    /// The same with other schemas. On a server that many share it follows nobody's databases.
    pub fn serve_with(upstream: &str, schemas: &Path) -> Self {
        let follower = match couch::url() {
            Some(_) => "off",
            None => "on",
        };
        Self::configured(upstream, schemas, &format!("follower: {follower}\n"))
    }

    /// The same with a configuration; what it does not say has its default.
    pub fn configured(upstream: &str, schemas: &Path, config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("config.yaml"), config).unwrap();
        let (process, address) = start(([127, 0, 0, 1], 0).into(), upstream, schemas, folder.path());
        Self {
            process,
            address,
            upstream: upstream.to_owned(),
            schemas: schemas.to_owned(),
            folder,
        }
    }

    /// Kills it as nothing else does, and starts another one in its place.
    pub fn replace(&mut self) {
        self.kill();
        (self.process, _) = start(self.address, &self.upstream, &self.schemas, self.folder.path());
    }

    fn kill(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }
}

impl Drop for Chesterfield {
    fn drop(&mut self) {
        self.kill();
    }
}

fn start(listen: SocketAddr, upstream: &str, schemas: &Path, folder: &Path) -> (Child, SocketAddr) {
    let log = OpenOptions::new().create(true).append(true).open(folder.join("log"));
    let mut process = Command::new(env!("CARGO_BIN_EXE_chesterfield"))
        .arg("serve")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CHESTERFIELD_LISTEN", listen.to_string())
        .env("CHESTERFIELD_UPSTREAM", upstream)
        .env("CHESTERFIELD_DATA", folder.join("data"))
        .env("CHESTERFIELD_CONFIG", folder.join("config.yaml"))
        .env("CHESTERFIELD_SCHEMAS", schemas)
        .env("RUST_LOG", "warn")
        .stdout(Stdio::piped())
        .stderr(log.unwrap())
        .spawn()
        .unwrap();
    let mut screen = BufReader::new(process.stdout.take().unwrap()).lines();
    let listens = |line: String| {
        line.trim()
            .strip_prefix("listens")?
            .trim()
            .strip_prefix("http://")?
            .parse()
            .ok()
    };
    let Some(address) = screen.by_ref().map_while(Result::ok).find_map(listens) else {
        panic!("{}", fs::read_to_string(folder.join("log")).unwrap())
    };
    // The rest of the screen is read by nobody, but has to go somewhere.
    thread::spawn(move || screen.for_each(drop));
    (process, address)
}
