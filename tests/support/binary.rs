//! The binary itself, as people run it, with nothing of the surrounding environment.
#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// A started `chesterfield serve`; killed when dropped.
pub struct Server {
    child: Child,
    /// `http://127.0.0.1:12345`
    pub url: String,
    /// What it said when it started.
    pub screen: String,
}

/// A command in a folder, without the variables that would change what it does.
pub fn chesterfield(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chesterfield"));
    for name in ["CONFIG", "SCHEMAS", "LISTEN", "UPSTREAM", "DATA"] {
        command.env_remove(format!("CHESTERFIELD_{name}"));
    }
    command.env_remove("RUST_LOG").current_dir(folder);
    command
}

impl Server {
    /// Starts the command, which has to be one that serves, and waits until it says where it listens.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut screen = String::new();
        // The screen ends with how to stop.
        while !screen.contains("\n  stop ") {
            let line = lines.next().expect("it said nothing more, and did not start").unwrap();
            screen.push_str(&line);
            screen.push('\n');
        }
        let url = screen
            .split_whitespace()
            .skip_while(|word| *word != "listens")
            .nth(1)
            .unwrap();
        Self {
            url: url.to_owned(),
            child,
            screen,
        }
    }

    /// Starts a command that logs JSON instead of showing a screen; answers the first line too.
    pub fn start_logging(command: &mut Command) -> (Self, String) {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next().expect("it logged nothing, and did not start").unwrap();
        // What it still logs has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        let (url, screen) = (String::new(), String::new());
        (Self { child, url, screen }, line)
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal and waits for the end.
    pub fn signal(mut self, signal: &str) -> ExitStatus {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", signal, &pid])
                .status()
                .unwrap()
                .success()
        );
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(20), "it does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
