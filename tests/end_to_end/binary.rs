//! The real binary, as people run it.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use tempfile::TempDir;

/// A running `chesterfield serve` with the top-level configuration, killed when dropped.
pub struct Chesterfield {
    process: Child,
    address: SocketAddr,
    /// Its data and what it logs.
    folder: TempDir,
}

impl Chesterfield {
    /// Serves on a port of its own.
    pub fn serve(upstream: &str) -> Self {
        Self::serve_on(SocketAddr::from(([127, 0, 0, 1], 0)), upstream)
    }

    /// Serves on an address that another one had before.
    pub fn serve_on(address: SocketAddr, upstream: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let log = File::create(folder.path().join("log")).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_chesterfield"))
            .arg("serve")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("CHESTERFIELD_LISTEN", address.to_string())
            .env("CHESTERFIELD_UPSTREAM", upstream)
            .env("CHESTERFIELD_DATA", folder.path().join("data"))
            .env_remove("CHESTERFIELD_CONFIG")
            .env_remove("CHESTERFIELD_SCHEMAS")
            .env("RUST_LOG", "warn")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut screen = BufReader::new(process.stdout.take().unwrap()).lines();
        let listens = |line: String| Some(line.trim().strip_prefix("listens")?.trim().to_owned());
        let url = screen.by_ref().map_while(Result::ok).find_map(listens);
        let Some(url) = url else {
            panic!("{}", fs::read_to_string(folder.path().join("log")).unwrap())
        };
        // The rest of the screen is read by nobody, but has to go somewhere.
        thread::spawn(move || screen.for_each(drop));
        Self {
            process,
            address: url.strip_prefix("http://").unwrap().parse().unwrap(),
            folder,
        }
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
        // It may have been killed already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
