//! `chesterfield serve`

use std::{io, sync::Arc, time::Duration};

use chesterfield::{
    config::{Config, LogFormat, Overrides, Problem, UpstreamConfig},
    fanout::{FanOut, Retrying},
    follower::Follower,
    parked::Parked,
    proxy::{self, Proxy, validate::Validating, writes::FanningOut},
    upstream::{Upstream, body, embedded::Embedded},
};
use http::{HeaderValue, Request, StatusCode, Uri, header::AUTHORIZATION};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::{
    net::TcpListener,
    runtime,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tower::util::BoxCloneSyncService;

use super::{Failure, log, say, screen::Screen};

/// How long the screen waits for what the upstream says of itself.
const GREETING: Duration = Duration::from_secs(2);

/// Serves until told to stop.
pub fn run(overrides: &Overrides) -> Result<(), Failure> {
    let (config, problems) = Config::examine(overrides);
    let config = config.filter(|_| problems.errors() == 0);
    let Some(config) = config else {
        return Err(problems.into());
    };
    log::start(config.log);
    for Problem { file, flaw } in &problems.0 {
        tracing::warn!(file, at = flaw.at, mend = flaw.mend, "{}", flaw.what);
    }
    runtime()?.block_on(serve(&config))
}

/// What every command that does I/O runs on.
pub fn runtime() -> Result<runtime::Runtime, Failure> {
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| Failure::Unavailable(format!("no threads: {error}")))
}

async fn serve(config: &Config) -> Result<(), Failure> {
    if let Some(address) = config.metrics {
        let exporter = PrometheusBuilder::new().with_http_listener(address);
        exporter
            .install()
            .map_err(|error| Failure::Unavailable(format!("metrics on {address}: {error}")))?;
    }
    let listener = TcpListener::bind(config.listen).await.map_err(|error| {
        Failure::Unavailable(format!(
            "{} is not to be had: {error}\nAnother address: CHESTERFIELD_LISTEN=127.0.0.1:PORT",
            config.listen
        ))
    })?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::Internal(error.to_string()))?;
    let upstream = upstream(config).await?;
    let fan_out = fan_out(config, upstream.clone());
    let fanning_out = Arc::new(FanningOut::new(upstream.clone(), fan_out.clone(), config.limits));
    let writes = Validating::before(fanning_out.clone(), config.judge(), config.limits.held);
    let proxy = Proxy::new(config.proxy.clone(), upstream.clone(), writes);
    let proxy = proxy.map_err(|error| Failure::Internal(error.to_string()))?;
    let stop = CancellationToken::new();
    on_signals(stop.clone(), config.proxy.timeouts.drain).map_err(|error| Failure::Internal(error.to_string()))?;
    let name = match config.upstream {
        UpstreamConfig::Embedded(_) => upstream.name.clone(),
        UpstreamConfig::Http(_) => greeted(&upstream).await,
    };
    match config.log.format {
        LogFormat::Text => {
            let screen = Screen {
                config,
                address,
                upstream: &name,
            };
            say(io::stdout(), &screen);
        }
        LogFormat::Json => tracing::info!(%address, upstream = name, apps = %config.schemas.apps, "listening"),
    }
    let retrying = Retrying::start(fan_out.clone());
    let registry = &config.schemas.registry;
    let ties = registry.classes().any(|(class, _)| registry.entity(class).len() > 1);
    let follower = config.follower.clone().filter(|_| ties).map(|mut settings| {
        if matches!(config.upstream, UpstreamConfig::Embedded(_)) {
            // Its files are this process's alone.
            settings.lease = None;
        }
        let fingerprints = &config.schemas.fingerprints;
        Follower::start(fan_out, fingerprints, settings, stop.clone())
    });
    proxy::serve(listener, Arc::new(proxy), stop).await;
    if let Some(retrying) = retrying {
        retrying.finish().await;
    }
    fanning_out.finish().await;
    if let Some(follower) = follower {
        follower.ended().await;
    }
    tracing::info!("stopped");
    Ok(())
}

