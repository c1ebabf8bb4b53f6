//! The processes a run starts, each ended by its own handle, and the processor time they take.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    thread::sleep,
    time::Duration,
};

/// A started server; killed when dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    /// Held open: a server may mind if nobody can read what it says.
    _said: Option<BufReader<ChildStdout>>,
}

impl Process {
    /// The binary of this build. `databases` as in `config.yaml`: without any it is a plain proxy.
    pub fn chesterfield(folder: &Path, name: &str, upstream: &str, databases: &str) -> Self {
        Self::configured(folder, name, upstream, &format!("databases: {databases}\n"))
    }

    /// The binary of this build with these lines in its `config.yaml`.
    pub fn configured(folder: &Path, name: &str, upstream: &str, config: &str) -> Self {
        Self::binary(
            Path::new(env!("CARGO_BIN_EXE_chesterfield")),
            folder,
            name,
            upstream,
            config,
        )
    }

    /// The binary of another build, which `BEFORE` names: changes are measured by running both at once.
    pub fn before(folder: &Path, name: &str, upstream: &str) -> Option<Self> {
        let binary = std::env::var_os("BEFORE").filter(|binary| !binary.is_empty())?;
        Some(Self::binary(
            Path::new(&binary),
            folder,
            name,
            upstream,
            "databases: [\"*\"]\n",
        ))
    }

    fn binary(binary: &Path, folder: &Path, name: &str, upstream: &str, lines: &str) -> Self {
        let config = folder.join(format!("{name}.yaml"));
        let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        fs::write(&config, format!("{lines}schemas: {}\n", schemas.display())).expect("a file");
        let mut command = Command::new(binary);
        for name in ["CONFIG", "SCHEMAS", "LISTEN", "DATA"] {
            command.env_remove(format!("CHESTERFIELD_{name}"));
        }
        // A line for each request would be measured with it, and no other side writes one.
        command.env("RUST_LOG", "warn").env("CHESTERFIELD_UPSTREAM", upstream);
        command.arg("serve").arg("--config").arg(config);
        command
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(folder.join(name));
        Self::saying("listens", &mut command)
    }

    /// This program again, as one of the stand-ins.
    pub fn stand_in(role: &str, upstream: Option<SocketAddr>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg(role).args(upstream.map(|address| address.to_string()));
        // It ends when this pipe does, so it outlives nothing.
        command.stdin(Stdio::piped());
        Self::saying("listens", &mut command)
    }

    /// One nginx worker with connections kept alive on both sides. None if there is no nginx here.
    pub fn nginx(folder: &Path, upstream: SocketAddr) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("a port");
        drop(free);
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/nginx-{kind};\n", folder.display()))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nevents {{ worker_connections 256; }}\n\
             http {{\naccess_log off;\n{temporary}\
             upstream fixed {{ server {upstream}; keepalive 64; keepalive_requests 1000000000; }}\n\
             server {{ listen {address}; keepalive_requests 1000000000;\n\
             location / {{ proxy_pass http://fixed; proxy_http_version 1.1; proxy_set_header Connection \"\"; }} }}\n}}\n",
            folder = folder.display()
        );
        let file = folder.join("nginx.conf");
        fs::write(&file, config).expect("a file");
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-p"]).arg(folder).arg("-c").arg(file);
        let child = command.stdin(Stdio::null()).spawn().ok()?;
        let nginx = Self {
            child,
            address,
            _said: None,
        };
        for _ in 0..100 {
            if TcpStream::connect(address).is_ok() {
                return Some(nginx);
            }
            sleep(Duration::from_millis(50));
        }
        None
    }

    fn saying(word: &str, command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let mut said = BufReader::new(child.stdout.take().expect("its output"));
        let mut line = String::new();
        let address = loop {
            line.clear();
            if said.read_line(&mut line).expect("its output") == 0 {
                panic!("{command:?} ended: {}", child.wait().expect("its status"));
            }
            let mut words = line.split_whitespace();
            if words.next() == Some(word) {
                let url = words.next().expect("an address");
                break url.trim_start_matches("http://").parse().expect("an address");
            }
        };
        Self {
            child,
            address,
            _said: Some(said),
        }
    }

    /// See [`cpu`].
    pub fn cpu(&self) -> Option<Duration> {
        cpu(self.child.id())
    }
}

/// Processor time taken so far by all threads of a process, in user and kernel mode; none where the system does not tell.
///
/// The ticks of `/proc/PID/stat`, 10 ms each, are too coarse for one turn. A thread that ends would take its time
/// along, but what is measured here works in threads that stay.
pub fn cpu(pid: u32) -> Option<Duration> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let nanoseconds = threads.map(|thread| {
        let stat = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        stat.split(' ').next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<Option<u64>>().map(Duration::from_nanos)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
