//! `GET /metrics`, on a listener of its own: what the process measures, in Prometheus' text format.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;

use super::{CliError, listener::Limits};
use crate::{
    clock::{Clock, SystemClock},
    metric,
};

/// How often what was recorded is put into its buckets. Nobody may ever ask, and until then it would pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// The listener and what it serves.
pub(super) struct Metrics {
    pub(super) listener: TcpListener,
    pub(super) address: SocketAddr,
    pub(super) router: Router,
}

impl Metrics {
    /// Listens, and measures from now on.
    pub(super) async fn start(listen: SocketAddr) -> Result<Self, CliError> {
        let listener = TcpListener::bind(listen).await.map_err(|error| {
            CliError::Failed(format!("cannot listen on {listen} (GATEMINT_METRICS_LISTEN): {error}"))
        })?;
        let address = listener.local_addr().map_err(|error| CliError::Failed(error.to_string()))?;
        let recorder = install().map_err(|error| CliError::Failed(format!("metrics: {error}")))?;
        metric::switch_on(SystemClock.now().0);
        let upkeep = recorder.clone();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(UPKEEP);
            loop {
                tick.tick().await;
                upkeep.run_upkeep();
            }
        });
        Ok(Self { listener, address, router: Router::new().route("/metrics", get(show)).with_state(recorder) })
    }

    /// Few ask for metrics, and they are not what the metrics tell of.
    pub(super) fn limits() -> Limits {
        Limits { connections: 64, per_peer: 16, measured: false, ..Limits::usual() }
    }
}

fn install() -> Result<PrometheusHandle, metrics_exporter_prometheus::BuildError> {
    let mut builder = PrometheusBuilder::new();
    for (name, bounds) in metric::BUCKETS {
        builder = builder.set_buckets_for_metric(Matcher::Full((*name).to_owned()), bounds)?;
    }
    builder.install_recorder()
}

async fn show(State(recorder): State<PrometheusHandle>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder.render())
}