/// What carries documents by the configured schemas, and parks those that cannot be carried.
pub fn fan_out(config: &Config, upstream: Upstream) -> FanOut {
    let schemas = &config.schemas;
    let parked = Parked::new(upstream.clone(), schemas.fingerprints.clone(), config.pauses);
    FanOut::new(upstream, schemas.registry.clone(), schemas.lenses.clone().into()).parking(parked)
}

/// The upstream that the configuration names.
pub async fn upstream(config: &Config) -> Result<Upstream, Failure> {
    match &config.upstream {
        UpstreamConfig::Http(upstream) => Ok(upstream.clone()),
        UpstreamConfig::Embedded(data) => {
            let store = Embedded::open(data).await;
            let store = store.map_err(|error| Failure::Unavailable(format!("{}: {error}", data.display())))?;
            Ok(Upstream {
                service: BoxCloneSyncService::new(store),
                account: None,
                name: format!("embedded, in {}: for trying out and tests", data.display()),
            })
        }
    }
}

/// The upstream's name, its version if it says one, and whether it knows the proxy's account.
async fn greeted(upstream: &Upstream) -> String {
    let said = async { Ok(format!("{}; {}", version(upstream).await?, account(upstream).await?)) };
    let said = tokio::time::timeout(GREETING, said).await;
    match said.unwrap_or_else(|_| Err("it does not answer".to_owned())) {
        Ok(said) => format!("{} ({said})", upstream.name),
        Err(error) => {
            // CouchDB may well start later than its proxy.
            tracing::warn!(error, "the upstream is not there yet");
            format!("{} (not there yet)", upstream.name)
        }
    }
}

async fn version(upstream: &Upstream) -> Result<String, String> {
    let (status, greeting) = ask(upstream, "/", None).await?;
    if !status.is_success() && status != StatusCode::UNAUTHORIZED {
        return Err(format!(
            "no CouchDB is there: `/` is answered {status}; is there a path in its URL that should not be?"
        ));
    }
    let version = greeting.get("version").and_then(|version| version.as_str());
    Ok(format!("CouchDB {}", version.unwrap_or("of unknown version")))
}

/// Without an account that CouchDB knows, clients' writes are accepted and never carried: that must not go unnoticed.
async fn account(upstream: &Upstream) -> Result<String, String> {
    let Some(account) = &upstream.account else {
        tracing::error!(
            "the upstream's URL has no account: writes are carried only where everybody may read and write"
        );
        return Ok("NO ACCOUNT to carry writes with".to_owned());
    };
    let (status, session) = ask(upstream, "/_session", Some(account)).await?;
    match session.pointer("/userCtx/name").and_then(|name| name.as_str()) {
        Some(name) if status.is_success() => Ok(format!("writes are carried as {name}")),
        _ => {
            let reason = session
                .get("reason")
                .and_then(|reason| reason.as_str())
                .unwrap_or_default();
            tracing::error!(%status, reason, "the upstream refuses the account in its URL: no write will be carried");
            Ok("ACCOUNT REFUSED: no write will be carried".to_owned())
        }
    }
}

async fn ask(
    upstream: &Upstream,
    path: &'static str,
    account: Option<&HeaderValue>,
) -> Result<(StatusCode, serde_json::Value), String> {
    let mut request = Request::new(body::empty());
    *request.uri_mut() = Uri::from_static(path);
    if let Some(account) = account {
        request.headers_mut().insert(AUTHORIZATION, account.clone());
    }
    let answer = upstream.send(request).await.map_err(|error| error.to_string())?;
    let status = answer.status();
    let body = body::read(answer.into_body(), 1 << 16)
        .await
        .map_err(|error| error.to_string())?;
    let said = serde_json::from_slice(&body).map_err(|_| format!("this is no CouchDB: it answers {status}"))?;
    Ok((status, said))
}

/// The first signal stops, the second kills.
fn on_signals(stop: CancellationToken, drain: Duration) -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stop.is_cancelled() {
                std::process::exit(1);
            }
            stop.cancel();
            tracing::info!(at_most = ?drain, "stopping when open requests have ended; a second signal stops at once");
        }
    });
    Ok(())
}
