//! A headless Chromium that ends with the test, whatever becomes of the test.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::Sender,
    thread::{self, JoinHandle},
};

use tempfile::TempDir;

use super::pages::Event;

const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// A browser that shows one page.
pub struct Chromium {
    process: Child,
    heard: Option<JoinHandle<()>>,
    _profile: TempDir,
}

/// The browser that `CHROMIUM` names, or one in `PATH`. Without any a test is skipped, which is said, or fails where it must not be.
pub fn find() -> Option<PathBuf> {
    if let Some(named) = env::var_os("CHROMIUM").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> = env::split_paths(&env::var_os("PATH").unwrap_or_default()).collect();
    let found = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file());
    if found.is_none() {
        let missing =
            "there is no Chromium, which tests/browser needs: apt-get install chromium, or CHROMIUM=/path/to/it";
        assert!(env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{missing}");
        skipped(missing);
    }
    found
}

/// Says so even though the test passes: what is printed by macros would be swallowed.
pub fn skipped(reason: &str) {
    let _ = writeln!(
        io::stderr(),
        "SKIPPED {}: {reason}",
        thread::current().name().unwrap_or_default()
    );
}

impl Chromium {
    /// Tells what it says, and when it ends.
    pub fn open(binary: &Path, url: &str, tell: Sender<Event>) -> Self {
        let profile = tempfile::tempdir().unwrap();
        // It ends when the pipe on its third descriptor does, so even if the test is killed. `sh` moves our end there.
        let mut process = Command::new("sh")
            .args(["-c", r#"exec "$0" "$@" 3<&0 4>&1 </dev/null"#])
            .arg(binary)
            .args(["--headless", "--remote-debugging-pipe", "--enable-logging=stderr"])
            // Its sandbox is not to be had by root, nor in most containers; the pages are our own.
            .args([
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-proxy-server",
            ])
            .args([
                "--no-first-run",
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args(["--disable-extensions", "--disable-breakpad", "--disable-crash-reporter"])
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg(url)
            .env("HOME", profile.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let said = BufReader::new(process.stderr.take().unwrap());
        let heard = thread::spawn(move || {
            // A container has no D-Bus, which it never tires of telling.
            let lines = said.lines().map_while(Result::ok).filter(|line| !line.contains("dbus"));
            lines.for_each(|line| drop(tell.send(Event::Said(line))));
            let _ = tell.send(Event::Ended);
        });
        Self {
            process,
            heard: Some(heard),
            _profile: profile,
        }
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        let group = self.process.id().to_string();
        let _ = Command::new("sh").args(["-c", "kill -s KILL -- -$0", &group]).status();
        let _ = self.process.wait();
        // Nothing is heard of it after its end.
        let _ = self.heard.take().map(JoinHandle::join);
    }
}
