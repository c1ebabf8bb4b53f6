//! `chesterfield serve`

use std::{io, sync::Arc, time::Duration};

use bytes::Buf;
use chesterfield::{
    config::{Config, LogFormat, Overrides, UpstreamConfig},
    fanout::FanOut,
    proxy::{
        self, Proxy,
        writes::{FanningOut, Limits},
    },
    upstream::{Body, Upstream, embedded::Embedded},
};
use http::Request;
use http_body_util::{BodyExt, Empty};
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
    let config = Config::load(overrides)?;
    log::start(config.log);
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
    let fan_out = FanOut::new(
        upstream.clone(),
        config.schemas.registry.clone(),
        config.schemas.lenses.clone().into(),
    );
    let limits = Limits {
        patience: config.fan_out,
        ..Limits::default()
    };
    let writes = Arc::new(FanningOut::new(upstream.clone(), fan_out, limits));
    let proxy = Proxy::new(config.proxy.clone(), upstream.clone(), writes.clone());
    let proxy = proxy.map_err(|error| Failure::Internal(error.to_string()))?;
    let stop = CancellationToken::new();
    on_signals(stop.clone()).map_err(|error| Failure::Internal(error.to_string()))?;
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
    proxy::serve(listener, Arc::new(proxy), stop).await;
    writes.finish().await;
    tracing::info!("stopped");
    Ok(())
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

/// The upstream's name, and its version if it says one.
async fn greeted(upstream: &Upstream) -> String {
    let body: Body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let mut request = Request::new(body);
    *request.uri_mut() = http::Uri::from_static("/");
    let greeting = async {
        let answer = upstream.send(request).await.map_err(|error| error.to_string())?;
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?;
        let greeting: serde_json::Value =
            serde_json::from_reader(body.aggregate().reader()).map_err(|_| "this is no CouchDB".to_owned())?;
        let version = greeting.get("version").and_then(|version| version.as_str());
        Ok(format!("CouchDB {}", version.unwrap_or("of unknown version")))
    };
    let said = match tokio::time::timeout(GREETING, greeting).await {
        Ok(said) => said,
        Err(_) => Err("it does not answer".to_owned()),
    };
    match said {
        Ok(said) => format!("{} ({said})", upstream.name),
        Err(error) => {
            // CouchDB may well start later than its proxy.
            tracing::warn!(error, "the upstream is not there yet");
            format!("{} (not there yet)", upstream.name)
        }
    }
}

/// The first signal stops, the second kills.
fn on_signals(stop: CancellationToken) -> io::Result<()> {
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
        }
    });
    Ok(())
}
