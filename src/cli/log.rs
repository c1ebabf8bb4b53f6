//! Log lines, on stderr.

use std::io::{self, IsTerminal};

use chesterfield::config::{Log, LogFormat};
use tracing_subscriber::{EnvFilter, fmt::format::FmtSpan};

/// Sends what is logged to stderr. `RUST_LOG` takes precedence over the configured level.
pub fn start(log: Log) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(log.level.to_string()));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // One line for each request, when it is answered.
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(io::stderr);
    match log.format {
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
}
